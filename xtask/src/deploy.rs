//! Checks what `deploy/` ships: manifests against the Kubernetes schemas, the unit by systemd itself.
//!
//! The validator comes from PyPI into a virtual environment below `target/tools`. Where systemd is not installed its
//! check is left out, and said to be.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{paths, run, step, tools};

/// The validator's release; it brings the schemas.
const VALIDATOR: &str = "kubernetes-validate==1.37.0";

/// Checks everything.
pub fn check() -> Result<()> {
    let manifest = paths::root().join("deploy/kubernetes/interdict.yaml");
    run::quietly(Command::new(validator()?).args(["--strict", "--quiet"]).arg(manifest))
        .context("the Kubernetes manifest")?;
    unit()
}

fn validator() -> Result<PathBuf> {
    let environment = paths::tools().join("python");
    let program = environment.join("bin/kubernetes-validate");
    if !program.exists() {
        tools::packages(&["python3-venv"], "validating manifests")?;
        let installing = step::begin(&format!("installing {VALIDATOR} into target/tools/python"));
        run::quietly(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        run::quietly(
            Command::new(environment.join("bin/pip")).args(["install", "--quiet", VALIDATOR]),
        )?;
        installing.done();
    }
    Ok(program)
}

fn unit() -> Result<()> {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        step::note("systemd is not installed: deploy/systemd/interdict.service is not checked");
        return Ok(());
    }
    let unit = fs::read_to_string(paths::root().join("deploy/systemd/interdict.service"))?;
    let folder = paths::target().join("deploy");
    fs::create_dir_all(&folder)?;
    let copy = folder.join("interdict.service");
    // systemd looks whether the program is there, which it is only where the agent is installed.
    fs::write(&copy, unit.replace("/usr/bin/interdict", "/bin/true"))?;
    let said = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output()?;
    let complaints = String::from_utf8_lossy(&said.stderr);
    anyhow::ensure!(
        said.status.success() && !complaints.contains("interdict.service"),
        "deploy/systemd/interdict.service: {complaints}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_unit_and_the_container_have_the_same_capabilities() {
        let read =
            |path: &str| fs::read_to_string(paths::root().join("deploy").join(path)).unwrap();
        let unit = read("systemd/interdict.service");
        let of_unit: BTreeSet<String> = unit
            .lines()
            .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
            .unwrap()
            .split(' ')
            .map(|name| name.trim_start_matches("CAP_").to_owned())
            .collect();
        let manifest = read("kubernetes/interdict.yaml");
        let of_container: BTreeSet<String> = manifest
            .lines()
            .find_map(|line| line.trim().strip_prefix("add: ["))
            .unwrap()
            .trim_end_matches(']')
            .split(", ")
            .map(str::to_owned)
            .collect();
        assert_eq!(of_unit, of_container);
    }
}
