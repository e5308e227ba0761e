//! Results for people, TAP, JUnit and programs.

use std::fmt::Write as _;

use serde_json::{Value, json as object};

use super::{Outcome, Status};
use crate::image::PolicyImage;

/// For people: failures in full, the rest counted, and what no test has hit.
pub fn human(outcome: &Outcome, image: &PolicyImage, verbose: bool) -> String {
    let mut text = String::new();
    for result in &outcome.results {
        match &result.status {
            Status::Passed => {
                if verbose {
                    let _ = writeln!(text, "ok    {}: {}", result.of, result.name);
                }
            }
            Status::Skipped => {
                let _ = writeln!(text, "off   {}: {}", result.of, result.name);
            }
            Status::Failed(reasons) => {
                let _ = writeln!(text, "FAIL  {}: {}", result.of, result.name);
                let _ = writeln!(text, "      at {}:{}", result.file, result.line);
                for reason in reasons {
                    let _ = writeln!(text, "      {reason}");
                }
            }
        }
    }
    let (hit, all) = outcome.coverage.total();
    let unhit: Vec<String> = outcome
        .coverage
        .rules()
        .iter()
        .filter_map(|rule| {
            let meta = image.metadata().rules.get(rule.rule as usize)?;
            let mut missing = Vec::new();
            if rule.hit < rule.clauses {
                missing.push(format!("{} of {} clauses", rule.clauses - rule.hit, rule.clauses));
            }
            for one in &rule.exceptions {
                let name = &meta.exceptions.get(usize::from(one.index))?.name;
                missing.push(match one.hit {
                    0 => format!("exception `{name}`"),
                    hit => {
                        format!(
                            "{} of {} clauses of exception `{name}`",
                            one.clauses - hit,
                            one.clauses
                        )
                    }
                });
            }
            (!missing.is_empty()).then(|| format!("  {}: {}", meta.id, missing.join(", ")))
        })
        .collect();
    if !unhit.is_empty() {
        let _ = writeln!(text, "hit by no test:");
        for line in unhit {
            let _ = writeln!(text, "{line}");
        }
    }
    let skipped = outcome.results.len() - outcome.passed() - outcome.failed();
    let _ = write!(text, "{} passed, {} failed", outcome.passed(), outcome.failed());
    if skipped > 0 {
        let _ = write!(text, ", {skipped} off");
    }
    let _ = writeln!(text, "; {hit} of {all} clauses hit");
    text
}

/// Test Anything Protocol, version 14.
pub fn tap(outcome: &Outcome) -> String {
    let mut text = format!("TAP version 14\n1..{}\n", outcome.results.len());
    for (number, result) in outcome.results.iter().enumerate() {
        let number = number + 1;
        let name = format!("{}: {}", result.of, result.name).replace(['#', '\n', '\\'], " ");
        match &result.status {
            Status::Passed => {
                let _ = writeln!(text, "ok {number} - {name}");
            }
            Status::Skipped => {
                let _ = writeln!(text, "ok {number} - {name} # SKIP the rule is off");
            }
            Status::Failed(reasons) => {
                let _ = writeln!(text, "not ok {number} - {name}");
                let _ = writeln!(text, "  ---");
                let _ =
                    writeln!(text, "  at: {}", quote(&format!("{}:{}", result.file, result.line)));
                let _ = writeln!(text, "  message: {}", quote(&reasons.join("; ")));
                let _ = writeln!(text, "  ...");
            }
        }
    }
    text
}

fn quote(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// JUnit XML, one suite per rule or case file.
pub fn junit(outcome: &Outcome) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuites name=\"interdict\" tests=\"{}\" failures=\"{}\">",
        outcome.results.len(),
        outcome.failed()
    );
    let mut rest = outcome.results.as_slice();
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|result| result.of == first.of).count();
        let (suite, after) = rest.split_at(count);
        rest = after;
        let failed =
            suite.iter().filter(|result| matches!(result.status, Status::Failed(_))).count();
        let skipped = suite.iter().filter(|result| result.status == Status::Skipped).count();
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{count}\" failures=\"{failed}\" skipped=\"{skipped}\">",
            escape(&first.of)
        );
        for result in suite {
            let _ = write!(
                text,
                "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\"",
                escape(&result.of),
                escape(&result.name),
                escape(&result.file),
                result.line
            );
            match &result.status {
                Status::Passed => text.push_str("/>\n"),
                Status::Skipped => text.push_str("><skipped/></testcase>\n"),
                Status::Failed(reasons) => {
                    let _ = writeln!(
                        text,
                        "><failure message=\"{}\"/></testcase>",
                        escape(&reasons.join("; "))
                    );
                }
            }
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no way to write other control characters.
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

/// For programs.
pub fn json(outcome: &Outcome, image: &PolicyImage) -> Value {
    let (hit, all) = outcome.coverage.total();
    let results: Vec<Value> = outcome
        .results
        .iter()
        .map(|result| {
            let (status, reasons) = match &result.status {
                Status::Passed => ("passed", Vec::new()),
                Status::Skipped => ("off", Vec::new()),
                Status::Failed(reasons) => ("failed", reasons.clone()),
            };
            object!({
                "of": result.of,
                "name": result.name,
                "file": result.file,
                "line": result.line,
                "status": status,
                "reasons": reasons,
            })
        })
        .collect();
    let rules: Vec<Value> = outcome
        .coverage
        .rules()
        .iter()
        .filter_map(|rule| {
            let meta = image.metadata().rules.get(rule.rule as usize)?;
            Some(object!({
                "rule": meta.id,
                "clauses": rule.clauses,
                "hit": rule.hit,
                "exceptions": rule.exceptions.iter().filter_map(|one| {
                    let name = &meta.exceptions.get(usize::from(one.index))?.name;
                    Some(object!({ "name": name, "clauses": one.clauses, "hit": one.hit }))
                }).collect::<Vec<_>>(),
            }))
        })
        .collect();
    object!({
        "passed": outcome.passed(),
        "failed": outcome.failed(),
        "results": results,
        "coverage": { "clauses": all, "hit": hit, "rules": rules },
    })
}
