//! What throttles and snoozes hold back, kept through a crash.
//!
//! Counts of running periods are in memory; once a second, when they have changed, they are written to the state folder.
//! A run that ends in order tells them and leaves none behind. The one after a crash finds them and tells them as
//! `repeated` notices marked `interrupted`: so a crash loses the counts of at most a second, and never in silence.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::throttle::Held;
use crate::{alert::Notice, spool::disk::Disk};

/// The file of counts.
#[derive(Debug)]
pub(super) struct HeldBack {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    written: Vec<Held>,
}

impl HeldBack {
    pub(super) fn new(state: &Path, disk: Arc<dyn Disk>) -> Self {
        Self { path: state.join("held-back.json"), disk, written: Vec::new() }
    }

    /// What the run before held back and did not live to tell. What can't be read is not known.
    pub(super) fn interrupted(&mut self) -> Vec<Notice> {
        let text = fs::read(&self.path).unwrap_or_default();
        let found: Vec<Held> = serde_json::from_slice(&text).unwrap_or_default();
        self.written.clone_from(&found);
        found.into_iter().map(Held::interrupted).collect()
    }

    /// Writes the counts if they are others than before.
    pub(super) fn keep(&mut self, counts: Vec<Held>) {
        if counts == self.written {
            return;
        }
        match self.write(&counts) {
            Ok(()) => self.written = counts,
            Err(error) => tracing::warn!(%error, "cannot keep what is held back"),
        }
    }

    fn write(&self, counts: &[Held]) -> io::Result<()> {
        if counts.is_empty() {
            return self.disk.remove(&self.path);
        }
        let draft = self.path.with_extension("new");
        let mut file = self.disk.create(&draft)?;
        file.append(&serde_json::to_vec(counts)?)?;
        file.sync()?;
        self.disk.rename(&draft, &self.path)
    }
}
