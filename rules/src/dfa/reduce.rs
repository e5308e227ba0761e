//! Drops states that cannot change the answer.
//!
//! A state from which every continuation ends in one label is no state but that label: a path leaves the automaton as
//! soon as it is decided. Then states with equal rows become one. Labels and the order of states stay deterministic.

use super::{
    build::{Automaton, Next},
    distinct::Distinct,
};

/// The same function from strings to labels with fewer states.
pub(super) fn reduce(automaton: &Automaton) -> Automaton {
    let decided = decided(automaton);
    let resolve = |next: Next| match next {
        Next::State(state) => match decided[state as usize] {
            Some(label) => Next::Label(label),
            None => next,
        },
        Next::Label(_) | Next::Tail(_) | Next::Skip(_) => next,
    };
    let rows = automaton.rows.iter().map(|next| resolve(*next)).collect();
    let start = resolve(automaton.start);
    shared(&Automaton { rows, start, tails: Vec::new(), skips: Vec::new(), ..*automaton })
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
        Next::State(_) | Next::Tail(_) | Next::Skip(_) => 0,
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
            Next::Tail(_) | Next::Skip(_) => true,
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
    let mut known = Distinct::default();
    // By number of a row the state that had it first.
    let mut order = Vec::new();
    let mut runs: Vec<u32> = Vec::new();
    for state in finishing_order(automaton) {
        let from = state as usize;
        runs.clear();
        for (class, next) in automaton.rows[from * width..(from + 1) * width].iter().enumerate() {
            let word = match next {
                Next::State(to) if *to == state => ITSELF,
                Next::State(to) if representative[*to as usize] != u32::MAX => {
                    representative[*to as usize] << 1
                }
                Next::State(to) => to << 1,
                Next::Label(label) | Next::Tail(label) | Next::Skip(label) => label << 1 | 1,
            };
            // Rows are mostly one value: what is compared is where it changes.
            if class == 0 || runs[runs.len() - 2] != word {
                runs.extend([word, class as u32]);
            }
        }
        let number = known.find_or_keep(runs.iter().copied()) as usize;
        if number == order.len() {
            order.push(state);
        }
        representative[from] = order[number];
    }
    // Those met last are nearest to the start: they come first in the table.
    order.reverse();
    let mut numbers = vec![u32::MAX; count];
    for (number, state) in order.iter().enumerate() {
        numbers[*state as usize] = number as u32;
    }
    let rename = |next: Next| match next {
        Next::State(to) => Next::State(numbers[representative[to as usize] as usize]),
        Next::Label(_) | Next::Tail(_) | Next::Skip(_) => next,
    };
    let rows = order
        .iter()
        .flat_map(|state| &automaton.rows[*state as usize * width..(*state as usize + 1) * width])
        .map(|next| rename(*next))
        .collect();
    Automaton {
        rows,
        start: rename(automaton.start),
        tails: Vec::new(),
        skips: Vec::new(),
        ..*automaton
    }
}

/// Stands for "this state itself" in a row that is compared. No state has this number.
const ITSELF: u32 = u32::MAX - 1;

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
