//! What is left in a spool after a crash or damage.
//!
//! Reads segments whole (they are bounded) and never fails on their content: good records count, everything else is
//! damage of so many bytes. The stream goes on after the last good record; if some sink has already acknowledged a
//! later one, that one was lost from here, and its number is not given out again.

use std::{fs, io, path::Path};

use serde_json::Value;

use super::{
    SpoolError,
    segment::{self, HEADER_BYTES, Header, Next},
};
use crate::alert::{key::hex, seal::ChainHead};

/// What the bytes of one segment hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Header, if it is good.
    pub header: Option<Header>,
    /// Good records.
    pub records: u64,
    /// Sequence number of the first good record.
    pub first: Option<u64>,
    /// Where the stream stands after the last good record.
    pub last: Option<ChainHead>,
    /// End of the last good record.
    pub good_bytes: u64,
    /// Bytes before that which are no record.
    pub damaged_bytes: u64,
    /// Bytes after that.
    pub torn_bytes: u64,
}

/// Looks through the bytes of one segment. Records from `limit` on belong to the next segment and don't count.
pub fn scan(bytes: &[u8], limit: Option<u64>) -> Scan {
    let header = Header::decode(bytes);
    let mut at = if header.is_some() { HEADER_BYTES } else { 0 };
    let mut found = Scan {
        header,
        records: 0,
        first: None,
        last: None,
        good_bytes: at as u64,
        damaged_bytes: 0,
        torn_bytes: 0,
    };
    let mut last_line: Option<(u64, &[u8])> = None;
    while at < bytes.len() {
        match segment::next(&bytes[at..]) {
            Next::Record(record) => {
                if limit.is_some_and(|limit| record.seq >= limit) {
                    break;
                }
                found.damaged_bytes += at as u64 - found.good_bytes;
                at += record.len_bytes();
                found.good_bytes = at as u64;
                found.records += 1;
                found.first = found.first.or(Some(record.seq));
                last_line = Some((record.seq, record.line));
            }
            Next::Short(_) | Next::Damage => match segment::resync(bytes, at + 1) {
                Some(next) => at = next,
                None => break,
            },
        }
    }
    found.torn_bytes = bytes.len() as u64 - found.good_bytes;
    found.last = last_line.and_then(|(seq, line)| sealed_head(seq, line));
    found
}

/// Where the stream stands after an alert, from what it carries: a segment's header may be damaged.
fn sealed_head(seq: u64, line: &[u8]) -> Option<ChainHead> {
    let alert: Value = serde_json::from_slice(line).ok()?;
    let hash = hex(alert.get("seal")?.get("hash")?.as_str()?)?.try_into().ok()?;
    let stream = alert.get("stream")?.as_str().filter(|stream| stream.len() == 32)?;
    Some(ChainHead { stream: stream.to_owned(), seq, hash })
}

/// What a spool was found to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where the stream stands; `None`: there is none.
    pub head: Option<ChainHead>,
    /// Bytes of the last segment that were damaged or torn, and its name.
    pub damage: Option<(u64, String)>,
    /// The last line, for what it says about how the last run ended.
    pub last_is_stop: bool,
}

/// Finds where the stream stands. Looks at the last segments until one has a good record or header.
pub fn recover(folder: &Path) -> Result<Recovered, SpoolError> {
    let segments = segment::list(folder)
        .map_err(|source| SpoolError::Folder { path: folder.to_owned(), source })?;
    let mut damage: Option<(u64, String)> = None;
    let mut limit = None;
    for &first in segments.iter().rev() {
        let path = segment::path(folder, first);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(SpoolError::Segment { path, source }),
        };
        let found = scan(&bytes, limit);
        let bad_bytes = found.damaged_bytes + found.torn_bytes;
        // What an abandoned segment holds beyond the next one's start is neither damage nor news.
        if bad_bytes > 0 && limit.is_none() {
            damage = Some((bad_bytes, format!("{first:020}.seg")));
        }
        if found.last.is_some() {
            let last_is_stop = is_stop(&bytes[..usize::try_from(found.good_bytes).unwrap_or(0)]);
            return Ok(Recovered { head: found.last, damage, last_is_stop });
        }
        if let Some(header) = found.header {
            // Begun and left empty: the segment before it ends where this header says, unless it was damaged.
            if header.before.seq == 0 || segments.first() == Some(&first) {
                return Ok(Recovered { head: Some(header.before), damage, last_is_stop: false });
            }
        }
        limit = Some(first);
    }
    Ok(Recovered { head: None, damage, last_is_stop: false })
}

/// Whether the last record tells that the agent stopped in good order.
fn is_stop(bytes: &[u8]) -> bool {
    const MARK: &[u8] = b"\"name\":\"stopped\"}";
    let tail = &bytes[bytes.len().saturating_sub(4_096)..];
    let record = tail.windows(4).rposition(|window| window == b"\xa5IDR");
    record.is_some_and(|at| tail[at..].windows(MARK.len()).any(|window| window == MARK))
}
