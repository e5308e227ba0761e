//! The `interdict` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    interdict_agent::cli::main()
}
