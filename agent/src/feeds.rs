//! Feeds that change while a policy is in force, and what is known of all lists: where they are from, how old they are,
//! since when they decide.
//!
//! A changed file of addresses is read, compared with what is in force, and the difference written into the image that
//! programs are reading (`interdict_rules::live`). Whatever else changes, or cannot be done so, is left to a reload. What
//! is in force is told to `interdict feeds` in a file of the runtime folder.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use interdict_rules::{
    live::{Feeds, Refused},
    meta::ListMeta,
    parse::{
        feed::{self, Addresses, FeedError},
        source::{Disk, Files},
    },
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    canary::Expected,
    kernel::slots::{Slots, SwapError},
};

/// Name of the file that tells what is in force.
pub const FILE: &str = "feeds.json";

/// Why a change has to be left to a reload.
#[derive(Debug, Error)]
pub enum FeedsError {
    /// It is not the file of a feed of addresses alone.
    #[error("{0} is no feed of addresses that can be changed by difference")]
    Other(PathBuf),
    /// It cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its lines are wrong.
    #[error("{path}: {source}")]
    Lines {
        /// Which.
        path: PathBuf,
        /// What.
        source: FeedError,
    },
    /// It cannot be done by difference.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The image cannot be written.
    #[error(transparent)]
    Slots(#[from] SwapError),
}

/// A list as it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListInForce {
    /// Its name.
    pub name: String,
    /// Its feed; empty for values that stand in policies.
    pub file: String,
    /// Entries of its feed and of its own.
    pub entries: u64,
    /// SHA-256 of the feed, hex.
    pub digest: String,
    /// When the feed's file was written, seconds since 1970.
    pub written: u64,
    /// Since when it is in force, likewise.
    pub since: u64,
    /// The last change by difference; absent since the last reload.
    pub difference: Option<Difference>,
}

/// A change that was made by difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Ranges that came. Entries that touch are one range.
    pub added: usize,
    /// Ranges that went.
    pub removed: usize,
    /// From the start of reading to the last address being in force, microseconds.
    pub took_us: u64,
    /// Of that, writing it to the kernel.
    pub writing_us: u64,
}

/// All lists in force.
#[derive(Debug, Default)]
pub struct FeedsInForce {
    feeds: Option<Feeds>,
    lists: Vec<ListInForce>,
}

/// What an agent has told in `folder`.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn told(folder: &Path) -> io::Result<Vec<ListInForce>> {
    Ok(serde_json::from_slice(&fs::read(folder.join(FILE))?)?)
}

fn seconds(when: SystemTime) -> u64 {
    when.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn written(file: impl AsRef<Path>) -> u64 {
    let about = fs::metadata(file).and_then(|about| about.modified());
    about.map(seconds).unwrap_or(0)
}

impl FeedsInForce {
    /// The lists of a policy that has come into force with slots of `slot_bytes`.
    pub fn of(lists: &[ListMeta], mut feeds: Option<Feeds>, slot_bytes: usize) -> Self {
        if let Some(feeds) = &mut feeds {
            feeds.grow_to(slot_bytes);
        }
        let since = seconds(SystemTime::now());
        let lists = lists.iter().map(|list| ListInForce {
            name: list.name.clone(),
            file: list.file.clone(),
            entries: list.entries,
            digest: list.digest.clone(),
            written: written(&list.file),
            since,
            difference: None,
        });
        Self { feeds, lists: lists.collect() }
    }

    /// The lists, by the order of policies.
    pub fn lists(&self) -> &[ListInForce] {
        &self.lists
    }

    /// Files of feeds that can be changed by difference.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.feeds.iter().flat_map(Feeds::sources).map(|source| source.file.as_path())
    }

    /// Tells what is in force in `folder`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn tell(&self, folder: &Path) -> io::Result<()> {
        let new = folder.join(format!("{FILE}.new"));
        fs::write(&new, serde_json::to_vec(&self.lists)?)?;
        fs::rename(new, folder.join(FILE))
    }

    /// Puts what is in changed files in force by difference. Answers the lists that changed. Nobody may compare the image
    /// with what is expected of it meanwhile: [hold](crate::canary::Canaries::hold) it.
    ///
    /// # Errors
    /// Policies have to be compiled again. Some of it may be in force then; every address is decided as by the files
    /// before or by the changed ones.
    pub fn change(
        &mut self,
        files: &BTreeSet<PathBuf>,
        slots: &mut Slots,
        expected: &mut Expected,
    ) -> Result<Vec<ListInForce>, FeedsError> {
        for file in files {
            let lists = self.lists.iter().filter(|list| Path::new(&list.file) == file).count();
            let can = self.files().filter(|one| one == file).count();
            if can == 0 || can != lists {
                return Err(FeedsError::Other(file.clone()));
            }
        }
        let start = Instant::now();
        let mut read = Vec::new();
        for source in self.feeds.iter().flat_map(Feeds::sources) {
            let Some(file) = files.get(&source.file) else { continue };
            let bytes = Disk.read(file);
            let bytes = bytes.map_err(|source| FeedsError::Read { path: file.clone(), source })?;
            let values = feed::read(&bytes, source.max);
            let (values, entries) =
                values.map_err(|source| FeedsError::Lines { path: file.clone(), source })?;
            let digest = Sha256::digest(&bytes);
            let in_force = ListInForce {
                name: source.list.clone(),
                file: file.display().to_string(),
                entries: source.own_entries + u64::from(entries),
                digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
                written: written(file),
                since: 0,
                difference: None,
            };
            read.push((in_force, values));
        }
        // After an error they would say something else than the image.
        let Some(mut feeds) = self.feeds.take() else { return Ok(Vec::new()) };
        let mut changed = Vec::new();
        for (mut list, values) in read {
            let mut difference = write(&mut feeds, &list.name, values, slots, expected)?;
            difference.took_us = micros(start);
            list.since = seconds(SystemTime::now());
            list.difference = Some(difference);
            if let Some(known) = self.lists.iter_mut().find(|known| known.name == list.name) {
                known.clone_from(&list);
            }
            changed.push(list);
        }
        self.feeds = Some(feeds);
        Ok(changed)
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Writes the difference that new values of a list make to the image in force.
fn write(
    feeds: &mut Feeds,
    list: &str,
    values: Addresses,
    slots: &mut Slots,
    expected: &mut Expected,
) -> Result<Difference, FeedsError> {
    let start = Instant::now();
    let mut change = feeds.begin(list, values)?;
    let mut writing_us = 0;
    while let Some(patch) = feeds.next(&mut change)? {
        slots.patch(&patch)?;
        writing_us = micros(start);
        if let Some(watch) = expected.watch() {
            watch.patched(&patch);
        }
        slots.settle()?;
        feeds.settled(&patch);
    }
    if let Some(watch) = expected.watch() {
        slots.seal(watch.sealed(feeds.length()))?;
    }
    Ok(Difference { added: change.added, removed: change.removed, took_us: 0, writing_us })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let list = ListMeta {
            name: "bad".to_owned(),
            file: "/nowhere/bad.cidr".to_owned(),
            entries: 3,
            digest: "ab".to_owned(),
            stale_after_seconds: 0,
        };
        let feeds = FeedsInForce::of(&[list], None, 0);
        feeds.tell(folder.path()).unwrap();
        assert_eq!(told(folder.path()).unwrap(), feeds.lists());
        assert_eq!(feeds.lists()[0].entries, 3);
    }
}
