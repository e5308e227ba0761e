//! Takes out of an automaton what all strings that can still match share, in the middle of them.
//!
//! Between the places where patterns differ (`/usr/share/`, `session-`) there are chains of states with one way on each,
//! and dead ends beside it. Such a chain becomes [`Skip`]s: four bytes and where they lead, compared at once instead of
//! walked row by row. So the depth of a walk is the number of places where patterns differ, and a row for each byte of
//! a chain is saved. Chains that run to the end of the string have become tails before.

use interdict_abi::limits::SKIP_BYTES;

use super::{
    build::{Automaton, Next, Skip},
    tails::singles,
};

/// The same automaton with its chains taken out.
pub(super) fn without_skips(automaton: Automaton) -> Automaton {
    let width = automaton.class_count;
    let singles = singles(&automaton.classes, width);
    let ways: Vec<Option<(u8, u32)>> =
        automaton.rows.chunks_exact(width).map(|row| only_way(row, &singles)).collect();
    let mut kept = Kept {
        ways: &ways,
        rows: vec![false; ways.len()],
        skip_of: vec![u32::MAX; ways.len()],
        skips: Vec::new(),
        work: Vec::new(),
    };
    let start = kept.enter(automaton.start);
    while let Some(state) = kept.work.pop() {
        let from = state as usize * width;
        for next in &automaton.rows[from..from + width] {
            kept.enter(*next);
        }
    }
    // Rows stay in the order they had.
    let mut numbers = vec![u32::MAX; ways.len()];
    for (number, (place, _)) in
        (0u32..).zip(numbers.iter_mut().zip(&kept.rows).filter(|(_, kept)| **kept))
    {
        *place = number;
    }
    let rename = |next: Next| match next {
        Next::State(state) => match kept.skip_of[state as usize] {
            u32::MAX => Next::State(numbers[state as usize]),
            skip => Next::Skip(skip),
        },
        Next::Label(_) | Next::Tail(_) | Next::Skip(_) => next,
    };
    let rows = automaton
        .rows
        .chunks_exact(width)
        .zip(&kept.rows)
        .filter(|(_, kept)| **kept)
        .flat_map(|(row, _)| row)
        .map(|next| rename(*next))
        .collect();
    let skips =
        kept.skips.iter().map(|skip| Skip { bytes: skip.bytes, next: rename(skip.next) }).collect();
    let start = rename(start);
    Automaton { start, rows, skips, ..automaton }
}

/// The byte and the state of a row from which every other string is decided to match nothing.
fn only_way(row: &[Next], singles: &[Option<u8>]) -> Option<(u8, u32)> {
    let mut live = row.iter().zip(singles).filter(|(next, _)| **next != Next::Label(0));
    match (live.next(), live.next()) {
        (Some((Next::State(to), Some(byte))), None) => Some((*byte, *to)),
        (Some(_) | None, _) => None,
    }
}

/// The bytes that are certain from `state`, and where they lead. `None` if they are too few for a skip.
fn certain(ways: &[Option<(u8, u32)>], state: u32) -> Option<([u8; SKIP_BYTES], u32)> {
    let mut bytes = [0; SKIP_BYTES];
    let mut at = state;
    for byte in &mut bytes {
        (*byte, at) = ways[at as usize]?;
    }
    Some((bytes, at))
}

/// What is left of an automaton while its chains are taken out.
struct Kept<'a> {
    ways: &'a [Option<(u8, u32)>],
    /// The states that stay rows.
    rows: Vec<bool>,
    /// By state the skip that begins there.
    skip_of: Vec<u32>,
    /// With states by their old numbers.
    skips: Vec<Skip>,
    /// Rows that have not been followed.
    work: Vec<u32>,
}

impl Kept<'_> {
    /// Sees to it that what `next` leads to is kept, as a row or as a skip. Answers `next`.
    fn enter(&mut self, next: Next) -> Next {
        let mut at = next;
        while let Next::State(state) = at {
            let from = state as usize;
            if self.rows[from] || self.skip_of[from] != u32::MAX {
                break;
            }
            let Some((bytes, to)) = certain(self.ways, state) else {
                self.rows[from] = true;
                self.work.push(state);
                break;
            };
            at = Next::State(to);
            self.skip_of[from] = self.skips.len() as u32;
            self.skips.push(Skip { bytes, next: at });
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dfa::{Chains, Limits, build, pattern},
        ir::Pattern,
    };

    fn of(paths: &[&str]) -> Automaton {
        let exact = |text: &&str| Pattern::Exact(text.as_bytes().to_vec());
        let expressions: Vec<_> =
            paths.iter().map(|path| pattern::expression(&exact(path)).unwrap()).collect();
        let limits = Limits { table_bytes: 1 << 20, work_bytes: 1 << 20, chains: Chains::Skips };
        build(&expressions, limits, &mut |matched| matched[0] + 1).unwrap()
    }

    #[test]
    fn what_patterns_share_is_one_comparison_and_where_they_differ_is_a_row() {
        let automaton = of(&["/srv/data/a", "/srv/data/b"]);
        let bytes: Vec<_> = automaton.skips.iter().map(|skip| &skip.bytes).collect();
        // Ten bytes: two skips, and two that are too few for another.
        assert_eq!(bytes, [b"/srv", b"/dat"]);
        assert_eq!((automaton.start, automaton.skips[0].next), (Next::Skip(0), Next::Skip(1)));
        assert_eq!(automaton.states(), 3);
    }

    #[test]
    fn a_byte_at_which_a_string_may_end_is_no_part_of_a_skip() {
        let automaton = of(&["/srv/", "/srv/data/a", "/srv/data/b"]);
        let bytes: Vec<_> = automaton.skips.iter().map(|skip| &skip.bytes).collect();
        assert_eq!(bytes, [b"/srv", b"ata/"]);
        assert_eq!(automaton.states(), 3);
    }
}
