//! Rules about packets beyond a rate, judged by the kernel's own program, run on packets, with nothing attached. For root.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that goes wrong should stop")]

#[path = "unattached/packets.rs"]
mod packets;
mod unattached;

use std::net::Ipv4Addr;

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use interdict_abi::ids::{Act, Mode};
use interdict_agent::kernel::slots::Slots;
use packets::frame;
use unattached::Unattached;

/// Ten minutes pass between two packets of one peer that are within the first rule's rate.
const RULES: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: test }
spec:
  mode: enforce
  rules:
    - { id: T-1, title: flood, on: [packet.in], when: 'net.src.ip in [203.0.113.0/24]', action: block, rate: { over: 6, per: 1h, burst: 4 } }
    - { id: T-2, title: never, on: [packet.in], when: 'net.src.ip in ["203.0.113.66"] and net.dst.port == 9', action: block }
"#;

#[test]
fn a_peer_has_its_burst_and_no_more_and_others_have_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let Some(policy) = packets::opened(folder.path(), RULES) else { return };
    let mut loaded = Unattached::load("rates", policy.wanted_bytes(), &[Act::PacketIn]);
    let mut slots = Slots::open(&loaded).unwrap();
    slots.rates(policy.rates());
    slots.swap(policy.image.kernel(), Mode::Enforce).unwrap();
    let program: &mut Xdp = loaded.program_mut("packet_in").unwrap().try_into().unwrap();
    let passes = |last: u8, port: u8| {
        let frame = frame(Ipv4Addr::new(203, 0, 113, last), port);
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
        program.test_run(options).unwrap().return_value == 2
    };
    let first: Vec<bool> = (0..7).map(|_| passes(1, 1)).collect();
    let other: Vec<bool> = (0..5).map(|_| passes(2, 1)).collect();
    // A rule without a rate refuses from the first packet on, within the rate of another rule or beyond.
    let never: Vec<bool> = (0..6).map(|_| passes(66, 9)).collect();
    assert_eq!(first, [true, true, true, true, false, false, false]);
    assert_eq!(other, [true, true, true, true, false]);
    assert_eq!(never, [false; 6]);
}
