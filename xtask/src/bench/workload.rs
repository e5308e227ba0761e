//! What the guest benches share: the programs of `bench/`, the agent in release mode, and policies of a given size.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::vm::machine::Clock;
use crate::vm::{Guest, Outcome};
use crate::{paths, run, step};

/// Everything that is put into guests.
#[derive(Debug)]
pub(super) struct Programs {
    folder: PathBuf,
    agent: PathBuf,
}

/// Makes the places that the workload acts in, before any agent runs.
const PREPARE: &str = "workload prepare";

impl Programs {
    /// Builds them; `agent` is used instead of the one of this repository in release mode.
    pub(super) fn build(agent: Option<&Path>) -> Result<Self> {
        let building = step::begin("building workload and agent");
        let folder = run::static_programs("bench")?;
        let agent = match agent {
            Some(program) => program.to_path_buf(),
            None => {
                run::to_the_end(
                    run::cargo()
                        .args(["build", "--quiet", "--locked", "--release", "--workspace"])
                        .args(["--bin", "interdict"]),
                )?;
                paths::cargo_target().join("release/interdict")
            }
        };
        building.done();
        Ok(Self { folder, agent })
    }

    /// A guest that counts instructions, with the workload in it and nothing that enforces.
    pub(super) fn guest(&self, kernel: &str) -> Result<Guest> {
        Ok(Guest::new(kernel, std::env::current_exe()?)?
            .add(self.folder.join("workload"), "/usr/bin/workload")
            .add(self.folder.join("nothing"), "/opt/nothing")
            .before(PREPARE)
            .clock(Clock::Instructions)
            .memory("3G")
            .timeout(Duration::from_secs(3600)))
    }

    /// The same with the agent and a policy of so many rules per family.
    pub(super) fn enforcing(&self, kernel: &str, rules: u32) -> Result<Guest> {
        let policy = policy(rules);
        let guest = self.guest(kernel)?.agent(&self.agent);
        Ok(guest.file("/etc/interdict/policies/bench.yaml", 0o644, policy))
    }
}

/// Runs commands from a file: as arguments of a shell they would be in every alert, among the ancestors.
pub(super) fn run_as_file(guest: Guest, commands: &str) -> Result<Outcome> {
    const FILE: &str = "/opt/measure";
    guest.file(FILE, 0o644, commands.to_owned()).run(&["sh", FILE])
}

/// A policy with so many rules per family, none about what the workload does but the one it means to hit; and, if there
/// are any, one on an open and one on an exec that only tell.
fn policy(rules: u32) -> String {
    let mut text = String::from(
        "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: { name: bench }\nspec:\n  mode: enforce\n  rules:",
    );
    if rules == 0 {
        text.push_str(" []\n");
        return text;
    }
    text.push_str(
        "\n    - { id: B-TOLD-OPEN, title: open, on: [file.read], when: 'file.path == \"/etc/secret/told.key\"', action: alert }\n    \
           - { id: B-TOLD-EXEC, title: exec, on: [exec], when: 'exec.path == \"/tmp/w/bin/told\"', action: alert }\n",
    );
    for index in 0..rules {
        // Half of them one path each, half a folder with all below it.
        let path = if index % 2 == 0 {
            format!("/etc/secret/f{index}.key")
        } else if index == 7 {
            "/etc/secret/f7.key".to_owned()
        } else {
            format!("/srv/tenant{index}/private/**")
        };
        let (high, low) = (index / 250, index % 250);
        let _ = write!(
            text,
            "    - {{ id: B-FILE-{index}, title: file, on: [file.read], when: 'file.path in [\"{path}\"]', action: block }}\n    \
             - {{ id: B-EXEC-{index}, title: exec, on: [exec], when: 'exec.path in [\"/opt/denied{index}/**\"]', action: block }}\n    \
             - {{ id: B-NET-{index}, title: net, on: [net.connect], when: 'net.dst.ip in [\"100.{high}.{low}.0/24\"]', action: block }}\n",
        );
    }
    text
}
