//! `interdict schema`: the JSON Schema of policy files.

use std::process::ExitCode;

use clap::Args;

use super::policies::print_json;

/// Print the JSON Schema of policy files, for editors.
#[derive(Debug, Args)]
pub(super) struct Arguments {}

/// Runs the command.
pub(super) fn run(_arguments: &Arguments) -> ExitCode {
    print_json(&interdict_rules::schema::schema());
    ExitCode::SUCCESS
}
