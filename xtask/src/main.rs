//! The command line of the repository's tasks: `cargo xtask help` lists them.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything that is done to this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the kernel object into ebpf/prebuilt, or compare the one there with its sources.
    Ebpf(xtask::ebpf::Arguments),
}

fn main() -> ExitCode {
    if let Some(code) = xtask::ebpf::wrapper::become_rustc_if_asked() {
        return code;
    }
    let result = match Arguments::parse().command {
        Command::Ebpf(arguments) => xtask::ebpf::main(&arguments).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}
