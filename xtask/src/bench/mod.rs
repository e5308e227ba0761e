//! `cargo xtask bench`: what interdict costs, measured so that anybody can repeat it.

mod guest;
mod net;

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
    /// Nanoseconds per packet at an interface with a large feed, on this machine's kernel.
    Net(net::Arguments),
}

/// Runs the command.
pub fn main(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Guest(arguments) => guest::main(arguments),
        What::Net(arguments) => net::main(arguments),
    }
}
