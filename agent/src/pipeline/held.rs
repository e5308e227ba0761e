//! What throttles and snoozes hold back, kept through a crash.
//!
//! Counts of running periods are in memory; once a second, when they have changed, they are written to the state folder,
//! each time under the next number. A record that was only counted stays in the journal until the count of that number is
//! written: so an agent that is killed loses no count, and the next one counts none twice. A run that ends in order tells
//! its counts and leaves none behind. The one after a crash tells what it finds, as `repeated` notices marked
//! `interrupted`. Counts whose notice is on its way are kept with the number of that notice, until it is durable.
//!
//! A copy is in the runtime folder, which is memory: what happens to the disk meanwhile makes no count be told twice. The
//! newer of the two counts.

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
    copy: PathBuf,
    disk: Arc<dyn Disk>,
    /// The newest of what is written, in the copy at least.
    written: Kept,
    /// Whether the disk has that too.
    on_disk: bool,
    telling: Vec<Telling>,
}

const NAME: &str = "held-back.json";

impl HeldBack {
    /// Reads what the run before kept in `state`, and in `runtime`.
    pub(super) fn open(state: &Path, runtime: &Path, disk: Arc<dyn Disk>) -> Self {
        let (path, copy) = (state.join(NAME), runtime.join(NAME));
        let (kept, copied) = (read(&path), read(&copy));
        let on_disk = kept.number >= copied.number;
        let written = if on_disk { kept } else { copied };
        Self { path, copy, disk, written, on_disk, telling: Vec::new() }
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
        if running != self.written.running || self.telling != self.written.telling {
            let number = self.written.number + 1;
            let next = Kept { number, running, telling: self.telling.clone() };
            let copied = self.copy(&next);
            let stored = self.store(&next);
            if let (Err(error), Err(_)) = (&stored, &copied) {
                tracing::warn!(%error, "cannot keep what is held back");
                return false;
            }
            (self.written, self.on_disk) = (next, stored.is_ok());
        } else if !self.on_disk {
            self.on_disk = self.store(&self.written).is_ok();
        }
        true
    }

    /// Notices from this number on were lost: returns how many acts they would have told.
    pub(super) fn lost_from(&mut self, seq: u64) -> u64 {
        let (lost, kept): (Vec<Telling>, Vec<Telling>) =
            std::mem::take(&mut self.telling).into_iter().partition(|telling| telling.seq >= seq);
        self.telling = kept;
        lost.iter().map(|telling| telling.held.count()).sum()
    }

    /// Removes the files if everything is told.
    pub(super) fn finish(&mut self) {
        if !self.written.running.is_empty() || !self.written.telling.is_empty() {
            return;
        }
        let gone = !self.path.exists() || self.disk.remove(&self.path).is_ok();
        // An older one that stays on the disk must not be taken for the newest.
        if gone || self.on_disk {
            let _removed = fs::remove_file(&self.copy);
        }
    }

    fn copy(&self, kept: &Kept) -> io::Result<()> {
        let draft = self.copy.with_extension("new");
        fs::write(&draft, serde_json::to_vec(kept)?)?;
        fs::rename(&draft, &self.copy)
    }

    fn store(&self, kept: &Kept) -> io::Result<()> {
        let draft = self.path.with_extension("new");
        let mut file = self.disk.create(&draft)?;
        file.append(&serde_json::to_vec(kept)?)?;
        file.sync()?;
        self.disk.rename(&draft, &self.path)
    }
}

/// What can't be read is not known.
fn read(path: &Path) -> Kept {
    let text = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::spool::{
        disk::LocalDisk,
        faulty::{Fault, FaultyDisk},
    };

    fn held(count: u64) -> Held {
        let text = format!(
            r#"{{"rule":"R-1","subject":"","count":{count},"first":"2026-01-02T03:04:05.000000000Z","last":"2026-01-02T03:04:06.000000000Z"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn open(folder: &Path, disk: impl Disk + 'static) -> HeldBack {
        fs::create_dir_all(folder.join("run")).unwrap();
        HeldBack::open(folder, &folder.join("run"), Arc::new(disk))
    }

    /// What the next run would tell, by counts.
    fn found(folder: &Path) -> Vec<u64> {
        let next = open(folder, LocalDisk);
        next.interrupted("s", 9).iter().map(Held::count).collect()
    }

    #[test]
    fn whatever_the_disk_refuses_no_count_is_told_twice_or_forgotten() {
        for from in 0..24 {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path();
            let disk = FaultyDisk::failing_with(Fault::Between(from, from + 5), Errno::NOSPC);
            let mut kept = open(folder, disk);
            assert!(kept.keep(vec![held(1)], 0));
            assert_eq!(found(folder), [1], "{from}");
            assert!(kept.keep(vec![held(3)], 0));
            assert_eq!(found(folder), [3], "{from}");
            // On its way under the number 9, and another period has begun.
            kept.telling("s", 9, held(3));
            assert!(kept.keep(vec![held(2)], 8));
            assert_eq!(found(folder), [2], "{from}: alert 9 is durable");
            assert!(kept.keep(Vec::new(), 9));
            assert_eq!(found(folder), [0_u64; 0], "{from}");
            kept.finish();
            assert_eq!(found(folder), [0_u64; 0], "{from}");
        }
    }

    #[test]
    fn what_the_disk_did_not_take_at_first_it_gets_later() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut kept = open(folder, FaultyDisk::new(Fault::Once(0)));
        assert!(kept.keep(vec![held(1)], 0));
        assert!(kept.keep(vec![held(1)], 0));
        // The machine has started again: memory is gone.
        fs::remove_dir_all(folder.join("run")).unwrap();
        assert_eq!(found(folder), [1]);
    }
}
