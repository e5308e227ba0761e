//! Diagnostics for programs.

use serde_json::{Value, json};

use super::Diagnostic;
use crate::parse::source::{Sources, Span};

/// All diagnostics as a JSON array.
pub fn json(diagnostics: &[Diagnostic], sources: &Sources) -> Value {
    Value::Array(diagnostics.iter().map(|diagnostic| one(diagnostic, sources)).collect())
}

fn one(diagnostic: &Diagnostic, sources: &Sources) -> Value {
    let mut value = json!({
        "code": diagnostic.code.to_string(),
        "level": diagnostic.level.name(),
        "message": diagnostic.message,
        "label": diagnostic.label,
        "notes": diagnostic.notes,
        "help": diagnostic.help,
        "related": diagnostic.related.iter().map(|(span, label)| {
            let mut place = place(*span, sources);
            place["label"] = json!(label);
            place
        }).collect::<Vec<_>>(),
    });
    if let Some(span) = diagnostic.span {
        value["place"] = place(span, sources);
    }
    if let Some(excerpt) = &diagnostic.excerpt {
        value["feed"] = json!({
            "file": excerpt.file,
            "line": excerpt.line,
            "column": excerpt.column,
            "text": excerpt.text,
        });
    }
    value
}

fn place(span: Span, sources: &Sources) -> Value {
    let start = sources.position(span);
    let end = sources.position(Span { start: span.end, ..span });
    json!({
        "file": sources.file(span.file).name,
        "line": start.line,
        "column": start.column,
        "end_line": end.line,
        "end_column": end.column,
        "byte_start": span.start,
        "byte_end": span.end,
    })
}
