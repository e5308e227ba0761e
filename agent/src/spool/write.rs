//! The one writer of a spool.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::FlockOperation;
use tokio::sync::watch;

use super::{
    Limits, SpoolError,
    disk::{Disk, DiskFile},
    recover::{Recovered, recover},
    segment::{self, HEADER_BYTES, Header},
};
use crate::{
    alert::seal::{ChainHead, SealedAlert},
    wall,
};

/// The clock that ages are told by: the wall clock may jump, and alerts must not go because of that.
fn steady_s() -> i64 {
    i64::try_from(wall::boot_ns() / 1_000_000_000).unwrap_or(i64::MAX)
}

/// A spool, open for writing.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    limits: Limits,
    disk: Arc<dyn Disk>,
    /// Finished segments, oldest first.
    finished: VecDeque<Finished>,
    finished_bytes: u64,
    active: Option<Active>,
    head: ChainHead,
    durable: watch::Sender<u64>,
    /// How many segments this writer has begun.
    begun: Arc<AtomicU64>,
    buffer: Vec<u8>,
    /// Held while the spool is open.
    _lock: File,
}

#[derive(Debug)]
struct Finished {
    first: u64,
    len_bytes: u64,
    /// By the clock of [`steady_s`]; of one of an earlier run, what the wall clock made of it at the start.
    begun_s: i64,
    /// The same, but no earlier than this run.
    seen_s: i64,
}

#[derive(Debug)]
struct Active {
    file: Box<dyn DiskFile>,
    first: u64,
    len_bytes: u64,
    begun_s: i64,
}

impl Spool {
    /// Opens the spool in `folder`, makes it if need be, and says what was found. `floor` is the highest sequence
    /// number that any sink has acknowledged: numbers up to it are never given out again. `new_stream` names the
    /// stream if there is none yet.
    pub fn open(
        folder: &Path,
        limits: Limits,
        disk: Arc<dyn Disk>,
        floor: impl FnOnce(&str) -> u64,
        new_stream: String,
    ) -> Result<(Self, Recovered), SpoolError> {
        let broken = |source| SpoolError::Folder { path: folder.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(broken)?;
        let lock = File::create(folder.join("lock")).map_err(broken)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_held| SpoolError::InUse { path: folder.to_owned() })?;
        let mut recovered = recover(folder)?;
        let mut head = recovered.head.clone().unwrap_or_else(|| ChainHead::start(new_stream));
        let floor = floor(&head.stream);
        if floor > head.seq {
            recovered.damage.get_or_insert((0, format!("after alert {}", head.seq)));
            head.seq = floor;
            head.hash = [0; 32];
        }
        let mut spool = Self {
            folder: folder.to_owned(),
            limits,
            disk,
            finished: VecDeque::new(),
            finished_bytes: 0,
            active: None,
            durable: watch::Sender::new(head.seq),
            begun: Arc::default(),
            head,
            buffer: Vec::new(),
            _lock: lock,
        };
        spool.adopt().map_err(broken)?;
        Ok((spool, recovered))
    }

    /// Takes what is in the folder into the books. A segment is never written to again after a restart.
    fn adopt(&mut self) -> io::Result<()> {
        let (now_s, steady_s) = (wall::now_s(), steady_s());
        for first in segment::list(&self.folder)? {
            if first > self.head.seq {
                // Begun, but nothing in it was ever durable.
                self.disk.remove(&segment::path(&self.folder, first))?;
                continue;
            }
            let path = segment::path(&self.folder, first);
            let data = fs::metadata(&path)?;
            let age_s = now_s.saturating_sub(u64::try_from(data.mtime()).unwrap_or(0));
            let begun_s = steady_s - i64::try_from(age_s).unwrap_or(i64::MAX);
            self.finished_bytes += data.len();
            let len_bytes = data.len();
            self.finished.push_back(Finished { first, len_bytes, begun_s, seen_s: steady_s });
        }
        Ok(())
    }

    /// Where the stream stands: everything up to here is durable.
    pub fn head(&self) -> &ChainHead {
        &self.head
    }

    /// Follows the durable mark.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sequence number of the oldest alert that may still be here.
    pub fn oldest(&self) -> u64 {
        let active = self.active.as_ref().map(|active| active.first);
        self.finished.front().map(|oldest| oldest.first).or(active).unwrap_or(self.head.seq + 1)
    }

    /// Bytes in all segments.
    pub fn len_bytes(&self) -> u64 {
        self.finished_bytes + self.active.as_ref().map_or(0, |active| active.len_bytes)
    }

    /// Makes alerts durable: all or none of them. They must continue the stream.
    pub fn append(&mut self, alerts: &[SealedAlert]) -> Result<(), SpoolError> {
        let Some(last) = alerts.last() else { return Ok(()) };
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        for alert in alerts {
            segment::encode(&mut buffer, alert);
        }
        let outcome = self.write(&buffer).or_else(|_first_failure| {
            // Whatever the failed write left behind is unknown: it is abandoned, and a new segment starts over.
            self.abandon();
            self.write(&buffer)
        });
        buffer.clear();
        self.buffer = buffer;
        if let Err(source) = outcome {
            self.abandon();
            return Err(SpoolError::Append { source });
        }
        self.head.seq = last.seq();
        self.head.hash = *last.hash();
        self.durable.send_replace(last.seq());
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let len_bytes = bytes.len() as u64;
        let full = self.active.as_ref().is_some_and(|active| {
            active.len_bytes > HEADER_BYTES as u64
                && active.len_bytes + len_bytes > self.limits.segment_bytes
        });
        if full {
            self.finish();
        }
        if self.active.is_none() {
            self.active = Some(self.begin()?);
        }
        let Some(active) = self.active.as_mut() else { return Ok(()) };
        active.file.append(bytes)?;
        active.file.sync()?;
        active.len_bytes += len_bytes;
        Ok(())
    }

    /// Counts segments as they are begun, before anything in them is durable: readers need not list the folder to know
    /// that there is no new one.
    pub fn begun(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.begun)
    }

    fn begin(&self) -> io::Result<Active> {
        let first = self.head.seq + 1;
        let (begun_unix_s, begun_s) = (wall::now_s(), steady_s());
        let mut file = self.disk.create(&segment::path(&self.folder, first))?;
        file.append(&Header { before: self.head.clone(), begun_unix_s }.encode())?;
        self.disk.sync_folder(&self.folder)?;
        self.begun.fetch_add(1, Ordering::Release);
        Ok(Active { file, first, len_bytes: HEADER_BYTES as u64, begun_s })
    }

    fn finish(&mut self) {
        if let Some(active) = self.active.take() {
            self.finished_bytes += active.len_bytes;
            self.finished.push_back(Finished {
                first: active.first,
                len_bytes: active.len_bytes,
                begun_s: active.begun_s,
                seen_s: active.begun_s,
            });
        }
    }

    /// Leaves the active segment as it is. If nothing in it is durable, the next one takes its name.
    fn abandon(&mut self) {
        let holds_something =
            self.active.as_ref().is_some_and(|active| active.first <= self.head.seq);
        if holds_something {
            self.finish();
        } else {
            self.active = None;
        }
    }

    /// Drops segments past the bounds, oldest first. Returns the last sequence number dropped, if any.
    ///
    /// Every sink is past what is below `acknowledged`. Alerts that some sink is not past get only as old as this run has
    /// seen them get: at a start the wall clock may be years ahead, and nobody would get them then.
    pub fn enforce_limits(&mut self, acknowledged: u64) -> Option<u64> {
        let now_s = steady_s();
        let max_age_s = i64::try_from(self.limits.max_age.as_secs()).unwrap_or(i64::MAX);
        let mut dropped = None;
        while let Some(oldest) = self.finished.front() {
            let over = self.len_bytes() > self.limits.max_bytes;
            let is_wanted = self.end_of_oldest() > acknowledged;
            let since_s = if is_wanted { oldest.seen_s } else { oldest.begun_s };
            let old = now_s.saturating_sub(since_s) > max_age_s;
            if !(over || old) {
                break;
            }
            dropped = self.drop_oldest().or(dropped);
        }
        dropped
    }

    /// Makes room on a full disk: drops the oldest segment if every sink is past it. Returns whether it did.
    pub fn make_room(&mut self, acknowledged: u64) -> bool {
        !self.finished.is_empty()
            && self.end_of_oldest() <= acknowledged
            && self.drop_oldest().is_some()
    }

    /// The first sequence number behind the oldest finished segment.
    fn end_of_oldest(&self) -> u64 {
        let next = self.finished.get(1).map(|finished| finished.first);
        let next = next.or(self.active.as_ref().map(|active| active.first));
        next.unwrap_or(self.head.seq + 1)
    }

    fn drop_oldest(&mut self) -> Option<u64> {
        let oldest = self.finished.pop_front()?;
        self.finished_bytes -= oldest.len_bytes;
        // A segment that can't be removed is out of the books all the same; it is taken in again at the next start.
        let _removed = self.disk.remove(&segment::path(&self.folder, oldest.first));
        Some(self.oldest() - 1)
    }
}
