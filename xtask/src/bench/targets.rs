//! What interdict means to cost at most, what others cost, and whether the newest records hold it.
//!
//! Peers were measured with the same workload programs on the same 6.1 kernel under the same counting clock: Tetragon
//! (main branch of August 2026), the kernel's audit with 50 watches, auditd, fapolicyd. The floor is an LSM program that
//! does nothing.

use super::guest::BARE;
use super::record::{Figure, Record};

/// How a figure is held against its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Limit {
    /// What it adds to no agent, at most.
    Adds(f64),
    /// What it adds to no agent: nothing but what the clock repeats within.
    AddsNothing,
    /// What it adds, at most so many times what it adds under the other setup.
    AddsTimes(f64, &'static str),
    /// Itself, at most.
    Is(f64),
    /// Itself, at most so many times what it is under the other setup of the same record.
    Times(f64, &'static str),
    /// Itself, at least.
    IsAtLeast(f64),
}

/// One target.
#[derive(Debug)]
pub(super) struct Target {
    /// In words.
    pub(super) what: &'static str,
    /// Which bench records it.
    pub(super) bench: &'static str,
    /// The figure.
    pub(super) figure: &'static str,
    /// Its setup.
    pub(super) setup: &'static str,
    /// The limit.
    pub(super) limit: Limit,
    /// What others cost.
    pub(super) peers: &'static str,
}

const fn guest(
    what: &'static str,
    figure: &'static str,
    setup: &'static str,
    limit: Limit,
    peers: &'static str,
) -> Target {
    Target { what, bench: "guest", figure, setup, limit, peers }
}

const fn native(
    bench: &'static str,
    what: &'static str,
    figure: &'static str,
    setup: &'static str,
    limit: Limit,
) -> Target {
    Target { what, bench, figure, setup, limit, peers: "" }
}

const FIFTY: &str = "50 rules";

/// All of them: those of guests for the 6.1 kernel.
pub(super) const TARGETS: &[Target] = &[
    guest(
        "open+close of a known inode, nothing matches",
        "caller/open",
        FIFTY,
        Limit::Adds(300.0),
        "Tetragon +10,083; audit +1,960; fapolicyd +4,420 and 38,000 more in its daemon; floor +169",
    ),
    guest("the same, first open of an inode", "caller/open-first", FIFTY, Limit::Adds(1_200.0), ""),
    guest(
        "the same, 11 directories deep",
        "caller/open-deep",
        FIFTY,
        Limit::Adds(300.0),
        "Tetragon +15,715; audit +2,180",
    ),
    guest(
        "the same, 10,000 rules against 50",
        "caller/open",
        "10000 rules",
        Limit::AddsTimes(1.1, FIFTY),
        "none takes so many",
    ),
    guest("stat", "caller/stat", FIFTY, Limit::AddsNothing, "audit +1,480"),
    guest("getppid", "caller/getppid", FIFTY, Limit::AddsNothing, "audit +500"),
    guest(
        "fork+exec+exit",
        "caller/fork-exec",
        FIFTY,
        Limit::Adds(8_000.0),
        "Tetragon +25,000 without a policy, +46,000 with; auditd +58,000",
    ),
    guest("connect, 50 networks", "caller/connect", FIFTY, Limit::Adds(1_000.0), "Tetragon +5,400"),
    guest(
        "agent, per exec told",
        "agent/exec-told",
        FIFTY,
        Limit::Is(60_000.0),
        "Tetragon 500,000; auditd 97,000",
    ),
    guest(
        "agent, per file alert told",
        "agent/open-told",
        FIFTY,
        Limit::Is(50_000.0),
        "Tetragon 215,000 to 260,000",
    ),
    guest(
        "exec to alert readable",
        "readable/exec",
        FIFTY,
        Limit::Is(150_000.0),
        "Tetragon 690,000; auditd 231,000",
    ),
    Target {
        what: "opens a second all told one by one, one processor",
        bench: "storm",
        figure: "storm/most-one-by-one",
        setup: "",
        limit: Limit::IsAtLeast(30_000.0),
        peers: "Tetragon 4,000, losses not told",
    },
    guest("start to enforcing, G instructions", "start", FIFTY, Limit::Is(1.0), "Tetragon 13.4"),
    guest(
        "resident memory, MiB",
        "memory/resident",
        FIFTY,
        Limit::Is(25.0),
        "Tetragon 80 to 100; auditd 3.2; fapolicyd 4 to 6",
    ),
    guest("BPF maps and programs, MiB", "memory/bpf", FIFTY, Limit::Is(10.0), "Tetragon 31"),
    native(
        "compile",
        "10,000 rules and 1,000,000 prefixes from text to image, ms",
        "compile/compile_ms",
        "10000 rules",
        Limit::Is(2_000.0),
    ),
    native(
        "compile",
        "the same, MiB at most held",
        "compile/peak_rss_mib",
        "10000 rules",
        Limit::Is(1_024.0),
    ),
    native(
        "compile",
        "the same, bytes of the image",
        "compile/image_bytes",
        "10000 rules",
        Limit::Is(67_108_864.0),
    ),
    native(
        "compile",
        "the same, the largest image of twelve such policies",
        "compile/worst_of_12/image_bytes",
        "10000 rules",
        Limit::Is(67_108_864.0),
    ),
    native(
        "compile",
        "100 rules from text to image, ms",
        "compile/compile_ms",
        "100 rules",
        Limit::Is(50.0),
    ),
    native(
        "engine",
        "ns a byte of any listed path, 10,000 rules",
        "engine/anchored/walk_all_ns_per_byte",
        "10000 rules",
        Limit::Is(3.0),
    ),
    native(
        "engine",
        "ns to decide on a path nobody names, 10,000 rules against 10",
        "engine/anchored/decide_unlisted_ns",
        "10000 rules",
        Limit::Times(1.1, "10 rules"),
    ),
    native(
        "engine",
        "ns to decide on a listed path, 10,000 rules against 10",
        "engine/anchored/decide_listed_ns",
        "10000 rules",
        Limit::Times(1.1, "10 rules"),
    ),
    native(
        "net",
        "ns a packet from anywhere that none of 1,000,000 prefixes lists",
        "net/miss_random_above_ns",
        "",
        Limit::Is(25.0),
    ),
    native("net", "the same, always from one address", "net/miss_hot_above_ns", "", Limit::Is(8.0)),
    native(
        "net",
        "ns a packet from anywhere that one of them lists",
        "net/hit_random_above_ns",
        "",
        Limit::Is(80.0),
    ),
    native(
        "net",
        "difference updates of 10,000 entries, us of writing",
        "net/difference_writing_us",
        "",
        Limit::Is(50_000.0),
    ),
    native(
        "net",
        "bytes of one of two slots with 1,000,000 prefixes",
        "net/slot_bytes",
        "",
        Limit::Is(33_554_432.0),
    ),
];

/// What came of a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Held {
    /// The figure as it is held against the limit.
    pub(super) value: f64,
    /// The limit.
    pub(super) limit: f64,
    /// Whether it is held.
    pub(super) met: bool,
}

/// Share of a bare operation that the clock repeats within.
const REPEATS_WITHIN: f64 = 0.005;

impl Target {
    /// What the newest record says, if one does.
    pub(super) fn held(&self, records: &[Record]) -> Option<Held> {
        let native = matches!(self.bench, "compile" | "engine" | "net");
        let of_bench = |record: &&Record| {
            record.bench == self.bench && (native || record.kernel.starts_with("6.1 "))
        };
        records.iter().rev().filter(of_bench).find_map(|record| self.held_by(record))
    }

    /// What one record says.
    pub(super) fn held_by(&self, record: &Record) -> Option<Held> {
        let find = |setup: &str| {
            record
                .figures
                .iter()
                .find(|figure: &&Figure| figure.name == self.figure && figure.setup == setup)
                .map(|figure| figure.median)
        };
        let value = find(self.setup)?;
        let at_most = |value: f64, limit: f64| Held { value, limit, met: value <= limit };
        Some(match self.limit {
            Limit::Is(limit) => at_most(value, limit),
            Limit::IsAtLeast(limit) => Held { value, limit, met: value >= limit },
            Limit::Times(times, other) => at_most(value, find(other)? * times),
            Limit::Adds(limit) => at_most(value - find(BARE)?, limit),
            Limit::AddsNothing => {
                let bare = find(BARE)?;
                let added = value - bare;
                Held { value: added, limit: 0.0, met: added <= bare * REPEATS_WITHIN }
            }
            Limit::AddsTimes(times, other) => {
                let bare = find(BARE)?;
                at_most(value - bare, (find(other)? - bare) * times)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::Machine;

    fn record(figures: &[(&str, &str, f64)]) -> Record {
        let figure = |(name, setup, value): &(&str, &str, f64)| {
            Figure::of(name, setup, "instructions", vec![*value]).unwrap()
        };
        Record {
            bench: "guest".to_owned(),
            taken: String::new(),
            commit: String::new(),
            kernel: "6.1 6.1.0".to_owned(),
            machine: Machine {
                processor: String::new(),
                processors: 1,
                kernel: String::new(),
                load: [0.0; 2],
            },
            notes: Vec::new(),
            figures: figures.iter().map(figure).collect(),
        }
    }

    #[test]
    fn what_is_added_is_held_against_the_limit() {
        let record = record(&[("caller/open", BARE, 5_000.0), ("caller/open", FIFTY, 5_301.0)]);
        let target = TARGETS.first().unwrap();
        let held = target.held_by(&record).unwrap();
        assert_eq!((held.value, held.met), (301.0, false));
    }

    #[test]
    fn a_target_whose_figure_is_missing_is_not_called_held() {
        let record = record(&[("caller/open", FIFTY, 5_301.0)]);
        assert_eq!(TARGETS.first().unwrap().held_by(&record), None);
    }

    #[test]
    fn a_native_target_is_held_by_a_record_of_any_kernel() {
        let figures = |many: f64| {
            let name = "engine/anchored/decide_listed_ns";
            let mut record = record(&[(name, "10 rules", 60.0), (name, "10000 rules", many)]);
            (record.bench, record.kernel) = ("engine".to_owned(), "6.18.5".to_owned());
            [record]
        };
        let target = TARGETS
            .iter()
            .find(|target| {
                matches!(target.limit, Limit::Times(..)) && target.what.contains("listed path")
            })
            .unwrap();
        assert!(target.held(&figures(65.0)).unwrap().met);
        assert!(!target.held(&figures(67.0)).unwrap().met);
    }

    #[test]
    fn ten_thousand_rules_are_held_against_fifty() {
        let target =
            TARGETS.iter().find(|target| matches!(target.limit, Limit::AddsTimes(..))).unwrap();
        let of = |many: f64| {
            record(&[
                ("caller/open", BARE, 5_000.0),
                ("caller/open", FIFTY, 5_300.0),
                ("caller/open", "10000 rules", many),
            ])
        };
        assert!(target.held_by(&of(5_325.0)).unwrap().met);
        assert!(!target.held_by(&of(5_340.0)).unwrap().met);
    }
}
