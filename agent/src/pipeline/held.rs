//! What throttles and snoozes hold back, kept through a crash.
//!
//! Counts of running periods are in memory; once a second, when they have changed, they are written to the state folder,
//! each time under the next number. A record that was only counted stays in the journal until the count of that number is
//! written: so an agent that is killed loses no count, and the next one counts none twice. A run that ends in order tells
//! its counts and leaves none behind. The one after a crash tells what it finds, as `repeated` notices marked
//! `interrupted`. Counts whose notice is on its way are kept with the number of that notice, until it is durable.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::throttle::Held;
use crate::spool::disk::Disk;

/// What the file holds.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    number: u64,
    running: Vec<Held>,
    telling: Vec<Telling>,
}

/// A count whose notice has this number in the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Telling {
    stream: String,
    seq: u64,
    held: Held,
}

/// The file of counts.
#[derive(Debug)]
pub(super) struct HeldBack {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    written: Kept,
    telling: Vec<Telling>,
}

impl HeldBack {
    pub(super) fn open(state: &Path, disk: Arc<dyn Disk>) -> Self {
        let path = state.join("held-back.json");
        let text = fs::read(&path).unwrap_or_default();
        // What can't be read is not known.
        let written = serde_json::from_slice(&text).unwrap_or_default();
        Self { path, disk, written, telling: Vec::new() }
    }

    /// The number of what is written.
    pub(super) fn number(&self) -> u64 {
        self.written.number
    }

    /// What the run before held back and did not live to tell. `seq` is the last alert of `stream` that is durable.
    pub(super) fn interrupted(&self, stream: &str, seq: u64) -> Vec<Held> {
        let told = |telling: &&Telling| telling.stream == stream && telling.seq <= seq;
        let telling = self.written.telling.iter().filter(|telling| !told(telling));
        telling.map(|telling| &telling.held).chain(&self.written.running).cloned().collect()
    }

    /// The notice of this count will have this number.
    pub(super) fn telling(&mut self, stream: &str, seq: u64, held: Held) {
        self.telling.push(Telling { stream: stream.to_owned(), seq, held });
    }

    /// Writes the counts that run and those that are on their way, if they are others than before; `durable` is the last
    /// alert that is. Returns whether they are written now.
    pub(super) fn keep(&mut self, running: Vec<Held>, durable: u64) -> bool {
        self.telling.retain(|telling| telling.seq > durable);
        if running == self.written.running && self.telling == self.written.telling {
            return true;
        }
        let number = self.written.number + 1;
        let next = Kept { number, running, telling: self.telling.clone() };
        let outcome = self.write(&next);
        if let Err(error) = &outcome {
            tracing::warn!(%error, "cannot keep what is held back");
        }
        let written = outcome.is_ok();
        if written {
            self.written = next;
        }
        written
    }

    /// Notices from this number on were lost: returns how many acts they would have told.
    pub(super) fn lost_from(&mut self, seq: u64) -> u64 {
        let (lost, kept): (Vec<Telling>, Vec<Telling>) =
            std::mem::take(&mut self.telling).into_iter().partition(|telling| telling.seq >= seq);
        self.telling = kept;
        lost.iter().map(|telling| telling.held.count()).sum()
    }

    /// Removes the file if everything is told.
    pub(super) fn finish(&mut self) {
        if self.written.running.is_empty() && self.written.telling.is_empty() && self.path.exists()
        {
            let _removed = self.disk.remove(&self.path);
        }
    }

    fn write(&self, kept: &Kept) -> io::Result<()> {
        let draft = self.path.with_extension("new");
        let mut file = self.disk.create(&draft)?;
        file.append(&serde_json::to_vec(kept)?)?;
        file.sync()?;
        self.disk.rename(&draft, &self.path)
    }
}
