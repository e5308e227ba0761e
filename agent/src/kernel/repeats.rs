//! Decisions that the kernel programs counted instead of telling: see `ebpf/src/hooks/repeats.rs`.
//!
//! The rows stay pinned, and what is told of one is how many there were ever: an agent that takes over from one that was
//! killed tells them again, and nobody counts twice. A row that rests is removed; its count is kept in a sum, so that
//! what the kernel counted can always be held against what rows say.

use std::{
    collections::HashMap as Known,
    path::Path,
    time::{Duration, Instant},
};

use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use interdict_abi::{
    ids::Fault,
    maps::{Repeats, Subject, names},
};

use super::{loader::open_map, slots::SwapError};
use crate::pipeline::{Counted, Rows as Settled};

/// Time between two notices about one subject.
const AGAIN: Duration = Duration::from_secs(10);

/// Subjects told at once: a flood of subjects must not become a flood of notices.
const AT_ONCE: usize = 256;

/// Time without a repeat after which a row is removed.
const REST_NS: u64 = 60_000_000_000;

/// The rows of an instance.
pub struct Rows {
    rows: HashMap<MapData, Subject, Repeats>,
    counters: PerCpuArray<MapData, u64>,
    told: Known<Subject, Told>,
    seen: u64,
    missing: u64,
    failed: u64,
}

/// What was told of a subject.
struct Told {
    silent: u64,
    at: Instant,
    /// The number under which it was handed over, once it was.
    handed: Option<u64>,
}

/// What is to be told.
#[derive(Debug, Default)]
pub struct News {
    /// By subject, those with most first.
    pub counted: Vec<Counted>,
    /// What rows that were removed had counted.
    pub gone: u64,
    /// What was counted and no row says of what.
    pub unattributed: u64,
}

impl Rows {
    /// Opens those of the instance in `directory`.
    ///
    /// # Errors
    /// A map is gone, or was never there.
    pub fn of(directory: &Path) -> Result<Self, SwapError> {
        let map = |map: &'static str| {
            let data = open_map(&directory.join("maps").join(map))?;
            Map::from_map_data(data).map_err(|source| SwapError::Map { map, source })
        };
        let refused = |map| move |source| SwapError::Map { map, source };
        Ok(Self {
            rows: HashMap::try_from(map(names::REPEATS)?).map_err(refused(names::REPEATS))?,
            counters: PerCpuArray::try_from(map(names::FAULTS)?).map_err(refused(names::FAULTS))?,
            told: Known::new(),
            seen: 0,
            missing: 0,
            failed: 0,
        })
    }

    /// What was counted since the last call. `gone`: what removed rows had counted so far. `all`: nothing will follow.
    ///
    /// `settled` says what of it is durable: only rows of which all is, are removed, and what could not be made durable is
    /// told again. What this answers must be handed over, and [`Self::handed`] be told the number.
    pub fn news(&mut self, now_ns: u64, gone: u64, settled: Settled, all: bool) -> News {
        if settled.failed > self.failed {
            self.failed = settled.failed;
            self.told.clear();
        }
        let total = self.total();
        let mut news = News::default();
        if total == self.seen && self.told.is_empty() {
            return news;
        }
        let rests = total == self.seen;
        let (mut sum, mut resting) = (0, Vec::new());
        for (subject, row) in self.rows.iter().filter_map(Result::ok) {
            sum += row.silent;
            let told = self.told.get(&subject);
            let before = told.map_or(0, |told| told.silent);
            if row.silent > before {
                let waits = told.is_some_and(|told| told.at.elapsed() < AGAIN);
                if all || !waits {
                    news.counted.push(Counted {
                        subject,
                        count: row.silent - before,
                        total: row.silent,
                        first_ns: row.first_ns,
                        last_ns: row.last_ns,
                    });
                }
            } else if now_ns.saturating_sub(row.last_ns.max(row.since_ns)) > REST_NS
                && told.is_none_or(|told| told.handed.is_some_and(|at| at <= settled.durable))
            {
                resting.push((subject, row.silent));
            }
        }
        news.counted.sort_by_key(|counted| std::cmp::Reverse(counted.count));
        if !all {
            news.counted.truncate(AT_ONCE);
        }
        for counted in &news.counted {
            let told = Told { silent: counted.total, at: Instant::now(), handed: None };
            self.told.insert(counted.subject, told);
        }
        for (subject, silent) in resting {
            if self.rows.remove(&subject).is_ok() {
                self.told.remove(&subject);
                news.gone += silent;
            }
        }
        if rests || all {
            // Rows were read after the counter rested: what they lack was counted in rows as they were removed.
            let missing = total.saturating_sub(gone + sum);
            news.unattributed = missing.saturating_sub(self.missing);
            self.missing = self.missing.max(missing);
        }
        self.seen = total;
        news
    }

    /// What was answered last has been handed over under this number.
    pub fn handed(&mut self, number: u64) {
        for told in self.told.values_mut().filter(|told| told.handed.is_none()) {
            told.handed = Some(number);
        }
    }

    fn total(&self) -> u64 {
        let values = self.counters.get(&(Fault::Repeats as u32), 0);
        values.map_or(0, |values| values.iter().sum())
    }
}
