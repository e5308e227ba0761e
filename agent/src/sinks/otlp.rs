//! OpenTelemetry logs: OTLP over HTTP, protobuf.
//!
//! Only the few messages that are sent are written here, by field number of `opentelemetry/proto/logs/v1` (stable since
//! 1.0). A partial success names how many records the collector dropped; that is a refusal, told as one.

use reqwest::{Client, Url, header::CONTENT_TYPE};
use serde_json::Value;

use super::{
    Delivery, DeliveryError, Sink, SinkError,
    http::{self, Endpoint},
};
use crate::{
    alert::build::unix_ns,
    config::{Compression, OtlpConfig},
    spool::Entry,
};

pub(super) struct Otlp {
    client: Client,
    url: Url,
    token: Option<String>,
    compression: Compression,
}

impl Otlp {
    pub(super) fn open(
        sink: &str,
        config: &OtlpConfig,
        compression: Compression,
    ) -> Result<Self, SinkError> {
        let endpoint = Endpoint {
            sink,
            url: &config.url,
            ca: config.ca.as_ref(),
            certificate: config.certificate.as_ref(),
            key: config.key.as_ref(),
            timeout: config.timeout,
        };
        let (client, url) = endpoint.open()?;
        Ok(Self { client, url, token: endpoint.secret(config.token.as_ref())?, compression })
    }

    async fn send(&self, batch: &[Entry]) -> Result<usize, DeliveryError> {
        let post =
            self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/x-protobuf");
        let mut request = http::with_body(post, request(batch), self.compression).await?;
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = http::send(request).await?;
        if !response.status().is_success() {
            return Err(http::failure(response).await);
        }
        match rejected(&http::body(response).await) {
            0 => Ok(batch.len()),
            count => Err(DeliveryError::Refused {
                reason: format!("the collector dropped {count} records"),
            }),
        }
    }
}

impl Sink for Otlp {
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a> {
        Box::pin(self.send(batch))
    }
}

/// `ExportLogsServiceRequest` with one resource and one scope.
fn request(batch: &[Entry]) -> Vec<u8> {
    let first: Value = batch
        .first()
        .and_then(|entry| serde_json::from_slice(&entry.line).ok())
        .unwrap_or_default();
    let text = |value: &Value, pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut resource = Vec::new();
    for (key, value) in [
        ("service.name", "interdict".to_owned()),
        ("service.version", text(&first, "/agent/version")),
        ("host.name", text(&first, "/host/name")),
        ("os.type", "linux".to_owned()),
    ] {
        message(&mut resource, 1, &attribute(key, &value));
    }
    let mut scope = Vec::new();
    let mut name = Vec::new();
    bytes(&mut name, 1, b"interdict");
    message(&mut scope, 1, &name);
    for entry in batch {
        message(&mut scope, 2, &record(entry));
    }
    let mut resource_logs = Vec::new();
    message(&mut resource_logs, 1, &resource);
    message(&mut resource_logs, 2, &scope);
    let mut out = Vec::new();
    message(&mut out, 1, &resource_logs);
    out
}

/// `LogRecord`.
fn record(entry: &Entry) -> Vec<u8> {
    let native: Value = serde_json::from_slice(&entry.line).unwrap_or_default();
    let text = |pointer: &str| native.pointer(pointer).and_then(Value::as_str);
    let unix_ns = text("/time").and_then(unix_ns).unwrap_or(0);
    // INFO, INFO2, WARN, ERROR, FATAL.
    let (number, name) = match entry.severity {
        0 => (9, "info"),
        1 => (10, "low"),
        2 => (13, "medium"),
        3 => (17, "high"),
        _worst => (21, "critical"),
    };
    let mut out = Vec::new();
    fixed64(&mut out, 1, unix_ns);
    varint_field(&mut out, 2, number);
    bytes(&mut out, 3, name.as_bytes());
    let mut body = Vec::new();
    bytes(&mut body, 1, String::from_utf8_lossy(entry.payload()).as_bytes());
    message(&mut out, 5, &body);
    for (key, value) in [
        (
            "event.name",
            Some(if entry.is_notice { "interdict.notice" } else { "interdict.decision" }),
        ),
        ("interdict.id", text("/id")),
        ("interdict.message", text("/message")),
        ("interdict.rule.id", text("/rules/0/id")),
        ("interdict.verdict", text("/decision/verdict")),
        ("process.executable.path", text("/process/exe")),
        ("container.id", text("/container/id")),
    ] {
        if let Some(value) = value {
            message(&mut out, 6, &attribute(key, value));
        }
    }
    fixed64(&mut out, 11, unix_ns);
    out
}

/// `KeyValue` of a string.
fn attribute(key: &str, value: &str) -> Vec<u8> {
    let (mut any, mut out) = (Vec::new(), Vec::new());
    bytes(&mut any, 1, value.as_bytes());
    bytes(&mut out, 1, key.as_bytes());
    message(&mut out, 2, &any);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_field(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn message(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    bytes(out, field, value);
}

/// `rejected_log_records` of the `partial_success` in an answer; what can't be read rejects nothing.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let partial = fields(answer).into_iter().find_map(|(field, value)| match value {
        Field::Bytes(bytes) if field == 1 => Some(bytes),
        Field::Bytes(_) | Field::Number(_) => None,
    });
    let rejected = partial.map(fields).unwrap_or_default();
    let rejected = rejected.into_iter().find_map(|(field, value)| match value {
        Field::Number(number) if field == 1 => Some(number),
        Field::Bytes(_) | Field::Number(_) => None,
    });
    rejected.unwrap_or(0)
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn fields(mut rest: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while let Some((tag, after)) = read_varint(rest) {
        let (value, after) = match tag & 7 {
            0 => match read_varint(after) {
                Some((number, after)) => (Field::Number(number), after),
                None => break,
            },
            1 => match after.split_at_checked(8) {
                Some((_, after)) => (Field::Number(0), after),
                None => break,
            },
            2 => {
                let split = read_varint(after)
                    .and_then(|(len, after)| after.split_at_checked(usize::try_from(len).ok()?));
                match split {
                    Some((bytes, after)) => (Field::Bytes(bytes), after),
                    None => break,
                }
            }
            5 => match after.split_at_checked(4) {
                Some((_, after)) => (Field::Number(0), after),
                None => break,
            },
            _unknown => break,
        };
        found.push((tag >> 3, value));
        rest = after;
    }
    found
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(at).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_partial_success_is_not_taken_for_a_whole_one() {
        assert_eq!(rejected(b""), 0);
        // partial_success { rejected_log_records: 300 error_message: "x" }
        assert_eq!(rejected(b"\x0a\x06\x08\xac\x02\x12\x01x"), 300);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _count = rejected(&bytes);
        }
    }
}
