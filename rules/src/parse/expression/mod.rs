//! `when` expressions: text to a tree whose every node knows its place in the file.
//!
//! ```text
//! any   := all ("or" all)*            all := one ("and" one)*
//! one   := "not" one | "(" any ")" | word | word operator value | word "exists"
//! value := word | string | number | first ".." last | "[" value ("," value)* "]"
//! ```
//! Nothing is judged here: whether a word is a field, a macro or a list is for `check`.

mod lex;
mod parser;

use std::rc::Rc;

pub use parser::parse;

use super::{source::Span, text::Text};

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Expression {
    /// Where.
    pub span: Span,
    /// What.
    pub kind: Kind,
}

/// The forms of an expression.
#[derive(Clone, Debug)]
pub enum Kind {
    /// All must hold.
    And(Vec<Expression>),
    /// One must hold.
    Or(Vec<Expression>),
    /// Must not hold.
    Not(Box<Expression>),
    /// A word by itself: a yes-or-no field or a macro.
    Name(Word),
    /// A field and a value.
    Test {
        /// The field.
        field: Word,
        /// The comparison.
        operator: Operator,
        /// Where it stands.
        operator_span: Span,
        /// What it is compared with.
        operand: Operand,
    },
    /// A field that must have a value.
    Exists(Word),
}

/// A bare word and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `in`
    In,
    /// `startswith`
    StartsWith,
    /// `endswith`
    EndsWith,
    /// `contains`
    Contains,
    /// `glob`
    Glob,
    /// `matches`
    Matches,
}

impl Operator {
    /// As written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::In => "in",
            Self::StartsWith => "startswith",
            Self::EndsWith => "endswith",
            Self::Contains => "contains",
            Self::Glob => "glob",
            Self::Matches => "matches",
        }
    }
}

/// The right side of a test.
#[derive(Clone, Debug)]
pub enum Operand {
    /// One value.
    One(Literal),
    /// `[..]` and where it stands.
    Many(Vec<Literal>, Span),
}

/// One value as written.
#[derive(Clone, Debug)]
pub struct Literal {
    /// Where.
    pub span: Span,
    /// The text: of a string without its quotes, of a word as it is.
    pub text: String,
    /// How it was written.
    pub form: Form,
    /// Where the text came from, to point inside patterns.
    pub source: Rc<Text>,
    /// Where in `source.text` the literal's text starts.
    pub offset: usize,
}

/// How a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In quotes.
    Quoted,
    /// In quotes, and the quote character was escaped inside: positions inside are not exact.
    QuotedEscaped,
    /// Bare.
    Word,
}

impl Literal {
    /// The place of a byte range of its text.
    pub fn place(&self, start: usize, end: usize) -> Span {
        match self.form {
            Form::Quoted | Form::Word => self.source.place(self.offset + start, self.offset + end),
            Form::QuotedEscaped => self.span,
        }
    }

    /// Whether it was in quotes.
    pub fn quoted(&self) -> bool {
        match self.form {
            Form::Quoted | Form::QuotedEscaped => true,
            Form::Word => false,
        }
    }
}
