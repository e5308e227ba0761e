//! Feeds that change while packets are judged: by the kernel's own programs, run on packets, with nothing attached. For
//! root.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that goes wrong should stop")]

#[path = "unattached/packets.rs"]
mod packets;
mod unattached;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use interdict_abi::ids::{Act, Mode};
use interdict_agent::{
    canary::{Expected, acts::Places},
    feeds::FeedsInForce,
    kernel::slots::{Slots, Watch},
};
use interdict_rules::image::verify::verify;
use unattached::Unattached;

const DROP: u32 = 1;
const PASS: u32 = 2;

const RULES: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: test }
spec:
  mode: enforce
  lists:
    bad: { type: cidr, feed: { file: bad.cidr } }
  rules:
    - { id: T-1, title: from, on: [packet.in], when: net.src.ip in bad, action: block }
"#;

fn judged(program: &Xdp, source: impl Into<IpAddr>, repeat: u32) -> u32 {
    let frame = packets::frame(source, 1);
    let options = TestRunOptions { data_in: Some(&frame), repeat, ..TestRunOptions::new() };
    program.test_run(options).unwrap().return_value
}

/// IPv6 addresses, neighbours in one block of a front.
fn wide(number: u32, last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2400, (number >> 16) as u16, number as u16, 7, 0, 0, 0, last)
}

/// Entries that stay in the feed, entries that come and go with `round`, near each other.
fn text(round: u32) -> String {
    let mut text = String::new();
    for number in 0..30_000u32 {
        let address = Ipv4Addr::from(0x0b00_0000 + number * 257);
        let _ = writeln!(text, "{address}");
        if number % 3 == round % 3 {
            let _ = writeln!(text, "{}", Ipv4Addr::from(u32::from(address) + 1));
            let _ = writeln!(text, "{}", wide(number, 1));
        }
        let _ = writeln!(text, "{}", wide(number, 0));
    }
    text
}

fn change(
    in_force: &mut FeedsInForce,
    slots: &mut Slots,
    expected: &mut Expected,
    file: &Path,
) -> usize {
    let files = BTreeSet::from([file.to_owned()]);
    let changed = in_force.change(&files, slots, expected).unwrap();
    assert_eq!(changed.len(), 1);
    changed[0].difference.unwrap().added
}

#[test]
fn entries_that_stay_are_never_missing_while_others_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.cidr");
    fs::write(&file, text(0)).unwrap();
    let Some(mut policy) = packets::opened(folder.path(), RULES) else { return };
    let mut loaded = Unattached::load("feeds", policy.wanted_bytes(), &[Act::PacketIn]);
    let mut slots = Slots::open(&loaded).unwrap();
    let generation = slots.swap(policy.image.kernel(), Mode::Enforce).unwrap();
    let feeds = policy.take_feeds();
    let mut in_force = FeedsInForce::of(&policy.image.metadata().lists, feeds, loaded.slot_bytes());
    let watch = Watch::open(&loaded, generation, Mode::Enforce, policy.image.kernel()).unwrap();
    let places = Places::make(folder.path()).unwrap();
    let metadata = policy.image.metadata();
    let mut expected = Expected::new(metadata, &places, Mode::Enforce, false, watch, Vec::new());

    let (stays, comes) = (Ipv4Addr::from(0x0b00_0000 + 258 * 257), 0x0b00_0000 + 257 * 257 + 1);
    let comes = Ipv4Addr::from(comes);
    let stop = Arc::new(AtomicBool::new(false));
    let looks = Arc::new(AtomicU64::new(0));
    let program: &mut Xdp = loaded.program_mut("packet_in").unwrap().try_into().unwrap();
    let program = &*program;
    assert_eq!((judged(program, stays, 1), judged(program, comes, 1)), (DROP, PASS));
    let (stays_v6, comes_v6) = (wide(257, 0), wide(257, 1));
    assert_eq!((judged(program, stays_v6, 1), judged(program, comes_v6, 1)), (DROP, PASS));
    thread::scope(|scope| {
        let (stopped, looked) = (Arc::clone(&stop), Arc::clone(&looks));
        let watching = scope.spawn(move || {
            let mut missing = 0;
            while !stopped.load(Ordering::Acquire) {
                missing += u32::from(judged(program, stays, 1) != DROP);
                missing += u32::from(judged(program, stays_v6, 1) != DROP);
                looked.fetch_add(1, Ordering::Relaxed);
            }
            missing
        });
        for round in 1..30 {
            fs::write(&file, text(round)).unwrap();
            let added = change(&mut in_force, &mut slots, &mut expected, &file);
            assert!(added > 9_000, "{added}");
            let listed = if 257 % 3 == round % 3 { DROP } else { PASS };
            assert_eq!(judged(program, comes, 1), listed, "round {round}");
            assert_eq!(judged(program, comes_v6, 1), listed, "round {round}");
            assert_eq!(expected.watch().unwrap().look(), None);
        }
        stop.store(true, Ordering::Release);
        assert_eq!(watching.join().unwrap(), 0, "looks without an entry that stays");
    });
    assert!(looks.load(Ordering::Relaxed) > 100);

    // What is in the kernel is an image that would be accepted.
    let image = slots.active_image().unwrap().unwrap();
    let length = u32::from_le_bytes(*image[8..].first_chunk().unwrap()) as usize;
    assert!(length > policy.image.kernel().len());
    verify(&image[..length]).unwrap();

    // A file with a line that cannot be read changes nothing, and the next one is taken again.
    fs::write(&file, "10.0.0.300\n").unwrap();
    let files = BTreeSet::from([file.clone()]);
    let error = in_force.change(&files, &mut slots, &mut expected).unwrap_err().to_string();
    assert!(error.contains("above 255"), "{error}");
    assert_eq!(judged(program, stays, 1), DROP);
    fs::write(&file, "198.51.100.7\n").unwrap();
    change(&mut in_force, &mut slots, &mut expected, &file);
    assert_eq!(judged(program, stays, 1), PASS);
    assert_eq!(judged(program, Ipv4Addr::new(198, 51, 100, 7), 1), DROP);
    assert_eq!(in_force.lists()[0].entries, 1);
}
