//! Tokens to a tree, by recursive descent.

use std::rc::Rc;

use super::{
    Expression, Form, Kind, Literal, Operand, Operator, Word,
    lex::{Token, TokenKind, tokens},
};
use crate::diag::{Code, Diagnostic, Diagnostics, closest};
use crate::parse::{source::Span, text::Text};

/// Deepest nesting of parentheses and `not`.
const DEPTH_MAX: usize = 64;

/// Words that stand where an operator is expected but belong to other languages.
const FOREIGN: &[(&str, &str)] = &[
    ("is", "=="),
    ("eq", "=="),
    ("ne", "!="),
    ("lt", "<"),
    ("le", "<="),
    ("gt", ">"),
    ("ge", ">="),
    ("regex", "matches"),
    ("pmatch", "in"),
    ("icontains", "contains"),
    ("like", "glob"),
];

/// Parses an expression. `None` when it has no meaning; why is among the diagnostics.
pub fn parse(text: &Rc<Text>, diagnostics: &mut Diagnostics) -> Option<Expression> {
    let tokens = tokens(text, diagnostics)?;
    let mut parser = Parser { text, tokens, at: 0, diagnostics };
    let expression = parser.any(0)?;
    let left = parser.peek().clone();
    if left.kind != TokenKind::End {
        parser.unexpected(&left, "`and` or `or`, or the end of the expression");
        return None;
    }
    Some(expression)
}

struct Parser<'a> {
    text: &'a Rc<Text>,
    tokens: Vec<Token>,
    at: usize,
    diagnostics: &'a mut Diagnostics,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or_else(|| self.tokens.last().expect("ends with `End`"))
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn place(&self, start: usize, end: usize) -> Span {
        self.text.place(start, end)
    }

    fn span(&self, token: &Token) -> Span {
        if token.kind == TokenKind::End {
            // The end of the expression: point at its last character, so that there is something to underline.
            let end = self.text.text.trim_end().len();
            return self.place(end.saturating_sub(1), end);
        }
        self.place(token.start, token.end)
    }

    fn unexpected(&mut self, token: &Token, expected: &str) {
        let span = self.span(token);
        let written = &self.text.text[token.start..token.end];
        if let TokenKind::Word(word) = &token.kind
            && let Some((_, meant)) = FOREIGN.iter().find(|(foreign, _)| foreign == word)
        {
            self.diagnostics.add(
                Diagnostic::error(
                    Code::ForeignToken,
                    span,
                    format!("`{word}` is not an operator here"),
                )
                .label(format!("write `{meant}`")),
            );
            return;
        }
        let (message, label) = match &token.kind {
            TokenKind::End => (
                "the expression ends too early".to_owned(),
                format!("expected {expected} after this"),
            ),
            _ => (format!("`{written}` cannot stand here"), format!("expected {expected}")),
        };
        let mut diagnostic = Diagnostic::error(Code::WrongToken, span, message).label(label);
        if written == "exists" {
            diagnostic = diagnostic.help("it stands behind the field, as in `file.path exists`");
        } else if let TokenKind::Word(word) = &token.kind
            && let Some(meant) = closest(
                word,
                [
                    "and",
                    "or",
                    "in",
                    "startswith",
                    "endswith",
                    "contains",
                    "glob",
                    "matches",
                    "exists",
                ],
            )
        {
            diagnostic = diagnostic.help(format!("did you mean `{meant}`?"));
        }
        self.diagnostics.add(diagnostic);
    }

    fn any(&mut self, depth: usize) -> Option<Expression> {
        self.chain(depth, &TokenKind::Or)
    }

    fn chain(&mut self, depth: usize, joint: &TokenKind) -> Option<Expression> {
        let inner = |parser: &mut Self| match joint {
            TokenKind::Or => parser.chain(depth, &TokenKind::And),
            _ => parser.one(depth),
        };
        let first = inner(self)?;
        if self.peek().kind != *joint {
            return Some(first);
        }
        let mut parts = vec![first];
        while self.peek().kind == *joint {
            self.take();
            parts.push(inner(self)?);
        }
        let span = parts[0].span.to(parts[parts.len() - 1].span);
        let kind = match joint {
            TokenKind::Or => Kind::Or(parts),
            _ => Kind::And(parts),
        };
        Some(Expression { span, kind })
    }

    fn one(&mut self, depth: usize) -> Option<Expression> {
        let token = self.take();
        if depth >= DEPTH_MAX {
            self.diagnostics.add(
                Diagnostic::error(
                    Code::TooDeep,
                    self.span(&token),
                    "the expression is nested too deeply",
                )
                .label(format!("more than {DEPTH_MAX} levels"))
                .help("name parts of it as macros"),
            );
            return None;
        }
        match token.kind.clone() {
            TokenKind::Not => {
                let inner = self.one(depth + 1)?;
                let span = self.span(&token).to(inner.span);
                Some(Expression { span, kind: Kind::Not(Box::new(inner)) })
            }
            TokenKind::Open => {
                let inner = self.any(depth + 1)?;
                let close = self.take();
                if close.kind == TokenKind::End {
                    self.diagnostics.add(
                        Diagnostic::error(
                            Code::WrongToken,
                            self.span(&token),
                            "a parenthesis is not closed",
                        )
                        .label("opened here"),
                    );
                    return None;
                }
                if close.kind != TokenKind::Close {
                    self.unexpected(&close, "`and`, `or` or `)`");
                    return None;
                }
                let span = self.place(token.start, close.end);
                Some(Expression { span, kind: inner.kind })
            }
            TokenKind::Word(word) => self.test(Word { text: word, span: self.span(&token) }),
            _ => {
                if matches!(token.kind, TokenKind::Quoted(..)) {
                    self.diagnostics.add(
                        Diagnostic::error(
                            Code::WrongToken,
                            self.span(&token),
                            "the field stands on the left, the value on the right",
                        )
                        .label("this is a value")
                        .help("write `process.exe == \"/usr/bin/nc\"`, not the other way round"),
                    );
                } else {
                    self.unexpected(&token, "a field, a macro, `not` or `(`");
                }
                None
            }
        }
    }

    fn test(&mut self, field: Word) -> Option<Expression> {
        let token = self.peek().clone();
        match &token.kind {
            TokenKind::Exists => {
                self.take();
                let span = field.span.to(self.span(&token));
                Some(Expression { span, kind: Kind::Exists(field) })
            }
            TokenKind::Operator(operator) => {
                let operator = *operator;
                let operator_span = self.span(&token);
                self.take();
                let operand = self.operand(operator)?;
                let end = match &operand {
                    Operand::One(literal) => literal.span,
                    Operand::Many(_, span) => *span,
                };
                let span = field.span.to(end);
                Some(Expression {
                    span,
                    kind: Kind::Test { field, operator, operator_span, operand },
                })
            }
            TokenKind::Not if self.after_not_comes_in() => {
                let span = self.span(&token);
                self.diagnostics.add(
                    Diagnostic::error(Code::ForeignToken, span, "`not in` is not an operator here")
                        .label(format!("write `not {} in ...`", field.text)),
                );
                None
            }
            TokenKind::Word(_) | TokenKind::Quoted(..) | TokenKind::OpenList => {
                self.unexpected(&token, "an operator such as `==` or `in`");
                None
            }
            TokenKind::And
            | TokenKind::Or
            | TokenKind::Not
            | TokenKind::Open
            | TokenKind::Close
            | TokenKind::CloseList
            | TokenKind::Comma
            | TokenKind::End => Some(Expression { span: field.span, kind: Kind::Name(field) }),
        }
    }

    fn after_not_comes_in(&self) -> bool {
        self.tokens
            .get(self.at + 1)
            .is_some_and(|token| token.kind == TokenKind::Operator(Operator::In))
    }

    fn operand(&mut self, operator: Operator) -> Option<Operand> {
        let token = self.take();
        match token.kind {
            TokenKind::OpenList => self.many(&token, &TokenKind::CloseList),
            TokenKind::Open if operator == Operator::In => {
                let span = self.span(&token);
                self.diagnostics.add(
                    Diagnostic::error(Code::ForeignToken, span, "lists are written in `[ ]` here")
                        .label("write `in [...]`"),
                );
                // Read all the same, so that other mistakes are found as well.
                self.many(&token, &TokenKind::Close)
            }
            _ => {
                self.at -= 1;
                self.literal().map(Operand::One)
            }
        }
    }

    fn many(&mut self, open: &Token, end: &TokenKind) -> Option<Operand> {
        let mut values = Vec::new();
        while self.peek().kind != *end {
            values.push(self.literal()?);
            if self.peek().kind == TokenKind::Comma {
                self.take();
            } else if self.peek().kind != *end {
                let next = self.peek().clone();
                self.unexpected(&next, "`,` or `]`");
                return None;
            }
        }
        let close = self.take();
        Some(Operand::Many(values, self.place(open.start, close.end)))
    }

    fn literal(&mut self) -> Option<Literal> {
        let token = self.take();
        let span = self.span(&token);
        let source = Rc::clone(self.text);
        match token.kind {
            TokenKind::Word(text) => {
                Some(Literal { span, text, form: Form::Word, source, offset: token.start })
            }
            TokenKind::Quoted(text, escaped) => {
                let form = if escaped { Form::QuotedEscaped } else { Form::Quoted };
                Some(Literal { span, text, form, source, offset: token.start + 1 })
            }
            _ => {
                self.unexpected(&token, "a value: text in quotes, a number, an address or a list");
                None
            }
        }
    }
}
