//! The whole way under faults: an agent that dies at its writes, a disk that fills up, a clock that jumps, and a receiver
//! behind a socket that refuses, hangs, resets, lies and forgets, all at once and over one stream.
//!
//! The test starts its own program again as the agent, with a fault of the disk and the clock for that life; the receiver
//! lives in the test and has a fault every so many alerts. At the end every record that was given is an alert that
//! arrived, or is in a count that did; in order, none twice under two numbers, and the stream is proven.
//! `INTERDICT_FAULTS` (40) sets how many faults have to hit at least, `INTERDICT_ALERTS` (20,000) how many alerts are told,
//! `INTERDICT_PACE` how many records there are a second at most: otherwise there is always a backlog, and each lost answer
//! costs a full batch. At a pace that the agent keeps up with, one in a thousand may come again and no more.

mod receiver;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use interdict_abi::{
    event::Head,
    ids::{Family, Mode},
};
use interdict_rules::meta::{ClauseMeta, Metadata, RuleMeta, ThrottleMeta};
use receiver::Receiver;
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

use super::{Ground, Pipeline, PolicyView, tests, this_host};
use crate::{
    alert::key::PublicKey,
    config::Config,
    spool::faulty::{Fault, FaultyDisk},
    wall::test::STEP_S,
};

/// What a life is told by: folder, address of the receiver, records to give, and its faults.
const FOLDER: &str = "INTERDICT_CHAOS_FOLDER";
const RECEIVER: &str = "INTERDICT_CHAOS_RECEIVER";
const RECORDS: &str = "INTERDICT_CHAOS_RECORDS";
const FAULT: &str = "INTERDICT_CHAOS_FAULT";
const CLOCK: &str = "INTERDICT_CHAOS_CLOCK";

/// Records a second at most.
const PACE: &str = "INTERDICT_PACE";

/// Every so many records one is counted by a throttle, and a loss of the kernel side is counted.
const THROTTLED: u64 = 8;
const KERNEL_LOSES: u64 = 500;

/// Alerts in one request at most.
const BATCH: u64 = 500;

const DAY_S: i64 = 86_400;

fn config(folder: &Path, receiver: &str) -> Config {
    let text = format!(
        "state: {0}\nruntime: {0}/run\nspool: {{ segment_bytes: 256KiB, max_bytes: 256MiB }}\n\
         alerts: {{ alive: 0s, queue: 512KiB }}\nsinks:\n  \
         - webhook: {{ url: \"http://{receiver}/\", body: ndjson, timeout: 200ms }}\n    \
           batch: {{ alerts: {BATCH} }}\n    \
           retry: {{ first: 5ms, max: 50ms }}\n",
        folder.display()
    );
    Config::parse(&text, Path::new("chaos.yaml")).unwrap()
}

/// A rule that is told once an hour and counted otherwise.
fn policy() -> Arc<PolicyView> {
    let throttle = ThrottleMeta { by: Vec::new(), burst: 1, per_seconds: 3_600 };
    let rule = RuleMeta { throttle: Some(throttle), ..tests::rule("CHAOS-1") };
    let mut clauses = vec![Vec::new(); 8];
    clauses[Family::File as usize] = vec![ClauseMeta { rule: 0, exception: None }];
    let metadata = Metadata { rules: vec![rule], clauses, ..Metadata::default() };
    Arc::new(PolicyView::new(1, "d".to_owned(), metadata))
}

fn record(at: u64) -> Vec<u8> {
    let mut record = tests::decision(&format!("/tmp/{at}"));
    let told = std::mem::offset_of!(Head, clauses_told);
    let throttled = u16::from(at.is_multiple_of(THROTTLED));
    record[told..told + 2].copy_from_slice(&throttled.to_le_bytes());
    record
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

/// What happens to an agent in one life.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// It is killed in the middle of a disk operation, or behind it.
    EndsIn(u64),
    EndsAfter(u64),
    /// The disk is full from an operation on, for so many.
    Full(u64, u64),
    /// It fails otherwise.
    Broken(u64, u64),
    /// It is killed once so many marks of durable alerts were seen.
    Killed(u64),
    /// It is stopped for so many milliseconds then.
    Stopped(u64),
    /// The clock jumps, so many seconds, in the middle.
    Stepped(i64),
    /// Nothing.
    Whole,
}

impl Life {
    /// Those of a run, in turn, so that operations are hit one after the other.
    fn number(at: u64, random: u64) -> Self {
        let round = at / 8;
        match at % 8 {
            0 | 4 => Self::EndsIn(round % 70),
            1 | 5 => Self::EndsAfter(round % 70),
            // The first so long that something is lost for certain.
            2 if round == 0 => Self::Full(16, 200),
            2 => Self::Full(random % 60, 1 + random / 60 % 40),
            3 => Self::Killed(random % 16),
            6 if round.is_multiple_of(2) => Self::Broken(random % 60, 1 + random / 60 % 3),
            6 => Self::Stopped(random % 300),
            _last => Self::Stepped([DAY_S, -DAY_S, -(1 << 40), 0][(round % 4) as usize]),
        }
    }

    /// The fault of its disk, in words that [`disk`] reads.
    fn fault(self) -> String {
        match self {
            Self::EndsIn(at) => format!("in {at} 0"),
            Self::EndsAfter(at) => format!("after {at} 0"),
            Self::Full(from, len) => format!("full {from} {}", from + len),
            Self::Broken(from, len) => format!("broken {from} {}", from + len),
            Self::Killed(_) | Self::Stopped(_) | Self::Stepped(_) | Self::Whole => {
                "none 0 0".to_owned()
            }
        }
    }
}

fn disk(fault: &str) -> FaultyDisk {
    let words: Vec<&str> = fault.split(' ').collect();
    let (from, to) = (words[1].parse().unwrap(), words[2].parse().unwrap());
    match words[0] {
        "in" => FaultyDisk::new(Fault::EndsIn(from)),
        "after" => FaultyDisk::new(Fault::EndsAfter(from)),
        "full" => FaultyDisk::new(Fault::Between(from, to)),
        "broken" => FaultyDisk::failing_with(Fault::Between(from, to), Errno::IO),
        _none => FaultyDisk::new(Fault::Between(0, 0)),
    }
}

/// Not a test of its own: one life of the agent.
#[test]
fn child() {
    let Ok(folder) = env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let word = |name: &str| env::var(name).unwrap();
    let count: u64 = word(RECORDS).parse().unwrap();
    let (before, step): (i64, i64) = {
        let (before, step) =
            word(CLOCK).split_once(' ').map(|(a, b)| (a.parse(), b.parse())).unwrap();
        (before.unwrap(), step.unwrap())
    };
    STEP_S.store(before, Ordering::Relaxed);
    let position = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join("position"))
        .unwrap();
    let (from, mut kernel_lost) = stood(folder);
    // Another one may be there already.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let disk = Arc::new(disk(&word(FAULT)));
    let calls = disk.calls();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let ground = Ground { disk, ..Ground::default() };
    let config = config(folder, &word(RECEIVER));
    let Ok(pipeline) = Pipeline::start_on(&config, this_host(), Mode::Enforce, ground) else {
        // The disk was full when it started: the service manager starts it again.
        println!("calls {}", calls.load(Ordering::Relaxed));
        return;
    };
    pipeline.policy(policy());
    let records = pipeline.records();
    let mut told = 0;
    let (start, pace) = (Instant::now(), wanted(PACE, u64::MAX));
    for at in from..from + count {
        let due = Duration::from_nanos((at - from).saturating_mul(1_000_000_000) / pace);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        // As the ring's reader does.
        while !records.has_room(Duration::from_secs(1)) {}
        records.record(&record(at));
        // The ring lets go of it.
        position.write_all_at(&(at + 1).to_le_bytes(), 0).unwrap();
        if at.is_multiple_of(KERNEL_LOSES) {
            kernel_lost += 1;
            position.write_all_at(&kernel_lost.to_le_bytes(), 8).unwrap();
        }
        if at == from + count / 2 && step != 0 {
            STEP_S.fetch_add(step, Ordering::Relaxed);
        }
        if at.is_multiple_of(97) {
            pipeline.kernel_counters("ring", &kernel_losses(kernel_lost), &BTreeMap::new());
            // So that there are many batches.
            std::thread::sleep(Duration::from_millis(at % 4));
        }
        let durable = pipeline.durable();
        if durable > told {
            told = durable;
            println!("durable {durable}");
        }
    }
    pipeline.kernel_counters("ring", &kernel_losses(kernel_lost), &BTreeMap::new());
    println!("given");
    let durable = pipeline.durable.clone();
    runtime.block_on(pipeline.shutdown("chaos"));
    println!("ended {}", *durable.borrow());
    println!("calls {}", calls.load(Ordering::Relaxed));
}

fn born(folder: &Path, receiver: &Receiver, records: u64, life: Life, clock: i64) -> Child {
    let step = if let Life::Stepped(to) = life { to - clock } else { 0 };
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "pipeline::chaos::child", "--nocapture"])
        .env(FOLDER, folder)
        .env(RECEIVER, receiver.address())
        .env(RECORDS, records.to_string())
        .env(FAULT, life.fault())
        .env(CLOCK, format!("{clock} {step}"))
        .stdout(Stdio::piped())
        .stderr(fs::File::create(folder.join("said")).unwrap())
        .spawn()
        .unwrap()
}

/// Lets an agent live. Returns whether its fault hit, and where the stream stood if it ended in order.
fn lived(mut child: Child, life: Life, folder: &Path) -> (bool, Option<u64>) {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut marks, mut ended, mut calls, mut hit) = (0, None, None, false);
    for line in lines.map_while(Result::ok) {
        let number = |name: &str| line.strip_prefix(name)?.trim().parse::<u64>().ok();
        marks += u64::from(number("durable ").is_some());
        ended = ended.or(number("ended "));
        calls = calls.or(number("calls "));
        let now = marks > 0 || line == "given";
        match life {
            Life::Killed(at) if now && (marks > at || line == "given") => child.kill().unwrap(),
            Life::Stopped(pause) if now && !hit => {
                let process = Pid::from_child(&child);
                kill_process(process, Signal::STOP).unwrap();
                std::thread::sleep(Duration::from_millis(pause));
                kill_process(process, Signal::CONT).unwrap();
                hit = true;
            }
            _otherwise => {}
        }
    }
    let status = child.wait().unwrap();
    let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
    let said = fs::read_to_string(folder.join("said")).unwrap_or_default();
    assert!(killed || status.success(), "{life:?}: {status}: {said}");
    hit |= match life {
        Life::EndsIn(_) | Life::EndsAfter(_) | Life::Killed(_) => killed,
        Life::Full(from, _) | Life::Broken(from, _) => calls.is_some_and(|calls| calls > from),
        Life::Stepped(_) => true,
        Life::Stopped(_) | Life::Whole => hit,
    };
    (hit, ended)
}

fn wanted(name: &str, by_default: u64) -> u64 {
    env::var(name).map_or(by_default, |text| text.parse().expect("a number"))
}

#[test]
fn whatever_fails_every_alert_arrives_or_is_counted_in_order_and_proven() {
    let (faults, alerts) = (wanted("INTERDICT_FAULTS", 40), wanted("INTERDICT_ALERTS", 20_000));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // About as many of the receiver's come to these.
    let each = (alerts * THROTTLED / (THROTTLED - 1)).div_ceil((faults / 2).max(1));
    let receiver = Receiver::start(folder, each);
    let mut random = 0x6a09_e667_f3bc_c908_u64;
    let (mut hits, mut lives, mut clock) = (BTreeMap::<String, u64>::new(), 0, 0);
    let hit_by = |life: Life| {
        let name = format!("{life:?}");
        name.split('(').next().unwrap_or_default().to_owned()
    };
    while hits.values().sum::<u64>() + receiver.faults() < faults || receiver.alerts() < alerts {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let life = Life::number(lives, random);
        lives += 1;
        let child = born(folder, &receiver, each, life, clock);
        let (hit, _) = lived(child, life, folder);
        if let Life::Stepped(to) = life {
            clock = to;
        }
        if hit {
            *hits.entry(hit_by(life)).or_default() += 1;
        }
    }
    // Lives without faults deliver what is left.
    receiver.behave();
    let mut last = 0;
    for _ in 0..20 {
        let (_, ended) = lived(born(folder, &receiver, 0, Life::Whole, 0), Life::Whole, folder);
        last = ended.unwrap();
        if receiver.last() >= last {
            break;
        }
    }
    let (given, kernel_lost) = stood(folder);
    let taken = receiver.end();
    let key = PublicKey::open(&folder.join("agent.pub"));
    assert!(key.is_ok(), "a life that is cut short leaves the key whole: {key:?}");

    let outcome = taken.verifier.expect("something arrived").finish();
    let findings: Vec<String> =
        outcome.findings.iter().map(|one| one.problem.to_string()).collect();
    assert!(
        findings.is_empty(),
        "{} findings: {:?}",
        findings.len(),
        &findings[..findings.len().min(5)]
    );
    assert_eq!(outcome.streams.len(), 1, "one stream over all lives");
    assert_eq!((outcome.streams[0].first, outcome.streams[0].last), (1, last));
    assert_eq!(taken.marks.len() as u64, last, "every number");

    let told = taken.paths.iter().filter(|told| **told).count() as u64;
    let lost_for = |reason: &str| taken.lost.get(reason).copied().unwrap_or(0);
    let disk_lost = lost_for("spool_disk_full") + lost_for("spool_write_failed");
    let missing = given.saturating_sub(told + taken.counted);
    let all = format!(
        "{lives} lives, {given} records: {told} told, {} counted, {missing} lost; lost and told: {:?}; the kernel side lost \
         {kernel_lost}; faults of the agent: {hits:?}, of the receiver: {:?}; of {last} alerts of the stream {} came again ({:.2} %), {} of them because nobody said that they had arrived; {} came again \
         changed; {} came again under a webhook-id that was not known",
        taken.counted,
        taken.lost,
        taken.faults,
        taken.repeats,
        taken.repeats as f64 * 100.0 / last as f64,
        taken.unanswered,
        taken.changed,
        taken.kept
    );
    println!("{all}");
    assert!(told + taken.counted <= given + 1, "a record was told twice: {all}");
    assert!(missing <= disk_lost, "{all}");
    // Notices that were lost with the others are counted as well: of each life a few.
    assert!(disk_lost - missing <= lives * 8, "{all}");
    assert_eq!(lost_for("ring_full"), kernel_lost, "{all}");
    // An agent that dies repeats the batch that it was sending, and no more.
    let again = taken.repeats.saturating_sub(taken.unanswered);
    let deaths: u64 =
        ["EndsIn", "EndsAfter", "Killed"].iter().filter_map(|kind| hits.get(*kind)).sum();
    assert!(again <= deaths * BATCH, "{all}");
    assert_eq!((taken.changed, taken.taken_ids), (0, 0), "{all}");
    assert!(taken.repeats > 0 && taken.kept * 1_000 <= last, "{all}");
    assert!(wanted(PACE, 0) == 0 || taken.repeats * 1_000 <= last, "{all}");
    let others: Vec<&String> = taken
        .lost
        .keys()
        .filter(|reason| {
            !["spool_disk_full", "spool_write_failed", "ring_full"].contains(&reason.as_str())
        })
        .collect();
    assert!(others.is_empty(), "{others:?}: {all}");
    assert!(taken.counted > 0 && disk_lost > 0, "{all}");
    assert!(hits.len() >= 5 && taken.faults.len() >= 8, "faults of every kind hit: {all}");
}
