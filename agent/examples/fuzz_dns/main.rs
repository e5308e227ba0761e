//! Throws packets to name servers at the kernel program on look-ups, through `BPF_PROG_TEST_RUN`, and compares what it does
//! with what another reader of DNS messages says. As root; nothing is attached, so nothing but the packets made here is judged.
//!
//! `cargo run --release -p interdict --example fuzz_dns -- [CASES] [SEED]`, or `cargo xtask fuzz-dns`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a comparison that goes wrong should stop"
)]

mod generate;
mod reference;
#[path = "../fuzz/setup.rs"]
mod setup;

use aya::programs::{CgroupSkb, TestRun as _, TestRunOptions};
use fastrand::Rng;
use generate::Packet;
use interdict_abi::ids::Act;
use interdict_agent::kernel::loader::Loaded;
use setup::Found;

/// The first rule drops what it cannot read, the second lets it pass: by the server.
const RULES: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: fuzz }
spec:
  mode: enforce
  rules:
    - { id: D-1, title: strict, on: [net.dns], when: 'net.dst.ip in ["192.0.2.53", "2001:db8::53"] and dns.name in ["evil.example", "**.bad.example", "*.one.test"]', on_fault: block, action: block }
    - { id: D-2, title: lenient, on: [net.dns], when: 'net.dst.ip in ["192.0.2.54", "2001:db8::54"] and dns.name in ["evil.example", "**.bad.example", "*.one.test"]', on_fault: pass, action: block }
"#;

fn main() {
    setup::run("fuzz-dns", RULES, &[Act::NetDns], |loaded, _, cases, seed| {
        for (program, verified, instructions) in loaded.verified_instructions() {
            if program == "dns_out" {
                eprintln!("{program}: verified {verified:?}, instructions {instructions:?}");
            }
        }
        compare(loaded, cases, seed)
    });
}

/// How many packets were treated otherwise than the reference says, and how many were dropped.
fn compare(loaded: &mut Loaded, cases: u64, seed: u64) -> Found {
    let mut random = Rng::with_seed(seed);
    let (mut mismatches, mut dropped) = (0, 0);
    let program: &mut CgroupSkb = loaded.program_mut("dns_out").unwrap().try_into().unwrap();
    for case in 0..cases {
        let packet: Packet = generate::packet(&mut random);
        let options = TestRunOptions { data_in: Some(&packet.bytes), ..TestRunOptions::new() };
        let passed = program.test_run(options).unwrap().return_value == 1;
        let expected = reference::passes(&packet);
        dropped += u64::from(!passed);
        if passed != expected {
            mismatches += 1;
            if mismatches <= 10 {
                let hex: String = packet.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                eprintln!(
                    "case {case}: passed {passed}, expected {expected}\n  {hex}\n  {packet:?}"
                );
            }
        }
    }
    Found { mismatches, dropped }
}
