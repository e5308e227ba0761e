//! Packets that are dropped by their sender alone are dropped and counted, each of them, and only while rules enforce;
//! judged by the kernel's own program, run on packets, with nothing attached. For root.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that goes wrong should stop")]

#[path = "unattached/packets.rs"]
mod packets;
mod unattached;

use std::net::Ipv4Addr;

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use interdict_abi::ids::{Act, Mode};
use interdict_agent::kernel::{
    slots::Slots,
    tallies::{self, Counted},
};
use packets::{FRAME_BYTES, frame};
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

/// How many packets of one sender are sent: more than alerts are told of in a second, on any kernel.
const MANY: u32 = 200_000;

#[test]
fn each_packet_that_is_dropped_by_its_sender_alone_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let Some(policy) = packets::opened(folder.path(), RULES) else { return };
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
    let listed = Ipv4Addr::new(203, 0, 113, 7);
    let excused = Ipv4Addr::new(198, 51, 100, 7);

    slots.swap(policy.image.kernel(), Mode::Enforce).unwrap();
    let first = slots.active().unwrap().0;
    assert!(dropped(&frame(listed, 1), MANY));
    assert!(dropped(&frame(excused, 1), MANY));
    assert!(!dropped(&frame(excused, 9), MANY));
    let counted = tallies::read(&maps).unwrap();
    let of = |generation: u32, id: &str| counted.get(&(generation, number(id))).copied();
    let by_sender = of(first, "T-1").unwrap();
    assert_eq!(by_sender.hits, u64::from(MANY));
    assert_eq!(by_sender.bytes, u64::from(MANY) * FRAME_BYTES as u64);
    assert!(by_sender.settled > u64::from(MANY) / 2, "{by_sender:?}");
    let in_full =
        Counted { hits: MANY.into(), bytes: u64::from(MANY) * FRAME_BYTES as u64, settled: 0 };
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
