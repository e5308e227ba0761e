//! What the suite's techniques run into: one policy, of all acts that the agent says it decides.
//!
//! An act that it does not decide yet is left out, so that the policy loads and the list of what is open says the rest.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xtask::run;

/// A rule as it is wanted: for each act the first test is taken whose fields the act knows.
struct Wanted {
    id: &'static str,
    acts: &'static [&'static str],
    tests: &'static [&'static str],
    action: &'static str,
}

const TRUSTED: &str = "process.exe == \"/usr/local/bin/trusted\"";

const RULES: &[Wanted] = &[
    Wanted {
        id: "EV-FILE",
        acts: &[
            "file.read",
            "file.write",
            "file.create",
            "file.rename",
            "file.link",
            "file.symlink",
            "file.unlink",
            "file.setattr",
            "file.mkdir",
            "file.mknod",
            "file.truncate",
            "file.mount",
        ],
        tests: &["file.path in [\"/srv/vault/**\"] and not TRUSTED"],
        action: "block",
    },
    Wanted {
        id: "EV-NEW-NAME",
        acts: &["file.rename", "file.link"],
        tests: &["file.new_path in [\"/srv/vault/**\"] and not TRUSTED"],
        action: "block",
    },
    Wanted {
        id: "EV-EXEC",
        acts: &["exec"],
        tests: &["exec.path in [\"/srv/vault/**\"]"],
        action: "block",
    },
    Wanted {
        id: "EV-CODE",
        acts: &["mmap.exec", "mprotect.exec"],
        tests: &["file.path in [\"/srv/vault/**\"]"],
        action: "block",
    },
    Wanted {
        id: "EV-NAMELESS",
        acts: &["exec"],
        tests: &["(exec.memfd or exec.deleted) and ACTOR"],
        action: "block",
    },
    Wanted {
        id: "EV-OUT",
        acts: &["net.connect", "net.send", "packet.out", "packet.connect"],
        tests: &["net.dst.ip in [\"203.0.113.66\", \"2001:db8:3::66\"]"],
        action: "block",
    },
    Wanted {
        id: "EV-ACCEPT",
        acts: &["net.accept", "packet.accept"],
        tests: &[
            "net.src.ip in [\"203.0.113.66\", \"198.51.100.66\"]",
            "net.dst.ip in [\"203.0.113.66\", \"198.51.100.66\"]",
        ],
        action: "block",
    },
    Wanted {
        id: "EV-SOCKET",
        acts: &["net.socket"],
        tests: &["net.family == packet and ACTOR"],
        action: "block",
    },
    Wanted {
        id: "EV-PACKET",
        acts: &["packet.in"],
        tests: &["net.src.ip in [\"198.51.100.66\", \"2001:db8:5::66\"]"],
        action: "block",
    },
    Wanted {
        id: "EV-TRACE",
        acts: &["ptrace"],
        tests: &["target.exe == \"/usr/local/bin/trusted\" and not TRUSTED"],
        action: "block",
    },
    Wanted {
        id: "EV-KERNEL",
        acts: &["module.load", "kexec", "bpf", "ns.create"],
        tests: &["ACTOR"],
        action: "block",
    },
    Wanted {
        id: "EV-WATCH",
        acts: &["file.read"],
        tests: &["file.path in [\"/srv/watched/**\"]"],
        action: "alert",
    },
];

/// Acts that the agent decides, each with the fields it knows.
struct Decided(Vec<(String, Vec<String>)>);

impl Decided {
    fn by(agent: &Path) -> Result<Self> {
        let text = run::text(Command::new(agent).args(["fields", "--format", "json"]))?;
        let reference: Value = serde_json::from_str(&text)?;
        let acts = reference["acts"].as_array().context("a list of acts")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let decided = acts.iter().filter(|act| act["decided"] == true).map(|act| {
            let fields = act["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
            (text(&act["name"]), fields.iter().map(text).collect())
        });
        Ok(Self(decided.collect()))
    }

    /// Whether the act is decided and knows every field of the test.
    fn knows(&self, act: &str, test: &str) -> bool {
        let Some((_, fields)) = self.0.iter().find(|(name, _)| name == act) else {
            return false;
        };
        let is_field = |word: &&str| word.contains('.') && !word.contains(['"', '/', '[']);
        test.split([' ', '(', ')'])
            .filter(is_field)
            .all(|word| fields.iter().any(|field| field == word))
    }
}

/// The policy's text. `mode` is `enforce` or `audit`.
pub fn text(agent: &Path, mode: &str) -> Result<String> {
    let decided = Decided::by(agent)?;
    let mut text = format!(
        "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: {{ name: evasions }}\nspec:\n  mode: {mode}\n  rules:\n"
    );
    for wanted in RULES {
        for act in wanted.acts {
            let full = |test: &&str| {
                test.replace("TRUSTED", TRUSTED)
                    .replace("ACTOR", "process.exe == \"/usr/local/bin/evasion-actor\"")
            };
            let mut tests = wanted.tests.iter().map(full);
            let Some(test) = tests.find(|test| decided.knows(act, test)) else { continue };
            let (id, action) = (wanted.id, wanted.action);
            let suffix = act.replace('.', "-").to_uppercase();
            writeln!(
                text,
                "    - {{ id: {id}-{suffix}, title: {id} by {act}, on: [{act}], when: '{test}', action: {action} }}"
            )?;
        }
    }
    Ok(text)
}
