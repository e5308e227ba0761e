//! `interdict unload`: stop enforcing.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Args;

use super::{policies::untried, run::configuration};
use crate::{kernel::loader::remove_instance, protect};

/// Remove the pinned programs: enforcement ends. A running agent must be stopped first.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where the agent protects itself: a token as `interdict protect token` makes it.
    #[arg(long, value_name = "TOKEN")]
    break_glass: Option<String>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let config = match configuration(arguments.config.as_ref()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match protect::end(&config.pins, arguments.break_glass.as_deref()) {
        Ok(true) => println!("the protection has ended"),
        Ok(false) => {}
        Err(error) => return untried(&error),
    }
    let entries = match fs::read_dir(&config.pins) {
        Ok(entries) => entries,
        Err(error) => return untried(&format_args!("{}: {error}", config.pins.display())),
    };
    for entry in entries.filter_map(Result::ok) {
        println!("removing {}", entry.path().display());
        remove_instance(&entry.path());
    }
    ExitCode::SUCCESS
}
