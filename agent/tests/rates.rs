//! Rules about packets beyond a rate, judged by the kernel's own program, run on packets, with nothing attached. For root.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that goes wrong should stop")]

mod unattached;

use std::{fs, net::Ipv4Addr, os::unix::fs::MetadataExt as _};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use interdict_abi::ids::{Act, Mode};
use interdict_agent::{kernel::slots::Slots, policy::Policy, trust::Trust};
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

fn frame(source: Ipv4Addr, port: u8) -> Vec<u8> {
    let mut frame = vec![0; 64];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[17] = 50;
    frame[23] = 17;
    frame[26..30].copy_from_slice(&source.octets());
    frame[30..34].copy_from_slice(&[192, 0, 2, 1]);
    frame[37] = port;
    frame
}

#[test]
fn a_peer_has_its_burst_and_no_more_and_others_have_theirs() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("not tried: this needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("test.yaml"), RULES).unwrap();
    let policy = Policy::open(folder.path(), &Trust::Folder).unwrap();
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
