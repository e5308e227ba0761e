//! What operators are told about their policies: codes, places, causes and ways out.
//!
//! Every stage adds [`Diagnostic`]s to one list and carries on as far as it can, so that all of them are shown at
//! once. Rendering (terminal, JSON, SARIF) is separate and never changes what is said.

mod codes;
mod json;
mod render;
mod sarif;
mod suggest;

pub use codes::Code;
pub use json::json;
pub use render::{Colour, terminal};
pub use sarif::sarif;
pub use suggest::closest;

use crate::parse::source::Span;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The policy compiles; somebody should look.
    Warning,
    /// There is no image.
    Error,
}

impl Level {
    /// The word users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A line of a file that is not among the sources: a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The file as given.
    pub file: String,
    /// 1-based.
    pub line: u32,
    /// 1-based.
    pub column: u32,
    /// The line, cut to a readable length.
    pub text: String,
    /// Bytes of `text` that are wrong.
    pub range: (usize, usize),
}

/// One thing to tell an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code.
    pub code: Code,
    /// Error or warning.
    pub level: Level,
    /// One line: what is wrong, with the numbers.
    pub message: String,
    /// Where. `None` only when nothing was read at all.
    pub span: Option<Span>,
    /// What to say at that place.
    pub label: String,
    /// Other places that matter.
    pub related: Vec<(Span, String)>,
    /// Where in a feed.
    pub excerpt: Option<Excerpt>,
    /// Why it is so.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            level: Level::Error,
            message: message.into(),
            span: Some(span),
            label: String::new(),
            related: Vec::new(),
            excerpt: None,
            notes: Vec::new(),
            help: Vec::new(),
        }
    }

    /// A warning at a place.
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(code, span, message) }
    }

    /// An error with no place: nothing could be read.
    pub fn nowhere(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            level: Level::Error,
            message: message.into(),
            span: None,
            label: String::new(),
            related: Vec::new(),
            excerpt: None,
            notes: Vec::new(),
            help: Vec::new(),
        }
    }

    /// With words at the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With another place.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    /// With a reason.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// With a way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// With a way out, if there is one.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help.extend(help);
        self
    }

    /// With the line of a feed.
    #[must_use]
    pub fn excerpt(mut self, excerpt: Excerpt) -> Self {
        self.excerpt = Some(excerpt);
        self
    }
}

/// A list that stages add to.
#[derive(Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    failed: bool,
}

impl Diagnostics {
    /// Nothing to tell yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, unless the same was said of the same place already.
    pub fn add(&mut self, diagnostic: Diagnostic) {
        let recent = self.list.iter().rev().take(64);
        let said = recent.into_iter().any(|earlier| {
            earlier.code == diagnostic.code
                && earlier.span == diagnostic.span
                && earlier.message == diagnostic.message
        });
        if !said {
            self.failed |= diagnostic.level == Level::Error;
            self.list.push(diagnostic);
        }
    }

    /// Whether an error is among them.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// How many there are: to see whether a step added some.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// All of them in the order of their places.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|diagnostic| (diagnostic.span, diagnostic.code));
        self.list
    }
}
