//! An agent that is killed at any moment: what was durable is delivered, in order, whole, and the stream goes on; and every
//! record that it was given becomes one alert, or is counted, whichever agent was alive then.
//!
//! The test starts this same program as a child that reads records without end, as from the kernel's ring: it lets go of
//! one only after the pipeline has it, and the next child goes on where the last one had let go. The test kills it after a
//! number of durable marks drawn from a fixed seed; and again. `INTERDICT_CRASHES` sets how often (12).
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufRead, BufReader},
    os::unix::fs::FileExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
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
    pipeline::{Pipeline, PolicyView, this_host},
};
use interdict_rules::meta::{ClauseMeta, Metadata, RuleMeta, Severity, ThrottleMeta};
use zerocopy::IntoBytes;

const FOLDER: &str = "INTERDICT_CRASH_TEST_FOLDER";

fn config(folder: &Path) -> Config {
    // Small segments, so that kills fall on changes of segment too.
    let text = format!(
        "state: {0}\nruntime: {0}/run\nspool: {{ segment_bytes: 64KiB, max_bytes: 1GiB }}\nalerts: {{ alive: 0s, queue: 256KiB }}\nsinks:\n  \
         - file: {{ path: {0}/out.ndjson, max_bytes: 0B }}\n",
        folder.display()
    );
    Config::parse(&text, Path::new("crash.yaml")).unwrap()
}

/// Every fourth record is one that a throttle counts.
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
    head.generation = 1;
    head.clauses_told = u16::from(at.is_multiple_of(4));
    [head.as_bytes(), path.as_bytes()].concat()
}

/// A rule that is told once an hour and counted otherwise.
fn policy() -> Arc<PolicyView> {
    let rule = RuleMeta {
        severity: Severity::Low,
        action: "block".to_owned(),
        on_fault: "block".to_owned(),
        throttle: Some(ThrottleMeta { by: Vec::new(), burst: 1, per_seconds: 3_600 }),
        ..RuleMeta::of("CRASH-1")
    };
    let mut clauses = vec![Vec::new(); 8];
    clauses[Family::File as usize] = vec![ClauseMeta { rule: 0, exception: None }];
    let metadata = Metadata { rules: vec![rule], clauses, ..Metadata::default() };
    Arc::new(PolicyView::new(1, "d".to_owned(), metadata))
}

/// Not a test of its own: what the child does.
#[test]
fn child() {
    let Ok(folder) = env::var(FOLDER) else { return };
    let position = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(Path::new(&folder).join("position"))
        .unwrap();
    let (from, mut kernel_lost) = stood(Path::new(&folder));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let pipeline = Pipeline::start(&config(folder.as_ref()), this_host(), Mode::Enforce).unwrap();
    pipeline.policy(policy());
    let records = pipeline.records();
    let mut told = 0;
    for at in from.. {
        // As the ring's reader does.
        while !records.has_room(Duration::from_secs(1)) {}
        records.record(&record(at));
        // The ring lets go of it.
        position.write_all_at(&(at + 1).to_le_bytes(), 0).unwrap();
        if at.is_multiple_of(500) {
            kernel_lost += 1;
            position.write_all_at(&kernel_lost.to_le_bytes(), 8).unwrap();
            pipeline.kernel_counters("ring", &kernel_losses(kernel_lost), &BTreeMap::new());
        }
        let durable = pipeline.durable();
        if durable > told {
            told = durable;
            println!("durable {durable}");
        }
    }
}

/// How far the ring was read, and what the kernel side's counter of losses says.
fn stood(folder: &Path) -> (u64, u64) {
    let bytes = fs::read(folder.join("position")).unwrap_or_default();
    let word = |at: usize| bytes.get(at..at + 8).map_or([0; 8], |word| word.try_into().unwrap());
    (u64::from_le_bytes(word(0)), u64::from_le_bytes(word(8)))
}

fn kernel_losses(count: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([("ring_full".to_owned(), count)])
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
    let (given, kernel_lost) = stood(folder.path());
    pipeline.kernel_counters("ring", &kernel_losses(kernel_lost), &BTreeMap::new());
    runtime.block_on(pipeline.shutdown("test"));

    let key = PublicKey::open(&folder.path().join("agent.pub")).unwrap();
    let text = fs::read(folder.path().join("out.ndjson")).unwrap();
    let mut verifier = Verifier::new(vec![key], Repeats::Allowed);
    let mut seqs = BTreeSet::new();
    let mut accounted = Accounted::default();
    let mut torn = 0;
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        // The kill may fall into the file sink's own write: its half line is ended, and the batch comes again.
        let Ok(alert) = serde_json::from_slice::<serde_json::Value>(line) else {
            torn += 1;
            continue;
        };
        if seqs.insert(alert["seq"].as_u64().unwrap()) {
            accounted.take(&alert);
        }
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

    // The last child may have been killed with a record in hand.
    let Accounted { alerts, paths, counted, lost } = accounted;
    let all = format!(
        "{given} records: {alerts} told, {counted} counted; {kernel_lost} lost, {lost} told"
    );
    eprintln!("{all}");
    assert!(alerts + counted == given || alerts + counted == given + 1, "{all}");
    assert_eq!(lost, kernel_lost, "{all}");
    assert_eq!(paths.len() as u64, alerts, "a record was told twice: {all}");
    assert!(alerts > 0 && counted > 0 && lost > 0, "{all}");
}

/// What became of the records.
#[derive(Default)]
struct Accounted {
    alerts: u64,
    paths: BTreeSet<u64>,
    /// By notices of the throttle.
    counted: u64,
    /// As the notices of losses say.
    lost: u64,
}

impl Accounted {
    fn take(&mut self, alert: &serde_json::Value) {
        if let Some(path) = alert["object"]["path"].as_str() {
            self.alerts += 1;
            self.paths.insert(path.strip_prefix("/tmp/").unwrap().parse().unwrap());
        }
        let detail = &alert["notice"]["detail"];
        if alert["notice"]["name"] == "repeated" {
            self.counted += detail["count"].as_u64().unwrap();
        }
        for count in detail["counts"].as_object().into_iter().flat_map(|counts| counts.values()) {
            self.lost += count.as_u64().unwrap();
        }
    }
}
