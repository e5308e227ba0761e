//! `interdict compile`: policies to an image.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use clap::Args;
use interdict_rules::{
    analyse::{RuleCost, costs},
    lower::{Budget, Stats},
};
use serde_json::json;

use crate::canary::acts::Places;

use super::policies::{Format, NO, With, compiled, print, print_json, untried};

/// Compile policies to one policy image.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Policy files and directories.
    #[arg(default_value = "/etc/interdict/policies")]
    paths: Vec<PathBuf>,
    /// Where the image goes.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Add the rules of the canaries of an agent with this state folder, such as /var/lib/interdict: that agent sees by
    /// them whether the image is enforced. It must be this program, at the same path.
    #[arg(long, value_name = "STATE")]
    canaries: Option<PathBuf>,
    /// Show what the image is made of.
    #[arg(long)]
    stats: bool,
    /// Show what each rule costs by itself.
    #[arg(long)]
    costs: bool,
    /// How to show it.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let compiled = match compiled(&arguments.paths, With::Policies) {
        Ok(compiled) => compiled,
        Err(error) => return untried(&error),
    };
    let compiled = match arguments.canaries.as_deref().map(Places::below) {
        None => compiled,
        Some(Ok(places)) => compiled.with_canaries(&places),
        Some(Err(error)) => return untried(&error),
    };
    if !compiled.outcome.diagnostics.is_empty() {
        compiled.complain();
    }
    let Some(image) = &compiled.outcome.image else { return ExitCode::from(NO) };
    let bytes = match image.encode() {
        Ok(bytes) => bytes,
        Err(error) => return untried(&error),
    };
    if let Some(output) = &arguments.output
        && let Err(error) = std::fs::write(output, &bytes)
    {
        return untried(&format_args!("{}: {error}", output.display()));
    }
    if arguments.costs {
        let costs = costs(&compiled.outcome.program, image.metadata(), Budget::default());
        match arguments.format {
            Format::Human => print(&costs_human(&costs)),
            Format::Json => print_json(&costs_json(&costs)),
        }
        return ExitCode::SUCCESS;
    }
    let stats = compiled.outcome.stats.as_ref();
    match (arguments.format, arguments.stats, stats) {
        (Format::Human, true, Some(stats)) => print(&human(stats, bytes.len())),
        (Format::Json, _, Some(stats)) => print_json(&program(stats, bytes.len())),
        (Format::Human, ..) | (Format::Json, _, None) => {
            print(&format!("{} rules, {} bytes\n", image.metadata().written(), bytes.len()));
        }
    }
    ExitCode::SUCCESS
}

fn human(stats: &Stats, file_bytes: usize) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} rules; kernel image {} bytes, file {file_bytes} bytes",
        stats.rules, stats.image_bytes
    );
    let _ = writeln!(text, "\nclauses");
    for (family, count) in &stats.clauses {
        let _ = writeln!(text, "  {:<10} {count:>8}", family.name());
    }
    if !stats.automata.is_empty() {
        let _ = writeln!(
            text,
            "\n{:<28} {:>9} {:>8} {:>8} {:>8} {:>10}",
            "automata", "patterns", "states", "classes", "labels", "bytes"
        );
        for one in &stats.automata {
            let name = match (one.family, one.fact) {
                (Some(family), Some(fact)) => format!("{}: {}", family.name(), fact.name()),
                (None, Some(_)) => "all: programs".to_owned(),
                (_, None) => "arguments".to_owned(),
            };
            let _ = writeln!(
                text,
                "  {name:<26} {:>9} {:>8} {:>8} {:>8} {:>10}",
                one.patterns, one.states, one.classes, one.labels, one.bytes
            );
        }
    }
    let mut parts: Vec<_> = stats.parts.iter().filter(|part| part.bytes > 0).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    let _ = writeln!(text, "\n{:<48} {:>10}", "largest parts", "bytes");
    for part in parts.iter().take(12) {
        let _ = writeln!(text, "  {:<46} {:>10}", part.name, part.bytes);
    }
    text
}

fn program(stats: &Stats, file_bytes: usize) -> serde_json::Value {
    json!({
        "rules": stats.rules,
        "kernel_bytes": stats.image_bytes,
        "file_bytes": file_bytes,
        "clauses": stats.clauses.iter()
            .map(|(family, count)| (family.name().to_owned(), json!(count)))
            .collect::<serde_json::Map<_, _>>(),
        "automata": stats.automata.iter().map(|one| json!({
            "family": one.family.map(|family| family.name()),
            "fact": one.fact.map(|fact| fact.name()),
            "patterns": one.patterns,
            "states": one.states,
            "classes": one.classes,
            "labels": one.labels,
            "bytes": one.bytes,
            "steps": one.steps,
        })).collect::<Vec<_>>(),
        "parts": stats.parts.iter()
            .map(|part| json!({ "name": part.name, "bytes": part.bytes }))
            .collect::<Vec<_>>(),
    })
}

fn costs_human(costs: &[RuleCost]) -> String {
    let mut text = format!(
        "{:<24} {:>10} {:>10} {:>8} {:>8} {:>8}\n",
        "rule, by itself", "bytes", "patterns", "states", "steps", "clauses"
    );
    for cost in costs {
        let _ = writeln!(
            text,
            "{:<24} {:>10} {:>10} {:>8} {:>8} {:>8}",
            cost.id, cost.bytes, cost.patterns, cost.states, cost.steps, cost.clauses
        );
    }
    text
}

fn costs_json(costs: &[RuleCost]) -> serde_json::Value {
    let one = |cost: &RuleCost| {
        json!({
            "rule": cost.id,
            "bytes": cost.bytes,
            "patterns": cost.patterns,
            "states": cost.states,
            "steps": cost.steps,
            "clauses": cost.clauses,
        })
    };
    serde_json::Value::Array(costs.iter().map(one).collect())
}
