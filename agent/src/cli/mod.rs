//! The command line: one module per command, each with its arguments and a `run` that answers an exit code.
//!
//! Exit codes: 0 done, 1 the answer is no (a rule is wrong, a test failed, a stream is broken), 2 could not be tried.

mod bundle;
mod check;
mod compile;
mod diff;
mod doctor;
mod explain;
mod feeds;
mod fields;
mod inspect;
mod keys;
mod net;
mod policies;
mod protect;
mod report;
mod run;
mod schema;
mod shell;
mod snooze;
mod spool;
mod test;
mod unload;
mod verify;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Where the configuration is unless something else is said.
const CONFIG_PATH: &str = "/etc/interdict/config.yaml";

/// Runtime security enforcement for Linux.
#[derive(Debug, Parser)]
#[command(name = "interdict", version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Doctor(doctor::Arguments),
    Net(net::Arguments),
    Feeds(feeds::Arguments),
    Unload(unload::Arguments),
    Completions(shell::Completions),
    Man(shell::Man),
    Check(check::Arguments),
    Compile(compile::Arguments),
    Test(test::Arguments),
    Why(why::Arguments),
    Inspect(inspect::Arguments),
    Explain(explain::Arguments),
    Fields(fields::Arguments),
    Schema(schema::Arguments),
    Diff(diff::Arguments),
    Bundle(bundle::Arguments),
    Verify(verify::Arguments),
    Report(report::Arguments),
    Spool(spool::Arguments),
    Keys(keys::Arguments),
    Snooze(snooze::Arguments),
    Protect(protect::Arguments),
}

/// Parses the arguments of this process and runs the command.
pub fn main() -> ExitCode {
    // One TLS provider for everything; the error means that it is installed already.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Net(arguments) => net::run(&arguments),
        Command::Feeds(arguments) => feeds::run(&arguments),
        Command::Unload(arguments) => unload::run(&arguments),
        Command::Completions(arguments) => shell::completions(&arguments),
        Command::Man(arguments) => shell::man(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Compile(arguments) => compile::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Why(arguments) => why::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Fields(arguments) => fields::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Bundle(arguments) => bundle::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Spool(arguments) => spool::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Snooze(arguments) => snooze::run(&arguments),
        Command::Protect(arguments) => protect::run(&arguments),
    }
}
