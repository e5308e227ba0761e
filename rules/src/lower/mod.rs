//! Turns rules in normal form into the bytes the kernel will read.
//!
//! In: an [`ir::Program`], which has passed every test that needs an operator's eyes, and the metadata of its rules.
//! Out: one [`PolicyImage`]. Same rules, same bytes: no clocks, no hash-map order, no environment.
//! [`number`] gives clauses their numbers, [`space`] and [`column`] gather what is asked of each fact, [`automata`] builds what
//! reads strings, [`assemble`] writes the tables, [`addresses`] those of addresses. Refuses to exceed [`Budget`], and tells everything that is wrong at once.

mod addresses;
mod assemble;
mod automata;
mod column;
mod error;
mod gather;
mod names;
mod number;
mod parts;
mod settle;
mod space;
mod stats;
mod sweep;
mod values;

use interdict_abi::{
    ids::Family,
    limits::{COLUMN_PARTS, SLOT_BYTES_MAX},
};

pub(crate) use self::{
    column::{FeedColumn, Sharers},
    sweep::{Point, Ranges},
};
pub use self::{
    error::{LowerError, Problem},
    stats::{AutomatonStats, PartStats, Stats},
};
use crate::{
    image::PolicyImage,
    ir::Program,
    meta::{ClauseMeta, Metadata},
};

/// What one policy may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of the kernel's half of the image.
    pub image_bytes: usize,
    /// Bytes of the table of one automaton while it is made, before it is reduced. Few patterns get less: see
    /// [`Budget::limits`].
    pub table_bytes: usize,
    /// Bytes of what is needed beside that table to make it.
    pub work_bytes: usize,
    /// Automata that one string fact may be read by. 1: patterns are never kept apart.
    pub parts: usize,
    /// Estimated states of an automaton past which its patterns are kept apart.
    pub together: u64,
}

/// Parts a column may have: every hook reads them all.
const PARTS: usize = COLUMN_PARTS;

/// Estimated states up to which patterns stay together: one automaton is one walk.
const TOGETHER: u64 = 100_000;

/// Bytes of a table that any automaton may take, and more of them for each pattern.
const TABLE_BYTES: (usize, usize) = (8 << 20, 64 << 10);

/// The same for what is needed beside it. It bounds the time that making it takes, too.
const WORK_BYTES: (usize, usize) = (4 << 20, 32 << 10);

impl Budget {
    /// What an automaton of so many patterns may take. Patterns that take what thousands take together multiply each
    /// other: that is refused soon, not after a minute.
    pub(crate) fn limits(&self, patterns: usize) -> (usize, usize) {
        let within = |most: usize, (base, each): (usize, usize)| {
            most.min(base.saturating_add(each.saturating_mul(patterns)))
        };
        (within(self.table_bytes, TABLE_BYTES), within(self.work_bytes, WORK_BYTES))
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            image_bytes: SLOT_BYTES_MAX,
            table_bytes: 128 << 20,
            work_bytes: 64 << 20,
            parts: PARTS,
            together: TOGETHER,
        }
    }
}

/// Compiles `program`. `metadata` describes its rules in the same order; its clause tables are filled in.
pub fn lower(
    program: &Program,
    metadata: Metadata,
    budget: Budget,
) -> Result<PolicyImage, LowerError> {
    lower_with_stats(program, metadata, budget).map(|(image, _)| image)
}

/// As [`lower`], and says what the image is made of.
pub fn lower_with_stats(
    program: &Program,
    metadata: Metadata,
    budget: Budget,
) -> Result<(PolicyImage, Stats), LowerError> {
    lower_live(program, metadata, budget).map(|(image, stats, _)| (image, stats))
}

/// As [`lower_with_stats`], and answers the columns that feeds of addresses are in.
pub(crate) fn lower_live(
    program: &Program,
    mut metadata: Metadata,
    budget: Budget,
) -> Result<(PolicyImage, Stats, Vec<FeedColumn>), LowerError> {
    let mut problems = Vec::new();
    if program.rules.len() != metadata.rules.len() {
        problems.push(Problem::Metadata {
            rules: program.rules.len(),
            described: metadata.rules.len(),
        });
    }
    let parts = parts::Parts::decide(program, &budget);
    let families: Vec<_> = Family::ALL
        .iter()
        .filter_map(|family| number::number(program, *family, &parts, &mut problems))
        .collect();
    let rated = (0u32..).zip(&metadata.rules).filter(|(_, rule)| rule.rate.is_some());
    let rated = rated.map(|(number, _)| number).collect();
    let assembled = assemble::assemble(program, &families, &parts, &budget, &rated, &mut problems);
    let (Some((bytes, stats, columns)), true) = (assembled, problems.is_empty()) else {
        return Err(LowerError { problems });
    };
    metadata.clauses = vec![Vec::new(); Family::ALL.len()];
    for family in &families {
        metadata.clauses[family.family as usize] = family
            .clauses
            .iter()
            .map(|numbered| ClauseMeta {
                rule: numbered.rule,
                exception: numbered.exception.then_some(numbered.clause.origin),
            })
            .collect();
    }
    Ok((PolicyImage::assembled(bytes, metadata), stats, columns))
}
