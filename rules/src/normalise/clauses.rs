//! A tree to clauses, within a budget.

use super::tree::Tree;
use crate::ir::{Literal, Pattern, Test};

/// The clauses of a tree: conjunctions of literals, without contradictions and repetitions. `Err`: how many there would
/// be, when that is more than `max`.
pub(super) fn unfold(tree: &Tree, max: usize) -> Result<Vec<Vec<Literal>>, u64> {
    let count = count(tree);
    if count > max as u64 {
        return Err(count);
    }
    let mut clauses = expand(tree);
    clauses.retain_mut(|clause| {
        let mut unique: Vec<Literal> = Vec::with_capacity(clause.len());
        for literal in clause.drain(..) {
            if !unique.contains(&literal) {
                unique.push(literal);
            }
        }
        *clause = unique;
        !contradicts(clause)
    });
    let mut unique: Vec<Vec<Literal>> = Vec::with_capacity(clauses.len());
    for clause in clauses {
        if !unique.contains(&clause) {
            unique.push(clause);
        }
    }
    Ok(unique)
}

fn count(tree: &Tree) -> u64 {
    match tree {
        Tree::Literal(_) => 1,
        Tree::All(parts) => parts.iter().map(count).fold(1, u64::saturating_mul),
        Tree::Any(parts) => parts.iter().map(count).fold(0, u64::saturating_add),
    }
}

fn expand(tree: &Tree) -> Vec<Vec<Literal>> {
    match tree {
        Tree::Literal(literal) => vec![vec![literal.clone()]],
        Tree::Any(parts) => parts.iter().flat_map(expand).collect(),
        Tree::All(parts) => {
            let mut clauses: Vec<Vec<Literal>> = vec![Vec::new()];
            for part in parts {
                let alternatives = expand(part);
                clauses = clauses
                    .iter()
                    .flat_map(|clause| {
                        alternatives
                            .iter()
                            .map(|alternative| clause.iter().chain(alternative).cloned().collect())
                    })
                    .collect();
            }
            clauses
        }
    }
}

/// Whether a conjunction can never hold.
pub(crate) fn contradicts(clause: &[Literal]) -> bool {
    clause.iter().enumerate().any(|(index, one)| {
        let rest = clause[index + 1..].iter().filter(|other| comparable(&one.test, &other.test));
        rest.into_iter().any(|other| match (one.negated, other.negated) {
            (false, false) => apart(&one.test, &other.test),
            (false, true) => within(&one.test, &other.test),
            (true, false) => within(&other.test, &one.test),
            (true, true) => false,
        })
    })
}

/// Most comparisons of one pair of tests: past it nothing is claimed about them.
const COMPARED: usize = 1 << 20;

/// Whether two tests have few enough values to be compared one by one.
fn comparable(one: &Test, other: &Test) -> bool {
    let values = |test: &Test| match test {
        Test::Text { patterns, .. } | Test::Ancestor { patterns } | Test::Argument { patterns } => {
            patterns.len()
        }
        Test::Number { ranges, .. } => ranges.len(),
        Test::Address { v4, v6, .. } => v4.len() + v6.len(),
        Test::Flags { .. } | Test::Capabilities { .. } => 1,
    };
    // Addresses are only ever compared for being the same.
    matches!(one, Test::Address { .. }) || values(one).saturating_mul(values(other)) <= COMPARED
}

/// Whether no single value passes both tests.
fn apart(one: &Test, other: &Test) -> bool {
    match (one, other) {
        (
            Test::Text { fact: one_fact, patterns: one },
            Test::Text { fact: other_fact, patterns: other },
        ) => {
            let exact = |patterns: &[Pattern]| {
                patterns.iter().all(|pattern| matches!(pattern, Pattern::Exact(_)))
            };
            one_fact == other_fact
                && exact(one)
                && exact(other)
                && !one.iter().any(|pattern| other.contains(pattern))
        }
        (
            Test::Number { fact: one_fact, ranges: one },
            Test::Number { fact: other_fact, ranges: other },
        ) => {
            one_fact == other_fact
                && !one
                    .iter()
                    .any(|one| other.iter().any(|other| one.0 <= other.1 && other.0 <= one.1))
        }
        // Flags: both bits can be set. Sets: two members can pass one test each. Addresses: lists are long, and the
        // tables AND them anyway.
        (
            Test::Text { .. }
            | Test::Number { .. }
            | Test::Flags { .. }
            | Test::Address { .. }
            | Test::Ancestor { .. }
            | Test::Argument { .. }
            | Test::Capabilities { .. },
            _,
        ) => false,
    }
}

/// Whether every value (or set of values) that passes `one` passes `other`.
pub(crate) fn within(one: &Test, other: &Test) -> bool {
    if !comparable(one, other) {
        return false;
    }
    match (one, other) {
        (
            Test::Text { fact: one_fact, patterns: one },
            Test::Text { fact: other_fact, patterns: other },
        ) => one_fact == other_fact && one.iter().all(|pattern| other.contains(pattern)),
        (Test::Ancestor { patterns: one }, Test::Ancestor { patterns: other })
        | (Test::Argument { patterns: one }, Test::Argument { patterns: other }) => {
            one.iter().all(|pattern| other.contains(pattern))
        }
        (
            Test::Number { fact: one_fact, ranges: one },
            Test::Number { fact: other_fact, ranges: other },
        ) => {
            one_fact == other_fact
                && one
                    .iter()
                    .all(|one| other.iter().any(|other| other.0 <= one.0 && one.1 <= other.1))
        }
        (
            Test::Flags { fact: one_fact, mask: one },
            Test::Flags { fact: other_fact, mask: other },
        ) => one_fact == other_fact && one & !other == 0,
        (Test::Capabilities { mask: one }, Test::Capabilities { mask: other }) => one & !other == 0,
        (Test::Address { .. }, Test::Address { .. }) => one == other,
        (
            Test::Text { .. }
            | Test::Number { .. }
            | Test::Flags { .. }
            | Test::Address { .. }
            | Test::Ancestor { .. }
            | Test::Argument { .. }
            | Test::Capabilities { .. },
            _,
        ) => false,
    }
}
