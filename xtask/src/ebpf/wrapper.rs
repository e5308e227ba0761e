//! Stands between cargo and rustc while the kernel object is built, so that crates are called the same everywhere.
//!
//! Cargo tells rustc a `-Cmetadata` hash that, for crates outside the registry, depends on where the checkout lies. It
//! ends up in the names of kernel functions and so in the object's type information. Here it becomes the package's name
//! and version. `--remap-path-prefix` cannot do this: it is about paths in the output, not about that hash.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use super::TARGET;

/// Set for the cargo that builds the kernel object; makes this program a wrapper for rustc.
pub const VARIABLE: &str = "INTERDICT_RUSTC_WRAPPER";

/// Becomes rustc if cargo called us as its wrapper; otherwise returns and lets the command line be parsed.
pub fn become_rustc_if_asked() -> Option<ExitCode> {
    env::var_os(VARIABLE)?;
    let mut arguments = env::args().skip(1);
    let rustc = arguments.next()?;
    let arguments: Vec<String> = arguments.collect();
    let package = format!(
        "{} {}",
        env::var("CARGO_PKG_NAME").unwrap_or_default(),
        env::var("CARGO_PKG_VERSION").unwrap_or_default()
    );
    let error = Command::new(&rustc).args(same_everywhere(arguments, &package)).exec();
    eprintln!("error: could not start {rustc}: {error}");
    Some(ExitCode::from(2))
}

fn same_everywhere(arguments: Vec<String>, package: &str) -> Vec<String> {
    // What runs on this machine, build scripts and macros, leaves no name behind.
    if !arguments.iter().any(|argument| argument == TARGET) {
        return arguments;
    }
    arguments
        .into_iter()
        .map(|argument| match argument.strip_prefix("metadata=") {
            Some(_) => format!("metadata={package}"),
            None => argument,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(arguments: &[&str]) -> Vec<String> {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        same_everywhere(arguments, "interdict-abi 0.1.0")
    }

    #[test]
    fn a_crate_for_the_kernel_is_named_by_package_and_version() {
        assert_eq!(
            called(&["--target", TARGET, "-C", "metadata=0123", "-C", "extra-filename=-4567"]),
            [
                "--target",
                TARGET,
                "-C",
                "metadata=interdict-abi 0.1.0",
                "-C",
                "extra-filename=-4567"
            ]
        );
    }

    #[test]
    fn a_build_script_is_left_alone() {
        assert_eq!(called(&["-C", "metadata=0123"]), ["-C", "metadata=0123"]);
    }
}
