//! `interdict feeds`: the lists that policies were compiled with, how old they are, and what met them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use interdict_rules::{image::PolicyImage, meta::ListMeta};
use serde::Serialize;

use super::{
    policies::{Format, image, print, print_json},
    run::configuration,
};
use crate::{
    feeds::{self, Difference, ListInForce},
    kernel::tallies::{self, Counted},
};

/// Show lists and feeds: entries, age, whether they are stale, and how often rules that use them matched on flows and
/// packets. Exit code 1: a feed is stale.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file, for the policies and for what is loaded.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Policies instead of the configuration's.
    #[arg(long)]
    policies: Option<PathBuf>,
    /// How to tell it.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// One list.
#[derive(Debug, Serialize)]
struct Feed {
    name: String,
    file: String,
    entries: u64,
    digest: String,
    /// Since the file was written; absent for lists in policies, and files that cannot be found.
    age_seconds: Option<u64>,
    stale: bool,
    /// What the running agent has put in force of it; absent if none runs, or it has no such list.
    in_force: Option<InForce>,
    rules: Vec<String>,
    /// Matches counted by the kernel since the policy came into force; absent if nothing is loaded.
    hits: Option<u64>,
    /// Bytes of the packets among them.
    bytes: Option<u64>,
}

/// A list as it is in force.
#[derive(Debug, Serialize)]
struct InForce {
    entries: u64,
    digest: String,
    /// Since the file was written that is in force.
    age_seconds: u64,
    /// Since it came into force.
    since_seconds: u64,
    /// Whether the file is another one by now.
    outdated: bool,
    /// The last change by difference, if there was none by a reload since.
    difference: Option<Difference>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let config = match configuration(arguments.config.as_ref()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let folder = arguments.policies.clone().unwrap_or_else(|| config.policies.clone());
    let image = match image(std::slice::from_ref(&folder)) {
        Ok(image) => image,
        Err(code) => return code,
    };
    let counted = counted(&config.pins);
    let told = feeds::told(&config.runtime).unwrap_or_default();
    let feeds: Vec<Feed> = image
        .metadata()
        .lists
        .iter()
        .map(|list| feed(list, &image, counted.as_ref(), &told))
        .collect();
    match arguments.format {
        Format::Human => print(&human(&feeds)),
        Format::Json => print_json(&serde_json::json!({ "feeds": feeds })),
    }
    ExitCode::from(u8::from(feeds.iter().any(|feed| feed.stale)))
}

fn feed(
    list: &ListMeta,
    image: &PolicyImage,
    counted: Option<&BTreeMap<u32, Counted>>,
    told: &[ListInForce],
) -> Feed {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let in_force = told.iter().find(|known| known.name == list.name).map(|known| InForce {
        entries: known.entries,
        digest: known.digest.clone(),
        age_seconds: now.saturating_sub(known.written),
        since_seconds: now.saturating_sub(known.since),
        outdated: known.digest != list.digest,
        difference: known.difference,
    });
    let age_seconds = fs::metadata(&list.file)
        .and_then(|about| about.modified())
        .ok()
        .filter(|_| !list.file.is_empty())
        .and_then(|written| SystemTime::now().duration_since(written).ok())
        .map(|age| age.as_secs());
    let using: Vec<(u32, &str)> = (0..)
        .zip(&image.metadata().rules)
        .filter(|(_, rule)| names_list(&rule.when, &list.name))
        .map(|(number, rule)| (number, rule.id.as_str()))
        .collect();
    let sum = |of: fn(&Counted) -> u64| {
        counted.map(|counted| using.iter().filter_map(|(rule, _)| counted.get(rule)).map(of).sum())
    };
    Feed {
        name: list.name.clone(),
        file: list.file.clone(),
        entries: list.entries,
        digest: list.digest.clone(),
        age_seconds,
        stale: list.stale_after_seconds > 0
            && age_seconds.is_some_and(|age| age > list.stale_after_seconds),
        in_force,
        rules: using.iter().map(|(_, id)| (*id).to_owned()).collect(),
        hits: sum(|tally| tally.hits),
        bytes: sum(|tally| tally.bytes),
    }
}

/// Whether an expression uses a list, as a word of its own.
fn names_list(when: &str, list: &str) -> bool {
    when.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).any(|word| word == list)
}

/// What the programs in force have counted for the newest generation, by rule. `None` if nothing is loaded.
fn counted(pins: &Path) -> Option<BTreeMap<u32, Counted>> {
    let mut all: Option<BTreeMap<(u32, u32), Counted>> = None;
    for instance in fs::read_dir(pins).ok()?.filter_map(Result::ok) {
        let Some(counted) = tallies::read(&instance.path().join("maps")) else { continue };
        let all = all.get_or_insert_default();
        for (key, one) in counted {
            let sum = all.entry(key).or_default();
            sum.hits += one.hits;
            sum.bytes += one.bytes;
        }
    }
    let all = all?;
    let newest = all.keys().next_back().map_or(0, |(generation, _)| *generation);
    let of_newest = all.range((newest, 0)..).map(|((_, rule), counted)| (*rule, *counted));
    Some(of_newest.collect())
}

fn human(feeds: &[Feed]) -> String {
    let mut text = format!(
        "{:<24} {:>9} {:>8} {:<6} {:>12} {:>14}  {}\n",
        "list", "entries", "age", "", "hits", "bytes", "rules"
    );
    let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    for feed in feeds {
        let _ = writeln!(
            text,
            "{:<24} {:>9} {:>8} {:<6} {:>12} {:>14}  {}",
            feed.name,
            feed.entries,
            feed.age_seconds.map_or("-".to_owned(), age),
            if feed.stale { "STALE" } else { "" },
            number(feed.hits),
            number(feed.bytes),
            feed.rules.join(" ")
        );
        if !feed.file.is_empty() {
            let digest = feed.digest.get(..12).unwrap_or(&feed.digest);
            let _ = writeln!(text, "  {} (SHA-256 {digest})", feed.file);
        }
        let Some(known) = &feed.in_force else { continue };
        let _ = write!(text, "  in force for {}", age(known.since_seconds));
        if let Some(by) = known.difference {
            let (added, removed) = (by.added, by.removed);
            let _ = write!(text, ", by difference: {added} ranges came, {removed} went");
        }
        let outdated = if known.outdated { ", NOT the file as it is now" } else { "" };
        let _ = writeln!(text, "{outdated}");
    }
    text
}

/// An age in its largest unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_used_where_its_whole_name_stands() {
        assert!(names_list("net.dst.ip in abuse and net.dst.port == 1", "abuse"));
        assert!(!names_list("net.dst.ip in abuse_old", "abuse"));
    }

    #[test]
    fn ages_are_told_in_units_people_read() {
        assert_eq!((age(90), age(3_600), age(90_000)), ("90s".into(), "60m".into(), "25h".into()));
        assert_eq!(age(864_000), "10d");
    }
}
