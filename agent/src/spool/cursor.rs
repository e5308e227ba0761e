//! How far a sink has got: one small file per sink, replaced by rename.
//!
//! Text: a line `interdict cursor 1`, a line with the stream and the next sequence number to send, a line with the
//! CRC-32 of the line before. A cursor that can't be read is no cursor: the sink starts over at the oldest alert, and
//! receivers drop the repeats by id.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::disk::Disk;

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
}

impl Cursor {
    /// The cursor of sink `name` below a spool folder.
    pub fn new(folder: &Path, name: &str, disk: Arc<dyn Disk>) -> Self {
        let safe: String = name
            .chars()
            .map(|part| if part.is_ascii_alphanumeric() || part == '-' { part } else { '_' })
            .collect();
        Self { path: folder.join("cursors").join(safe), disk }
    }

    /// Reads it.
    pub fn load(&self) -> Stored {
        match fs::read_to_string(&self.path) {
            Ok(text) => parse(&text).unwrap_or(Stored::Damaged),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stored::Absent,
            Err(_unreadable) => Stored::Damaged,
        }
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
