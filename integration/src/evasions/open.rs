//! The list of techniques that are not refused, or not told of, with the reason: `integration/evasions.txt`.
//!
//! One line each: name, kernel, `all` or `audit` (for audit mode, where nothing is to be refused and all to be told), what holds instead, reason. A technique that is not in the list must be refused
//! and told of. One that is in the list and is refused all the same is an error too, so that the list says how things are.
//! Techniques whose unprotected twin is refused as well are listed too.
//! `SECURITY.md` shows it, shortened to one line per reason.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use xtask::paths;

use super::observe::{Observed, Seen};
use super::tried::Outcome;

/// What holds of a technique that is not refused and told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It reaches what it is after.
    Reached,
    /// It is refused, and nobody is told.
    Untold,
    /// This kernel has not what it needs.
    Unsupported,
    /// It is refused and told of, and so is the same way to something unprotected.
    Overblocked,
}

impl State {
    const ALL: [Self; 4] = [Self::Reached, Self::Untold, Self::Unsupported, Self::Overblocked];
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Reached => "reached",
            Self::Untold => "untold",
            Self::Unsupported => "unsupported",
            Self::Overblocked => "overblocked",
        })
    }
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The technique.
    pub name: String,
    /// The kernel's short name, or `all`.
    pub kernel: String,
    /// What holds.
    pub state: State,
    /// Why.
    pub reason: String,
}

fn file() -> PathBuf {
    paths::root().join("integration/evasions.txt")
}

/// What a technique is given as reason until somebody has found it.
pub const UNEXPLAINED: &str = "unexplained";

/// The list.
pub fn list() -> Result<Vec<Open>> {
    let text = fs::read_to_string(file())?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.splitn(4, " | ").map(str::trim);
            let mut word = || words.next().map(str::to_owned).with_context(|| line.to_owned());
            let (name, kernel, state, reason) = (word()?, word()?, word()?, word()?);
            let Some(state) = State::ALL.into_iter().find(|known| known.to_string() == state)
            else {
                bail!("the state `{state}` in `{line}`");
            };
            Ok(Open { name, kernel, state, reason })
        })
        .collect()
}

/// What holds on a kernel of techniques that are not refused and told of.
pub fn observed(observed: &Observed) -> BTreeMap<String, State> {
    let mut states = BTreeMap::new();
    for technique in &observed.techniques {
        let key = (technique.name.clone(), "vault".to_owned());
        let Some(seen) = observed.seen.get(&key) else { continue };
        let watched = technique.class == "observation";
        let state = match &seen.outcome {
            Outcome::Unsupported(_) => Some(State::Unsupported),
            Outcome::Reached if watched && !seen.told.is_empty() => None,
            Outcome::Reached if watched => Some(State::Untold),
            Outcome::Reached => Some(State::Reached),
            // Without an agent they all reach it, so whatever error this is, it is the agent's doing.
            Outcome::Refused { .. } | Outcome::Error(_) if seen.told.is_empty() => {
                Some(State::Untold)
            }
            Outcome::Refused { .. } | Outcome::Error(_) => {
                twin_is_refused(observed, &technique.name).then_some(State::Overblocked)
            }
        };
        if let Some(state) = state {
            states.insert(technique.name.clone(), state);
        }
    }
    states
}

/// Whether the same way to something unprotected is refused or told of.
pub fn twin_is_refused(observed: &Observed, name: &str) -> bool {
    let twin = observed.seen.get(&(name.to_owned(), "plain".to_owned()));
    let open = |seen: &Seen| match seen.outcome {
        Outcome::Reached | Outcome::Unsupported(_) => seen.told.is_empty(),
        Outcome::Refused { .. } | Outcome::Error(_) => false,
    };
    !twin.is_some_and(open)
}

/// Says how the list and what was observed on a kernel differ.
pub fn differences(kernel: &str, states: &BTreeMap<String, State>, list: &[Open]) -> Vec<String> {
    let here: BTreeMap<&str, &Open> = list
        .iter()
        .filter(|open| open.kernel == kernel || open.kernel == "all")
        .map(|open| (open.name.as_str(), open))
        .collect();
    let mut differences = Vec::new();
    for (name, state) in states {
        match here.get(name.as_str()) {
            None => differences.push(format!("{name}: {state}, and not in the list")),
            Some(open) if open.state != *state => {
                differences.push(format!("{name}: {state}, and listed as {}", open.state));
            }
            Some(open) if open.reason == UNEXPLAINED => {
                differences.push(format!("{name}: {state}, and nobody has said why"));
            }
            Some(_) => {}
        }
    }
    for (name, open) in here {
        if !states.contains_key(name) {
            differences.push(format!("{name}: refused and told of, but listed as {}", open.state));
        }
    }
    differences
}

/// Writes the list anew from what was observed on these kernels; reasons that it had are kept.
pub fn bless(kernels: &[(&str, BTreeMap<String, State>)]) -> Result<()> {
    let before = list().unwrap_or_default();
    let mut lines: Vec<String> = Vec::new();
    let names: Vec<&String> = kernels.iter().flat_map(|(_, states)| states.keys()).collect();
    let mut names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let states: Vec<(&str, Option<State>)> =
            kernels.iter().map(|(kernel, states)| (*kernel, states.get(name).copied())).collect();
        let first = states.first().and_then(|(_, state)| *state);
        let same = states.iter().all(|(_, state)| *state == first);
        for (kernel, state) in states {
            let Some(state) = state else { continue };
            let known = |open: &&Open| open.name == name && open.state == state;
            let reason = before.iter().find(known).map_or(UNEXPLAINED, |open| &open.reason);
            let kernel = if same { "all" } else { kernel };
            let line = format!("{name} | {kernel} | {state} | {reason}");
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    let of_audit = before.iter().filter(|open| open.kernel == "audit");
    lines.extend(
        of_audit.map(|open| format!("{} | audit | {} | {}", open.name, open.state, open.reason)),
    );
    let head = "# Techniques of the evasion suite that are not refused and told of: name | kernel | state | reason.\n\
                # Written by `INTERDICT_BLESS=1 cargo xtask test evasions`; reasons by hand. SECURITY.md shows them.\n";
    fs::write(file(), format!("{head}{}\n", lines.join("\n")))?;
    Ok(())
}

const BEGIN: &str = "<!-- evasions: begin -->";
const END: &str = "<!-- evasions: end -->";

/// The part of `SECURITY.md` that shows the list: one line per reason, state and kernels.
pub fn table(list: &[Open]) -> String {
    let mut rows: BTreeMap<(State, &str, &str), Vec<&str>> = BTreeMap::new();
    for open in list {
        rows.entry((open.state, &open.reason, &open.kernel)).or_default().push(&open.name);
    }
    let mut text =
        String::from("| what happens | kernels | why | techniques |\n|---|---|---|---|\n");
    for ((state, reason, kernel), names) in rows {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(text, "| {state} | {kernel} | {reason} | {} |", names.join(", "));
    }
    text
}

/// What `SECURITY.md` has between the marks, and what it should have.
pub fn in_security_md() -> Result<(String, String)> {
    let path = paths::root().join("SECURITY.md");
    let text = fs::read_to_string(&path)?;
    let (head, rest) = text.split_once(BEGIN).context("SECURITY.md has no mark to begin at")?;
    let (shown, tail) = rest.split_once(END).context("SECURITY.md has no mark to end at")?;
    let wanted = format!("\n{}", table(&list()?));
    if std::env::var_os("INTERDICT_BLESS").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{wanted}{END}{tail}"))?;
        return Ok((wanted.clone(), wanted));
    }
    Ok((shown.to_owned(), wanted))
}
