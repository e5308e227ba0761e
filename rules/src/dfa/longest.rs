//! How far a walk can go.

use super::build::{Automaton, Next};

/// The most steps a walk can take: rows read, and bytes compared in tails and skips. `None`: as many as the string has bytes,
/// because a row leads back to one before it.
pub fn longest(automaton: &Automaton) -> Option<usize> {
    let width = automaton.class_count;
    let tail = |tail: u32| automaton.tails[tail as usize].bytes.len() + 1;
    let mut known: Vec<Option<usize>> = vec![None; automaton.states()];
    let mut entered = vec![false; automaton.states()];
    // Where a transition ends up behind its skips, and the bytes of those.
    let behind = |mut next: Next| {
        let mut bytes = 0;
        while let Next::Skip(at) = next {
            let skip = &automaton.skips[at as usize];
            bytes += skip.bytes.len();
            next = skip.next;
        }
        (next, bytes)
    };
    let (start, before) = match behind(automaton.start) {
        (Next::State(state), before) => (state as usize, before),
        (Next::Label(_) | Next::Skip(_), before) => return Some(before),
        (Next::Tail(at), before) => return Some(before + tail(at)),
    };
    // Depth first; a state that is met again before it is left leads back.
    let mut path: Vec<(usize, usize, usize, usize)> = vec![(start, 0, 0, before)];
    entered[start] = true;
    while let Some((state, class, farthest, before)) = path.last_mut() {
        if *class == width {
            let (state, steps, before) = (*state, *farthest + 1, *before);
            known[state] = Some(steps);
            path.pop();
            if let Some((_, _, farthest, _)) = path.last_mut() {
                *farthest = (*farthest).max(before + steps);
            }
            continue;
        }
        let (next, before) = behind(automaton.rows[*state * width + *class]);
        *class += 1;
        match next {
            Next::Label(_) | Next::Skip(_) => {}
            Next::Tail(at) => *farthest = (*farthest).max(before + tail(at)),
            Next::State(to) => match (known[to as usize], entered[to as usize]) {
                (Some(steps), _) => *farthest = (*farthest).max(before + steps),
                (None, true) => return None,
                (None, false) => {
                    entered[to as usize] = true;
                    path.push((to as usize, 0, 0, before));
                }
            },
        }
    }
    known[start].map(|steps| before + steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dfa::{Chains, Limits, build, pattern},
        ir::Pattern,
    };

    fn steps(patterns: &[Pattern], chains: Chains) -> Option<usize> {
        let expressions: Vec<_> =
            patterns.iter().map(|pattern| pattern::expression(pattern).unwrap()).collect();
        let limits = Limits { table_bytes: 1 << 20, work_bytes: 1 << 20, chains };
        longest(&build(&expressions, limits, &mut |_| 1).unwrap())
    }

    #[test]
    fn a_walk_is_as_long_as_the_longest_string_that_is_still_undecided() {
        let exact = |text: &str| Pattern::Exact(text.as_bytes().to_vec());
        for chains in [Chains::Rows, Chains::Tails, Chains::Skips] {
            assert_eq!(steps(&[exact("/ab")], chains), Some(4));
            assert_eq!(steps(&[exact("/ab"), exact("/abcd")], chains), Some(6));
            assert_eq!(steps(&[exact("/srv/a"), exact("/srv/bcd")], chains), Some(9));
            assert_eq!(steps(&[], chains), Some(0));
        }
        assert_eq!(steps(&[Pattern::Prefix(b"/abc".to_vec())], Chains::Rows), Some(4));
    }

    #[test]
    fn a_pattern_that_begins_anywhere_reads_to_the_end_of_the_string() {
        assert_eq!(steps(&[Pattern::Suffix(b".so".to_vec())], Chains::Skips), None);
        assert_eq!(steps(&[Pattern::Glob("/a/*/b".to_owned())], Chains::Skips), None);
    }
}
