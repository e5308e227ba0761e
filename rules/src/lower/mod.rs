//! Turns rules in normal form into the bytes the kernel will read.
//!
//! In: an [`ir::Program`], which has passed every test that needs an operator's eyes, and the metadata of its rules.
//! Out: one [`PolicyImage`]. Same rules, same bytes: no clocks, no hash-map order, no environment.
//! [`number`] gives clauses their numbers, [`space`] and [`column`] gather what is asked of each fact, [`automata`] builds what
//! reads strings, [`assemble`] writes the tables. Refuses to exceed [`Budget`], and tells everything that is wrong at once.

mod assemble;
mod automata;
mod column;
mod error;
mod gather;
mod number;
mod parts;
mod space;
mod stats;
mod sweep;
mod values;

use interdict_abi::{ids::Family, limits::SLOT_BYTES_MAX};

pub use self::{
    error::{LowerError, Problem},
    stats::{AutomatonStats, PartStats, RuleCost, Stats},
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
    /// Bytes of the table of one automaton while it is made, before it is reduced.
    pub table_bytes: usize,
    /// Bytes of what is needed beside that table to make it.
    pub work_bytes: usize,
    /// Automata that one string fact may be read by. 1: patterns are never kept apart.
    pub parts: usize,
    /// Estimated states of an automaton past which its patterns are kept apart.
    pub together: u64,
}

/// Parts of a column unless somebody asks for more: only those hooks may be given more that read them all.
const PARTS: usize = 1;

/// Estimated states up to which patterns stay together: one automaton is one walk.
const TOGETHER: u64 = 100_000;

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

/// What each rule would take on its own, by its number. `None` for one that does not compile.
pub fn costs(program: &Program, budget: Budget) -> Vec<Option<RuleCost>> {
    let cost = |rule: &crate::ir::Rule| {
        let alone = Program { rules: vec![rule.clone()] };
        let mut problems = Vec::new();
        let parts = parts::Parts::decide(&alone, &budget);
        let families: Vec<_> = Family::ALL
            .iter()
            .filter_map(|family| number::number(&alone, *family, &parts, &mut problems))
            .collect();
        let (_, stats) = assemble::assemble(&alone, &families, &parts, &budget, &mut problems)?;
        Some(RuleCost {
            clauses: stats.clauses.iter().map(|(_, count)| count).sum(),
            states: stats.automata.iter().map(|automaton| automaton.states).sum(),
            automaton_bytes: stats.automata.iter().map(|automaton| automaton.bytes).sum(),
            image_bytes: stats.image_bytes,
        })
    };
    program.rules.iter().map(cost).collect()
}

/// As [`lower`], and says what the image is made of.
pub fn lower_with_stats(
    program: &Program,
    mut metadata: Metadata,
    budget: Budget,
) -> Result<(PolicyImage, Stats), LowerError> {
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
    let assembled = assemble::assemble(program, &families, &parts, &budget, &mut problems);
    let (Some((bytes, stats)), true) = (assembled, problems.is_empty()) else {
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
    Ok((PolicyImage::assembled(bytes, metadata), stats))
}
