//! What the clauses of a family ask of one fact, and which of them a value satisfies.
//!
//! The base set holds the clauses that a value satisfies that makes no predicate true; a value that makes some true
//! flips a few of them. Those flips are what the image keeps.

use std::collections::{BTreeMap, HashMap};

use interdict_abi::ids::{Fact, Family};

use super::number::Numbered;

/// Columns of addresses that some feed is in and that have one table: what is needed to write it again.
#[derive(Clone, Debug)]
pub(crate) struct FeedColumn {
    /// The family of one of them.
    pub(crate) family: Family,
    pub(crate) fact: Fact,
    pub(crate) sharers: Sharers,
    pub(crate) predicates: Vec<FeedPredicate>,
    /// What stands in pages, by the predicates that are true.
    pub(crate) rows: HashMap<Vec<u32>, u32>,
}

/// The columns that share a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sharers {
    /// Each with its own numbers of the predicates that it has.
    columns: Vec<(Column, BTreeMap<u32, u32>)>,
}

impl Sharers {
    /// Adds a column. `own` gives the numbers of the table's predicates that it has those it knows them by.
    pub(super) fn add(&mut self, column: Column, own: BTreeMap<u32, u32>) {
        self.columns.push((column, own));
    }

    /// For each column what [`Column::flips`] says of a value that makes exactly `truths` true.
    pub(crate) fn flips(&self, truths: &[u32]) -> impl Iterator<Item = Vec<u32>> {
        self.columns.iter().map(|(column, own)| {
            let mut known: Vec<u32> =
                truths.iter().filter_map(|truth| own.get(truth).copied()).collect();
            known.sort_unstable();
            column.flips(&known)
        })
    }
}

/// What a predicate of such a column holds of.
#[derive(Clone, Debug)]
pub(crate) struct FeedPredicate {
    /// Where the ranges are from: see `parse::feed::Addresses`.
    pub(crate) from: Vec<String>,
    /// The ranges, unless they are those of one feed.
    pub(crate) v4: Vec<(u32, u32)>,
    /// The same of IPv6.
    pub(crate) v6: Vec<(u128, u128)>,
}

/// The tests of a family's clauses on one fact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    /// For each clause that tests the fact its literals: predicate, negated.
    literals: BTreeMap<u32, Vec<(u32, bool)>>,
    /// For each predicate the clauses that test it.
    clauses: BTreeMap<u32, Vec<u32>>,
}

impl Column {
    /// Adds a literal of clause `clause`.
    pub(super) fn add(&mut self, clause: u32, predicate: u32, negated: bool) {
        self.literals.entry(clause).or_default().push((predicate, negated));
        self.clauses.entry(predicate).or_default().push(clause);
    }

    /// Number of clauses that test the fact.
    pub(super) fn uses(&self) -> usize {
        self.literals.len()
    }

    /// Whether a clause tests the fact.
    pub(super) fn tested_by(&self, clause: u32) -> bool {
        self.literals.contains_key(&clause)
    }

    /// The last clause that tests the fact.
    pub(super) fn last_clause(&self) -> Option<u32> {
        self.literals.last_key_value().map(|(clause, _)| *clause)
    }

    /// Whether clause `clause` is in the base set.
    fn in_base(&self, clause: u32) -> bool {
        self.literals
            .get(&clause)
            .is_none_or(|literals| literals.iter().all(|(_, negated)| *negated))
    }

    /// The base set of a family of `count` clauses.
    pub(super) fn base(&self, count: usize) -> Vec<bool> {
        (0..count as u32).map(|clause| self.in_base(clause)).collect()
    }

    /// The clauses, ascending, that a value that makes exactly `truths` (ascending) true satisfies if and only if they
    /// are not in the base set.
    pub(crate) fn flips(&self, truths: &[u32]) -> Vec<u32> {
        let mut concerned: Vec<u32> = truths
            .iter()
            .filter_map(|predicate| self.clauses.get(predicate))
            .flatten()
            .copied()
            .collect();
        concerned.sort_unstable();
        concerned.dedup();
        concerned.retain(|clause| {
            let satisfied = self.literals[clause]
                .iter()
                .all(|(predicate, negated)| truths.binary_search(predicate).is_ok() != *negated);
            satisfied != self.in_base(*clause)
        });
        concerned
    }

    /// As [`Self::flips`] for a value that could not be learned.
    pub(super) fn fault_flips(&self, clauses: &[Numbered<'_>]) -> Vec<u32> {
        self.literals
            .keys()
            .copied()
            .filter(|clause| clauses[*clause as usize].holds_on_fault != self.in_base(*clause))
            .collect()
    }
}
