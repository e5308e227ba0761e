//! The agent's signing key and how others name and check it.
//!
//! Ed25519. The private key is PKCS#8 in PEM, mode 0600, made at the first start unless one is given; beside it lies the
//! public key (`.pub`, SPKI in PEM), for `interdict verify` and for receivers. A key's id is the first 16 hex digits of
//! the SHA-256 of its 32 raw bytes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use sha2::{Digest, Sha256};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the private key.
    #[error("{path}: mode {mode:04o} lets others read the private key; run `chmod 600 {path}`")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Not a key in a format we read.
    #[error("{path}: not an Ed25519 {expected}")]
    Format {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
    },
    /// No randomness, or the like.
    #[error("the cryptographic library made no key")]
    Generate,
}

/// A private key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    id: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "SigningKey({})", self.id)
    }
}

impl SigningKey {
    /// Reads the key at `path`, or makes one there.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::open(path) {
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::create(path)
            }
            Ok(key) => {
                // Whoever made it may not have lived to write its public half.
                let public = path.with_extension("pub");
                if PublicKey::open(&public).ok() != Some(key.public())
                    && let Err(error) = write_public(&public, &key.public())
                {
                    tracing::debug!(%error, path = %public.display(), "the public key is not there");
                }
                Ok(key)
            }
            other => other,
        }
    }

    /// Reads the key at `path`: PKCS#8, PEM or DER.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let file = |source| KeyError::File { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(file)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let bytes = fs::read(path).map_err(file)?;
        let der = pem_body(&bytes, "PRIVATE KEY").unwrap_or(bytes);
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_rejected| {
            KeyError::Format { path: path.to_owned(), expected: "private key (PKCS#8)" }
        })?;
        Ok(Self::of(pair))
    }

    /// Makes a key and writes it and its public half. Never overwrites.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let file = |source| KeyError::File { path: path.to_owned(), source };
        let key = Self::generate()?;
        fs::create_dir_all(folder(path)).map_err(file)?;
        let pkcs8 = key.pair.to_pkcs8().map_err(|_unspecified| KeyError::Generate)?;
        // Written beside and linked into place: a crash leaves no half key, and a second start no second key.
        let draft = path.with_extension("new");
        let _stale = fs::remove_file(&draft);
        let mut options = OpenOptions::new();
        let mut out =
            options.write(true).create_new(true).mode(0o600).open(&draft).map_err(file)?;
        let mut write = || -> io::Result<()> {
            out.write_all(pem("PRIVATE KEY", pkcs8.as_ref()).as_bytes())?;
            out.sync_all()?;
            fs::hard_link(&draft, path)?;
            fs::remove_file(&draft)?;
            File::open(folder(path))?.sync_all()
        };
        if let Err(source) = write() {
            // No private key is left behind under a name that nobody asked for.
            let _absent = fs::remove_file(&draft);
            return Err(file(source));
        }
        let public = path.with_extension("pub");
        write_public(&public, &key.public())
            .map_err(|source| KeyError::File { path: public.clone(), source })?;
        Ok(key)
    }

    /// A key that is nowhere on disk.
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate().map(Self::of).map_err(|_unspecified| KeyError::Generate)
    }

    fn of(pair: Ed25519KeyPair) -> Self {
        let id = key_id(pair.public_key().as_ref());
        Self { pair, id }
    }

    /// The id of the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut raw = [0; 32];
        let bytes = self.pair.public_key().as_ref();
        raw.copy_from_slice(&bytes[..32]);
        PublicKey { raw }
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(&self.pair.sign(message).as_ref()[..64]);
        signature
    }
}

/// Writes a public key: after a crash it is there whole, or not at all.
fn write_public(path: &Path, key: &PublicKey) -> io::Result<()> {
    let draft = path.with_extension("pub.new");
    let mut out = File::create(&draft)?;
    out.write_all(key.pem().as_bytes())?;
    out.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(folder(path))?.sync_all()
}

/// The folder that a file is in: of a bare name the current one.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey {
    raw: [u8; 32],
}

/// DER of an Ed25519 SPKI up to the key's own bytes.
const SPKI_HEAD: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl PublicKey {
    /// Reads a file: PEM or DER (SPKI), or text as [`PublicKey::parse`] takes it.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let bytes =
            fs::read(path).map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        let der = pem_body(&bytes, "PUBLIC KEY").unwrap_or_else(|| bytes.clone());
        let from_der = der.strip_prefix(&SPKI_HEAD).and_then(|raw| raw.try_into().ok());
        let from_text = || Self::parse(std::str::from_utf8(&bytes).ok()?.trim());
        from_der.map(|raw| Self { raw }).or_else(from_text).ok_or_else(|| KeyError::Format {
            path: path.to_owned(),
            expected: "public key (SPKI, or 32 bytes as base64 or hex)",
        })
    }

    /// Reads 32 bytes as base64, hex, or with the `whpk_` prefix of Standard Webhooks.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("whpk_").unwrap_or(text);
        let bytes = hex(text).or_else(|| BASE64.decode(text).ok())?;
        Some(Self { raw: bytes.try_into().ok()? })
    }

    /// From its 32 bytes.
    pub fn from_raw(raw: [u8; 32]) -> Self {
        Self { raw }
    }

    /// The 32 bytes.
    pub fn raw(&self) -> &[u8; 32] {
        &self.raw
    }

    /// The id of the key.
    pub fn id(&self) -> String {
        key_id(&self.raw)
    }

    /// The 32 bytes as base64.
    pub fn base64(&self) -> String {
        BASE64.encode(self.raw)
    }

    /// SPKI as PEM.
    pub fn pem(&self) -> String {
        let mut der = SPKI_HEAD.to_vec();
        der.extend_from_slice(&self.raw);
        pem("PUBLIC KEY", &der)
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.raw).verify(message, signature).is_ok()
    }
}

/// Where the key lies that takes over at the next start.
pub fn next_key_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".next");
    path.with_file_name(name)
}

/// Puts the next key in the place of the current one. After a crash in between, the next start does it again.
pub fn take_over(path: &Path) -> Result<(), KeyError> {
    let next = next_key_path(path);
    let rename = |from: &Path, to: &Path| {
        fs::rename(from, to).map_err(|source| KeyError::File { path: from.to_owned(), source })
    };
    let next_public = next.with_extension("pub");
    rename(&next, path)?;
    let key = SigningKey::open(path)?;
    let public = path.with_extension("pub");
    let _gone = fs::remove_file(next_public);
    write_public(&public, &key.public())
        .map_err(|source| KeyError::File { path: public.clone(), source })
}

fn key_id(raw: &[u8]) -> String {
    to_hex(&Sha256::digest(raw)[..8])
}

/// Lower-case hex.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Bytes of an even number of hex digits.
pub fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = BASE64.encode(der);
    let lines: Vec<&str> =
        (0..body.len()).step_by(64).map(|start| &body[start..body.len().min(start + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn pem_body(bytes: &[u8], label: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.split_ascii_whitespace().collect();
    BASE64.decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/agent.key");
        let first = SigningKey::open_or_create(&path).unwrap();
        let again = SigningKey::open_or_create(&path).unwrap();
        assert_eq!(first.public(), again.public());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(PublicKey::open(&path.with_extension("pub")).unwrap(), first.public());
        assert!(first.public().verifies(b"x", &again.sign(b"x")));
        assert!(!first.public().verifies(b"y", &again.sign(b"x")));
    }

    #[test]
    fn a_public_half_that_is_missing_or_torn_or_of_the_key_before_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.key");
        let public = path.with_extension("pub");
        let key = SigningKey::open_or_create(&path).unwrap().public();
        let before = SigningKey::generate().unwrap().public().pem();
        for found in [None, Some(""), Some("-----BEGIN"), Some(before.as_str())] {
            fs::remove_file(&public).unwrap();
            if let Some(text) = found {
                fs::write(&public, text).unwrap();
            }
            SigningKey::open_or_create(&path).unwrap();
            assert_eq!(PublicKey::open(&public).unwrap(), key, "{found:?}");
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.key");
        SigningKey::create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SigningKey::open(&path), Err(KeyError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn public_keys_are_read_in_every_spelling() {
        let key = SigningKey::generate().unwrap().public();
        for text in [key.base64(), to_hex(key.raw()), format!("whpk_{}", key.base64())] {
            assert_eq!(PublicKey::parse(&text), Some(key), "{text}");
        }
        assert_eq!(PublicKey::parse("AAAA"), None);
    }
}
