//! Drops states that cannot change the answer.
//!
//! A state from which every continuation ends in one label is no state but that label: a path leaves the automaton as
//! soon as it is decided. Then states with equal rows become one. Labels and the order of states stay deterministic.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::build::{Automaton, Next};

/// The same function from strings to labels with fewer states.
pub(super) fn reduce(automaton: &Automaton) -> Automaton {
    let decided = decided(automaton);
    let resolve = |next: Next| match next {
        Next::State(state) => match decided[state as usize] {
            Some(label) => Next::Label(label),
            None => next,
        },
        Next::Label(_) | Next::Tail(_) => next,
    };
    let rows = automaton.rows.iter().map(|next| resolve(*next)).collect();
    let start = resolve(automaton.start);
    shared(&Automaton { rows, start, tails: Vec::new(), ..*automaton })
}

/// For each state the label that every continuation ends in, if there is one.
///
/// Assumes of every state that the label at its end is its only one, and takes that back from those that see another,
/// and from those that lead there.
fn decided(automaton: &Automaton) -> Vec<Option<u32>> {
    let count = automaton.states();
    let rows: Vec<&[Next]> = automaton.rows.chunks_exact(automaton.class_count).collect();
    let end_label = |state: usize| match rows[state][0] {
        Next::Label(label) => label,
        Next::State(_) | Next::Tail(_) => 0,
    };
    let mut degree = vec![0u32; count + 1];
    for_edges(&rows, |_, to| degree[to + 1] += 1);
    for at in 0..count {
        degree[at + 1] += degree[at];
    }
    let mut sources = vec![0u32; degree[count] as usize];
    let mut filled = degree.clone();
    for_edges(&rows, |from, to| {
        sources[filled[to] as usize] = from as u32;
        filled[to] += 1;
    });
    let mut open = vec![false; count];
    let mut work = Vec::new();
    for (state, row) in rows.iter().enumerate() {
        let own = end_label(state);
        let differs = row.iter().any(|next| match next {
            Next::Label(label) => *label != own,
            Next::Tail(_) => true,
            Next::State(to) => end_label(*to as usize) != own,
        });
        if differs {
            open[state] = true;
            work.push(state);
        }
    }
    while let Some(state) = work.pop() {
        for source in &sources[degree[state] as usize..degree[state + 1] as usize] {
            if !open[*source as usize] {
                open[*source as usize] = true;
                work.push(*source as usize);
            }
        }
    }
    (0..count).map(|state| (!open[state]).then(|| end_label(state))).collect()
}

fn for_edges(rows: &[&[Next]], mut each: impl FnMut(usize, usize)) {
    for (from, row) in rows.iter().enumerate() {
        let mut last = usize::MAX;
        for next in *row {
            if let Next::State(to) = next
                && *to as usize != from
                && *to as usize != last
            {
                last = *to as usize;
                each(from, last);
            }
        }
    }
}

/// Joins states with equal rows, deepest first; a loop to the state itself counts as equal to another's. States that
/// nothing leads to any more are left out.
fn shared(automaton: &Automaton) -> Automaton {
    let width = automaton.class_count;
    let count = automaton.states();
    let mut representative = vec![u32::MAX; count];
    let mut known = Rows::new(width);
    let mut order = Vec::new();
    for state in finishing_order(automaton) {
        let from = state as usize;
        let row = automaton.rows[from * width..(from + 1) * width].iter().map(|next| match next {
            Next::State(to) if *to == state => ITSELF,
            Next::State(to) if representative[*to as usize] != u32::MAX => {
                representative[*to as usize] << 1
            }
            Next::State(to) => to << 1,
            Next::Label(label) | Next::Tail(label) => label << 1 | 1,
        });
        let first = known.find_or_keep(row, state);
        representative[from] = first;
        if first == state {
            order.push(state);
        }
    }
    // Those met last are nearest to the start: they come first in the table.
    order.reverse();
    let mut numbers = vec![u32::MAX; count];
    for (number, state) in order.iter().enumerate() {
        numbers[*state as usize] = number as u32;
    }
    let rename = |next: Next| match next {
        Next::State(to) => Next::State(numbers[representative[to as usize] as usize]),
        Next::Label(_) | Next::Tail(_) => next,
    };
    let rows = order
        .iter()
        .flat_map(|state| &automaton.rows[*state as usize * width..(*state as usize + 1) * width])
        .map(|next| rename(*next))
        .collect();
    Automaton { rows, start: rename(automaton.start), tails: Vec::new(), ..*automaton }
}

/// Stands for "this state itself" in a row that is compared. No state has this number.
const ITSELF: u32 = u32::MAX - 1;

/// Distinct rows, each with the state that had it first.
struct Rows {
    width: usize,
    words: Vec<u32>,
    states: Vec<u32>,
    /// The row with the same hash that was kept before.
    earlier: Vec<u32>,
    latest: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
}

impl Rows {
    fn new(width: usize) -> Self {
        let (words, states, earlier) = (Vec::new(), Vec::new(), Vec::new());
        Self { width, words, states, earlier, latest: HashMap::default() }
    }

    /// The state that had this row first: `state` if none had.
    fn find_or_keep(&mut self, row: impl Iterator<Item = u32>, state: u32) -> u32 {
        let start = self.words.len();
        self.words.extend(row);
        let (before, row) = self.words.split_at(start);
        let hash = row.iter().fold(0u64, |hash, word| {
            (hash.rotate_left(5) ^ u64::from(*word)).wrapping_mul(0x517c_c1b7_2722_0a95)
        });
        let latest = self.latest.get(&hash).copied().unwrap_or(u32::MAX);
        let mut at = latest;
        while at != u32::MAX {
            let place = at as usize * self.width;
            if before[place..place + self.width] == *row {
                self.words.truncate(start);
                return self.states[at as usize];
            }
            at = self.earlier[at as usize];
        }
        self.latest.insert(hash, self.states.len() as u32);
        self.earlier.push(latest);
        self.states.push(state);
        state
    }
}

/// Keys that are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// States reachable from the start, each after those it leads to as far as loops allow.
fn finishing_order(automaton: &Automaton) -> Vec<u32> {
    let width = automaton.class_count;
    let mut seen = vec![false; automaton.states()];
    let mut finished = Vec::new();
    let mut path: Vec<(u32, usize)> = Vec::new();
    if let Next::State(start) = automaton.start {
        seen[start as usize] = true;
        path.push((start, 0));
    }
    while let Some((state, class)) = path.last_mut() {
        let from = *state as usize;
        if *class == width {
            finished.push(*state);
            path.pop();
            continue;
        }
        let next = automaton.rows[from * width + *class];
        *class += 1;
        if let Next::State(to) = next
            && !seen[to as usize]
        {
            seen[to as usize] = true;
            path.push((to, 0));
        }
    }
    finished
}
