//! Reads a spool behind its writer, in order, from any sequence number.
//!
//! What is asked for and not there (dropped by the bounds, or damaged) is reported as a range, once, never skipped in
//! silence. Reads never change anything and need no lock.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    SpoolError,
    segment::{self, HEADER_BYTES, Header, LINE_BYTES, Next, RECORD_BYTES},
};

/// One spooled alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Sequence number.
    pub seq: u64,
    /// Severity as a number, 0 for info.
    pub severity: u8,
    /// Told by the agent about itself.
    pub is_notice: bool,
    /// The sealed JSON line.
    pub line: Vec<u8>,
    /// The same in the sink's format, if that is another.
    pub rendered: Option<Vec<u8>>,
}

impl Entry {
    /// What a sink is to send.
    pub fn payload(&self) -> &[u8] {
        self.rendered.as_deref().unwrap_or(&self.line)
    }
}

/// What one read gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Alerts, ascending.
    pub entries: Vec<Entry>,
    /// Ranges of sequence numbers that are not there any more.
    pub missing: Vec<(u64, u64)>,
}

/// A place in a spool.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    next: u64,
    open: Option<Open>,
    /// The writer's count of segments, if it is in this process, and what it was at the last look.
    begun: Option<(Arc<AtomicU64>, u64)>,
}

#[derive(Debug)]
struct Open {
    file: File,
    first: u64,
    offset: u64,
    /// First sequence number of the segment after this one, once there is one.
    limit: Option<u64>,
}

/// Bytes read at once. The largest record fits.
const CHUNK_BYTES: usize = LINE_BYTES + RECORD_BYTES;

/// What a look at a chunk came to.
enum Progress {
    /// Stopped at a bound; so many bytes are done with.
    Enough(usize),
    /// So many bytes are done with; more must be read.
    More(usize),
    /// Nothing more in this segment.
    End,
}

impl Reader {
    /// Starts at alert `next`.
    pub fn new(folder: &Path, next: u64) -> Self {
        Self { folder: folder.to_owned(), next: next.max(1), open: None, begun: None }
    }

    /// The same, beside the writer, whose count of segments tells when the folder need not be listed.
    pub fn beside(folder: &Path, next: u64, begun: Arc<AtomicU64>) -> Self {
        Self { begun: Some((begun, u64::MAX)), ..Self::new(folder, next) }
    }

    /// Whether there may be segments that were not there at the last look.
    fn may_have_grown(&mut self) -> bool {
        let Some((begun, seen)) = &mut self.begun else { return true };
        let before = std::mem::replace(seen, begun.load(Ordering::Acquire));
        before != *seen
    }

    /// The next sequence number it will look for.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Goes to another place.
    pub fn seek(&mut self, next: u64) {
        self.next = next.max(1);
        self.open = None;
    }

    /// Reads alerts up to `durable`, at most `max_alerts` and about `max_bytes` of them.
    pub fn read(
        &mut self,
        durable: u64,
        max_alerts: usize,
        max_bytes: usize,
    ) -> Result<Read, SpoolError> {
        let mut read = Read::default();
        let mut room = Room { durable, alerts: max_alerts, len_bytes: max_bytes };
        if self.open.as_ref().is_some_and(|open| open.limit.is_none()) && self.may_have_grown() {
            // A segment that was the last one may have been abandoned meanwhile: what lies past the start of its
            // successor doesn't count. The successor exists before the durable mark passes its start.
            let limit = self.after(self.open.as_ref().map_or(0, |open| open.first))?;
            if let Some(open) = self.open.as_mut() {
                open.limit = limit;
            }
        }
        while self.next <= durable && room.is_left() {
            if self.open.is_none() {
                let segments = self.segments()?;
                let at = segments.partition_point(|&first| first <= self.next).saturating_sub(1);
                self.enter(segments.get(at).copied())?;
            }
            let Some(chunk) = self.chunk()? else {
                read.missing.push((self.next, durable));
                self.next = durable + 1;
                break;
            };
            match self.take(&chunk, &mut room, &mut read) {
                Progress::Enough(done) => {
                    self.advance(done);
                    break;
                }
                Progress::More(done) => self.advance(done),
                Progress::End => {
                    let first = self.open.take().map_or(0, |open| open.first);
                    let next = self.after(first)?;
                    self.enter(next)?;
                    if self.open.is_none() {
                        read.missing.push((self.next, durable));
                        self.next = durable + 1;
                    }
                }
            }
        }
        Ok(read)
    }

    fn advance(&mut self, bytes: usize) {
        if let Some(open) = self.open.as_mut() {
            open.offset += bytes as u64;
        }
    }

    fn take(&mut self, chunk: &[u8], room: &mut Room, read: &mut Read) -> Progress {
        let limit = self.open.as_ref().and_then(|open| open.limit);
        let mut at = 0;
        loop {
            match segment::next(&chunk[at..]) {
                Next::Record(record) => {
                    if limit.is_some_and(|limit| record.seq >= limit) {
                        return Progress::End;
                    }
                    if record.seq > room.durable || !room.is_left() {
                        return Progress::Enough(at);
                    }
                    at += record.len_bytes();
                    if record.seq < self.next {
                        continue;
                    }
                    if record.seq > self.next {
                        read.missing.push((self.next, record.seq - 1));
                    }
                    room.take(record.line.len());
                    read.entries.push(Entry {
                        seq: record.seq,
                        severity: record.severity,
                        is_notice: record.is_notice,
                        line: record.line.to_vec(),
                        rendered: None,
                    });
                    self.next = record.seq + 1;
                }
                Next::Short(_) | Next::Damage if self.next > room.durable => {
                    return Progress::Enough(at);
                }
                Next::Short(_) if at > 0 => return Progress::More(at),
                Next::Short(_) | Next::Damage => match segment::resync(chunk, at + 1) {
                    Some(found) => at = found,
                    None if chunk.len() == CHUNK_BYTES => {
                        // The last bytes may be the start of a record that the next chunk completes.
                        return Progress::More(CHUNK_BYTES / 2);
                    }
                    None => return Progress::End,
                },
            }
        }
    }

    fn segments(&self) -> Result<Vec<u64>, SpoolError> {
        segment::list(&self.folder)
            .map_err(|source| SpoolError::Folder { path: self.folder.clone(), source })
    }

    fn after(&self, first: u64) -> Result<Option<u64>, SpoolError> {
        Ok(self.segments()?.into_iter().find(|&other| other > first))
    }

    /// Opens a segment. One that was dropped meanwhile gives way to the one after it.
    fn enter(&mut self, first: Option<u64>) -> Result<(), SpoolError> {
        let mut candidate = first;
        while let Some(first) = candidate {
            let path = segment::path(&self.folder, first);
            match File::open(&path) {
                Ok(file) => {
                    let mut head = [0; HEADER_BYTES];
                    let has_header =
                        file.read_exact_at(&mut head, 0).is_ok() && Header::decode(&head).is_some();
                    let offset = if has_header { HEADER_BYTES as u64 } else { 0 };
                    let limit = self.after(first)?;
                    self.open = Some(Open { file, first, offset, limit });
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    candidate = self.after(first)?;
                }
                Err(source) => return Err(SpoolError::Segment { path, source }),
            }
        }
        Ok(())
    }

    /// The bytes at the current place; `None` without a segment.
    fn chunk(&self) -> Result<Option<Vec<u8>>, SpoolError> {
        let Some(open) = self.open.as_ref() else { return Ok(None) };
        // No more than there is: idle, that is one alert, and a megabyte would have to be zeroed for it. What is written
        // meanwhile is read the next time.
        let failed = |source| {
            let path = segment::path(&self.folder, open.first);
            SpoolError::Segment { path, source }
        };
        let left = open.file.metadata().map_err(failed)?.len().saturating_sub(open.offset);
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES)];
        let mut len = 0;
        while len < bytes.len() {
            match open.file.read_at(&mut bytes[len..], open.offset + len as u64) {
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(failed(source)),
            }
        }
        bytes.truncate(len);
        Ok(Some(bytes))
    }
}

struct Room {
    durable: u64,
    alerts: usize,
    len_bytes: usize,
}

impl Room {
    fn is_left(&self) -> bool {
        self.alerts > 0 && self.len_bytes > 0
    }

    fn take(&mut self, len_bytes: usize) {
        self.alerts -= 1;
        self.len_bytes = self.len_bytes.saturating_sub(len_bytes);
    }
}
