//! Gives alerts their place in the stream and their proof.
//!
//! Each alert's canonical bytes are hashed together with the hash of the alert before it: a chain. The chain hashes of
//! a batch are the leaves of a Merkle tree whose root is signed once. Every alert carries its own path to that root,
//! so it can be proven alone, and the cost of signing is shared; idle, a batch is one alert and the path is empty.
//! Nothing here touches a disk: if a batch can't be spooled, [`Sealer::rewind`] takes its places back.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{
    hash::sha256,
    key::SigningKey,
    merkle::{self, Hash},
    model::{ALERT_BYTES, Alert, Kind},
    write::write,
};

/// Domain of chain hashes.
pub const CHAIN_DOMAIN: &[u8] = b"interdict chain 1\0";

/// Domain of signatures. No other message that the key signs can start with it: it holds a zero byte.
pub const SEAL_DOMAIN: &[u8] = b"interdict seal 1\0";

/// Most alerts under one signature. Larger: longer paths in every alert (44 bytes per doubling); smaller: more
/// signatures (about 30 microseconds each).
pub const BATCH: usize = 64;

/// Where a stream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The stream: 32 hex digits.
    pub stream: String,
    /// Sequence number of the last alert; 0 before the first.
    pub seq: u64,
    /// Its chain hash; zeros before the first.
    pub hash: Hash,
}

impl ChainHead {
    /// The start of a stream.
    pub fn start(stream: String) -> Self {
        Self { stream, seq: 0, hash: [0; 32] }
    }
}

/// The chain hash of an alert.
pub fn chain_hash(previous: &Hash, canonical: &[u8]) -> Hash {
    sha256(&[CHAIN_DOMAIN, previous, canonical])
}

/// What is signed for a batch.
pub fn signed_message(root: &Hash) -> Vec<u8> {
    [SEAL_DOMAIN, root].concat()
}

/// An alert with its place and proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedAlert {
    seq: u64,
    kind: Kind,
    severity: u8,
    line: Vec<u8>,
    hash: Hash,
}

impl SealedAlert {
    /// Sequence number.
    pub fn seq(&self) -> u64 {
        self.seq
    }
    /// Decision or notice.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// Severity as a number, 0 for info.
    pub fn severity(&self) -> u8 {
        self.severity
    }
    /// The one JSON line, without a line break.
    pub fn line(&self) -> &[u8] {
        &self.line
    }
    /// The chain hash.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }
}

/// Seals alerts of one stream.
#[derive(Debug)]
pub struct Sealer {
    key: SigningKey,
    head: ChainHead,
    line_bytes: usize,
}

/// Bytes of a seal in a full batch, with some to spare.
const SEAL_BYTES: usize = 768;

impl Sealer {
    /// Goes on where `head` stands.
    pub fn new(key: SigningKey, head: ChainHead) -> Self {
        Self { key, head, line_bytes: 1_024 }
    }

    /// Where the stream stands.
    pub fn head(&self) -> &ChainHead {
        &self.head
    }

    /// The key in use.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Takes back what was sealed after `head`, because it could not be kept.
    pub fn rewind(&mut self, head: ChainHead) {
        self.head = head;
    }

    /// Signs with another key from now on. The caller has sealed and kept the notice that says so.
    pub fn change_key(&mut self, key: SigningKey) -> SigningKey {
        std::mem::replace(&mut self.key, key)
    }

    /// Seals alerts in their order, [`BATCH`] to a signature.
    pub fn seal(&mut self, alerts: Vec<Alert>) -> Vec<SealedAlert> {
        let mut sealed = Vec::with_capacity(alerts.len());
        let mut alerts = alerts.into_iter().peekable();
        while alerts.peek().is_some() {
            let start = sealed.len();
            let first_previous = self.head.hash;
            for alert in alerts.by_ref().take(BATCH) {
                sealed.push(self.place(alert));
            }
            self.prove(&mut sealed[start..], first_previous);
        }
        sealed
    }

    fn place(&mut self, mut alert: Alert) -> SealedAlert {
        let seq = self.head.seq + 1;
        alert.seq = seq;
        alert.id = format!("{}-{seq}", self.head.stream);
        alert.stream.clone_from(&self.head.stream);
        // About as long as the one before, with its seal.
        let mut line = Vec::with_capacity(self.line_bytes + SEAL_BYTES);
        loop {
            write(&mut line, &alert);
            if line.len() <= ALERT_BYTES || !alert.trim() {
                break;
            }
            line.clear();
        }
        self.line_bytes = line.len();
        let hash = chain_hash(&self.head.hash, &line);
        self.head.seq = seq;
        self.head.hash = hash;
        SealedAlert { seq, kind: alert.kind, severity: alert.severity as u8, line, hash }
    }

    fn prove(&self, batch: &mut [SealedAlert], first_previous: Hash) {
        let hashes: Vec<Hash> = batch.iter().map(|alert| alert.hash).collect();
        let (root, paths) = merkle::tree(&hashes);
        let signature = BASE64.encode(self.key.sign(&signed_message(&root)));
        let size = hashes.len();
        let mut previous = first_previous;
        for (index, (alert, path)) in batch.iter_mut().zip(paths).enumerate() {
            // The body is an object: its last byte is the closing brace.
            alert.line.pop();
            let line = &mut alert.line;
            line.extend_from_slice(b",\"seal\":{\"hash\":\"");
            push_hex(line, &alert.hash);
            line.extend_from_slice(b"\",\"index\":");
            line.extend_from_slice(index.to_string().as_bytes());
            line.extend_from_slice(b",\"key\":\"");
            line.extend_from_slice(self.key.id().as_bytes());
            line.extend_from_slice(b"\",\"path\":[");
            for (at, neighbour) in path.iter().enumerate() {
                line.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
                push_base64(line, neighbour);
                line.push(b'"');
            }
            line.extend_from_slice(b"],\"prev\":\"");
            push_hex(line, &previous);
            line.extend_from_slice(b"\",\"sig\":\"");
            line.extend_from_slice(signature.as_bytes());
            line.extend_from_slice(b"\",\"size\":");
            line.extend_from_slice(size.to_string().as_bytes());
            line.extend_from_slice(b"}}");
            previous = alert.hash;
        }
    }
}

fn push_hex(out: &mut Vec<u8>, bytes: &Hash) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut text = [0; 64];
    for (digits, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
    out.extend_from_slice(&text);
}

fn push_base64(out: &mut Vec<u8>, bytes: &Hash) {
    // 32 bytes are 44 characters.
    let mut text = [0; 44];
    let len = BASE64.encode_slice(bytes, &mut text).unwrap_or(0);
    out.extend_from_slice(&text[..len]);
}
