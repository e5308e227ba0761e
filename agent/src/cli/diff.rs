//! `interdict diff`: what a new version of policies changes.
//!
//! First the rules that are new, gone or changed; then the acts that are decided differently. The acts are those of the
//! tests of both versions, and one made for every clause that one can be made for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use interdict_abi::ids::{Action, Mode};
use interdict_rules::{
    analyse::{describe, witnesses},
    image::PolicyImage,
    meta::{ListMeta, RuleMeta},
    run, suite,
    told::ToldTest,
};
use serde_json::json;

use super::policies::{Compiled, Format, NO, With, compiled, print, print_json, untried};

/// Show what changes between two versions of policies: rules, lists, and acts that are decided differently.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The old version: a policy file or directory.
    old: PathBuf,
    /// The new version.
    new: PathBuf,
    /// How to show it.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Exit with 1 if anything changes.
    #[arg(long)]
    exit_code: bool,
}

/// One act that is decided differently.
struct Change {
    act: String,
    event: String,
    old: (Action, Vec<String>),
    new: (Action, Vec<String>),
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let read = |path: &PathBuf| {
        let compiled = compiled(std::slice::from_ref(path), With::PoliciesAndCases)
            .map_err(|error| untried(&error))?;
        if compiled.outcome.image.is_none() {
            compiled.complain();
            return Err(ExitCode::from(NO));
        }
        Ok(compiled)
    };
    let (old, new) = match (read(&arguments.old), read(&arguments.new)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(code), _) | (_, Err(code)) => return code,
    };
    let (Some(old_image), Some(new_image)) = (&old.outcome.image, &new.outcome.image) else {
        return ExitCode::from(NO);
    };
    let rules = of_rules(&old_image.metadata().rules, &new_image.metadata().rules);
    let lists = of_lists(&old_image.metadata().lists, &new_image.metadata().lists);
    let acts = of_acts(&old, old_image, &new, new_image);
    let changed = !(rules.is_empty() && lists.is_empty() && acts.is_empty());
    match arguments.format {
        Format::Human => print(&human(&rules, &lists, &acts)),
        Format::Json => print_json(&json!({
            "rules": rules,
            "lists": lists,
            "acts": acts.iter().map(|change| json!({
                "act": change.act,
                "event": change.event,
                "old": { "verdict": change.old.0.name(), "rules": change.old.1 },
                "new": { "verdict": change.new.0.name(), "rules": change.new.1 },
            })).collect::<Vec<_>>(),
        })),
    }
    if arguments.exit_code && changed { ExitCode::from(NO) } else { ExitCode::SUCCESS }
}

fn of_rules(old: &[RuleMeta], new: &[RuleMeta]) -> Vec<String> {
    let by_id = |rules: &[RuleMeta]| -> BTreeMap<String, RuleMeta> {
        rules.iter().map(|rule| (rule.id.clone(), rule.clone())).collect()
    };
    // What is told on several conditions is one rule.
    let told = |rules: &[RuleMeta], id: &str| -> Vec<Vec<ToldTest>> {
        let parts = rules.iter().filter(|rule| rule.id == id);
        parts.map(|rule| rule.narrowed.clone()).collect()
    };
    let (old_rules, new_rules) = (old, new);
    let (old, new) = (by_id(old), by_id(new));
    let ids: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut lines = Vec::new();
    for id in ids {
        match (old.get(id), new.get(id)) {
            (None, Some(rule)) => {
                lines.push(format!("+ {id}  {} ({}, {})", rule.title, rule.action, rule.mode));
            }
            (Some(rule), None) => lines.push(format!("- {id}  {}", rule.title)),
            (Some(old), Some(new)) => {
                let mut parts = Vec::new();
                let values = [
                    ("action", &old.action, &new.action),
                    ("mode", &old.mode, &new.mode),
                    ("on_fault", &old.on_fault, &new.on_fault),
                    ("when", &old.when, &new.when),
                ];
                for (name, before, after) in values {
                    if before != after {
                        parts.push(format!("{name}: {before} -> {after}"));
                    }
                }
                if old.severity != new.severity {
                    let (before, after) = (old.severity.name(), new.severity.name());
                    parts.push(format!("severity: {before} -> {after}"));
                }
                if old.when == new.when && told(old_rules, id) != told(new_rules, id) {
                    parts.push("told on other conditions (scope, or exceptions)".to_owned());
                }
                if old.acts != new.acts {
                    parts.push(format!("on: {} -> {}", old.acts.join(", "), new.acts.join(", ")));
                }
                let names = |rule: &RuleMeta| -> BTreeSet<String> {
                    rule.exceptions.iter().map(|exception| exception.name.clone()).collect()
                };
                let (before, after) = (names(old), names(new));
                parts.extend(after.difference(&before).map(|name| format!("+ exception {name}")));
                parts.extend(before.difference(&after).map(|name| format!("- exception {name}")));
                if !parts.is_empty() {
                    lines.push(format!("~ {id}  {}", parts.join("; ")));
                }
            }
            (None, None) => {}
        }
    }
    lines
}

fn of_lists(old: &[ListMeta], new: &[ListMeta]) -> Vec<String> {
    let names: BTreeSet<&String> = old.iter().chain(new).map(|list| &list.name).collect();
    let find =
        |lists: &[ListMeta], name: &String| lists.iter().find(|list| list.name == *name).cloned();
    let mut lines = Vec::new();
    for name in names {
        match (find(old, name), find(new, name)) {
            (None, Some(list)) => lines.push(format!("+ {name}  {} entries", list.entries)),
            (Some(list), None) => lines.push(format!("- {name}  {} entries", list.entries)),
            (Some(old), Some(new)) if old.entries != new.entries || old.digest != new.digest => {
                lines.push(format!("~ {name}  {} -> {} entries", old.entries, new.entries));
            }
            (Some(_) | None, Some(_) | None) => {}
        }
    }
    lines
}

fn of_acts(
    old: &Compiled,
    old_image: &PolicyImage,
    new: &Compiled,
    new_image: &PolicyImage,
) -> Vec<Change> {
    let mut events = Vec::new();
    for compiled in [old, new] {
        let parsed = &compiled.outcome.parsed;
        let inline = parsed.policies.iter().flat_map(|policy| &policy.rules);
        let cases = inline
            .flat_map(|rule| &rule.tests)
            .chain(parsed.cases.iter().flat_map(|cases| &cases.cases));
        for case in cases {
            if let Ok(occurrence) = suite::occurrence(&case.event) {
                events.extend(occurrence.events);
            }
        }
        events.extend(witnesses(&compiled.outcome.program).into_iter().map(|(_, event)| event));
    }
    let mut seen = BTreeSet::new();
    let mut changes = Vec::new();
    for event in events {
        let line = describe(&event);
        if !seen.insert(line.clone()) {
            continue;
        }
        let decided = |image: &PolicyImage| {
            let decision = run::decide(image, &event, Mode::Enforce);
            let mut ids: Vec<String> =
                suite::ids(image, &decision.matched).map(str::to_owned).collect();
            ids.sort_unstable();
            let told = match decision.verdict {
                Action::Pass if !ids.is_empty() => Action::Alert,
                other => other,
            };
            (told, ids)
        };
        let (before, after) = (decided(old_image), decided(new_image));
        if before != after {
            let (act, rest) = line.split_once(' ').unwrap_or((&line, ""));
            changes.push(Change {
                act: act.to_owned(),
                event: rest.to_owned(),
                old: before,
                new: after,
            });
        }
    }
    changes.sort_by(|one, other| (&one.act, &one.event).cmp(&(&other.act, &other.event)));
    changes
}

fn human(rules: &[String], lists: &[String], acts: &[Change]) -> String {
    let mut text = String::new();
    for (title, lines) in [("rules", rules), ("lists", lists)] {
        if !lines.is_empty() {
            let _ = writeln!(text, "{title}");
            for line in lines {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    let mut act = "";
    for change in acts {
        if change.act != act {
            act = &change.act;
            let _ = writeln!(text, "{act}");
        }
        let side = |(verdict, rules): &(Action, Vec<String>)| {
            if rules.is_empty() {
                verdict.name().to_owned()
            } else {
                format!("{} ({})", verdict.name(), rules.join(", "))
            }
        };
        let _ = writeln!(text, "  {} -> {}", side(&change.old), side(&change.new));
        let _ = writeln!(text, "      {}", change.event);
    }
    if text.is_empty() {
        text.push_str("nothing changes\n");
    }
    text
}
