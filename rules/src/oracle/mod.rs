//! What a program means, said as plainly as possible.
//!
//! In: the rules in normal form and an event. Out: what must be decided. Walks all rules one by one, matches globs by
//! backtracking and regular expressions with a searching engine; shares no code with `lower`, `dfa` or the kernel's
//! engine, and is what they are tested against. Slow, and never used to enforce anything.

pub mod generate;
mod glob;

use std::{cell::RefCell, collections::BTreeSet, collections::HashMap};

use interdict_abi::ids::{ACT_COMBINATIONS, Action, Mode};
use regex_automata::{meta, util::syntax};

use crate::{
    ir::{Clause, Literal, OnFault, Pattern, Program, Rule, Test},
    run::{Address, Event, Excused, Strings, Value},
};

/// What must be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What is done.
    pub verdict: Action,
    /// What would be done if every matching rule were enforced.
    pub would: Action,
    /// The errnos that may be given: of the matching rules in force that do what is done.
    pub errnos: BTreeSet<u8>,
    /// The rules that match.
    pub matched: BTreeSet<u32>,
    /// The rules that are excused, with the exceptions that excuse them.
    pub excused: BTreeSet<Excused>,
}

/// Decides about an event under a program.
pub fn decide(program: &Program, event: &Event, mode: Mode) -> Expected {
    Oracle::new(program).decide(event, mode)
}

/// A program with its regular expressions compiled once.
pub struct Oracle<'p> {
    program: &'p Program,
    regexes: RefCell<HashMap<String, Option<meta::Regex>>>,
}

impl<'p> Oracle<'p> {
    /// An oracle for `program`.
    pub fn new(program: &'p Program) -> Self {
        Self { program, regexes: RefCell::new(HashMap::new()) }
    }

    /// Decides about an event.
    pub fn decide(&self, event: &Event, mode: Mode) -> Expected {
        let mut expected = Expected {
            verdict: Action::Pass,
            would: Action::Pass,
            errnos: BTreeSet::new(),
            matched: BTreeSet::new(),
            excused: BTreeSet::new(),
        };
        let mut in_force = Vec::new();
        for (index, rule) in (0u32..).zip(&self.program.rules) {
            let about = |clause: &&Clause| clause.family == event.family;
            let matches =
                rule.clauses.iter().filter(about).any(|clause| self.clause(rule, clause, event));
            if !matches {
                continue;
            }
            let excuses: Vec<u16> = rule
                .exceptions
                .iter()
                .filter(about)
                .filter(|clause| self.exception(rule, clause, event))
                .map(|clause| clause.origin)
                .collect();
            if !excuses.is_empty() {
                let all =
                    excuses.iter().map(|exception| Excused { rule: index, exception: *exception });
                expected.excused.extend(all);
                continue;
            }
            expected.matched.insert(index);
            expected.would = expected.would.max(rule.action);
            if rule.mode == Mode::Enforce && (mode == Mode::Enforce || rule.action == Action::Alert)
            {
                in_force.push(rule);
                expected.verdict = expected.verdict.max(rule.action);
            }
        }
        let deciding = in_force.iter().filter(|rule| rule.action == expected.verdict);
        expected.errnos = deciding.map(|rule| rule.errno.max(1)).collect();
        if expected.errnos.is_empty() {
            expected.errnos.insert(0);
        }
        expected
    }

    /// Whether a match holds: it is about one of the acts that the event is.
    fn clause(&self, rule: &Rule, clause: &Clause, event: &Event) -> bool {
        clause.acts & ACT_COMBINATIONS[event.act as usize] != 0
            && self.literals(clause, event, rule.on_fault == OnFault::Block)
    }

    /// Whether an exception holds: it is about every act that the event is and that the rule is about.
    fn exception(&self, rule: &Rule, exception: &Clause, event: &Event) -> bool {
        for bit in 0..16 {
            let act = 1 << bit;
            let happens = ACT_COMBINATIONS[event.act as usize] & act != 0;
            let about = rule
                .clauses
                .iter()
                .any(|clause| clause.family == event.family && clause.acts & act != 0);
            if happens && about && exception.acts & act == 0 {
                return false;
            }
        }
        exception.acts & ACT_COMBINATIONS[event.act as usize] != 0
            && self.literals(exception, event, rule.on_fault == OnFault::Pass)
    }

    fn literals(&self, clause: &Clause, event: &Event, if_unknown: bool) -> bool {
        clause.literals.iter().all(|literal| self.literal(literal, event, if_unknown))
    }

    fn literal(&self, literal: &Literal, event: &Event, if_unknown: bool) -> bool {
        match self.test(&literal.test, event) {
            None => if_unknown,
            Some(truth) => truth != literal.negated,
        }
    }

    /// `None` when the fact could not be learned.
    fn test(&self, test: &Test, event: &Event) -> Option<bool> {
        match test {
            Test::Text { fact, patterns } => match event.value(*fact) {
                Value::Text(text) => Some(self.any(patterns, text)),
                other => plain(other),
            },
            Test::Number { fact, ranges } => match event.value(*fact) {
                Value::Number(value) => {
                    Some(ranges.iter().any(|(low, high)| low <= value && value <= high))
                }
                other => plain(other),
            },
            Test::Flags { fact, mask } => match event.value(*fact) {
                Value::Number(value) => Some(value & mask != 0),
                other => plain(other),
            },
            Test::Address { fact, v4, v6, .. } => match event.value(*fact) {
                Value::Address(Address::V4(value)) => {
                    Some(v4.iter().any(|(low, high)| low <= value && value <= high))
                }
                Value::Address(Address::V6(upper, lower)) => {
                    let value = u128::from(*upper) << 64 | u128::from(*lower);
                    Some(v6.iter().any(|(low, high)| *low <= value && value <= *high))
                }
                other => plain(other),
            },
            Test::Ancestor { patterns } => self.some(patterns, &event.ancestors),
            Test::Argument { patterns } => self.some(patterns, &event.args),
            Test::Capabilities { mask } => {
                event.capabilities.map(|held| (0..64).any(|one| held & mask & (1 << one) != 0))
            }
        }
    }

    fn some(&self, patterns: &[Pattern], strings: &Strings) -> Option<bool> {
        match strings {
            Strings::Known(all) => Some(all.iter().any(|text| self.any(patterns, text))),
            Strings::Unknown => None,
        }
    }

    fn any(&self, patterns: &[Pattern], text: &[u8]) -> bool {
        patterns.iter().any(|pattern| self.matches(pattern, text))
    }

    /// Whether one pattern matches a string.
    pub fn matches(&self, pattern: &Pattern, text: &[u8]) -> bool {
        match pattern {
            Pattern::Exact(bytes) => text == bytes,
            Pattern::Prefix(bytes) => text.starts_with(bytes),
            Pattern::Suffix(bytes) => text.ends_with(bytes),
            Pattern::Contains(bytes) => {
                bytes.is_empty() || text.windows(bytes.len()).any(|window| window == bytes)
            }
            Pattern::Glob(glob) => glob::matches(glob, text),
            Pattern::Regex(regex) => {
                let mut regexes = self.regexes.borrow_mut();
                let compiled =
                    regexes.entry(regex.clone()).or_insert_with(|| compile(regex)).as_ref();
                compiled.is_some_and(|regex| regex.is_match(text))
            }
        }
    }
}

fn compile(regex: &str) -> Option<meta::Regex> {
    meta::Regex::builder()
        .syntax(syntax::Config::new().unicode(false).utf8(false).dot_matches_new_line(true))
        .configure(meta::Config::new().utf8_empty(false))
        .build(regex)
        .ok()
}

/// A value that no test on it can be true of.
fn plain(value: &Value) -> Option<bool> {
    match value {
        Value::Unknown => None,
        Value::Absent | Value::Number(_) | Value::Text(_) | Value::Address(_) => Some(false),
    }
}
