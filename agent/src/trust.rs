//! Whose policies the agent accepts.
//!
//! Without keys: whatever lies in the folder of policies. With keys: one bundle, signed by one of them, of the stated
//! name, and never an older one than was accepted before. What is accepted is remembered before it is put in force, so
//! that nobody who can replace the file can bring an old policy back.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    alert::key::{KeyError, PublicKey},
    bundle::{Bundle, BundleError, Ledger},
    config::{BundleConfig, Config},
};

/// Why there are no policies that are trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A key cannot be read.
    #[error("bundles.keys: {0}")]
    Key(#[from] KeyError),
    /// The bundle is not accepted.
    #[error("{path}: {source}")]
    Bundle {
        /// Which.
        path: PathBuf,
        /// Why.
        source: BundleError,
    },
    /// Something else than one bundle.
    #[error(
        "{path}: only a signed bundle is accepted here (`bundles.keys` is set), found {found}; make one with `interdict bundle create`"
    )]
    NotOneBundle {
        /// Where.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// A bundle of another name.
    #[error("{path}: the bundle is called `{name}`, and `bundles.name` is `{expected}`")]
    Name {
        /// Which.
        path: PathBuf,
        /// Its name.
        name: String,
        /// The name that is accepted.
        expected: String,
    },
}

/// Whose policies are accepted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Anybody's who can write to the folder.
    Folder,
    /// Those in a bundle that one of these keys signed.
    Signed {
        /// The keys.
        keys: Vec<PublicKey>,
        /// The name the bundle must have.
        name: String,
        /// Where serials are remembered.
        ledger: PathBuf,
    },
}

/// A bundle that is trusted and not older than the last, and not yet remembered.
#[derive(Debug)]
pub struct Trusted {
    /// The bundle.
    pub bundle: Bundle,
    path: PathBuf,
    ledger: PathBuf,
}

impl Trust {
    /// What the configuration says.
    ///
    /// # Errors
    /// A key cannot be read.
    pub fn of(config: &Config) -> Result<Self, TrustError> {
        let Some(BundleConfig { keys, name }) = &config.bundles else { return Ok(Self::Folder) };
        let read = |text: &String| match PublicKey::parse(text) {
            Some(key) => Ok(key),
            None => PublicKey::open(Path::new(text)),
        };
        let keys = keys.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::Signed { keys, name: name.clone(), ledger: config.state.join("bundles.json") })
    }

    /// The bundle at `path`, a file or a folder that holds nothing else; `None` when none is asked for.
    ///
    /// # Errors
    /// It is not one bundle, or the bundle is not accepted.
    pub fn bundle(&self, path: &Path) -> Result<Option<Trusted>, TrustError> {
        let Self::Signed { keys, name, ledger } = self else { return Ok(None) };
        let file = the_bundle(path)?;
        let failed = |source| TrustError::Bundle { path: file.clone(), source };
        let bundle = Bundle::read(&file, keys).map_err(failed)?;
        if bundle.manifest().name != *name {
            return Err(TrustError::Name {
                path: file,
                name: bundle.manifest().name.clone(),
                expected: name.clone(),
            });
        }
        Ledger::open(ledger).and_then(|ledger| ledger.check(&bundle)).map_err(failed)?;
        Ok(Some(Trusted { bundle, path: file, ledger: ledger.clone() }))
    }
}

impl Trusted {
    /// Remembers the bundle: from now on no older one is accepted.
    ///
    /// # Errors
    /// The ledger cannot be written, or knows a newer one by now.
    pub fn remember(&self) -> Result<(), TrustError> {
        Ledger::open(&self.ledger)
            .and_then(|mut ledger| ledger.accept(&self.bundle))
            .map_err(|source| TrustError::Bundle { path: self.path.clone(), source })
    }
}

fn the_bundle(path: &Path) -> Result<PathBuf, TrustError> {
    let not_one = |found: String| TrustError::NotOneBundle { path: path.to_owned(), found };
    let is_bundle = |path: &Path| path.extension().is_some_and(|end| end == "bundle");
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let entries = fs::read_dir(path).map_err(|error| not_one(error.to_string()))?;
    let mut inside: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    inside.retain(|path| {
        path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.'))
    });
    inside.sort();
    match inside.as_slice() {
        [only] if is_bundle(only) => Ok(only.clone()),
        [] => Err(not_one("nothing".to_owned())),
        many => {
            let names: Vec<String> = many
                .iter()
                .take(8)
                .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
                .collect();
            Err(not_one(names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        alert::key::SigningKey,
        bundle::pack,
        policy::{Policy, PolicyError},
    };

    struct Ground {
        folder: tempfile::TempDir,
        key: SigningKey,
        trust: Trust,
    }

    fn ground() -> Ground {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("policies")).unwrap();
        let key = SigningKey::generate().unwrap();
        let trust = Trust::Signed {
            keys: vec![key.public()],
            name: "policies".to_owned(),
            ledger: folder.path().join("bundles.json"),
        };
        Ground { folder, key, trust }
    }

    const POLICY: &str = "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec:\n  lists:\n    bad: { type: cidr, feed: { file: bad.cidr } }\n  rules:\n    - { id: R, title: T, on: net.connect, when: net.dst.ip in bad, action: block }\n";

    impl Ground {
        fn policies(&self) -> PathBuf {
            self.folder.path().join("policies")
        }

        fn put(&self, name: &str, serial: u64, policy: &str, key: &SigningKey) {
            let files = BTreeMap::from([
                ("p.yaml".to_owned(), policy.as_bytes().to_vec()),
                ("bad.cidr".to_owned(), b"192.0.2.0/24\n".to_vec()),
            ]);
            let bytes = pack(name, serial, &files, key).unwrap();
            fs::write(self.policies().join("site.bundle"), bytes).unwrap();
        }

        fn open(&self) -> Result<Policy, PolicyError> {
            Policy::open(&self.policies(), &self.trust)
        }

        fn refused(&self) -> String {
            self.open().unwrap_err().to_string()
        }
    }

    #[test]
    fn a_signed_bundle_is_compiled_with_its_own_feeds() {
        let ground = ground();
        ground.put("policies", 1, POLICY, &ground.key);
        let policy = ground.open().unwrap();
        assert_eq!(policy.image.metadata().rules[0].id, "R");
        assert_eq!(policy.image.metadata().lists[0].entries, 1);
    }

    #[test]
    fn what_is_not_signed_by_a_trusted_key_is_refused() {
        let ground = ground();
        fs::write(ground.policies().join("p.yaml"), POLICY).unwrap();
        assert!(
            ground.refused().contains("only a signed bundle is accepted"),
            "{}",
            ground.refused()
        );
        // A file beside the bundle is not silently left out.
        ground.put("policies", 1, POLICY, &ground.key);
        assert!(ground.refused().contains("p.yaml, site.bundle"), "{}", ground.refused());
        fs::remove_file(ground.policies().join("p.yaml")).unwrap();
        ground.put("policies", 1, POLICY, &SigningKey::generate().unwrap());
        assert!(ground.refused().contains("none of the 1 trusted keys"), "{}", ground.refused());
        ground.put("testing", 9, POLICY, &ground.key);
        assert!(ground.refused().contains("called `testing`"), "{}", ground.refused());
        fs::remove_file(ground.policies().join("site.bundle")).unwrap();
        assert!(ground.refused().contains("found nothing"), "{}", ground.refused());
    }

    #[test]
    fn an_older_bundle_is_refused_once_a_newer_one_was_accepted_and_not_before() {
        let ground = ground();
        ground.put("policies", 5, POLICY, &ground.key);
        let newer = ground.open().unwrap();
        // Not put in force yet: another may still come first.
        ground.put("policies", 4, POLICY, &ground.key);
        ground.open().unwrap();
        newer.remember().unwrap();
        assert!(ground.refused().contains("serial 4, but 5"), "{}", ground.refused());
        ground.put("policies", 5, POLICY, &ground.key);
        ground.open().unwrap().remember().unwrap();
        ground.put("policies", 5, &POLICY.replace("id: R", "id: S"), &ground.key);
        assert!(ground.refused().contains("with other content"), "{}", ground.refused());
        ground.put("policies", 6, &POLICY.replace("id: R", "id: S"), &ground.key);
        ground.open().unwrap();
    }

    #[test]
    fn a_bundle_that_does_not_compile_is_refused_and_not_remembered() {
        let ground = ground();
        ground.put("policies", 7, &POLICY.replace("net.dst.ip", "net.dst.pi"), &ground.key);
        assert!(ground.refused().contains("IDT0301"), "{}", ground.refused());
        ground.put("policies", 6, POLICY, &ground.key);
        ground.open().unwrap();
    }
}
