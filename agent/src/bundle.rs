//! Signed bundles of policies: one file that proves who made it, and that it is not older than the last one.
//!
//! ```text
//! "interdict-bundle-1\n"   manifest length: u32, little-endian   manifest: JSON   files, one after the other
//! Ed25519 signature over all of the above: 64 bytes
//! ```
//! The manifest names each file with its length and SHA-256, and carries a serial number. Nothing in a bundle is
//! looked at before its signature has been checked. A [`Ledger`] remembers the highest serial seen of each name, so
//! that an old bundle, rightly signed in its time, is not accepted again.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
};

use interdict_rules::parse::source::{Files, Sources};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::alert::key::{PublicKey, SigningKey, to_hex};

const MAGIC: &[u8] = b"interdict-bundle-1\n";

const SIGNATURE_BYTES: usize = 64;

/// Largest bundle that is read, bytes: feeds of a million lines fit several times.
pub const BYTES_MAX: u64 = 256 << 20;

/// Why a bundle cannot be made, or is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Not a bundle, or one that was cut off.
    #[error("not a bundle: {reason}")]
    Format {
        /// What is wrong.
        reason: &'static str,
    },
    /// No key that is trusted made the signature.
    #[error("the signature is by none of the {keys} trusted keys, or the bundle was altered")]
    Signature {
        /// How many keys were tried.
        keys: usize,
    },
    /// The manifest is not one.
    #[error("the manifest cannot be read: {0}")]
    Manifest(#[from] serde_json::Error),
    /// A file is not what the manifest says.
    #[error("{path}: not what the manifest says")]
    Content {
        /// Which.
        path: String,
    },
    /// A path that leads out of the bundle.
    #[error("{path}: not a path inside a bundle")]
    Path {
        /// Which.
        path: String,
    },
    /// An older bundle of this name than one seen before.
    #[error("bundle `{name}` has serial {serial}, but {seen} was accepted before")]
    Older {
        /// The bundle's name.
        name: String,
        /// Its serial.
        serial: u64,
        /// The highest seen.
        seen: u64,
    },
    /// Another bundle with the serial of one seen before.
    #[error("bundle `{name}` with serial {serial} was accepted before with other content")]
    Changed {
        /// The bundle's name.
        name: String,
        /// Its serial.
        serial: u64,
    },
    /// The ledger or a file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a bundle says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name: serials are compared within a name.
    pub name: String,
    /// Rises with every bundle of the name.
    pub serial: u64,
    /// Id of the key that signed it.
    pub key: String,
    /// Its files, in their order.
    pub files: Vec<ManifestFile>,
}

/// One file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its path inside the bundle, with `/`.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, hex.
    pub sha256: String,
}

/// A bundle whose signature and content have been checked.
#[derive(Clone, Debug)]
pub struct Bundle {
    manifest: Manifest,
    files: BTreeMap<PathBuf, Vec<u8>>,
    digest: String,
}

/// Makes a bundle of files by path.
pub fn pack(
    name: &str,
    serial: u64,
    files: &BTreeMap<String, Vec<u8>>,
    key: &SigningKey,
) -> Result<Vec<u8>, BundleError> {
    let mut listed = Vec::new();
    for (path, content) in files {
        inside(path)?;
        listed.push(ManifestFile {
            path: path.clone(),
            bytes: content.len() as u64,
            sha256: to_hex(&Sha256::digest(content)),
        });
    }
    let manifest =
        Manifest { name: name.to_owned(), serial, key: key.id().to_owned(), files: listed };
    let manifest = serde_json::to_vec(&manifest)?;
    let length = u32::try_from(manifest.len())
        .map_err(|_| BundleError::Format { reason: "the manifest is too long" })?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&manifest);
    for content in files.values() {
        bytes.extend_from_slice(content);
    }
    let signature = key.sign(&bytes);
    bytes.extend_from_slice(&signature);
    Ok(bytes)
}

impl Bundle {
    /// Opens a bundle signed by one of `keys`.
    pub fn open(bytes: &[u8], keys: &[PublicKey]) -> Result<Self, BundleError> {
        let short = BundleError::Format { reason: "it is cut off" };
        let signed = bytes.len().checked_sub(SIGNATURE_BYTES).ok_or(short)?;
        let (content, signature) = bytes.split_at(signed);
        let rest = content
            .strip_prefix(MAGIC)
            .ok_or(BundleError::Format { reason: "it starts with something else" })?;
        if !keys.iter().any(|key| key.verifies(content, signature)) {
            return Err(BundleError::Signature { keys: keys.len() });
        }
        let cut = || BundleError::Format { reason: "it is cut off" };
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (manifest, mut rest) =
            rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(cut)?;
        let manifest: Manifest = serde_json::from_slice(manifest)?;
        let mut files = BTreeMap::new();
        for file in &manifest.files {
            let path = inside(&file.path)?;
            let wrong = || BundleError::Content { path: file.path.clone() };
            let length = usize::try_from(file.bytes).map_err(|_| wrong())?;
            let (content, after) = rest.split_at_checked(length).ok_or_else(cut)?;
            rest = after;
            if to_hex(&Sha256::digest(content)) != file.sha256
                || files.insert(path, content.to_vec()).is_some()
            {
                return Err(wrong());
            }
        }
        if !rest.is_empty() {
            return Err(BundleError::Format { reason: "it holds more than its manifest says" });
        }
        Ok(Self { manifest, files, digest: to_hex(&Sha256::digest(content)) })
    }

    /// Reads a bundle file signed by one of `keys`.
    pub fn read(path: &Path, keys: &[PublicKey]) -> Result<Self, BundleError> {
        let failed = |source| BundleError::File { path: path.to_owned(), source };
        let length = fs::metadata(path).map_err(failed)?.len();
        if length > BYTES_MAX {
            let reason = format!("{length} bytes, a bundle may have {BYTES_MAX}");
            return Err(failed(io::Error::other(reason)));
        }
        Self::open(&fs::read(path).map_err(failed)?, keys)
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its files by path.
    pub fn files(&self) -> &BTreeMap<PathBuf, Vec<u8>> {
        &self.files
    }

    /// Its policy files as sources; its feeds are read through the bundle itself.
    pub fn sources(&self) -> Result<Sources, BundleError> {
        let mut sources = Sources::new();
        for (path, content) in &self.files {
            let yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
            if !yaml {
                continue;
            }
            let text = std::str::from_utf8(content)
                .map_err(|_| BundleError::Content { path: path.display().to_string() })?;
            sources.add(path.display().to_string(), text);
        }
        Ok(sources)
    }
}

impl Files for Bundle {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files
            .get(path)
            .cloned()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "not in the bundle"))
    }
}

/// A path that stays inside.
fn inside(path: &str) -> Result<PathBuf, BundleError> {
    let parsed = PathBuf::from(path);
    let plain = parsed.components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || path.contains('\\') || !plain {
        return Err(BundleError::Path { path: path.to_owned() });
    }
    Ok(parsed)
}

/// The highest serial seen of each name, kept in a file.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    seen: BTreeMap<String, Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    serial: u64,
    digest: String,
}

impl Ledger {
    /// Opens a ledger; one that does not exist yet has seen nothing.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let seen = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(BundleError::File { path: path.to_owned(), source }),
        };
        Ok(Self { path: path.to_owned(), seen })
    }

    /// Whether a bundle is not older than what was seen.
    pub fn check(&self, bundle: &Bundle) -> Result<(), BundleError> {
        let Manifest { name, serial, .. } = &bundle.manifest;
        match self.seen.get(name) {
            Some(seen) if *serial < seen.serial => {
                Err(BundleError::Older { name: name.clone(), serial: *serial, seen: seen.serial })
            }
            Some(seen) if *serial == seen.serial && seen.digest != bundle.digest => {
                Err(BundleError::Changed { name: name.clone(), serial: *serial })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Remembers a bundle, on disk before it answers.
    pub fn accept(&mut self, bundle: &Bundle) -> Result<(), BundleError> {
        self.check(bundle)?;
        let seen = Seen { serial: bundle.manifest.serial, digest: bundle.digest.clone() };
        self.seen.insert(bundle.manifest.name.clone(), seen);
        let bytes = serde_json::to_vec_pretty(&self.seen)?;
        let beside = self.path.with_extension("new");
        let write = || {
            fs::write(&beside, &bytes)?;
            fs::File::open(&beside)?.sync_all()?;
            fs::rename(&beside, &self.path)?;
            match self.path.parent() {
                Some(parent) if parent != Path::new("") => fs::File::open(parent)?.sync_all(),
                Some(_) | None => Ok(()),
            }
        };
        write().map_err(|source| BundleError::File { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([
            ("policies/a.yaml".to_owned(), b"a".to_vec()),
            ("policies/feeds/x.cidr".to_owned(), b"192.0.2.1\n".to_vec()),
        ])
    }

    fn bundle(serial: u64, files: &BTreeMap<String, Vec<u8>>, key: &SigningKey) -> Bundle {
        let bytes = pack("site", serial, files, key).unwrap();
        Bundle::open(&bytes, &[key.public()]).unwrap()
    }

    #[test]
    fn what_was_packed_comes_out() {
        let key = SigningKey::generate().unwrap();
        let bundle = bundle(7, &files(), &key);
        assert_eq!(bundle.manifest().serial, 7);
        assert_eq!(bundle.manifest().key, key.id());
        assert_eq!(bundle.read(Path::new("policies/feeds/x.cidr")).unwrap(), b"192.0.2.1\n");
        assert_eq!(bundle.sources().unwrap().iter().count(), 1);
    }

    #[test]
    fn every_altered_byte_is_found() {
        let key = SigningKey::generate().unwrap();
        let bytes = pack("site", 1, &files(), &key).unwrap();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert!(Bundle::open(&altered, &[key.public()]).is_err(), "byte {at}");
        }
        for length in 0..bytes.len() {
            assert!(Bundle::open(&bytes[..length], &[key.public()]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn another_key_is_not_trusted() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let bytes = pack("site", 1, &files(), &key).unwrap();
        assert!(matches!(
            Bundle::open(&bytes, &[other.public()]),
            Err(BundleError::Signature { keys: 1 })
        ));
        assert!(Bundle::open(&bytes, &[other.public(), key.public()]).is_ok());
        assert!(Bundle::open(&bytes, &[]).is_err());
    }

    #[test]
    fn paths_do_not_lead_out() {
        let key = SigningKey::generate().unwrap();
        for path in ["../x", "/etc/x", "a/../../x", "", "a\\b", "./x"] {
            let files = BTreeMap::from([(path.to_owned(), Vec::new())]);
            assert!(
                matches!(pack("site", 1, &files, &key), Err(BundleError::Path { .. })),
                "{path}"
            );
        }
    }

    #[test]
    fn an_older_bundle_is_refused_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundles.json");
        let key = SigningKey::generate().unwrap();
        let (old, new) = (bundle(1, &files(), &key), bundle(2, &files(), &key));
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.accept(&old).unwrap();
        ledger.accept(&new).unwrap();
        let mut ledger = Ledger::open(&path).unwrap();
        assert!(matches!(ledger.accept(&old), Err(BundleError::Older { serial: 1, seen: 2, .. })));
        ledger.accept(&new).unwrap();
        let mut other = files();
        other.insert("policies/b.yaml".to_owned(), Vec::new());
        assert!(matches!(
            ledger.accept(&bundle(2, &other, &key)),
            Err(BundleError::Changed { serial: 2, .. })
        ));
    }
}
