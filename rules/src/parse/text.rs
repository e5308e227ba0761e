//! Decoded text with the way back into the file.
//!
//! An expression may be written as a plain scalar, in quotes with escapes, or as a block over several lines. What is
//! checked is the decoded text; what is shown is the file. [`Text`] walks both at once and remembers, for every byte
//! of the decoded text, the byte of the file it came from. Where the two cannot be reconciled the whole scalar is
//! shown, never a wrong place.

use granit_parser::ScalarStyle;

use super::{source::Span, yaml::Scalar};

/// Decoded text and where each byte of it stands.
#[derive(Clone, Debug)]
pub struct Text {
    /// Decoded.
    pub text: String,
    /// The whole scalar in the file.
    pub span: Span,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    /// Byte `n` of the text is byte `start + n` of the file.
    Same(u32),
    /// One file offset per byte of the text, and one past the end.
    Table(Vec<u32>),
    /// Unknown.
    Whole,
}

impl Text {
    /// A text that stands in the file as it is.
    pub fn verbatim(text: impl Into<String>, span: Span) -> Self {
        Self { text: text.into(), span, origin: Origin::Same(span.start) }
    }

    /// The text of a scalar at `span` of `source`.
    pub fn of(scalar: &Scalar, span: Span, source: &str) -> Self {
        let written = source.get(span.start as usize..span.end as usize).unwrap_or("");
        let origin = if written == scalar.text {
            Origin::Same(span.start)
        } else {
            match align(&scalar.text, written, scalar.style) {
                Some(table) => {
                    Origin::Table(table.into_iter().map(|offset| span.start + offset).collect())
                }
                None => Origin::Whole,
            }
        };
        Self { text: scalar.text.clone(), span, origin }
    }

    /// The place of a byte range of the text.
    pub fn place(&self, start: usize, end: usize) -> Span {
        let (start, end) = (start.min(self.text.len()), end.min(self.text.len()));
        match &self.origin {
            Origin::Same(first) => Span {
                file: self.span.file,
                start: first + u32::try_from(start).unwrap_or(0),
                end: first + u32::try_from(end.max(start)).unwrap_or(0),
            },
            Origin::Table(table) => {
                let first = table.get(start).copied().unwrap_or(self.span.start);
                // The end is where the last byte's source ends, not where the next byte's begins.
                let last = if end > start {
                    let next = table.get(end).copied().unwrap_or(self.span.end);
                    let previous = table.get(end - 1).copied().unwrap_or(first);
                    // A line break and its indentation may lie between: then end after the last byte itself.
                    if next > previous + 6 { previous + 1 } else { next }
                } else {
                    first
                };
                Span { file: self.span.file, start: first, end: last.max(first) }
            }
            Origin::Whole => self.span,
        }
    }
}

/// For every byte of `text` (and one past it) the offset in `written` it came from. `None` if they do not agree.
fn align(text: &str, written: &str, style: ScalarStyle) -> Option<Vec<u32>> {
    let mut table = Vec::with_capacity(text.len() + 1);
    let mut at = match style {
        ScalarStyle::Plain => 0,
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => 1,
        ScalarStyle::Literal | ScalarStyle::Folded => {
            if written.starts_with(['|', '>']) {
                written.find('\n').unwrap_or(written.len())
            } else {
                0
            }
        }
    };
    let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
    let mut rest = text.char_indices().peekable();
    while let Some((_, character)) = rest.next() {
        let here = u32::try_from(at).ok()?;
        let next = written.get(at..)?.chars().next();
        if style == ScalarStyle::DoubleQuoted && next == Some('\\') {
            let (decoded, length) = escape(written.get(at..)?)?;
            match decoded {
                Some(decoded) if decoded == character => {
                    push(&mut table, here, character);
                    at += length;
                    continue;
                }
                Some(_) => return None,
                None => {
                    // An escaped line break stands for nothing: skip it with the indentation that follows.
                    at += length;
                    at += white(written.get(at..)?);
                    let here = u32::try_from(at).ok()?;
                    let next = written.get(at..)?.chars().next();
                    if next != Some(character) {
                        return None;
                    }
                    push(&mut table, here, character);
                    at += character.len_utf8();
                    continue;
                }
            }
        }
        if style == ScalarStyle::SingleQuoted && character == '\'' {
            if !written.get(at..)?.starts_with("''") {
                return None;
            }
            push(&mut table, here, character);
            at += 2;
            continue;
        }
        if character.is_ascii_whitespace() {
            let run = white(written.get(at..)?);
            let breaks = written.get(at..at + run)?.contains('\n');
            if !breaks && next == Some(character) {
                push(&mut table, here, character);
                at += 1;
                continue;
            }
            // A fold: all white space of the text here comes from all white space of the file here.
            push(&mut table, here, character);
            while let Some((_, more)) = rest.peek().copied() {
                if !more.is_ascii_whitespace() {
                    break;
                }
                rest.next();
                push(&mut table, here, more);
            }
            at += run;
            continue;
        }
        if block && next.is_some_and(|next| next.is_ascii_whitespace()) {
            // The first line of a block: its indentation is not part of the text.
            at += white(written.get(at..)?);
        }
        let here = u32::try_from(at).ok()?;
        if !written.get(at..)?.starts_with(character) {
            return None;
        }
        push(&mut table, here, character);
        at += character.len_utf8();
    }
    table.push(u32::try_from(at).ok()?);
    Some(table)
}

fn push(table: &mut Vec<u32>, at: u32, character: char) {
    for byte in 0..character.len_utf8() {
        table.push(at + u32::try_from(byte).unwrap_or(0));
    }
}

fn white(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t', '\n', '\r']).len()
}

/// What an escape in double quotes stands for (`None`: a line break that vanishes) and how long it is.
fn escape(written: &str) -> Option<(Option<char>, usize)> {
    let kind = written.chars().nth(1)?;
    let hexadecimal = |digits: usize| {
        let value = u32::from_str_radix(written.get(2..2 + digits)?, 16).ok()?;
        Some((Some(char::from_u32(value)?), 2 + digits))
    };
    let simple = |character: char| Some((Some(character), 1 + kind.len_utf8()));
    match kind {
        '0' => simple('\0'),
        'a' => simple('\x07'),
        'b' => simple('\x08'),
        't' | '\t' => simple('\t'),
        'n' => simple('\n'),
        'v' => simple('\x0b'),
        'f' => simple('\x0c'),
        'r' => simple('\r'),
        'e' => simple('\x1b'),
        ' ' => simple(' '),
        '"' => simple('"'),
        '/' => simple('/'),
        '\\' => simple('\\'),
        'N' => simple('\u{85}'),
        '_' => simple('\u{a0}'),
        'x' => hexadecimal(2),
        'u' => hexadecimal(4),
        'U' => hexadecimal(8),
        '\n' => Some((None, 2)),
        '\r' => Some((None, 3)),
        _ => None,
    }
}
