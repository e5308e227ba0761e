//! Small random programs and events that meet often: few names, few numbers, every kind of test.
//!
//! Driven by bytes, so that the property tests and the fuzzer share it. When the bytes run out every choice is the
//! first one.

use interdict_abi::ids::{Act, Action, Fact, Family, Mode};

use crate::{
    ir::{Clause, Literal, OnFault, Pattern, Program, Rule, Test},
    meta::{ExceptionMeta, Metadata, RuleMeta, Severity},
    run::{Address, Event, Strings, Value},
};

/// Choices taken from bytes.
#[derive(Debug)]
pub struct Choices<'a> {
    bytes: &'a [u8],
    calm: bool,
}

impl<'a> Choices<'a> {
    /// Choices from `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, calm: false }
    }

    /// The same without patterns that multiply an automaton: for programs of many rules.
    #[must_use]
    pub fn calm(self) -> Self {
        Self { calm: true, ..self }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let Some((byte, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        usize::from(*byte) % bound.max(1)
    }

    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == of - 1
    }

    fn one<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn several<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }
}

const NAMES: &[&str] = &["a", "b", "ab", "ba", "etc", "x.so", "a.sh", "\n", "é", ".b", ""];

const GLOBS: &[&str] = &[
    "*",
    "**",
    "?",
    "a*",
    "*.so",
    "*a*",
    "[ab]",
    "[!a]",
    "[a-e]?",
    "{a,b}",
    "{ab,etc,a*}",
    "a**b",
    "{**,a}",
    "\\*",
    "[]a]",
    "{a,{b,x}.so}",
    "**a",
    "b**",
    "[^b]*",
];

const REGEXES: &[&str] = &[
    "a",
    "^/a",
    "b$",
    "^/(a|b)+$",
    "[^/]*\\.so$",
    "/a.*/b",
    "(?i)ETC",
    "^$",
    "a{2,3}",
    "\\bab\\b",
    "(?m)^a",
    "/[a-b]/",
    "^.b",
    "(^|/)a($|/)",
    "x?",
    "(?:a|ab)(?:b|$)",
    "\\Bb",
];

const NUMBERS: &[u32] =
    &[0, 1, 2, 3, 7, 80, 443, 1000, 1023, 1024, 65_535, 65_536, 65_537, u32::MAX - 1, u32::MAX];

const ADDRESSES_V6: &[u128] =
    &[0, 1, 2, 0xfe80 << 112, (0xfe80 << 112) + 5, 0x2001_0db8 << 96, u128::MAX];

const TEXTS: &[Fact] = &[
    Fact::Path,
    Fact::Name,
    Fact::Exe,
    Fact::ParentExe,
    Fact::TargetExe,
    Fact::Comm,
    Fact::SecondPath,
    Fact::Cwd,
    Fact::DnsName,
    Fact::PodNamespace,
    Fact::PodLabels,
];

const NUMERIC: &[Fact] = &[
    Fact::Uid,
    Fact::RemotePort,
    Fact::Number,
    Fact::ObjectMode,
    Fact::StartAge,
    Fact::TargetUid,
    Fact::Argument5,
    Fact::Error,
    Fact::Duration,
];

const CAPABILITIES: &[u64] = &[0, 1, 2, 3, 1 << 21, 1 << 40, 1 << 40 | 1, u64::MAX];

const FLAGS: &[Fact] = &[Fact::ObjectFlags, Fact::ProcessFlags];

fn path(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut path = Vec::new();
    for _ in 0..choices.below(4) {
        path.push(b'/');
        path.extend_from_slice(choices.one(NAMES).as_bytes());
    }
    if path.is_empty() || choices.chance(8) {
        path.extend_from_slice(choices.one(NAMES).as_bytes());
    }
    path
}

fn text(choices: &mut Choices<'_>, fact: Fact) -> Vec<u8> {
    match fact {
        Fact::Name | Fact::Comm => choices.one(NAMES).as_bytes().to_vec(),
        _ => path(choices),
    }
}

fn glob(choices: &mut Choices<'_>) -> String {
    let mut glob = String::new();
    for at in 0..choices.below(4) + 1 {
        if at > 0 || !choices.chance(4) {
            glob.push('/');
        }
        glob.push_str(if choices.chance(2) { choices.one(GLOBS) } else { choices.one(NAMES) });
    }
    glob
}

fn pattern(choices: &mut Choices<'_>, fact: Fact) -> Pattern {
    match choices.below(if choices.calm { 3 } else { 8 }) {
        0 | 1 => Pattern::Exact(text(choices, fact)),
        2 => Pattern::Prefix(text(choices, fact)),
        3 => Pattern::Suffix(text(choices, fact)),
        4 => Pattern::Contains(choices.one(NAMES).as_bytes().to_vec()),
        5 => Pattern::Regex(choices.one(REGEXES).to_owned()),
        _ => Pattern::Glob(match fact {
            Fact::Name | Fact::Comm => choices.one(GLOBS).to_owned(),
            _ => glob(choices),
        }),
    }
}

fn range<T: Copy + Ord>(choices: &mut Choices<'_>, from: &[T]) -> (T, T) {
    let (one, other) = (choices.one(from), choices.one(from));
    if choices.chance(2) { (one, one) } else { (one.min(other), one.max(other)) }
}

fn literal(choices: &mut Choices<'_>) -> Literal {
    let patterns = |choices: &mut Choices<'_>, fact| {
        let mut patterns = choices.several(2, |choices| pattern(choices, fact));
        patterns.push(pattern(choices, fact));
        patterns
    };
    let test = match choices.below(11) {
        0..=4 => {
            let fact = choices.one(TEXTS);
            Test::Text { fact, patterns: patterns(choices, fact) }
        }
        5 => Test::Number {
            fact: choices.one(NUMERIC),
            ranges: choices.several(3, |choices| range(choices, NUMBERS)),
        },
        6 => Test::Flags { fact: choices.one(FLAGS), mask: choices.below(8) as u32 },
        7 => Test::Address {
            fact: Fact::RemoteIp,
            v4: choices.several(3, |choices| range(choices, NUMBERS)),
            v6: choices.several(3, |choices| range(choices, ADDRESSES_V6)),
            from: Vec::new(),
        },
        8 => Test::Ancestor { patterns: patterns(choices, Fact::Exe) },
        9 => Test::Capabilities { mask: choices.one(CAPABILITIES) },
        _ => Test::Argument { patterns: patterns(choices, Fact::Path) },
    };
    Literal { negated: choices.chance(3), test }
}

const FAMILIES: &[Family] =
    &[Family::File, Family::File, Family::Exec, Family::Net, Family::System, Family::Syscall];

fn acts(family: Family) -> Vec<Act> {
    Act::ALL.iter().copied().filter(|act| act.family() == family).collect()
}

fn clause(choices: &mut Choices<'_>, family: Family, origin: u16) -> Clause {
    let all = acts(family);
    let mut mask = 0;
    for _ in 0..choices.below(3) + 1 {
        // The first few: reading and writing often meet in one open.
        mask |= all[choices.below(all.len().min(5))].bit();
    }
    if choices.chance(3) {
        mask = all.iter().fold(0, |mask, act| mask | act.bit());
    }
    let set_facts = |literal: &Literal| {
        matches!(
            literal.test,
            Test::Ancestor { .. } | Test::Argument { .. } | Test::Capabilities { .. }
        )
    };
    let mut literals = choices.several(3, literal);
    let mut carried = 0;
    literals.retain(|literal| {
        carried += usize::from(set_facts(literal));
        !set_facts(literal) || carried <= 4
    });
    Clause { family, acts: mask, literals, origin }
}

fn rule(choices: &mut Choices<'_>, number: usize) -> Rule {
    let family = choices.one(FAMILIES);
    let mut clauses = choices.several(2, |choices| clause(choices, family, 0));
    clauses.push(clause(choices, family, 0));
    if choices.chance(6) {
        let other = choices.one(FAMILIES);
        clauses.push(clause(choices, other, 0));
    }
    let mut exceptions = Vec::new();
    for origin in 0..choices.below(3) {
        exceptions.push(clause(choices, family, origin as u16));
    }
    Rule {
        id: format!("R{number}"),
        action: choices.one(&[Action::Alert, Action::Block, Action::Kill]),
        errno: choices.one(&[1, 13, 2]),
        mode: choices.one(&[Mode::Enforce, Mode::Enforce, Mode::Audit]),
        on_fault: choices.one(&[OnFault::Block, OnFault::Pass]),
        clauses,
        exceptions,
        narrowed: Vec::new(),
    }
}

/// A program of up to `most` rules.
pub fn program(choices: &mut Choices<'_>, most: usize) -> Program {
    let count = choices.below(most) + 1;
    Program { rules: (0..count).map(|number| rule(choices, number)).collect() }
}

/// An event that programs of [`program`] are about.
pub fn event(choices: &mut Choices<'_>) -> Event {
    let family = choices.one(FAMILIES);
    let all = acts(family);
    let mut event = Event::new(all[choices.below(all.len().min(5))]);
    if family == Family::File && choices.chance(4) {
        event.act = interdict_abi::ids::READ_AND_WRITE;
    }
    let mut give = |choices: &mut Choices<'_>, fact: Fact, value: Value| {
        let value = match choices.below(16) {
            0 => Value::Absent,
            1 => Value::Unknown,
            _ => value,
        };
        event = event.clone().with(fact, value);
    };
    for fact in TEXTS {
        let value = Value::Text(text(choices, *fact));
        give(choices, *fact, value);
    }
    for fact in NUMERIC {
        let value = Value::Number(choices.one(NUMBERS));
        give(choices, *fact, value);
    }
    for fact in FLAGS {
        let value = Value::Number(choices.below(8) as u32);
        give(choices, *fact, value);
    }
    let address = if choices.chance(2) {
        let address = choices.one(ADDRESSES_V6);
        Address::v6((address >> 64) as u64, address as u64)
    } else {
        Address::V4(choices.one(NUMBERS))
    };
    give(choices, Fact::RemoteIp, Value::Address(address));
    let strings = |choices: &mut Choices<'_>| {
        if choices.chance(12) { Strings::Unknown } else { Strings::Known(choices.several(3, path)) }
    };
    event.ancestors = strings(choices);
    event.args = strings(choices);
    event.capabilities = (!choices.chance(12)).then(|| choices.one(CAPABILITIES));
    event
}

/// Metadata that fits a program made up for a test.
pub fn metadata(program: &Program) -> Metadata {
    let rules = program.rules.iter().map(|rule| RuleMeta {
        line: 0,
        severity: Severity::Info,
        action: rule.action.name().to_owned(),
        mode: rule.mode.name().to_owned(),
        exceptions: vec![
            ExceptionMeta {
                name: String::new(),
                owner: String::new(),
                reason: String::new(),
                expires: String::new(),
                line: 0,
            };
            rule.exceptions
                .iter()
                .map(|clause| usize::from(clause.origin) + 1)
                .max()
                .unwrap_or(0)
        ],
        narrowed: rule.narrowed.clone(),
        ..RuleMeta::of(&rule.id)
    });
    Metadata { rules: rules.collect(), ..Metadata::default() }
}
