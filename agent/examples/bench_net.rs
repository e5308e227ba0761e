//! What a packet costs at an interface with a feed of a million prefixes: the kernel's own word, from
//! `BPF_PROG_TEST_RUN`. As root; nothing is attached. Prints one JSON object; `cargo xtask bench net` runs it.
//!
//! `cargo run --release -p interdict --example bench_net -- [PREFIXES] [ROUNDS]`
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement that goes wrong should stop"
)]

#[path = "../tests/unattached/mod.rs"]
mod unattached;

use std::{collections::BTreeSet, fmt::Write as _, path::Path, time::Instant};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use fastrand::Rng;
use interdict_abi::ids::{Act, Mode};
use interdict_agent::{
    canary::{Expected, acts::Places},
    feeds::FeedsInForce,
    kernel::{
        loader::Loaded,
        slots::{Slots, Watch},
    },
    policy::Policy,
    trust::Trust,
};
use serde_json::json;
use unattached::Unattached;

/// What the kernel object's `measure` programs step the source of IPv4 packets by.
const fn step(address: u32) -> u32 {
    address.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}

/// Where the walk over listed addresses starts.
const FIRST: u32 = 0x0102_0304;
/// Where the walk over addresses that are seldom listed starts.
const ELSEWHERE: u32 = 0x9e37_79b9;

/// Difference updates that are made.
const DIFFERENCES: usize = 5;

/// A feed like published ones: seven in ten IPv4, of those nine in ten single addresses, the rest networks of /20 to /31;
/// IPv6 from /32 to /128, half of them /64. The IPv4 prefixes hold the walk from [`FIRST`], so that each of its first
/// steps is a hit.
fn feed(prefixes: usize) -> (String, usize) {
    let mut random = Rng::with_seed(7);
    let mut text = String::with_capacity(prefixes * 24);
    let mut address = FIRST;
    let v4 = prefixes * 7 / 10;
    for _ in 0..v4 {
        address = step(address);
        let bits = if random.u64(..10) < 9 { 32 } else { random.u32(20..32) };
        let network = address & (u32::MAX << (32 - bits));
        let _ = writeln!(text, "{}/{bits}", std::net::Ipv4Addr::from(network));
    }
    for _ in v4..prefixes {
        let bits = match random.u64(..10) {
            0 => 32,
            1 | 2 => 48,
            3..=7 => 64,
            _ => 128,
        };
        let upper = 0x2000_0000_0000_0000 | random.u64(..) >> 3;
        let whole = u128::from(upper) << 64 | u128::from(random.u64(..));
        let network = whole & (u128::MAX << (128 - bits));
        let _ = writeln!(text, "{}/{bits}", std::net::Ipv6Addr::from(network));
    }
    (text, v4)
}

fn frame_v4(source: u32) -> Vec<u8> {
    let mut frame = vec![0; 64];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[17] = 50;
    frame[23] = 17;
    frame[26..30].copy_from_slice(&source.to_be_bytes());
    frame[30..34].copy_from_slice(&[192, 0, 2, 1]);
    frame
}

fn frame_v6(second: u32) -> Vec<u8> {
    let mut frame = vec![0; 80];
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    frame[14] = 0x60;
    frame[20] = 17;
    frame[22..26].copy_from_slice(&[0x2a, 0x04, 0x4e, 0x42]);
    frame[26..30].copy_from_slice(&second.to_be_bytes());
    frame[38] = 0x20;
    frame
}

struct Bench {
    loaded: Unattached,
    rounds: usize,
}

impl Bench {
    /// The fastest of several rounds, ns a packet, and what the last packet came to.
    fn run(&mut self, program: &str, frame: &[u8], repeat: u32) -> (u64, u32) {
        let program: &mut Xdp = self.loaded.program_mut(program).unwrap().try_into().unwrap();
        let mut best = (u64::MAX, 0);
        for _ in 0..self.rounds {
            let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
            let result = program.test_run(options).unwrap();
            best = (best.0.min(result.duration.as_nanos() as u64), result.return_value);
        }
        best
    }
}

/// What difference updates take: the median of several, each of a hundredth of the feed, half of which comes and half of
/// which goes.
struct Differences {
    entries: usize,
    took_us: u64,
    writing_us: u64,
}

impl Differences {
    fn measure(
        policy: &mut Policy,
        slots: &mut Slots,
        loaded: &Loaded,
        file: &Path,
        text: String,
        v4: usize,
    ) -> Self {
        let feeds = policy.take_feeds();
        let metadata = policy.image.metadata();
        let mut in_force = FeedsInForce::of(&metadata.lists, feeds, loaded.slot_bytes());
        let generation = slots.active().unwrap();
        let kernel = policy.image.kernel();
        let watch = Watch::open(loaded, generation, Mode::Enforce, kernel).unwrap();
        let places = Places::make(file.parent().unwrap()).unwrap();
        let mut expected =
            Expected::new(metadata, &places, Mode::Enforce, false, watch, Vec::new());
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let entries = lines.len() / 100;
        let mut random = Rng::with_seed(23);
        let mut found = Vec::new();
        for _ in 0..DIFFERENCES {
            // The first entry stays: it is asked for afterwards.
            for _ in 0..entries / 2 {
                let at = 1 + random.usize(..lines.len() - 1);
                let other = if at < v4 {
                    std::net::Ipv4Addr::from(random.u32(..)).to_string()
                } else {
                    let upper = 0x2000_0000_0000_0000 | random.u64(..) >> 3;
                    format!("{}/64", std::net::Ipv6Addr::from(u128::from(upper) << 64))
                };
                lines[at] = other;
            }
            std::fs::write(file, lines.join("\n")).unwrap();
            let files = BTreeSet::from([file.to_owned()]);
            let changed = in_force.change(&files, slots, &mut expected).unwrap();
            let difference = changed[0].difference.unwrap();
            found.push((difference.took_us, difference.writing_us));
        }
        // All of it is looked at, part by part.
        for _ in 0..kernel.len() / (8 << 20) + 2 {
            assert_eq!(expected.watch().unwrap().look(), None);
        }
        found.sort_unstable();
        let (took_us, writing_us) = found[found.len() / 2];
        Self { entries, took_us, writing_us }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let prefixes: usize = arguments.next().map_or(1_000_000, |text| text.parse().unwrap());
    let rounds: usize = arguments.next().map_or(9, |text| text.parse().unwrap());
    let folder = std::env::temp_dir().join(format!("interdict-bench-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("feeds")).unwrap();
    let (text, v4) = feed(prefixes);
    let file = folder.join("feeds/bench.cidr");
    std::fs::write(&file, &text).unwrap();
    let rules = format!(
        "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: {{ name: bench }}\nspec:\n  mode: enforce\n  lists:\n    \
         feed: {{ type: cidr, feed: {{ file: feeds/bench.cidr, max: {} }} }}\n  rules:\n    \
         - {{ id: B-1, title: feed, on: [packet.in], when: net.src.ip in feed, action: block }}\n",
        prefixes.max(1)
    );
    std::fs::write(folder.join("bench.yaml"), rules).unwrap();
    let start = Instant::now();
    let mut policy = Policy::open(&folder, &Trust::Folder).unwrap();
    let compile_ms = start.elapsed().as_millis();
    let image = policy.image.kernel();
    let mut loaded = Unattached::load("bench", policy.wanted_bytes(), &[Act::PacketIn]);
    let slot_bytes = loaded.slot_bytes();
    let mut slots = Slots::open(&loaded).unwrap();
    let start = Instant::now();
    slots.swap(image, Mode::Enforce).unwrap();
    let swap_ms = start.elapsed().as_millis();
    for name in ["measure_nothing", "measure_walk", "measure_judged"] {
        let program: &mut Xdp = loaded.program_mut(name).unwrap().try_into().unwrap();
        program.load().unwrap();
    }
    let mut bench = Bench { loaded, rounds };
    let hits = v4 as u32;
    let (nothing, _) = bench.run("measure_nothing", &frame_v4(0), 1_000_000);
    let (walk, _) = bench.run("measure_walk", &frame_v4(ELSEWHERE), 1_000_000);
    let (walk_v6, _) = bench.run("measure_walk", &frame_v6(ELSEWHERE), 1_000_000);
    let (random_miss, _) = bench.run("measure_judged", &frame_v4(ELSEWHERE), 1_000_000);
    let (random_miss_v6, _) = bench.run("measure_judged", &frame_v6(ELSEWHERE), 1_000_000);
    let (random_hit, last) = bench.run("measure_judged", &frame_v4(FIRST), hits.max(1));
    assert_eq!(last, 1, "the last of the listed addresses was let through");
    let (hot_miss, passed) = bench.run("packet_in", &frame_v4(0x0a00_0001), 1_000_000);
    assert_eq!(passed, 2, "an address that is not listed was dropped");
    let (hot_hit, _) = bench.run("packet_in", &frame_v4(step(FIRST)), 1_000_000);
    let image_bytes = policy.image.kernel().len();
    let differences = Differences::measure(&mut policy, &mut slots, &bench.loaded, &file, text, v4);
    let hit_after = bench.run("packet_in", &frame_v4(step(FIRST)), 1).1;
    assert_eq!(hit_after, 1, "a kept entry is missing after the differences");
    drop(bench);
    std::fs::remove_dir_all(&folder).unwrap();
    let report = json!({
        "prefixes": prefixes, "image_bytes": image_bytes, "slot_bytes": slot_bytes,
        "compile_ms": compile_ms as u64, "swap_ms": swap_ms as u64,
        "nothing_ns": nothing, "walk_ns": walk,
        "miss_random_above_ns": random_miss as i64 - walk as i64,
        "miss_random_v6_above_ns": random_miss_v6 as i64 - walk_v6 as i64,
        "miss_hot_above_ns": hot_miss as i64 - nothing as i64,
        "hit_random_above_ns": random_hit as i64 - walk as i64,
        "hit_hot_above_ns": hot_hit as i64 - nothing as i64,
        "difference_entries": differences.entries, "difference_us": differences.took_us,
        "difference_writing_us": differences.writing_us,
    });
    println!("{report}");
}
