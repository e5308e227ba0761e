//! Apache Kafka: each batch produced with acknowledgement by all replicas in sync.
//!
//! All alerts of one stream go to one partition, because Kafka keeps order only within one: the one that is configured,
//! or one chosen by the stream's name. Records carry the stream as key and `id` and `seq` as headers, by which
//! consumers drop repeats. Topics are not made here: how long alerts are kept is not the agent's to decide.
//!
//! Two requests are all that is needed, in versions that brokers from 2.1 to today's understand: which broker leads the
//! partition (Metadata 7), and take these (Produce 7); before them SASL, if it is configured. Whatever goes wrong, the
//! next attempt asks anew who leads. `protocol` has the bytes of requests and answers, `batch` those of records.

mod batch;
mod protocol;
mod sasl;

use std::{
    fs,
    io::{self, ErrorKind},
    sync::Arc,
};

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Delivery, DeliveryError, Sink, SinkError,
    compress::compressed,
    stream::{self, Stream, Target, within},
};
use crate::{
    config::{Compression, KafkaConfig, SaslMechanism},
    spool::Entry,
};
use protocol::{Leader, Request};
use sasl::Mechanism;

/// Longest answer of a broker that is read: one topic's metadata has some kilobytes.
const ANSWER_BYTES: usize = 4 << 20;

pub(super) struct Kafka {
    config: KafkaConfig,
    tls: Option<Arc<ClientConfig>>,
    password: Option<String>,
    compression: Compression,
    /// The broker that leads, and the partition.
    leader: Option<(Broker, i32)>,
    /// Which of the configured brokers is asked next.
    asked: usize,
}

/// A connection to one broker.
struct Broker {
    stream: Stream,
    correlation: i32,
}

impl Kafka {
    pub(super) fn open(
        sink: &str,
        config: &KafkaConfig,
        compression: Compression,
    ) -> Result<Self, SinkError> {
        let setting = |reason: String| SinkError::Setting { sink: sink.to_owned(), reason };
        if config.brokers.is_empty() {
            return Err(setting("brokers: name at least one as HOST:PORT".to_owned()));
        }
        if let Some(broker) = config.brokers.iter().find(|broker| !broker.contains(':')) {
            return Err(setting(format!("broker `{broker}` has no port")));
        }
        let tls = config.tls.as_ref().map(|tls| stream::client_config(sink, tls)).transpose()?;
        let password = match &config.sasl {
            Some(sasl) if sasl.mechanism == SaslMechanism::Plain && tls.is_none() => {
                return Err(setting("sasl: PLAIN shows the password; set tls".to_owned()));
            }
            Some(sasl) => {
                let text = fs::read_to_string(&sasl.password).map_err(|source| {
                    SinkError::File { sink: sink.to_owned(), path: sasl.password.clone(), source }
                })?;
                Some(text.trim().to_owned())
            }
            None => None,
        };
        Ok(Self { config: config.clone(), tls, password, compression, leader: None, asked: 0 })
    }

    /// A connection to a broker, shown who we are.
    async fn broker(&self, address: &str) -> Result<Broker, DeliveryError> {
        let name = self.config.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        let target = Target::with(address, self.tls.clone(), name, self.config.timeout)
            .map_err(DeliveryError::retry)?;
        let mut broker = Broker { stream: target.connect().await?, correlation: 0 };
        if let (Some(sasl), Some(password)) = (&self.config.sasl, &self.password) {
            let mechanism = match sasl.mechanism {
                SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
                SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
                SaslMechanism::Plain => Mechanism::Plain,
            };
            let shown = sasl::show(&mut broker, mechanism, &sasl.user, password);
            within(self.config.timeout, shown)
                .await
                .map_err(|error| DeliveryError::retry(format!("{address}: {error}")))?;
        }
        Ok(broker)
    }

    /// Finds out who leads the stream's partition, and connects to it.
    async fn lead(&mut self, stream: &str) -> Result<(Broker, i32), DeliveryError> {
        let first = self.asked % self.config.brokers.len();
        // The next attempt asks the next one.
        self.asked = first + 1;
        let address = self.config.brokers[first].clone();
        let mut broker = self.broker(&address).await?;
        let request = protocol::metadata(&self.config.topic);
        let answer = within(self.config.timeout, broker.call(&request)).await;
        let answer = answer.map_err(|error| DeliveryError::retry(format!("{address}: {error}")))?;
        let leaders = protocol::leaders(&answer, &self.config.topic)
            .map_err(|error| DeliveryError::retry(format!("{address}: {error}")))?;
        let Leader { partition, address: leads } =
            chosen(stream, self.config.partition, leaders).map_err(DeliveryError::retry)?;
        if leads != address {
            broker = self.broker(&leads).await?;
        }
        Ok((broker, partition))
    }

    async fn send(&mut self, batch: &[Entry]) -> Result<usize, DeliveryError> {
        let records = batch::Records::of(batch);
        let (mut broker, partition) = match self.leader.take() {
            Some(leader) => leader,
            None => self.lead(&records.stream).await?,
        };
        let packed = compressed(records.bytes.clone(), self.compression).await?;
        let bytes = records.batch(&packed, self.compression);
        let limit = self.config.timeout;
        let request = protocol::produce(&self.config.topic, partition, limit, &bytes);
        let answer = within(limit, broker.call(&request)).await.map_err(DeliveryError::retry)?;
        protocol::produced(&answer, &self.config.topic, partition)?;
        self.leader = Some((broker, partition));
        Ok(batch.len())
    }
}

impl Sink for Kafka {
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a> {
        Box::pin(self.send(batch))
    }
}

impl Broker {
    /// Sends a request and reads its answer, without the header.
    async fn call(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        self.correlation = self.correlation.wrapping_add(1);
        self.stream.write_all(&request.bytes(self.correlation)).await?;
        self.stream.flush().await?;
        let invalid = |reason: &str| io::Error::new(ErrorKind::InvalidData, reason.to_owned());
        let len = usize::try_from(self.stream.read_i32().await?)
            .ok()
            .filter(|len| (4..=ANSWER_BYTES).contains(len))
            .ok_or_else(|| invalid("not a Kafka broker, or an answer that is too long"))?;
        if self.stream.read_i32().await? != self.correlation {
            return Err(invalid("an answer to something else"));
        }
        // Grown as it comes: a length alone is to cost nothing.
        let mut answer = Vec::new();
        (&mut self.stream).take((len - 4) as u64).read_to_end(&mut answer).await?;
        if answer.len() < len - 4 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(answer)
    }
}

/// See [`super::read_as_answers`].
pub(super) fn read_as_answers(bytes: &[u8]) {
    protocol::read_any(bytes);
    sasl::read_as_answer(bytes);
}

/// The partition of a stream and who leads it. Names of streams are random, so they spread.
fn chosen(stream: &str, asked: Option<i32>, leaders: Vec<Leader>) -> Result<Leader, String> {
    let count = leaders.len();
    let place = match asked {
        Some(partition) => leaders.iter().position(|leader| leader.partition == partition),
        None => {
            let hash = usize::try_from(crc32fast::hash(stream.as_bytes())).unwrap_or_default();
            hash.checked_rem(count)
        }
    };
    let leader = place.and_then(|place| leaders.into_iter().nth(place));
    match leader {
        Some(leader) if leader.address.is_empty() => {
            Err(format!("partition {} has no leader", leader.partition))
        }
        Some(leader) => Ok(leader),
        None => Err(format!("the topic has {count} partitions, and not the one that is wanted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaders(partitions: i32) -> Vec<Leader> {
        (0..partitions)
            .map(|partition| Leader { partition, address: format!("b{partition}:1") })
            .collect()
    }

    #[test]
    fn a_stream_always_has_the_same_partition_and_streams_spread() {
        let mut seen = std::collections::BTreeSet::new();
        for stream in 0..64 {
            let name = format!("{stream:032x}");
            let leader = chosen(&name, None, leaders(3)).unwrap();
            assert_eq!(chosen(&name, None, leaders(3)).unwrap(), leader);
            seen.insert(leader.partition);
        }
        assert_eq!(seen.len(), 3);
        assert_eq!(chosen("s", Some(2), leaders(3)).unwrap().partition, 2);
        assert!(chosen("s", Some(3), leaders(3)).is_err());
        assert!(chosen("s", None, Vec::new()).is_err());
        let nobody = vec![Leader { partition: 0, address: String::new() }];
        assert!(chosen("s", None, nobody).is_err());
    }
}
