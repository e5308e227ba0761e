//! All patterns of a fact together, made deterministic by `regex-automata` and turned into our own table.
//!
//! Byte zero gets a class of its own that stands for the end of the string, so that a walk needs no length. What a
//! state answers there is the label of the patterns that match exactly what was read.

use std::collections::HashMap;

use regex_automata::{
    Anchored, Input, MatchKind,
    dfa::{Automaton as _, StartKind, dense},
    nfa::thompson::{NFA, WhichCaptures},
    util::{alphabet::ByteClasses, primitives::StateID},
};
use regex_syntax::hir::Hir;

pub use interdict_abi::image::tail::End as TailEnd;

use interdict_abi::limits::SKIP_BYTES;

use super::{determine, reduce, skips, tails};

/// Where a transition leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// On to this state.
    State(u32),
    /// Decided: whatever follows, this is the label.
    Label(u32),
    /// Decided by whether the rest of the string is this tail.
    Tail(u32),
    /// On where this skip leads, if its bytes follow.
    Skip(u32),
}

/// Some bytes in the middle of strings. A string that does not go on with them has label 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Skip {
    /// What must follow.
    pub bytes: [u8; SKIP_BYTES],
    /// Where it goes on then: a state or another skip.
    pub next: Next,
}

/// What may become of states with one way on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chains {
    /// Nothing. Arguments are read byte by byte, many strings in a row.
    Rows,
    /// Tails. Short strings are read in one piece, and skips would multiply what the verifier has to look at.
    Tails,
    /// Tails, and skips in the middle.
    Skips,
}

/// The rest of one string. A string that does not go on and end like this has label 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tail {
    /// What must follow.
    pub bytes: Vec<u8>,
    /// What must come then.
    pub end: TailEnd,
    /// The label if it does.
    pub label: u32,
}

/// A deterministic automaton in which every string ends in a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Automaton {
    /// Class of each byte. Class 0 holds byte zero alone: the end of the string.
    pub classes: [u8; 256],
    /// Number of classes.
    pub class_count: usize,
    /// Where a walk starts.
    pub start: Next,
    /// `class_count` transitions for each state; those of class 0 are all decided.
    pub rows: Vec<Next>,
    /// The tails.
    pub tails: Vec<Tail>,
    /// The skips.
    pub skips: Vec<Skip>,
}

impl Automaton {
    /// Number of states.
    pub fn states(&self) -> usize {
        self.rows.len() / self.class_count.max(1)
    }
}

/// What one automaton may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the table while it is made.
    pub table_bytes: usize,
    /// Bytes of what is needed beside the table to make it.
    pub work_bytes: usize,
    /// What becomes of states with one way on.
    pub chains: Chains,
}

impl Limits {
    /// Refuses what takes more.
    pub(super) fn hold(&self, table_bytes: usize, work_bytes: usize) -> Result<(), BuildError> {
        if table_bytes > self.table_bytes {
            return Err(BuildError::Large { budget: self.table_bytes });
        }
        if work_bytes > self.work_bytes {
            return Err(BuildError::Large { budget: self.work_bytes });
        }
        Ok(())
    }
}

/// Why there is no automaton.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A limit was reached.
    #[error("more than {budget} bytes")]
    Large {
        /// The limit.
        budget: usize,
    },
    /// The expressions use what no deterministic automaton over bytes can do.
    #[error("the expressions can't be made deterministic")]
    Unsupported,
}

/// Makes `expressions` (each anchored at both ends) deterministic. `label` is told which of them match, ascending, and
/// answers the label; it must answer 0 for none.
pub fn build(
    expressions: &[Hir],
    limits: Limits,
    label: &mut dyn FnMut(&[u32]) -> u32,
) -> Result<Automaton, BuildError> {
    if expressions.is_empty() {
        let mut classes = [1; 256];
        classes[0] = 0;
        return Ok(Automaton {
            classes,
            class_count: 2,
            start: Next::Label(0),
            rows: Vec::new(),
            tails: Vec::new(),
            skips: Vec::new(),
        });
    }
    let nfa = together(expressions, limits)?;
    let made = if determine::takes(&nfa) {
        let (classes, representatives) = classes(nfa.byte_classes());
        determine::determine(&nfa, (&classes, representatives.len() + 1), limits, label)?
    } else {
        by_library(&nfa, limits, label)?
    };
    let automaton = reduce::reduce(&made);
    Ok(match limits.chains {
        Chains::Rows => automaton,
        Chains::Tails => tails::without_tails(automaton),
        Chains::Skips => skips::without_skips(tails::without_tails(automaton)),
    })
}

/// All expressions as one automaton that is not deterministic yet.
fn together(expressions: &[Hir], limits: Limits) -> Result<NFA, BuildError> {
    NFA::compiler()
        .configure(
            NFA::config()
                .utf8(false)
                .shrink(false)
                .which_captures(WhichCaptures::None)
                .nfa_size_limit(Some(limits.work_bytes)),
        )
        .build_many_from_hir(expressions)
        .map_err(|error| match error.size_limit() {
            Some(budget) => BuildError::Large { budget },
            None => BuildError::Unsupported,
        })
}

/// [`build`] with what the library makes deterministic, whatever it is.
#[cfg(test)]
pub(super) fn by_library_alone(
    expressions: &[Hir],
    limits: Limits,
    label: &mut dyn FnMut(&[u32]) -> u32,
) -> Result<Automaton, BuildError> {
    Ok(reduce::reduce(&by_library(&together(expressions, limits)?, limits, label)?))
}

/// Makes an automaton with assertions about neighbouring bytes deterministic.
fn by_library(
    nfa: &NFA,
    limits: Limits,
    label: &mut dyn FnMut(&[u32]) -> u32,
) -> Result<Automaton, BuildError> {
    let config = dense::Config::new()
        .accelerate(false)
        .match_kind(MatchKind::All)
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(limits.table_bytes))
        .determinize_size_limit(Some(limits.work_bytes));
    let dense = dense::Builder::new().configure(config).build_from_nfa(nfa).map_err(|error| {
        if error.is_size_limit_exceeded() {
            BuildError::Large { budget: limits.table_bytes }
        } else {
            BuildError::Unsupported
        }
    })?;
    explore(&dense, label)
}

/// Byte classes of ours, and a byte of each class but the first.
fn classes(theirs: &ByteClasses) -> ([u8; 256], Vec<u8>) {
    let mut ours = [0; 256];
    let mut representatives = Vec::new();
    let mut numbers = [0u8; 256];
    for byte in 1..=255u8 {
        let class = usize::from(theirs.get(byte));
        if numbers[class] == 0 {
            representatives.push(byte);
            // At most 255 bytes but zero, so at most 255 classes beside class 0.
            numbers[class] = representatives.len() as u8;
        }
        ours[usize::from(byte)] = numbers[class];
    }
    (ours, representatives)
}

/// The reachable states in the order in which a search from the start, breadth first, meets them.
fn explore(
    dense: &dense::DFA<Vec<u32>>,
    label: &mut dyn FnMut(&[u32]) -> u32,
) -> Result<Automaton, BuildError> {
    let (classes, representatives) = classes(dense.byte_classes());
    let class_count = representatives.len() + 1;
    let start = dense
        .start_state_forward(&Input::new(b"").anchored(Anchored::Yes))
        .map_err(|_| BuildError::Unsupported)?;
    let mut numbers: Vec<u32> = Vec::new();
    let stride = dense.stride2();
    let mut order: Vec<StateID> = Vec::new();
    let mut labels: HashMap<StateID, u32> = HashMap::new();
    let mut matched: Vec<u32> = Vec::new();
    let mut rows: Vec<Next> = Vec::new();
    let mut number = |state: StateID, order: &mut Vec<StateID>| {
        if dense.is_dead_state(state) {
            return Next::Label(0);
        }
        let index = state.as_usize() >> stride;
        if numbers.len() <= index {
            numbers.resize(index + 1, u32::MAX);
        }
        if numbers[index] == u32::MAX {
            numbers[index] = order.len() as u32;
            order.push(state);
        }
        Next::State(numbers[index])
    };
    let first = number(start, &mut order);
    let mut at = 0;
    while let Some(state) = order.get(at).copied() {
        at += 1;
        let end = dense.next_eoi_state(state);
        let ends_in = if dense.is_match_state(end) {
            *labels.entry(end).or_insert_with(|| {
                matched.clear();
                matched.extend(
                    (0..dense.match_len(end)).map(|index| dense.match_pattern(end, index).as_u32()),
                );
                matched.sort_unstable();
                label(&matched)
            })
        } else {
            0
        };
        rows.push(Next::Label(ends_in));
        for byte in &representatives {
            let next = dense.next_state(state, *byte);
            if dense.is_quit_state(next) {
                return Err(BuildError::Unsupported);
            }
            rows.push(number(next, &mut order));
        }
    }
    Ok(Automaton { classes, class_count, start: first, rows, tails: Vec::new(), skips: Vec::new() })
}
