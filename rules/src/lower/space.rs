//! The patterns and predicates that share one automaton.
//!
//! A predicate is one list of patterns, true of a string that any of them matches. Equal patterns and equal lists are
//! kept once, whoever wrote them.

use std::collections::HashMap;

use super::{
    Budget,
    error::{Problem, show},
};
use crate::{
    dfa::{self, Automaton, BuildError, Chains, Limits, pattern},
    ir::{Pattern, Program},
};

/// Patterns and predicates on one fact.
#[derive(Debug, Default)]
pub(super) struct Space<'p> {
    patterns: Vec<(&'p Pattern, u32)>,
    pattern_ids: HashMap<&'p Pattern, u32>,
    predicates: HashMap<Vec<u32>, u32>,
    /// For each pattern the predicates it is listed in, ascending.
    listed: Vec<Vec<u32>>,
    count: u32,
}

impl<'p> Space<'p> {
    /// The predicate that is true of what any of `patterns` matches. `rule` is remembered for messages.
    pub(super) fn predicate(
        &mut self,
        patterns: impl IntoIterator<Item = &'p Pattern>,
        rule: u32,
    ) -> u32 {
        let mut list = Vec::new();
        for pattern in patterns {
            let next = self.patterns.len() as u32;
            let id = *self.pattern_ids.entry(pattern).or_insert(next);
            if id == next {
                self.patterns.push((pattern, rule));
                self.listed.push(Vec::new());
            }
            list.push(id);
        }
        list.sort_unstable();
        list.dedup();
        if let Some(known) = self.predicates.get(&list) {
            return *known;
        }
        let number = self.count;
        self.count += 1;
        for id in &list {
            self.listed[*id as usize].push(number);
        }
        self.predicates.insert(list, number);
        number
    }

    /// Number of distinct predicates.
    pub(super) fn predicates(&self) -> usize {
        self.count as usize
    }

    /// Number of distinct patterns.
    pub(super) fn patterns(&self) -> usize {
        self.patterns.len()
    }

    /// A number, never 0, that is the same for the same predicates in the same order.
    pub(super) fn digest(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for ((pattern, _), listed) in self.patterns.iter().zip(&self.listed) {
            hasher.update(format!("{pattern:?}{listed:?}\n").as_bytes());
        }
        hasher.finalize().max(1)
    }

    /// All patterns, by number.
    pub(super) fn all(&self) -> impl Iterator<Item = &'p Pattern> {
        self.patterns.iter().map(|(pattern, _)| *pattern)
    }

    /// The predicates that are true of a string that `matched` patterns match, ascending.
    pub(super) fn truths(&self, matched: &[u32]) -> Vec<u32> {
        let mut truths: Vec<u32> =
            matched.iter().flat_map(|pattern| &self.listed[*pattern as usize]).copied().collect();
        truths.sort_unstable();
        truths.dedup();
        truths
    }

    /// The automaton of all patterns. `label` is told which predicates are true and answers the label, 0 for none.
    pub(super) fn automaton(
        &self,
        (fact, chains): (&'static str, Chains),
        program: &Program,
        budget: &Budget,
        label: &mut dyn FnMut(&[u32]) -> u32,
    ) -> Result<Automaton, Vec<Problem>> {
        let mut problems = Vec::new();
        let id = |rule: u32| program.rules[rule as usize].id.clone();
        let mut expressions = Vec::with_capacity(self.patterns.len());
        for (pattern, rule) in &self.patterns {
            match pattern::expression(pattern) {
                Ok(expression) => expressions.push(expression),
                Err(reason) => problems.push(Problem::Pattern {
                    rule: id(*rule),
                    pattern: show(pattern),
                    reason,
                }),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (table_bytes, work_bytes) = budget.limits(self.patterns.len());
        let limits = Limits { table_bytes, work_bytes, chains };
        let built = dfa::build(&expressions, limits, &mut |matched| label(&self.truths(matched)));
        match built {
            Ok(automaton) => Ok(automaton),
            Err(BuildError::Large { budget }) => {
                let costliest = (0..expressions.len())
                    .max_by_key(|at| (pattern::openness(&expressions[*at]), usize::MAX - at));
                let (pattern, rule) = self.patterns[costliest.unwrap_or(0)];
                Err(vec![Problem::AutomatonTooLarge {
                    rule: id(rule),
                    pattern: show(pattern),
                    fact,
                    patterns: self.patterns.len(),
                    budget,
                }])
            }
            Err(BuildError::Unsupported) => {
                let culprit = (0..expressions.len()).find(|at| {
                    dfa::build(&expressions[*at..=*at], limits, &mut |_| 1)
                        == Err(BuildError::Unsupported)
                });
                let (pattern, rule) = self.patterns[culprit.unwrap_or(0)];
                Err(vec![Problem::PatternUnsupported { rule: id(rule), pattern: show(pattern) }])
            }
        }
    }
}
