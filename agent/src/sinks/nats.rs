//! NATS JetStream: each alert published with a reply subject and counted when the server says it is stored.
//!
//! The core protocol is lines over TCP or TLS. Alerts carry `Nats-Msg-Id`, so that the server drops repeats within its
//! window. A server tells who it is in the clear, and TLS begins after that line; one that offers no TLS where it is
//! configured is not talked to. A batch is published whole and then its acknowledgements are awaited; the longest acknowledged prefix is
//! what was taken.

use std::{collections::BTreeMap, io};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Delivery, DeliveryError, Sink, SinkError,
    stream::{Stream, Target, within},
};
use crate::{config::NatsConfig, spool::Entry};

pub(super) struct Nats {
    target: Target,
    subject: String,
    token: Option<String>,
    inbox: String,
    tls_first: bool,
    connection: Option<Connection>,
}

struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
}

/// Longest protocol line or payload that is read from a server.
const ANSWER_BYTES: usize = 1 << 20;

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Info(String),
    Ping,
    Pong,
    Ok,
    Error(String),
    Message { subject: String, payload: Vec<u8> },
}

impl Nats {
    pub(super) fn open(sink: &str, config: &NatsConfig) -> Result<Self, SinkError> {
        let setting = |reason: String| SinkError::Setting { sink: sink.to_owned(), reason };
        let is_subject = |part: char| part.is_ascii_graphic() && part != '*' && part != '>';
        if config.subject.is_empty() || !config.subject.chars().all(is_subject) {
            return Err(setting(format!("`{}` is not a subject to publish to", config.subject)));
        }
        let token = match &config.token {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|source| SinkError::File {
                        sink: sink.to_owned(),
                        path: path.clone(),
                        source,
                    })?
                    .trim()
                    .to_owned(),
            ),
            None => None,
        };
        let mut random = [0; 12];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_unspecified| setting("no randomness".to_owned()))?;
        Ok(Self {
            target: Target::open(sink, &config.address, config.tls.as_ref(), config.timeout)?,
            subject: config.subject.clone(),
            token,
            inbox: format!("_INBOX.{}", crate::alert::key::to_hex(&random)),
            tls_first: config.tls_first,
            connection: None,
        })
    }

    /// A connection on which the server has said who it is, over TLS if that is configured.
    async fn greeted(&self) -> Result<Connection, DeliveryError> {
        let at_once = self.tls_first || !self.target.wants_tls();
        let stream = if at_once {
            self.target.connect().await?
        } else {
            self.target.connect_plain().await?
        };
        let mut connection = Connection { stream, buffer: Vec::new() };
        let info = within(self.target.timeout, async {
            match connection.next().await? {
                Operation::Info(info) => Ok(info),
                other => Err(unexpected(&other)),
            }
        });
        let info = info.await.map_err(DeliveryError::retry)?;
        change_over(&info, self.target.wants_tls(), self.tls_first)?;
        if at_once {
            return Ok(connection);
        }
        // What came in the clear behind the first line could have been put there by anybody.
        if !connection.buffer.is_empty() {
            return Err(DeliveryError::retry("the server went on in the clear"));
        }
        let stream = self.target.secure(connection.stream).await?;
        Ok(Connection { stream, buffer: Vec::new() })
    }

    async fn connect(&self) -> Result<Connection, DeliveryError> {
        let mut connection = self.greeted().await?;
        let mut options = json!({
            "verbose": false, "pedantic": true, "headers": true, "no_responders": true, "lang": "rust",
            "name": "interdict", "version": env!("CARGO_PKG_VERSION"), "protocol": 1,
        });
        if let Some(token) = &self.token {
            options["auth_token"] = Value::from(token.as_str());
        }
        let greeting = within(self.target.timeout, async {
            let hello = format!("CONNECT {options}\r\nSUB {}.* 1\r\nPING\r\n", self.inbox);
            connection.stream.write_all(hello.as_bytes()).await?;
            connection.stream.flush().await?;
            loop {
                match connection.next().await? {
                    Operation::Pong => return Ok(()),
                    Operation::Info(_) | Operation::Ok | Operation::Message { .. } => {}
                    Operation::Ping => connection.stream.write_all(b"PONG\r\n").await?,
                    other @ Operation::Error(_) => return Err(unexpected(&other)),
                }
            }
        });
        greeting.await.map_err(DeliveryError::retry)?;
        Ok(connection)
    }

    async fn send(&mut self, batch: &[Entry]) -> Result<usize, DeliveryError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut bytes = Vec::new();
        for entry in batch {
            publish(&mut bytes, &self.subject, &self.inbox, entry);
        }
        let mut answers: BTreeMap<u64, Result<(), String>> = BTreeMap::new();
        let prefix = format!("{}.", self.inbox);
        let exchange = within(self.target.timeout, async {
            connection.stream.write_all(&bytes).await?;
            connection.stream.flush().await?;
            while answers.len() < batch.len() {
                match connection.next().await? {
                    Operation::Message { subject, payload } => {
                        let seq = subject.strip_prefix(&prefix).and_then(|seq| seq.parse().ok());
                        if let Some(seq) = seq
                            && batch.iter().any(|entry| entry.seq == seq)
                        {
                            answers.insert(seq, stored(&payload));
                        }
                    }
                    Operation::Ping => connection.stream.write_all(b"PONG\r\n").await?,
                    Operation::Info(_) | Operation::Ok | Operation::Pong => {}
                    other @ Operation::Error(_) => return Err(unexpected(&other)),
                }
            }
            Ok(())
        })
        .await;
        let taken =
            batch.iter().take_while(|entry| answers.get(&entry.seq) == Some(&Ok(()))).count();
        if exchange.is_ok() {
            self.connection = Some(connection);
        }
        let refusal = batch.get(taken).and_then(|entry| answers.get(&entry.seq));
        match (taken, exchange, refusal) {
            (0, _, Some(Err(reason))) => Err(DeliveryError::retry(reason)),
            (0, Err(error), _) => Err(DeliveryError::retry(error)),
            (taken, _, _) => Ok(taken),
        }
    }
}

impl Sink for Nats {
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a> {
        Box::pin(self.send(batch))
    }
}

/// Whether a server's first line goes with what is configured. Never in the clear where TLS is asked for by either.
fn change_over(info: &str, wants_tls: bool, tls_first: bool) -> Result<(), DeliveryError> {
    let info: Value = serde_json::from_str(info).unwrap_or_default();
    let says = |name: &str| info.get(name).and_then(Value::as_bool).unwrap_or(false);
    let offered = says("tls_required") || says("tls_available");
    if wants_tls && !tls_first && !offered {
        return Err(DeliveryError::retry("the server offers no TLS"));
    }
    if !wants_tls && says("tls_required") {
        return Err(DeliveryError::retry("the server requires TLS; set `tls`"));
    }
    Ok(())
}

fn publish(out: &mut Vec<u8>, subject: &str, inbox: &str, entry: &Entry) {
    let id = serde_json::from_slice::<Value>(&entry.line).ok();
    let id = id.as_ref().and_then(|alert| alert.get("id")?.as_str()).unwrap_or_default();
    let id: String = id.chars().filter(char::is_ascii_graphic).collect();
    let headers = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
    let payload = entry.payload();
    let total = headers.len() + payload.len();
    out.extend_from_slice(
        format!("HPUB {subject} {inbox}.{} {} {total}\r\n{headers}", entry.seq, headers.len())
            .as_bytes(),
    );
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// A JetStream acknowledgement names stream and sequence; anything else is none.
pub(super) fn stored(payload: &[u8]) -> Result<(), String> {
    let answer: Option<Value> = serde_json::from_slice(payload).ok();
    let Some(answer) = answer else {
        return Err("no stream takes this subject".to_owned());
    };
    if let Some(error) = answer.get("error") {
        return Err(format!("JetStream: {error}"));
    }
    if answer.get("stream").is_some() && answer.get("seq").is_some() {
        return Ok(());
    }
    Err("not a JetStream acknowledgement".to_owned())
}

fn unexpected(operation: &Operation) -> io::Error {
    let reason = match operation {
        Operation::Error(reason) => format!("server: {reason}"),
        other => format!("unexpected {other:?}"),
    };
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl Connection {
    async fn next(&mut self) -> io::Result<Operation> {
        loop {
            if let Some((operation, len)) = parse(&self.buffer)? {
                self.buffer.drain(..len);
                return Ok(operation);
            }
            let mut bytes = [0; 4_096];
            let count = self.stream.read(&mut bytes).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&bytes[..count]);
            if self.buffer.len() > 2 * ANSWER_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "endless line"));
            }
        }
    }
}

/// The operation at the start of some bytes and its length; `None`: not whole yet.
pub(super) fn parse(bytes: &[u8]) -> io::Result<Option<(Operation, usize)>> {
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let line =
        std::str::from_utf8(&bytes[..end]).map_err(|_not_utf8| invalid("not a NATS server"))?;
    let (name, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let after = end + 2;
    let operation = match name.to_ascii_uppercase().as_str() {
        "INFO" => Operation::Info(rest.to_owned()),
        "PING" => Operation::Ping,
        "PONG" => Operation::Pong,
        "+OK" => Operation::Ok,
        "-ERR" => Operation::Error(rest.to_owned()),
        kind @ ("MSG" | "HMSG") => {
            let parts: Vec<&str> = rest.split_ascii_whitespace().collect();
            let number = |at: usize| {
                let number = parts.len().checked_sub(at).and_then(|at| parts.get(at));
                let number = number.and_then(|text| text.parse::<usize>().ok());
                number.filter(|len| *len <= ANSWER_BYTES).ok_or_else(|| invalid("bad length"))
            };
            let total = number(1)?;
            let headers = if kind == "HMSG" { number(2)? } else { 0 };
            let Some(payload) = bytes.get(after..after + total + 2) else { return Ok(None) };
            let payload = payload.get(headers..total).ok_or_else(|| invalid("bad length"))?;
            let subject = parts.first().copied().unwrap_or_default().to_owned();
            let message = Operation::Message { subject, payload: payload.to_vec() };
            return Ok(Some((message, after + total + 2)));
        }
        _other => return Err(invalid("not a NATS server")),
    };
    Ok(Some((operation, after)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_read_whole_with_and_without_headers() {
        let plain = b"MSG _INBOX.a.7 1 5\r\nhello\r\nPING\r\n";
        for len in 0..27 {
            assert!(parse(&plain[..len]).unwrap().is_none(), "{len}");
        }
        let message = |payload: &[u8]| Operation::Message {
            subject: "_INBOX.a.7".to_owned(),
            payload: payload.to_vec(),
        };
        assert_eq!(parse(plain).unwrap(), Some((message(b"hello"), 27)));
        let headers = b"HMSG _INBOX.a.7 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
        assert_eq!(parse(headers).unwrap().unwrap().0, message(b""));
    }

    #[test]
    fn only_a_stored_alert_counts() {
        assert_eq!(stored(br#"{"stream":"S","seq":4,"duplicate":true}"#), Ok(()));
        assert!(stored(br#"{"error":{"code":503}}"#).is_err());
        assert!(stored(b"").is_err());
        assert!(stored(b"{}").is_err());
    }

    #[test]
    fn nothing_is_sent_in_the_clear_where_tls_is_asked_for() {
        let plain = r#"{"server_id":"x"}"#;
        let offered = r#"{"server_id":"x","tls_available":true}"#;
        let required = r#"{"server_id":"x","tls_required":true}"#;
        assert!(change_over(plain, true, false).is_err());
        assert!(change_over("not json", true, false).is_err());
        assert!(change_over(required, false, false).is_err());
        for (info, wants, first) in [
            (plain, false, false),
            (offered, true, false),
            (required, true, false),
            (plain, true, true),
            (offered, false, false),
        ] {
            assert_eq!(change_over(info, wants, first), Ok(()), "{info} {wants} {first}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..4usize) {
            let start: &[u8] = [b"MSG a 1 ".as_slice(), b"HMSG a 1 9 ", b"INFO ", b""][kind];
            let _outcome = parse(&[start, &bytes, b"\r\n"].concat());
        }
    }
}
