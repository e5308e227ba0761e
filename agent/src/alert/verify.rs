//! Checks sealed alerts with the public key alone.
//!
//! [`check`] proves one alert by itself: its bytes, its chain hash, its path to a signed root. [`Verifier`] proves a
//! stream: every alert good, none missing, repeated, reordered or replaced between the first and the last it was
//! given. What came before the first and after the last can't be seen from the alerts; [`Verifier::finish`] says which
//! they were, so that the caller can compare.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;

use super::{
    canonical,
    key::{PublicKey, hex},
    merkle::{self, Hash},
    seal::{chain_hash, signed_message},
};

/// Why an alert is not proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Not JSON, or not an object.
    #[error("not a JSON object: {0}")]
    NotJson(String),
    /// A member is absent or of another type.
    #[error("`{0}` is missing or malformed")]
    Malformed(&'static str),
    /// Holds a number that has no canonical form.
    #[error("{0}")]
    Canonical(#[from] canonical::CanonicalError),
    /// The content is not what was hashed.
    #[error("altered: its content does not give its chain hash")]
    Altered,
    /// The hash is not under the signed root.
    #[error("forged: its hash is not proven by the signature")]
    NotSigned,
    /// Signed by a key that was not given.
    #[error("signed by key {0}, which was not given")]
    UnknownKey(String),
}

/// What a proven alert says about its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Stream.
    pub stream: String,
    /// Sequence number.
    pub seq: u64,
    /// Chain hash of the alert before.
    pub previous: Hash,
    /// Own chain hash.
    pub hash: Hash,
    /// The key it announces for the alerts after it, if it is the notice of a key change.
    pub next_key: Option<PublicKey>,
}

/// `hash`, `index`, `key`, `path`, `prev`, `sig`, `size`.
const SEAL_MEMBERS: usize = 7;

/// Proves one alert by itself.
pub fn check(line: &[u8], keys: &[PublicKey]) -> Result<Proven, Flaw> {
    check_after(line, keys, &mut None)
}

/// A root whose signature has been checked, and how many alerts it is said to stand for: those of one batch share it.
type Signed = Option<(PublicKey, Hash, Vec<u8>, u32)>;

fn check_after(line: &[u8], keys: &[PublicKey], known: &mut Signed) -> Result<Proven, Flaw> {
    let mut alert = parse(line)?;
    let seal = alert
        .as_object_mut()
        .and_then(|object| object.remove("seal"))
        .ok_or(Flaw::Malformed("seal"))?;
    // What is in the seal is not signed: nothing else may hide there.
    if seal.as_object().is_none_or(|seal| seal.len() != SEAL_MEMBERS) {
        return Err(Flaw::Malformed("seal"));
    }
    let text =
        |name: &'static str| seal.get(name).and_then(Value::as_str).ok_or(Flaw::Malformed(name));
    let place = |name: &'static str| {
        let number = seal.get(name).and_then(Value::as_u64);
        number.and_then(|number| u32::try_from(number).ok()).ok_or(Flaw::Malformed(name))
    };
    // One spelling only, so that a changed byte is a changed alert.
    let hash_of = |name: &'static str| {
        let digits = text(name).ok().filter(|digits| !digits.contains(|c: char| c.is_uppercase()));
        let bytes = digits.and_then(hex).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or(Flaw::Malformed(name))
    };
    let stream = alert.get("stream").and_then(Value::as_str).ok_or(Flaw::Malformed("stream"))?;
    let seq = alert.get("seq").and_then(Value::as_u64).ok_or(Flaw::Malformed("seq"))?;
    let previous: Hash = hash_of("prev")?;
    let stated: Hash = hash_of("hash")?;

    let mut body = Vec::with_capacity(line.len());
    canonical::write(&mut body, &alert)?;
    let hash = chain_hash(&previous, &body);
    if hash != stated {
        return Err(Flaw::Altered);
    }
    let path = seal
        .get("path")
        .and_then(Value::as_array)
        .ok_or(Flaw::Malformed("path"))?
        .iter()
        .map(|neighbour| BASE64.decode(neighbour.as_str()?).ok()?.try_into().ok())
        .collect::<Option<Vec<Hash>>>()
        .ok_or(Flaw::Malformed("path"))?;
    let size = place("size")?;
    let root = merkle::root(&hash, place("index")?, size, &path).ok_or(Flaw::Malformed("path"))?;
    let id = text("key")?;
    let key = keys
        .iter()
        .find(|key| key.id() == id)
        .ok_or_else(|| Flaw::UnknownKey(id.chars().take(64).collect()))?;
    let signature = BASE64.decode(text("sig")?).map_err(|_not_base64| Flaw::Malformed("sig"))?;
    let batch = known
        .as_ref()
        .filter(|(by, of, by_signature, _)| by == key && *of == root && *by_signature == signature);
    match batch {
        // Some paths are the same in batches of several sizes; the other alerts of the batch know its own.
        Some((.., known_size)) if *known_size != size => return Err(Flaw::Malformed("size")),
        Some(_) => {}
        None if key.verifies(&signed_message(&root), &signature) => {
            *known = Some((*key, root, signature, size));
        }
        None => return Err(Flaw::NotSigned),
    }
    Ok(Proven { stream: stream.to_owned(), seq, previous, hash, next_key: next_key(&alert) })
}

fn parse(line: &[u8]) -> Result<Value, Flaw> {
    let alert = canonical::parse(line).map_err(|error| Flaw::NotJson(error.to_string()))?;
    if alert.is_object() { Ok(alert) } else { Err(Flaw::NotJson("something else".to_owned())) }
}

fn next_key(alert: &Value) -> Option<PublicKey> {
    let notice = alert.get("notice")?;
    if notice.get("name")?.as_str()? != "key-rotated" {
        return None;
    }
    PublicKey::parse(notice.get("detail")?.get("public_key")?.as_str()?)
}

/// Something wrong with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it was met: a file and line, as the caller names it.
    pub place: String,
    /// What it is.
    pub problem: Problem,
}

/// What may be wrong with a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// An alert is not proven.
    #[error("{}{flaw}", named(.seq))]
    Unproven {
        /// The sequence number it claims, if it can be read.
        seq: Option<u64>,
        /// Why.
        flaw: Flaw,
    },
    /// Alerts are not there.
    #[error("missing: alert {}", range(*.first, *.last))]
    Missing {
        /// First one.
        first: u64,
        /// Last one.
        last: u64,
    },
    /// The same alert again.
    #[error("repeated: alert {seq}")]
    Repeated {
        /// Its sequence number.
        seq: u64,
    },
    /// An alert after one that it came before.
    #[error("reordered: alert {seq} comes after alert {after}")]
    Reordered {
        /// Its sequence number.
        seq: u64,
        /// The one it was found after.
        after: u64,
    },
    /// Two different alerts with one number, both signed: the stream was continued twice.
    #[error("forked: another signed alert {seq}")]
    Forked {
        /// The sequence number.
        seq: u64,
    },
    /// The alert doesn't follow the one before it, though its number does.
    #[error("replaced: alert {seq} does not continue the chain of the alert before it")]
    Unchained {
        /// Its sequence number.
        seq: u64,
    },
}

fn named(seq: &Option<u64>) -> String {
    seq.map(|seq| format!("alert {seq}: ")).unwrap_or_default()
}

fn range(first: u64, last: u64) -> String {
    if first == last { first.to_string() } else { format!("{first} to {last}") }
}

/// Whether receivers may have got some alerts more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// They are findings.
    Refused,
    /// Delivery is at least once: the very same alert again is fine.
    Allowed,
}

/// Follows streams.
#[derive(Debug)]
pub struct Verifier {
    keys: Vec<PublicKey>,
    repeats: Repeats,
    streams: BTreeMap<String, Stream>,
    findings: Vec<Finding>,
    alerts: u64,
    signed: Signed,
}

#[derive(Debug)]
struct Stream {
    first: u64,
    last: u64,
    last_hash: Hash,
    /// Start of each chain hash, by sequence number.
    seen: BTreeMap<u64, u64>,
    missing: BTreeSet<u64>,
    gaps: Vec<Gap>,
}

#[derive(Debug)]
struct Gap {
    first: u64,
    last: u64,
    finding: usize,
}

/// Sequence numbers listed one by one when a gap is met; a longer gap is not looked into.
const GAP_LISTED: u64 = 1_000_000;

/// What a stream was found to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Stream.
    pub stream: String,
    /// First sequence number.
    pub first: u64,
    /// Last sequence number.
    pub last: u64,
    /// Different alerts.
    pub alerts: u64,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is wrong, in the order it was met.
    pub findings: Vec<Finding>,
    /// The streams.
    pub streams: Vec<Span>,
    /// Lines looked at.
    pub alerts: u64,
}

impl Verifier {
    /// Starts with the keys that are trusted. A key change that one of them signed is followed.
    pub fn new(keys: Vec<PublicKey>, repeats: Repeats) -> Self {
        Self {
            keys,
            repeats,
            streams: BTreeMap::new(),
            findings: Vec::new(),
            alerts: 0,
            signed: None,
        }
    }

    /// Whether anything was wrong so far.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// Takes the next line. `place` names it for people.
    pub fn push(&mut self, line: &[u8], place: impl FnOnce() -> String) {
        self.alerts += 1;
        let proven = match check_after(line, &self.keys, &mut self.signed) {
            Ok(proven) => proven,
            Err(flaw) => {
                let claimed: Option<Value> = serde_json::from_slice(line).ok();
                let number = |name| claimed.as_ref()?.get(name)?.as_u64();
                let seq = number("seq");
                self.findings
                    .push(Finding { place: place(), problem: Problem::Unproven { seq, flaw } });
                // It is there, though not to be believed: so it isn't missing as well.
                let stream = claimed.as_ref().and_then(|alert| alert.get("stream")?.as_str());
                if let (Some(stream), Some(seq)) = (stream.map(str::to_owned), seq) {
                    self.step_over(&stream, seq);
                }
                return;
            }
        };
        if let Some(key) = proven.next_key
            && !self.keys.contains(&key)
        {
            self.keys.push(key);
        }
        let problem = self.follow(&proven);
        if let Some(problem) = problem {
            let finding = self.findings.len();
            if let Problem::Missing { first, last } = problem
                && let Some(stream) = self.streams.get_mut(&proven.stream)
            {
                stream.gaps.push(Gap { first, last, finding });
            }
            self.findings.push(Finding { place: place(), problem });
        }
    }

    /// An unproven alert that stands where the next one belongs.
    fn step_over(&mut self, stream: &str, seq: u64) {
        if let Some(stream) = self.streams.get_mut(stream)
            && seq == stream.last + 1
        {
            stream.last = seq;
            // No hash: the next alert's link can't be checked against it.
            stream.seen.remove(&seq);
        }
    }

    fn follow(&mut self, proven: &Proven) -> Option<Problem> {
        let seq = proven.seq;
        let mark = u64::from_le_bytes(proven.hash[..8].try_into().unwrap_or_default());
        let Some(stream) = self.streams.get_mut(&proven.stream) else {
            self.streams.insert(
                proven.stream.clone(),
                Stream {
                    first: seq,
                    last: seq,
                    last_hash: proven.hash,
                    seen: BTreeMap::from([(seq, mark)]),
                    missing: BTreeSet::new(),
                    gaps: Vec::new(),
                },
            );
            return None;
        };
        if let Some(&known) = stream.seen.get(&seq) {
            return match (known == mark, self.repeats) {
                (true, Repeats::Allowed) => None,
                (true, Repeats::Refused) => Some(Problem::Repeated { seq }),
                (false, _) => Some(Problem::Forked { seq }),
            };
        }
        stream.seen.insert(seq, mark);
        if seq <= stream.last {
            stream.missing.remove(&seq);
            stream.first = stream.first.min(seq);
            return Some(Problem::Reordered { seq, after: stream.last });
        }
        let before = stream.last;
        let linked = stream.last_hash == proven.previous || !stream.seen.contains_key(&before);
        stream.last = seq;
        stream.last_hash = proven.hash;
        if seq > before + 1 {
            let listed = seq.min(before + 1 + GAP_LISTED);
            stream.missing.extend(before + 1..listed);
            return Some(Problem::Missing { first: before + 1, last: seq - 1 });
        }
        (!linked).then_some(Problem::Unchained { seq })
    }

    /// The outcome. A gap whose alerts all came later was no gap: those were reordered, and are named as such.
    pub fn finish(self) -> Outcome {
        let mut filled = BTreeSet::new();
        for stream in self.streams.values() {
            for gap in &stream.gaps {
                if stream.missing.range(gap.first..=gap.last).next().is_none()
                    && gap.last - gap.first < GAP_LISTED
                {
                    filled.insert(gap.finding);
                }
            }
        }
        let findings = self
            .findings
            .into_iter()
            .enumerate()
            .filter(|(index, _)| !filled.contains(index))
            .map(|(_, finding)| finding)
            .collect();
        let streams = self
            .streams
            .into_iter()
            .map(|(name, stream)| Span {
                stream: name,
                first: stream.first,
                last: stream.last,
                alerts: u64::try_from(stream.seen.len()).unwrap_or(u64::MAX),
            })
            .collect();
        Outcome { findings, streams, alerts: self.alerts }
    }
}

#[cfg(test)]
mod tests;
