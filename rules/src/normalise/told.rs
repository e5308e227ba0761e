//! Takes the tests of class U out of a predicate. Those on what a container's runtime tells are such for rules that only
//! tell: for them it is waited until it is known. Others have it decided in the kernel, and `tells` says which rule it is.
//!
//! What is known in user space only cannot be a literal of a clause. So a predicate is split by such tests: for each
//! way they can come out, what is left for the kernel to decide. `user.name == "x" and file.path == "/y"` has one way
//! in which something is left; `a or b` over two such tests has two. Exact for every expression: the kernel tells the
//! rule of each way, and the agent tells on when the way is the case.

use interdict_abi::ids::Act;

use crate::{
    check::{Leaf, LeafTest, Predicate},
    told::{ToldTest, Wanted},
};

/// Ways one predicate may be split into.
pub(super) const WAYS_MAX: usize = 16;

/// One way that tests of class U can come out, and what is left to be decided then.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) tests: Vec<ToldTest>,
    pub(super) left: Predicate,
}

/// Whether there is such a test in a predicate, for an act.
pub(super) fn mentions(predicate: &Predicate, act: Act, tells: bool) -> bool {
    first(predicate, act, tells).is_some()
}

/// The ways in which something is left to decide. `None`: there are more than [`WAYS_MAX`].
pub(super) fn ways(predicate: &Predicate, act: Act, tells: bool) -> Option<Vec<Way>> {
    let mut ways = Vec::new();
    split(folded(predicate, None), (act, tells), &mut Vec::new(), &mut ways)?;
    Some(ways)
}

fn split(
    predicate: Predicate,
    (act, tells): (Act, bool),
    tests: &mut Vec<ToldTest>,
    ways: &mut Vec<Way>,
) -> Option<()> {
    if is(&predicate, false) {
        return Some(());
    }
    let Some(leaf) = first(&predicate, act, tells) else {
        if ways.len() == WAYS_MAX {
            return None;
        }
        let mut tests = tests.clone();
        tests.sort();
        ways.push(Way { tests, left: predicate });
        return Some(());
    };
    let leaf = leaf.clone();
    // Each test doubles what is to be looked at, so few are enough to pass the limit.
    if tests.len() > WAYS_MAX {
        return None;
    }
    for holds in [true, false] {
        tests.push(told(&leaf, !holds));
        let done = split(folded(&predicate, Some((&leaf, holds))), (act, tells), tests, ways);
        tests.pop();
        done?;
    }
    Some(())
}

fn told(leaf: &Leaf, negated: bool) -> ToldTest {
    let wanted = match &leaf.test {
        LeafTest::Patterns(patterns) => Wanted::Text(patterns.to_vec()),
        LeafTest::Ranges(ranges) => Wanted::Number(ranges.to_vec()),
        LeafTest::True => Wanted::Number(vec![(1, 1)]),
        // No field of class U is an address; as a text that no value has, it is never true.
        LeafTest::Addresses(_) => Wanted::Text(Vec::new()),
    };
    ToldTest { field: leaf.field.name.to_owned(), negated, wanted }
}

fn first(predicate: &Predicate, act: Act, tells: bool) -> Option<&Leaf> {
    match predicate {
        Predicate::All(parts) | Predicate::Any(parts) => {
            parts.iter().find_map(|part| first(part, act, tells))
        }
        Predicate::Not(inner) => first(inner, act, tells),
        Predicate::Leaf(leaf) => leaf.told(act, tells).then_some(leaf),
    }
}

fn constant(value: bool) -> Predicate {
    if value { Predicate::All(Vec::new()) } else { Predicate::Any(Vec::new()) }
}

fn is(predicate: &Predicate, value: bool) -> bool {
    match predicate {
        Predicate::All(parts) => value && parts.is_empty(),
        Predicate::Any(parts) => !value && parts.is_empty(),
        Predicate::Not(_) | Predicate::Leaf(_) => false,
    }
}

/// The predicate with one test taken as settled, and what follows from that.
fn folded(predicate: &Predicate, settled: Option<(&Leaf, bool)>) -> Predicate {
    match predicate {
        Predicate::Leaf(leaf) => match settled {
            Some((known, value))
                if known.field.name == leaf.field.name && known.test == leaf.test =>
            {
                constant(value)
            }
            Some(_) | None => predicate.clone(),
        },
        Predicate::Not(inner) => {
            let inner = folded(inner, settled);
            match (is(&inner, true), is(&inner, false)) {
                (true, _) => constant(false),
                (_, true) => constant(true),
                (false, false) => Predicate::Not(Box::new(inner)),
            }
        }
        Predicate::All(parts) | Predicate::Any(parts) => {
            let all = matches!(predicate, Predicate::All(_));
            let parts: Vec<Predicate> = parts.iter().map(|part| folded(part, settled)).collect();
            if parts.iter().any(|part| is(part, !all)) {
                return constant(!all);
            }
            let parts: Vec<Predicate> = parts.into_iter().filter(|part| !is(part, all)).collect();
            if all { Predicate::All(parts) } else { Predicate::Any(parts) }
        }
    }
}
