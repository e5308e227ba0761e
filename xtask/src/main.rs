//! The command line of the repository's tasks: `cargo xtask help` lists them.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::fuzz::Of;

/// Everything that is done to this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See acts refused by the kernel, told over HTTPS and proven, in a guest.
    Demo(xtask::demo::Arguments),
    /// Run all checks and tests: unit, property and guest tests.
    Test(xtask::test::Arguments),
    /// Measure what interdict costs.
    Bench(xtask::bench::Arguments),
    /// Show what the kernel programs come to on each kernel, and what they may.
    Budget(xtask::budget::Arguments),
    /// Build the kernel object into ebpf/prebuilt, or compare the one there with its sources.
    Ebpf(xtask::ebpf::Arguments),
    /// Run a command in a guest with a stock kernel, the agent and some policies.
    Vm(Box<xtask::vm::command::Arguments>),
    /// Compare what the kernel programs make of packets with what a reference parser says.
    FuzzPackets(xtask::fuzz::Arguments),
    /// Compare what the kernel program makes of look-ups with what another reader of DNS messages says.
    FuzzDns(xtask::fuzz::Arguments),
}

fn exit_code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}

fn main() -> ExitCode {
    xtask::vm::init::run_if_first();
    if let Some(code) = xtask::act::run_if_asked() {
        return code;
    }
    if let Some(code) = xtask::ebpf::wrapper::become_rustc_if_asked() {
        return code;
    }
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => {
            xtask::demo::main(&arguments).map(|as_expected| ExitCode::from(u8::from(!as_expected)))
        }
        Command::Test(arguments) => {
            xtask::test::main(&arguments).map(|all_well| ExitCode::from(u8::from(!all_well)))
        }
        Command::Bench(arguments) => {
            xtask::bench::main(&arguments).map(|no_worse| ExitCode::from(u8::from(!no_worse)))
        }
        Command::Budget(arguments) => {
            xtask::budget::main(&arguments).map(|all_well| ExitCode::from(u8::from(!all_well)))
        }
        Command::Ebpf(arguments) => xtask::ebpf::main(&arguments).map(|()| ExitCode::SUCCESS),
        Command::FuzzPackets(arguments) => {
            xtask::fuzz::main(Of::Packets, &arguments).map(|()| ExitCode::SUCCESS)
        }
        Command::FuzzDns(arguments) => {
            xtask::fuzz::main(Of::Dns, &arguments).map(|()| ExitCode::SUCCESS)
        }
        Command::Vm(arguments) => xtask::vm::command::main(&arguments).map(exit_code),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}
