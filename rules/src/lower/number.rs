//! Gives every clause its number within its family.
//!
//! Strongest rules first, so that the kernel's one pass in ascending order meets what it must enforce before it can run
//! out of steps; among equals those that test the same facts together, so that whole blocks of clauses fall away at
//! once; then as written. The clauses of a rule are adjacent, its exceptions first.

use interdict_abi::{
    ids::{Action, Family, Mode},
    limits::CLAUSES_PER_FAMILY,
};

use super::{error::Problem, parts::Parts};
use crate::ir::{Clause, OnFault, Program, Rule, Test};

/// One clause with a number: its index in [`FamilyClauses::clauses`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbered<'p> {
    /// Index of its rule.
    pub(super) rule: u32,
    /// The clause.
    pub(super) clause: &'p Clause,
    /// It excuses its rule.
    pub(super) exception: bool,
    /// What its literals are worth on a fact that could not be learned.
    pub(super) holds_on_fault: bool,
    /// Acts that any match of its rule in this family is about.
    pub(super) rule_acts: u32,
}

/// The clauses of one family in order.
#[derive(Clone, Debug)]
pub(super) struct FamilyClauses<'p> {
    /// The family.
    pub(super) family: Family,
    /// All its clauses.
    pub(super) clauses: Vec<Numbered<'p>>,
    /// How many of the first enforce block or kill.
    pub(super) enforcing: usize,
}

/// Whether a rule refuses or kills when it matches.
fn enforces(rule: &Rule) -> bool {
    rule.mode == Mode::Enforce && rule.action >= Action::Block
}

/// Rank of a rule: lower comes first.
fn rank(rule: &Rule) -> (bool, u8, bool) {
    (!enforces(rule), Action::Kill as u8 - rule.action as u8, rule.mode != Mode::Enforce)
}

/// The facts that a rule tests in a family, as a mask: facts by number, then set facts.
fn signature(rule: &Rule, family: Family) -> u64 {
    let mut mask = 0;
    for clause in rule.exceptions.iter().chain(&rule.clauses) {
        if clause.family != family {
            continue;
        }
        for literal in &clause.literals {
            mask |= match &literal.test {
                Test::Text { fact, .. }
                | Test::Number { fact, .. }
                | Test::Flags { fact, .. }
                | Test::Address { fact, .. } => 1 << *fact as u64,
                Test::Ancestor { .. } => 1 << 61,
                Test::Argument { .. } => 1 << 62,
                Test::Capabilities { .. } => 1 << 63,
            };
        }
    }
    mask
}

/// Numbers the clauses of `family`. `None` if no rule is about it.
pub(super) fn number<'p>(
    program: &'p Program,
    family: Family,
    parts: &'p Parts<'_>,
    problems: &mut Vec<Problem>,
) -> Option<FamilyClauses<'p>> {
    let mut rules: Vec<(usize, &Rule)> = program
        .rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule.clauses.iter().any(|clause| clause.family == family))
        .collect();
    if rules.is_empty() {
        return None;
    }
    rules.sort_by_key(|(index, rule)| (rank(rule), signature(rule, family), *index));
    let mut clauses = Vec::new();
    let mut enforcing = 0;
    let mut largest = (0, 0);
    for (index, rule) in rules {
        let first = clauses.len();
        let in_family = |clause: &&'p Clause| clause.family == family;
        let matches = || parts.clauses(index, false, &rule.clauses).filter(in_family);
        let rule_acts = matches().fold(0, |acts, clause| acts | clause.acts);
        let exceptions = parts.clauses(index, true, &rule.exceptions).filter(in_family);
        let numbered = |clause: &'p Clause, exception: bool| Numbered {
            rule: index as u32,
            clause,
            exception,
            // An exception that could not be judged must not excuse a rule that blocks on faults.
            holds_on_fault: (rule.on_fault == OnFault::Block) != exception,
            rule_acts,
        };
        clauses.extend(exceptions.map(|clause| numbered(clause, true)));
        clauses.extend(matches().map(|clause| numbered(clause, false)));
        if enforces(rule) {
            enforcing = clauses.len();
        }
        largest = largest.max((clauses.len() - first, index));
    }
    if clauses.len() > CLAUSES_PER_FAMILY {
        problems.push(Problem::TooManyClauses {
            rule: program.rules[largest.1].id.clone(),
            family: family.name(),
            count: clauses.len(),
            limit: CLAUSES_PER_FAMILY,
            of_rule: largest.0,
        });
        return None;
    }
    Some(FamilyClauses { family, clauses, enforcing })
}
