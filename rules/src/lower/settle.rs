//! What becomes of a packet by its sender alone: see `interdict_abi::image::settled`.
//!
//! In: for each row of the senders' table the clauses that it flips. Out: the rows with which the first clause that is
//! left refuses and asks for nothing but act and sender. Whoever is in doubt leaves a row out: then all of the packet is
//! judged.

use std::collections::BTreeSet;

use interdict_abi::{
    ids::{Action, Mode},
    limits::SETTLED_ROWS,
};

use crate::ir::Program;

/// What is known of a clause of packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Its rule.
    pub(super) rule: u32,
    /// It is about packets that arrive at an interface.
    pub(super) arrives: bool,
    /// It excuses its rule.
    pub(super) exception: bool,
    /// It asks for more than act and sender.
    pub(super) asks_more: bool,
    /// It holds of senders that no test mentions.
    pub(super) in_base: bool,
}

/// A row of the senders' table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its offset.
    pub(super) at: u32,
    /// The clauses it flips, ascending.
    pub(super) flips: Vec<u32>,
    /// Ranges of addresses that have it.
    pub(super) ranges: usize,
}

/// Rows and the rules that drop whatever comes from their senders, those of most ranges first.
pub(super) fn settled(
    program: &Program,
    clauses: &[Known],
    mut rows: Vec<Row>,
    rated: &BTreeSet<u32>,
) -> Vec<(u32, u32)> {
    rows.retain(|row| row.at != 0);
    rows.sort_by_key(|row| (usize::MAX - row.ranges, row.at));
    let drops = |row: &Row| {
        let mut left = (0u32..).zip(clauses).filter(|(number, clause)| {
            clause.arrives && clause.in_base != row.flips.binary_search(number).is_ok()
        });
        let (_, first) = left.next()?;
        let rule = &program.rules[first.rule as usize];
        let refuses = rule.mode == Mode::Enforce && rule.action >= Action::Block;
        // What a rule with a rate has seen of a peer must not depend on which way its packets were judged.
        let rates = rated.contains(&first.rule) || left.any(|(_, each)| rated.contains(&each.rule));
        (refuses && !first.exception && !first.asks_more && !rates).then_some((row.at, first.rule))
    };
    rows.iter().filter_map(drops).take(SETTLED_ROWS as usize).collect()
}
