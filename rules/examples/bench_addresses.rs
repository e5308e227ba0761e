//! How long the engine takes to find an address in a feed. Prints one JSON object.
//!
//! `cargo run --release -p interdict-rules --example bench_addresses [-- PREFIXES]`

#[path = "bench/policy.rs"]
#[expect(dead_code, reason = "shared with bench_compile")]
mod policy;

use std::{hint::black_box, time::Instant};

use fastrand::Rng;
use interdict_abi::{
    ids::{Act, Action, Fact, Family, Mode},
    image::{COLUMN_BYTES, column, family, header},
};
use interdict_engine::{Memory as _, tables};
use interdict_rules::{
    ir::{Clause, Literal, OnFault, Program, Rule, Test},
    lower::{Budget, lower},
    oracle::generate,
};

const LOOKUPS: usize = 1 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prefixes: usize = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let mut random = Rng::with_seed(11);
    let (v4, v6) = policy::feed(&mut random, prefixes);
    let test =
        Test::Address { fact: Fact::RemoteIp, v4: v4.clone(), v6: v6.clone(), from: Vec::new() };
    let literals = vec![Literal { negated: false, test }];
    let clauses =
        vec![Clause { family: Family::Packet, acts: Act::PacketIn.bit(), literals, origin: 0 }];
    let rule = Rule {
        id: "feed".to_owned(),
        action: Action::Block,
        errno: 1,
        mode: Mode::Enforce,
        on_fault: OnFault::Pass,
        clauses,
        exceptions: Vec::new(),
        narrowed: Vec::new(),
    };
    let program = Program { rules: vec![rule] };
    let start = Instant::now();
    let image = lower(&program, generate::metadata(&program), Budget::default())?;
    let lower_ms = start.elapsed().as_millis();
    let bytes = image.kernel();
    let column = bytes.word(header::FAMILIES + Family::Packet as u32 * 4)
        + family::COLUMNS
        + Fact::RemoteIp as u32 * COLUMN_BYTES;
    let table = bytes.word(column + column::TABLE);
    let table_v6 = bytes.word(column + column::TABLE_V6);
    let listed = |address: u32| tables::address_v4(bytes, table, address) != 0;

    let any: Vec<u32> = (0..LOOKUPS).map(|_| random.u32(..)).collect();
    let misses: Vec<u32> = any.iter().copied().filter(|address| !listed(*address)).collect();
    let hits: Vec<u32> = (0..LOOKUPS).map(|_| v4[random.usize(..v4.len())].0).collect();
    let any_v6: Vec<(u64, u64)> =
        (0..LOOKUPS).map(|_| (0x2000 << 48 | random.u64(..) >> 3, random.u64(..))).collect();
    let hits_v6: Vec<(u64, u64)> = (0..LOOKUPS)
        .map(|_| v6[random.usize(..v6.len())].0)
        .map(|address| ((address >> 64) as u64, address as u64))
        .collect();
    let v4_ns =
        |addresses: &[u32]| best(addresses, |address| tables::address_v4(bytes, table, *address));
    let v6_ns = |addresses: &[(u64, u64)]| {
        best(addresses, |(upper, lower)| tables::address_v6(bytes, table_v6, *upper, *lower))
    };
    let report = serde_json::json!({
        "prefixes": prefixes, "image_bytes": bytes.len(), "lower_ms": lower_ms,
        "pages_v4": bytes.word(table), "pages_v6": bytes.word(table_v6),
        "v4_random_miss_ns": v4_ns(&misses), "v4_random_hit_ns": v4_ns(&hits),
        "v4_hot_miss_ns": v4_ns(&misses[..8]), "v4_hot_hit_ns": v4_ns(&hits[..8]),
        "v6_random_miss_ns": v6_ns(&any_v6), "v6_random_hit_ns": v6_ns(&hits_v6),
        "v6_hot_miss_ns": v6_ns(&any_v6[..8]), "v6_hot_hit_ns": v6_ns(&hits_v6[..8]),
        "v4_unlisted_share": misses.len() as f64 / any.len() as f64,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// Nanoseconds a look-up, the best of seven rounds.
fn best<T>(addresses: &[T], look_up: impl Fn(&T) -> u32) -> f64 {
    let rounds = (LOOKUPS / addresses.len()).max(1);
    let fastest = (0..7)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..rounds {
                for address in addresses {
                    black_box(look_up(black_box(address)));
                }
            }
            start.elapsed().as_nanos() as f64 / (rounds * addresses.len()) as f64
        })
        .fold(f64::INFINITY, f64::min);
    (fastest * 10.0).round() / 10.0
}
