//! Says at which rule, and if it can be found at which pattern, a policy is too large.

use crate::{
    diag::{Code, Diagnostic, Diagnostics},
    lower::{LowerError, Problem},
    meta::Metadata,
    parse::{
        Parsed,
        expression::{Expression, Kind, Literal, Operand},
        policy::Rule,
        source::Span,
    },
};

/// Adds a diagnostic for each problem.
pub(super) fn tell(
    error: &LowerError,
    parsed: &Parsed,
    metadata: &Metadata,
    diagnostics: &mut Diagnostics,
) {
    for problem in &error.problems {
        let rule = problem.rule().and_then(|id| {
            let mut rules = parsed.policies.iter().flat_map(|policy| &policy.rules);
            rules.find(|rule| rule.id.value == id)
        });
        let code = match problem {
            Problem::TooManyResiduals { .. } => Code::TooManySets,
            _ => Code::DoesNotFit,
        };
        let message = problem.to_string();
        let diagnostic = match rule {
            Some(rule) => {
                let span = pattern(problem)
                    .and_then(|pattern| place(parsed, rule, pattern))
                    .or_else(|| rule.when.as_ref().map(|when| when.span))
                    .unwrap_or(rule.id.span);
                Diagnostic::error(code, span, message)
            }
            None => Diagnostic::nowhere(code, message),
        };
        diagnostics.add(
            diagnostic
                .note(format!("rules compiled together: {}", metadata.rules.len()))
                .help(problem.help()),
        );
    }
}

/// The text of the pattern a problem names, without the operator it is shown with.
fn pattern(problem: &Problem) -> Option<&str> {
    let (Problem::Pattern { pattern, .. }
    | Problem::AutomatonTooLarge { pattern, .. }
    | Problem::PatternUnsupported { pattern, .. }) = problem
    else {
        return None;
    };
    let operators = ["startswith ", "endswith ", "contains ", "matches "];
    Some(operators.iter().find_map(|operator| pattern.strip_prefix(operator)).unwrap_or(pattern))
}

/// Where a rule says a pattern: itself, or in some list or macro.
fn place(parsed: &Parsed, rule: &Rule, pattern: &str) -> Option<Span> {
    let own = rule.when.iter().chain(rule.except.iter().filter_map(|one| one.when.as_ref()));
    let macros = parsed
        .policies
        .iter()
        .flat_map(|policy| &policy.macros)
        .filter_map(|written| written.expression.as_ref());
    let items =
        parsed.policies.iter().flat_map(|policy| &policy.lists).flat_map(|list| &list.items);
    own.chain(macros)
        .find_map(|expression| within(expression, pattern))
        .or_else(|| items.into_iter().find_map(|item| says(item, pattern)))
}

fn within(expression: &Expression, pattern: &str) -> Option<Span> {
    match &expression.kind {
        Kind::And(parts) | Kind::Or(parts) => parts.iter().find_map(|part| within(part, pattern)),
        Kind::Not(inner) => within(inner, pattern),
        Kind::Test { operand: Operand::One(literal), .. } => says(literal, pattern),
        Kind::Test { operand: Operand::Many(literals, _), .. } => {
            literals.iter().find_map(|literal| says(literal, pattern))
        }
        Kind::Name(_) | Kind::Exists(_) => None,
    }
}

fn says(literal: &Literal, pattern: &str) -> Option<Span> {
    (literal.text == pattern).then_some(literal.span)
}
