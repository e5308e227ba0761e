//! Values as written to values of a type.

use std::rc::Rc;

use super::{names::Values, pattern};
use crate::{
    diag::{Code, Diagnostic, Diagnostics, closest},
    field::{
        Field, PERMISSION_BITS, Type, Words, number_word, number_words, syscall_names,
        syscall_numbers,
    },
    parse::{
        expression::Literal,
        feed::{self, Addresses},
    },
};

/// Reads values of one type. Those that cannot be read are said and left out.
pub(super) fn values<'l>(
    kind: Type,
    field: Option<&Field>,
    literals: impl Iterator<Item = &'l Literal>,
    diagnostics: &mut Diagnostics,
) -> Values {
    match kind {
        Type::Path | Type::Name | Type::Text | Type::Image | Type::Container => {
            let mut patterns: Vec<_> = literals
                .filter_map(|literal| {
                    readable(kind, field, literal, diagnostics)
                        .then(|| pattern::equal(kind, field, literal, diagnostics))?
                })
                .collect();
            patterns.sort();
            patterns.dedup();
            Values::Patterns(Rc::new(patterns))
        }
        Type::Domain => {
            // What a list holds is a name and everything below it; what a rule compares with is as it is written.
            let listed = field.is_none();
            let mut patterns: Vec<_> = literals
                .filter_map(|literal| pattern::domain(literal, listed, diagnostics))
                .collect();
            patterns.sort();
            patterns.dedup();
            Values::Patterns(Rc::new(patterns))
        }
        Type::Word(Words::Syscall) => {
            let numbers = literals.filter_map(|literal| syscall(literal, diagnostics)).flatten();
            let mut ranges: Vec<(u32, u32)> = numbers.map(|number| (*number, *number)).collect();
            ranges.sort_unstable();
            Values::Ranges(Rc::new(ranges))
        }
        Type::Number(_) | Type::Port | Type::Word(_) => {
            let mut ranges: Vec<_> =
                literals.filter_map(|literal| number(kind, literal, diagnostics)).collect();
            ranges.sort_unstable();
            ranges.dedup();
            Values::Ranges(Rc::new(ranges))
        }
        Type::Address => {
            let mut addresses = Addresses::default();
            for literal in literals {
                if let Some(range) = address(literal, diagnostics) {
                    addresses.add(range);
                }
            }
            addresses.normalise();
            Values::Addresses(Rc::new(addresses))
        }
        Type::Flag => Values::Broken,
    }
}

/// Whether a literal may stand for text: quoted, or a path that shows itself as one.
pub(super) fn readable(
    kind: Type,
    field: Option<&Field>,
    literal: &Literal,
    diagnostics: &mut Diagnostics,
) -> bool {
    if literal.quoted() || literal.text.starts_with('/') {
        return true;
    }
    let of = field.map_or(kind.name(), |field| field.name);
    diagnostics.add(
        Diagnostic::error(
            Code::Unquoted,
            literal.span,
            format!("`{}` is not a list, and text needs quotes", literal.text),
        )
        .label(format!("compared with `{of}`"))
        .help(format!("write \"{}\"", literal.text)),
    );
    false
}

/// The numbers of a system call.
fn syscall(literal: &Literal, diagnostics: &mut Diagnostics) -> Option<&'static [u32]> {
    let found = syscall_numbers(&literal.text);
    if found.is_none() {
        let diagnostic = Diagnostic::error(
            Code::WrongValue,
            literal.span,
            format!("there is no system call `{}`", literal.text),
        );
        diagnostics.add(match closest(&literal.text, syscall_names()) {
            Some(meant) => diagnostic.help(format!("did you mean `{meant}`?")),
            None => diagnostic
                .help("write its name: numbers differ between the ways of calling the kernel"),
        });
    }
    found
}

/// A number, a name of a number, or a range.
pub(super) fn number(
    kind: Type,
    literal: &Literal,
    diagnostics: &mut Diagnostics,
) -> Option<(u32, u32)> {
    let text = literal.text.as_str();
    if let Type::Word(words) = kind
        && let Some(number) = number_word(words, text)
    {
        return Some((number, number));
    }
    let max = match kind {
        Type::Number(max) => max,
        Type::Port => 65_535,
        Type::Word(words) => words.largest(),
        Type::Path
        | Type::Name
        | Type::Text
        | Type::Image
        | Type::Domain
        | Type::Address
        | Type::Flag
        | Type::Container => u32::MAX,
    };
    if kind == PERMISSION_BITS && decimal(text) {
        diagnostics.add(
            Diagnostic::error(
                Code::WrongValue,
                literal.span,
                format!("`{text}` is decimal, and permission bits are octal"),
            )
            .label("not the bits that `chmod` shows like this")
            .help(format!("write `{}`", octal(text))),
        );
        return None;
    }
    let bounds = match text.split_once("..").or_else(|| text.split_once('-')) {
        Some((first, last)) => digits(first).zip(digits(last)),
        None => digits(text).map(|number| (number, number)),
    };
    let Some((first, last)) = bounds else {
        let mut diagnostic = Diagnostic::error(
            Code::WrongValue,
            literal.span,
            format!("`{text}` is not a {}", kind.name()),
        );
        diagnostic = match kind {
            Type::Word(words) => {
                let names: Vec<&str> = number_words(words).iter().map(|(name, _)| *name).collect();
                match closest(text, names.iter().copied()) {
                    Some(meant) => diagnostic.help(format!("did you mean `{meant}`?")),
                    None => diagnostic.help(format!("possible here: {}", names.join(", "))),
                }
            }
            _ if text == "root" => diagnostic
                .label("user names are not known in the kernel")
                .help("write the number: root is 0"),
            _ if text.len() > 1 && text.starts_with('0') => diagnostic
                .label("a number that starts with 0")
                .help(format!("octal numbers are written `0o{}`", text.trim_start_matches('0'))),
            _ => diagnostic
                .label("expected a number such as `1000`, or a range such as `1000..1999`"),
        };
        diagnostics.add(diagnostic);
        return None;
    };
    if last < first {
        diagnostics.add(
            Diagnostic::error(Code::Pointless, literal.span, "the range ends before it starts")
                .help(format!("write `{last}..{first}`")),
        );
        return None;
    }
    let (first, last) = match (u32::try_from(first), u32::try_from(last)) {
        (Ok(first), Ok(last)) if last <= max => (first, last),
        _ => {
            diagnostics.add(
                Diagnostic::error(
                    Code::Pointless,
                    literal.span,
                    format!("`{text}` is above the largest {}", kind.name()),
                )
                .label(format!("the largest is {max}")),
            );
            return None;
        }
    };
    Some((first, last))
}

/// Whether a number or an end of a range has decimal digits only, and more than one: one means the same in octal.
fn decimal(text: &str) -> bool {
    let plain = |end: &str| end.len() > 1 && end.bytes().all(|byte| byte.is_ascii_digit());
    text.split("..").any(|end| plain(end.trim()) && !end.trim().starts_with('0'))
}

/// The same digits, in octal.
fn octal(text: &str) -> String {
    let ends: Vec<String> = text
        .split("..")
        .map(|end| match end.trim() {
            end if end.starts_with('0') => end.to_owned(),
            end => format!("0o{end}"),
        })
        .collect();
    ends.join("..")
}

/// Decimal, `0x` or `0o`.
fn digits(text: &str) -> Option<u64> {
    let text = text.trim().replace('_', "");
    if let Some(text) = text.strip_prefix("0x") {
        return u64::from_str_radix(text, 16).ok();
    }
    if let Some(text) = text.strip_prefix("0o") {
        return u64::from_str_radix(text, 8).ok();
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok()
}

fn address(literal: &Literal, diagnostics: &mut Diagnostics) -> Option<feed::Range> {
    match feed::range(literal.text.as_bytes()) {
        Ok(range) => Some(range),
        Err(reason) => {
            let mut diagnostic = Diagnostic::error(
                Code::WrongValue,
                literal.span,
                format!("`{}` is not an address", literal.text),
            )
            .label(reason);
            if literal.text.contains(|character: char| character.is_ascii_alphabetic())
                && !literal.text.contains(':')
            {
                diagnostic = diagnostic
                    .help("addresses are numbers; names would have to be looked up, which the kernel cannot");
            } else if reason.contains("beyond its prefix") {
                diagnostic = diagnostic.help("write the first address of the block");
            }
            diagnostics.add(diagnostic);
            None
        }
    }
}
