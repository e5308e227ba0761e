//! What can keep a program from becoming an image. Everything wrong is told at once; each problem names the rule and,
//! where there is one, the pattern, how much was asked for, how much there is, and the way out.

use crate::{dfa::pattern::PatternError, ir::Pattern};

/// Why there is no image: one problem or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowerError {
    /// All that is wrong; never empty.
    pub problems: Vec<Problem>,
}

impl std::fmt::Display for LowerError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("; ")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LowerError {}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Metadata and program do not belong together.
    #[error("{rules} rules but metadata of {described}")]
    Metadata {
        /// Rules in the program.
        rules: usize,
        /// Rules in the metadata.
        described: usize,
    },
    /// A family has more clauses than numbers.
    #[error(
        "{count} clauses on `{family}` acts, limit {limit}; rule `{rule}` alone makes {of_rule}"
    )]
    TooManyClauses {
        /// The rule with most clauses.
        rule: String,
        /// The family.
        family: &'static str,
        /// Clauses there are.
        count: usize,
        /// Clauses there may be.
        limit: usize,
        /// Clauses of `rule`.
        of_rule: usize,
    },
    /// More distinct predicates on ancestors or arguments than bits.
    #[error(
        "{count} distinct lists tested on `{fact}`, limit {limit}; rule `{rule}` is the first past it"
    )]
    TooManySetPredicates {
        /// The first rule that has no room.
        rule: String,
        /// The set fact.
        fact: &'static str,
        /// Predicates there are.
        count: usize,
        /// Predicates there may be.
        limit: usize,
    },
    /// More tests on ancestors and arguments in one clause than it can carry.
    #[error(
        "rule `{rule}` combines {count} tests on ancestors and arguments with `and`, limit {limit}"
    )]
    TooManyResiduals {
        /// The rule.
        rule: String,
        /// Tests in the clause.
        count: usize,
        /// Tests there may be.
        limit: usize,
    },
    /// The rules of a family test more facts than one decision can narrow by.
    #[error(
        "rules on `{family}` acts test {count} different fields, limit {limit}; `{fact}` is last used by rule `{rule}`"
    )]
    TooManyColumns {
        /// The rule that tests the least used fact.
        rule: String,
        /// The family.
        family: &'static str,
        /// The least used fact.
        fact: &'static str,
        /// Facts there are.
        count: usize,
        /// Facts there may be.
        limit: usize,
    },
    /// A pattern that is not one.
    #[error("rule `{rule}`, pattern `{pattern}`: {reason}")]
    Pattern {
        /// The rule.
        rule: String,
        /// The pattern.
        pattern: String,
        /// What is wrong.
        reason: PatternError,
    },
    /// The patterns on a fact multiply.
    #[error(
        "the {patterns} patterns on `{fact}` need an automaton of more than {budget} bytes; pattern `{pattern}` of rule `{rule}` multiplies it most"
    )]
    AutomatonTooLarge {
        /// The rule with the costliest pattern.
        rule: String,
        /// The costliest pattern.
        pattern: String,
        /// The fact.
        fact: &'static str,
        /// Patterns on the fact.
        patterns: usize,
        /// Bytes there may be.
        budget: usize,
    },
    /// A pattern that no deterministic automaton over bytes can do.
    #[error("rule `{rule}`, pattern `{pattern}`: can't be matched byte by byte")]
    PatternUnsupported {
        /// The rule.
        rule: String,
        /// The pattern.
        pattern: String,
    },
    /// The image is larger than the kernel's slot.
    #[error(
        "the image takes {bytes} bytes, budget {budget}; most of it ({largest_bytes}) is `{largest}`"
    )]
    ImageTooLarge {
        /// Bytes it takes.
        bytes: usize,
        /// Bytes it may take.
        budget: usize,
        /// What takes most.
        largest: String,
        /// Bytes that takes.
        largest_bytes: usize,
    },
    /// A test of a kind that its fact has no table for.
    #[error("rule `{rule}` tests `{fact}` as {kind}, which it is not")]
    Unsupported {
        /// The rule.
        rule: String,
        /// The fact.
        fact: &'static str,
        /// How it is tested.
        kind: &'static str,
    },
    /// A range that ends before it starts.
    #[error("rule `{rule}` tests `{fact}` for a range that ends before it starts")]
    EmptyRange {
        /// The rule.
        rule: String,
        /// The fact.
        fact: &'static str,
    },
    /// A clause about acts of another family, or about none.
    #[error("rule `{rule}` has a clause on `{family}` acts that is about none of them")]
    NoActs {
        /// The rule.
        rule: String,
        /// The family.
        family: &'static str,
    },
}

impl Problem {
    /// The rule it is about, if it is about one.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Metadata { .. } | Self::ImageTooLarge { .. } => None,
            Self::TooManyClauses { rule, .. }
            | Self::TooManySetPredicates { rule, .. }
            | Self::TooManyResiduals { rule, .. }
            | Self::TooManyColumns { rule, .. }
            | Self::Pattern { rule, .. }
            | Self::AutomatonTooLarge { rule, .. }
            | Self::PatternUnsupported { rule, .. }
            | Self::Unsupported { rule, .. }
            | Self::EmptyRange { rule, .. }
            | Self::NoActs { rule, .. } => Some(rule),
        }
    }

    /// The way out.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Metadata { .. } => "this is a fault of the compiler: report it",
            Self::TooManyClauses { .. } => {
                "put alternatives into one list (`path in [..]`) instead of joining them with `or`"
            }
            Self::TooManySetPredicates { .. } => "share one list among rules",
            Self::TooManyResiduals { .. } => {
                "join negated tests into one list, or split the rule in two"
            }
            Self::TooManyColumns { .. } => "drop the test on this field, or test another instead",
            Self::Pattern { reason: PatternError::Large { .. }, .. } => {
                "count fewer repetitions (`.{500}`, `(..){20}`), or use `*` or `+`"
            }
            Self::Pattern { .. } => "correct the pattern",
            Self::AutomatonTooLarge { .. } => {
                "drop an inner `**` or `.*` from the pattern, anchor it at a directory, or test the last component with `file.name`"
            }
            Self::PatternUnsupported { .. } => {
                "leave Unicode word boundaries out of the expression"
            }
            Self::ImageTooLarge { .. } => "shorten the lists, or leave out a feed",
            Self::Unsupported { .. } => "test it as the reference of fields says",
            Self::EmptyRange { .. } => "swap the ends of the range",
            Self::NoActs { .. } => "this is a fault of the compiler: report it",
        }
    }
}

/// A pattern as people write it.
pub(super) fn show(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Exact(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Pattern::Prefix(bytes) => format!("startswith {}", String::from_utf8_lossy(bytes)),
        Pattern::Suffix(bytes) => format!("endswith {}", String::from_utf8_lossy(bytes)),
        Pattern::Contains(bytes) => format!("contains {}", String::from_utf8_lossy(bytes)),
        Pattern::Glob(text) => text.clone(),
        Pattern::Regex(text) => format!("matches {text}"),
    }
}
