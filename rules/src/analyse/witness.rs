//! One act for each clause that the clause matches: to see what a changed policy changes.
//!
//! Strings are made from the first pattern of a test (a glob's stars become `x`), so not every clause has a witness:
//! regular expressions have one only when they are plain. Whether it is one is for the caller to see, by deciding it.

use std::net::IpAddr;

use interdict_abi::ids::{Act, Fact};
use interdict_engine::tables::Address;

use crate::{
    ir::{Clause, Literal, Pattern, Program, Test},
    run::{Event, Strings, Value},
};

/// A witness for every match clause that one can be made for, with the rule's index.
pub fn witnesses(program: &Program) -> Vec<(usize, Event)> {
    let mut all = Vec::new();
    for (index, rule) in program.rules.iter().enumerate() {
        for clause in &rule.clauses {
            for act in Act::ALL {
                if act.family() == clause.family && clause.acts & act.bit() != 0 {
                    all.extend(witness(clause, *act).map(|event| (index, event)));
                }
            }
        }
    }
    all
}

/// An act that a clause is likely to match.
pub(super) fn witness(clause: &Clause, act: Act) -> Option<Event> {
    let mut event = Event::new(act);
    if clause.family.has_process() {
        for fact in [Fact::Uid, Fact::Euid, Fact::Gid] {
            event = event.with(fact, Value::Number(1000));
        }
        event = event.with(Fact::ProcessFlags, Value::Number(0));
    }
    // Negated tests first: a positive one on the same fact has the last word.
    let (positive, negated): (Vec<&Literal>, Vec<&Literal>) =
        clause.literals.iter().partition(|literal| !literal.negated);
    for literal in negated {
        if let Test::Number { fact, ranges } = &literal.test {
            let outside = |number: &u32| {
                !ranges.iter().any(|(first, last)| (*first..=*last).contains(number))
            };
            let number = [1000, 0, 33, 65_000, u32::MAX].into_iter().find(outside)?;
            event = event.with(*fact, Value::Number(number));
        }
    }
    for literal in positive {
        match &literal.test {
            Test::Text { fact, patterns } => {
                event = event.with(*fact, Value::Text(sample(patterns.first()?)?));
            }
            Test::Number { fact, ranges } => {
                event = event.with(*fact, Value::Number(ranges.first()?.0));
            }
            Test::Flags { fact, mask } => {
                let bit = mask & mask.wrapping_neg();
                let before = match event.value(*fact) {
                    Value::Number(bits) => *bits,
                    Value::Text(_) | Value::Address(_) | Value::Absent | Value::Unknown => 0,
                };
                event = event.with(*fact, Value::Number(before | bit));
            }
            Test::Address { fact, v4, v6, .. } => {
                let address = match (v4.first(), v6.first()) {
                    (Some((first, _)), _) => IpAddr::from(first.to_be_bytes()),
                    (None, Some((first, _))) => IpAddr::from(first.to_be_bytes()),
                    (None, None) => return None,
                };
                event = event.with(*fact, Value::Address(crate::suite::address_value(address)));
            }
            Test::Ancestor { patterns } => {
                push(&mut event.ancestors, sample(patterns.first()?)?);
            }
            Test::Argument { patterns } => push(&mut event.args, sample(patterns.first()?)?),
            Test::Capabilities { mask } => {
                let before = event.capabilities.unwrap_or(0);
                event.capabilities = Some(before | mask & mask.wrapping_neg());
            }
        }
    }
    Some(event)
}

fn push(strings: &mut Strings, text: Vec<u8>) {
    match strings {
        Strings::Known(known) => known.push(text),
        Strings::Unknown => {}
    }
}

/// A text the pattern is likely to match.
fn sample(pattern: &Pattern) -> Option<Vec<u8>> {
    match pattern {
        Pattern::Exact(bytes)
        | Pattern::Prefix(bytes)
        | Pattern::Suffix(bytes)
        | Pattern::Contains(bytes) => Some(bytes.clone()),
        Pattern::Glob(glob) => Some(glob_sample(glob)),
        Pattern::Regex(regex) => {
            let hir = regex_syntax::ParserBuilder::new()
                .unicode(false)
                .utf8(false)
                .build()
                .parse(regex)
                .ok()?;
            let mut text = Vec::new();
            regex_sample(&hir, &mut text).then_some(text)
        }
    }
}

fn glob_sample(glob: &str) -> Vec<u8> {
    let mut text = String::new();
    let mut characters = glob.chars().peekable();
    let mut depth = 0;
    // Inside braces only the first alternative is taken.
    let mut skipping = 0;
    while let Some(character) = characters.next() {
        match character {
            '{' => depth += 1,
            '}' => {
                if skipping == depth {
                    skipping = 0;
                }
                depth -= 1;
            }
            ',' if depth > 0 && skipping == 0 => skipping = depth,
            _ if skipping > 0 => {}
            '\\' => text.extend(characters.next()),
            '*' => {
                while characters.peek() == Some(&'*') {
                    characters.next();
                }
                text.push('x');
            }
            '?' => text.push('x'),
            '[' => {
                let first = characters.next();
                let negated = matches!(first, Some('!' | '^'));
                let member = if negated { characters.next() } else { first };
                text.push(if negated { 'x' } else { member.unwrap_or('x') });
                for rest in characters.by_ref() {
                    if rest == ']' {
                        break;
                    }
                }
            }
            _ => text.push(character),
        }
    }
    text.into_bytes()
}

/// The shortest text of a regular expression, where there is an obvious one.
fn regex_sample(hir: &regex_syntax::hir::Hir, text: &mut Vec<u8>) -> bool {
    use regex_syntax::hir::{Class, HirKind};
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => {
            text.extend_from_slice(&literal.0);
            true
        }
        HirKind::Class(Class::Bytes(class)) => {
            let Some(range) = class.ranges().last() else { return false };
            text.push(range.start().max(b'x').min(range.end()));
            true
        }
        HirKind::Class(Class::Unicode(class)) => {
            let Some(range) = class.ranges().iter().find(|range| range.start() != '\0') else {
                return false;
            };
            let mut buffer = [0; 4];
            text.extend_from_slice(range.start().encode_utf8(&mut buffer).as_bytes());
            true
        }
        HirKind::Repetition(repetition) => {
            (0..repetition.min.min(64)).all(|_| regex_sample(&repetition.sub, text))
        }
        HirKind::Capture(capture) => regex_sample(&capture.sub, text),
        HirKind::Concat(parts) => parts.iter().all(|part| regex_sample(part, text)),
        HirKind::Alternation(parts) => parts.first().is_some_and(|part| regex_sample(part, text)),
    }
}

/// An event in one line.
pub fn describe(event: &Event) -> String {
    let act = Act::ALL
        .iter()
        .find(|act| act.family() == event.family && act.value() == event.act)
        .map_or(event.family.name(), |act| act.name());
    let mut words = vec![act.to_owned()];
    for (fact, value) in &event.facts {
        let usual = matches!(
            (fact, value),
            (Fact::Uid | Fact::Euid | Fact::Gid, Value::Number(1000))
                | (Fact::ProcessFlags | Fact::ObjectFlags, Value::Number(0))
        );
        if usual {
            continue;
        }
        let shown = match value {
            Value::Number(number) => number.to_string(),
            Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Value::Address(Address::V4(bits)) => IpAddr::from(bits.to_be_bytes()).to_string(),
            Value::Address(Address::V6(upper, lower)) => {
                let bits = u128::from(*upper) << 64 | u128::from(*lower);
                IpAddr::from(bits.to_be_bytes()).to_string()
            }
            Value::Absent => continue,
            Value::Unknown => "unknown".to_owned(),
        };
        words.push(format!("{}={shown}", fact.name()));
    }
    for (name, strings) in [("ancestors", &event.ancestors), ("args", &event.args)] {
        match strings {
            Strings::Known(known) if known.is_empty() => {}
            Strings::Known(known) => {
                let known: Vec<_> =
                    known.iter().map(|text| String::from_utf8_lossy(text)).collect();
                words.push(format!("{name}=[{}]", known.join(", ")));
            }
            Strings::Unknown => words.push(format!("{name}=unknown")),
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_globs_match_them() {
        let oracle = crate::ir::Program::default();
        let oracle = crate::oracle::Oracle::new(&oracle);
        for glob in
            ["/etc/*.conf", "/a/**/b", "/{usr/,}bin/{sh,bash}", "/x[0-9]?", r"/a\*b", "/t/**"]
        {
            let pattern = Pattern::Glob(glob.to_owned());
            let text = sample(&pattern).unwrap();
            assert!(oracle.matches(&pattern, &text), "{glob} {}", String::from_utf8_lossy(&text));
        }
    }
}
