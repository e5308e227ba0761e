//! `cargo xtask fuzz-packets`: packets made up by the million, judged by the kernel programs and by a parser that shares
//! nothing with them.
//!
//! Needs root, and a kernel that loads BPF programs; nothing is attached. The comparing program is an example of the agent,
//! because it loads programs as the agent does.

use anyhow::Result;
use clap::Args;

use crate::run;

/// Compares the kernel's parsers of packets with a reference.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many packets.
    #[arg(long, default_value_t = 200_000)]
    cases: u64,
    /// Where the generator starts: the same seed makes the same packets.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the command; a packet that is treated otherwise than the reference says is an error.
///
/// # Errors
/// There was one, or it could not be tried.
pub fn main(arguments: &Arguments) -> Result<()> {
    run::to_the_end(
        run::cargo()
            .args(["run", "--quiet", "--locked", "--release", "--package", "interdict"])
            .args(["--example", "fuzz_packets", "--"])
            .args([arguments.cases.to_string(), arguments.seed.to_string()]),
    )
}
