//! Characters to tokens.

use super::Operator;
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::parse::text::Text;

/// A token and its byte range in the expression's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    And,
    Or,
    Not,
    Exists,
    Operator(Operator),
    Open,
    Close,
    OpenList,
    CloseList,
    Comma,
    /// A bare word.
    Word(String),
    /// A string without its quotes, and whether a quote was escaped inside.
    Quoted(String, bool),
    /// The end.
    End,
}

/// All tokens of an expression, ending with [`TokenKind::End`]. `None` when a character cannot be read; why is among
/// the diagnostics.
pub(super) fn tokens(text: &Text, diagnostics: &mut Diagnostics) -> Option<Vec<Token>> {
    let whole = text.text.as_str();
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut failed = false;
    while let Some(first) = whole[at..].chars().next() {
        let rest = &whole[at..];
        let start = at;
        let (kind, length) = match first {
            ' ' | '\t' | '\n' | '\r' => {
                at += 1;
                continue;
            }
            '(' => (TokenKind::Open, 1),
            ')' => (TokenKind::Close, 1),
            '[' => (TokenKind::OpenList, 1),
            ']' => (TokenKind::CloseList, 1),
            ',' => (TokenKind::Comma, 1),
            '"' | '\'' => match quoted(rest, first) {
                Some(found) => found,
                None => {
                    diagnostics.add(
                        Diagnostic::error(
                            Code::WrongToken,
                            text.place(start, whole.trim_end().len()),
                            "a string is not closed",
                        )
                        .label(format!("starts here, and there is no {first} after it")),
                    );
                    return None;
                }
            },
            '=' | '!' | '<' | '>' | '&' | '|' => match symbol(rest) {
                Symbol::Operator(operator) => {
                    (TokenKind::Operator(operator), operator.name().len())
                }
                // Said, and read as what it means, so that other mistakes are found as well.
                Symbol::Foreign { written, meant, kind } => {
                    diagnostics.add(
                        Diagnostic::error(
                            Code::ForeignToken,
                            text.place(start, start + written.len()),
                            format!("`{written}` is not an operator here"),
                        )
                        .label(format!("write `{meant}`")),
                    );
                    (kind, written.len())
                }
            },
            _ if word_character(first) => {
                let length = rest
                    .char_indices()
                    .find(|(_, character)| !word_character(*character))
                    .map_or(rest.len(), |(end, _)| end);
                let written = &rest[..length];
                let kind = match written {
                    "AND" | "OR" | "NOT" | "IN" | "Or" | "And" | "Not" | "In" => {
                        let meant = written.to_ascii_lowercase();
                        diagnostics.add(
                            Diagnostic::error(
                                Code::ForeignToken,
                                text.place(start, start + length),
                                format!("`{written}` is not an operator here"),
                            )
                            .label(format!("write `{meant}`")),
                        );
                        word(&meant)
                    }
                    _ => word(written),
                };
                (kind, length)
            }
            _ => {
                failed = true;
                diagnostics.add(
                    Diagnostic::error(
                        Code::WrongToken,
                        text.place(start, start + first.len_utf8()),
                        format!("`{first}` means nothing in an expression"),
                    )
                    .help("text is written in quotes, as in `file.path == \"/etc/shadow\"`"),
                );
                at += first.len_utf8();
                continue;
            }
        };
        at += length;
        tokens.push(Token { kind, start, end: at });
    }
    tokens.push(Token { kind: TokenKind::End, start: whole.len(), end: whole.len() });
    (!failed).then_some(tokens)
}

fn word_character(character: char) -> bool {
    character.is_alphanumeric()
        || matches!(
            character,
            '_' | '.'
                | '/'
                | ':'
                | '-'
                | '+'
                | '@'
                | '*'
                | '?'
                | '~'
                | '%'
                | '$'
                | '\\'
                | '{'
                | '}'
        )
}

fn word(text: &str) -> TokenKind {
    match text {
        "and" => TokenKind::And,
        "or" => TokenKind::Or,
        "not" => TokenKind::Not,
        "exists" => TokenKind::Exists,
        "in" => TokenKind::Operator(Operator::In),
        "startswith" => TokenKind::Operator(Operator::StartsWith),
        "endswith" => TokenKind::Operator(Operator::EndsWith),
        "contains" => TokenKind::Operator(Operator::Contains),
        "glob" => TokenKind::Operator(Operator::Glob),
        "matches" => TokenKind::Operator(Operator::Matches),
        _ => TokenKind::Word(text.to_owned()),
    }
}

/// A string: only its own quote character is escaped; every other backslash belongs to the text, so that globs and
/// regular expressions are written once.
fn quoted(rest: &str, quote: char) -> Option<(TokenKind, usize)> {
    let mut text = String::new();
    let mut escaped = false;
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == quote {
            return Some((TokenKind::Quoted(text, escaped), at + 1));
        }
        if character == '\\' {
            match characters.peek() {
                Some((_, next)) if *next == quote => {
                    escaped = true;
                    text.push(quote);
                    characters.next();
                    continue;
                }
                // Two backslashes stay two: the second must not escape the quote that follows.
                Some((_, '\\')) => {
                    text.push_str("\\\\");
                    characters.next();
                    continue;
                }
                Some(_) | None => {}
            }
        }
        text.push(character);
    }
    None
}

enum Symbol {
    Operator(Operator),
    Foreign { written: &'static str, meant: &'static str, kind: TokenKind },
}

fn symbol(rest: &str) -> Symbol {
    let operators = [
        Operator::Equal,
        Operator::NotEqual,
        Operator::LessEqual,
        Operator::GreaterEqual,
        Operator::Less,
        Operator::Greater,
    ];
    let foreign = [
        ("&&", "and", TokenKind::And),
        ("||", "or", TokenKind::Or),
        ("=~", "matches", TokenKind::Operator(Operator::Matches)),
        ("&", "and", TokenKind::And),
        ("|", "or", TokenKind::Or),
        ("=", "==", TokenKind::Operator(Operator::Equal)),
        ("!", "not", TokenKind::Not),
    ];
    if let Some((written, meant, kind)) =
        foreign[..3].iter().find(|(written, ..)| rest.starts_with(written))
    {
        return Symbol::Foreign { written, meant, kind: kind.clone() };
    }
    if let Some(operator) = operators.into_iter().find(|operator| rest.starts_with(operator.name()))
    {
        return Symbol::Operator(operator);
    }
    let (written, meant, kind) =
        foreign[3..].iter().find(|(written, ..)| rest.starts_with(written)).unwrap_or(&foreign[5]);
    Symbol::Foreign { written, meant, kind: kind.clone() }
}
