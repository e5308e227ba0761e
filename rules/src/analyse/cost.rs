//! What each rule costs by itself: compiled alone, without the others it shares automata with.

use crate::{
    ir::Program,
    lower::{self, Budget},
    meta::Metadata,
};

/// The cost of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCost {
    /// Its id.
    pub id: String,
    /// Clauses, exceptions included.
    pub clauses: usize,
    /// Patterns in its automata.
    pub patterns: usize,
    /// States of its automata.
    pub states: usize,
    /// Bytes of an image of this rule alone, less those of an image of none.
    pub bytes: usize,
}

/// The cost of every rule, dearest first.
pub fn costs(program: &Program, metadata: &Metadata, budget: Budget) -> Vec<RuleCost> {
    let bytes_of = |program: &Program, metadata: Metadata| {
        lower::lower_with_stats(program, metadata, budget).ok().map(|(_, stats)| stats)
    };
    let empty =
        bytes_of(&Program::default(), Metadata::default()).map_or(0, |stats| stats.image_bytes);
    let mut costs: Vec<RuleCost> = program
        .rules
        .iter()
        .zip(&metadata.rules)
        .filter_map(|(rule, meta)| {
            let alone = Program { rules: vec![rule.clone()] };
            let described = Metadata { rules: vec![meta.clone()], ..Metadata::default() };
            let stats = bytes_of(&alone, described)?;
            Some(RuleCost {
                id: rule.id.clone(),
                clauses: rule.clauses.len() + rule.exceptions.len(),
                patterns: stats.automata.iter().map(|one| one.patterns).sum(),
                states: stats.automata.iter().map(|one| one.states).sum(),
                bytes: stats.image_bytes.saturating_sub(empty),
            })
        })
        .collect();
    costs.sort_by(|one, other| other.bytes.cmp(&one.bytes).then(one.id.cmp(&other.id)));
    costs
}
