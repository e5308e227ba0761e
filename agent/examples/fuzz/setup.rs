//! What the comparing programs share: kernel programs with rules in force and nothing attached, and the report.

#[path = "../../tests/unattached/mod.rs"]
mod unattached;

use std::time::Instant;

use interdict_abi::ids::{Act, Mode};
use interdict_agent::{
    kernel::{loader::Loaded, slots::Slots},
    policy::Policy,
    trust::Trust,
};
use unattached::Unattached;

/// What came of a comparison.
pub(crate) struct Found {
    /// Cases that were treated otherwise than the reference says.
    pub(crate) mismatches: u64,
    /// Cases that were dropped.
    pub(crate) dropped: u64,
}

/// Reads the number of cases and the seed from the arguments, loads the programs for `acts` with `rules` in force, compares
/// and tells; ends the process with 1 after a mismatch, or if there was nothing to compare.
pub(crate) fn run(
    name: &str,
    rules: &str,
    acts: &[Act],
    compare: impl FnOnce(&mut Loaded, &mut Slots, u64, u64) -> Found,
) {
    let mut arguments = std::env::args().skip(1);
    let cases: u64 = arguments.next().map_or(100_000, |text| text.parse().unwrap());
    let seed: u64 = arguments.next().map_or(1, |text| text.parse().unwrap());
    let own = format!("interdict-{name}-{}", std::process::id());
    let folder = std::env::temp_dir().join(&own);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("fuzz.yaml"), rules).unwrap();
    let policy = Policy::open(&folder, &Trust::Folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let image = policy.image.kernel();
    let mut loaded = Unattached::load(name, image.len(), acts);
    let mut slots = Slots::open(&loaded).unwrap();
    slots.swap(image, Mode::Enforce).unwrap();
    let start = Instant::now();
    let Found { mismatches, dropped } = compare(&mut loaded, &mut slots, cases, seed);
    let seconds = start.elapsed().as_secs_f64();
    drop(loaded);
    println!(
        "{}",
        serde_json::json!({
            "cases": cases, "seed": seed, "mismatches": mismatches, "dropped": dropped, "seconds": seconds,
        })
    );
    if mismatches > 0 || dropped == 0 || dropped == cases {
        std::process::exit(1);
    }
}
