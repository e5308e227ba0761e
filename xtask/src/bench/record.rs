//! What a measurement leaves behind: one dated file in `bench/records/`, committed, from which `BENCHMARKS.md` is made.
//!
//! A record says where and of what it was measured, and how far its samples lie apart: without the spread nobody can tell
//! a change from noise. Records are added, never changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{paths, run};

/// One figure of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Figure {
    /// What was measured, such as `caller/open`.
    pub(super) name: String,
    /// Under which circumstances, such as `50 rules`; empty if there is only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) setup: String,
    /// Of what: `instructions`, `ns`, `MiB`.
    pub(super) unit: String,
    /// The median of the samples.
    pub(super) median: f64,
    /// The least sample.
    pub(super) low: f64,
    /// The greatest.
    pub(super) high: f64,
    /// How many there were.
    pub(super) samples: usize,
    /// Whether more of it is better.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) more_is_better: bool,
}

impl Figure {
    /// Of samples, of which there must be one.
    pub(super) fn of(name: &str, setup: &str, unit: &str, mut samples: Vec<f64>) -> Result<Self> {
        samples.sort_by(f64::total_cmp);
        let at = |index: usize| samples.get(index).copied();
        let count = samples.len();
        let (Some(low), Some(high), Some(upper)) =
            (at(0), at(count.wrapping_sub(1)), at(count / 2))
        else {
            anyhow::bail!("{name}: no sample");
        };
        let lower =
            if count.is_multiple_of(2) { at(count / 2 - 1).unwrap_or(upper) } else { upper };
        Ok(Self {
            name: name.to_owned(),
            setup: setup.to_owned(),
            unit: unit.to_owned(),
            median: f64::midpoint(lower, upper),
            low,
            high,
            samples: count,
            more_is_better: false,
        })
    }

    /// One of which more is better.
    pub(super) fn more_is_better(mut self) -> Self {
        self.more_is_better = true;
        self
    }
}

/// The machine that measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Its processor.
    pub(super) processor: String,
    /// How many of them.
    pub(super) processors: usize,
    /// Its own kernel, which is not the one of a guest.
    pub(super) kernel: String,
    /// Load when the measurement began and when it ended: over the last minute.
    pub(super) load: [f64; 2],
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Which one: `guest`, `net`, ...
    pub(super) bench: String,
    /// When it ended, UTC.
    pub(super) taken: String,
    /// The commit measured, with `+` if there were changes that are not in it.
    pub(super) commit: String,
    /// The kernel measured on: short name and, for guests, its version.
    pub(super) kernel: String,
    /// Where.
    pub(super) machine: Machine,
    /// What a reader must know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
    /// The figures.
    pub(super) figures: Vec<Figure>,
}

/// A measurement that has begun.
#[derive(Debug)]
pub(super) struct Begun {
    bench: &'static str,
    kernel: String,
    load: f64,
    notes: Vec<String>,
    native: bool,
}

/// How much else a machine may do, per processor, before times measured on it are called bounds.
const BUSY: f64 = 0.3;

fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

impl Begun {
    /// In a guest, whose counted instructions do not depend on what else this machine does.
    pub(super) fn in_guest(bench: &'static str, kernel: &str) -> Result<Self> {
        let kernel = kernel.to_owned();
        Ok(Self { bench, kernel, load: load()?, notes: Vec::new(), native: false })
    }

    /// On this machine and its kernel.
    pub(super) fn natively(bench: &'static str) -> Result<Self> {
        let kernel = run::text(Command::new("uname").arg("-r"))?;
        Ok(Self { bench, kernel, load: load()?, notes: Vec::new(), native: true })
    }

    /// Something a reader must know.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Ends it: writes the record and answers it with its file.
    pub(super) fn end(mut self, figures: Vec<Figure>) -> Result<(Record, PathBuf)> {
        let machine = machine(self.load)?;
        let most = machine.load[0].max(machine.load[1]);
        // The measurement itself keeps one processor busy.
        let allowed = 1.0 + BUSY * machine.processors as f64;
        if self.native && most > allowed {
            self.notes.push(format!(
                "the machine was busy (load {most:.1} on {} processors): times are upper bounds",
                machine.processors
            ));
        }
        let record = Record {
            bench: self.bench.to_owned(),
            taken: run::text(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?,
            commit: commit()?,
            kernel: self.kernel,
            machine,
            notes: self.notes,
            figures,
        };
        let file =
            folder().join(format!("{}-{}.json", record.taken.replace(':', ""), record.bench));
        fs::create_dir_all(folder())?;
        let mut text = serde_json::to_string_pretty(&record)?;
        text.push('\n');
        fs::write(&file, text)?;
        Ok((record, file))
    }
}

fn machine(load_before: f64) -> Result<Machine> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let models: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map(|(_, model)| model.trim())
        .collect();
    Ok(Machine {
        processor: models.first().copied().unwrap_or("unknown").to_owned(),
        processors: std::thread::available_parallelism()?.get(),
        kernel: run::text(Command::new("uname").arg("-r"))?,
        load: [load_before, load()?],
    })
}

fn commit() -> Result<String> {
    let git = |arguments: &[&str]| {
        run::text(Command::new("git").arg("-C").arg(paths::root()).args(arguments))
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let sources = ["abi", "agent", "bench/src", "ebpf", "engine", "rules", "xtask", "Cargo.lock"];
    let mut changed = vec!["status", "--porcelain", "--"];
    changed.extend(sources);
    let changed = git(&changed)?;
    Ok(if changed.is_empty() { commit } else { format!("{commit}+") })
}

/// Where records are.
pub(super) fn folder() -> PathBuf {
    paths::root().join("bench/records")
}

/// All of a folder, oldest first.
pub(super) fn all(folder: &Path) -> Result<Vec<Record>> {
    let mut records: Vec<Record> = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read(&path).with_context(|| path.display().to_string())?;
            records
                .push(serde_json::from_slice(&text).with_context(|| path.display().to_string())?);
        }
    }
    records.sort_by(|one, other| one.taken.cmp(&other.taken).then(one.bench.cmp(&other.bench)));
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_middle_of_its_samples_and_how_far_they_lie_apart() {
        let figure = Figure::of("x", "", "ns", vec![9.0, 1.0, 5.0, 7.0]).unwrap();
        assert_eq!((figure.median, figure.low, figure.high, figure.samples), (6.0, 1.0, 9.0, 4));
        let figure = Figure::of("x", "", "ns", vec![9.0, 1.0, 5.0]).unwrap();
        assert_eq!(figure.median, 5.0);
        assert!(Figure::of("x", "", "ns", Vec::new()).is_err());
    }
}
