//! Drives one sink: follows the spool, keeps its cursor, retries, and tells when it is down.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::sync::watch;

use super::{DeliveryError, Sink, backoff, backoff::Backoff, clock::Clock};
use crate::{
    alert::{Notice, render::Format},
    config::{Filter, SinkConfig},
    spool::{Cursor, Entry, Read, Reader, SpoolError, cursor::Stored, disk::Disk},
};

/// What is known about a sink, for health reports.
#[derive(Debug)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// The next sequence number it is to get; what is below is acknowledged.
    pub next: AtomicU64,
    /// Alerts it took.
    pub delivered: AtomicU64,
    /// Alerts its filter held back.
    pub filtered: AtomicU64,
    /// Deliveries that failed.
    pub failures: AtomicU64,
    /// Alerts it refused for good.
    pub dead: AtomicU64,
    /// Alerts that left the spool before it had them.
    pub missed: AtomicU64,
    /// Whether it counts as down.
    pub is_down: AtomicBool,
    last_error: Mutex<String>,
}

impl Status {
    /// A sink that has done nothing yet.
    pub fn new(name: String, next: u64) -> Self {
        Self {
            name,
            next: AtomicU64::new(next),
            delivered: AtomicU64::new(0),
            filtered: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
            last_error: Mutex::new(String::new()),
        }
    }

    /// What it last answered when it failed.
    pub fn last_error(&self) -> String {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, reason: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        reason.clone_into(&mut self.last_error.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Everything a sink's task needs.
pub struct Task {
    /// Its configuration.
    pub config: SinkConfig,
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// The spool's folder.
    pub folder: PathBuf,
    /// The spool's count of segments.
    pub begun: Arc<AtomicU64>,
    /// The stream in the spool.
    pub stream: String,
    /// Its cursor.
    pub cursor: Cursor,
    /// Where dead letters are written.
    pub disk: Arc<dyn Disk>,
    /// By which retries wait.
    pub clock: Arc<dyn Clock>,
    /// Its status, with `next` set.
    pub status: Arc<Status>,
    /// The spool's durable mark.
    pub durable: watch::Receiver<u64>,
    /// Set once the agent stops, to the last alert there will be.
    pub last: watch::Receiver<Option<u64>>,
    /// Where notices go.
    pub notices: Arc<dyn Fn(Notice) + Send + Sync>,
}

/// Where a sink starts. A new one starts at the present; one whose cursor can't be believed starts at the oldest alert.
pub fn start(stored: &Stored, stream: &str, oldest: u64, head: u64) -> u64 {
    match stored {
        Stored::Absent => head + 1,
        Stored::Damaged => oldest,
        Stored::At { stream: of, next } if of == stream => *next,
        Stored::At { .. } => oldest,
    }
}

/// Size at which dead letters are put aside; the ones put aside before them go.
const DEAD_BYTES: u64 = 16 << 20;

/// Alerts behind the durable mark up to which a sink counts as live.
const LIVE: u64 = 64;

/// Time between two cursor writes while alerts flow.
const CURSOR_EVERY: Duration = Duration::from_millis(200);

/// How often in a row a receiver may be late with a batch before it gets less at once: under another id, so that what it
/// had taken all the same is not known to it. With the default waits, after about two minutes.
const LATE: u32 = 8;

/// The batch that an agent was sending when it ended is read again up to these bounds: nobody's bytes say more.
const SENT_ALERTS: usize = 1 << 16;
const SENT_BYTES: usize = 64 << 20;

/// Runs a sink until the agent stops and everything is delivered, or the task is aborted.
pub async fn run(task: Task) {
    let mut state = State {
        reader: Some(reader(&task)),
        backoff: Backoff::new(task.config.retry),
        most: task.config.batch.alerts,
        late: 0,
        sent: task.cursor.sending(&task.stream),
        stored: None,
        stored_next: 0,
        task,
    };
    loop {
        let durable = *state.task.durable.borrow_and_update();
        let next = state.task.status.next.load(Ordering::Relaxed);
        if next <= durable {
            state.step(durable).await;
            continue;
        }
        state.store(true);
        let last = *state.task.last.borrow_and_update();
        if last.is_some_and(|last| next > last) {
            return;
        }
        tokio::select! {
            changed = state.task.durable.changed() => if changed.is_err() && last.is_some() { return },
            changed = state.task.last.changed() => if changed.is_err() { return },
        }
    }
}

fn reader(task: &Task) -> Reader {
    let next = task.status.next.load(Ordering::Relaxed);
    Reader::beside(&task.folder, next, Arc::clone(&task.begun))
}

struct State {
    task: Task,
    reader: Option<Reader>,
    backoff: Backoff,
    /// Alerts that it gets at once.
    most: usize,
    /// How often in a row it was late.
    late: u32,
    /// Where the batch ends that the agent before was sending. It is sent as it was, so that it has the same id.
    sent: Option<u64>,
    stored: Option<Duration>,
    stored_next: u64,
}

impl State {
    async fn step(&mut self, durable: u64) {
        let read = match self.read(durable).await {
            Ok(read) => read,
            Err(error) => return self.wait(&error.to_string(), None).await,
        };
        for (first, last) in read.missing {
            self.task.status.missed.fetch_add(last - first + 1, Ordering::Relaxed);
            let sink = self.task.status.name.clone();
            (self.task.notices)(Notice::SpoolOverrun { sink, first, last });
        }
        let end = self.reader.as_ref().map_or(durable + 1, Reader::next);
        let filter = &self.task.config.filter;
        let total = read.entries.len();
        let mut wanted: Vec<Entry> =
            read.entries.into_iter().filter(|entry| passes(filter, entry)).collect();
        self.task.status.filtered.fetch_add((total - wanted.len()) as u64, Ordering::Relaxed);
        render(&mut wanted, self.task.config.format);
        while !wanted.is_empty() {
            let taken = self.deliver(&wanted).await;
            wanted.drain(..taken);
            let next = wanted.first().map_or(end, |entry| entry.seq);
            self.task.status.next.store(next, Ordering::Relaxed);
            self.store(false);
        }
        self.task.status.next.store(end, Ordering::Relaxed);
        self.store(false);
    }

    async fn read(&mut self, durable: u64) -> Result<Read, SpoolError> {
        let next = self.task.status.next.load(Ordering::Relaxed);
        let mut reader = self.reader.take().unwrap_or_else(|| reader(&self.task));
        let (durable, alerts, bytes) = match self.sent.take() {
            Some(sent) if (next..=durable).contains(&sent) => (sent, SENT_ALERTS, SENT_BYTES),
            Some(_) | None => {
                let bytes = usize::try_from(self.task.config.batch.bytes).unwrap_or(usize::MAX);
                (durable, self.most, bytes)
            }
        };
        if durable.saturating_sub(next) < LIVE {
            // Just written, so in memory: not worth another thread.
            let read = reader.read(durable, alerts, bytes);
            if read.is_ok() {
                self.reader = Some(reader);
            }
            return read;
        }
        let work = tokio::task::spawn_blocking(move || {
            let read = reader.read(durable, alerts, bytes);
            (reader, read)
        });
        match work.await {
            Ok((reader, Ok(read))) => {
                self.reader = Some(reader);
                Ok(read)
            }
            // After an error the place is uncertain: the next read starts from the cursor.
            Ok((_, Err(error))) => Err(error),
            Err(gone) => Err(SpoolError::Folder {
                path: self.task.folder.clone(),
                source: std::io::Error::other(gone),
            }),
        }
    }

    /// Delivers from the front of a batch until something was taken. Returns how many alerts are done with.
    async fn deliver(&mut self, batch: &[Entry]) -> usize {
        // A batch that the agent before sent may be longer than one is now.
        let is_less = self.most < self.task.config.batch.alerts;
        let mut size = if is_less { batch.len().min(self.most) } else { batch.len() };
        loop {
            if let Some(last) = batch[..size].last() {
                self.task.cursor.note_sending(last.seq);
            }
            match self.task.sink.deliver(&batch[..size]).await {
                Ok(taken) if taken > 0 => {
                    let taken = taken.min(size);
                    self.task.status.delivered.fetch_add(taken as u64, Ordering::Relaxed);
                    self.succeeded();
                    return taken;
                }
                Ok(_nothing) => self.wait("took nothing", None).await,
                Err(DeliveryError::Retry { reason, after }) => self.wait(&reason, after).await,
                Err(DeliveryError::Late { reason }) => {
                    self.late += 1;
                    if self.late >= LATE && size > 1 {
                        size /= 2;
                        self.most = size;
                    }
                    self.wait(&reason, None).await;
                }
                // Somewhere in the batch: halve it until the one is found.
                Err(DeliveryError::Refused { .. }) if size > 1 => size /= 2,
                Err(DeliveryError::Refused { reason }) => {
                    let Some(entry) = batch.first() else { return 0 };
                    if let Err(error) = self.bury(entry, &reason) {
                        self.wait(&format!("dead letter: {error}"), None).await;
                        continue;
                    }
                    self.task.status.failed(&reason);
                    self.task.status.dead.fetch_add(1, Ordering::Relaxed);
                    // A refused notice of a refusal would go on for ever.
                    if !entry.is_notice {
                        let sink = self.task.status.name.clone();
                        (self.task.notices)(Notice::DeadLetter { sink, seq: entry.seq, reason });
                    }
                    return 1;
                }
            }
        }
    }

    fn bury(&self, entry: &Entry, reason: &str) -> std::io::Result<()> {
        let folder = self.task.folder.join("dead");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.ndjson", self.task.status.name.replace('/', "_")));
        let disk = &self.task.disk;
        if fs::metadata(&path).is_ok_and(|data| data.len() > DEAD_BYTES) {
            disk.rename(&path, &path.with_extension("ndjson.1"))?;
        }
        let mut line = Vec::with_capacity(entry.line.len() + reason.len() + 64);
        // A crash may have left half a line: ended here, it is one bad line and doesn't spoil the next.
        if !ends_with_a_line(&path)? {
            line.push(b'\n');
        }
        line.extend_from_slice(
            format!("{{\"reason\":{},\"alert\":", Value::from(reason)).as_bytes(),
        );
        line.extend_from_slice(&entry.line);
        line.extend_from_slice(b"}\n");
        let mut file = disk.open(&path)?;
        file.append(&line)?;
        file.sync()
    }

    fn succeeded(&mut self) {
        self.backoff.success();
        self.late = 0;
        self.most = self.most.saturating_mul(2).min(self.task.config.batch.alerts);
        if self.task.status.is_down.swap(false, Ordering::Relaxed) {
            let sink = self.task.status.name.clone();
            (self.task.notices)(Notice::SinkUp { sink });
        }
    }

    async fn wait(&mut self, reason: &str, after: Option<Duration>) {
        self.task.status.failed(reason);
        let pause = self.backoff.failure(after, backoff::random());
        tracing::warn!(sink = self.task.status.name, reason, ?pause, "delivery failed");
        if self.backoff.failures() == self.task.config.retry.down_after
            && !self.task.status.is_down.swap(true, Ordering::Relaxed)
        {
            let sink = self.task.status.name.clone();
            (self.task.notices)(Notice::SinkDown { sink, reason: reason.to_owned() });
        }
        self.task.clock.sleep(pause).await;
    }

    /// Writes the cursor: when `now` is asked for, or every so often. A cursor that can't be written costs repeats
    /// after a crash, no alerts.
    fn store(&mut self, now: bool) {
        let next = self.task.status.next.load(Ordering::Relaxed);
        self.task.cursor.note(&self.task.stream, next);
        let time = self.task.clock.now();
        let due = self.stored.is_none_or(|stored| time.saturating_sub(stored) >= CURSOR_EVERY);
        if next == self.stored_next || !(now || due) {
            return;
        }
        if let Err(error) = self.task.cursor.store(&self.task.stream, next) {
            tracing::warn!(sink = self.task.status.name, %error, "cannot write the cursor");
        } else {
            self.stored_next = next;
        }
        self.stored = Some(time);
    }
}

/// Whether a file is empty, or its last line is whole.
fn ends_with_a_line(path: &Path) -> std::io::Result<bool> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let len = file.metadata()?.len();
    let mut last = [b'\n'];
    if len > 0 {
        file.read_exact_at(&mut last, len - 1)?;
    }
    Ok(last == [b'\n'])
}

/// Whether an alert is for this sink. Only a filter by rule or tag needs to look inside.
pub fn passes(filter: &Filter, entry: &Entry) -> bool {
    if filter.severity.is_some_and(|least| entry.severity < least as u8) {
        return false;
    }
    if entry.is_notice || (filter.rules.is_empty() && filter.tags.is_empty()) {
        return true;
    }
    // What can't be read is sent rather than held back.
    let Ok(alert) = serde_json::from_slice::<Value>(&entry.line) else { return true };
    let Some(rules) = alert.get("rules").and_then(Value::as_array) else { return true };
    rules.iter().any(|rule| {
        let id = rule.get("id").and_then(Value::as_str).unwrap_or_default();
        let by_id = filter.rules.is_empty()
            || filter.rules.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => id.starts_with(start),
                None => id == pattern,
            });
        let tags = rule.get("tags").and_then(Value::as_array);
        let by_tag = filter.tags.is_empty()
            || tags
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .any(|tag| filter.tags.iter().any(|wanted| wanted == tag));
        by_id && by_tag
    })
}

/// Puts alerts into a sink's format. One that can't be read as an alert is sent as it is: better odd than lost.
pub fn render(entries: &mut [Entry], format: Format) {
    if format == Format::Native {
        return;
    }
    for entry in entries {
        match crate::alert::render::render(&entry.line, format) {
            Ok(rendered) => entry.rendered = Some(rendered),
            Err(error) => tracing::error!(seq = entry.seq, %error, "cannot render"),
        }
    }
}

/// The folder of dead letters.
pub fn dead_letters(folder: &Path) -> PathBuf {
    folder.join("dead")
}
