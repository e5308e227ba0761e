//! Decisions that the kernel programs counted instead of telling: see `ebpf/src/hooks/repeats.rs`.
//!
//! The rows stay pinned, and what is told of one is how many there were ever: an agent that takes over from one that was
//! killed tells them again, and nobody counts twice. A row that rests is removed; its count is kept in a sum, so that
//! what the kernel counted can always be held against what rows say. [`Rows`] reads and removes, [`Telling`] decides.

use std::{collections::HashMap as Known, path::Path};

use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use interdict_abi::{
    ids::Fault,
    maps::{Repeats, Subject, names},
};

use super::{loader::open_map, slots::SwapError};
use crate::pipeline::{Counted, Rows as Settled};

/// Time between two notices about one subject.
const AGAIN_NS: u64 = 10_000_000_000;

/// Subjects told at once: a flood of subjects must not become a flood of notices.
const AT_ONCE: usize = 256;

/// Time without a repeat after which a row is removed.
const REST_NS: u64 = 60_000_000_000;

/// The rows of an instance.
pub struct Rows {
    rows: HashMap<MapData, Subject, Repeats>,
    counters: PerCpuArray<MapData, u64>,
    telling: Telling,
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
            telling: Telling::default(),
        })
    }

    /// What was counted since the last call. `gone`: what removed rows had counted so far. `all`: nothing will follow.
    ///
    /// `settled` says what of it is durable: only rows of which all is, are removed, and what could not be made durable is
    /// told again. What this answers must be handed over, and [`Self::handed`] be told the number.
    pub fn news(&mut self, now_ns: u64, gone: u64, settled: Settled, all: bool) -> News {
        self.telling.settled(settled);
        let total = self.total();
        if self.telling.is_over(total) {
            return News::default();
        }
        let rows: Vec<(Subject, Repeats)> = self.rows.iter().filter_map(Result::ok).collect();
        let (mut news, resting) = self.telling.news(&rows, Counter { total, gone }, now_ns, all);
        for (subject, silent) in resting {
            if self.rows.remove(&subject).is_ok() {
                self.telling.removed(&subject);
                news.gone += silent;
            }
        }
        news
    }

    /// What was answered last has been handed over under this number.
    pub fn handed(&mut self, number: u64) {
        self.telling.handed(number);
    }

    fn total(&self) -> u64 {
        let values = self.counters.get(&(Fault::Repeats as u32), 0);
        values.map_or(0, |values| values.iter().sum())
    }
}

/// What the kernel side says of all rows together.
#[derive(Clone, Copy, Debug)]
struct Counter {
    /// What was counted ever.
    total: u64,
    /// What of it was counted in rows that were removed.
    gone: u64,
}

/// What was told of a subject.
#[derive(Debug)]
struct Told {
    silent: u64,
    at_ns: u64,
    /// The number under which it was handed over, once it was.
    handed: Option<u64>,
}

/// What was told of which subject, and so what is to be told.
#[derive(Debug, Default)]
struct Telling {
    told: Known<Subject, Told>,
    settled: Settled,
    /// The counter, when it was looked at last.
    seen: u64,
    missing: u64,
}

impl Telling {
    /// So much is durable. What could not be made so is told again.
    fn settled(&mut self, settled: Settled) {
        if settled.failed > self.settled.failed {
            self.told.clear();
            // Even if nothing more is ever counted.
            self.seen = u64::MAX;
        }
        self.settled = settled;
    }

    /// Whether there is nothing to tell and nothing to remove.
    fn is_over(&self, total: u64) -> bool {
        total == self.seen && self.told.is_empty()
    }

    /// What is to be told of these rows, and which of them are to be removed, with what they have counted.
    fn news(
        &mut self,
        rows: &[(Subject, Repeats)],
        counter: Counter,
        now_ns: u64,
        all: bool,
    ) -> (News, Vec<(Subject, u64)>) {
        let mut news = News::default();
        let rests = counter.total == self.seen;
        let (mut sum, mut resting) = (0, Vec::new());
        for (subject, row) in rows {
            sum += row.silent;
            let told = self.told.get(subject);
            let before = told.map_or(0, |told| told.silent);
            if row.silent > before {
                let waits = told.is_some_and(|told| now_ns.saturating_sub(told.at_ns) < AGAIN_NS);
                if all || !waits {
                    news.counted.push(Counted {
                        subject: *subject,
                        count: row.silent - before,
                        total: row.silent,
                        first_ns: row.first_ns,
                        last_ns: row.last_ns,
                    });
                }
            } else if now_ns.saturating_sub(row.last_ns.max(row.since_ns)) > REST_NS
                && told.is_none_or(|told| told.handed.is_some_and(|at| at <= self.settled.durable))
            {
                resting.push((*subject, row.silent));
            }
        }
        news.counted.sort_by_key(|counted| std::cmp::Reverse(counted.count));
        if !all {
            news.counted.truncate(AT_ONCE);
        }
        for counted in &news.counted {
            let told = Told { silent: counted.total, at_ns: now_ns, handed: None };
            self.told.insert(counted.subject, told);
        }
        if rests || all {
            // Rows were read after the counter rested: what they lack was counted in rows as they were removed.
            let missing = counter.total.saturating_sub(counter.gone + sum);
            news.unattributed = missing.saturating_sub(self.missing);
            self.missing = self.missing.max(missing);
        }
        self.seen = counter.total;
        (news, resting)
    }

    fn removed(&mut self, subject: &Subject) {
        self.told.remove(subject);
    }

    fn handed(&mut self, number: u64) {
        for told in self.told.values_mut().filter(|told| told.handed.is_none()) {
            told.handed = Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn subject(process: u32) -> Subject {
        Subject { process, acts: 1, ..Subject::default() }
    }

    fn row(silent: u64, last_ns: u64) -> Repeats {
        Repeats { silent, last_ns, ..Repeats::default() }
    }

    fn counter(total: u64) -> Counter {
        Counter { total, gone: 0 }
    }

    fn told(news: &News) -> Vec<(u32, u64, u64)> {
        news.counted.iter().map(|one| (one.subject.process, one.count, one.total)).collect()
    }

    #[test]
    fn a_subject_is_told_at_once_and_then_once_in_ten_seconds() {
        let mut telling = Telling::default();
        let at = |telling: &mut Telling, silent: u64, now_ns: u64, all: bool| {
            let rows = [(subject(1), row(silent, now_ns))];
            told(&telling.news(&rows, counter(silent), now_ns, all).0)
        };
        assert_eq!(at(&mut telling, 5, S, false), [(1, 5, 5)]);
        assert_eq!(at(&mut telling, 9, 2 * S, false), []);
        assert_eq!(at(&mut telling, 9, 11 * S, false), [(1, 4, 9)]);
        assert_eq!(at(&mut telling, 10, 12 * S, true), [(1, 1, 10)], "nothing will follow");
    }

    #[test]
    fn of_many_subjects_those_with_most_are_told_first_and_the_others_after_them() {
        let mut telling = Telling::default();
        let rows: Vec<(Subject, Repeats)> =
            (1..=300).map(|process| (subject(process), row(u64::from(process), S))).collect();
        let total = rows.iter().map(|(_, row)| row.silent).sum();
        let (first, _) = telling.news(&rows, counter(total), S, false);
        assert_eq!(first.counted.len(), AT_ONCE);
        assert_eq!(told(&first)[0], (300, 300, 300));
        let (second, _) = telling.news(&rows, counter(total), 2 * S, false);
        let left: Vec<u64> = told(&second).iter().map(|(_, count, _)| *count).collect();
        assert_eq!(left, (1..=44).rev().collect::<Vec<u64>>());
    }

    #[test]
    fn a_row_is_removed_only_when_it_rests_and_all_that_was_told_of_it_is_durable() {
        let mut telling = Telling::default();
        let rows = [(subject(1), row(5, S))];
        let late = 100 * S;
        let resting =
            |telling: &mut Telling, now_ns| telling.news(&rows, counter(5), now_ns, false).1;
        assert_eq!(resting(&mut telling, S), []);
        telling.handed(3);
        assert_eq!(resting(&mut telling, late), [], "not durable");
        telling.settled(Settled { durable: 2, failed: 0 });
        assert_eq!(resting(&mut telling, late), [], "others are");
        telling.settled(Settled { durable: 3, failed: 0 });
        assert_eq!(resting(&mut telling, 60 * S), [], "it may go on");
        assert_eq!(resting(&mut telling, late), [(subject(1), 5)]);
        assert!(!telling.is_over(5));
        telling.removed(&subject(1));
        assert!(telling.is_over(5) && !telling.is_over(6));
    }

    #[test]
    fn a_row_that_was_told_but_not_handed_over_stays() {
        let mut telling = Telling::default();
        let rows = [(subject(1), row(5, S))];
        telling.news(&rows, counter(5), S, false);
        telling.settled(Settled { durable: 9, failed: 0 });
        assert_eq!(telling.news(&rows, counter(5), 100 * S, false).1, []);
    }

    #[test]
    fn what_could_not_be_made_durable_is_told_again_in_full() {
        let mut telling = Telling::default();
        let rows = [(subject(1), row(5, S))];
        telling.news(&rows, counter(5), S, false);
        telling.handed(1);
        assert_eq!(told(&telling.news(&rows, counter(5), 50 * S, false).0), []);
        telling.settled(Settled { durable: 0, failed: 1 });
        assert!(!telling.is_over(5), "though nothing more was counted");
        assert_eq!(told(&telling.news(&rows, counter(5), 51 * S, false).0), [(1, 5, 5)]);
        telling.settled(Settled { durable: 0, failed: 1 });
        assert_eq!(
            told(&telling.news(&rows, counter(5), 99 * S, false).0),
            [],
            "once for each failure"
        );
    }

    #[test]
    fn what_no_row_says_is_told_once_the_counter_rests_and_only_once() {
        let mut telling = Telling::default();
        let rows = [(subject(1), row(5, S))];
        let count = |telling: &mut Telling, total, gone, all| {
            telling.news(&rows, Counter { total, gone }, S, all).0.unattributed
        };
        assert_eq!(count(&mut telling, 12, 4, false), 0, "it may be in a row that was not read");
        assert_eq!(count(&mut telling, 12, 4, false), 3);
        assert_eq!(count(&mut telling, 12, 4, false), 0);
        assert_eq!(count(&mut telling, 14, 4, true), 2);
        assert_eq!(count(&mut telling, 3, 0, true), 0, "rows may be ahead of the counter");
    }
}
