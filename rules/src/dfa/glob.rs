//! Path globs: text to a list of alternatives, alternatives to a regular expression over bytes.
//!
//! `*` and `?` stay within a component, `**` crosses components, `[..]` is a set of bytes other than `/`, `{a,b}`
//! alternates, `\` takes the next character as it is. A component that is `**` may be absent: `/a/**/b` matches `/a/b`,
//! `**/b` matches `b`, `/a/**` matches `/a`. Braces are expanded before anything else, so that what stands beside a
//! `**` is known wherever it is written.

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, Repetition};

/// Alternatives one glob may expand to. More is a list, and is better written as one.
pub const EXPANSIONS: usize = 1_024;

/// Braces inside braces.
const DEPTH: usize = 16;

/// Why a glob is not one, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {at}")]
pub struct GlobError {
    /// Byte offset in the glob.
    pub at: usize,
    /// What is wrong there.
    pub fault: GlobFault,
}

/// What can be wrong with a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobFault {
    /// Nothing follows a backslash.
    #[error("a `\\` with nothing after it")]
    Escape,
    /// No `]`.
    #[error("a `[` without its `]`")]
    Class,
    /// `[z-a]`.
    #[error("a range that ends before it starts")]
    Range,
    /// `[[:alpha:]]`.
    #[error("named classes are not known; list the characters")]
    NamedClass,
    /// A character of several bytes in `[..]`, which are sets of bytes.
    #[error("only ASCII characters can stand in `[..]`; use `{{a,b}}`")]
    WideClass,
    /// No `}`.
    #[error("a `{{` without its `}}`")]
    Brace,
    /// Braces too deep.
    #[error("more than 16 braces inside each other")]
    Deep,
    /// More than [`EXPANSIONS`] alternatives.
    #[error("braces expand to more than 1024 alternatives; write a list")]
    Wide,
    /// A zero byte: no path holds one.
    #[error("a zero byte, which no path can hold")]
    Zero,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Byte(u8),
    One,
    Star,
    DoubleStar,
    Set(ClassBytes),
}

/// A parsed glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    alternatives: Vec<Vec<Piece>>,
}

impl Glob {
    /// Parses a glob.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        let mut parser = Parser { text: text.as_bytes(), at: 0 };
        let alternatives = parser.sequence(0)?;
        Ok(Self { alternatives })
    }

    /// The expression that matches exactly what the glob matches, if anchored at both ends.
    pub fn expression(&self) -> Hir {
        Hir::alternation(self.alternatives.iter().map(|pieces| alternative(pieces)).collect())
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn fault<T>(&self, at: usize, fault: GlobFault) -> Result<T, GlobError> {
        Err(GlobError { at, fault })
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Reads up to the end, or up to the `,` or `}` that ends an alternative of the brace around it.
    fn sequence(&mut self, depth: usize) -> Result<Vec<Vec<Piece>>, GlobError> {
        let mut found = vec![Vec::new()];
        while let Some(byte) = self.peek() {
            let start = self.at;
            self.at += 1;
            let piece = match byte {
                b'\\' => match self.peek() {
                    Some(0) | None => return self.fault(start, GlobFault::Escape),
                    Some(next) => {
                        self.at += 1;
                        Piece::Byte(next)
                    }
                },
                b'?' => Piece::One,
                b'*' if self.peek() == Some(b'*') => {
                    while self.peek() == Some(b'*') {
                        self.at += 1;
                    }
                    Piece::DoubleStar
                }
                b'*' => Piece::Star,
                b'[' => Piece::Set(self.set(start)?),
                b'{' => {
                    let choices = self.brace(start, depth)?;
                    if found.len() * choices.len() > EXPANSIONS {
                        return self.fault(start, GlobFault::Wide);
                    }
                    found = found
                        .iter()
                        .flat_map(|head| choices.iter().map(|tail| [&head[..], tail].concat()))
                        .collect();
                    continue;
                }
                b',' | b'}' if depth > 0 => {
                    self.at = start;
                    break;
                }
                0 => return self.fault(start, GlobFault::Zero),
                other => Piece::Byte(other),
            };
            found.iter_mut().for_each(|pieces| pieces.push(piece.clone()));
        }
        Ok(found)
    }

    fn brace(&mut self, start: usize, depth: usize) -> Result<Vec<Vec<Piece>>, GlobError> {
        if depth >= DEPTH {
            return self.fault(start, GlobFault::Deep);
        }
        let mut choices = Vec::new();
        loop {
            choices.extend(self.sequence(depth + 1)?);
            if choices.len() > EXPANSIONS {
                return self.fault(start, GlobFault::Wide);
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(_) => {
                    self.at += 1;
                    return Ok(choices);
                }
                None => return self.fault(start, GlobFault::Brace),
            }
        }
    }

    fn set(&mut self, start: usize) -> Result<ClassBytes, GlobError> {
        let mut set = ClassBytes::empty();
        let negated = matches!(self.peek(), Some(b'!' | b'^'));
        if negated {
            self.at += 1;
        }
        let first = self.at;
        loop {
            let low = match self.peek() {
                None => return self.fault(start, GlobFault::Class),
                Some(b']') if self.at > first => {
                    self.at += 1;
                    break;
                }
                Some(b'[') if self.text.get(self.at + 1) == Some(&b':') => {
                    return self.fault(self.at, GlobFault::NamedClass);
                }
                Some(_) => self.member(start)?,
            };
            let ranged = self.peek() == Some(b'-')
                && self.text.get(self.at + 1).is_some_and(|next| *next != b']');
            let high = if ranged {
                self.at += 1;
                self.member(start)?
            } else {
                low
            };
            if low > high {
                return self.fault(start, GlobFault::Range);
            }
            set.push(ClassBytesRange::new(low, high));
        }
        if negated {
            set.negate();
        }
        let mut barred = ClassBytes::new([ClassBytesRange::new(b'/', b'/')]);
        barred.push(ClassBytesRange::new(0, 0));
        set.difference(&barred);
        Ok(set)
    }

    /// One member of a set.
    fn member(&mut self, start: usize) -> Result<u8, GlobError> {
        if self.peek() == Some(b'\\') {
            self.at += 1;
        }
        match self.peek() {
            None => self.fault(start, GlobFault::Class),
            Some(0) => self.fault(self.at, GlobFault::Zero),
            Some(byte) if !byte.is_ascii() => self.fault(self.at, GlobFault::WideClass),
            Some(byte) => {
                self.at += 1;
                Ok(byte)
            }
        }
    }
}

/// Any byte a string can hold.
pub(super) fn any() -> Hir {
    Hir::class(Class::Bytes(ClassBytes::new([ClassBytesRange::new(1, 255)])))
}

/// Any string.
pub(super) fn anything() -> Hir {
    repeat(any(), None)
}

fn repeat(of: Hir, max: Option<u32>) -> Hir {
    Hir::repetition(Repetition { min: 0, max, greedy: true, sub: Box::new(of) })
}

fn within_component() -> Hir {
    Hir::class(Class::Bytes(ClassBytes::new([
        ClassBytesRange::new(1, b'/' - 1),
        ClassBytesRange::new(b'/' + 1, 255),
    ])))
}

const SLASH: Piece = Piece::Byte(b'/');

/// Drops `**` components that follow a `**` component: they add nothing.
fn without_repeats(pieces: &[Piece]) -> Vec<Piece> {
    let mut kept: Vec<Piece> = Vec::with_capacity(pieces.len());
    for (at, piece) in pieces.iter().enumerate() {
        let ends = pieces.get(at + 1).is_none_or(|next| *next == SLASH);
        let repeats = *piece == Piece::DoubleStar
            && ends
            && matches!(
                kept[..],
                [Piece::DoubleStar, SLASH] | [.., SLASH, Piece::DoubleStar, SLASH]
            );
        if repeats {
            kept.pop();
        } else {
            kept.push(piece.clone());
        }
    }
    kept
}

fn alternative(pieces: &[Piece]) -> Hir {
    let pieces = without_repeats(pieces);
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut at = 0;
    while let Some(piece) = pieces.get(at) {
        if let Piece::Byte(byte) = piece {
            let rest = &pieces[at..];
            if *rest == [SLASH, Piece::DoubleStar] {
                parts.push(Hir::literal(std::mem::take(&mut literal)));
                parts.push(repeat(Hir::concat(vec![Hir::literal(*b"/"), anything()]), Some(1)));
                break;
            }
            literal.push(*byte);
            at += 1;
            continue;
        }
        parts.push(Hir::literal(std::mem::take(&mut literal)));
        let starts = at == 0 || pieces[at - 1] == SLASH;
        at += 1;
        parts.push(match piece {
            Piece::Byte(byte) => Hir::literal([*byte]),
            Piece::One => within_component(),
            Piece::Star => repeat(within_component(), None),
            Piece::Set(set) => Hir::class(Class::Bytes(set.clone())),
            Piece::DoubleStar if starts && pieces.get(at) == Some(&SLASH) => {
                at += 1;
                repeat(Hir::concat(vec![anything(), Hir::literal(*b"/")]), Some(1))
            }
            Piece::DoubleStar => anything(),
        });
    }
    parts.push(Hir::literal(literal));
    Hir::concat(parts)
}
