//! Keeps apart patterns that would multiply each other.
//!
//! Past a subtree pattern (`/srv/**`) an automaton must go on looking for every pattern that can begin anywhere
//! (`**/id_rsa`): each subtree needs all their states again. And it must remember which of the patterns that can begin
//! anywhere and go on anywhere (`**/.ssh/**`) it has seen: each doubles the states. When that comes to more than
//! [`Budget::together`], such patterns are read by automata of their own, parts of the same column. All parts narrow, so a test
//! must lie in one: a list across parts becomes one clause for each part, a negated one becomes one test for each.
//! What goes where decides sizes, never meaning.

use std::collections::{BTreeMap, BTreeSet};

use interdict_abi::{
    ids::{Fact, Family},
    limits::{COLUMN_PARTS, COLUMNS_USED},
};

use super::{Budget, names};
use crate::{
    dfa::pattern,
    ir::{Clause, Literal, Pattern, Program, Test},
};

/// Lists of patterns that begin and go on anywhere, to one part: each doubles it.
const OPEN_LISTS: usize = 6;

/// Where a match of a pattern can begin, and whether it can go on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    /// At the beginning of the string.
    Anchored { goes_on: bool },
    /// Anywhere, up to the end of the string.
    Floating,
    /// Anywhere, and whatever follows.
    Open,
}

fn shape(pattern: &Pattern) -> Shape {
    match pattern {
        Pattern::Exact(_) => Shape::Anchored { goes_on: false },
        Pattern::Prefix(_) => Shape::Anchored { goes_on: true },
        Pattern::Suffix(_) => Shape::Floating,
        Pattern::Contains(_) => Shape::Open,
        Pattern::Glob(text) => match text.strip_prefix("**") {
            Some(rest) if rest.contains("**") => Shape::Open,
            Some(_) => Shape::Floating,
            None if text.starts_with('{') && text.contains("**") => Shape::Open,
            None => Shape::Anchored { goes_on: text.contains("**") },
        },
        Pattern::Regex(text) => {
            let (begins, ends) = pattern::anchors(text);
            match (begins, ends) {
                (true, _) => Shape::Anchored { goes_on: !ends || text.contains(".*") },
                (false, true) if !text.contains(".*") => Shape::Floating,
                (false, _) => Shape::Open,
            }
        }
    }
}

/// The fact of a column that a test is made on; sets have none.
fn fact(test: &Test) -> Option<Fact> {
    match test {
        Test::Text { fact, .. }
        | Test::Number { fact, .. }
        | Test::Flags { fact, .. }
        | Test::Address { fact, .. } => Some(*fact),
        Test::Ancestor { .. } | Test::Argument { .. } | Test::Capabilities { .. } => None,
    }
}

fn length(pattern: &Pattern) -> usize {
    match pattern {
        Pattern::Exact(bytes)
        | Pattern::Prefix(bytes)
        | Pattern::Suffix(bytes)
        | Pattern::Contains(bytes) => bytes.len(),
        Pattern::Glob(text) | Pattern::Regex(text) => text.len(),
    }
}

/// The part of names that are listed in full: a table instead of an automaton.
pub(super) const NAMES: u8 = u8::MAX;

/// Whether a test belongs there.
fn in_names(fact: Fact, patterns: &[Pattern]) -> bool {
    fact == Fact::DnsName
        && !patterns.is_empty()
        && patterns.iter().all(|pattern| names::plain(pattern).is_some())
}

/// The facts whose columns can have parts: those with an automaton of their own.
fn can_split(fact: Fact) -> bool {
    matches!(fact, Fact::Path | Fact::Name | Fact::SecondPath | Fact::Comm | Fact::DnsName)
        || Fact::PLACES.contains(&fact)
}

/// What a column's patterns come to.
#[derive(Default)]
struct Census<'p> {
    /// Anchored patterns that go on.
    subtrees: BTreeSet<&'p Pattern>,
    /// Patterns that begin anywhere.
    floating: BTreeSet<&'p Pattern>,
    /// Lists of those that go on anywhere too, in the order met.
    open: Vec<Vec<&'p Pattern>>,
}

impl<'p> Census<'p> {
    fn count(&mut self, patterns: &'p [Pattern]) {
        let open = open_of(patterns);
        if !open.is_empty() && !self.open.contains(&open) {
            self.open.push(open);
        }
        for pattern in patterns {
            match shape(pattern) {
                Shape::Anchored { goes_on: false } => {}
                Shape::Anchored { goes_on: true } => drop(self.subtrees.insert(pattern)),
                Shape::Floating | Shape::Open => drop(self.floating.insert(pattern)),
            }
        }
    }

    fn estimate(&self) -> u64 {
        let floating: usize = self.floating.iter().map(|pattern| length(pattern)).sum();
        let seen = 1u64 << self.open.len().min(20);
        (self.subtrees.len() as u64 + 1).saturating_mul(floating as u64).saturating_mul(seen)
    }
}

fn open_of(patterns: &[Pattern]) -> Vec<&Pattern> {
    let mut open: Vec<&Pattern> =
        patterns.iter().filter(|pattern| shape(pattern) == Shape::Open).collect();
    open.sort_unstable();
    open.dedup();
    open
}

/// Which clauses were split, and which part of its column each list of patterns belongs to.
#[derive(Default)]
pub(super) struct Parts<'p> {
    /// Parts of lists that go on anywhere, for the columns that are split.
    split: BTreeMap<(Family, Fact), BTreeMap<Vec<&'p Pattern>, u8>>,
    /// What stands for a clause: by rule, exception or match, and index.
    replaced: BTreeMap<(usize, bool, usize), Vec<Clause>>,
}

impl<'p> Parts<'p> {
    /// Decides what is split.
    pub(super) fn decide(program: &'p Program, budget: &Budget) -> Self {
        let mut parts = Self::default();
        let limit = budget.parts.min(COLUMN_PARTS);
        if limit < 2 {
            return parts;
        }
        let mut census: BTreeMap<(Family, Fact), Census<'p>> = BTreeMap::new();
        let mut facts: BTreeSet<(Family, Fact)> = BTreeSet::new();
        let clauses = |rule: &'p crate::ir::Rule| rule.clauses.iter().chain(&rule.exceptions);
        for clause in program.rules.iter().flat_map(clauses) {
            facts.insert((clause.family, Fact::Act));
            for literal in &clause.literals {
                if let Some(fact) = fact(&literal.test) {
                    facts.insert((clause.family, fact));
                }
                if let Test::Text { fact, patterns } = &literal.test
                    && can_split(*fact)
                {
                    census.entry((clause.family, *fact)).or_default().count(patterns);
                }
            }
        }
        // The columns of a family are few: those that gain most are split first.
        let mut large: Vec<_> =
            census.into_iter().filter(|(_, census)| census.estimate() > budget.together).collect();
        large.sort_by_key(|(column, census)| (u64::MAX - census.estimate(), *column));
        let mut room: BTreeMap<Family, usize> = BTreeMap::new();
        for (column, census) in large {
            let used = facts.iter().filter(|(family, _)| *family == column.0).count();
            let room = room.entry(column.0).or_insert(COLUMNS_USED.saturating_sub(used));
            // Names have a part of their own.
            let limit = limit - 1 - usize::from(column.1 == Fact::DnsName);
            let more = (1 + census.open.len().div_ceil(OPEN_LISTS)).min(*room).min(limit);
            if more == 0 {
                continue;
            }
            *room -= more;
            let part = |at: usize| (2 + at / OPEN_LISTS).min(more) as u8;
            let lists = census.open.into_iter().enumerate();
            parts.split.insert(column, lists.map(|(at, list)| (list, part(at))).collect());
        }
        if parts.split.is_empty() && !facts.iter().any(|(_, fact)| *fact == Fact::DnsName) {
            return parts;
        }
        for (number, rule) in program.rules.iter().enumerate() {
            for (exception, clauses) in [(false, &rule.clauses), (true, &rule.exceptions)] {
                for (index, clause) in clauses.iter().enumerate() {
                    if let Some(split) = parts.divide(clause) {
                        parts.replaced.insert((number, exception, index), split);
                    }
                }
            }
        }
        parts
    }

    /// The part of a list of patterns that lies in one.
    pub(super) fn of(&self, family: Family, fact: Fact, patterns: &[Pattern]) -> u8 {
        if in_names(fact, patterns) {
            return NAMES;
        }
        let Some(lists) = self.split.get(&(family, fact)) else { return 0 };
        match patterns.first().map(shape) {
            None | Some(Shape::Anchored { .. }) => 0,
            Some(Shape::Floating) => 1,
            Some(Shape::Open) => lists.get(&open_of(patterns)).copied().unwrap_or(0),
        }
    }

    /// The clauses that stand for a rule's clauses, each with its own.
    pub(super) fn clauses<'s>(
        &'s self,
        rule: usize,
        exception: bool,
        clauses: &'s [Clause],
    ) -> impl Iterator<Item = &'s Clause> {
        clauses.iter().enumerate().flat_map(move |(index, clause)| {
            match self.replaced.get(&(rule, exception, index)) {
                Some(split) => split.iter(),
                None => std::slice::from_ref(clause).iter(),
            }
        })
    }

    /// The clauses that together hold when `clause` does, if it has a test across parts.
    fn divide(&self, clause: &Clause) -> Option<Vec<Clause>> {
        let mut alternatives: Vec<Vec<Literal>> = vec![Vec::new()];
        let mut divided = false;
        for literal in &clause.literals {
            let pieces = self.pieces(clause.family, literal);
            divided |= pieces.len() > 1;
            if literal.negated {
                for alternative in &mut alternatives {
                    alternative.extend(pieces.iter().cloned());
                }
            } else {
                alternatives = alternatives
                    .iter()
                    .flat_map(|head| pieces.iter().map(|piece| with(head, piece)))
                    .collect();
            }
        }
        divided.then(|| {
            let clause = |literals| Clause { literals, ..clause.clone() };
            alternatives.into_iter().map(clause).collect()
        })
    }

    /// A literal, or its pieces if its patterns lie in several parts.
    fn pieces(&self, family: Family, literal: &Literal) -> Vec<Literal> {
        let Test::Text { fact, patterns } = &literal.test else { return vec![literal.clone()] };
        let split = self.split.contains_key(&(family, *fact));
        let named = *fact == Fact::DnsName;
        if !split && !named || patterns.is_empty() {
            return vec![literal.clone()];
        }
        let mut by_shape: BTreeMap<u8, Vec<Pattern>> = BTreeMap::new();
        for pattern in patterns {
            let place = match shape(pattern) {
                _ if named && names::plain(pattern).is_some() => NAMES,
                _ if !split => 0,
                Shape::Anchored { .. } => 0,
                Shape::Floating => 1,
                Shape::Open => 2,
            };
            by_shape.entry(place).or_default().push(pattern.clone());
        }
        by_shape
            .into_values()
            .map(|patterns| Literal {
                negated: literal.negated,
                test: Test::Text { fact: *fact, patterns },
            })
            .collect()
    }
}

fn with(head: &[Literal], piece: &Literal) -> Vec<Literal> {
    head.iter().cloned().chain([piece.clone()]).collect()
}
