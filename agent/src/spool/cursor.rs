//! How far a sink has got: one small file per sink, replaced by rename.
//!
//! Text: a line `interdict cursor 1`, a line with the stream and the next sequence number to send, a line with the
//! CRC-32 of the line before. A cursor that can't be read is no cursor: the sink starts over at the oldest alert, and
//! receivers drop the repeats by id.
//!
//! The file is written now and then. Beside it a few words in the runtime folder, which is memory, say at once what was
//! acknowledged, and up to where the batch reaches that is being sent: so after an agent was killed only that batch comes
//! again, as it was.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FallocateFlags, fallocate};

use super::disk::Disk;
use crate::{lasting, sys::mapped::MappedArray};

/// What a cursor file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// There is none: a new sink.
    Absent,
    /// There is one that can't be believed.
    Damaged,
    /// The stream and the next sequence number to send.
    At {
        /// Stream.
        stream: String,
        /// Next sequence number.
        next: u64,
    },
}

/// A sink's cursor file.
#[derive(Debug)]
pub struct Cursor {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    memory: Option<Memory>,
}

/// The words in the runtime folder.
#[derive(Debug)]
struct Memory(MappedArray);

/// Their places: a mark, the next sequence number to send, the stream, the last alert of the batch that is being sent.
/// Before there was the last of them the file ended there, and what is added to it is 0.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const NEXT: usize = 8;
    pub(super) const STREAM: usize = 16;
    pub(super) const SENDING: usize = STREAM + super::STREAM_BYTES;
}
const MAGIC: u64 = u64::from_le_bytes(*b"IDCURSO1");
const STREAM_BYTES: usize = 32;
const MEMORY_BYTES: usize = at::SENDING + 8;

impl Memory {
    fn open(path: &Path) -> io::Result<Self> {
        let file = lasting::open(path)?;
        // Writing to a mapping that finds no memory would kill the agent.
        fallocate(&file, FallocateFlags::empty(), 0, MEMORY_BYTES as u64)?;
        MappedArray::new(&file, MEMORY_BYTES).map(Self)
    }

    fn read(&self) -> Option<(String, u64)> {
        let next = self.0.load(at::NEXT).ok().filter(|next| *next > 0)?;
        let stream = self.0.read(at::STREAM, STREAM_BYTES).ok()?;
        let known = self.0.load(at::MAGIC).ok()? == MAGIC;
        known.then_some((String::from_utf8(stream).ok()?, next))
    }

    /// In an order in which an agent that dies in between leaves nothing that is wrong.
    fn write(&mut self, stream: &str, next: u64) -> io::Result<()> {
        if self.read().is_none_or(|(known, _)| known != stream) {
            let mut bytes = stream.as_bytes().to_vec();
            bytes.resize(STREAM_BYTES, 0);
            self.0.store(at::NEXT, 0)?;
            self.0.store(at::SENDING, 0)?;
            self.0.write(at::STREAM, &bytes)?;
            self.0.store(at::MAGIC, MAGIC)?;
        }
        self.0.store(at::NEXT, next)
    }

    fn sending(&self) -> Option<u64> {
        self.0.load(at::SENDING).ok().filter(|last| *last > 0)
    }
}

impl Cursor {
    /// The cursor of sink `name` below a spool folder.
    pub fn new(folder: &Path, name: &str, disk: Arc<dyn Disk>) -> Self {
        let safe: String = name
            .chars()
            .map(|part| if part.is_ascii_alphanumeric() || part == '-' { part } else { '_' })
            .collect();
        Self { path: folder.join("cursors").join(safe), disk, memory: None }
    }

    /// Has it kept in memory too, below the folder `runtime`.
    #[must_use]
    pub fn in_memory(mut self, runtime: &Path) -> Self {
        let path = runtime.join("cursors").join(self.path.file_name().unwrap_or_default());
        match Memory::open(&path) {
            Ok(memory) => self.memory = Some(memory),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "after a crash more alerts will come again");
            }
        }
        self
    }

    /// Reads it.
    pub fn load(&self) -> Stored {
        let stored = match fs::read_to_string(&self.path) {
            Ok(text) => parse(&text).unwrap_or(Stored::Damaged),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stored::Absent,
            Err(_unreadable) => Stored::Damaged,
        };
        let Some((stream, next)) = self.memory.as_ref().and_then(Memory::read) else {
            return stored;
        };
        match stored {
            Stored::At { stream: of, next: at } if of != stream || at >= next => {
                Stored::At { stream: of, next: at }
            }
            Stored::At { .. } | Stored::Absent | Stored::Damaged => Stored::At { stream, next },
        }
    }

    /// Notes in memory how far it is, which costs nothing.
    pub fn note(&mut self, stream: &str, next: u64) {
        let Some(memory) = &mut self.memory else { return };
        if let Err(error) = memory.write(stream, next) {
            tracing::warn!(%error, "a cursor is no longer kept in memory");
            self.memory = None;
        }
    }

    /// Notes in memory that what is sent next reaches to alert `last`.
    pub fn note_sending(&mut self, last: u64) {
        let Some(memory) = &mut self.memory else { return };
        if let Err(error) = memory.0.store(at::SENDING, last) {
            tracing::warn!(%error, "a batch that is sent is no longer kept in memory");
        }
    }

    /// The last alert of the batch that was being sent when the agent before ended, if nothing says that it was taken.
    pub fn sending(&self, stream: &str) -> Option<u64> {
        let memory = self.memory.as_ref()?;
        let (of, next) = memory.read()?;
        memory.sending().filter(|last| of == stream && *last >= next)
    }

    /// Makes one where there is none, and its name durable: without it the next agent would take the sink for a new one,
    /// and leave out what this one did not live to send.
    pub fn begin(&self, stream: &str, next: u64) -> io::Result<()> {
        self.store(stream, next)?;
        for folder in self.path.ancestors().skip(1).take(2) {
            self.disk.sync_folder(folder)?;
        }
        Ok(())
    }

    /// Replaces it. After a crash it is the old one or the new one.
    pub fn store(&self, stream: &str, next: u64) -> io::Result<()> {
        let body = format!("{stream} {next}");
        let crc = crc32fast::hash(body.as_bytes());
        let draft = self.path.with_extension("new");
        let mut file = match self.disk.create(&draft) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = self.path.parent() {
                    fs::create_dir_all(folder)?;
                }
                self.disk.create(&draft)?
            }
            outcome => outcome?,
        };
        file.append(format!("interdict cursor 1\n{body}\n{crc:08x}\n").as_bytes())?;
        file.sync()?;
        self.disk.rename(&draft, &self.path)
    }
}

fn parse(text: &str) -> Option<Stored> {
    let mut lines = text.lines();
    if lines.next()? != "interdict cursor 1" {
        return None;
    }
    let body = lines.next()?;
    let crc = u32::from_str_radix(lines.next()?, 16).ok()?;
    if crc32fast::hash(body.as_bytes()) != crc {
        return None;
    }
    let (stream, next) = body.split_once(' ')?;
    Some(Stored::At { stream: stream.to_owned(), next: next.parse().ok()? })
}
