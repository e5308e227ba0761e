//! One checked test to one test on a fact of one act.

use interdict_abi::ids::{Act, Calling, Fact, SetFact, process_flags};

use super::label;
use crate::{
    check::{Leaf, LeafTest},
    field::Resolved,
    ir::{Pattern, Test},
    parse::feed::Addresses,
};

/// Types of files there are, as the upper bits of a mode.
const TYPES: u32 = 16;

/// The test of a leaf for an act. `None` for a field the act does not have, which `check` has refused already.
pub(super) fn test(leaf: &Leaf, act: Act) -> Option<Test> {
    let resolved = leaf.field.resolve(act).ok()?;
    Some(match (resolved, &leaf.test) {
        (Resolved::Fact(Fact::ContainerImage), LeafTest::Patterns(patterns)) => Test::Text {
            fact: Fact::ContainerImage,
            patterns: patterns.iter().flat_map(image).collect(),
        },
        (Resolved::Fact(Fact::PodLabels), LeafTest::Patterns(patterns)) => Test::Text {
            fact: Fact::PodLabels,
            patterns: patterns.iter().filter_map(label::pattern).collect(),
        },
        (Resolved::Fact(Fact::Privileged), LeafTest::True) => {
            Test::Text { fact: Fact::Privileged, patterns: vec![Pattern::Exact(b"yes".to_vec())] }
        }
        (Resolved::Fact(fact), LeafTest::Patterns(patterns)) => {
            Test::Text { fact, patterns: patterns.to_vec() }
        }
        (Resolved::Fact(fact), LeafTest::Ranges(ranges)) => {
            Test::Number { fact, ranges: ranges.to_vec() }
        }
        (Resolved::Fact(fact), LeafTest::Addresses(addresses)) => {
            let Addresses { v4, v6, from } = addresses.as_ref().clone();
            Test::Address { fact, v4, v6, from }
        }
        (Resolved::Directory(fact), LeafTest::Patterns(patterns)) => {
            Test::Text { fact, patterns: patterns.iter().map(below).collect() }
        }
        (Resolved::LastOf(fact), LeafTest::Patterns(patterns)) => {
            Test::Text { fact, patterns: patterns.iter().map(ending).collect() }
        }
        (Resolved::TypeBits, LeafTest::Ranges(ranges)) => Test::Number {
            fact: Fact::ObjectMode,
            ranges: ranges.iter().map(|(first, last)| (*first, last | 0o7777)).collect(),
        },
        (Resolved::PermissionBits, LeafTest::Ranges(ranges)) => Test::Number {
            fact: Fact::ObjectMode,
            ranges: (0..TYPES)
                .flat_map(|kind| {
                    ranges.iter().map(move |(first, last)| {
                        (kind << 12 | first, kind << 12 | (*last).min(0o7777))
                    })
                })
                .collect(),
        },
        (Resolved::Flags(fact, mask), LeafTest::True) => Test::Flags { fact, mask },
        (Resolved::Container, LeafTest::Patterns(patterns)) => {
            Test::Text { fact: Fact::ContainerId, patterns: patterns.to_vec() }
        }
        (Resolved::Container, LeafTest::True) => {
            Test::Flags { fact: Fact::ProcessFlags, mask: process_flags::CONTAINER }
        }
        (Resolved::FlagNumbers(fact), LeafTest::Ranges(ranges)) => {
            Test::Flags { fact, mask: bits(ranges) as u32 }
        }
        (Resolved::Capabilities, LeafTest::Ranges(ranges)) => {
            Test::Capabilities { mask: bits(ranges) }
        }
        (Resolved::Calling, LeafTest::Ranges(ranges)) => Test::Number {
            fact: Fact::Number,
            ranges: ranges
                .iter()
                .map(|(first, last)| {
                    (first << Calling::SHIFT, last << Calling::SHIFT | ((1 << Calling::SHIFT) - 1))
                })
                .collect(),
        },
        (Resolved::Set(SetFact::Ancestors), LeafTest::Patterns(patterns)) => {
            Test::Ancestor { patterns: patterns.to_vec() }
        }
        (Resolved::Set(SetFact::Args), LeafTest::Patterns(patterns)) => {
            Test::Argument { patterns: patterns.to_vec() }
        }
        (
            Resolved::Fact(_)
            | Resolved::Directory(_)
            | Resolved::LastOf(_)
            | Resolved::TypeBits
            | Resolved::PermissionBits
            | Resolved::Flags(..)
            | Resolved::Set(_)
            | Resolved::Container
            | Resolved::FlagNumbers(_)
            | Resolved::Capabilities
            | Resolved::Calling,
            _,
        ) => return None,
    })
}

/// The bits with these numbers.
fn bits(ranges: &[(u32, u32)]) -> u64 {
    let all = ranges.iter().flat_map(|(first, last)| *first..=(*last).min(63));
    all.fold(0, |bits, number| bits | 1 << number)
}

/// The pattern of paths whose directory matches a pattern.
fn below(directory: &Pattern) -> Pattern {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match directory {
        Pattern::Exact(bytes) => {
            let path = text(bytes);
            let stem = path.trim_end_matches('/');
            Pattern::Glob(format!("{}/*", escape_glob(stem)))
        }
        Pattern::Glob(glob) => Pattern::Glob(format!("{glob}/*")),
        Pattern::Prefix(bytes) => {
            Pattern::Regex(format!("(?s-u)^{}.*/[^/]*$", regex_syntax::escape(&text(bytes))))
        }
        Pattern::Suffix(bytes) => {
            Pattern::Regex(format!("(?s-u){}/[^/]*$", regex_syntax::escape(&text(bytes))))
        }
        Pattern::Contains(bytes) => {
            Pattern::Regex(format!("(?s-u){}.*/[^/]*$", regex_syntax::escape(&text(bytes))))
        }
        Pattern::Regex(regex) => Pattern::Regex(regex.clone()),
    }
}

/// The pattern of paths whose last component matches a pattern. Names hold no `/`.
fn ending(name: &Pattern) -> Pattern {
    let text = |bytes: &[u8]| regex_syntax::escape(&String::from_utf8_lossy(bytes));
    match name {
        Pattern::Exact(bytes) => Pattern::Suffix([b"/", bytes.as_slice()].concat()),
        Pattern::Glob(glob) => Pattern::Glob(format!("**/{glob}")),
        Pattern::Suffix(bytes) => Pattern::Suffix(bytes.clone()),
        Pattern::Prefix(bytes) => Pattern::Regex(format!("(?s-u)/{}[^/]*$", text(bytes))),
        Pattern::Contains(bytes) => Pattern::Regex(format!("(?s-u){}[^/]*$", text(bytes))),
        // `check` refuses it: an expression may hold anchors of its own.
        Pattern::Regex(regex) => Pattern::Regex(regex.clone()),
    }
}

/// The patterns of full references to images of which one matches if a pattern matches one of its names: see
/// `told::image_names`.
fn image(name: &Pattern) -> Vec<Pattern> {
    let all =
        |make: &dyn Fn(&str) -> Pattern| IMPLIED.iter().map(|implied| make(implied)).collect();
    match name {
        Pattern::Exact(bytes) => {
            all(&|implied| Pattern::Exact([implied.as_bytes(), bytes.as_slice()].concat()))
        }
        Pattern::Prefix(bytes) => {
            all(&|implied| Pattern::Prefix([implied.as_bytes(), bytes.as_slice()].concat()))
        }
        Pattern::Glob(glob) => all(&|implied| Pattern::Glob(format!("{implied}{glob}"))),
        // Of a shorter name these say nothing that they do not say of the full one.
        Pattern::Suffix(_) | Pattern::Contains(_) => vec![name.clone()],
        // Refused by `check`.
        Pattern::Regex(_) => Vec::new(),
    }
}

/// What is left out of a name in front of it: registry and folder that are meant when none is said.
const IMPLIED: [&str; 4] = ["", "docker.io/", "library/", "docker.io/library/"];

fn escape_glob(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
