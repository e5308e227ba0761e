//! Packets that are dropped by their sender alone are dropped and counted, each of them, and only while rules enforce;
//! judged by the kernel's own program, run on packets, with nothing attached. For root.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that goes wrong should stop")]

mod unattached;

use std::{fs, net::Ipv4Addr, os::unix::fs::MetadataExt as _};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use interdict_abi::ids::{Act, Mode};
use interdict_agent::{
    kernel::{
        slots::Slots,
        tallies::{self, Counted},
    },
    policy::Policy,
    trust::Trust,
};
use unattached::Unattached;

/// The second rule excuses a port, so its packets are judged by more than their sender. What the first one drops is the
/// first one's, though the third is about it too.
const RULES: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: test }
spec:
  mode: enforce
  rules:
    - { id: T-1, title: listed, on: [packet.in], when: 'net.src.ip in [203.0.113.0/24]', action: block }
    - { id: T-2, title: excused, on: [packet.in], when: 'net.src.ip in [198.51.100.0/24]', action: block, except: [ { name: known, owner: us, reason: it is known, when: net.dst.port == 9 } ] }
    - { id: T-3, title: told, on: [packet.in], when: 'net.src.ip in [203.0.113.0/25]', action: alert }
"#;

const FRAME_BYTES: u64 = 64;

fn frame(source: [u8; 4], port: u8) -> Vec<u8> {
    let mut frame = vec![0; FRAME_BYTES as usize];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[17] = 50;
    frame[23] = 17;
    frame[26..30].copy_from_slice(&Ipv4Addr::from(source).octets());
    frame[30..34].copy_from_slice(&[192, 0, 2, 1]);
    frame[37] = port;
    frame
}

/// How many packets of one sender are sent: more than alerts are told of in a second, on any kernel.
const MANY: u32 = 200_000;

#[test]
fn each_packet_that_is_dropped_by_its_sender_alone_is_counted() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("not tried: this needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("test.yaml"), RULES).unwrap();
    let policy = Policy::open(folder.path(), &Trust::Folder).unwrap();
    let mut loaded = Unattached::load("settled", policy.wanted_bytes(), &[Act::PacketIn]);
    let maps = loaded.directory().join("maps");
    let mut slots = Slots::open(&loaded).unwrap();
    let rules = &policy.image.metadata().rules;
    let number = |id: &str| rules.iter().position(|rule| rule.id == id).unwrap() as u32;
    let program: &mut Xdp = loaded.program_mut("packet_in").unwrap().try_into().unwrap();
    let dropped = |frame: &[u8], repeat: u32| {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        program.test_run(options).unwrap().return_value == 1
    };
    let (listed, excused) = ([203, 0, 113, 7], [198, 51, 100, 7]);

    slots.swap(policy.image.kernel(), Mode::Enforce).unwrap();
    let first = slots.active().unwrap().0;
    assert!(dropped(&frame(listed, 1), MANY));
    assert!(dropped(&frame(excused, 1), MANY));
    assert!(!dropped(&frame(excused, 9), MANY));
    let counted = tallies::read(&maps).unwrap();
    let of = |generation: u32, id: &str| counted.get(&(generation, number(id))).copied();
    let by_sender = of(first, "T-1").unwrap();
    assert_eq!(by_sender.hits, u64::from(MANY));
    assert_eq!(by_sender.bytes, u64::from(MANY) * FRAME_BYTES);
    assert!(by_sender.settled > u64::from(MANY) / 2, "{by_sender:?}");
    let in_full = Counted { hits: MANY.into(), bytes: u64::from(MANY) * FRAME_BYTES, settled: 0 };
    assert_eq!(of(first, "T-2"), Some(in_full));
    assert_eq!(of(first, "T-3"), None);

    // Another policy of the same rules counts for itself, and nothing of what was counted before is lost.
    slots.swap(policy.image.kernel(), Mode::Enforce).unwrap();
    let second = slots.active().unwrap().0;
    assert!(dropped(&frame(listed, 1), MANY));
    let counted = tallies::read(&maps).unwrap();
    for generation in [first, second] {
        let of_each = counted[&(generation, number("T-1"))];
        assert_eq!((of_each.hits, of_each.bytes), (by_sender.hits, by_sender.bytes));
    }

    // An agent that audits drops nothing.
    slots.swap(policy.image.kernel(), Mode::Audit).unwrap();
    let third = slots.active().unwrap().0;
    assert!(!dropped(&frame(listed, 1), MANY));
    let counted = tallies::read(&maps).unwrap();
    let of_third = counted[&(third, number("T-1"))];
    assert_eq!((of_third.hits, of_third.settled), (u64::from(MANY), 0));
}
