//! `cargo xtask bench`: what interdict costs, measured so that anybody can repeat it.

mod guest;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Measures.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Instructions per operation in a guest, without the agent and with policies of several sizes.
    Guest(guest::Arguments),
}

/// Runs the command.
pub fn main(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Guest(arguments) => guest::main(arguments),
    }
}
