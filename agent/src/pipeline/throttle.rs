//! Holds back repeats, and always tells how many.
//!
//! A rule may say `throttle: { by, burst, per }`: of the alerts of one rule and one subject (the values of `by`), the
//! first `burst` in each period are told one by one, the rest are counted. When the period ends, or the agent stops, a
//! `repeated` notice tells the count and the times of the first and last that were held back. An act that several rules
//! matched is held back only if each of them would. A refused act counts as much as one that went on. The number of
//! subjects is bounded; one that finds no room is told. Counts are in memory and kept through a crash by `held`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::snooze::Snoozes;
use crate::alert::{Alert, Notice, build::PolicyView, fields};

/// Subjects kept. Larger costs about 300 bytes each.
const SUBJECTS: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Throttle {
    subjects: HashMap<(String, String), Subject>,
}

#[derive(Debug)]
struct Subject {
    until_ns: u64,
    told: u32,
    held: u64,
    first: String,
    last: String,
}

/// What to do with an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Tell,
    Hold,
}

impl Throttle {
    /// Counts an alert. `now_ns` is boot time.
    pub(super) fn take(
        &mut self,
        alert: &Alert,
        policy: Option<&PolicyView>,
        snoozes: &Snoozes,
        now_ns: u64,
    ) -> Outcome {
        let Some(policy) = policy else { return Outcome::Tell };
        // More rules matched than are named: one of them might want to be told.
        let more = alert.decision.as_ref().is_some_and(|decision| decision.more_rules);
        if alert.rules.is_empty() || more {
            return Outcome::Tell;
        }
        let limits: Option<Vec<Limit<'_>>> =
            alert.rules.iter().map(|rule| Limit::of(alert, &rule.id, policy, snoozes)).collect();
        let Some(limits) = limits else { return Outcome::Tell };
        let mut outcome = Outcome::Hold;
        let mut keys = Vec::with_capacity(limits.len());
        for limit in limits {
            let key = (limit.rule.to_owned(), limit.subject);
            if !self.subjects.contains_key(&key) && self.subjects.len() >= SUBJECTS {
                return Outcome::Tell;
            }
            let known = self.subjects.entry(key.clone()).or_insert_with(|| Subject {
                until_ns: now_ns.saturating_add(limit.period_s.saturating_mul(1_000_000_000)),
                told: 0,
                held: 0,
                first: String::new(),
                last: String::new(),
            });
            if known.told < limit.burst {
                known.told += 1;
                outcome = Outcome::Tell;
            }
            keys.push(key);
        }
        if outcome == Outcome::Hold {
            // Counted once, under the first of its rules.
            if let Some(known) = keys.first().and_then(|key| self.subjects.get_mut(key)) {
                known.held += 1;
                if known.held == 1 {
                    known.first.clone_from(&alert.time);
                }
                known.last.clone_from(&alert.time);
            }
        }
        outcome
    }

    /// What is held back in periods that still run, in the order of what happened.
    pub(super) fn running(&self) -> Vec<Held> {
        let held = self.subjects.iter().filter(|(_, known)| known.held > 0);
        let mut held: Vec<Held> = held
            .map(|((rule, subject), known)| Held {
                first: known.first.clone(),
                rule: rule.clone(),
                subject: subject.clone(),
                count: known.held,
                last: known.last.clone(),
            })
            .collect();
        held.sort();
        held
    }

    /// What was held back in periods that have ended by `now_ns`; `u64::MAX` ends them all.
    pub(super) fn ended(&mut self, now_ns: u64) -> Vec<Held> {
        let mut ended = Vec::new();
        self.subjects.retain(|(rule, subject), known| {
            let goes_on = known.until_ns > now_ns;
            if !goes_on && known.held > 0 {
                ended.push(Held {
                    first: known.first.clone(),
                    rule: rule.clone(),
                    subject: subject.clone(),
                    count: known.held,
                    last: known.last.clone(),
                });
            }
            goes_on
        });
        // In the order of what happened, not of a hash table.
        ended.sort();
        ended
    }
}

/// Seconds between two counts of what a snooze holds back.
const SNOOZE_TOLD_S: u64 = 3_600;

/// How often one rule wants to be told of one subject.
struct Limit<'a> {
    rule: &'a str,
    subject: String,
    burst: u32,
    period_s: u64,
}

impl<'a> Limit<'a> {
    /// `None`: each time.
    fn of(alert: &Alert, rule: &'a str, policy: &PolicyView, snoozes: &Snoozes) -> Option<Self> {
        if let Some(snooze) = snoozes.of(rule) {
            let subject = format!("snoozed by {}: {}", snooze.owner, snooze.reason);
            return Some(Self { rule, subject, burst: 0, period_s: SNOOZE_TOLD_S });
        }
        let throttle = policy.throttle(rule)?;
        Some(Self {
            rule,
            subject: subject(alert, &throttle.by),
            burst: throttle.burst.max(1),
            period_s: u64::from(throttle.per_seconds),
        })
    }
}

/// Ordered by what comes first in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Held {
    first: String,
    rule: String,
    subject: String,
    count: u64,
    last: String,
}

impl Held {
    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// What tells it; `interrupted`: the run before held it back and did not live to tell.
    pub(super) fn notice(&self, interrupted: bool) -> Notice {
        Notice::Repeated {
            rule: self.rule.clone(),
            subject: self.subject.clone(),
            count: self.count,
            first: self.first.clone(),
            last: self.last.clone(),
            interrupted,
            row: None,
        }
    }
}

fn subject(alert: &Alert, by: &[String]) -> String {
    let mut parts = Vec::with_capacity(by.len());
    for name in by {
        parts.push(format!("{name}={}", fields::value(alert, name).unwrap_or_default()));
    }
    parts.join(" ")
}
