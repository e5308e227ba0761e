//! `interdict check`: what is wrong with policies.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use interdict_rules::{
    analyse::costs,
    diag::{self, Code, Level},
    lower::Budget,
};

use super::policies::{Compiled, NO, With, colour, compiled, print, print_json, untried};

/// Check policies and say everything that is wrong, at once.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Policy files and directories.
    #[arg(default_value = "/etc/interdict/policies")]
    paths: Vec<PathBuf>,
    /// How to say it.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Most bytes the kernel's half of the image may take: fail a build before a policy outgrows its hosts.
    #[arg(long, value_name = "BYTES")]
    image_bytes: Option<usize>,
    /// Most bytes that any rule may take by itself.
    #[arg(long, value_name = "BYTES")]
    rule_bytes: Option<usize>,
    /// Most steps that reading the strings of one act may take for any rule by itself.
    #[arg(long, value_name = "STEPS")]
    rule_steps: Option<usize>,
    /// Warnings count as errors.
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Human,
    /// For programs.
    Json,
    /// For code hosts.
    Sarif,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let mut compiled = match compiled(&arguments.paths, With::PoliciesAndCases) {
        Ok(compiled) => compiled,
        Err(error) => return untried(&error),
    };
    // An agent must start with an exception that expired yesterday, and goes on without it; here it is for people to
    // renew or remove.
    for diagnostic in &mut compiled.outcome.diagnostics {
        if diagnostic.code == Code::Expired {
            diagnostic.level = Level::Error;
        }
    }
    let diagnostics = &compiled.outcome.diagnostics;
    match arguments.format {
        Format::Human => {
            print(&diag::terminal(diagnostics, &compiled.sources, colour()));
            print(&format!("{}\n", compiled.summary()));
            if let Some(first) = diagnostics.first() {
                print(&format!("`interdict explain {}` tells more\n", first.code));
            }
        }
        Format::Json => print_json(&diag::json(diagnostics, &compiled.sources)),
        Format::Sarif => print_json(&diag::sarif(diagnostics, &compiled.sources)),
    }
    let size = compiled.outcome.stats.as_ref().map_or(0, |stats| stats.image_bytes);
    if let Some(most) = arguments.image_bytes
        && size > most
    {
        eprintln!(
            "interdict: the image takes {size} bytes, the budget is {most}; `interdict compile --costs` tells which rules"
        );
        return ExitCode::from(NO);
    }
    if !within(arguments, &compiled) {
        return ExitCode::from(NO);
    }
    if compiled.outcome.failed() || arguments.deny_warnings && !diagnostics.is_empty() {
        return ExitCode::from(NO);
    }
    ExitCode::SUCCESS
}

/// Whether every rule keeps to the budget of rules; says which do not.
fn within(arguments: &Arguments, compiled: &Compiled) -> bool {
    let Some(image) = &compiled.outcome.image else { return true };
    if arguments.rule_bytes.is_none() && arguments.rule_steps.is_none() {
        return true;
    }
    let mut kept = true;
    for cost in costs(&compiled.outcome.program, image.metadata(), Budget::default()) {
        let budgets = [
            ("bytes", cost.bytes, arguments.rule_bytes),
            ("steps", cost.steps, arguments.rule_steps),
        ];
        for (what, takes, most) in budgets {
            if let Some(most) = most
                && takes > most
            {
                let (file, line) = &cost.place;
                eprintln!(
                    "{file}:{line}: the rule `{}` takes {takes} {what} by itself, the budget is {most}",
                    cost.id
                );
                kept = false;
            }
        }
    }
    kept
}
