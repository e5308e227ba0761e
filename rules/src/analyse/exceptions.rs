//! Exceptions that can never excuse anything.

use std::collections::HashMap;

use crate::{
    diag::{Code, Diagnostic, Diagnostics},
    ir::{Clause, Program},
    normalise::contradicts,
    parse::policy::Rule,
};

/// Says which exceptions contradict every clause of their rule.
pub(super) fn check(rules: &[&Rule], program: &Program, diagnostics: &mut Diagnostics) {
    let by_id: HashMap<&str, &Rule> =
        rules.iter().rev().map(|rule| (rule.id.value.as_str(), *rule)).collect();
    // What is told on different conditions is several rules here, with one id.
    for parts in program.rules.chunk_by(|one, other| one.id == other.id) {
        if parts.iter().all(|part| part.exceptions.is_empty()) {
            continue;
        }
        let Some(rule) = by_id.get(parts[0].id.as_str()) else { continue };
        let exceptions = || parts.iter().flat_map(|part| &part.exceptions);
        let mut origins: Vec<u16> = exceptions().map(|exception| exception.origin).collect();
        origins.sort_unstable();
        origins.dedup();
        for origin in origins {
            let used = parts.iter().any(|part| {
                let mut of_origin = part.exceptions.iter().filter(|one| one.origin == origin);
                of_origin
                    .any(|exception| part.clauses.iter().any(|clause| meets(clause, exception)))
            });
            let Some(written) = rule.except.get(usize::from(origin)) else { continue };
            if used {
                continue;
            }
            diagnostics.add(
                Diagnostic::warning(
                    Code::UselessException,
                    written.name.span,
                    format!(
                        "the exception `{}` can never excuse the rule `{}`",
                        written.name.value, rule.id.value
                    ),
                )
                .label("it contradicts what the rule asks for")
                .help("remove it, or correct the one that is wrong"),
            );
        }
    }
}

fn meets(clause: &Clause, exception: &Clause) -> bool {
    if clause.family != exception.family || clause.acts & exception.acts == 0 {
        return false;
    }
    let both: Vec<_> = clause.literals.iter().chain(&exception.literals).cloned().collect();
    !contradicts(&both)
}
