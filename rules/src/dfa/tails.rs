//! Takes out of an automaton what is no more than the rest of one string.
//!
//! Past the point where it differs from all other patterns, an exact path is a chain of states with one way on each.
//! Such a chain becomes a [`Tail`]: the bytes that must follow and how the string must end. That is a few bytes instead
//! of a row for each, and comparing them is faster than walking.

use std::collections::HashMap;

use interdict_abi::limits::TAIL_BYTES;

use super::build::{Automaton, Next, Tail, TailEnd};

/// What a state is, seen from its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A state with a row.
    Row,
    /// The string must end here.
    Ends(TailEnd, u32),
    /// This byte must follow, then that is to be met.
    Byte(u8, Next),
}

/// The same automaton with its chains taken out.
pub(super) fn without_tails(automaton: Automaton) -> Automaton {
    let singles = singles(&automaton.classes, automaton.class_count);
    let slash = automaton.classes[usize::from(b'/')];
    let width = automaton.class_count;
    let count = automaton.states();
    let kinds: Vec<Kind> = automaton
        .rows
        .chunks_exact(width)
        .map(|row| kind(row, &singles, singles[usize::from(slash)].map(|_| usize::from(slash))))
        .collect();
    let chains = chains(&kinds);
    let mut tails = Tails { all: Vec::new(), known: HashMap::new() };
    let mut numbers = vec![u32::MAX; count];
    let mut kept = 0;
    for (number, chain) in numbers.iter_mut().zip(&chains) {
        if *chain == Kind::Row {
            *number = kept;
            kept += 1;
        }
    }
    let mut rename = |next: Next| match next {
        Next::State(to) if numbers[to as usize] == u32::MAX => match tails.of(to, &chains) {
            Some(tail) => Next::Tail(tail),
            None => next,
        },
        Next::State(to) => Next::State(numbers[to as usize]),
        Next::Label(_) | Next::Tail(_) | Next::Skip(_) => next,
    };
    let start = rename(automaton.start);
    let mut rows = Vec::with_capacity(kept as usize * width);
    for (state, row) in automaton.rows.chunks_exact(width).enumerate() {
        if chains[state] == Kind::Row {
            rows.extend(row.iter().map(|next| rename(*next)));
        }
    }
    Automaton { start, rows, tails: tails.all, ..automaton }
}

/// Which states begin a chain that comes to an end within [`TAIL_BYTES`]: those keep their kind, others become rows.
fn chains(kinds: &[Kind]) -> Vec<Kind> {
    let mut found: Vec<Option<usize>> = vec![None; kinds.len()];
    // Longer than any tail: what leads here can't be one.
    const NEVER: usize = TAIL_BYTES + 1;
    let mut path = Vec::new();
    for state in 0..kinds.len() {
        let mut at = state;
        let mut length = loop {
            match (found[at], kinds[at]) {
                (Some(length), _) => break length,
                (None, Kind::Row) => break NEVER,
                (None, Kind::Ends(..)) => break 0,
                (None, Kind::Byte(_, next)) => {
                    // Met again before it is known, it leads back into itself.
                    found[at] = Some(NEVER);
                    path.push(at);
                    match next {
                        Next::State(to) => at = to as usize,
                        Next::Label(_) | Next::Tail(_) | Next::Skip(_) => break 0,
                    }
                }
            }
        };
        for at in path.drain(..).rev() {
            length = (length + 1).min(NEVER);
            found[at] = Some(length);
        }
    }
    let within = |length: &Option<usize>| length.is_none_or(|length| length <= TAIL_BYTES);
    found
        .iter()
        .zip(kinds)
        .map(|(length, kind)| if within(length) { *kind } else { Kind::Row })
        .collect()
}

/// For each class its byte, if it has just one.
pub(super) fn singles(classes: &[u8; 256], count: usize) -> Vec<Option<u8>> {
    let mut members = vec![Vec::new(); count];
    for (byte, class) in (0..=255u8).zip(classes) {
        members[usize::from(*class)].push(byte);
    }
    members.iter().map(|bytes| if let [byte] = bytes[..] { Some(byte) } else { None }).collect()
}

fn kind(row: &[Next], singles: &[Option<u8>], slash: Option<usize>) -> Kind {
    const DEAD: Next = Next::Label(0);
    let Some((Next::Label(end), rest)) = row.split_first() else { return Kind::Row };
    let mut live = rest.iter().zip(1..).filter(|(next, _)| **next != DEAD);
    match (*end, live.next(), live.next()) {
        (0, None, _) => Kind::Row,
        (label, None, _) => Kind::Ends(TailEnd::End, label),
        (0, Some((next, class)), None) => match singles[class] {
            Some(byte) => Kind::Byte(byte, *next),
            None => Kind::Row,
        },
        (label, Some((next, class)), None) => {
            if Some(class) == slash && *next == Next::Label(label) {
                Kind::Ends(TailEnd::EndOrSlash, label)
            } else {
                Kind::Row
            }
        }
        (_, Some(_), Some(_)) => Kind::Row,
    }
}

struct Tails {
    all: Vec<Tail>,
    known: HashMap<Tail, u32>,
}

impl Tails {
    /// The tail that begins at `state`, which is of a chain. `None` if it is too long for one.
    fn of(&mut self, state: u32, chains: &[Kind]) -> Option<u32> {
        let mut bytes = Vec::new();
        let mut at = Next::State(state);
        let (end, label) = loop {
            match at {
                Next::State(state) => match chains[state as usize] {
                    Kind::Byte(byte, next) => {
                        bytes.push(byte);
                        at = next;
                    }
                    Kind::Ends(end, label) => break (end, label),
                    Kind::Row => return None,
                },
                Next::Label(label) => break (TailEnd::Anything, label),
                Next::Tail(_) | Next::Skip(_) => return None,
            }
        };
        let next = self.all.len() as u32;
        let tail = Tail { bytes, end, label };
        Some(*self.known.entry(tail.clone()).or_insert_with(|| {
            self.all.push(tail);
            next
        }))
    }
}
