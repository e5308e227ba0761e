//! Acts that must be refused: one for each hook that can be put to the test without leaving this host or harming anybody.
//!
//! Each is a rule of its own, compiled into the image with the operator's rules, and a function that does the act. Rules
//! are only added for acts that the operator's rules are about: a hook that no rule needs is not attached. The acts
//! themselves are in [`super::files`] and [`super::system`]; where rules only tell they go through, so each leaves things
//! as it found them.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use interdict_abi::ids::Act;
use interdict_rules::meta::RuleMeta;

use super::{files, system};

/// What every canary rule's id begins with; no other rule's may.
pub const PREFIX: &str = "INTERDICT-CANARY-";

/// What canaries are tried on, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    folder: PathBuf,
    program: PathBuf,
}

/// One canary.
#[derive(Clone, Copy)]
pub struct Canary {
    /// The act it tries.
    pub act: Act,
    /// What it is called: the act, and how it is done where there are several.
    pub name: &'static str,
    /// Its rule's id.
    pub rule: &'static str,
    /// The rule's `when`.
    pub when: fn(&Places) -> String,
    /// Whether it proves anything here: what is refused anyway does not.
    pub possible: fn() -> bool,
    /// Does the act; fails only if it was refused, or in a way it should not.
    pub attempt: fn(&Places) -> io::Result<()>,
}

impl std::fmt::Debug for Canary {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.rule)
    }
}

/// All canaries.
pub fn all() -> impl Iterator<Item = &'static Canary> {
    files::CANARIES.iter().chain(system::CANARIES)
}

/// The canaries for these acts that can be tried here.
pub fn wanted(acts: &[Act]) -> impl Iterator<Item = &'static Canary> {
    all().filter(|canary| acts.contains(&canary.act) && (canary.possible)())
}

/// [`Canary::possible`] of one that is possible everywhere.
pub fn always() -> bool {
    true
}

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

impl Canary {
    /// Whether `rule` is this canary's as this agent would write it.
    pub fn is_of(&self, rule: &RuleMeta, places: &Places) -> bool {
        rule.id == self.rule && rule.when == (self.when)(places)
    }
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
        let places = Self::below(&fs::canonicalize(state)?)?;
        for (name, mode) in files::FILES {
            // They are there already, and protected, when rules of an earlier agent are in force.
            let path = places.at(name);
            if !path.exists() {
                let mut file =
                    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
                // Nothing is an answer before the rules are asked: the kernel reads no empty module.
                file.write_all(b"#!/bin/false\n")?;
            }
        }
        Ok(places)
    }

    /// Where they are below a state folder, which may be another host's.
    ///
    /// # Errors
    /// It is not known which program this is.
    pub fn below(state: &Path) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let text = program.to_string_lossy();
        let program = PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text));
        Ok(Self { folder: state.join("canary"), program })
    }

    /// The path of one of them.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The same, as rules have it.
    pub fn quoted(&self, name: &str) -> String {
        quoted(&self.at(name))
    }

    /// The agent's program, as rules have it.
    pub fn own_program(&self) -> String {
        quoted(&self.program)
    }

    /// Whether this process has a capability in effect.
    pub fn capable(capability: u32) -> bool {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let held = held.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
        held.is_some_and(|held| held >> capability & 1 != 0)
    }

    /// The policy with the rules of all canaries for these acts, those that cannot be tried here among them: an image is
    /// compiled elsewhere. Nothing if there are none. They are enforced in every
    /// mode, so what cannot be known of somebody else's act must not make it one of theirs: `on_fault: pass`.
    pub fn policy(&self, acts: &[Act]) -> Option<String> {
        let mut text = String::from(
            "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: { name: interdict-canaries }\nspec:\n  \
             mode: enforce\n  rules:\n",
        );
        let mut any = false;
        for canary in all().filter(|canary| acts.contains(&canary.act)) {
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
        let acts: Vec<Act> = all().map(|canary| canary.act).collect();
        fs::write(state.path().join("all.yaml"), places.policy(&acts).unwrap()).unwrap();
        let policy = crate::policy::Policy::open(
            &state.path().join("all.yaml"),
            &crate::trust::Trust::Folder,
        )
        .unwrap();
        let rules = &policy.image.metadata().rules;
        let ids: BTreeSet<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
        assert_eq!(ids.len(), all().count());
        assert!(ids.iter().all(|id| id.starts_with(PREFIX)));
        // What is expected later is found again by what was written.
        for canary in wanted(&acts) {
            assert!(rules.iter().any(|rule| canary.is_of(rule, &places)), "{canary:?}");
        }
        assert!(policy.has_canaries(&places));
        let elsewhere = Places::below(Path::new("/elsewhere")).unwrap();
        assert!(!policy.has_canaries(&elsewhere));
        assert!(!places.policy(&[Act::NetConnect]).unwrap().contains("exec.path"));
        assert_eq!(places.policy(&[Act::PacketIn]), None);
    }

    #[test]
    fn names_and_rules_of_canaries_are_their_own() {
        let names: BTreeSet<&str> = all().map(|canary| canary.name).collect();
        let rules: BTreeSet<&str> = all().map(|canary| canary.rule).collect();
        assert_eq!((names.len(), rules.len()), (all().count(), all().count()));
    }

    #[test]
    fn where_nothing_is_enforced_every_act_goes_through_again_and_again() {
        let (_state, places) = places();
        for canary in (0..2).flat_map(|_| all()).filter(|canary| (canary.possible)()) {
            places.attempt(canary).unwrap_or_else(|error| panic!("{canary:?}: {error}"));
        }
    }
}
