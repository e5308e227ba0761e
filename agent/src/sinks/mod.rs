//! Delivers spooled alerts to where they are wanted, at least once, each destination on its own.
//!
//! A [`Sink`] knows one protocol and nothing else: it gets a batch and answers how much of it was taken, or why not.
//! `runner` does the rest for all of them alike: cursor, filter, retry with backoff and jitter, dead letters, and the
//! notices that a sink is down, is up again, or has missed alerts that left the spool. A slow or dead sink holds up
//! nobody else. Receivers drop repeats by the alert's `id`.

mod alertmanager;
mod backoff;
#[cfg(test)]
mod chaos;
pub mod clock;
mod compress;
mod elasticsearch;
mod file;
mod fluent;
mod http;
mod journald;
#[cfg(feature = "kafka")]
mod kafka;
mod nats;
mod otlp;
pub mod runner;
mod splunk;
mod stdout;
mod stream;
mod syslog;
mod webhook;

#[cfg(test)]
mod tests;

use std::{future::Future, io, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

pub use runner::{Status, run};

use crate::{alert::key::SigningKey, config::SinkConfig, spool::Entry};

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryError {
    /// Try again.
    Retry {
        /// Why.
        reason: String,
        /// Not before so long.
        after: Option<Duration>,
    },
    /// It has the batch and didn't answer in time. Try again; a receiver that is too slow for so many gets fewer.
    Late {
        /// What was waited for.
        reason: String,
    },
    /// These bytes will never be taken. A batch is tried alert by alert then.
    Refused {
        /// Why.
        reason: String,
    },
}

impl DeliveryError {
    /// An error that may pass.
    pub fn retry(reason: impl ToString) -> Self {
        Self::Retry { reason: reason.to_string(), after: None }
    }
}

/// The answer to a delivery: how many of the batch's alerts, from its start, were taken for good.
pub type Delivery<'a> = Pin<Box<dyn Future<Output = Result<usize, DeliveryError>> + Send + 'a>>;

/// One destination.
pub trait Sink: Send {
    /// Hands over a batch, which is not empty.
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a>;
}

/// Why a sink could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A file it needs.
    #[error("sink `{sink}`: {path}: {source}")]
    File {
        /// Which sink.
        sink: String,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in its configuration.
    #[error("sink `{sink}`: {reason}")]
    Setting {
        /// Which sink.
        sink: String,
        /// What.
        reason: String,
    },
}

/// Reads bytes as an answer of each kind of receiver. Whatever they are, nothing may panic: that is fuzzed.
pub fn read_as_answers(bytes: &[u8]) {
    let _ack = fluent::parse(bytes);
    let mut rest = bytes;
    while let Ok(Some((_, len))) = nats::parse(rest) {
        rest = rest.get(len..).unwrap_or(&[]);
    }
    let _stored = nats::stored(bytes);
    for sent in [1, 3] {
        let _taken = elasticsearch::outcome(bytes, sent);
    }
    let _dropped = otlp::rejected(bytes);
    let _code = splunk::code(bytes);
    #[cfg(feature = "kafka")]
    kafka::read_as_answers(bytes);
    http::read_as_headers(bytes);
}

/// Sets up a sink.
pub fn open(config: &SinkConfig, key: &Arc<SigningKey>) -> Result<Box<dyn Sink>, SinkError> {
    let (name, compression) = (config.name(), config.compression);
    if let Some(file) = &config.file {
        return Ok(Box::new(file::File::open(&name, file)?));
    }
    if let Some(webhook) = &config.webhook {
        let key = Arc::clone(key);
        return Ok(Box::new(webhook::Webhook::open(&name, webhook, compression, key)?));
    }
    if let Some(syslog) = &config.syslog {
        return Ok(Box::new(syslog::Syslog::open(&name, syslog)?));
    }
    if let Some(fluent) = &config.fluent {
        return Ok(Box::new(fluent::Fluent::open(&name, fluent, compression)?));
    }
    if let Some(nats) = &config.nats {
        return Ok(Box::new(nats::Nats::open(&name, nats)?));
    }
    #[cfg(feature = "kafka")]
    if let Some(kafka) = &config.kafka {
        return Ok(Box::new(kafka::Kafka::open(&name, kafka, compression)?));
    }
    if let Some(otlp) = &config.otlp {
        return Ok(Box::new(otlp::Otlp::open(&name, otlp, compression)?));
    }
    if let Some(splunk) = &config.splunk {
        return Ok(Box::new(splunk::Splunk::open(&name, splunk, compression)?));
    }
    if let Some(elasticsearch) = &config.elasticsearch {
        let sink = elasticsearch::Elasticsearch::open(&name, elasticsearch, compression)?;
        return Ok(Box::new(sink));
    }
    if let Some(alertmanager) = &config.alertmanager {
        return Ok(Box::new(alertmanager::Alertmanager::open(&name, alertmanager)?));
    }
    if let Some(journald) = &config.journald {
        return Ok(Box::new(journald::Journald::open(&name, journald)?));
    }
    Ok(Box::new(stdout::Stdout))
}
