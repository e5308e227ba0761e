//! Rules that say less than another in other words: `/usr/bin/nc` beside `/usr/bin/*`.
//!
//! A sample act of a clause, decided on the image, tells which rules may cover it; whether one does is then decided for
//! all acts, on the automaton of both lists of patterns. So what is said is certain. Where that automaton would be
//! large, or the policy is, nothing is said.

use interdict_abi::ids::{Act, Mode};

use super::{overlap::stronger, witness::witness};
use crate::{
    dfa::{Chains, Limits, build, pattern},
    diag::Diagnostics,
    image::PolicyImage,
    ir::{Clause, Literal, Pattern, Program, Rule as Lowered, Test},
    normalise::implies,
    parse::policy::Rule,
    run,
};

/// Rules up to which they are compared: the work grows with the square.
const RULES: usize = 1_000;

/// Patterns of two lists together up to which they are compared.
const PATTERNS: usize = 64;

/// Lists compared in one policy: a compilation should not take longer for what is only worth a word.
const COMPARISONS: usize = 128;

/// What the automaton of two lists may take.
const LIMITS: Limits =
    Limits { table_bytes: 128 << 10, work_bytes: 128 << 10, chains: Chains::Rows };

/// Says which rules are covered by another. `said` are those of which it has been said already.
pub(super) fn check(
    rules: &[&Rule],
    program: &Program,
    image: &PolicyImage,
    said: &mut [bool],
    diagnostics: &mut Diagnostics,
) {
    if program.rules.len() > RULES {
        return;
    }
    let mut left = COMPARISONS;
    for (index, rule) in program.rules.iter().enumerate() {
        if rule.clauses.is_empty() || said[index] || in_parts(program, index) {
            continue;
        }
        let mut cover = |clause: &Clause| -> Option<usize> {
            let act = Act::ALL
                .iter()
                .find(|act| act.family() == clause.family && clause.acts & act.bit() != 0)?;
            let event = witness(clause, *act)?;
            let matched = run::decide(image, &event, Mode::Enforce).matched;
            matched.into_iter().map(|number| number as usize).find(|other| {
                !said[*other]
                    && stronger(program, *other, index)
                    && program.rules[*other]
                        .clauses
                        .iter()
                        .any(|wide| covers(wide, clause, &mut left))
            })
        };
        let covers: Option<Vec<usize>> = rule.clauses.iter().map(&mut cover).collect();
        if let Some(covers) = covers {
            said[index] = true;
            diagnostics.add(super::overlap::shadowed_by(rules, program, index, covers[0]));
        }
    }
}

/// What is told on several conditions has several numbers.
fn in_parts(program: &Program, index: usize) -> bool {
    let same =
        |other: Option<&Lowered>| other.is_some_and(|other| other.id == program.rules[index].id);
    same(program.rules.get(index + 1)) || index > 0 && same(program.rules.get(index - 1))
}

/// Whether `wide` holds whenever `narrow` does.
fn covers(wide: &Clause, narrow: &Clause, left: &mut usize) -> bool {
    wide.family == narrow.family
        && narrow.acts & !wide.acts == 0
        && wide
            .literals
            .iter()
            .all(|wanted| narrow.literals.iter().any(|own| follows(own, wanted, left)))
}

/// Whether `wanted` holds whenever `own` does.
fn follows(own: &Literal, wanted: &Literal, left: &mut usize) -> bool {
    let plain = match (own.negated, wanted.negated) {
        (false, false) => implies(&own.test, &wanted.test),
        (true, true) => implies(&wanted.test, &own.test),
        (true, false) | (false, true) => false,
    };
    if plain {
        return true;
    }
    let (one, other) = match (&own.test, &wanted.test) {
        (
            Test::Text { fact: one_fact, patterns: one },
            Test::Text { fact: other_fact, patterns: other },
        ) if one_fact == other_fact => (one, other),
        // Of many values one meets a test; that another meets another is no contradiction, so only alike ones compare.
        (Test::Ancestor { patterns: one }, Test::Ancestor { patterns: other })
        | (Test::Argument { patterns: one }, Test::Argument { patterns: other })
            if own.negated == wanted.negated =>
        {
            (one, other)
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
        ) => return false,
    };
    let Some(now) = left.checked_sub(1) else { return false };
    *left = now;
    let Some(met) = meet(one, other) else { return false };
    match (own.negated, wanted.negated) {
        (false, false) => !met.one_alone,
        (true, true) => !met.other_alone,
        (false, true) => !met.both,
        (true, false) => false,
    }
}

/// Which strings there are that match one list of patterns, another, or both.
#[derive(Default)]
struct Met {
    one_alone: bool,
    other_alone: bool,
    both: bool,
}

fn meet(one: &[Pattern], other: &[Pattern]) -> Option<Met> {
    if one.len() + other.len() > PATTERNS {
        return None;
    }
    let expressions: Result<Vec<_>, _> = one.iter().chain(other).map(pattern::expression).collect();
    let mut met = Met::default();
    let border = u32::try_from(one.len()).ok()?;
    build(&expressions.ok()?, LIMITS, &mut |matched| {
        let of_one = matched.iter().any(|pattern| *pattern < border);
        let of_other = matched.iter().any(|pattern| *pattern >= border);
        met.one_alone |= of_one && !of_other;
        met.other_alone |= of_other && !of_one;
        met.both |= of_one && of_other;
        1
    })
    .ok()?;
    Some(met)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Pattern {
        Pattern::Glob(text.to_owned())
    }

    fn literal(negated: bool, patterns: &[Pattern]) -> Literal {
        let fact = interdict_abi::ids::Fact::Path;
        Literal { negated, test: Test::Text { fact, patterns: patterns.to_vec() } }
    }

    #[test]
    fn what_follows_from_patterns_is_found_whatever_they_are_written_as() {
        let exact = Pattern::Exact(b"/usr/bin/nc".to_vec());
        let regex = Pattern::Regex("^/usr/bin/[a-z]+$".to_owned());
        let cases = [
            (false, &exact, false, glob("/usr/bin/*"), true),
            (false, &exact, false, regex.clone(), true),
            (false, &regex, false, glob("/usr/**"), true),
            (false, &glob("/usr/**"), false, regex.clone(), false),
            (false, &exact, true, glob("/tmp/**"), true),
            (false, &exact, true, glob("/usr/**"), false),
            (true, &glob("/usr/**"), true, exact.clone(), true),
            (true, &exact, true, glob("/usr/**"), false),
            (true, &exact, false, glob("/usr/**"), false),
        ];
        for (own_negated, own, wanted_negated, wanted, expected) in cases {
            let found = follows(
                &literal(own_negated, std::slice::from_ref(own)),
                &literal(wanted_negated, std::slice::from_ref(&wanted)),
                &mut 1,
            );
            assert_eq!(found, expected, "{own_negated} {own:?} {wanted_negated} {wanted:?}");
        }
    }
}
