//! Requests to a Kafka broker and its answers, as bytes.
//!
//! Numbers are big endian; texts have their length in two bytes, lists and byte strings in four. Answers come from
//! outside: every length is checked against what is there, and nothing is reserved by a length alone.

use std::time::Duration;

use super::super::DeliveryError;

/// How this client calls itself.
const CLIENT: &str = "interdict";

/// Partitions of one topic that are believed.
const PARTITIONS: usize = 100_000;

const PRODUCE: (i16, i16) = (0, 7);
const METADATA: (i16, i16) = (3, 7);
const SASL_HANDSHAKE: (i16, i16) = (17, 1);
const SASL_AUTHENTICATE: (i16, i16) = (36, 1);

/// Errors that mean that these bytes will never be taken: too large as a message or a list, a bad timestamp or record.
const REFUSALS: [i16; 4] = [10, 18, 32, 87];

/// A request without its header.
pub(super) struct Request {
    key: i16,
    version: i16,
    body: Vec<u8>,
}

impl Request {
    fn new((key, version): (i16, i16)) -> Self {
        Self { key, version, body: Vec::new() }
    }

    /// As it is sent.
    pub(super) fn bytes(&self, correlation: i32) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&self.key.to_be_bytes());
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(&correlation.to_be_bytes());
        text(&mut bytes, CLIENT);
        bytes.extend_from_slice(&self.body);
        let len = i32::try_from(bytes.len() - 4).unwrap_or(i32::MAX);
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        bytes
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&i16::try_from(text.len()).unwrap_or(i16::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn long_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Who leads the partitions of a topic?
pub(super) fn metadata(topic: &str) -> Request {
    let mut request = Request::new(METADATA);
    request.body.extend_from_slice(&1i32.to_be_bytes());
    text(&mut request.body, topic);
    // Topics are not made by asking for them.
    request.body.push(0);
    request
}

/// Takes a batch of records, once all replicas in sync have them.
pub(super) fn produce(topic: &str, partition: i32, timeout: Duration, batch: &[u8]) -> Request {
    let mut request = Request::new(PRODUCE);
    let body = &mut request.body;
    // No transaction.
    body.extend_from_slice(&(-1i16).to_be_bytes());
    body.extend_from_slice(&(-1i16).to_be_bytes());
    body.extend_from_slice(&i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX).to_be_bytes());
    body.extend_from_slice(&1i32.to_be_bytes());
    text(body, topic);
    body.extend_from_slice(&1i32.to_be_bytes());
    body.extend_from_slice(&partition.to_be_bytes());
    long_bytes(body, batch);
    request
}

/// Which mechanism SASL is to use.
pub(super) fn sasl_handshake(mechanism: &str) -> Request {
    let mut request = Request::new(SASL_HANDSHAKE);
    text(&mut request.body, mechanism);
    request
}

/// One step of it.
pub(super) fn sasl_authenticate(token: &[u8]) -> Request {
    let mut request = Request::new(SASL_AUTHENTICATE);
    long_bytes(&mut request.body, token);
    request
}

/// A partition and the address of its leader; empty: it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) partition: i32,
    pub(super) address: String,
}

/// Why an answer is no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("an answer that can't be read")]
    Malformed,
    #[error("Kafka error {0}{name}", name = name(*.0))]
    Broker(i16),
}

/// The names of errors that people meet.
fn name(code: i16) -> &'static str {
    match code {
        3 => ": there is no such topic or partition",
        5 | 6 => ": another broker leads the partition",
        7 => ": not enough replicas answered in time",
        10 | 18 => ": too large",
        19 | 20 => ": not enough replicas in sync",
        29 => ": this user may not write to the topic",
        33 | 58 => ": authentication failed",
        _other => "",
    }
}

/// Reads an answer.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], AnswerError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(AnswerError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AnswerError> {
        self.bytes(N)?.try_into().map_err(|_other_length| AnswerError::Malformed)
    }

    fn short(&mut self) -> Result<i16, AnswerError> {
        self.array().map(i16::from_be_bytes)
    }

    fn int(&mut self) -> Result<i32, AnswerError> {
        self.array().map(i32::from_be_bytes)
    }

    /// A count of items that take at least a byte each. Absent lists are empty.
    fn count(&mut self) -> Result<usize, AnswerError> {
        let count = usize::try_from(self.int()?.max(0)).unwrap_or(usize::MAX);
        if count > self.0.len() || count > PARTITIONS {
            return Err(AnswerError::Malformed);
        }
        Ok(count)
    }

    fn text(&mut self) -> Result<&'a str, AnswerError> {
        let len = usize::try_from(self.short()?.max(0)).unwrap_or(0);
        std::str::from_utf8(self.bytes(len)?).map_err(|_not_utf8| AnswerError::Malformed)
    }

    fn ints(&mut self) -> Result<(), AnswerError> {
        let count = self.count()?;
        self.bytes(4 * count).map(drop)
    }
}

/// The partitions of a topic, ascending, from an answer to [`metadata`].
pub(super) fn leaders(answer: &[u8], topic: &str) -> Result<Vec<Leader>, AnswerError> {
    let mut answer = Answer(answer);
    let _throttled = answer.int()?;
    let mut brokers = std::collections::BTreeMap::new();
    for _ in 0..answer.count()? {
        let id = answer.int()?;
        let (host, port) = (answer.text()?, answer.int()?);
        let _rack = answer.text()?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        brokers.insert(id, format!("{host}:{port}"));
    }
    let _cluster = answer.text()?;
    let _controller = answer.int()?;
    let mut leaders = Vec::new();
    for _ in 0..answer.count()? {
        let error = answer.short()?;
        let is_ours = answer.text()? == topic;
        let _internal: [u8; 1] = answer.array()?;
        if is_ours && error != 0 {
            return Err(AnswerError::Broker(error));
        }
        for _ in 0..answer.count()? {
            // A partition's own error says that it has no leader, or that a replica is gone.
            let _error = answer.short()?;
            let (partition, leader, _epoch) = (answer.int()?, answer.int()?, answer.int()?);
            answer.ints()?;
            answer.ints()?;
            answer.ints()?;
            if is_ours {
                let address = brokers.get(&leader).cloned().unwrap_or_default();
                leaders.push(Leader { partition, address });
            }
        }
    }
    leaders.sort_by_key(|leader| leader.partition);
    Ok(leaders)
}

/// Whether an answer to [`produce`] says that the batch is kept.
pub(super) fn produced(answer: &[u8], topic: &str, partition: i32) -> Result<(), DeliveryError> {
    match produced_error(answer, topic, partition).map_err(DeliveryError::retry)? {
        0 => Ok(()),
        code if REFUSALS.contains(&code) => {
            Err(DeliveryError::Refused { reason: AnswerError::Broker(code).to_string() })
        }
        code => Err(DeliveryError::retry(AnswerError::Broker(code))),
    }
}

fn produced_error(answer: &[u8], topic: &str, partition: i32) -> Result<i16, AnswerError> {
    let mut answer = Answer(answer);
    for _ in 0..answer.count()? {
        let is_ours = answer.text()? == topic;
        for _ in 0..answer.count()? {
            let (found, error) = (answer.int()?, answer.short()?);
            // Offset, time and start of the log.
            answer.bytes(24)?;
            if is_ours && found == partition {
                return Ok(error);
            }
        }
    }
    // It answers about something else.
    Err(AnswerError::Malformed)
}

/// Whether the broker knows the mechanism, from an answer to [`sasl_handshake`].
pub(super) fn shook_hands(answer: &[u8]) -> Result<(), AnswerError> {
    match Answer(answer).short()? {
        0 => Ok(()),
        code => Err(AnswerError::Broker(code)),
    }
}

/// What the broker says in an answer to [`sasl_authenticate`].
pub(super) fn authenticated(answer: &[u8]) -> Result<Vec<u8>, AnswerError> {
    let mut answer = Answer(answer);
    let code = answer.short()?;
    let _reason = answer.text()?;
    if code != 0 {
        return Err(AnswerError::Broker(code));
    }
    let len = usize::try_from(answer.int()?.max(0)).unwrap_or(usize::MAX);
    answer.bytes(len).map(<[u8]>::to_vec)
}

/// Every reader of answers, for fuzzing: none may panic.
pub(super) fn read_any(answer: &[u8]) {
    let _leaders = leaders(answer, "t");
    let _produced = produced(answer, "t", 0);
    let _hands = shook_hands(answer);
    let _token = authenticated(answer);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metadata_answer(error: i16) -> Vec<u8> {
        let mut out = 0i32.to_be_bytes().to_vec();
        out.extend_from_slice(&2i32.to_be_bytes());
        for (id, host) in [(7i32, "kafka-7"), (8, "fd00::8")] {
            out.extend_from_slice(&id.to_be_bytes());
            text(&mut out, host);
            out.extend_from_slice(&9_092i32.to_be_bytes());
            out.extend_from_slice(&(-1i16).to_be_bytes());
        }
        text(&mut out, "cluster");
        out.extend_from_slice(&7i32.to_be_bytes());
        out.extend_from_slice(&1i32.to_be_bytes());
        out.extend_from_slice(&error.to_be_bytes());
        text(&mut out, "t");
        out.push(0);
        out.extend_from_slice(&3i32.to_be_bytes());
        for (partition, leader) in [(2i32, 7i32), (0, 8), (1, -1)] {
            out.extend_from_slice(&0i16.to_be_bytes());
            for number in [partition, leader, 0, 2, 7, 8, 1, 7, 0] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        out
    }

    #[test]
    fn leaders_are_read_in_the_order_of_partitions() {
        let address = |partition, address: &str| Leader { partition, address: address.to_owned() };
        let expected = [address(0, "[fd00::8]:9092"), address(1, ""), address(2, "kafka-7:9092")];
        assert_eq!(leaders(&metadata_answer(0), "t").unwrap(), expected);
        assert_eq!(leaders(&metadata_answer(3), "t"), Err(AnswerError::Broker(3)));
        assert_eq!(leaders(&metadata_answer(0), "other").unwrap(), []);
        let whole = metadata_answer(0);
        for len in 0..whole.len() {
            assert_eq!(leaders(&whole[..len], "t"), Err(AnswerError::Malformed), "{len}");
        }
    }

    fn produce_answer(partition: i32, error: i16) -> Vec<u8> {
        let mut out = 1i32.to_be_bytes().to_vec();
        text(&mut out, "t");
        out.extend_from_slice(&1i32.to_be_bytes());
        out.extend_from_slice(&partition.to_be_bytes());
        out.extend_from_slice(&error.to_be_bytes());
        out.extend_from_slice(&[0; 28]);
        out
    }

    #[test]
    fn only_an_answer_without_error_for_our_partition_counts() {
        assert_eq!(produced(&produce_answer(4, 0), "t", 4), Ok(()));
        let retried =
            |answer: &[u8]| matches!(produced(answer, "t", 4), Err(DeliveryError::Retry { .. }));
        assert!(retried(&produce_answer(3, 0)), "another partition");
        assert!(retried(&produce_answer(4, 6)), "no longer the leader");
        assert!(retried(&[0; 4]), "about nothing");
        assert!(retried(&[]));
        let refused = produced(&produce_answer(4, 10), "t", 4);
        assert!(matches!(refused, Err(DeliveryError::Refused { .. })));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read_any(&bytes);
        }

        #[test]
        fn a_broken_answer_makes_no_panic(at in 0..100usize, byte in any::<u8>()) {
            let mut answer = metadata_answer(0);
            let at = at % answer.len();
            answer[at] = byte;
            read_any(&answer);
        }
    }
}
