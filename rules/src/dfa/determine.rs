//! Makes an automaton deterministic: subsets of its states, met breadth first.
//!
//! `regex-automata` does the same for expressions of every kind and asks each state about each class of bytes. Most
//! states of a policy's patterns lie on one literal and know one byte, so here only the bytes that a state knows are
//! looked at, and a byte that leads to one state needs no set to be looked up. That is a tenth of the time for ten
//! thousand patterns. What it does not know are assertions about neighbouring bytes (`\b`, `(?m)^`): an automaton with
//! those is not taken, and its caller asks `regex-automata`.

use regex_automata::{
    nfa::thompson::{NFA, State},
    util::{look::Look, primitives::StateID},
};

use super::{
    build::{Automaton, BuildError, Limits, Next},
    distinct::Distinct,
};

/// Whether [`determine`] knows every assertion in `nfa`.
pub(super) fn takes(nfa: &NFA) -> bool {
    nfa.look_set_any().remove(Look::Start).remove(Look::End).is_empty()
}

/// A way on: for these classes, the last one included, to this state.
#[derive(Clone, Copy)]
struct Edge {
    first: u8,
    last: u8,
    to: u32,
}

/// Where in a list something stands.
type Place = (usize, usize);

/// What the states of the automaton come to, read once.
struct Source<'n> {
    nfa: &'n NFA,
    edges: Vec<Edge>,
    /// By state: its edges.
    edges_of: Vec<Place>,
    /// Those met while something is followed.
    seen: Vec<bool>,
    visited: Vec<u32>,
}

/// Makes `nfa` deterministic, from its anchored start. `classes` gives each byte its class; class 0 is byte zero alone.
/// `label` is told which patterns match, ascending.
pub(super) fn determine(
    nfa: &NFA,
    (classes, class_count): (&[u8; 256], usize),
    limits: Limits,
    label: &mut dyn FnMut(&[u32]) -> u32,
) -> Result<Automaton, BuildError> {
    let mut source = Source::read(nfa, classes);
    let mut sets = Distinct::default();
    // The state that one state of the source alone leads to.
    let mut alone = vec![u32::MAX; nfa.states().len()];
    let mut rows: Vec<Next> = Vec::new();
    let mut edges: Vec<Edge> = Vec::new();
    let mut ends = vec![false; class_count + 1];
    let mut targets: Vec<u32> = Vec::new();
    let mut set: Vec<u32> = Vec::new();
    let mut matched: Vec<u32> = Vec::new();
    source.starting(&mut set);
    if set.is_empty() {
        let start = Next::Label(0);
        return Ok(Automaton {
            classes: *classes,
            class_count,
            start,
            rows,
            tails: Vec::new(),
            skips: Vec::new(),
        });
    }
    // Only there does `^` hold, so nothing else may be taken for it.
    sets.keep(set.iter().copied());
    let mut at = 0;
    while at < sets.len() {
        edges.clear();
        matched.clear();
        let mut waits = false;
        for state in sets.of(at) {
            edges.extend_from_slice(source.edges(*state));
            match &nfa.states()[*state as usize] {
                State::Match { pattern_id } => matched.push(pattern_id.as_u32()),
                State::Look { .. } => waits = true,
                State::ByteRange { .. }
                | State::Sparse(_)
                | State::Dense(_)
                | State::Union { .. }
                | State::BinaryUnion { .. }
                | State::Capture { .. }
                | State::Fail => {}
            }
        }
        if waits {
            source.at_end(sets.of(at), at == 0, &mut matched);
        }
        matched.sort_unstable();
        matched.dedup();
        let ends_in = if matched.is_empty() { 0 } else { label(&matched) };
        let row = rows.len();
        rows.resize(row + class_count, Next::Label(0));
        rows[row] = Next::Label(ends_in);
        ends.fill(false);
        for edge in &edges {
            ends[usize::from(edge.first)] = true;
            ends[usize::from(edge.last) + 1] = true;
        }
        let mut first = 1;
        while first < class_count {
            let past = (first + 1..class_count).find(|class| ends[*class]).unwrap_or(class_count);
            let knows = |edge: &&Edge| (edge.first..=edge.last).contains(&(first as u8));
            targets.clear();
            targets.extend(edges.iter().filter(knows).map(|edge| edge.to));
            if targets.len() > 1 {
                targets.sort_unstable();
                targets.dedup();
            }
            let known = match targets[..] {
                [] => {
                    first = past;
                    continue;
                }
                [one] => Some(one as usize),
                _ => None,
            };
            let next = match known.map(|one| alone[one]) {
                Some(next) if next != u32::MAX => next,
                Some(_) | None => {
                    source.follow(&mut targets, &[], &mut set);
                    sets.find_or_keep(set.iter().copied())
                }
            };
            if let Some(one) = known {
                alone[one] = next;
            }
            rows[row + first..row + past].fill(Next::State(next));
            first = past;
        }
        limits.hold(size_of_val(&rows[..]), sets.bytes())?;
        at += 1;
    }
    Ok(Automaton {
        classes: *classes,
        class_count,
        start: Next::State(0),
        rows,
        tails: Vec::new(),
        skips: Vec::new(),
    })
}

impl<'n> Source<'n> {
    fn read(nfa: &'n NFA, classes: &[u8; 256]) -> Self {
        let mut edges: Vec<Edge> = Vec::new();
        let mut edges_of = Vec::with_capacity(nfa.states().len());
        // Byte zero ends the string: nothing reads it.
        let edge = |first: u8, last: u8, to: StateID| {
            (last > 0).then(|| Edge {
                first: classes[usize::from(first.max(1))],
                last: classes[usize::from(last)],
                to: to.as_u32(),
            })
        };
        for state in nfa.states() {
            let from = edges.len();
            match state {
                State::ByteRange { trans } => {
                    edges.extend(edge(trans.start, trans.end, trans.next))
                }
                State::Sparse(sparse) => edges.extend(
                    sparse
                        .transitions
                        .iter()
                        .filter_map(|trans| edge(trans.start, trans.end, trans.next)),
                ),
                State::Dense(dense) => {
                    let known = (1..=255u8).filter_map(|byte| {
                        let to = dense.transitions[usize::from(byte)];
                        // State 0 is the library's dead end.
                        (to != StateID::ZERO).then(|| edge(byte, byte, to)).flatten()
                    });
                    edges.extend(known);
                }
                State::Look { .. }
                | State::Union { .. }
                | State::BinaryUnion { .. }
                | State::Capture { .. }
                | State::Fail
                | State::Match { .. } => {}
            }
            edges_of.push((from, edges.len()));
        }
        let count = nfa.states().len();
        Self { nfa, edges, edges_of, seen: vec![false; count], visited: Vec::new() }
    }

    fn edges(&self, state: u32) -> &[Edge] {
        let (from, to) = self.edges_of[state as usize];
        &self.edges[from..to]
    }

    /// What is reached from the start without reading.
    fn starting(&mut self, found: &mut Vec<u32>) {
        self.follow(&mut vec![self.nfa.start_anchored().as_u32()], &[Look::Start], found);
    }

    /// Adds the patterns that match if the string ends here.
    fn at_end(&mut self, set: &[u32], at_start: bool, matched: &mut Vec<u32>) {
        let mut found = Vec::new();
        let holds: &[Look] = if at_start { &[Look::Start, Look::End] } else { &[Look::End] };
        self.follow(&mut set.to_vec(), holds, &mut found);
        matched.extend(found.iter().filter_map(|state| {
            match &self.nfa.states()[*state as usize] {
                State::Match { pattern_id } => Some(pattern_id.as_u32()),
                State::ByteRange { .. }
                | State::Sparse(_)
                | State::Dense(_)
                | State::Look { .. }
                | State::Union { .. }
                | State::BinaryUnion { .. }
                | State::Capture { .. }
                | State::Fail => None,
            }
        }));
    }

    /// Follows everything that reads nothing from the states in `work`, which it empties, and what `holds`. Finds, ascending, the states
    /// that read, match, or wait for the end of the string.
    fn follow(&mut self, work: &mut Vec<u32>, holds: &[Look], found: &mut Vec<u32>) {
        found.clear();
        self.visited.clear();
        while let Some(state) = work.pop() {
            if std::mem::replace(&mut self.seen[state as usize], true) {
                continue;
            }
            self.visited.push(state);
            match &self.nfa.states()[state as usize] {
                State::ByteRange { .. }
                | State::Sparse(_)
                | State::Dense(_)
                | State::Match { .. } => found.push(state),
                State::Look { look, next } if holds.contains(look) => work.push(next.as_u32()),
                State::Look { look: Look::End, .. } => found.push(state),
                State::Look { .. } | State::Fail => {}
                State::Union { alternates } => {
                    work.extend(alternates.iter().map(|next| next.as_u32()));
                }
                State::BinaryUnion { alt1, alt2 } => {
                    work.extend([alt1.as_u32(), alt2.as_u32()]);
                }
                State::Capture { next, .. } => work.push(next.as_u32()),
            }
        }
        for state in &self.visited {
            self.seen[*state as usize] = false;
        }
        found.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dfa::{Chains, build::by_library_alone, pattern},
        ir::Pattern,
    };

    const LIMITS: Limits =
        Limits { table_bytes: 1 << 22, work_bytes: 1 << 22, chains: Chains::Skips };

    fn label(automaton: &Automaton, text: &[u8]) -> u32 {
        let mut at = automaton.start;
        let mut index = 0;
        loop {
            let rest = text.get(index..).unwrap_or(&[]);
            match at {
                Next::State(state) => {
                    assert!(index <= text.len(), "undecided at the end");
                    let byte = rest.first().copied().unwrap_or(0);
                    let class = usize::from(automaton.classes[usize::from(byte)]);
                    at = automaton.rows[state as usize * automaton.class_count + class];
                    index += 1;
                }
                Next::Label(label) => return label,
                Next::Skip(skip) => {
                    let skip = &automaton.skips[skip as usize];
                    if !rest.starts_with(&skip.bytes) {
                        return 0;
                    }
                    index += skip.bytes.len();
                    at = skip.next;
                }
                Next::Tail(tail) => {
                    let tail = &automaton.tails[tail as usize];
                    let Some(rest) = rest.strip_prefix(&tail.bytes[..]) else { return 0 };
                    let ends = match tail.end {
                        super::super::TailEnd::End => rest.is_empty(),
                        super::super::TailEnd::EndOrSlash => rest.is_empty() || rest[0] == b'/',
                        super::super::TailEnd::Anything => true,
                    };
                    return if ends { tail.label } else { 0 };
                }
            }
        }
    }

    /// Every string of up to five of these bytes.
    fn strings() -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = vec![Vec::new()];
        let mut from = 0;
        for _ in 0..5 {
            let to = all.len();
            for at in from..to {
                for byte in *b"ab/\n\xff" {
                    all.push(all[at].iter().copied().chain([byte]).collect());
                }
            }
            from = to;
        }
        all
    }

    #[test]
    fn it_answers_what_the_library_answers() {
        let strings = strings();
        let lists: [&[&str]; 9] = [
            &["^a", "b$", "^/a$", "a/b"],
            &["^a|b$", "(^|/)a($|/)", "a*b?"],
            &["^$", "$^", "a$^", "^a^"],
            &["$", "^", "(a|^)b", "b($|a)"],
            &["(^a$)|(^b/)", "a{2,3}", "[^/]/[^a]$"],
            &["(a|b|/)*a(a|b)$", "^.a.$", "."],
            &["^[ab]*/[ab]*$", "^/(a|b)?/?$", "\\xff", "[\\x00-\\x60]"],
            &["(?:)", "[^\\x00-\\xff]", "a"],
            &["(a?){4}$", "(^a?)*b"],
        ];
        for list in lists {
            let expressions: Vec<_> = list
                .iter()
                .map(|text| pattern::expression(&Pattern::Regex((*text).to_owned())).unwrap())
                .collect();
            let mask =
                |matched: &[u32]| matched.iter().fold(0, |mask, number| mask | 1u32 << number);
            let ours = super::super::build(&expressions, LIMITS, &mut |matched| mask(matched));
            let theirs = by_library_alone(&expressions, LIMITS, &mut |matched| mask(matched));
            let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
            assert!(ours.states() <= theirs.states(), "{list:?}");
            for text in &strings {
                assert_eq!(label(&ours, text), label(&theirs, text), "{list:?} of {text:?}");
            }
        }
    }

    #[test]
    fn assertions_about_neighbouring_bytes_are_left_to_the_library() {
        let expression = pattern::expression(&Pattern::Regex("\\ba\\b".to_owned())).unwrap();
        let built = super::super::build(&[expression], LIMITS, &mut |_| 1).unwrap();
        assert_eq!([&b"b a"[..], b"ba", b"a"].map(|text| label(&built, text)), [1, 0, 1]);
    }

    #[test]
    fn what_can_be_skipped_in_a_thousand_places_is_built_or_refused_and_does_not_hang() {
        let expression =
            pattern::expression(&Pattern::Regex("^([ac]?b?d?e?f?g?h?i?j?k?){200}$".to_owned()));
        let limits = Limits { work_bytes: 1 << 20, ..LIMITS };
        let built = super::super::build(&[expression.unwrap()], limits, &mut |_| 1);
        assert_eq!(built, Err(BuildError::Large { budget: 1 << 20 }));
    }

    #[test]
    fn an_automaton_that_outgrows_its_limits_is_refused() {
        let expression = pattern::expression(&Pattern::Regex("a.{12}$".to_owned())).unwrap();
        let limits = Limits { table_bytes: 1 << 12, ..LIMITS };
        assert_eq!(
            super::super::build(std::slice::from_ref(&expression), limits, &mut |_| 1),
            Err(BuildError::Large { budget: 1 << 12 })
        );
        let limits = Limits { work_bytes: 1 << 14, ..LIMITS };
        assert_eq!(
            super::super::build(&[expression], limits, &mut |_| 1),
            Err(BuildError::Large { budget: 1 << 14 })
        );
    }
}
