//! What each rule costs by itself: compiled alone, without the others it shares automata with.

use interdict_abi::limits::PATH_BYTES;

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
    /// File and line of it.
    pub place: (String, u32),
    /// Clauses, exceptions included.
    pub clauses: usize,
    /// Patterns in its automata.
    pub patterns: usize,
    /// States of its automata.
    pub states: usize,
    /// Most steps that reading one act's strings takes. A pattern that can begin anywhere, or go on over one component,
    /// reads to the end of the longest path there is.
    pub steps: usize,
    /// Bytes of an image of this rule alone, less those of an image of none.
    pub bytes: usize,
}

/// The cost of every rule, dearest first. Rules that do not compile by themselves are not among them.
pub fn costs(program: &Program, metadata: &Metadata, budget: Budget) -> Vec<RuleCost> {
    let stats_of = |program: &Program, metadata: Metadata| {
        lower::lower_with_stats(program, metadata, budget).ok().map(|(_, stats)| stats)
    };
    let empty =
        stats_of(&Program::default(), Metadata::default()).map_or(0, |stats| stats.image_bytes);
    let mut costs = Vec::new();
    let mut at = 0;
    // What is told on several conditions is one rule.
    for parts in program.rules.chunk_by(|one, other| one.id == other.id) {
        let described = &metadata.rules[at..at + parts.len()];
        at += parts.len();
        let alone = Program { rules: parts.to_vec() };
        let about = Metadata { rules: described.to_vec(), ..Metadata::default() };
        let Some(stats) = stats_of(&alone, about) else { continue };
        costs.push(RuleCost {
            id: parts[0].id.clone(),
            place: (described[0].file.clone(), described[0].line),
            clauses: parts.iter().map(|part| part.clauses.len() + part.exceptions.len()).sum(),
            patterns: stats.automata.iter().map(|one| one.patterns).sum(),
            states: stats.automata.iter().map(|one| one.states).sum(),
            steps: stats.automata.iter().map(|one| one.steps.unwrap_or(PATH_BYTES)).sum(),
            bytes: stats.image_bytes.saturating_sub(empty),
        });
    }
    costs.sort_by(|one, other| other.bytes.cmp(&one.bytes).then(one.id.cmp(&other.id)));
    costs
}
