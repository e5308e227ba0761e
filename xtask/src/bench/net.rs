//! What a packet costs at an interface with a feed of a million prefixes, on this machine's kernel.
//!
//! The kernel's own word on how long a program took, from `BPF_PROG_TEST_RUN`; nothing is attached. The measuring program
//! is an example of the agent, because it loads programs as the agent does.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Map, Value};

use super::finish;
use super::record::{Begun, Figure};
use crate::{run, step};

/// Measures what packets cost.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Prefixes in the feed.
    #[arg(long, default_value_t = 1_000_000)]
    prefixes: u32,
    /// Rounds, of which the fastest counts.
    #[arg(long, default_value_t = 9)]
    rounds: u32,
}

/// The figures by name. `*_above_ns` are what is added to a program that does nothing else.
pub(super) fn figures(prefixes: u32, rounds: u32) -> Result<Map<String, Value>> {
    let text = run::text(
        run::cargo()
            .args(["run", "--quiet", "--locked", "--release", "--package", "interdict"])
            .args(["--example", "bench_net", "--"])
            .args([prefixes.to_string(), rounds.to_string()]),
    )?;
    let line = text.lines().last().context("it printed nothing")?;
    Ok(serde_json::from_str(line)?)
}

/// Runs the command.
pub(super) fn main(arguments: &Arguments) -> Result<()> {
    let begun = Begun::natively("net")?;
    let measuring = step::begin(&format!("measuring with {} prefixes", arguments.prefixes));
    let figures = figures(arguments.prefixes, arguments.rounds)?;
    measuring.done();
    let mut text = String::new();
    for (name, value) in &figures {
        let _ = writeln!(text, "{name:<28} {value:>12}");
    }
    print!("{text}");
    let measured = figures
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_f64()?)))
        .map(|(name, value)| {
            let unit = if name.ends_with("_ns") { "ns" } else { "" };
            Figure::of(&format!("net/{name}"), "", unit, vec![value])
        })
        .collect::<Result<Vec<Figure>>>()?;
    finish(begun, measured)
}
