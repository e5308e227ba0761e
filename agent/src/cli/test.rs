//! `interdict test`: the tests of policies, on the compiled image, in the engine the kernel runs.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use interdict_rules::suite;

use super::policies::{NO, With, compiled, print, print_json, untried};

/// Run the tests of policies: inline ones and `*.cases.yaml`. Needs no root, no kernel and no agent.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Policy files and directories.
    #[arg(default_value = "/etc/interdict/policies")]
    paths: Vec<PathBuf>,
    /// How to tell the results.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Tell passed tests too.
    #[arg(short, long)]
    verbose: bool,
    /// Fail unless every clause is hit by some test.
    #[arg(long)]
    require_coverage: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Human,
    /// Test Anything Protocol.
    Tap,
    /// JUnit XML.
    Junit,
    /// For programs.
    Json,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let compiled = match compiled(&arguments.paths, With::PoliciesAndCases) {
        Ok(compiled) => compiled,
        Err(error) => return untried(&error),
    };
    let Some(image) = &compiled.outcome.image else {
        compiled.complain();
        return ExitCode::from(NO);
    };
    let outcome = suite::run(&compiled.outcome.parsed, &compiled.sources, image);
    match arguments.format {
        Format::Human => print(&suite::human(&outcome, image, arguments.verbose)),
        Format::Tap => print(&suite::tap(&outcome)),
        Format::Junit => print(&suite::junit(&outcome)),
        Format::Json => print_json(&suite::json(&outcome, image)),
    }
    let (hit, all) = outcome.coverage.total();
    if outcome.failed() > 0 || arguments.require_coverage && hit < all {
        return ExitCode::from(NO);
    }
    ExitCode::SUCCESS
}
