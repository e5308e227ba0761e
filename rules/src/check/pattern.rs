//! One string of a rule to one pattern.

use super::super::parse::expression::{Literal, Operator};
use crate::{
    diag::{Code, Diagnostic, Diagnostics},
    field::{Field, Type, domain},
    ir::Pattern,
};

/// Bytes of a process name the kernel keeps.
const NAME_BYTES: usize = 15;

/// Whether `==` reads this text as a glob.
pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{', '\\'])
}

/// Whatever is there.
pub(super) fn any() -> Pattern {
    Pattern::Regex("(?s-u:.)".to_owned())
}

/// The pattern a text is for `==` and `in`.
pub(super) fn equal(
    kind: Type,
    field: Option<&Field>,
    literal: &Literal,
    diagnostics: &mut Diagnostics,
) -> Option<Pattern> {
    sensible(kind, field, literal, Place::Whole, diagnostics)?;
    let text = &literal.text;
    match kind {
        Type::Path | Type::Name | Type::Image if is_glob(text) => glob(literal, diagnostics),
        _ => Some(Pattern::Exact(text.clone().into_bytes())),
    }
}

/// The pattern of a domain name; `listed` ones stand for everything below them too.
pub(super) fn domain(
    literal: &Literal,
    listed: bool,
    diagnostics: &mut Diagnostics,
) -> Option<Pattern> {
    let text = literal.text.as_str();
    let pattern = match text.strip_prefix("*.").or(text.strip_prefix("**.")) {
        Some(name) if listed => domain::below(name),
        None if listed => domain::below(text),
        Some(_) | None => domain::pattern(text),
    };
    match pattern {
        Ok(pattern) => Some(pattern),
        Err(reason) => {
            diagnostics.add(
                Diagnostic::error(
                    Code::WrongValue,
                    literal.span,
                    format!("`{text}` is not a domain name"),
                )
                .label(reason)
                .help("write for example \"evil.example\", or \"**.evil.example\" for everything below it too"),
            );
            None
        }
    }
}

/// The pattern of one of the text operators.
pub(super) fn operator(
    kind: Type,
    field: &Field,
    operator: Operator,
    literal: &Literal,
    diagnostics: &mut Diagnostics,
) -> Option<Pattern> {
    let bytes = || literal.text.clone().into_bytes();
    match operator {
        Operator::StartsWith => {
            sensible(kind, Some(field), literal, Place::Start, diagnostics)?;
            Some(Pattern::Prefix(bytes()))
        }
        Operator::EndsWith => {
            sensible(kind, Some(field), literal, Place::End, diagnostics)?;
            Some(Pattern::Suffix(bytes()))
        }
        Operator::Contains => {
            sensible(kind, Some(field), literal, Place::Inside, diagnostics)?;
            Some(Pattern::Contains(bytes()))
        }
        Operator::Glob => {
            sensible(kind, Some(field), literal, Place::Whole, diagnostics)?;
            glob(literal, diagnostics)
        }
        Operator::Matches => regex(literal, diagnostics),
        Operator::Equal
        | Operator::NotEqual
        | Operator::Less
        | Operator::LessEqual
        | Operator::Greater
        | Operator::GreaterEqual
        | Operator::In => equal(kind, Some(field), literal, diagnostics),
    }
}

/// Which part of the value a text is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Whole,
    Start,
    End,
    Inside,
}

/// Refuses texts that no value can ever be.
fn sensible(
    kind: Type,
    field: Option<&Field>,
    literal: &Literal,
    place: Place,
    diagnostics: &mut Diagnostics,
) -> Option<()> {
    let text = literal.text.as_str();
    let pointless = |message: &str, help: String| {
        Some(
            Diagnostic::error(Code::Pointless, literal.span, message)
                .label("no value is ever like this")
                .help(help),
        )
    };
    let wrong = if text.is_empty() {
        pointless("the text is empty", "to ask whether there is a value, write `exists`".into())
    } else if text.contains('\0') {
        pointless("the text holds a zero byte", "no path or argument can hold one".into())
    } else if kind == Type::Path {
        let starts = matches!(place, Place::Whole | Place::Start);
        let wild = text.starts_with(['*', '?', '[', '{', '\\']) && place == Place::Whole;
        if starts && !text.starts_with('/') && !wild {
            let help = if text.starts_with('~') {
                "write the whole path, or `/home/*/...` for all users".into()
            } else {
                format!("paths start with `/`: write `/{text}`, or `**/{text}` below any directory")
            };
            pointless("the path does not start with `/`", help)
        } else if text.contains("//") || text.contains("/./") || text.contains("/../") {
            pointless(
                "the path is not in its shortest form",
                "the kernel gives paths without `//`, `/./` and `/../`".into(),
            )
        } else if place == Place::Whole && text.len() > 1 && text.ends_with('/') {
            pointless(
                "the path ends with `/`",
                format!("write `{text}**` for everything below, or leave out the last `/`"),
            )
        } else {
            None
        }
    } else if place == Place::Whole
        && !text.contains('=')
        && field.is_some_and(|field| field.name == "k8s.labels")
    {
        pointless(
            "a label is `key=value`",
            format!("write for example \"{text}=web\", or `startswith \"{text}=\"` for any value"),
        )
    } else if kind == Type::Name {
        let comm = field.is_some_and(|field| field.name == "process.name");
        if text.contains('/') {
            let whole = match field.map(|field| field.name) {
                Some("file.name") => "file.path == \"/etc/shadow\"",
                Some("exec.name") => "exec.path == \"/usr/bin/nc\"",
                _other => "process.exe == \"/usr/bin/nc\"",
            };
            pointless("a name holds no `/`", format!("compare the whole path, as in `{whole}`"))
        } else if comm && text.len() > NAME_BYTES && !is_glob(text) {
            pointless(
                "the kernel keeps 15 bytes of a process name",
                format!("write \"{}\", or better compare `process.exe`", cut(text, NAME_BYTES)),
            )
        } else {
            None
        }
    } else {
        None
    };
    match wrong {
        Some(diagnostic) => {
            diagnostics.add(diagnostic);
            None
        }
        None => Some(()),
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A glob whose brackets and braces are closed.
fn glob(literal: &Literal, diagnostics: &mut Diagnostics) -> Option<Pattern> {
    let text = literal.text.as_str();
    let mut wrong = |start: usize, end: usize, message: &str, help: &str| {
        diagnostics.add(
            Diagnostic::error(Code::WrongPattern, literal.place(start, end), message)
                .help(help.to_owned()),
        );
    };
    let mut braces: Vec<usize> = Vec::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' if characters.next().is_none() => {
                wrong(at, at + 1, "the glob ends with `\\`", "write `\\\\` for a backslash");
                return None;
            }
            '\\' => {}
            '[' => {
                let mut closed = false;
                let mut first = true;
                while let Some((_, inner)) = characters.next() {
                    match inner {
                        ']' if !first => {
                            closed = true;
                            break;
                        }
                        '!' | '^' if first => continue,
                        '/' => {
                            wrong(
                                at,
                                text.len(),
                                "a set never matches `/`",
                                "take `/` out of the set",
                            );
                            return None;
                        }
                        '\\' => {
                            characters.next();
                        }
                        _ => {}
                    }
                    first = false;
                }
                if !closed {
                    wrong(at, text.len(), "the set is not closed", "write `\\[` for a bracket");
                    return None;
                }
            }
            '{' => braces.push(at),
            '}' if braces.pop().is_none() => {
                wrong(at, at + 1, "`}` closes nothing", "write `\\}` for a brace");
                return None;
            }
            '}' => {}
            '*' => {
                let mut stars = 1;
                let mut end = at + 1;
                while characters.peek().is_some_and(|(_, next)| *next == '*') {
                    characters.next();
                    stars += 1;
                    end += 1;
                }
                if stars > 2 {
                    wrong(at, end, "more than two stars", "`**` matches across components");
                    return None;
                }
            }
            _ => {}
        }
    }
    if let Some(at) = braces.pop() {
        wrong(at, text.len(), "the brace is not closed", "write `\\{` for a brace");
        return None;
    }
    Some(Pattern::Glob(text.to_owned()))
}

/// A regular expression that can be parsed.
fn regex(literal: &Literal, diagnostics: &mut Diagnostics) -> Option<Pattern> {
    // As the automata are built: over bytes.
    let parsed = regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .nest_limit(50)
        .build()
        .parse(&literal.text);
    let error = match parsed {
        Ok(_) => return Some(Pattern::Regex(literal.text.clone())),
        Err(error) => error,
    };
    let (span, reason) = match &error {
        regex_syntax::Error::Parse(error) => (error.span(), error.kind().to_string()),
        regex_syntax::Error::Translate(error) => (error.span(), error.kind().to_string()),
        other => {
            let text = other.to_string();
            diagnostics.add(
                Diagnostic::error(
                    Code::WrongPattern,
                    literal.span,
                    "the regular expression cannot be read",
                )
                .label(text),
            );
            return None;
        }
    };
    let end = span.end.offset.max(span.start.offset + 1);
    diagnostics.add(
        Diagnostic::error(
            Code::WrongPattern,
            literal.place(span.start.offset, end),
            "the regular expression cannot be read",
        )
        .maybe_help(way_out(&reason))
        .label(reason),
    );
    None
}

/// What to write instead of what cannot be decided byte by byte.
fn way_out(reason: &str) -> Option<String> {
    let way = if reason.contains("look-around") {
        "say what must be there, and leave out the rest by `and not`"
    } else if reason.contains("backreferences") {
        "write the alternatives out, as in `(aa|bb)`"
    } else {
        return None;
    };
    Some(way.to_owned())
}
