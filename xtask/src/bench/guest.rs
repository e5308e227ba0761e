//! What operations cost their caller in a guest whose clock counts instructions.
//!
//! The workload is `bench/`, static programs so that the C library has no part in it. One guest per setup: no agent,
//! the agent without rules, and with ever more of them, none of which is about the files that are opened, except the one
//! for `open-matched`. Figures are medians; the clock makes them repeat within 0.2 %. Fork and exec also depend on where
//! things lie in memory: differences below 2.5 % between setups are no differences.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use crate::vm::machine::Clock;
use crate::vm::{Guest, Outcome};
use crate::{paths, run, step};

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
    /// Another program than this repository's agent in release mode.
    #[arg(long, hide = true)]
    agent: Option<PathBuf>,
}

/// One setup's figures.
#[derive(Debug, Default, Serialize)]
struct Figures {
    /// Name of the setup.
    setup: String,
    /// Instructions of the caller per operation, median.
    caller: BTreeMap<String, i64>,
    /// Instructions of everything on the one processor per operation, median.
    passed: BTreeMap<String, i64>,
    /// Seconds of the counting clock, so billions of instructions, from the agent's start until it enforced.
    start: Option<f64>,
    /// Resident memory of the agent, KiB.
    resident_kib: Option<u64>,
    /// Memory of BPF maps and programs that the agent holds, bytes.
    bpf_bytes: Option<u64>,
}

const PREPARE: &str = "mkdir -p /tmp/w/bin /etc/secret && cp /opt/nothing /tmp/w/bin/true && echo x > /etc/secret/f7.key";
const AFTERWARDS: &str = "pid=$(cat /run/interdict/agent.pid 2>/dev/null) && \
    cp /proc/$pid/status /out/status && cat /proc/$pid/fdinfo/* > /out/fdinfo 2>/dev/null; true";

/// Runs the command.
pub(super) fn main(arguments: &Arguments) -> Result<()> {
    let building = step::begin("building workload and agent");
    let programs = workload()?;
    let agent = match &arguments.agent {
        Some(program) => program.clone(),
        None => {
            run::to_the_end(
                run::cargo()
                    .args(["build", "--quiet", "--locked", "--release", "--workspace"])
                    .args(["--bin", "interdict"]),
            )?;
            paths::cargo_target().join("release/interdict")
        }
    };
    building.done();
    let mut all = vec![measure(arguments, &programs, None)?];
    for rules in &arguments.rules {
        all.push(measure(arguments, &programs, Some((&agent, *rules)))?);
    }
    println!("{}", table(&all));
    let file = paths::target().join("bench").join(format!("guest-{}.json", arguments.kernel));
    fs::create_dir_all(paths::target().join("bench"))?;
    fs::write(&file, serde_json::to_vec_pretty(&all)?)?;
    step::note(&format!("also in {}", file.display()));
    Ok(())
}

/// Builds the static programs; answers their folder.
fn workload() -> Result<PathBuf> {
    let target = paths::target().join("workload");
    run::to_the_end(
        run::without_cargo(&mut Command::new("cargo"))
            .current_dir(paths::root().join("bench"))
            .args(["build", "--quiet", "--locked", "--release"])
            // Named, so that the flags are not used for build scripts as well.
            .args(["--target", "x86_64-unknown-linux-gnu"])
            .env("RUSTFLAGS", "-Ctarget-feature=+crt-static -Crelocation-model=static")
            .env("CARGO_TARGET_DIR", &target),
    )?;
    Ok(target.join("x86_64-unknown-linux-gnu/release"))
}

fn measure(arguments: &Arguments, programs: &Path, agent: Option<(&Path, u32)>) -> Result<Figures> {
    let setup = agent.map_or_else(|| "no agent".to_owned(), |(_, rules)| format!("{rules} rules"));
    let measuring = step::begin(&format!("measuring on kernel {}: {setup}", arguments.kernel));
    let mut guest = Guest::new(&arguments.kernel, std::env::current_exe()?)?
        .add(programs.join("workload"), "/usr/bin/workload")
        .add(programs.join("nothing"), "/opt/nothing")
        .before(PREPARE)
        .clock(Clock::Instructions)
        .timeout(Duration::from_secs(1200));
    if let Some((agent, rules)) = agent {
        guest = guest.agent(agent).file("/etc/interdict/policies/bench.yaml", 0o644, policy(rules));
    }
    let command = format!("workload {} > /out/figures && {AFTERWARDS}", arguments.repetitions);
    let outcome = guest.run(&["sh", "-c", &command])?;
    anyhow::ensure!(outcome.status == 0, "the workload failed: {}", outcome.output);
    measuring.done();
    read(setup, &outcome)
}

/// A policy with so many rules per family, none about what the workload does but the one it means to hit.
fn policy(rules: u32) -> String {
    let mut text = String::from(
        "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: { name: bench }\nspec:\n  mode: enforce\n  rules:\n",
    );
    if rules == 0 {
        text.truncate(text.len() - "  rules:\n".len());
        text.push_str("  rules: []\n");
    }
    for index in 0..rules {
        // Half of them one path each, half a folder with all below it.
        let path = if index % 2 == 0 {
            format!("/etc/secret/f{index}.key")
        } else if index == 7 {
            "/etc/secret/f7.key".to_owned()
        } else {
            format!("/srv/tenant{index}/private/**")
        };
        let (high, low) = (index / 250, index % 250);
        let _ = write!(
            text,
            "    - {{ id: B-FILE-{index}, title: file, on: [file.read], when: 'file.path in [\"{path}\"]', action: block }}\n    \
             - {{ id: B-EXEC-{index}, title: exec, on: [exec], when: 'exec.path in [\"/opt/denied{index}/**\"]', action: block }}\n    \
             - {{ id: B-NET-{index}, title: net, on: [net.connect], when: 'net.dst.ip in [\"100.{high}.{low}.0/24\"]', action: block }}\n",
        );
    }
    text
}

fn read(setup: String, outcome: &Outcome) -> Result<Figures> {
    let text = fs::read_to_string(outcome.out.join("figures"))?;
    let mut samples: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, _, used, passed] = words.as_slice() else {
            anyhow::bail!("the workload said `{line}`");
        };
        samples.entry((*name).to_owned()).or_default().push((used.parse()?, passed.parse()?));
    }
    let median = |mut values: Vec<i64>| -> Result<i64> {
        values.sort_unstable();
        values.get(values.len() / 2).copied().context("no sample")
    };
    let mut figures = Figures { setup, ..Figures::default() };
    for (name, samples) in samples {
        let (used, passed): (Vec<i64>, Vec<i64>) = samples.into_iter().unzip();
        figures.caller.insert(name.clone(), median(used)?);
        figures.passed.insert(name, median(passed)?);
    }
    figures.start = outcome
        .answer
        .enforcing_seconds
        .zip(outcome.answer.agent_started_seconds)
        .map(|(enforcing, started)| enforcing - started);
    if let Ok(status) = fs::read_to_string(outcome.out.join("status")) {
        figures.resident_kib = status.lines().find_map(|line| number(line, "VmRSS:"));
    }
    if let Ok(fdinfo) = fs::read_to_string(outcome.out.join("fdinfo")) {
        figures.bpf_bytes = Some(fdinfo.lines().filter_map(|line| number(line, "memlock:")).sum());
    }
    let _ = fs::remove_dir_all(&outcome.out);
    Ok(figures)
}

fn number(line: &str, name: &str) -> Option<u64> {
    line.strip_prefix(name)?.split_whitespace().next()?.parse().ok()
}

/// Operations down, setups across; every agent's cost as what it adds to none.
fn table(all: &[Figures]) -> String {
    let mut text = format!("\n{:<16}", "instructions");
    for figures in all {
        let _ = write!(text, "{:>16}", figures.setup);
    }
    let Some(bare) = all.first() else { return text };
    for (name, base) in &bare.caller {
        let _ = write!(text, "\n{name:<16}{base:>16}");
        for figures in all.iter().skip(1) {
            let added = figures.caller.get(name).map(|cost| format!("{:+}", cost - base));
            let _ = write!(text, "{:>16}", added.unwrap_or_default());
        }
    }
    let mut row = |label: &str, value: &dyn Fn(&Figures) -> Option<String>| {
        let _ = write!(text, "\n{label:<16}");
        for figures in all {
            let _ = write!(text, "{:>16}", value(figures).unwrap_or_default());
        }
    };
    row("start, G instr.", &|figures| figures.start.map(|start| format!("{start:.2}")));
    row("resident, MiB", &|figures| figures.resident_kib.map(|kib| format!("{}", kib / 1024)));
    row("BPF, MiB", &|figures| {
        figures.bpf_bytes.map(|bytes| format!("{:.1}", bytes as f64 / 1_048_576.0))
    });
    text
}
