//! `interdict protect`: how the agent is guarded, and how that ends.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};

use super::{policies::untried, run::configuration};
use crate::{pipeline::this_host, protect};

/// Show how the agent protects itself, and end that with a break-glass token.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether the guard is armed. Exit code 0: it is, 1: it is not.
    Status {
        /// Configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Print the command that makes a token for this host, to be run where the break-glass key is.
    Request,
    /// Make a token. Run this where the private key is, not on the host that it is for.
    Token {
        /// Private key (PKCS#8), as `interdict keys create` makes it.
        #[arg(long)]
        key: PathBuf,
        /// Name of the host.
        #[arg(long)]
        host: String,
        /// Its boot id.
        #[arg(long)]
        boot: String,
        /// Minutes it is valid for, at most a day.
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=1440))]
        minutes: u64,
    },
    /// End the protection until the agent starts again. What the rules enforce stays in force.
    Off {
        /// The token.
        #[arg(long)]
        break_glass: Option<String>,
        /// Configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let pins = |config: &Option<PathBuf>| configuration(config.as_ref()).map(|config| config.pins);
    match &arguments.command {
        Command::Status { config } => match pins(config) {
            Err(code) => code,
            Ok(pins) => match protect::standing(&pins) {
                Ok(protect::Standing::Loaded(true)) => {
                    println!("armed");
                    ExitCode::SUCCESS
                }
                Ok(protect::Standing::Loaded(false) | protect::Standing::Absent) => {
                    println!("not armed");
                    ExitCode::from(1)
                }
                Err(error) => untried(&error),
            },
        },
        Command::Request => {
            let host = this_host();
            println!(
                "interdict protect token --key PRIVATE_KEY --host {} --boot {}",
                host.name, host.boot_id
            );
            ExitCode::SUCCESS
        }
        Command::Token { key, host, boot, minutes } => {
            match protect::make(key, host, boot, minutes * 60) {
                Ok(token) => {
                    println!("{token}");
                    ExitCode::SUCCESS
                }
                Err(error) => untried(&error),
            }
        }
        Command::Off { break_glass, config } => match pins(config) {
            Err(code) => code,
            Ok(pins) => match protect::end(&pins, break_glass.as_deref()) {
                Ok(true) => {
                    println!("the protection has ended until the agent starts again");
                    ExitCode::SUCCESS
                }
                Ok(false) => {
                    println!("not armed");
                    ExitCode::from(1)
                }
                Err(error) => untried(&error),
            },
        },
    }
}
