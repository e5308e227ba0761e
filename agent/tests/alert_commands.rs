//! The commands an operator gets at with alerts in hand: what they print and how they exit.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use interdict_abi::ids::Mode;
use interdict_agent::{
    alert::Notice,
    config::Config,
    pipeline::{Pipeline, this_host},
};

fn interdict(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_interdict")).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A state folder with a stream of twelve alerts, and a configuration file.
fn stream(folder: &Path) -> PathBuf {
    let path = folder.join("config.yaml");
    let yaml = format!(
        "state: {0}\nruntime: {0}/run\nalerts: {{ alive: 0s }}\nsinks:\n  - file: {{ path: {0}/out.ndjson }}\n",
        folder.display()
    );
    fs::write(&path, yaml).unwrap();
    let config = Config::open(&path).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let pipeline = {
        let _inside = runtime.enter();
        Pipeline::start(&config, this_host(), Mode::Audit).unwrap()
    };
    for at in 0..10 {
        pipeline.notice(Notice::PolicyRefused { reason: format!("n{at}") });
    }
    runtime.block_on(pipeline.shutdown("test"));
    path
}

#[test]
fn verify_proves_a_file_and_a_spool_and_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    stream(folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (out, spool, key) = (at("out.ndjson"), at("spool"), at("agent.pub"));
    for arguments in [
        vec!["verify", &out, "--key", &key, "--from-start", "--up-to", "12"],
        vec!["verify", &spool, "--key", &key],
    ] {
        let proven = interdict(&arguments);
        assert_eq!(proven.status.code(), Some(0), "{}", text(&proven));
        assert!(text(&proven).contains("whole: 12 lines"), "{}", text(&proven));
    }
    let whole = fs::read_to_string(&out).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let changed = at("changed.ndjson");
    for (content, expected) in [
        (whole.replace("\"n4\"", "\"n5\""), "alert 6: altered"),
        ([&lines[..3], &lines[5..]].concat().join("\n"), "missing: alert 4 to 5"),
        ([&lines[..3], &lines[2..]].concat().join("\n"), "repeated: alert 3"),
        (
            [&lines[..3], &[lines[4], lines[3]], &lines[5..]].concat().join("\n"),
            "reordered: alert 4",
        ),
    ] {
        fs::write(&changed, content).unwrap();
        let found = interdict(&["verify", &changed, "--key", &key]);
        assert_eq!(found.status.code(), Some(1), "{}", text(&found));
        let first = text(&found).lines().next().unwrap_or_default().to_owned();
        assert!(first.contains(expected), "{first}");
    }
    fs::write(&changed, lines[..10].join("\n")).unwrap();
    let cut = interdict(&["verify", &changed, "--key", &key, "--up-to", "12"]);
    assert!(text(&cut).contains("missing: alert 11 to 12 at the end"), "{}", text(&cut));
    assert_eq!(interdict(&["verify", &at("none"), "--key", &key]).status.code(), Some(2));
    assert_eq!(interdict(&["verify", &out, "--key", "no key"]).status.code(), Some(2));
}

#[test]
fn verify_names_damage_in_a_spool() {
    let folder = tempfile::tempdir().unwrap();
    stream(folder.path());
    let segment = folder.path().join("spool/00000000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let key = folder.path().join("agent.pub").display().to_string();
    let spool = folder.path().join("spool").display().to_string();
    let found = interdict(&["verify", &spool, "--key", &key]);
    assert_eq!(found.status.code(), Some(1));
    assert!(text(&found).contains("missing: alert"), "{}", text(&found));
    assert!(text(&found).contains("bytes hold no record"), "{}", text(&found));
}

#[test]
fn a_replay_prints_or_sends_the_range_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = stream(folder.path()).display().to_string();
    let printed = interdict(&["spool", "replay", "--config", &config, "--from", "3", "--to", "5"]);
    let whole = fs::read_to_string(folder.path().join("out.ndjson")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    assert_eq!(String::from_utf8(printed.stdout).unwrap().lines().collect::<Vec<_>>(), lines[2..5]);
    let arguments =
        ["spool", "replay", "--config", &config, "--from", "3", "--to", "5", "--sink", "file"];
    let sent = interdict(&arguments);
    assert_eq!(sent.status.code(), Some(0), "{}", text(&sent));
    let after = fs::read_to_string(folder.path().join("out.ndjson")).unwrap();
    assert_eq!(after.lines().skip(12).collect::<Vec<_>>(), lines[2..5]);
    let listed = interdict(&["spool", "ls", "--config", &config]);
    assert!(
        text(&listed).contains("alerts 12") && text(&listed).contains("next 13"),
        "{}",
        text(&listed)
    );
}

#[test]
fn a_report_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    stream(folder.path());
    let out = folder.path().join("out.ndjson").display().to_string();
    let spool = folder.path().join("spool").display().to_string();
    assert!(text(&interdict(&["report", &out])).contains("10  policy-refused"));
    let json: serde_json::Value =
        serde_json::from_slice(&interdict(&["report", &spool, "--format", "json"]).stdout).unwrap();
    assert_eq!(json["alerts"], 12);
    assert_eq!(json["notices"]["policy-refused"], 10);
    let page = text(&interdict(&["report", &out, "--format", "html"]));
    assert!(page.starts_with("<!doctype html>") && !page.contains("http"), "{page}");
}
