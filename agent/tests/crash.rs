//! An agent that is killed at any moment: what was durable is delivered, in order, whole, and the stream goes on.
//!
//! The test starts this same program as a child that raises alerts without end and tells its durable mark; kills it
//! after a number of marks drawn from a fixed seed; and again. `INTERDICT_CRASHES` sets how often (12).
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use interdict_abi::{
    event::{Head, VERSION, kind},
    ids::{Act, Action, Family, Mode},
};
use interdict_agent::{
    alert::{
        key::PublicKey,
        verify::{Repeats, Verifier},
    },
    config::Config,
    pipeline::{Pipeline, this_host},
};
use zerocopy::IntoBytes;

const FOLDER: &str = "INTERDICT_CRASH_TEST_FOLDER";

fn config(folder: &Path) -> Config {
    // Small segments, so that kills fall on changes of segment too.
    let text = format!(
        "state: {0}\nspool: {{ segment_bytes: 64KiB, max_bytes: 1GiB }}\nalerts: {{ alive: 0s }}\nsinks:\n  \
         - file: {{ path: {0}/out.ndjson, max_bytes: 0B }}\n",
        folder.display()
    );
    Config::parse(&text, Path::new("crash.yaml")).unwrap()
}

fn record(at: u64) -> Vec<u8> {
    let path = format!("/tmp/{at}");
    let mut head = Head::ZERO;
    head.version = VERSION;
    head.kind = kind::DECISION;
    head.family = Family::File as u8;
    head.verdict = Action::Block as u8;
    head.would = Action::Block as u8;
    head.acts = Act::FileRead.bit();
    head.pid = 0x4000_0001;
    head.path_bytes = u16::try_from(path.len()).unwrap();
    [head.as_bytes(), path.as_bytes()].concat()
}

/// Not a test of its own: what the child does.
#[test]
fn child() {
    let Ok(folder) = env::var(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let pipeline = Pipeline::start(&config(folder.as_ref()), this_host(), Mode::Enforce).unwrap();
    let mut told = 0;
    for at in 0.. {
        pipeline.record(&record(at));
        let durable = pipeline.durable();
        if durable > told {
            told = durable;
            println!("durable {durable}");
        }
        if at % 64 == 0 {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    }
}

fn durable(line: &str) -> Option<u64> {
    line.strip_prefix("durable ")?.parse().ok()
}

#[test]
fn killed_at_any_moment_nothing_durable_is_lost_and_the_stream_stays_whole() {
    let rounds: u64 =
        env::var("INTERDICT_CRASHES").map_or(12, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().unwrap();
    let mut random = 0x1234_5678_9abc_def1_u64;
    let mut highest = 0;
    for _ in 0..rounds {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let marks = usize::try_from(random % 12).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while seen < marks {
            match lines.next() {
                Some(line) => {
                    if let Some(mark) = durable(&line.unwrap()) {
                        highest = highest.max(mark);
                        seen += 1;
                    }
                }
                None => panic!("the child ended by itself: {:?}", child.wait()),
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had told before it died counts too.
        for line in lines.map_while(Result::ok) {
            highest = highest.max(durable(&line).unwrap_or(0));
        }
    }

    // One run that ends in order delivers what is left.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let pipeline = {
        let _inside = runtime.enter();
        Pipeline::start(&config(folder.path()), this_host(), Mode::Enforce).unwrap()
    };
    runtime.block_on(pipeline.shutdown("test"));

    let key = PublicKey::open(&folder.path().join("agent.pub")).unwrap();
    let text = fs::read(folder.path().join("out.ndjson")).unwrap();
    let mut verifier = Verifier::new(vec![key], Repeats::Allowed);
    let mut seqs = BTreeSet::new();
    let mut torn = 0;
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        // The kill may fall into the file sink's own write: its half line is ended, and the batch comes again.
        let Ok(alert) = serde_json::from_slice::<serde_json::Value>(line) else {
            torn += 1;
            continue;
        };
        seqs.insert(alert["seq"].as_u64().unwrap());
        verifier.push(line, || alert["seq"].to_string());
    }
    let outcome = verifier.finish();
    let reordered = |finding: &interdict_agent::alert::verify::Finding| format!("{finding:?}");
    let findings: Vec<String> = outcome.findings.iter().map(reordered).collect();
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(outcome.streams.len(), 1, "one stream over all runs");
    assert_eq!(outcome.streams[0].first, 1);
    assert!(outcome.streams[0].last >= highest);
    assert_eq!(seqs.len() as u64, outcome.streams[0].last, "every number once at least");
    assert!(torn <= rounds, "{torn} torn lines");
    assert!(highest > rounds, "the children did work: {highest}");
}
