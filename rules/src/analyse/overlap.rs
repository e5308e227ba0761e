//! Rules that say the same as another, or less.
//!
//! A clause is covered by another when each of the other's tests is implied by one of its own. That is decided on the
//! tests as written (the same patterns, narrower ranges), so what is said is certain. What is the same in other words is
//! found by [`super::shadow`].

use std::collections::HashMap;

use interdict_abi::ids::{Action, Mode};

use crate::{
    diag::{Code, Diagnostic, Diagnostics},
    ir::{Clause, Literal, Pattern, Program, Rule as Lowered, Test},
    normalise::implies,
    parse::policy::Rule,
};

/// A positive test's pattern: clauses that cover one another share one.
type Key<'p> = (u32, &'p Pattern);

/// Says which rules are duplicates, and which change nothing. Answers of which rules something has been said.
pub(super) fn check(
    rules: &[&Rule],
    program: &Program,
    diagnostics: &mut Diagnostics,
) -> Vec<bool> {
    let mut said = vec![false; rules.len()];
    duplicates(rules, program, &mut said, diagnostics);
    shadowed(rules, program, &mut said, diagnostics);
    said
}

fn duplicates(
    rules: &[&Rule],
    program: &Program,
    said: &mut [bool],
    diagnostics: &mut Diagnostics,
) {
    let mut seen = HashMap::new();
    for (index, rule) in program.rules.iter().enumerate() {
        if rule.clauses.is_empty() || large(rule) {
            continue;
        }
        let key = (&rule.clauses, &rule.exceptions, &rule.narrowed);
        let Some(first) = seen.get(&key).copied() else {
            seen.insert(key, index);
            continue;
        };
        if program.rules[first].id == rule.id {
            continue;
        }
        said[index] = true;
        said[first] = true;
        let (one, other) = (&program.rules[first], rule);
        let mut diagnostic = Diagnostic::warning(
            Code::Duplicate,
            rules[index].id.span,
            format!("the rule `{}` is about the same acts as `{}`", other.id, one.id),
        )
        .label("the same clauses and exceptions")
        .related(rules[first].id.span, "as this rule");
        if one.action != other.action || one.mode != other.mode {
            let words = |rule: &Lowered| format!("{} in {}", rule.action.name(), rule.mode.name());
            diagnostic = diagnostic.note(format!(
                "they contradict each other: `{}` says {}, `{}` says {}; the strongest in force holds",
                one.id,
                words(one),
                other.id,
                words(other)
            ));
        }
        diagnostics.add(diagnostic.help("remove one of the two"));
    }
}

/// Rules whose lists are long are not compared: that would take long, and feeds are seldom written twice.
fn large(rule: &Lowered) -> bool {
    rule.clauses.iter().chain(&rule.exceptions).flat_map(|clause| &clause.literals).any(|literal| {
        match &literal.test {
            Test::Address { v4, v6, .. } => v4.len() + v6.len() > 4_096,
            Test::Text { patterns, .. }
            | Test::Ancestor { patterns }
            | Test::Argument { patterns } => patterns.len() > 4_096,
            Test::Number { ranges, .. } => ranges.len() > 4_096,
            Test::Flags { .. } | Test::Capabilities { .. } => false,
        }
    })
}

fn keys(clause: &Clause) -> impl Iterator<Item = Key<'_>> {
    clause.literals.iter().filter(|literal| !literal.negated).flat_map(|literal| {
        let (fact, patterns): (u32, &[Pattern]) = match &literal.test {
            Test::Text { fact, patterns } => (*fact as u32, patterns),
            Test::Ancestor { patterns } => (100, patterns),
            Test::Argument { patterns } => (101, patterns),
            Test::Number { .. }
            | Test::Flags { .. }
            | Test::Address { .. }
            | Test::Capabilities { .. } => (0, &[]),
        };
        patterns.iter().map(move |pattern| (fact, pattern))
    })
}

fn shadowed(rules: &[&Rule], program: &Program, said: &mut [bool], diagnostics: &mut Diagnostics) {
    let mut by_pattern: HashMap<Key<'_>, Vec<(usize, usize)>> = HashMap::new();
    let mut by_nothing: Vec<(usize, usize)> = Vec::new();
    for (index, rule) in program.rules.iter().enumerate() {
        // A rule with exceptions covers less than its clauses say.
        if !rule.exceptions.is_empty() || large(rule) {
            continue;
        }
        for (number, clause) in rule.clauses.iter().enumerate() {
            let mut any = false;
            for key in keys(clause) {
                any = true;
                by_pattern.entry(key).or_default().push((index, number));
            }
            if !any {
                by_nothing.push((index, number));
            }
        }
    }
    // Rules about no text cover by numbers alone; comparing every rule with many of them would take long.
    by_nothing.truncate(64);
    for (index, rule) in program.rules.iter().enumerate() {
        let in_parts = program
            .rules
            .iter()
            .skip(index + 1)
            .take(1)
            .chain(index.checked_sub(1).and_then(|before| program.rules.get(before)));
        let in_parts = in_parts.into_iter().any(|neighbour| neighbour.id == rule.id);
        if rule.clauses.is_empty() || said[index] || in_parts || large(rule) {
            continue;
        }
        let covering = |clause: &Clause| {
            // Whatever covers this clause holds the first pattern of one of its own tests.
            let mut candidates: Vec<usize> = Vec::new();
            for literal in &clause.literals {
                let first = Clause { literals: vec![literal.clone()], ..clause.clone() };
                if let Some(key) = keys(&first).next()
                    && let Some(found) = by_pattern.get(&(key.0, key.1))
                {
                    candidates.extend(found.iter().take(64).filter_map(|(other, number)| {
                        covers(program, *other, *number, index, clause).then_some(*other)
                    }));
                }
            }
            candidates.extend(by_nothing.iter().filter_map(|(other, number)| {
                covers(program, *other, *number, index, clause).then_some(*other)
            }));
            candidates.into_iter().next()
        };
        let covers: Option<Vec<usize>> = rule.clauses.iter().map(covering).collect();
        let Some(covers) = covers else { continue };
        said[index] = true;
        diagnostics.add(shadowed_by(rules, program, index, covers[0]));
    }
}

/// That rule `index` changes nothing beside rule `by`.
pub(super) fn shadowed_by(
    rules: &[&Rule],
    program: &Program,
    index: usize,
    by: usize,
) -> Diagnostic {
    Diagnostic::warning(
        Code::Shadowed,
        rules[index].id.span,
        format!("the rule `{}` changes no verdict", program.rules[index].id),
    )
    .label(format!("whatever it matches, `{}` matches too", program.rules[by].id))
    .related(rules[by].id.span, "this rule is as strong, and about more")
    .help("remove it, or narrow the other rule")
}

/// Whether rule `other` is at least as strong as rule `index`, and has no exceptions: then covering its clauses is
/// enough.
pub(super) fn stronger(program: &Program, other: usize, index: usize) -> bool {
    let (strong, weak) = (&program.rules[other], &program.rules[index]);
    let in_force = |rule: &Lowered| match rule.mode {
        Mode::Enforce => rule.action,
        Mode::Audit => rule.action.min(Action::Alert),
    };
    strong.id != weak.id
        && strong.exceptions.is_empty()
        && strong.narrowed.iter().all(|test| weak.narrowed.contains(test))
        && in_force(strong) >= in_force(weak)
        && strong.action >= weak.action
}

/// Whether clause `number` of rule `other` holds whenever `clause` of rule `index` does, and is at least as strong.
fn covers(program: &Program, other: usize, number: usize, index: usize, clause: &Clause) -> bool {
    if !stronger(program, other, index) {
        return false;
    }
    let Some(cover) = program.rules[other].clauses.get(number) else { return false };
    cover.family == clause.family
        && clause.acts & !cover.acts == 0
        && cover.literals.iter().all(|wanted: &Literal| {
            clause.literals.iter().any(|own| match (own.negated, wanted.negated) {
                (false, false) => implies(&own.test, &wanted.test),
                (true, true) => implies(&wanted.test, &own.test),
                (true, false) | (false, true) => false,
            })
        })
}
