//! The runner when everything goes wrong: killed at every single disk operation, kept waiting for hours, lied to.
//!
//! Here the receiver is a list, the clock a number and the kill a panic, so each run takes milliseconds and is the same
//! each time. `agent/tests/crash.rs` kills real processes, `sinks/tests.rs` has receivers behind sockets.

use std::{
    collections::BTreeSet,
    fs,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use tokio::sync::watch;

use super::{
    Delivery, DeliveryError, Sink, Status,
    clock::Clock,
    runner::{self, Task},
};
use crate::{
    alert::{
        Notice,
        build::Scene,
        key::{PublicKey, SigningKey},
        model::HostInfo,
        seal::Sealer,
        verify::{Repeats, Verifier},
    },
    config::{Batch, SinkConfig},
    spool::{
        Cursor, Entry, Limits,
        disk::{Disk, LocalDisk},
        faulty::{Fault, FaultyDisk, Killed, open_freed},
    },
};

const STREAM: &str = "00112233445566778899aabbccddeeff";

/// A clock on which waiting takes no time.
#[derive(Debug, Default)]
struct VirtualClock(Mutex<Duration>);

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }
    fn sleep(&self, pause: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        *self.0.lock().unwrap() += pause;
        Box::pin(tokio::task::yield_now())
    }
}

/// What a receiver has, which outlives any sink.
type Received = Arc<Mutex<Vec<Vec<u8>>>>;

/// How a receiver answers the next delivery.
type Mood = Box<dyn FnMut(&[Entry]) -> Result<usize, DeliveryError> + Send>;

/// A receiver in memory.
struct InMemory {
    received: Received,
    mood: Mood,
}

impl Sink for InMemory {
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a> {
        let outcome = (self.mood)(batch);
        if let Ok(taken) = outcome {
            let lines = batch[..taken].iter().map(|entry| entry.line.clone());
            self.received.lock().unwrap().extend(lines);
        }
        Box::pin(std::future::ready(outcome))
    }
}

fn limits() -> Limits {
    Limits { max_bytes: 1 << 30, max_age: Duration::from_secs(3_600), segment_bytes: 8 << 10 }
}

fn refused(entry: &Entry) -> bool {
    entry.line.windows(6).any(|part| part == b"poison")
}

/// An agent's life in one folder, from start to end or to its death.
struct Life<'a> {
    folder: &'a Path,
    disk: Arc<dyn Disk>,
    received: &'a Received,
    clock: Arc<VirtualClock>,
    /// Batches of alerts that it raises.
    batches: &'a [usize],
}

/// How a life ended.
struct End {
    /// Sequence numbers that were durable.
    durable: u64,
    killed: bool,
    status: Arc<Status>,
    notices: Vec<Notice>,
}

fn scene() -> Scene {
    let host = HostInfo { boot_id: "b".into(), kernel: "k".into(), name: "h".into() };
    Scene { host: host.into(), wall_minus_boot_ns: 0 }
}

impl Life<'_> {
    /// Starts, raises alerts, delivers what there is. Dies at the disk's fault, if it has one.
    fn live(&self, mood: Mood) -> End {
        let key = SigningKey::open_or_create(&self.folder.join("key")).unwrap();
        let status = Arc::new(Status::new("memory".to_owned(), 1));
        let notices = Arc::new(Mutex::new(Vec::new()));
        let mut durable = 0;
        let spool_folder = self.folder.join("spool");
        let lived = catch_unwind(AssertUnwindSafe(|| {
            let cursor = Cursor::new(&spool_folder, "memory", Arc::clone(&self.disk))
                .in_memory(&self.folder.join("run"));
            let stored = cursor.load();
            let floor = |_: &str| match &stored {
                crate::spool::cursor::Stored::At { next, .. } => next - 1,
                _none => 0,
            };
            let (mut spool, _) = open_freed(&spool_folder, limits(), &self.disk, &floor, STREAM);
            let mut sealer = Sealer::new(key, spool.head().clone());
            durable = spool.head().seq;
            let next = match stored {
                // Nobody was there when the first alerts came: a new sink here starts with them.
                crate::spool::cursor::Stored::Absent => 1,
                ref known => runner::start(known, STREAM, spool.oldest(), spool.head().seq),
            };
            status.next.store(next, Ordering::Relaxed);
            for (index, size) in self.batches.iter().enumerate() {
                let word = if index % 3 == 2 { "poison" } else { "plain" };
                let alert =
                    |at| Notice::Stopped { reason: format!("{word} {at}") }.alert(&scene(), 1);
                let sealed = sealer.seal((0..*size).map(alert).collect());
                spool.append(&sealed).unwrap();
                durable = spool.head().seq;
            }
            let last = watch::Sender::new(Some(durable));
            let told = Arc::clone(&notices);
            let task = Task {
                config: SinkConfig {
                    batch: Batch { alerts: 4, bytes: 1 << 20 },
                    ..SinkConfig::default()
                },
                sink: Box::new(InMemory { received: Arc::clone(self.received), mood }),
                folder: spool_folder.clone(),
                begun: spool.begun(),
                stream: STREAM.to_owned(),
                cursor,
                disk: Arc::clone(&self.disk),
                clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
                status: Arc::clone(&status),
                durable: spool.durable(),
                last: last.subscribe(),
                notices: Arc::new(move |notice| told.lock().unwrap().push(notice)),
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(runner::run(task));
        }));
        let killed = match lived {
            Ok(()) => false,
            Err(reason) if reason.is::<Killed>() => true,
            Err(other) => std::panic::resume_unwind(other),
        };
        let notices = notices.lock().unwrap().drain(..).collect();
        End { durable, killed, status, notices }
    }
}

/// Everything up to `durable` was received or buried, in order, proven.
fn assert_nothing_lost(folder: &Path, received: &Received, durable: u64, case: &str) {
    let key = PublicKey::open(&folder.join("key.pub"))
        .or_else(|_other| PublicKey::open(&folder.join("agent.pub")))
        .unwrap_or_else(|_none| SigningKey::open(&folder.join("key")).unwrap().public());
    let dead = fs::read(folder.join("spool/dead/memory.ndjson")).unwrap_or_default();
    let buried: Vec<serde_json::Value> = dead
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .map(|letter| letter["alert"].clone())
        .collect();
    let received = received.lock().unwrap();
    let seq = |line: &Vec<u8>| {
        serde_json::from_slice::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap()
    };
    let mut highest = 0;
    let mut all: BTreeSet<u64> =
        buried.iter().map(|alert| alert["seq"].as_u64().unwrap()).collect();
    for line in received.iter() {
        let seq = seq(line);
        // Repeats go back; what is new goes on.
        if all.insert(seq) {
            assert!(seq > highest, "{case}: {seq} after {highest}");
        }
        highest = highest.max(seq);
    }
    let missing: Vec<u64> = (1..=durable).filter(|seq| !all.contains(seq)).collect();
    assert_eq!(missing, [0u64; 0], "{case}");
    // The two together are the stream, and it is whole.
    let mut lines: Vec<(u64, Vec<u8>)> =
        received.iter().map(|line| (seq(line), line.clone())).collect();
    lines.extend(
        buried.iter().map(|alert| (alert["seq"].as_u64().unwrap(), alert.to_string().into())),
    );
    lines.sort();
    let mut verifier = Verifier::new(vec![key], Repeats::Allowed);
    for (seq, line) in &lines {
        verifier.push(line, || seq.to_string());
    }
    assert_eq!(verifier.finish().findings, [], "{case}");
}

fn takes_all_but_poison() -> Mood {
    Box::new(|batch| {
        if batch.iter().any(refused) {
            return Err(DeliveryError::Refused { reason: "poison".to_owned() });
        }
        Ok(batch.len())
    })
}

/// Panics that stand for kills say nothing.
fn silence_kills() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic.payload().is::<Killed>() {
                before(panic);
            }
        }));
    });
}

const BATCHES: [usize; 5] = [3, 6, 2, 9, 1];

#[test]
fn killed_at_every_write_sync_and_rename_every_alert_arrives_in_order_or_is_a_dead_letter() {
    silence_kills();
    let mut kills = 0;
    for make in [Fault::KilledIn, Fault::KilledAfter] {
        for at in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let received = Received::default();
            let clock = Arc::new(VirtualClock::default());
            let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(make(at)));
            let path = folder.path();
            let life = Life { folder: path, disk, received: &received, clock, batches: &BATCHES };
            let first = life.live(takes_all_but_poison());
            let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
            let second = Life { disk, clock: Arc::default(), ..life }.live(takes_all_but_poison());
            assert!(!second.killed);
            assert!(second.durable >= first.durable);
            assert_nothing_lost(path, &received, second.durable, &format!("{:?}", make(at)));
            if !first.killed {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 60, "{kills}");
}

/// `INTERDICT_CRASHES` sets how often (100).
#[test]
fn one_stream_lives_through_random_kills_lost_acknowledgements_and_refusals() {
    silence_kills();
    let rounds: u64 =
        std::env::var("INTERDICT_CRASHES").map_or(100, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().unwrap();
    let received = Received::default();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let (mut kills, mut durable) = (0, 0);
    for round in 0..rounds {
        let at = next() % 60;
        let fault = if next() % 2 == 0 { Fault::KilledIn(at) } else { Fault::KilledAfter(at) };
        let mut noise = next();
        let copy = Arc::clone(&received);
        let mood: Mood = Box::new(move |batch| {
            noise = noise.rotate_left(7).wrapping_mul(0x2545_f491_4f6c_dd1d);
            match noise % 8 {
                0 => Err(DeliveryError::retry("reset")),
                1 => {
                    // It has them, and the acknowledgement is lost.
                    let lines = batch.iter().filter(|entry| !refused(entry));
                    copy.lock().unwrap().extend(lines.map(|entry| entry.line.clone()));
                    Err(DeliveryError::retry("no acknowledgement"))
                }
                2 if !refused(&batch[0]) => Ok(1),
                _otherwise if batch.iter().any(refused) => {
                    Err(DeliveryError::Refused { reason: "poison".to_owned() })
                }
                _otherwise => Ok(batch.len()),
            }
        });
        let life = Life {
            folder: folder.path(),
            disk: Arc::new(FaultyDisk::new(fault)),
            received: &received,
            clock: Arc::default(),
            batches: &[2, 1, 4],
        };
        let end = life.live(mood);
        kills += u64::from(end.killed);
        assert!(end.durable >= durable, "round {round}: {} is not {durable}", end.durable);
        durable = end.durable;
    }
    let life = Life {
        folder: folder.path(),
        disk: Arc::new(LocalDisk),
        received: &received,
        clock: Arc::default(),
        batches: &[1],
    };
    let end = life.live(takes_all_but_poison());
    assert_nothing_lost(folder.path(), &received, end.durable, "random");
    assert!(kills > rounds / 2, "{kills} of {rounds}");
}

#[test]
fn a_receiver_that_comes_back_after_an_hour_gets_everything_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let received = Received::default();
    let clock = Arc::new(VirtualClock::default());
    let life = Life {
        folder: folder.path(),
        disk: Arc::new(LocalDisk),
        received: &received,
        clock: Arc::clone(&clock),
        batches: &[30, 30],
    };
    let hour = Duration::from_secs(3_600);
    let now = Arc::clone(&clock);
    let end = life.live(Box::new(move |batch| {
        if now.now() < hour {
            return Err(DeliveryError::retry("connection refused"));
        }
        Ok(batch.len())
    }));
    assert_eq!(received.lock().unwrap().len() as u64, end.durable);
    assert_nothing_lost(folder.path(), &received, end.durable, "after an hour");
    // Not hammered: the longest wait is a minute, half of it at the least with jitter.
    let failures = end.status.failures.load(Ordering::Relaxed);
    assert!((60..140).contains(&failures), "{failures}");
    assert!(clock.now() < hour + Duration::from_secs(61), "it was noticed within a minute");
    let names: Vec<&str> = end.notices.iter().map(Notice::name).collect();
    assert_eq!(names, ["sink-down", "sink-up"], "told once each");
}

/// Sequence numbers of the batches that a receiver was sent.
type Sent = Arc<Mutex<Vec<Vec<u64>>>>;

fn numbers(batch: &[Entry]) -> Vec<u64> {
    batch.iter().map(|entry| entry.seq).collect()
}

/// It came with what was told since, and so under another id, which a receiver could not know.
#[test]
fn a_batch_that_was_being_sent_when_the_agent_was_killed_comes_again_as_it_was() {
    silence_kills();
    let folder = tempfile::tempdir().unwrap();
    let received = Received::default();
    let sent = Sent::default();
    let life = Life {
        folder: folder.path(),
        disk: Arc::new(LocalDisk),
        received: &received,
        clock: Arc::default(),
        batches: &[7],
    };
    let books = Arc::clone(&sent);
    let first = life.live(Box::new(move |batch| {
        books.lock().unwrap().push(numbers(batch));
        if batch[0].seq > 1 { std::panic::panic_any(Killed) } else { Ok(batch.len()) }
    }));
    assert!(first.killed);
    let books = Arc::clone(&sent);
    let second = Life { batches: &[2], ..life }.live(Box::new(move |batch| {
        books.lock().unwrap().push(numbers(batch));
        Ok(batch.len())
    }));
    assert!(!second.killed);
    let batches: [Vec<u64>; 4] = [(1..=4).collect(), vec![5, 6, 7], vec![5, 6, 7], vec![8, 9]];
    assert_eq!(*sent.lock().unwrap(), batches);
}

/// One that needs longer for a batch than is waited got the same batch again and again.
#[test]
fn a_receiver_that_is_too_slow_for_a_batch_gets_smaller_ones_until_it_keeps_up() {
    let folder = tempfile::tempdir().unwrap();
    let received = Received::default();
    let life = Life {
        folder: folder.path(),
        disk: Arc::new(LocalDisk),
        received: &received,
        clock: Arc::default(),
        batches: &[16],
    };
    let sent = Sent::default();
    let books = Arc::clone(&sent);
    let end = life.live(Box::new(move |batch| {
        let mut books = books.lock().unwrap();
        books.push(numbers(batch));
        let is_slow = books.len() < 15;
        if is_slow && batch.len() > 1 {
            return Err(DeliveryError::Late { reason: "timed out".to_owned() });
        }
        Ok(batch.len())
    }));
    assert_nothing_lost(folder.path(), &received, end.durable, "slow");
    let sizes: Vec<usize> = sent.lock().unwrap().iter().map(Vec::len).collect();
    // Several times as it was, in case that it was taken; then by halves; then more with each answer.
    assert_eq!(sizes[..10], [4, 4, 4, 4, 4, 4, 4, 4, 2, 1], "{sizes:?}");
    assert!(sizes[10..].contains(&4), "{sizes:?}");
    assert_eq!(received.lock().unwrap().len(), 16, "each once");
}
