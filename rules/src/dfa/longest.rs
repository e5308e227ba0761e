//! How far a walk can go.

use super::build::{Automaton, Next};

/// The most steps a walk can take: rows read, and bytes compared in a tail. `None`: as many as the string has bytes,
/// because a row leads back to one before it.
pub fn longest(automaton: &Automaton) -> Option<usize> {
    let width = automaton.class_count;
    let tail = |tail: u32| automaton.tails[tail as usize].bytes.len() + 1;
    let mut known: Vec<Option<usize>> = vec![None; automaton.states()];
    let mut entered = vec![false; automaton.states()];
    let start = match automaton.start {
        Next::State(state) => state as usize,
        Next::Label(_) => return Some(0),
        Next::Tail(at) => return Some(tail(at)),
    };
    // Depth first; a state that is met again before it is left leads back.
    let mut path: Vec<(usize, usize, usize)> = vec![(start, 0, 0)];
    entered[start] = true;
    while let Some((state, class, farthest)) = path.last_mut() {
        if *class == width {
            let (state, steps) = (*state, *farthest + 1);
            known[state] = Some(steps);
            path.pop();
            if let Some((_, _, farthest)) = path.last_mut() {
                *farthest = (*farthest).max(steps);
            }
            continue;
        }
        let next = automaton.rows[*state * width + *class];
        *class += 1;
        match next {
            Next::Label(_) => {}
            Next::Tail(at) => *farthest = (*farthest).max(tail(at)),
            Next::State(to) => match (known[to as usize], entered[to as usize]) {
                (Some(steps), _) => *farthest = (*farthest).max(steps),
                (None, true) => return None,
                (None, false) => {
                    entered[to as usize] = true;
                    path.push((to as usize, 0, 0));
                }
            },
        }
    }
    known[start]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dfa::{Limits, build, pattern},
        ir::Pattern,
    };

    fn steps(patterns: &[Pattern], tails: bool) -> Option<usize> {
        let expressions: Vec<_> =
            patterns.iter().map(|pattern| pattern::expression(pattern).unwrap()).collect();
        let limits = Limits { table_bytes: 1 << 20, work_bytes: 1 << 20, tails };
        longest(&build(&expressions, limits, &mut |_| 1).unwrap())
    }

    #[test]
    fn a_walk_is_as_long_as_the_longest_string_that_is_still_undecided() {
        let exact = |text: &str| Pattern::Exact(text.as_bytes().to_vec());
        assert_eq!(steps(&[exact("/ab")], false), Some(4));
        assert_eq!(steps(&[exact("/ab")], true), Some(4));
        assert_eq!(steps(&[exact("/ab"), exact("/abcd")], false), Some(6));
        assert_eq!(steps(&[Pattern::Prefix(b"/abc".to_vec())], false), Some(4));
        assert_eq!(steps(&[], false), Some(0));
    }

    #[test]
    fn a_pattern_that_begins_anywhere_reads_to_the_end_of_the_string() {
        assert_eq!(steps(&[Pattern::Suffix(b".so".to_vec())], true), None);
        assert_eq!(steps(&[Pattern::Glob("/a/*/b".to_owned())], true), None);
    }
}
