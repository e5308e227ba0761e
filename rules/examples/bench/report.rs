//! Measures and puts figures into JSON.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use interdict_abi::{
    ids::{Act, Fact, Family, Mode},
    image::{COLUMN_BYTES, column, family, header},
};
use interdict_engine::{
    Memory as _, dfa,
    facts::{Narrowing, Progress, SetFacts},
};
use interdict_rules::{
    image::PolicyImage,
    ir::{Pattern, Program, Test},
    lower::Stats,
};
use serde_json::{Value, json};

pub(crate) fn milliseconds(duration: Duration) -> Value {
    json!((duration.as_secs_f64() * 1e5).round() / 100.0)
}

/// The most memory this process ever held, from `VmHWM`.
pub(crate) fn peak_rss_mib() -> Value {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    json!(kib.map(|kib| kib / 1024))
}

/// Milliseconds of processor time of this process so far, in hundredths of a second: what a loaded machine does not change.
pub(crate) fn processor_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    // `utime` and `stime`, counted from the state that follows the name.
    fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        * 10.0
}

pub(crate) fn automata(stats: &Stats) -> Value {
    stats
        .automata
        .iter()
        .map(|one| {
            json!({
                "family": one.family.map(Family::name),
                "fact": one.fact.map(Fact::name),
                "patterns": one.patterns, "states": one.states, "classes": one.classes,
                "labels": one.labels, "bytes": one.bytes,
            })
        })
        .collect()
}

pub(crate) fn sizes(rules: usize, prefixes: usize, image: &PolicyImage, stats: &Stats) -> Value {
    let clauses: Vec<Value> =
        stats.clauses.iter().map(|(family, count)| json!([family.name(), count])).collect();
    json!({
        "rules": rules, "prefixes": prefixes, "image_bytes": image.kernel().len(),
        "automata": automata(stats), "clauses": clauses,
    })
}

/// The path column's automaton of the file family.
fn path_automaton(image: &[u8]) -> u32 {
    let directory = image.word(header::FAMILIES + Family::File as u32 * 4);
    if directory == 0 {
        return 0;
    }
    let column = directory + family::COLUMNS + Fact::Path as u32 * COLUMN_BYTES;
    image.word(column + column::AUTOMATON)
}

/// The patterns of rules on files that ask for no ancestor: those match by their path alone, when nothing else is narrowed.
fn patterns(program: &Program) -> impl Iterator<Item = &Pattern> {
    program
        .rules
        .iter()
        .flat_map(|rule| &rule.clauses)
        .filter(|clause| clause.family == Family::File)
        .filter(|clause| {
            !clause.literals.iter().any(|literal| matches!(literal.test, Test::Ancestor { .. }))
        })
        .flat_map(|clause| &clause.literals)
        .filter_map(|literal| match &literal.test {
            Test::Text { fact: Fact::Path, patterns } => Some(patterns),
            Test::Text { .. }
            | Test::Number { .. }
            | Test::Flags { .. }
            | Test::Address { .. }
            | Test::Ancestor { .. }
            | Test::Argument { .. }
            | Test::Capabilities { .. } => None,
        })
        .flatten()
}

/// The paths that rules on files name exactly.
fn exact(program: &Program) -> Vec<Vec<u8>> {
    patterns(program)
        .filter_map(|pattern| match pattern {
            Pattern::Exact(path) => Some(path.clone()),
            Pattern::Prefix(_)
            | Pattern::Suffix(_)
            | Pattern::Contains(_)
            | Pattern::Glob(_)
            | Pattern::Regex(_) => None,
        })
        .collect()
}

/// Paths that are taken from the patterns of a policy.
const PATHS: usize = 64;

/// At least [`PATHS`] paths that the rules of a small policy list, as many of each pattern as it has.
pub(crate) fn listed(program: &Program) -> Vec<Vec<u8>> {
    let mut paths: Vec<Vec<u8>> = Vec::new();
    for number in 0.. {
        for pattern in patterns(program) {
            let text = match pattern {
                Pattern::Exact(path) => String::from_utf8_lossy(path).into_owned(),
                Pattern::Glob(glob) => glob
                    .replace("**/", &format!("/srv/{number}/"))
                    .replace("**", &format!("{number}/some.file"))
                    .replace('*', &format!("{number}")),
                Pattern::Regex(regex) => {
                    let text = regex.trim_start_matches('^').split("[0-9]+").next();
                    format!("{}{number}", text.unwrap_or_default())
                }
                Pattern::Prefix(_) | Pattern::Suffix(_) | Pattern::Contains(_) => continue,
            };
            if !paths.contains(&text.clone().into_bytes()) {
                paths.push(text.into_bytes());
            }
        }
        if paths.len() >= PATHS || number == PATHS {
            break;
        }
    }
    paths
}

/// Nanoseconds a byte for paths that are walked to their end and match. `few` are paths that policies of every size list:
/// sizes are compared, not paths.
pub(crate) fn walks(row: &mut Value, image: &PolicyImage, program: &Program, few: &[Vec<u8>]) {
    let automaton = path_automaton(image.kernel());
    if automaton == 0 {
        return;
    }
    let exact = exact(program);
    row["walk_hot_ns_per_byte"] = per_byte(image, automaton, few);
    row["walk_all_ns_per_byte"] = per_byte(image, automaton, &exact);
    let other: Vec<Vec<u8>> = [
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/proc/self/status",
        "/dev/null",
        "/etc/ld.so.cache",
        "/home/user/project/src/main.rs",
    ]
    .iter()
    .map(|path| path.as_bytes().to_vec())
    .collect();
    row["walk_unlisted_ns_per_path"] = per_path(image, automaton, &other);
    row["decide_unlisted_ns"] = per_decision(image, &other, false);
    row["decide_listed_ns"] = per_decision(image, few, true);
}

fn best(image: &PolicyImage, automaton: u32, paths: &[Vec<u8>]) -> f64 {
    let rounds = 2_000_000 / paths.iter().map(Vec::len).sum::<usize>().max(1) + 1;
    (0..15)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..rounds {
                for path in paths {
                    black_box(dfa::walk(image.kernel(), automaton, black_box(&path[..])));
                }
            }
            start.elapsed().as_nanos() as f64 / rounds as f64
        })
        .fold(f64::INFINITY, f64::min)
}

/// Nanoseconds from the facts of an open, whose path has to be walked, to its verdict: as the kernel programs narrow,
/// without what it takes there to learn the facts.
fn per_decision(image: &PolicyImage, paths: &[Vec<u8>], tells: bool) -> Value {
    let kernel = image.kernel();
    let decide = |path: &[u8]| {
        let mut progress = Progress::EMPTY;
        let mut narrowing = Narrowing::start(kernel, Family::File, &mut progress)?;
        narrowing.number(Fact::Act, Act::FileRead.value());
        narrowing.string(Fact::Path, path);
        Some(narrowing.alive().then(|| narrowing.decide(&SetFacts::default(), Mode::Enforce)))
    };
    let told = |path: &Vec<u8>| decide(path).flatten().is_some_and(|decided| decided.told > 0);
    assert!(!tells || paths.iter().all(told), "paths that this policy does not list");
    let rounds = 20_000 / paths.len().max(1) + 1;
    let fastest = (0..15)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..rounds {
                for path in paths {
                    black_box(decide(black_box(path)));
                }
            }
            start.elapsed().as_nanos() as f64 / (rounds * paths.len()) as f64
        })
        .fold(f64::INFINITY, f64::min);
    json!((fastest * 10.0).round() / 10.0)
}

fn per_byte(image: &PolicyImage, automaton: u32, paths: &[Vec<u8>]) -> Value {
    let bytes: usize = paths.iter().map(|path| path.len() + 1).sum();
    json!((best(image, automaton, paths) / bytes as f64 * 1000.0).round() / 1000.0)
}

fn per_path(image: &PolicyImage, automaton: u32, paths: &[Vec<u8>]) -> Value {
    json!((best(image, automaton, paths) / paths.len() as f64 * 10.0).round() / 10.0)
}
