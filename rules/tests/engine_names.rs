//! Lists of names against the obvious way to look one up.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that goes wrong should stop")]

use std::collections::HashSet;

use interdict_abi::ids::{Act, Action, Fact, Family, Mode};
use interdict_rules::{
    field::domain,
    image::PolicyImage,
    ir::{Clause, Literal, OnFault, Pattern, Program, Rule, Test},
    lower::{Budget, lower},
    oracle::generate,
    run::{Event, Value, decide},
};

const LABELS: [&str; 9] = ["com", "example", "a", "b", "ab", "evil", "x-1", "www", "_t"];

fn name(state: &mut u64) -> String {
    let mut next = |below: u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*state >> 33) % below
    };
    let labels = 1 + next(5);
    let label = |number: u64| match number {
        0..9 => LABELS[number as usize].to_owned(),
        other => format!("n{other}"),
    };
    let labels: Vec<String> = (0..labels).map(|_| label(next(60))).collect();
    labels.join(".")
}

fn rule(id: &str, patterns: Vec<Pattern>) -> Rule {
    let test = Test::Text { fact: Fact::DnsName, patterns };
    let literals = vec![Literal { negated: false, test }];
    Rule {
        id: id.to_owned(),
        action: Action::Alert,
        errno: 1,
        mode: Mode::Enforce,
        on_fault: OnFault::Pass,
        clauses: vec![Clause { family: Family::Dns, acts: Act::NetDns.bit(), literals, origin: 0 }],
        exceptions: Vec::new(),
        narrowed: Vec::new(),
    }
}

fn image(rules: Vec<Rule>) -> PolicyImage {
    let program = Program { rules };
    lower(&program, generate::metadata(&program), Budget::default()).unwrap()
}

fn matched(image: &PolicyImage, name: &str) -> Vec<u32> {
    let event =
        Event::new(Act::NetDns).with(Fact::DnsName, Value::Text(domain::key(name).into_bytes()));
    let mut matched = decide(image, &event, Mode::Enforce).matched;
    matched.sort_unstable();
    matched
}

/// Whether `name` or one it is below is in the list.
fn below(list: &HashSet<String>, name: &str) -> bool {
    let ends = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
    std::iter::once(name).chain(ends).any(|end| list.contains(end))
}

#[test]
fn names_are_found_in_long_lists_as_in_a_set() {
    let mut state = 7;
    let exact: HashSet<String> = (0..20_000).map(|_| name(&mut state)).collect();
    let subtrees: HashSet<String> = (0..3_000).map(|_| name(&mut state)).collect();
    let patterns = exact.iter().map(|name| domain::pattern(name).unwrap()).collect();
    let below_these = subtrees.iter().map(|name| domain::below(name).unwrap()).collect();
    let wild = vec![domain::pattern("*.example").unwrap(), domain::pattern("evil.com").unwrap()];
    let image = image(vec![rule("R0", patterns), rule("R1", below_these), rule("R2", wild)]);
    let mut met = [0; 3];
    let listed = exact.iter().chain(&subtrees).cloned();
    let mut others = 99;
    let others = (0..20_000).map(|_| name(&mut others));
    for name in listed.chain(others) {
        let labels: Vec<&str> = name.split('.').collect();
        let wild = labels.len() == 2 && labels[1] == "example" || name == "evil.com";
        let expected: Vec<u32> =
            [(0, exact.contains(&name)), (1, below(&subtrees, &name)), (2, wild)]
                .into_iter()
                .filter_map(|(rule, holds)| holds.then_some(rule))
                .collect();
        assert_eq!(matched(&image, &name), expected, "{name}");
        for rule in expected {
            met[rule as usize] += 1;
        }
    }
    assert!(met.iter().all(|count| *count > 0), "{met:?}");
}

#[test]
fn a_list_of_a_hundred_thousand_names_takes_little_room() {
    let names = (0..100_000).map(|number| format!("n{number:06}.list{}.example", number % 97));
    let patterns = names.map(|name| domain::below(&name).unwrap()).collect();
    let image = image(vec![rule("R0", patterns)]);
    assert!(image.kernel().len() < 6 << 20, "{} bytes", image.kernel().len());
    assert_eq!(matched(&image, "a.b.n012345.list26.example"), [0]);
    assert!(matched(&image, "n012345.list27.example").is_empty());
    assert!(matched(&image, "list26.example").is_empty());
}

#[test]
fn a_rule_may_list_names_and_patterns_together_and_negate_both() {
    let patterns = ["evil.example", "*.bad.example", "**.worse.example"];
    let patterns: Vec<Pattern> =
        patterns.iter().map(|pattern| domain::pattern(pattern).unwrap()).collect();
    let mut negated = rule("R1", patterns.clone());
    negated.clauses[0].literals[0].negated = true;
    let image = image(vec![rule("R0", patterns), negated]);
    for (name, rule) in [
        ("evil.example", 0),
        ("a.bad.example", 0),
        ("worse.example", 0),
        ("a.b.worse.example", 0),
        ("a.evil.example", 1),
        ("bad.example", 1),
        ("a.b.bad.example", 1),
    ] {
        assert_eq!(matched(&image, name), [rule], "{name}");
    }
}
