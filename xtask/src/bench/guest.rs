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
use serde::Deserialize;

use super::record::{Begun, Figure};
use super::workload::{Programs, run_as_file};
use super::{finish, tables};
use crate::vm::Outcome;
use crate::vm::kernel::Kernel;
use crate::{step, tools};

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

/// Operations by which each kernel program's own cost is told.
const BY_PROGRAM: &[&str] = &["open", "open-deep", "fork-exec", "connect", "open-matched"];

/// Lets the kernel count what each program takes, and asks it before and after every operation.
fn by_program() -> String {
    format!(
        "echo 1 > /proc/sys/kernel/bpf_stats_enabled && for op in {}; do \
         bpftool prog show -j > /out/before.$op && workload operations 1 $op > /dev/null && \
         bpftool prog show -j > /out/after.$op || exit 1; done; \
         echo 0 > /proc/sys/kernel/bpf_stats_enabled",
        BY_PROGRAM.join(" ")
    )
}

/// Runs the command.
pub(super) fn main(arguments: &Arguments) -> Result<()> {
    tools::packages(&["bpftool"], "counting what each kernel program takes")?;
    let programs = Programs::build(arguments.agent.as_deref())?;
    let version = Kernel::named(&arguments.kernel)?.version;
    let mut begun = Begun::in_guest("guest", &format!("{} {version}", arguments.kernel))?;
    if arguments.agent.is_some() {
        begun.note("another build of the agent was measured".to_owned());
    }
    let mut figures = measure(arguments, &programs, None)?;
    let mut failed = None;
    for rules in &arguments.rules {
        match measure(arguments, &programs, Some(*rules)) {
            Ok(more) => figures.extend(more),
            // What was measured before is kept: it may have taken an hour.
            Err(error) => {
                begun.note(format!("could not be measured with {}", setup(*rules)));
                failed = Some(error);
                break;
            }
        }
    }
    println!("{}", table(&figures));
    if !arguments.dry {
        finish(begun, figures)?;
    }
    failed.map_or(Ok(()), Err)
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
                let _ = write!(command, " && {}", by_program());
                let _ = write!(
                    command,
                    " && workload spent $pid {} {SPENT} > /out/spent && \
                     workload latency /out/alerts.ndjson {AWAITED} > /out/latency",
                    arguments.repetitions
                );
            }
            programs
                .enforcing(&arguments.kernel, rules)?
                .add("/usr/sbin/bpftool", "/usr/bin/bpftool")
        }
    };
    let outcome = run_as_file(guest, &command)?;
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
    for operation in BY_PROGRAM {
        for (program, per_run) in programs_of(&outcome.out, operation)? {
            add(&format!("program/{operation}/{program}"), "instructions", vec![per_run])?;
        }
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
        let taken = tables::taken(&fdinfo);
        for (name, bytes) in [("memory/bpf", taken.now), ("memory/bpf-told", taken.told)] {
            add(name, "MiB", vec![bytes as f64 / 1_048_576.0])?;
        }
    }
    Ok(figures)
}

/// What a kernel program took so far, as bpftool tells it.
#[derive(Debug, Deserialize)]
struct Taken {
    id: u32,
    #[serde(default)]
    name: String,
    #[serde(default)]
    run_time_ns: u64,
    #[serde(default)]
    run_cnt: u64,
}

/// Instructions per run of the programs that ran for an operation, not counting what ran by chance.
fn programs_of(out: &Path, operation: &str) -> Result<Vec<(String, f64)>> {
    const BY_CHANCE: u64 = 50;
    let taken = |when: &str| -> Result<Vec<Taken>> {
        let file = out.join(format!("{when}.{operation}"));
        if !file.exists() {
            return Ok(Vec::new());
        }
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    };
    let before = taken("before")?;
    let mut programs = Vec::new();
    for after in taken("after")? {
        let (time, runs) = before
            .iter()
            .find(|other| other.id == after.id)
            .map_or((0, 0), |other| (other.run_time_ns, other.run_cnt));
        let runs = after.run_cnt.saturating_sub(runs);
        if runs > BY_CHANCE {
            let time = after.run_time_ns.saturating_sub(time);
            programs.push((after.name, time as f64 / runs as f64));
        }
    }
    Ok(programs)
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
