//! `cargo xtask test`: everything that can tell whether this repository is sound.
//!
//! The kernel object is rebuilt and compared, formatting is checked, the shipped policies run their own tests, then all
//! unit, property and guest tests run. The last line counts them, as the runner reported them.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::vm::kernel::Kernel;
use crate::{deploy, ebpf, receivers, run, step, tools};

/// Runs all checks and tests.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only tests whose name contains this; the kernel object and formatting are not looked at then.
    pub filter: Option<String>,
}

/// Kernels that guest tests boot, fetched before tests run so that a slow mirror is not a slow test.
const KERNELS: &[&str] = &["6.1", "6.12", "newest"];

/// What a runner reported, added up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: u32,
    failed: u32,
    ignored: u32,
}

/// Runs the command; answers whether all is well.
pub fn main(arguments: &Arguments) -> Result<bool> {
    tools::packages(tools::GUEST_PACKAGES, "guests")?;
    for kernel in KERNELS {
        Kernel::named(kernel)?;
    }
    receivers::ready()?;
    let mut environment: Vec<(&str, std::ffi::OsString)> = vec![(run::BUILT, "1".into())];
    if arguments.filter.is_none() {
        let checking = step::begin("checking the kernel object against its sources");
        match ebpf::check()? {
            ebpf::Checked::Same => checking.done_with("the same bytes"),
            ebpf::Checked::Rebuilt(object) => {
                environment.push((ebpf::OBJECT_VARIABLE, object.into_os_string()));
                checking.done_with("rebuilt with other tools");
            }
        }
        let checking = step::begin("checking formatting");
        run::to_the_end(run::cargo().args(["fmt", "--all", "--check"]))?;
        checking.done();
        let checking = step::begin("checking what deploy/ ships");
        deploy::check()?;
        checking.done();
    }
    let building = step::begin("building programs");
    run::to_the_end(
        run::cargo()
            .args(["build", "--quiet", "--locked", "--workspace", "--bins"])
            .envs(environment.iter().map(|(name, value)| (name, value))),
    )?;
    building.done();
    if arguments.filter.is_none() {
        let checking = step::begin("running the tests inside the shipped policies");
        let policies = crate::paths::root().join("policies");
        run::to_the_end(std::process::Command::new(run::agent_path()).arg("test").arg(policies))?;
        checking.done();
    }
    let testing = step::begin("building and running all tests");
    let mut command = run::cargo();
    command
        .args(["test", "--locked", "--workspace", "--no-fail-fast"])
        .args(&arguments.filter)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("could not start cargo")?;
    let mut count = Count::default();
    let output = child.stdout.take().context("standard output is a pipe")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        count.add(&line);
    }
    let succeeded = child.wait()?.success();
    testing.done_with(if succeeded { "all passed" } else { "not all passed" });
    println!("{} passed, {} failed, {} ignored", count.passed, count.failed, count.ignored);
    Ok(succeeded && count.failed == 0 && count.passed > 0)
}

impl Count {
    /// Adds a line like `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for part in result.split(['.', ';']) {
            let Some((number, word)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u32>() else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_runs_are_added_up() {
        let mut count = Count::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.02s",
        ] {
            count.add(line);
        }
        assert_eq!(count, Count { passed: 7, failed: 2, ignored: 1 });
    }
}
