//! Fluent Forward: MessagePack over TCP or TLS, each batch acknowledged by its chunk id.
//!
//! Forward mode: `[tag, [[time, record], ...], {"chunk": id, "size": n}]`, answered by `{"ack": id}`. Without the
//! right answer in time the batch is sent again. Times are event times (extension 0: seconds and nanoseconds).
//! Compressed, it is CompressedPackedForward: the events one after another, gzipped, as one binary, and
//! `"compressed": "gzip"` among the options.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Delivery, DeliveryError, Sink, SinkError,
    compress::compressed,
    stream::{Stream, Target, within},
};
use crate::{
    alert::build::unix_ns,
    config::{Compression, FluentConfig},
    spool::Entry,
};

pub(super) struct Fluent {
    target: Target,
    tag: String,
    compression: Compression,
    stream: Option<Stream>,
}

impl Fluent {
    pub(super) fn open(
        sink: &str,
        config: &FluentConfig,
        compression: Compression,
    ) -> Result<Self, SinkError> {
        let target = Target::open(sink, &config.address, config.tls.as_ref(), config.timeout)?;
        Ok(Self { target, tag: config.tag.clone(), compression, stream: None })
    }

    async fn send(&mut self, batch: &[Entry]) -> Result<usize, DeliveryError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.target.connect().await?,
        };
        let chunk = chunk(batch);
        let packed = compressed(events(batch), self.compression).await?;
        let bytes = match self.compression {
            Compression::None => encode(&self.tag, &packed, batch.len(), &chunk),
            Compression::Gzip | Compression::Zstd => {
                let option = self.compression.name();
                encode_compressed(&self.tag, &packed, batch.len(), &chunk, option)
            }
        };
        let exchange = within(self.target.timeout, async {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            acknowledgement(&mut stream).await
        });
        match exchange.await {
            Ok(ack) if ack == chunk => {
                self.stream = Some(stream);
                Ok(batch.len())
            }
            Ok(other) => {
                Err(DeliveryError::retry(format!("acknowledged `{other}` instead of {chunk}")))
            }
            Err(error) => Err(DeliveryError::retry(error)),
        }
    }
}

impl Sink for Fluent {
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a> {
        Box::pin(self.send(batch))
    }
}

fn chunk(batch: &[Entry]) -> String {
    let seq = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.seq);
    format!("{}-{}", seq(batch.first()), seq(batch.last()))
}

/// The events of a batch, one after another.
fn events(batch: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in batch {
        let record: Value = serde_json::from_slice(entry.payload()).unwrap_or_else(|_not_json| {
            let text = String::from_utf8_lossy(entry.payload()).into_owned();
            Value::Object([("message".to_owned(), Value::String(text))].into_iter().collect())
        });
        out.push(0x92);
        event_time(&mut out, time_of(&entry.line));
        // A value of JSON always has a MessagePack form.
        out.extend(rmp_serde::to_vec_named(&record).unwrap_or_else(|_impossible| vec![0x80]));
    }
    out
}

/// The request of a batch in Forward mode.
fn encode(tag: &str, events: &[u8], count: usize, chunk: &str) -> Vec<u8> {
    let mut out = vec![0x93];
    string(&mut out, tag);
    array(&mut out, count);
    out.extend_from_slice(events);
    out.push(0x82);
    options(&mut out, count, chunk);
    out
}

/// The same in CompressedPackedForward mode.
fn encode_compressed(
    tag: &str,
    packed: &[u8],
    count: usize,
    chunk: &str,
    compressed: &str,
) -> Vec<u8> {
    let mut out = vec![0x93];
    string(&mut out, tag);
    out.push(0xc6);
    out.extend_from_slice(&u32::try_from(packed.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(packed);
    out.push(0x83);
    string(&mut out, "compressed");
    string(&mut out, compressed);
    options(&mut out, count, chunk);
    out
}

fn options(out: &mut Vec<u8>, count: usize, chunk: &str) {
    string(out, "chunk");
    string(out, chunk);
    string(out, "size");
    out.push(0xce);
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

fn time_of(line: &[u8]) -> u64 {
    let alert: Option<Value> = serde_json::from_slice(line).ok();
    let time = alert.as_ref().and_then(|alert| alert.get("time")?.as_str());
    time.and_then(unix_ns).unwrap_or(0)
}

fn event_time(out: &mut Vec<u8>, unix_ns: u64) {
    let seconds = u32::try_from(unix_ns / 1_000_000_000).unwrap_or(u32::MAX);
    let nanoseconds = u32::try_from(unix_ns % 1_000_000_000).unwrap_or(0);
    out.extend_from_slice(&[0xd7, 0x00]);
    out.extend_from_slice(&seconds.to_be_bytes());
    out.extend_from_slice(&nanoseconds.to_be_bytes());
}

fn string(out: &mut Vec<u8>, text: &str) {
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    match text.len() {
        short @ 0..=31 => out.push(0xa0 | u8::try_from(short).unwrap_or(31)),
        32..=255 => out.extend_from_slice(&[0xd9, u8::try_from(len).unwrap_or(u8::MAX)]),
        _long => {
            out.push(0xdb);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

fn array(out: &mut Vec<u8>, len: usize) {
    out.push(0xdd);
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
}

/// Longest answer that is read.
const ANSWER_BYTES: usize = 1_024;

/// Reads `{"ack": id}`.
async fn acknowledgement(stream: &mut Stream) -> io::Result<String> {
    let mut answer = Vec::new();
    loop {
        if let Some(ack) = parse(&answer) {
            return Ok(ack);
        }
        let mut bytes = [0; 256];
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&bytes[..count]);
        if answer.len() > ANSWER_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "no acknowledgement in the answer",
            ));
        }
    }
}

/// The acknowledged id, once the answer is whole.
pub(super) fn parse(answer: &[u8]) -> Option<String> {
    let answer: Value = rmp_serde::from_slice(answer).ok()?;
    Some(answer.get("ack")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_forward_mode_with_event_times() {
        let line = br#"{"time":"2026-01-02T03:04:05.006000007Z","a":[1]}"#.to_vec();
        let entry = Entry { seq: 9, severity: 0, is_notice: false, line, rendered: None };
        let bytes = encode("t.x", &events(&[entry]), 1, "9-9");
        let expected = [
            b"\x93\xa3t.x\xdd\x00\x00\x00\x01\x92\xd7\x00".as_slice(),
            &1_767_323_045u32.to_be_bytes(),
            &6_000_007u32.to_be_bytes(),
            b"\x82\xa4time\xbe2026-01-02T03:04:05.006000007Z\xa1a\x91\x01",
            b"\x82\xa5chunk\xa39-9\xa4size\xce\x00\x00\x00\x01",
        ]
        .concat();
        let sorted = [
            b"\x93\xa3t.x\xdd\x00\x00\x00\x01\x92\xd7\x00".as_slice(),
            &1_767_323_045u32.to_be_bytes(),
            &6_000_007u32.to_be_bytes(),
            b"\x82\xa1a\x91\x01\xa4time\xbe2026-01-02T03:04:05.006000007Z",
            b"\x82\xa5chunk\xa39-9\xa4size\xce\x00\x00\x00\x01",
        ]
        .concat();
        assert!(bytes == expected || bytes == sorted, "{bytes:02x?}");
    }

    #[test]
    fn only_a_whole_acknowledgement_counts() {
        assert_eq!(parse(b"\x81\xa3ack\xa39-9").as_deref(), Some("9-9"));
        for len in 0..8 {
            assert_eq!(parse(&b"\x81\xa3ack\xa39-9"[..len]), None);
        }
        assert_eq!(parse(b"\x81\xa3nak\xa39-9"), None);
        assert_eq!(parse(&[0xff; 40]), None);
    }
}
