//! `cargo xtask fuzz-packets` and `fuzz-dns`: packets, and messages to name servers, made up by the million, judged by the
//! kernel programs and by parsers that share nothing with them.
//!
//! Needs root, and a kernel that loads BPF programs; nothing is attached. The comparing program is an example of the agent,
//! because it loads programs as the agent does.

use anyhow::Result;
use clap::Args;

use crate::run;

/// Compares the kernel's parsers with a reference.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many packets.
    #[arg(long, default_value_t = 200_000)]
    cases: u64,
    /// Where the generator starts: the same seed makes the same packets.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What is made up.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    /// Packets of all kinds.
    Packets,
    /// Messages to name servers.
    Dns,
}

/// Runs the command; a packet that is treated otherwise than the reference says is an error.
///
/// # Errors
/// There was one, or it could not be tried.
pub fn main(of: Of, arguments: &Arguments) -> Result<()> {
    let example = match of {
        Of::Packets => "fuzz_packets",
        Of::Dns => "fuzz_dns",
    };
    run::to_the_end(
        run::cargo()
            .args(["run", "--quiet", "--locked", "--release", "--package", "interdict"])
            .args(["--example", example, "--"])
            .args([arguments.cases.to_string(), arguments.seed.to_string()]),
    )
}
