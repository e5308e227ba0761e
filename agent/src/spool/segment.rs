//! Bytes of a segment file.
//!
//! Header, 96 bytes, little endian: magic `IDSPOOL1`; the stream (32 hex digits); sequence number and chain hash of
//! the last alert before this segment (8, 32); when it was begun (unix seconds, 8); CRC-32 of all that (4); zeros (4).
//! Record: magic (4), length of the line (4), sequence number (8), severity (1), kind (1: 0 decision, 1 agent),
//! zeros (2), CRC-32 of these 20 bytes and the line (4), the line. The file is named by the first sequence number it
//! may hold, in 20 digits, `.seg`.

use std::path::{Path, PathBuf};

use crate::alert::{
    merkle::Hash,
    model::Kind,
    seal::{ChainHead, SealedAlert},
};

/// Bytes of a segment header.
pub const HEADER_BYTES: usize = 96;

/// Bytes of a record before its line.
pub const RECORD_BYTES: usize = 24;

/// Longest line. Longer lengths are damage.
pub const LINE_BYTES: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"IDSPOOL1";
const RECORD_MAGIC: [u8; 4] = *b"\xa5IDR";

/// A segment's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the stream stood when the segment was begun.
    pub before: ChainHead,
    /// When, unix seconds.
    pub begun_unix_s: u64,
}

impl Header {
    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        let stream = self.before.stream.as_bytes();
        let len = stream.len().min(32);
        bytes[8..8 + len].copy_from_slice(&stream[..len]);
        bytes[40..48].copy_from_slice(&self.before.seq.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.before.hash);
        bytes[80..88].copy_from_slice(&self.begun_unix_s.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..88]);
        bytes[88..92].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads it. `None`: damaged or something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let long = |at: usize| bytes[at..].first_chunk().map(|raw| u64::from_le_bytes(*raw));
        let crc = u32::from_le_bytes(*bytes[88..].first_chunk()?);
        if &bytes[..8] != MAGIC || crc32fast::hash(&bytes[..88]) != crc {
            return None;
        }
        let stream = std::str::from_utf8(&bytes[8..40]).ok()?.to_owned();
        let hash: Hash = *bytes[48..].first_chunk()?;
        Some(Self { before: ChainHead { stream, seq: long(40)?, hash }, begun_unix_s: long(80)? })
    }
}

/// Appends a record.
pub fn encode(out: &mut Vec<u8>, alert: &SealedAlert) {
    let start = out.len();
    let len = u32::try_from(alert.line().len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&RECORD_MAGIC);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&alert.seq().to_le_bytes());
    let kind = match alert.kind() {
        Kind::Decision => 0,
        Kind::Agent => 1,
    };
    out.extend_from_slice(&[alert.severity(), kind, 0, 0]);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&out[start..]);
    crc.update(alert.line());
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    out.extend_from_slice(alert.line());
}

/// A record found in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Sequence number.
    pub seq: u64,
    /// Severity as a number.
    pub severity: u8,
    /// Told by the agent about itself.
    pub is_notice: bool,
    /// The line.
    pub line: &'a [u8],
}

impl Record<'_> {
    /// Bytes it takes in the segment.
    pub fn len_bytes(&self) -> usize {
        RECORD_BYTES + self.line.len()
    }
}

/// What stands at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A good record.
    Record(Record<'a>),
    /// Perhaps a record, of which more bytes are needed: this many in all.
    Short(usize),
    /// No record.
    Damage,
}

/// Looks at the start of `bytes`.
pub fn next(bytes: &[u8]) -> Next<'_> {
    let Some(head) = bytes.first_chunk::<RECORD_BYTES>() else {
        let known = bytes.len().min(RECORD_MAGIC.len());
        return if bytes[..known] == RECORD_MAGIC[..known] {
            Next::Short(RECORD_BYTES)
        } else {
            Next::Damage
        };
    };
    if head[..4] != RECORD_MAGIC {
        return Next::Damage;
    }
    let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let Some(len) = usize::try_from(len).ok().filter(|len| *len <= LINE_BYTES) else {
        return Next::Damage;
    };
    let Some(line) = bytes.get(RECORD_BYTES..RECORD_BYTES + len) else {
        return Next::Short(RECORD_BYTES + len);
    };
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..20]);
    crc.update(line);
    if crc.finalize().to_le_bytes() != head[20..24] {
        return Next::Damage;
    }
    let mut seq = [0; 8];
    seq.copy_from_slice(&head[8..16]);
    Next::Record(Record {
        seq: u64::from_le_bytes(seq),
        severity: head[16],
        is_notice: head[17] == 1,
        line,
    })
}

/// Where the next good record starts, looking from `from`; for stepping over damage. `None`: nowhere in `bytes`.
pub fn resync(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(rest) = bytes.get(at..) {
        let offset = rest.windows(RECORD_MAGIC.len()).position(|window| window == RECORD_MAGIC)?;
        at += offset;
        if let Next::Record(_) = next(&bytes[at..]) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The name of the segment that starts with alert `first`.
pub fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.seg"))
}

/// The segments of a folder, by first sequence number, ascending.
pub fn list(folder: &Path) -> std::io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".seg"));
        if let Some(first) = first.filter(|first| first.len() == 20) {
            found.extend(first.parse::<u64>());
        }
    }
    found.sort_unstable();
    Ok(found)
}
