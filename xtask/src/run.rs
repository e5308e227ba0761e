//! Runs other programs and says, when one fails, which one and how.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::paths;

fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Runs to the end with our own output; any other end than success is an error.
pub fn to_the_end(command: &mut Command) -> Result<()> {
    let line = shown(command);
    let status = command.status().with_context(|| format!("could not start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Runs to the end without output; what it said is part of the error if it did not succeed.
pub fn quietly(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs to the end and answers what it wrote to standard output.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let line = shown(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{line}`"))?;
    if !output.status.success() {
        bail!(
            "`{line}` ended with {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output.stdout)
}

/// Same, as text without the last line end.
pub fn text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?).trim_end().to_owned())
}

/// The cargo that runs us, or the one in the path.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::root());
    command
}

/// Set by `cargo xtask test`, which has built everything: programs are then only looked for.
pub const BUILT: &str = "INTERDICT_PROGRAMS_ARE_BUILT";

/// Builds one program of this repository as `cargo build` does and answers where it is. The whole workspace is selected,
/// so that dependencies have the same features whatever is built and are not built again.
pub fn built(program: &str) -> Result<PathBuf> {
    if std::env::var_os(BUILT).is_none() {
        to_the_end(cargo().args([
            "build",
            "--quiet",
            "--locked",
            "--workspace",
            "--bin",
            program,
        ]))?;
    }
    Ok(paths::cargo_target().join("debug").join(program))
}

/// Builds the programs of a folder that is a workspace of its own, static and at fixed addresses, so that they run in any
/// root; answers the folder they are in.
pub fn static_programs(folder: &str) -> Result<PathBuf> {
    let target = paths::target().join(folder);
    to_the_end(
        without_cargo(&mut Command::new("cargo"))
            .current_dir(paths::root().join(folder))
            .args(["build", "--quiet", "--locked", "--release"])
            // Named, so that the flags are not used for build scripts as well.
            .args(["--target", "x86_64-unknown-linux-gnu"])
            .env("RUSTFLAGS", "-Ctarget-feature=+crt-static -Crelocation-model=static")
            .env("CARGO_TARGET_DIR", &target),
    )?;
    Ok(target.join("x86_64-unknown-linux-gnu/release"))
}

/// Where the agent is once it was built.
pub fn agent_path() -> PathBuf {
    paths::cargo_target().join("debug/interdict")
}

/// The agent, built.
pub fn built_agent() -> Result<PathBuf> {
    built("interdict")
}

/// Removes what a surrounding cargo or rustup told its children, so that another toolchain can be called from here.
pub fn without_cargo(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let inherited =
            name.starts_with("CARGO") && name != "CARGO_HOME" && name != "CARGO_BUILD_JOBS"
                || name.starts_with("RUST")
                || name == "LD_LIBRARY_PATH";
        if inherited {
            command.env_remove(name);
        }
    }
    command
}
