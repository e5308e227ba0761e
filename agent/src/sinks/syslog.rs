//! Syslog: RFC 5424 messages, octet-counted (RFC 6587), over TCP or TLS (RFC 5425).
//!
//! Syslog has no acknowledgements: a batch counts as taken when the kernel has it and the peer hasn't closed the
//! connection. What was in flight when a connection broke is sent again, as far as that shows. Structured data carries
//! stream, sequence number and rule, so that gaps and repeats can be seen at the other end.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Delivery, DeliveryError, Sink, SinkError,
    stream::{Stream, Target, within},
};
use crate::{alert::model::Alert, config::SyslogConfig, spool::Entry};

pub(super) struct Syslog {
    target: Target,
    facility: u8,
    host: String,
    stream: Option<Stream>,
}

impl Syslog {
    pub(super) fn open(sink: &str, config: &SyslogConfig) -> Result<Self, SinkError> {
        let target = Target::open(sink, &config.address, config.tls.as_ref(), config.timeout)?;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(Self { target, facility: config.facility, host: host.trim().to_owned(), stream: None })
    }

    async fn send(&mut self, batch: &[Entry]) -> Result<usize, DeliveryError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.target.connect().await?,
        };
        let mut bytes = Vec::new();
        for entry in batch {
            let message = message(entry, self.facility, &self.host);
            bytes.extend_from_slice(message.len().to_string().as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(&message);
        }
        let sent = within(self.target.timeout, async {
            still_open(&mut stream).await?;
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            still_open(&mut stream).await
        });
        match sent.await {
            Ok(()) => {
                self.stream = Some(stream);
                Ok(batch.len())
            }
            Err(error) => {
                stream.close(self.target.timeout).await;
                Err(DeliveryError::retry(error))
            }
        }
    }
}

/// A receiver sends nothing; if it has, or has closed, the connection is done for.
async fn still_open(stream: &mut Stream) -> io::Result<()> {
    let mut byte = [0];
    tokio::select! {
        biased;
        read = stream.read(&mut byte) => match read {
            Ok(0) => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the receiver closed the connection")),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        },
        () = std::future::ready(()) => Ok(()),
    }
}

impl Sink for Syslog {
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a> {
        Box::pin(self.send(batch))
    }
}

/// One message.
pub(super) fn message(entry: &Entry, facility: u8, host: &str) -> Vec<u8> {
    // Severities of syslog: 1 alert, 2 critical, 3 error, 4 warning, 5 notice, 6 informational.
    let severity = match entry.severity {
        0 => 6,
        1 => 5,
        2 => 4,
        3 => 3,
        _worst => 2,
    };
    let alert: Option<Alert> = serde_json::from_slice(&entry.line).ok();
    let time = alert.as_ref().and_then(|alert| {
        // Six digits of a second are all that RFC 5424 takes.
        Some(format!("{}Z", alert.time.get(..26)?))
    });
    let mut out = format!(
        "<{}>1 {} {} interdict {} {} ",
        u32::from(facility) * 8 + severity,
        time.as_deref().unwrap_or("-"),
        name(host, 255),
        std::process::id(),
        if entry.is_notice { "notice" } else { "decision" },
    );
    match &alert {
        Some(alert) => {
            out.push_str("[interdict@32473");
            let rule = alert.rules.first().map(|rule| rule.id.as_str()).unwrap_or_default();
            let verdict = alert.decision.as_ref().map(|decision| decision.verdict.as_ref());
            for (key, value) in [
                ("stream", alert.stream.as_str()),
                ("seq", &alert.seq.to_string()),
                ("rule", rule),
                ("verdict", verdict.unwrap_or_default()),
            ] {
                if !value.is_empty() {
                    out.push_str(&format!(" {key}=\"{}\"", parameter(value)));
                }
            }
            out.push_str("] ");
        }
        None => out.push_str("- "),
    }
    let mut bytes = out.into_bytes();
    // RFC 5424 marks UTF-8 with a BOM. Receivers that read the message as JSON or CEF choke on one, and all take UTF-8
    // without it ("MSG-ANY"), so there is none.
    bytes.extend_from_slice(entry.payload());
    bytes
}

/// Printable ASCII without spaces.
fn name(text: &str, max: usize) -> String {
    let name: String = text.chars().filter(char::is_ascii_graphic).take(max).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

fn parameter(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_rfc_5424_and_escapes_its_parameters() {
        let line = serde_json::json!({
            "agent": {"version": "0"}, "host": {"boot_id": "b", "kernel": "k", "name": "h"}, "id": "s-7",
            "decision": {"mode": "enforce", "verdict": "block", "would": "block"}, "kind": "decision", "message": "m",
            "rules": [{"action": "block", "file": "f", "id": "R\"]\\", "line": 1, "mode": "enforce", "policy": "p",
                "severity": "high", "title": "t"}],
            "schema": "interdict.alert/1", "seq": 7, "severity": "high", "stream": "s",
            "time": "2026-01-02T03:04:05.006007008Z", "time_boot_ns": "1"
        });
        let line = line.to_string().into_bytes();
        let entry =
            Entry { seq: 7, severity: 3, is_notice: false, line: line.clone(), rendered: None };
        let message = String::from_utf8(message(&entry, 10, "my host")).unwrap();
        let pid = std::process::id();
        let head = format!(
            "<83>1 2026-01-02T03:04:05.006007Z myhost interdict {pid} decision \
             [interdict@32473 stream=\"s\" seq=\"7\" rule=\"R\\\"\\]\\\\\" verdict=\"block\"] "
        );
        assert_eq!(message, format!("{head}{}", String::from_utf8(line).unwrap()));
    }
}
