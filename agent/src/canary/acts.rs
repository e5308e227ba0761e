//! Acts that must be refused: one for each hook that can be put to the test without leaving this host or harming anybody.
//!
//! Each is a rule of its own, compiled into the image with the operator's rules, and a function that does the act. Rules
//! are only added for acts that the operator's rules are about: a hook that no rule needs is not attached.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions, Permissions},
    io,
    net::UdpSocket,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use interdict_abi::ids::Act;
use interdict_rules::meta::RuleMeta;

/// What every canary rule's id begins with; no other rule's may.
pub const PREFIX: &str = "INTERDICT-CANARY-";

/// Where acts are tried: an address of this host that nobody listens on.
const ADDRESS: &str = "127.255.255.254:9";

/// What canaries are tried on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    file: PathBuf,
    program: PathBuf,
}

/// One canary.
#[derive(Clone, Copy)]
pub struct Canary {
    /// The act it tries.
    pub act: Act,
    /// Its rule's id.
    pub rule: &'static str,
    when: fn(&Places) -> String,
    attempt: fn(&Places) -> io::Result<()>,
}

impl std::fmt::Debug for Canary {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.rule)
    }
}

/// All canaries: the table to extend when a hook is added.
pub const CANARIES: &[Canary] = &[
    Canary {
        act: Act::FileRead,
        rule: "INTERDICT-CANARY-READ",
        when: |places| format!("file.path == {}", quoted(&places.file)),
        attempt: |places| fs::File::open(&places.file).map(drop),
    },
    Canary {
        act: Act::FileWrite,
        rule: "INTERDICT-CANARY-WRITE",
        when: |places| format!("file.path == {}", quoted(&places.file)),
        attempt: |places| OpenOptions::new().append(true).open(&places.file).map(drop),
    },
    Canary {
        act: Act::Exec,
        rule: "INTERDICT-CANARY-EXEC",
        when: |places| format!("exec.path == {}", quoted(&places.program)),
        attempt: |places| {
            let mut command = Command::new(&places.program);
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let status = child.env_clear().spawn()?.wait()?;
            // A rule that kills matched as well.
            match status.signal() {
                Some(_) => Err(io::Error::from_raw_os_error(libc::EPERM)),
                None => Ok(()),
            }
        },
    },
    Canary {
        act: Act::NetConnect,
        rule: "INTERDICT-CANARY-CONNECT",
        when: |_| "net.dst.ip in [\"127.255.255.254\"] and net.dst.port == 9".to_owned(),
        // For a datagram socket a connection is a note that the kernel takes: nothing is sent.
        attempt: |_| UdpSocket::bind("127.0.0.1:0")?.connect(ADDRESS),
    },
];

/// How many of these rules are an operator's.
pub fn without(rules: &[RuleMeta]) -> usize {
    rules.iter().filter(|rule| !rule.id.starts_with(PREFIX)).count()
}

fn quoted(path: &Path) -> String {
    let mut text = String::from("\"");
    for character in path.to_string_lossy().chars() {
        if character == '"' || character == '\\' {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    text
}

impl Places {
    /// Makes what canaries are tried on, in the state folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn make(state: &Path) -> io::Result<Self> {
        let folder = state.join("canary");
        fs::create_dir_all(&folder)?;
        // Rules compare the path that the kernel builds.
        let folder = fs::canonicalize(folder)?;
        let places = Self { file: folder.join("file"), program: folder.join("program") };
        for (path, mode) in [(&places.file, 0o600), (&places.program, 0o700)] {
            // They are there already, and protected, when rules of an earlier agent are in force.
            if !path.exists() {
                fs::write(path, "#!/bin/false\n")?;
                fs::set_permissions(path, Permissions::from_mode(mode))?;
            }
        }
        Ok(places)
    }

    /// The policy with the rules of all canaries for these acts. Nothing if there are none. They are enforced in every
    /// mode, so what cannot be known of somebody else's act must not make it one of theirs: `on_fault: pass`.
    pub fn policy(&self, acts: &[Act]) -> Option<String> {
        let mut text = String::from(
            "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: { name: interdict-canaries }\nspec:\n  \
             mode: enforce\n  rules:\n",
        );
        let wanted = CANARIES.iter().filter(|canary| acts.contains(&canary.act));
        let mut any = false;
        for canary in wanted {
            any = true;
            let when = (canary.when)(self);
            let _infallible = write!(
                text,
                "    - id: {}\n      title: The agent sees whether its rules are enforced\n      on: [{}]\n      \
                 when: {}\n      action: block\n      on_fault: pass\n",
                canary.rule,
                canary.act.name(),
                serde_json::Value::String(when),
            );
        }
        any.then_some(text)
    }

    /// Does the act.
    ///
    /// # Errors
    /// It was refused, as it should be, or failed otherwise.
    pub fn attempt(&self, canary: &Canary) -> io::Result<()> {
        (canary.attempt)(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn places() -> (tempfile::TempDir, Places) {
        let state = tempfile::tempdir().unwrap();
        let places = Places::make(state.path()).unwrap();
        (state, places)
    }

    #[test]
    fn every_canary_rule_compiles_and_only_wanted_acts_get_one() {
        let (state, places) = places();
        let acts: Vec<Act> = CANARIES.iter().map(|canary| canary.act).collect();
        fs::write(state.path().join("all.yaml"), places.policy(&acts).unwrap()).unwrap();
        let policy = crate::policy::Policy::open(
            &state.path().join("all.yaml"),
            &crate::trust::Trust::Folder,
        )
        .unwrap();
        let ids: BTreeSet<&str> =
            policy.image.metadata().rules.iter().map(|rule| rule.id.as_str()).collect();
        assert_eq!(ids.len(), CANARIES.len());
        assert!(ids.iter().all(|id| id.starts_with(PREFIX)));
        assert!(!places.policy(&[Act::NetConnect]).unwrap().contains("exec.path"));
        assert_eq!(places.policy(&[Act::PacketIn]), None);
    }

    #[test]
    fn where_nothing_is_enforced_every_act_goes_through() {
        let (_state, places) = places();
        for canary in CANARIES {
            places.attempt(canary).unwrap_or_else(|error| panic!("{canary:?}: {error}"));
        }
    }
}
