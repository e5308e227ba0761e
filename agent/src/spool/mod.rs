//! Keeps every alert on disk before any sink sees it.
//!
//! A folder of segments, each a header and records that are appended and synced in batches; readers follow behind the
//! durable mark, one cursor per sink. Bounded by bytes and age. What is on disk stays valid whatever happens next:
//! a write or sync that fails abandons its segment and tries once more in a new one, and a reader never believes a
//! record that a later segment starts over. After a crash the longest good prefix counts; damage in the middle costs
//! the damaged records alone, and is told. Formats: `segment`. Every disk operation goes through `disk::Disk`, so that
//! tests can make each of them fail.

pub mod cursor;
pub mod disk;
#[cfg(test)]
pub(crate) mod faulty;
pub mod reader;
pub mod recover;
pub mod segment;
mod write;

#[cfg(test)]
mod tests;

use std::{io, path::PathBuf, time::Duration};

pub use cursor::Cursor;
pub use reader::{Entry, Read, Reader};
pub use write::Spool;

/// How much is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all segments.
    pub max_bytes: u64,
    /// Age after which a segment is dropped.
    pub max_age: Duration,
    /// Size at which a new segment is begun.
    pub segment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            max_age: Duration::from_secs(7 * 86_400),
            segment_bytes: 16 << 20,
        }
    }
}

/// Why the spool could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The folder can't be used.
    #[error("spool folder {path}: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A segment can't be read.
    #[error("spool segment {path}: {source}")]
    Segment {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A batch could not be made durable; nothing of it counts.
    #[error("spool: cannot keep alerts: {source}")]
    Append {
        /// Why, the second time.
        source: io::Error,
    },
    /// Another agent has the spool open.
    #[error("spool folder {path} is in use by another process")]
    InUse {
        /// Which.
        path: PathBuf,
    },
}

impl SpoolError {
    /// The reason under which lost alerts are counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Append { source } if source.kind() == io::ErrorKind::StorageFull => {
                "spool_disk_full"
            }
            Self::Append { .. }
            | Self::Folder { .. }
            | Self::Segment { .. }
            | Self::InUse { .. } => "spool_write_failed",
        }
    }
}
