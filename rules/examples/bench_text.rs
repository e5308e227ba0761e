//! How long policies take from text to image: everything `interdict compile` does but reading files. Prints one JSON
//! object for each size: rules, entries of the feed, bytes of YAML, milliseconds, bytes of the image, peak memory.
//!
//! `cargo run --release -p interdict-rules --example bench_text [-- RULES,RULES.. [PREFIXES [SEED[-SEED]]]]`
//!
//! With several seeds each size is compiled once for each, and the worst of them is printed: sizes must not be a matter of
//! luck.

#[path = "bench/policy.rs"]
mod policy;
#[allow(dead_code, reason = "it measures walks too, which this example does not")]
#[path = "bench/report.rs"]
mod report;

use std::{
    collections::HashMap,
    fmt::Write as _,
    io,
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use interdict_abi::ids::{Action, Fact, Family, Mode};
use interdict_rules::{
    Options, compile,
    ir::{Literal, OnFault, Pattern, Program, Rule, Test},
    lower::Budget,
    parse::source::{Files, Sources},
};
use serde_json::json;

/// Feeds by path.
struct Feeds(HashMap<String, Vec<u8>>);

impl Files for Feeds {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let known = path.to_str().and_then(|path| self.0.get(path));
        known.cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let sizes = arguments.next().unwrap_or_else(|| "10,100,1000,10000".to_owned());
    let prefixes: usize = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let seeds = arguments.next().unwrap_or_else(|| policy::SEED.to_string());
    let (first, last) = seeds.split_once('-').unwrap_or((&seeds, &seeds));
    let seeds = first.parse()?..=last.parse()?;
    let mut rows = Vec::new();
    for size in sizes.split(',') {
        let size: usize = size.parse()?;
        let feed = if size >= 10_000 { prefixes } else { 0 };
        let mut worst = Figures::default();
        for seed in seeds.clone() {
            let found = compiled(size, feed, seed)?;
            worst.milliseconds = worst.milliseconds.max(found.milliseconds);
            worst.processor = worst.processor.max(found.processor);
            worst.yaml_bytes = worst.yaml_bytes.max(found.yaml_bytes);
            // What the largest is made of.
            if found.image_bytes >= worst.image_bytes {
                (worst.image_bytes, worst.automata) = (found.image_bytes, found.automata);
                worst.parts = found.parts;
            }
        }
        rows.push(json!({
            "rules": size,
            "prefixes": feed,
            "yaml_bytes": worst.yaml_bytes,
            "compile_ms": report::milliseconds(worst.milliseconds),
            "compile_processor_ms": worst.processor,
            "image_bytes": worst.image_bytes,
            "peak_rss_mib": report::peak_rss_mib(),
            "parts": worst.parts,
            "automata": worst.automata,
        }));
    }
    println!("{}", serde_json::to_string_pretty(&rows)?);
    Ok(())
}

/// What one compilation came to.
#[derive(Default)]
struct Figures {
    milliseconds: Duration,
    processor: f64,
    yaml_bytes: usize,
    image_bytes: usize,
    parts: serde_json::Value,
    automata: serde_json::Value,
}

fn compiled(size: usize, feed: usize, seed: u64) -> Result<Figures, Box<dyn std::error::Error>> {
    let (program, _) = policy::mixed(size, feed, 1, seed);
    let mut feeds = Feeds(HashMap::new());
    let text = written(&program, &mut feeds)?;
    drop(program);
    let mut sources = Sources::new();
    let yaml_bytes = text.len();
    sources.add("policies/all.yaml", text);
    let options = Options { files: &feeds, today: "2026-01-01", budget: Budget::default() };
    let (start, processor) = (Instant::now(), report::processor_ms());
    let outcome = compile(&sources, &options);
    let milliseconds = start.elapsed();
    let processor = report::processor_ms() - processor;
    let (Some(image), Some(stats)) = (outcome.image, outcome.stats) else {
        let first = outcome.diagnostics.iter().take(3).map(|one| one.message.clone());
        return Err(first.collect::<Vec<_>>().join("; ").into());
    };
    let parts = stats.parts.iter().map(|part| json!([part.name, part.bytes])).collect();
    Ok(Figures {
        milliseconds,
        processor,
        yaml_bytes,
        image_bytes: image.kernel().len(),
        parts,
        automata: report::automata(&stats),
    })
}

/// The program as a team would have written it.
fn written(program: &Program, feeds: &mut Feeds) -> Result<String, std::fmt::Error> {
    let mut rules = String::new();
    let mut lists = String::new();
    for rule in &program.rules {
        let clause = &rule.clauses[0];
        let mut tests = Vec::new();
        for literal in &clause.literals {
            if let Test::Address { v4, v6, .. } = &literal.test
                && v4.len() + v6.len() > 100
            {
                feeds.0.insert("policies/bad.cidr".to_owned(), feed(v4, v6)?);
                writeln!(
                    lists,
                    "    bad: {{ type: cidr, feed: {{ file: bad.cidr, max: 2000000 }} }}"
                )?;
                tests.push("net.dst.ip in bad".to_owned());
            } else {
                tests.push(test(clause.family, literal));
            }
        }
        let (on, action) = words(rule);
        let mode = if rule.mode == Mode::Audit { "audit" } else { "enforce" };
        let on_fault = if rule.on_fault == OnFault::Block { "block" } else { "pass" };
        let when = serde_json::Value::String(tests.join(" and "));
        writeln!(
            rules,
            "    - id: {}\n      title: A rule of a benchmark\n      on: {on}\n      when: {when}\n      action: {action}\n      mode: {mode}\n      on_fault: {on_fault}\n      means_to: lock_out",
            rule.id
        )?;
    }
    let lists = if lists.is_empty() { lists } else { format!("  lists:\n{lists}") };
    Ok(format!(
        "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: {{ name: bench }}\nspec:\n{lists}  rules:\n{rules}"
    ))
}

fn words(rule: &Rule) -> (&'static str, &'static str) {
    let on = match rule.clauses[0].family {
        Family::File => "[file.read, file.write]",
        Family::Exec => "exec",
        _ => "net.connect",
    };
    let action = match rule.action {
        Action::Kill => "kill",
        Action::Block => "block",
        Action::Alert | Action::Pass => "alert",
    };
    (on, action)
}

fn test(family: Family, literal: &Literal) -> String {
    let range = |(first, last): &(u32, u32)| format!("{first}..{last}");
    let all = |ranges: &[(u32, u32)]| ranges.iter().map(range).collect::<Vec<_>>().join(", ");
    let test = match &literal.test {
        Test::Text { fact: Fact::Path, patterns } if family == Family::Exec => {
            texts("exec.path", patterns)
        }
        Test::Text { fact: Fact::Path, patterns } => texts("file.path", patterns),
        Test::Text { patterns, .. } => texts("process.exe", patterns),
        Test::Ancestor { patterns } | Test::Argument { patterns } => {
            texts("process.ancestor.exe", patterns)
        }
        Test::Number { fact: Fact::RemotePort, ranges } => {
            format!("net.dst.port in [{}]", all(ranges))
        }
        Test::Number { ranges, .. } => format!("process.uid in [{}]", all(ranges)),
        Test::Capabilities { mask } => format!("process.caps == {}", mask.trailing_zeros()),
        Test::Address { v4, v6, .. } => {
            let v4 = v4.iter().map(|(first, last)| {
                format!(
                    "\"{}-{}\"",
                    IpAddr::from(first.to_be_bytes()),
                    IpAddr::from(last.to_be_bytes())
                )
            });
            let v6 = v6.iter().map(|(first, last)| {
                format!(
                    "\"{}-{}\"",
                    IpAddr::from(first.to_be_bytes()),
                    IpAddr::from(last.to_be_bytes())
                )
            });
            format!("net.dst.ip in [{}]", v4.chain(v6).collect::<Vec<_>>().join(", "))
        }
        Test::Flags { .. } => "exec.memfd".to_owned(),
    };
    if literal.negated { format!("not ({test})") } else { test }
}

fn texts(field: &str, patterns: &[Pattern]) -> String {
    let mut listed = Vec::new();
    let mut parts = Vec::new();
    for pattern in patterns {
        match pattern {
            Pattern::Exact(bytes)
            | Pattern::Prefix(bytes)
            | Pattern::Suffix(bytes)
            | Pattern::Contains(bytes) => {
                listed.push(format!("\"{}\"", String::from_utf8_lossy(bytes)));
            }
            Pattern::Glob(glob) => listed.push(format!("\"{glob}\"")),
            Pattern::Regex(regex) => parts.push(format!("{field} matches '{regex}'")),
        }
    }
    if !listed.is_empty() {
        parts.insert(0, format!("{field} in [{}]", listed.join(", ")));
    }
    format!("({})", parts.join(" or "))
}

fn feed(v4: &[(u32, u32)], v6: &[(u128, u128)]) -> Result<Vec<u8>, std::fmt::Error> {
    let mut text = String::new();
    for (first, last) in v4 {
        let length = (first ^ last).leading_zeros();
        writeln!(text, "{}/{length}", IpAddr::from(first.to_be_bytes()))?;
    }
    for (first, last) in v6 {
        let length = (first ^ last).leading_zeros();
        writeln!(text, "{}/{length}", IpAddr::from(first.to_be_bytes()))?;
    }
    Ok(text.into_bytes())
}
