//! `interdict verify`: proves a stream of alerts with the public key alone.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::Value;

use crate::{
    alert::{
        canonical,
        key::PublicKey,
        verify::{Outcome, Repeats, Verifier},
    },
    spool::{Reader, recover, segment},
};

/// Prove that alerts are whole: none altered, missing, repeated or reordered.
///
/// Reads files of JSON lines or JSON arrays, `-` for standard input, or a spool folder. Exits 0 if everything is
/// proven, 1 if something is wrong (naming the first), 2 if it could not be tried.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Files of alerts, one per line, in their order; or spool folders.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Public key: a file (PEM, or base64 or hex text), or base64 or hex itself. May be given again for other agents.
    #[arg(long = "key", required = true)]
    keys: Vec<String>,
    /// Take the same alert more than once: delivery is at least once, so a receiver's export may hold repeats.
    #[arg(long)]
    allow_repeats: bool,
    /// Demand that every stream starts with its first alert.
    #[arg(long)]
    from_start: bool,
    /// Demand that the last alert has at least this sequence number.
    #[arg(long, value_name = "SEQ")]
    up_to: Option<u64>,
    /// Print only findings.
    #[arg(long, short)]
    quiet: bool,
}

/// Most findings printed; all are counted.
const PRINTED: usize = 20;

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match verify(arguments) {
        Ok((outcome, damage)) => report(arguments, &outcome, damage),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

/// The outcome, and what is damaged in spools.
fn verify(arguments: &Arguments) -> Result<(Outcome, Vec<String>), String> {
    let keys = arguments.keys.iter().map(|key| read_key(key)).collect::<Result<Vec<_>, _>>()?;
    let repeats = if arguments.allow_repeats { Repeats::Allowed } else { Repeats::Refused };
    let mut verifier = Verifier::new(keys, repeats);
    let mut damage = Vec::new();
    for path in &arguments.files {
        if path.is_dir() {
            spool(path, &mut verifier)?;
            damage.extend(damaged(path)?);
        } else {
            file(path, &mut verifier)?;
        }
    }
    Ok((verifier.finish(), damage))
}

fn read_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text)
        .map_or_else(|| PublicKey::open(text.as_ref()).map_err(|error| error.to_string()), Ok)
}

fn spool(folder: &Path, verifier: &mut Verifier) -> Result<(), String> {
    let segments =
        segment::list(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let Some(&first) = segments.first() else {
        return Err(format!("{}: no spool segment (*.seg) in it", folder.display()));
    };
    let mut reader = Reader::new(folder, first);
    // Without the agent there is no durable mark: everything that is there is looked at.
    loop {
        let next = reader.next();
        let read = reader.read(u64::MAX - 1, 4_096, 16 << 20).map_err(|error| error.to_string())?;
        for entry in &read.entries {
            verifier.push(&entry.line, || format!("{}: record {}", folder.display(), entry.seq));
        }
        if read.entries.is_empty() && (reader.next() == next || !read.missing.is_empty()) {
            return Ok(());
        }
    }
}

/// Bytes among records that are none. What follows the last record of a segment may be a write that a crash cut off.
fn damaged(folder: &Path) -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let segments = segment::list(folder).map_err(failed)?;
    let mut problems = Vec::new();
    for (at, &first) in segments.iter().enumerate() {
        let path = segment::path(folder, first);
        let bytes = std::fs::read(&path).map_err(failed)?;
        let scan = recover::scan(&bytes, segments.get(at + 1).copied());
        if scan.damaged_bytes > 0 {
            let bytes = scan.damaged_bytes;
            problems.push(format!("{}: damaged: {bytes} bytes hold no record", path.display()));
        }
        if scan.header.is_none() {
            problems.push(format!("{}: damaged: its header", path.display()));
        }
    }
    Ok(problems)
}

fn file(path: &Path, verifier: &mut Verifier) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).map_err(failed)?)
    };
    let mut input = BufReader::with_capacity(1 << 20, input);
    let mut line = Vec::new();
    let mut number = 0u64;
    loop {
        line.clear();
        number += 1;
        if input.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok(());
        }
        let place = || format!("{}:{number}", path.display());
        if line.trim_ascii().is_empty() {
            continue;
        }
        if number == 1 && canonical::parse(line.trim_ascii()).is_err() {
            // Perhaps one document over many lines, as some exports are.
            input.read_to_end(&mut line).map_err(failed)?;
            match canonical::parse(&line) {
                Ok(document) => {
                    take(document, verifier, &place);
                    return Ok(());
                }
                Err(_lines_after_all) => {
                    for (at, text) in line.split(|&byte| byte == b'\n').enumerate() {
                        let place = || format!("{}:{}", path.display(), at + 1);
                        text_line(text.trim_ascii(), verifier, &place);
                    }
                    return Ok(());
                }
            }
        }
        text_line(line.trim_ascii(), verifier, &place);
    }
}

fn text_line(text: &[u8], verifier: &mut Verifier, place: &dyn Fn() -> String) {
    // An alert as it was written needs no second look.
    let is_alert = text.starts_with(b"{\"acts\"") || text.starts_with(b"{\"agent\"");
    if is_alert {
        verifier.push(text, place);
        return;
    }
    match canonical::parse(text) {
        Ok(document) => take(document, verifier, place),
        Err(_not_json) if text.is_empty() => {}
        Err(_not_json) => verifier.push(text, place),
    }
}

/// Finds the alerts in what a SIEM exported: an array of them, or each in an envelope.
fn take(document: Value, verifier: &mut Verifier, place: &dyn Fn() -> String) {
    match document {
        Value::Array(documents) => {
            for document in documents {
                take(document, verifier, place);
            }
        }
        Value::Object(ref members) if !members.contains_key("seal") => {
            let inner =
                ["_source", "event", "result", "_raw"].iter().find_map(|name| members.get(*name));
            match inner {
                Some(Value::String(text)) => verifier.push(text.as_bytes(), place),
                Some(inner @ (Value::Object(_) | Value::Array(_))) => {
                    take(inner.clone(), verifier, place);
                }
                Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => {
                    verifier.push(document.to_string().as_bytes(), place);
                }
            }
        }
        other => verifier.push(other.to_string().as_bytes(), place),
    }
}

fn report(arguments: &Arguments, outcome: &Outcome, damage: Vec<String>) -> ExitCode {
    let mut problems: Vec<String> = outcome
        .findings
        .iter()
        .map(|finding| format!("{}: {}", finding.place, finding.problem))
        .collect();
    problems.extend(damage);
    for span in &outcome.streams {
        if arguments.from_start && span.first > 1 {
            let before = span.first - 1;
            problems.push(format!("stream {}: missing: alert 1 to {before}", span.stream));
        }
    }
    if let Some(up_to) = arguments.up_to {
        let last = outcome.streams.iter().map(|span| span.last).max().unwrap_or(0);
        if last < up_to {
            problems.push(format!("missing: alert {} to {up_to} at the end", last + 1));
        }
    }
    if outcome.alerts == 0 {
        eprintln!("error: no alerts in the input");
        return ExitCode::from(2);
    }
    for problem in problems.iter().take(PRINTED) {
        println!("{problem}");
    }
    if problems.len() > PRINTED {
        println!("... and {} more", problems.len() - PRINTED);
    }
    if !arguments.quiet {
        for span in &outcome.streams {
            let note = if span.first > 1 { " (what came before is not in the input)" } else { "" };
            println!(
                "stream {}: alerts {} to {}, {} proven{note}",
                span.stream, span.first, span.last, span.alerts
            );
        }
        let verdict = if problems.is_empty() { "whole" } else { "NOT whole" };
        println!("{verdict}: {} lines, {} findings", outcome.alerts, problems.len());
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{
        Notice,
        build::Scene,
        key::SigningKey,
        model::HostInfo,
        seal::{ChainHead, Sealer},
        verify::Finding,
    };

    fn stream() -> (Vec<Value>, PublicKey) {
        let key = SigningKey::generate().unwrap();
        let public = key.public();
        let mut sealer = Sealer::new(key, ChainHead::start("0".repeat(32)));
        let host = HostInfo { boot_id: "b".into(), kernel: "k".into(), name: "h".into() };
        let scene = Scene { host: host.into(), wall_minus_boot_ns: 0 };
        let alert = |_| Notice::Stopped { reason: "r".to_owned() }.alert(&scene, 1);
        let sealed = sealer.seal((0..3).map(alert).collect());
        let value = |line| serde_json::from_slice(line).unwrap();
        (sealed.iter().map(|alert| value(alert.line())).collect(), public)
    }

    fn findings(text: &str, key: PublicKey) -> (Vec<Finding>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export");
        std::fs::write(&path, text).unwrap();
        let mut verifier = Verifier::new(vec![key], Repeats::Refused);
        file(&path, &mut verifier).unwrap();
        let outcome = verifier.finish();
        (outcome.findings, outcome.alerts)
    }

    #[test]
    fn exports_of_every_shape_are_proven() {
        let (alerts, key) = stream();
        let each = |wrap: &dyn Fn(&Value) -> Value| -> String {
            alerts.iter().map(|alert| format!("{}\n", wrap(alert))).collect()
        };
        for text in [
            each(&Clone::clone),
            each(&|alert| serde_json::json!({"_id": "1", "_source": alert})),
            each(
                &|alert| serde_json::json!({"preview": false, "result": {"_raw": alert.to_string()}}),
            ),
            serde_json::to_string(&alerts).unwrap(),
            serde_json::to_string_pretty(&alerts).unwrap(),
        ] {
            assert_eq!(findings(&text, key), (Vec::new(), 3), "{text}");
        }
    }

    #[test]
    fn a_first_line_that_is_broken_does_not_hide_the_others() {
        let (alerts, key) = stream();
        let text = format!("{{\"acts\n{}\n{}\n", alerts[1], alerts[2]);
        let (findings, count) = findings(&text, key);
        assert_eq!((findings.len(), count), (1, 3));
    }
}
