//! Tells the kernel programs which containers there are.
//!
//! In: the hierarchy of cgroups (v2), watched with inotify, and the files that runtimes keep. Out: a row for each
//! container under the id of its cgroup ([`row`]), and one for the host. A container is the topmost cgroup whose path
//! names one: what is below was made by what runs in it, or for it. Rows know nothing of policies, so they are there
//! before one that needs them is put in force, and stay across swaps. Until a container has its row, and for what its
//! row does not say, rules decide by `on_fault`; so a new cgroup is looked at when it is made, not when it acts.
//!
//! Names that are not there yet are looked for again, often at first. What inotify may have missed is found by walking
//! the whole hierarchy now and then. Without the agent rows stay as they are.

mod row;
mod watch;

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt::Display,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use interdict_abi::{limits::WORKLOADS, maps::Workload};

use self::watch::{Change, Watch};
use crate::enrich::{
    container::{self, Container},
    metadata::RuntimeFiles,
};

/// Time between two looks for names that are waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a container's names are waited for so closely.
const SOON: Duration = Duration::from_secs(5);

/// Time between two looks when they are late, or when something of them is still missing.
const LATE_EVERY: Duration = Duration::from_secs(5);

/// How long what is missing is looked for.
const LATE_FOR: Duration = Duration::from_secs(300);

/// Time between two walks over the whole hierarchy.
const WALK_EVERY: Duration = Duration::from_secs(10);

/// Directories looked at in one walk.
const WALK_LIMIT: usize = 50_000;

/// Where rows are kept.
pub trait Rows: Send {
    /// Why one could not be written.
    type Error: Display;
    /// Writes the row of a cgroup.
    ///
    /// # Errors
    /// There is no room.
    fn put(&mut self, cgroup: u64, row: &Workload) -> Result<(), Self::Error>;
    /// Removes one.
    fn remove(&mut self, cgroup: u64);
    /// The cgroups that have one.
    fn cgroups(&self) -> Vec<u64>;
}

/// What is told while the agent lives.
pub struct Workloads<R: Rows> {
    state: Arc<Mutex<State<R>>>,
}

impl<R: Rows + 'static> Workloads<R> {
    /// Writes the rows of all containers below `cgroups`, where cgroup v2 is mounted, and goes on doing so in a thread.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(cgroups: PathBuf, files: RuntimeFiles, rows: R) -> std::io::Result<Self> {
        let mut state = State::new(cgroups, files, rows);
        state.walk(Instant::now());
        let state = Arc::new(Mutex::new(state));
        let weak = Arc::downgrade(&state);
        std::thread::Builder::new().name("interdict-places".to_owned()).spawn(move || {
            // Ends with whoever has started it.
            while let Some(state) = weak.upgrade() {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.step(Instant::now());
                let (ready, pause) = (state.watch.ready(), state.pause(Instant::now()));
                drop(state);
                if let Some(ready) = ready {
                    watch::wait(&ready, pause);
                } else {
                    std::thread::sleep(pause);
                }
            }
        })?;
        Ok(Self { state })
    }

    /// Writes the rows of all containers elsewhere, from now on.
    pub fn move_to(&self, rows: R) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rows = rows;
        state.known.clear();
        state.walk(Instant::now());
    }
}

/// A container that has a row.
struct Known {
    path: PathBuf,
    container: Container,
    believed: bool,
    row: Workload,
    written: bool,
    since: Instant,
    looked: Instant,
}

struct State<R> {
    root: PathBuf,
    files: RuntimeFiles,
    rows: R,
    watch: Watch,
    known: HashMap<u64, Known>,
    walked: Option<Instant>,
    full: bool,
}

impl<R: Rows> State<R> {
    fn new(root: PathBuf, files: RuntimeFiles, rows: R) -> Self {
        Self {
            root,
            files,
            rows,
            watch: Watch::new(),
            known: HashMap::new(),
            walked: None,
            full: false,
        }
    }

    /// How long nothing has to be done if nothing happens.
    fn pause(&self, now: Instant) -> Duration {
        let due = |known: &Known| due(known, now).map(|at| at.saturating_duration_since(now));
        let names = self.known.values().filter_map(due).min();
        let walk = self
            .walked
            .map_or(Duration::ZERO, |walked| (walked + WALK_EVERY).saturating_duration_since(now));
        names.map_or(walk, |names| names.min(walk))
    }

    /// Does what is to be done.
    fn step(&mut self, now: Instant) {
        let mut missed = self.walked.is_none_or(|walked| now >= walked + WALK_EVERY);
        for change in self.watch.changes() {
            match change {
                Change::Made(path) => self.visit(path, now),
                Change::Gone(path) => self.forget(&path),
                Change::Missed => missed = true,
            }
        }
        if missed {
            self.walk(now);
        }
        let again: Vec<u64> = self
            .known
            .iter()
            .filter(|(_, known)| due(known, now).is_some_and(|at| at <= now))
            .map(|(cgroup, _)| *cgroup)
            .collect();
        for cgroup in again {
            self.learn(cgroup, now);
        }
    }

    /// Looks at the whole hierarchy, and removes the rows of what is not there any more.
    fn walk(&mut self, now: Instant) {
        self.walked = Some(now);
        if let Err(error) = self.rows.put(Workload::HOST, &row::of_host()) {
            tracing::error!(%error, "what runs in no container cannot be told");
        }
        self.visit(self.root.clone(), now);
        let gone = |known: &Known| fs::symlink_metadata(&known.path).is_err();
        let gone: Vec<PathBuf> = self
            .known
            .values()
            .filter(|known| gone(known))
            .map(|known| known.path.clone())
            .collect();
        for path in gone {
            self.forget(&path);
        }
        // Rows of an earlier agent, for what is gone since.
        for cgroup in self.rows.cgroups() {
            if cgroup != Workload::HOST && !self.known.contains_key(&cgroup) {
                self.rows.remove(cgroup);
            }
        }
        if self.full && self.known.values().all(|known| known.written) {
            self.full = false;
        }
    }

    /// Looks at a cgroup and, unless it is a container, at those below it.
    fn visit(&mut self, from: PathBuf, now: Instant) {
        let mut folders = vec![from];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            seen += 1;
            if seen > WALK_LIMIT {
                tracing::warn!(limit = WALK_LIMIT, "there are more cgroups than are looked at");
                return;
            }
            if let Some(container) = container::parse(&container::below(&self.root, &folder)) {
                self.meet(folder, container, now);
                continue;
            }
            // Watched first: what is made from now on is told, what was made before is listed.
            self.watch.add(&folder);
            folders.extend(container::folders_in(&folder));
        }
    }

    fn meet(&mut self, path: PathBuf, container: Container, now: Instant) {
        let Ok(data) = fs::metadata(&path) else { return };
        let cgroup = data.ino();
        if let Entry::Vacant(place) = self.known.entry(cgroup) {
            // Who may make entries in a directory may give them the names of other people's containers.
            let believed = path.parent().and_then(|parent| fs::metadata(parent).ok());
            let believed = believed.is_some_and(|parent| parent.uid() == trusted_owner());
            let (row, since, looked) = (Workload::NOTHING, now, now);
            place.insert(Known { path, container, believed, row, written: false, since, looked });
            self.learn(cgroup, now);
        }
    }

    /// Looks for what is not known yet, and writes the row if it says more than before.
    fn learn(&mut self, cgroup: u64, now: Instant) {
        let Some(known) = self.known.get_mut(&cgroup) else { return };
        known.looked = now;
        if let Some(metadata) = self.files.find(&known.container.id) {
            if known.container.pod_uid.is_empty() {
                known.container.pod_uid.clone_from(&metadata.pod_uid);
            }
            known.container.metadata = Some(metadata);
        }
        let row = row::of_container(&known.container, known.believed);
        if known.written && known.row == row {
            return;
        }
        known.row = row;
        match self.rows.put(cgroup, &known.row) {
            Ok(()) => known.written = true,
            Err(error) => {
                known.written = false;
                if !self.full {
                    self.full = true;
                    tracing::error!(
                        %error,
                        limit = WORKLOADS,
                        "a container cannot be told to the kernel programs: rules that name containers decide by on_fault"
                    );
                }
            }
        }
    }

    fn forget(&mut self, path: &Path) {
        let gone: Vec<u64> = self
            .known
            .iter()
            .filter(|(_, known)| known.path.starts_with(path))
            .map(|(cgroup, _)| *cgroup)
            .collect();
        for cgroup in gone {
            self.known.remove(&cgroup);
            self.rows.remove(cgroup);
        }
    }
}

/// When a container is to be looked at again. `None`: all is known, or it is no use any more.
fn due(known: &Known, now: Instant) -> Option<Instant> {
    let age = now.saturating_duration_since(known.since);
    let retry = !known.written || known.believed && row::is_incomplete(&known.row);
    let pause = match known.container.metadata {
        None if age < SOON && known.container.has_names() => LOOK_EVERY,
        Some(_) | None => LATE_EVERY,
    };
    (retry && (age < LATE_FOR || !known.written)).then(|| known.looked + pause)
}

/// Whose directories are believed: root's. In tests, ours.
fn trusted_owner() -> u32 {
    if cfg!(test) { rustix::process::geteuid().as_raw() } else { 0 }
}

#[cfg(test)]
mod tests;
