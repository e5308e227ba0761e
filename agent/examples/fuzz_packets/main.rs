//! Throws packets at the kernel programs on packets, through `BPF_PROG_TEST_RUN`, and compares what they do with what a
//! reference parser says. As root; nothing is attached, so nothing but the packets made here is judged.
//!
//! `cargo run --release -p interdict --example fuzz_packets -- [CASES] [SEED]`, or `cargo xtask fuzz-packets`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a comparison that goes wrong should stop"
)]

mod generate;
mod reference;
#[path = "../fuzz/setup.rs"]
mod setup;

use std::net::IpAddr;

use aya::programs::{CgroupSkb, ProgramError, TestRun, TestRunOptions, TestRunResult, Xdp};
use fastrand::Rng;
use interdict_abi::ids::Act;
use interdict_agent::kernel::{loader::Loaded, slots::Slots};
use reference::{Layer, Place, Ports, layers};
use setup::Found;

const RULES: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: fuzz }
spec:
  mode: enforce
  lists:
    listed: { type: cidr, items: [203.0.113.0/24, "2001:db8:bad::/48"] }
  rules:
    - { id: F-1, title: from, on: [packet.in], when: net.src.ip in listed, action: block }
    - { id: F-2, title: port, on: [packet.in], when: 'net.dst.ip in ["198.51.100.0/30"] and net.dst.port == 4444', on_fault: block, action: block }
    - { id: F-3, title: to, on: [packet.out], when: net.dst.ip in listed, action: block }
    - { id: F-4, title: to port, on: [packet.out], when: net.proto == tcp and net.dst.port == 4444, on_fault: pass, action: block }
    - { id: F-5, title: connect, on: [packet.connect], when: net.dst.port == 22, on_fault: block, action: block }
    - { id: F-6, title: accept, on: [packet.accept], when: net.src.ip in listed and net.dst.port == 22, on_fault: block, action: block }
"#;

/// Rules that ask for addresses alone: most packets pass by the short way then, and all must be treated as by the long one.
const SHORT: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: fuzz-short }
spec:
  mode: enforce
  lists:
    listed: { type: cidr, items: [203.0.113.0/24, "2001:db8:bad::/48"] }
  rules:
    - { id: S-1, title: from, on: [packet.in], when: net.src.ip in listed, action: block }
    - { id: S-2, title: to, on: [packet.in], when: 'net.dst.ip in ["198.51.100.0/30"]', action: block }
    - { id: S-3, title: to, on: [packet.out], when: 'net.dst.ip in ["203.0.113.0/25"]', action: block }
    - { id: S-4, title: connect, on: [packet.connect], when: net.dst.ip in listed, action: block }
    - { id: S-5, title: accept, on: [packet.accept], when: net.src.ip in listed, action: block }
"#;

fn listed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.octets()[..3] == [203, 0, 113],
        IpAddr::V6(six) => six.segments()[..3] == [0x2001, 0xdb8, 0xbad],
    }
}

fn to_port(layer: &Layer, port: u16, if_unknown: bool) -> bool {
    match layer.ports {
        Ports::Known(_, to) => to == port,
        Ports::Unknown => if_unknown,
        Ports::None => false,
    }
}

/// What the rules above say of one layer.
fn refused(layer: &Layer, place: Place) -> bool {
    match place {
        Place::Interface => {
            let near = matches!(layer.to, IpAddr::V4(four) if four.octets()[..3] == [198, 51, 100] && four.octets()[3] < 4);
            listed(layer.from) || near && to_port(layer, 4444, true)
        }
        Place::Out => {
            !layer.link
                && (listed(layer.to)
                    || layer.protocol == 6 && to_port(layer, 4444, false)
                    || layer.asks && to_port(layer, 22, true))
        }
        Place::In => layer.asks && listed(layer.from) && to_port(layer, 22, true),
    }
}

/// What the rules of [`SHORT`] say of one layer.
fn refused_short(layer: &Layer, place: Place) -> bool {
    let near = |first: [u8; 3], below: u8| matches!(layer.to, IpAddr::V4(four) if four.octets()[..3] == first && four.octets()[3] < below);
    match place {
        Place::Interface => listed(layer.from) || near([198, 51, 100], 4),
        Place::Out => !layer.link && (near([203, 0, 113], 128) || layer.asks && listed(layer.to)),
        Place::In => layer.asks && listed(layer.from),
    }
}

/// What rules say of one layer.
type Refused = fn(&Layer, Place) -> bool;

fn passes(bytes: &[u8], place: Place, inside: bool, refused: Refused) -> bool {
    let frame = place == Place::Interface;
    let found = layers(if frame { bytes } else { &bytes[14..] }, frame, inside);
    !found.broken && !found.layers.iter().any(|layer| refused(layer, place))
}

/// What a program answers; `None` if the kernel does not run it on so short a packet.
fn run<P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>>(
    program: &P,
    bytes: &[u8],
) -> Option<u32> {
    let options = TestRunOptions { data_in: Some(bytes), ..TestRunOptions::new() };
    match program.test_run(options) {
        Ok(result) => Some(result.return_value),
        Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(22) => None,
        Err(error) => panic!("{error}"),
    }
}

fn main() {
    let acts = [Act::PacketIn, Act::PacketOut, Act::PacketConnect, Act::PacketAccept];
    for (rules, refused) in [(RULES, refused as Refused), (SHORT, refused_short)] {
        setup::run("fuzz-packets", rules, &acts, |loaded, slots, cases, seed| {
            compare(loaded, slots, cases, seed, refused)
        });
    }
}

/// How many packets were treated otherwise than the reference says, and how many were dropped.
fn compare(
    loaded: &mut Loaded,
    slots: &mut Slots,
    cases: u64,
    seed: u64,
    refused: Refused,
) -> Found {
    let mut random = Rng::with_seed(seed);
    let (mut mismatches, mut dropped, mut unrun) = (0, 0, 0);
    let mut inside = false;
    for case in 0..cases {
        if case % 10_000 == 0 {
            inside = !inside;
            slots.look_inside(inside).unwrap();
        }
        let mut bytes = generate::frame(&mut random);
        bytes.truncate(3_900);
        let place = [Place::Interface, Place::Out, Place::In][random.u64(..3) as usize];
        if place != Place::Interface {
            // The kernel refuses to run these on an empty packet, and takes the version from the frame.
            while bytes.len() < 16 {
                bytes.push(random.u64(..) as u8);
            }
        }
        let passed = match place {
            Place::Interface => {
                let program: &mut Xdp =
                    loaded.program_mut("packet_in").unwrap().try_into().unwrap();
                run(program, &bytes).map(|answer| answer == 2)
            }
            Place::Out | Place::In => {
                let name = if place == Place::Out { "packet_out" } else { "packet_accept" };
                let program: &mut CgroupSkb = loaded.program_mut(name).unwrap().try_into().unwrap();
                run(program, &bytes).map(|answer| answer == 1)
            }
        };
        let Some(passed) = passed else {
            unrun += 1;
            continue;
        };
        let expected = passes(&bytes, place, inside, refused);
        dropped += u64::from(!passed);
        if passed != expected {
            mismatches += 1;
            if mismatches <= 10 {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let frame = place == Place::Interface;
                let found = layers(if frame { &bytes } else { &bytes[14..] }, frame, inside);
                eprintln!(
                    "case {case} {place:?} inside {inside}: passed {passed}, expected {expected}\n  {hex}\n  {found:?}"
                );
            }
        }
    }
    assert!(unrun * 2 < cases, "the kernel ran only {} of {cases} packets", cases - unrun);
    Found { mismatches, dropped }
}
