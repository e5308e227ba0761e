//! From one pattern to one regular expression over bytes that must match the whole string.
//!
//! Globs are parsed by [`super::glob`]. Regular expressions are parsed here: over bytes, `.` matches a newline too (a
//! newline in a file name must not be a way around a rule), and they match anywhere unless they say otherwise.

use regex_automata::nfa::thompson::NFA;
use regex_syntax::{
    ParserBuilder,
    hir::{Class, ClassBytes, ClassBytesRange, Hir, HirKind, Look, Repetition},
};

use super::glob::{Glob, GlobError, any, anything};
use crate::ir::Pattern;

/// Bytes the automaton of one regular expression may take before it is made deterministic.
const REGEX_BYTES: usize = 1 << 20;

/// Why a pattern can't be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a glob.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// Not a regular expression.
    #[error("{0}")]
    Regex(String),
    /// A regular expression with huge counted repetitions.
    #[error("the expression needs more than {budget} bytes")]
    Large {
        /// What it may take.
        budget: usize,
    },
    /// No string the kernel hands over holds a zero byte.
    #[error("a zero byte, which no string of the kernel can hold")]
    Zero,
}

/// The expression that matches what `pattern` matches, anchored at both ends.
pub fn expression(pattern: &Pattern) -> Result<Hir, PatternError> {
    match pattern {
        Pattern::Exact(bytes) => literal(bytes),
        Pattern::Prefix(bytes) => Ok(Hir::concat(vec![literal(bytes)?, anything()])),
        Pattern::Suffix(bytes) => Ok(Hir::concat(vec![anything(), literal(bytes)?])),
        Pattern::Contains(bytes) => Ok(Hir::concat(vec![anything(), literal(bytes)?, anything()])),
        Pattern::Glob(text) => Ok(Glob::parse(text)?.expression()),
        Pattern::Regex(text) => regex(text),
    }
}

/// The regular expression of what a glob matches, without newlines. `None`: it matches nothing then.
pub(crate) fn line(glob: &str) -> Option<String> {
    let line = within_line(&Glob::parse(glob).ok()?.expression());
    line.properties().minimum_len().map(|_some| format!("(?:{line})"))
}

/// The expression without newlines.
fn within_line(expression: &Hir) -> Hir {
    match expression.kind() {
        HirKind::Empty | HirKind::Look(_) => expression.clone(),
        HirKind::Literal(literal) if literal.0.contains(&b'\n') => Hir::fail(),
        HirKind::Literal(_) => expression.clone(),
        HirKind::Class(Class::Bytes(class)) => {
            let mut class = class.clone();
            class.difference(&ClassBytes::new([ClassBytesRange::new(b'\n', b'\n')]));
            Hir::class(Class::Bytes(class))
        }
        // Globs are made of bytes.
        HirKind::Class(Class::Unicode(_)) => Hir::fail(),
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            sub: Box::new(within_line(&repetition.sub)),
            ..repetition.clone()
        }),
        HirKind::Capture(capture) => within_line(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(within_line).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(within_line).collect()),
    }
}

fn literal(bytes: &[u8]) -> Result<Hir, PatternError> {
    if bytes.contains(&0) { Err(PatternError::Zero) } else { Ok(Hir::literal(bytes)) }
}

fn parse(text: &str) -> Result<Hir, PatternError> {
    ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .nest_limit(64)
        .build()
        .parse(text)
        .map_err(|error| PatternError::Regex(error.to_string()))
}

/// Whether a regular expression matches only at the beginning, and only up to the end. Both of one that is none.
pub(crate) fn anchors(text: &str) -> (bool, bool) {
    parse(text).map_or((true, true), |parsed| {
        let properties = parsed.properties();
        (
            properties.look_set_prefix().contains(Look::Start),
            properties.look_set_suffix().contains(Look::End),
        )
    })
}

fn regex(text: &str) -> Result<Hir, PatternError> {
    let parsed = parse(text)?;
    NFA::compiler()
        .configure(NFA::config().utf8(false).nfa_size_limit(Some(REGEX_BYTES)))
        .build_from_hir(&parsed)
        .map_err(|error| match error.size_limit() {
            Some(budget) => PatternError::Large { budget },
            None => PatternError::Regex(error.to_string()),
        })?;
    if parsed.properties().look_set().contains_word_unicode() {
        return Err(PatternError::Regex(
            "word boundaries of Unicode are not known; use `(?-u:\\b)`".to_owned(),
        ));
    }
    let mut parts = Vec::new();
    if !parsed.properties().look_set_prefix().contains(Look::Start) {
        parts.push(anything());
    }
    let open_end = !parsed.properties().look_set_suffix().contains(Look::End);
    parts.push(parsed);
    if open_end {
        parts.push(anything());
    }
    Ok(Hir::concat(parts))
}

/// How much a pattern multiplies the automaton it is put in: places inside it from where it can go on anywhere.
/// Something to name when a budget is exceeded, not a measure.
pub(crate) fn openness(expression: &Hir) -> usize {
    use regex_syntax::hir::HirKind;
    match expression.kind() {
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => 0,
        HirKind::Repetition(repetition) => {
            let open = repetition.max.is_none() || repetition.max > Some(4);
            let wide = *repetition.sub == any();
            usize::from(open) + usize::from(open && wide) + openness(&repetition.sub)
        }
        HirKind::Capture(capture) => openness(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().map(openness).sum(),
    }
}
