//! What operations cost their caller and the agent in a guest whose clock counts instructions.
//!
//! One guest per setup: no agent, the agent without rules, and with ever more of them, none of which is about what is
//! done, except where something is meant to be told. The clock makes figures repeat within 0.2 %. Fork and exec also
//! depend on where things lie in memory: differences below 2.5 % between setups are no differences.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use super::finish;
use super::record::{Begun, Figure};
use super::workload::Programs;
use crate::step;
use crate::vm::Outcome;
use crate::vm::kernel::Kernel;

/// Measures instructions per operation.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Short name of the kernel.
    #[arg(long, default_value = "6.1")]
    kernel: String,
    /// Numbers of rules per family to measure with.
    #[arg(long, value_delimiter = ',', default_value = "0,50,1000,10000")]
    rules: Vec<u32>,
    /// How often each operation is measured.
    #[arg(long, default_value_t = 3)]
    repetitions: u32,
    /// Only these operations, separated by commas; then the agent's own costs are left out.
    #[arg(long)]
    only: Option<String>,
    /// Print, and record nothing.
    #[arg(long)]
    dry: bool,
    /// Another program than this repository's agent in release mode.
    #[arg(long, hide = true)]
    agent: Option<PathBuf>,
}

/// The setup without an agent.
pub(super) const BARE: &str = "no agent";

/// The name of a setup with so many rules per family.
pub(super) fn setup(rules: u32) -> String {
    match rules {
        0 => "no policy".to_owned(),
        rules => format!("{rules} rules"),
    }
}

const AGENT: &str = "pid=$(cat /run/interdict/agent.pid) && \
    cp /proc/$pid/status /out/status && cat /proc/$pid/fdinfo/* > /out/fdinfo 2>/dev/null";
/// Acts per repetition when the agent's own cost is measured.
const SPENT: u32 = 500;
/// Alerts that are waited for, one by one.
const AWAITED: u32 = 25;

/// Runs the command.
pub(super) fn main(arguments: &Arguments) -> Result<()> {
    let programs = Programs::build(arguments.agent.as_deref())?;
    let version = Kernel::named(&arguments.kernel)?.version;
    let mut begun = Begun::in_guest("guest", &format!("{} {version}", arguments.kernel))?;
    if arguments.agent.is_some() {
        begun.note("another build of the agent was measured".to_owned());
    }
    let mut figures = measure(arguments, &programs, None)?;
    for rules in &arguments.rules {
        figures.extend(measure(arguments, &programs, Some(*rules))?);
    }
    println!("{}", table(&figures));
    if arguments.dry { Ok(()) } else { finish(begun, figures) }
}

fn measure(arguments: &Arguments, programs: &Programs, rules: Option<u32>) -> Result<Vec<Figure>> {
    let setup = rules.map_or_else(|| BARE.to_owned(), setup);
    let measuring = step::begin(&format!("measuring on kernel {}: {setup}", arguments.kernel));
    let mut command = format!(
        "workload operations {} {} > /out/operations",
        arguments.repetitions,
        arguments.only.as_deref().unwrap_or_default()
    );
    let guest = match rules {
        None => programs.guest(&arguments.kernel)?,
        Some(rules) => {
            let _ = write!(command, " && {AGENT}");
            if rules > 0 && arguments.only.is_none() {
                let _ = write!(
                    command,
                    " && workload spent $pid {} {SPENT} > /out/spent && \
                     workload latency /out/alerts.ndjson {AWAITED} > /out/latency",
                    arguments.repetitions
                );
            }
            programs.enforcing(&arguments.kernel, rules)?
        }
    };
    let outcome = guest.run(&["sh", "-c", &command])?;
    anyhow::ensure!(outcome.status == 0, "the workload failed: {}", outcome.output);
    measuring.done();
    let figures = read(&setup, &outcome)?;
    let _ = fs::remove_dir_all(&outcome.out);
    Ok(figures)
}

/// Lines of `name sample number...`, where the guest wrote any, as samples by name and place of the number.
fn samples(file: &Path) -> Result<BTreeMap<(String, usize), Vec<f64>>> {
    let mut samples: BTreeMap<(String, usize), Vec<f64>> = BTreeMap::new();
    if !file.exists() {
        return Ok(samples);
    }
    for line in fs::read_to_string(file)?.lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        let _which = words.next();
        for (place, word) in words.enumerate() {
            let number = word.parse().with_context(|| format!("the workload said `{line}`"))?;
            samples.entry((name.clone(), place)).or_default().push(number);
        }
    }
    Ok(samples)
}

fn read(setup: &str, outcome: &Outcome) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut add = |name: &str, unit: &str, samples: Vec<f64>| -> Result<()> {
        figures.push(Figure::of(name, setup, unit, samples)?);
        Ok(())
    };
    for ((name, place), samples) in samples(&outcome.out.join("operations"))? {
        let whose = if place == 0 { "caller" } else { "passed" };
        add(&format!("{whose}/{name}"), "instructions", samples)?;
    }
    for ((name, _), samples) in samples(&outcome.out.join("spent"))? {
        add(&format!("agent/{name}"), "instructions", samples)?;
    }
    for ((name, _), samples) in samples(&outcome.out.join("latency"))? {
        add(&format!("readable/{name}"), "instructions", samples)?;
    }
    let times = outcome.answer.enforcing_seconds.zip(outcome.answer.agent_started_seconds);
    if let Some((enforcing, started)) = times {
        add("start", "G instructions", vec![enforcing - started])?;
    }
    let status = fs::read_to_string(outcome.out.join("status")).unwrap_or_default();
    for (name, line) in [("memory/resident", "VmRSS:"), ("memory/peak", "VmHWM:")] {
        if let Some(kib) = status.lines().find_map(|text| number(text, line)) {
            add(name, "MiB", vec![kib / 1024.0])?;
        }
    }
    if let Ok(fdinfo) = fs::read_to_string(outcome.out.join("fdinfo")) {
        let bytes: f64 = fdinfo.lines().filter_map(|line| number(line, "memlock:")).sum();
        add("memory/bpf", "MiB", vec![bytes / 1_048_576.0])?;
    }
    Ok(figures)
}

fn number(line: &str, name: &str) -> Option<f64> {
    line.strip_prefix(name)?.split_whitespace().next()?.parse().ok()
}

/// Figures down, setups across; what a caller pays as what the agent adds to none.
fn table(figures: &[Figure]) -> String {
    let mut setups: Vec<&str> = Vec::new();
    let mut names: Vec<(&str, &str)> = Vec::new();
    for figure in figures.iter().filter(|figure| !figure.name.starts_with("passed/")) {
        if !setups.contains(&figure.setup.as_str()) {
            setups.push(&figure.setup);
        }
        if !names.contains(&(&figure.name, &figure.unit)) {
            names.push((&figure.name, &figure.unit));
        }
    }
    let find = |name: &str, setup: &str| {
        figures.iter().find(|figure| figure.name == name && figure.setup == setup)
    };
    let mut text = format!("\n{:<22}{:>16}", "", "");
    for setup in &setups {
        let _ = write!(text, "{setup:>14}");
    }
    for (name, unit) in names {
        let _ = write!(text, "\n{name:<22}{unit:>16}");
        let bare = find(name, BARE);
        for setup in &setups {
            let shown = match (find(name, setup), bare) {
                (None, _) => String::new(),
                (Some(figure), Some(bare)) if *setup != BARE => {
                    format!("{:+.0}", figure.median - bare.median)
                }
                (Some(figure), _) if figure.unit == "instructions" => {
                    format!("{:.0}", figure.median)
                }
                (Some(figure), _) => format!("{:.2}", figure.median),
            };
            let _ = write!(text, "{shown:>14}");
        }
    }
    text
}
