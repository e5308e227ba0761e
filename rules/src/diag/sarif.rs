//! Diagnostics as SARIF 2.1.0, which code hosts show beside the lines they are about.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Code, Diagnostic, Level};
use crate::parse::source::{Sources, Span};

/// One SARIF log with one run.
pub fn sarif(diagnostics: &[Diagnostic], sources: &Sources) -> Value {
    let codes: Vec<Code> = diagnostics
        .iter()
        .map(|diagnostic| diagnostic.code)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let rules: Vec<Value> = codes
        .iter()
        .map(|code| {
            json!({
                "id": code.to_string(),
                "shortDescription": { "text": code.title() },
                "fullDescription": { "text": code.story() },
            })
        })
        .collect();
    let results: Vec<Value> = diagnostics
        .iter()
        .map(|diagnostic| {
            let index = codes.iter().position(|code| *code == diagnostic.code);
            json!({
                "ruleId": diagnostic.code.to_string(),
                "ruleIndex": index,
                "level": match diagnostic.level { Level::Error => "error", Level::Warning => "warning" },
                "message": { "text": words(diagnostic) },
                "locations": locations(diagnostic, sources),
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "interdict",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn words(diagnostic: &Diagnostic) -> String {
    let mut words = diagnostic.message.clone();
    for more in diagnostic.notes.iter().chain(&diagnostic.help) {
        words.push_str("; ");
        words.push_str(more);
    }
    words
}

fn locations(diagnostic: &Diagnostic, sources: &Sources) -> Vec<Value> {
    let mut locations = Vec::new();
    if let Some(excerpt) = &diagnostic.excerpt {
        locations.push(json!({ "physicalLocation": {
            "artifactLocation": { "uri": excerpt.file },
            "region": { "startLine": excerpt.line, "startColumn": excerpt.column },
        } }));
    }
    if let Some(span) = diagnostic.span {
        let start = sources.position(span);
        let end = sources.position(Span { start: span.end, ..span });
        locations.push(json!({ "physicalLocation": {
            "artifactLocation": { "uri": sources.file(span.file).name },
            "region": {
                "startLine": start.line,
                "startColumn": start.column,
                "endLine": end.line,
                "endColumn": end.column,
            },
        } }));
    }
    locations
}
