//! How long a policy takes to compile, how large it gets and how long the engine takes on it. Prints one JSON object.
//!
//! `cargo run --release -p interdict-rules --example bench_compile [-- RULES,RULES.. [PREFIXES [SUFFIX_PERCENT [PARTS [SEED]]]]]`

#[path = "bench/policy.rs"]
mod policy;
#[path = "bench/report.rs"]
mod report;

use std::time::Instant;

use interdict_rules::lower::{Budget, lower_with_stats};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let sizes = arguments.next().unwrap_or_else(|| "10,100,1000,10000".to_owned());
    let prefixes: usize = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let suffixes: u64 = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let parts: usize = arguments.next().map_or(Ok(8), |text| text.parse())?;
    let seed: u64 = arguments.next().map_or(Ok(policy::SEED), |text| text.parse())?;
    let budget = Budget { parts, ..Budget::default() };
    let mut rows = Vec::new();
    // What ten rules list, every larger policy lists too.
    let few = report::listed(&policy::mixed(policy::COMMON, 0, suffixes, seed).0);
    for size in sizes.split(',') {
        let size: usize = size.parse()?;
        let feed = if size >= 10_000 { prefixes } else { 0 };
        let (program, metadata) = policy::mixed(size, feed, suffixes, seed);
        let (start, processor) = (Instant::now(), report::processor_ms());
        let (image, stats) = lower_with_stats(&program, metadata, budget)?;
        let lowered = start.elapsed();
        let lowered_processor = report::processor_ms() - processor;
        let start = Instant::now();
        let file = image.encode()?;
        let encoded = start.elapsed();
        let start = Instant::now();
        interdict_rules::image::PolicyImage::decode(&file)?;
        let decoded = start.elapsed();
        let mut row = report::sizes(size, feed, &image, &stats);
        row["lower_ms"] = report::milliseconds(lowered);
        row["lower_processor_ms"] = lowered_processor.into();
        row["encode_ms"] = report::milliseconds(encoded);
        row["decode_ms"] = report::milliseconds(decoded);
        row["peak_rss_mib"] = report::peak_rss_mib();
        report::walks(&mut row, &image, &program, &few);
        rows.push(row);
    }
    println!("{}", serde_json::to_string_pretty(&rows)?);
    Ok(())
}
