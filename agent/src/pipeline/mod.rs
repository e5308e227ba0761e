//! The way of an event, wired: record bytes in, alerts out of every sink.
//!
//! [`Pipeline::start`] opens key, spool and sinks; then the ring reader's thread calls [`Pipeline::record`] for each
//! record (a copy into a bounded queue, no waiting), whoever loads policies calls [`Pipeline::policy`], anybody calls
//! [`Pipeline::notice`] and [`Pipeline::lost`]. One worker thread decodes, enriches, builds and seals, another spools, in
//! batches; each sink is a tokio task behind the durable mark. [`Pipeline::shutdown`] tells that the agent stops,
//! makes everything durable and gives the sinks a moment. Nothing is dropped without being counted, and what was
//! counted is told, signed, in the same stream.

mod accounts;
mod held;
mod intake;
mod journal;
mod keeper;
mod narrow;
mod repeats;
pub mod snooze;
mod throttle;
mod views;
mod worker;

#[cfg(test)]
mod chaos;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use interdict_abi::ids::Mode;
use tokio::{sync::watch, task::JoinSet};

pub use intake::Backlog;
use intake::Intake;
pub use repeats::{Counted, Rows};

pub use crate::alert::build::PolicyView;
use crate::{
    alert::{
        Notice,
        build::Scene,
        key::{self, KeyError, SigningKey, to_hex},
        model::HostInfo,
        redact::Redaction,
        seal::Sealer,
    },
    canary::Sightings,
    config::Config,
    enrich::{Enricher, metadata::RuntimeFiles},
    protect::Names,
    sinks::{self, SinkError, Status, clock::RuntimeClock, runner},
    spool::{
        Cursor, Spool, SpoolError,
        cursor::Stored,
        disk::{Disk, LocalDisk},
    },
};

/// Why the pipeline could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The signing key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A sink.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// No memory for what is read from the ring.
    #[error("journal: {0}")]
    Journal(std::io::Error),
    /// No randomness, or no thread.
    #[error("pipeline: {0}")]
    System(&'static str),
}

impl PipelineError {
    /// The thread of the canaries could not be had.
    pub fn canaries(_error: std::io::Error) -> Self {
        Self::System("cannot start a thread")
    }
}

/// The running pipeline. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Pipeline {
    intake: Arc<Intake>,
    worker: Option<JoinHandle<()>>,
    sinks: JoinSet<()>,
    statuses: Vec<Arc<Status>>,
    last: watch::Sender<Option<u64>>,
    durable: watch::Receiver<u64>,
    key: Arc<SigningKey>,
    stream: String,
    views: Mutex<(views::Views, VecDeque<Arc<PolicyView>>)>,
}

/// Now, ns on `CLOCK_BOOTTIME`.
pub fn boot_ns() -> u64 {
    worker::clocks().1
}

/// What of this host a test may put something else for.
struct Ground {
    disk: Arc<dyn Disk>,
    cgroups: PathBuf,
}

impl Default for Ground {
    fn default() -> Self {
        Self { disk: Arc::new(LocalDisk), cgroups: "/sys/fs/cgroup".into() }
    }
}

/// How long [`Pipeline::shutdown`] waits for sinks; what they have not taken waits in the spool.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

impl Pipeline {
    /// Opens key, spool and sinks and starts working. `mode` is told in the first notice. Call within a tokio runtime.
    pub fn start(config: &Config, host: HostInfo, mode: Mode) -> Result<Self, PipelineError> {
        Self::start_on(config, host, mode, Ground::default())
    }

    fn start_on(
        config: &Config,
        host: HostInfo,
        mode: Mode,
        ground: Ground,
    ) -> Result<Self, PipelineError> {
        let disk = ground.disk;
        let key = SigningKey::open_or_create(&config.key_path())?;
        let folder = config.spool_path();
        let names: Vec<String> = config.sinks.iter().map(|sink| sink.name()).collect();
        let cursors: Vec<Cursor> = names
            .iter()
            .map(|name| Cursor::new(&folder, name, disk.clone()).in_memory(&config.runtime))
            .collect();
        let stored: Vec<Stored> = cursors.iter().map(Cursor::load).collect();
        let acknowledged = |stream: &str| highest(&stored, stream);
        let (mut spool, recovered) = Spool::open(
            &folder,
            config.spool_limits(),
            Arc::clone(&disk),
            acknowledged,
            random_stream().ok_or(PipelineError::System("no randomness"))?,
        )?;

        let sealer = Sealer::new(key, spool.head().clone());
        let sealer = change_key(sealer, &mut spool, &config.key_path(), &host)?;
        // The webhook sink signs requests with the same key; its messages can't be mistaken for seals.
        let shared = Arc::new(SigningKey::open(&config.key_path())?);
        let stream = spool.head().stream.clone();
        let held_back = held::HeldBack::open(&config.state, &config.runtime, Arc::clone(&disk));
        let known = journal::Known {
            boot_id: &host.boot_id,
            stream: &stream,
            seq: spool.head().seq,
            tally: held_back.number(),
        };
        let room = usize::try_from(config.alerts.queue).unwrap_or(1 << 24);
        let intake =
            Intake::open(&config.journal_path(), room, &known).map_err(PipelineError::Journal)?;
        let intake = Arc::new(intake);
        let last = watch::Sender::new(None);
        let durable = spool.durable();
        let mut tasks = JoinSet::new();
        let mut statuses = Vec::new();
        for ((sink_config, mut cursor), stored) in config.sinks.iter().zip(cursors).zip(&stored) {
            let next = runner::start(stored, &stream, spool.oldest(), spool.head().seq);
            if *stored == Stored::Absent
                && let Err(error) = cursor.begin(&stream, next)
            {
                tracing::warn!(%error, sink = sink_config.name(), "cannot write the first cursor");
            }
            cursor.note(&stream, next);
            let status = Arc::new(Status::new(sink_config.name(), next));
            statuses.push(Arc::clone(&status));
            let notices = Arc::clone(&intake);
            tasks.spawn(runner::run(runner::Task {
                config: sink_config.clone(),
                sink: sinks::open(sink_config, &shared)?,
                folder: folder.clone(),
                begun: spool.begun(),
                stream: stream.clone(),
                cursor,
                disk: Arc::clone(&disk),
                clock: Arc::new(RuntimeClock::default()),
                status,
                durable: durable.clone(),
                last: last.subscribe(),
                notices: Arc::new(move |notice| notices.notice(notice)),
            }));
        }

        let previous = match (&recovered.head, recovered.last_is_stop) {
            (None, _) => "none",
            (Some(_), true) => "clean",
            (Some(_), false) => "unclean",
        };
        intake.notice(Notice::Started {
            mode: mode.name().to_owned(),
            public_key: shared.public().base64(),
            previous,
        });
        if let Some((bytes, segment)) = recovered.damage {
            intake.notice(Notice::SpoolDamaged { bytes, segment });
        }
        let views = views::Views::new(&config.state, &host.boot_id);
        let known = views.read();
        let redaction = Redaction::with_words(&config.alerts.redact);
        let worker = worker::Worker::new(worker::Parts {
            intake: Arc::clone(&intake),
            sealer,
            keeper: keeper::Keeper::start(spool, statuses.clone())
                .map_err(|_error| PipelineError::System("cannot start a thread"))?,
            enricher: Enricher::with_runtimes(
                redaction.clone(),
                RuntimeFiles::new(config.containers.root.clone()),
                config.containers.wait,
                ground.cgroups,
            ),
            redaction,
            host,
            alive: config.alerts.alive,
            snoozes: snooze::Snoozes::new(snooze::path(&config.state)),
            held_back,
            policies: known.clone(),
        });
        let worker = std::thread::Builder::new()
            .name("interdict-alerts".to_owned())
            .spawn(move || {
                // Without this thread the agent would live on and tell nothing. A record that kills it again and
                // again is given up by the journal, and counted.
                let _alive = AbortOnPanic;
                worker.run();
            })
            .map_err(|_error| PipelineError::System("cannot start a thread"))?;
        Ok(Self {
            intake,
            worker: Some(worker),
            sinks: tasks,
            statuses,
            last,
            durable,
            key: shared,
            stream,
            views: Mutex::new((views, known)),
        })
    }

    /// Takes one ring record. Never waits: with the queue full the record is counted as lost. Returns whether it was
    /// taken.
    pub fn record(&self, record: &[u8]) -> bool {
        self.intake.record(record)
    }

    /// What the ring reader's thread needs, without the pipeline itself.
    pub fn records(&self) -> Records {
        Records { intake: Arc::clone(&self.intake) }
    }

    /// Another policy is about to be in force: alerts of its generation are described by it, also after a restart.
    /// Tells the change.
    pub fn policy(&self, policy: Arc<PolicyView>) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.1.retain(|known| known.generation != policy.generation);
        views.1.push_back(Arc::clone(&policy));
        views::trim(&mut views.1, views::KNOWN);
        if let Err(error) = views.0.write(&views.1) {
            tracing::warn!(%error, "cannot keep what describes this policy for the next start");
        }
        drop(views);
        self.intake.policy(policy);
    }

    /// What guarded files are called, in alerts about what was done to them.
    pub fn guarded(&self, names: Names) {
        self.intake.guard(names);
    }

    /// Tells something about the agent itself.
    pub fn notice(&self, notice: Notice) {
        self.intake.notice(notice);
    }

    /// Counts losses that somebody else saw; told with the next loss notice, by the next agent if this one is killed.
    pub fn lost(&self, reason: &str, count: u64) {
        self.intake.lost(reason, count);
    }

    /// Tells what the kernel counted instead of telling it. Answers a number: see [`Self::rows`].
    pub fn counted(&self, counted: Vec<Counted>) -> u64 {
        self.intake.counted(counted)
    }

    /// How far what was counted has come.
    pub fn rows(&self) -> Rows {
        self.intake.rows()
    }

    /// Counters of the kernel side's `instance` stand so; they only grow. What they gained since they were last told, by
    /// whichever agent, is told: as losses, or as faults. A name that is given here isn't one for [`Pipeline::lost`].
    pub fn kernel_counters(
        &self,
        instance: &str,
        losses: &BTreeMap<String, u64>,
        faults: &BTreeMap<String, u64>,
    ) {
        let mut totals = losses.clone();
        let fault = |(name, count): (&String, &u64)| (format!("{}{name}", worker::FAULT), *count);
        totals.extend(faults.iter().map(fault));
        self.intake.stands(instance, &totals);
    }

    /// The sinks.
    pub fn sinks(&self) -> &[Arc<Status>] {
        &self.statuses
    }

    /// Sequence number of the last durable alert.
    pub fn durable(&self) -> u64 {
        *self.durable.borrow()
    }

    /// Losses so far, by reason, of this agent and of those before it whose counts it has taken over.
    pub fn losses(&self) -> BTreeMap<String, u64> {
        let counted = self.intake.losses().into_iter();
        counted.filter(|(reason, _)| !reason.starts_with(worker::FAULT)).collect()
    }

    /// What waits in the queue.
    pub fn backlog(&self) -> Backlog {
        self.intake.backlog()
    }

    /// The public key of the stream.
    pub fn public_key(&self) -> crate::alert::key::PublicKey {
        self.key.public()
    }

    /// The name of the stream.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Tells that the agent stops, works off what waits, makes it durable, and gives the sinks a moment.
    pub async fn shutdown(mut self, reason: &str) {
        self.intake.notice(Notice::Stopped { reason: reason.to_owned() });
        self.intake.close();
        if let Some(worker) = self.worker.take() {
            // The worker can't be waited for on this thread without blocking the runtime.
            let _joined = tokio::task::spawn_blocking(move || worker.join()).await;
        }
        self.last.send_replace(Some(*self.durable.borrow()));
        let drain = async { while self.sinks.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_GRACE, drain).await.is_err() {
            for status in &self.statuses {
                let next = status.next.load(Ordering::Relaxed);
                let left = (*self.durable.borrow() + 1).saturating_sub(next);
                tracing::info!(sink = status.name, left, "alerts wait in the spool");
            }
        }
    }
}

/// Opens a file as the journal of an agent before and works it off: for the fuzzer. Its marks are put right first, or nearly
/// no bytes would get past them.
pub fn read_as_journal(path: &Path) {
    journal::read_any(path);
}

/// Ends the process when it is dropped while its thread panics.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// The end of the pipeline that the ring reader holds.
#[derive(Clone, Debug)]
pub struct Records {
    intake: Arc<Intake>,
}

impl Records {
    /// See [`Pipeline::record`].
    pub fn record(&self, record: &[u8]) -> bool {
        self.intake.record(record)
    }

    /// Waits up to `patience` until there is room for any record; returns whether there is.
    pub fn has_room(&self, patience: Duration) -> bool {
        self.intake.has_room(patience)
    }

    /// See [`Pipeline::lost`].
    pub fn lost(&self, reason: &str, count: u64) {
        self.intake.lost(reason, count);
    }

    /// See [`Pipeline::notice`].
    pub fn notice(&self, notice: Notice) {
        self.intake.notice(notice);
    }

    /// Records of canaries that have come.
    pub fn canaries(&self) -> &Sightings {
        &self.intake.canaries
    }
}

/// Changes to the next key if one lies ready: the old key's last word names it.
fn change_key(
    mut sealer: Sealer,
    spool: &mut Spool,
    path: &Path,
    host: &HostInfo,
) -> Result<Sealer, PipelineError> {
    let next_path = key::next_key_path(path);
    if !next_path.exists() {
        return Ok(sealer);
    }
    let next = SigningKey::open(&next_path)?;
    let (wall_ns, boot_ns) = worker::clocks();
    let scene =
        Scene { host: host.clone().into(), wall_minus_boot_ns: wall_ns - i128::from(boot_ns) };
    let notice = Notice::KeyRotated { public_key: next.public().base64() };
    let sealed = sealer.seal(vec![notice.alert(&scene, boot_ns)]);
    spool.append(&sealed)?;
    key::take_over(path)?;
    sealer.change_key(next);
    Ok(sealer)
}

/// The highest sequence number that some sink has acknowledged.
fn highest(stored: &[Stored], stream: &str) -> u64 {
    let acknowledged = stored.iter().map(|stored| match stored {
        Stored::At { stream: of, next } if of == stream => next.saturating_sub(1),
        Stored::At { .. } | Stored::Absent | Stored::Damaged => 0,
    });
    acknowledged.max().unwrap_or(0)
}

fn random_stream() -> Option<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(to_hex(&bytes))
}

/// This host, as alerts name it.
pub fn this_host() -> HostInfo {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    HostInfo {
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        kernel: read("/proc/sys/kernel/osrelease"),
        name: read("/proc/sys/kernel/hostname"),
    }
}
