//! `interdict fields`: the reference of acts and fields.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use interdict_abi::ids::Act;
use interdict_rules::field::reference;

use super::policies::{NO, print, print_json};

/// Show the fields rules can test, with their types and the acts they are known for.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only those known for this act, such as `exec`.
    #[arg(long)]
    act: Option<String>,
    /// Show the acts instead, and what rules may do about them.
    #[arg(long)]
    acts: bool,
    /// How to show it.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Human,
    /// For documentation.
    Markdown,
    /// For programs.
    Json,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let act = match &arguments.act {
        None => None,
        Some(name) => match Act::ALL.iter().find(|act| act.name() == name) {
            Some(act) => Some(*act),
            None => {
                eprintln!(
                    "interdict: there is no act `{name}`; `interdict fields --acts` lists all"
                );
                return ExitCode::from(NO);
            }
        },
    };
    match (arguments.format, arguments.acts) {
        (Format::Human, true) => print(&reference::acts_human()),
        (Format::Human, false) => print(&reference::human(act)),
        (Format::Markdown, _) => print(&reference::markdown()),
        (Format::Json, _) => print_json(&reference::json()),
    }
    ExitCode::SUCCESS
}
