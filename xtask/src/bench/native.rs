//! Measurements on this machine: the examples that measure, run several times, put into a record.
//!
//! Each example prints one JSON value. Its numbers become figures by their names; which unit a name stands for is its
//! ending (`_ns`, `_ms`, `_per_second`, ...). Times on a machine that does other work are upper bounds, and the record
//! says so.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::Value;

use super::finish;
use super::record::{Begun, Figure};
use crate::{run, step};

/// What is given to every native measurement.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How often it is run.
    #[arg(long, default_value_t = 3)]
    repetitions: u32,
    /// Print, and record nothing.
    #[arg(long)]
    dry: bool,
}

/// One example to run.
#[derive(Debug)]
struct Example {
    package: &'static str,
    name: &'static str,
    arguments: &'static [&'static str],
    /// Names of numbers that are of interest.
    wanted: &'static [&'static str],
    /// What stands before these names: of what kind the rules are.
    kind: &'static str,
}

/// How long policies take from text to image, with a feed of a million prefixes among ten thousand rules, and how large
/// they get.
pub(super) fn compile(arguments: &Arguments) -> Result<()> {
    let package = "interdict-rules";
    let from_text = Example {
        package,
        name: "bench_text",
        arguments: &["100,1000,10000", "1000000"],
        wanted: &["compile_ms", "compile_processor_ms", "peak_rss_mib", "image_bytes"],
        kind: "",
    };
    let in_pieces = Example {
        package,
        name: "bench_compile",
        arguments: &["100,1000,10000", "1000000"],
        wanted: &["lower_ms", "encode_ms", "decode_ms"],
        kind: "",
    };
    // Policies of the same kind, made with other random numbers: the worst of them.
    let of_twelve = Example {
        package,
        name: "bench_text",
        arguments: &["10000", "1000000", "1-12"],
        wanted: &["compile_ms", "image_bytes"],
        kind: "worst_of_12/",
    };
    measure("compile", &[from_text, in_pieces, of_twelve], arguments)
}

/// How long the engine takes for a byte, a decision, an address. The same paths at every size; patterns that can begin
/// anywhere (`**/name`) are measured apart, because they are read to the end of every path.
pub(super) fn engine(arguments: &Arguments) -> Result<()> {
    let package = "interdict-rules";
    let wanted: &[&str] = &[
        "walk_hot_ns_per_byte",
        "walk_all_ns_per_byte",
        "walk_unlisted_ns_per_path",
        "decide_unlisted_ns",
        "decide_listed_ns",
    ];
    let of_rules =
        |arguments, kind| Example { package, name: "bench_compile", arguments, wanted, kind };
    let of_addresses = Example {
        package,
        name: "bench_addresses",
        arguments: &["1000000"],
        wanted: &[
            "v4_random_miss_ns",
            "v4_random_hit_ns",
            "v4_hot_miss_ns",
            "v4_hot_hit_ns",
            "v6_random_miss_ns",
            "v6_random_hit_ns",
        ],
        kind: "",
    };
    let examples = [
        of_rules(&["10,100,1000,10000", "0", "0"], "anchored/"),
        of_rules(&["10,100,1000,10000", "0", "1"], "anywhere/"),
        of_addresses,
    ];
    measure("engine", &examples, arguments)
}

/// How many alerts a second the agent makes, seals, spools and delivers, and how long one takes.
pub(super) fn pipeline(arguments: &Arguments) -> Result<()> {
    let example = Example {
        package: "interdict",
        name: "alert_throughput",
        arguments: &["100000"],
        wanted: &[
            "mean_line_bytes",
            "spooled_per_second_one_thread_batch_4096",
            "spooled_per_cpu_second_batch_4096",
            "spooled_per_second_one_thread_batch_64",
            "spooled_per_cpu_second_batch_64",
            "delivered_per_second_to_https_webhook",
            "record_to_webhook_ms/p50",
            "record_to_webhook_ms/p99",
            "record_to_webhook_ms/max",
            "resident_mib_at_rest_with_receiver",
            "lost",
        ],
        kind: "",
    };
    measure("pipeline", &[example], arguments)
}

fn measure(bench: &'static str, examples: &[Example], arguments: &Arguments) -> Result<()> {
    for example in examples {
        let building = step::begin(&format!("building {}", example.name));
        run::to_the_end(run::cargo().args(["build", "--quiet", "--locked", "--release"]).args([
            "--package",
            example.package,
            "--example",
            example.name,
        ]))?;
        building.done();
    }
    let begun = Begun::natively(bench)?;
    let mut samples: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for example in examples {
        let program = crate::paths::cargo_target().join("release/examples").join(example.name);
        for repetition in 0..arguments.repetitions {
            let running = step::begin(&format!("{}, run {}", example.name, repetition + 1));
            let folder = crate::paths::target().join("bench");
            std::fs::create_dir_all(&folder)?;
            let mut command = std::process::Command::new(&program);
            let printed = run::output(command.args(example.arguments).current_dir(folder))?;
            running.done();
            let value: Value = serde_json::from_slice(&printed).context(example.name)?;
            gather(&value, example, &mut samples);
        }
    }
    let figures: Result<Vec<Figure>> = samples
        .into_iter()
        .map(|((setup, name), samples)| {
            let figure = Figure::of(&format!("{bench}/{name}"), &setup, unit(&name), samples)?;
            Ok(if name.contains("per_second") || name.contains("per_cpu_second") {
                figure.more_is_better()
            } else {
                figure
            })
        })
        .collect();
    let figures = figures?;
    for figure in &figures {
        println!(
            "{:<48}{:<14}{:>14.3}  {:.3} to {:.3} {}",
            figure.name, figure.setup, figure.median, figure.low, figure.high, figure.unit
        );
    }
    if arguments.dry { Ok(()) } else { finish(begun, figures) }
}

/// Adds the wanted numbers of one run: of an object, or of each of a list of objects, told apart by their `rules`.
fn gather(value: &Value, example: &Example, samples: &mut BTreeMap<(String, String), Vec<f64>>) {
    if let Some(rows) = value.as_array() {
        for row in rows {
            gather(row, example, samples);
        }
        return;
    }
    let setup = match value["rules"].as_u64() {
        Some(rules) => super::guest::setup(u32::try_from(rules).unwrap_or(u32::MAX)),
        None => String::new(),
    };
    for name in example.wanted {
        let found = name.split('/').try_fold(value, |value, part| value.get(part));
        if let Some(number) = found.and_then(Value::as_f64) {
            let name = format!("{}{name}", example.kind);
            samples.entry((setup.clone(), name)).or_default().push(number);
        }
    }
}

fn unit(name: &str) -> &'static str {
    if name.contains("_per_second") || name.contains("_per_cpu_second") {
        "1/s"
    } else if name.contains("_ms") {
        "ms"
    } else if name.contains("_mib") {
        "MiB"
    } else if name.contains("_ns") {
        "ns"
    } else if name.contains("_bytes") {
        "bytes"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name_in_lists_and_below_names() {
        let value = serde_json::json!([{ "rules": 50, "lower_ms": 1.5, "x": { "p50": 2 } }]);
        let mut samples = BTreeMap::new();
        let wanted = &["lower_ms", "x/p50", "absent"];
        let example = Example { package: "", name: "", arguments: &[], wanted, kind: "some/" };
        gather(&value, &example, &mut samples);
        let key = |name: &str| ("50 rules".to_owned(), name.to_owned());
        assert_eq!(samples.len(), 2);
        assert_eq!(samples[&key("some/lower_ms")], [1.5]);
        assert_eq!(samples[&key("some/x/p50")], [2.0]);
    }

    #[test]
    fn units_are_told_by_names() {
        assert_eq!(unit("walk_hot_ns_per_byte"), "ns");
        assert_eq!(unit("lower_ms"), "ms");
        assert_eq!(unit("spooled_per_cpu_second_batch_64"), "1/s");
        assert_eq!(unit("image_bytes"), "bytes");
    }
}
