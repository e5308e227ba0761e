//! A predicate with `not` pushed down to its literals, for one act, and alternatives over one fact joined.

use interdict_abi::ids::Act;

use super::fact;
use crate::{
    check::Predicate,
    ir::{Literal, Test},
    parse::feed,
};

/// A predicate without `not` above its literals.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Literal(Literal),
}

/// The tree of a predicate.
pub(super) fn of(predicate: &Predicate, act: Act) -> Tree {
    push(predicate, act, false)
}

fn push(predicate: &Predicate, act: Act, negated: bool) -> Tree {
    match predicate {
        Predicate::Not(inner) => push(inner, act, !negated),
        Predicate::All(parts) | Predicate::Any(parts) => {
            let all = matches!(predicate, Predicate::All(_)) != negated;
            let mut flat = Vec::with_capacity(parts.len());
            for part in parts {
                match push(part, act, negated) {
                    Tree::All(inner) if all => flat.extend(inner),
                    Tree::Any(inner) if !all => flat.extend(inner),
                    tree => flat.push(tree),
                }
            }
            let mut joined = join(flat, all);
            match (joined.len(), joined.pop()) {
                (1, Some(only)) => only,
                (_, last) => {
                    joined.extend(last);
                    if all { Tree::All(joined) } else { Tree::Any(joined) }
                }
            }
        }
        Predicate::Leaf(leaf) => match fact::test(leaf, act) {
            Some(test) => Tree::Literal(Literal { negated, test }),
            // Refused by `check`: stands for false, so that nothing matches because of it.
            None => Tree::Any(Vec::new()),
        },
    }
}

/// Joins what a list of values can say: `a or b` over one fact is `in [a, b]`, `not a and not b` is `not in [a, b]`.
fn join(parts: Vec<Tree>, all: bool) -> Vec<Tree> {
    let mut kept: Vec<Tree> = Vec::with_capacity(parts.len());
    for part in parts {
        let Tree::Literal(literal) = part else {
            kept.push(part);
            continue;
        };
        // Positive literals join under `or`, negative ones under `and`.
        let partner = (literal.negated == all).then(|| {
            kept.iter_mut().find_map(|tree| match tree {
                Tree::Literal(other) if other.negated == literal.negated => {
                    same_fact(&other.test, &literal.test).then_some(&mut other.test)
                }
                Tree::Literal(_) | Tree::All(_) | Tree::Any(_) => None,
            })
        });
        match partner.flatten() {
            Some(test) => absorb(test, literal.test),
            None => kept.push(Tree::Literal(literal)),
        }
    }
    kept
}

fn same_fact(one: &Test, other: &Test) -> bool {
    match (one, other) {
        (Test::Text { fact: one, .. }, Test::Text { fact: other, .. })
        | (Test::Number { fact: one, .. }, Test::Number { fact: other, .. })
        | (Test::Flags { fact: one, .. }, Test::Flags { fact: other, .. })
        | (Test::Address { fact: one, .. }, Test::Address { fact: other, .. }) => one == other,
        (Test::Ancestor { .. }, Test::Ancestor { .. })
        | (Test::Argument { .. }, Test::Argument { .. })
        | (Test::Capabilities { .. }, Test::Capabilities { .. }) => true,
        (
            Test::Text { .. }
            | Test::Number { .. }
            | Test::Flags { .. }
            | Test::Address { .. }
            | Test::Ancestor { .. }
            | Test::Argument { .. }
            | Test::Capabilities { .. },
            _,
        ) => false,
    }
}

fn absorb(test: &mut Test, more: Test) {
    match (test, more) {
        (Test::Text { patterns, .. }, Test::Text { patterns: more, .. })
        | (Test::Ancestor { patterns }, Test::Ancestor { patterns: more })
        | (Test::Argument { patterns }, Test::Argument { patterns: more }) => {
            patterns.extend(more);
            patterns.sort();
            patterns.dedup();
        }
        (Test::Number { ranges, .. }, Test::Number { ranges: more, .. }) => {
            ranges.extend(more);
            ranges.sort_unstable();
            ranges.dedup();
        }
        (Test::Flags { mask, .. }, Test::Flags { mask: more, .. }) => *mask |= more,
        (Test::Capabilities { mask }, Test::Capabilities { mask: more }) => *mask |= more,
        (
            Test::Address { v4, v6, from, .. },
            Test::Address { v4: more_v4, v6: more_v6, from: more_from, .. },
        ) => {
            feed::join_from(from, &more_from);
            v4.extend(more_v4);
            v6.extend(more_v6);
            v4.sort_unstable();
            v4.dedup();
            v6.sort_unstable();
            v6.dedup();
        }
        (
            Test::Text { .. }
            | Test::Number { .. }
            | Test::Flags { .. }
            | Test::Address { .. }
            | Test::Ancestor { .. }
            | Test::Argument { .. }
            | Test::Capabilities { .. },
            _,
        ) => {}
    }
}
