//! The journal of this host, by its native protocol: one datagram per alert.

use std::os::unix::net::UnixDatagram;

use serde_json::Value;

use super::{Delivery, DeliveryError, Sink, SinkError};
use crate::{config::JournaldConfig, spool::Entry};

pub(super) struct Journald {
    socket: UnixDatagram,
    config: JournaldConfig,
}

impl Journald {
    pub(super) fn open(sink: &str, config: &JournaldConfig) -> Result<Self, SinkError> {
        let socket = UnixDatagram::unbound().map_err(|source| SinkError::File {
            sink: sink.to_owned(),
            path: config.socket.clone(),
            source,
        })?;
        Ok(Self { socket, config: config.clone() })
    }

    fn send(&self, batch: &[Entry]) -> Result<usize, DeliveryError> {
        for (taken, entry) in batch.iter().enumerate() {
            match self.socket.send_to(&datagram(entry), &self.config.socket) {
                Ok(_) => {}
                Err(_later) if taken > 0 => return Ok(taken),
                // Larger than the socket takes: no journal will ever have it in this way.
                Err(error) if error.raw_os_error() == Some(EMSGSIZE) => {
                    return Err(DeliveryError::Refused { reason: error.to_string() });
                }
                Err(error) => return Err(DeliveryError::retry(error)),
            }
        }
        Ok(batch.len())
    }
}

/// "Message too long" of Linux.
const EMSGSIZE: i32 = 90;

impl Sink for Journald {
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a> {
        Box::pin(std::future::ready(self.send(batch)))
    }
}

/// Fields as name, line break, length in eight bytes, value, line break: a value may hold anything.
fn datagram(entry: &Entry) -> Vec<u8> {
    let native: Value = serde_json::from_slice(&entry.line).unwrap_or_default();
    let text = |pointer: &str| native.pointer(pointer).and_then(Value::as_str);
    let priority = match entry.severity {
        0 => "6",
        1 => "5",
        2 => "4",
        3 => "3",
        _worst => "2",
    };
    let payload = String::from_utf8_lossy(entry.payload());
    let mut out = Vec::new();
    for (name, value) in [
        ("MESSAGE", text("/message")),
        ("PRIORITY", Some(priority)),
        ("SYSLOG_IDENTIFIER", Some("interdict")),
        ("INTERDICT_ID", text("/id")),
        ("INTERDICT_RULE", text("/rules/0/id")),
        ("INTERDICT_ALERT", Some(&payload)),
    ] {
        if let Some(value) = value {
            out.extend_from_slice(name.as_bytes());
            out.push(b'\n');
            out.extend_from_slice(&(value.len() as u64).to_le_bytes());
            out.extend_from_slice(value.as_bytes());
            out.push(b'\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_datagram_per_alert_arrives_with_its_fields() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut sink = Journald::open("j", &JournaldConfig { socket: path }).unwrap();
        let line = br#"{"id":"s-1","message":"a\nb","rules":[{"id":"R"}]}"#.to_vec();
        let entry = Entry { seq: 1, severity: 4, is_notice: false, line, rendered: None };
        assert_eq!(sink.deliver(&[entry.clone(), entry]).await, Ok(2));
        let mut bytes = [0; 4_096];
        for _ in 0..2 {
            let count = journal.recv(&mut bytes).unwrap();
            let start = b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\nPRIORITY\n\x01\0\0\0\0\0\0\x002\n";
            assert!(bytes[..count].starts_with(start));
        }
    }
}
