//! Labels of processes that ran before a policy was staged.
//!
//! The kernel programs label whatever forks and executes; what already runs is read from `/proc` and labelled with the
//! kernel's own engine on the new image. Rows are only added where none is (`BPF_NOEXIST`): the kernel's word, which
//! may come in between, is never overwritten. A pass that adds nothing proves that every process has its row: whoever
//! came during the pass was forked by a process that had one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use aya::maps::{HashMap, MapData, MapError};
use interdict_abi::{
    ids::Generation,
    image::header,
    limits::SET_WORDS,
    maps::{AncestorSet, ProcessKey, names},
};
use interdict_engine::{Memory, dfa};
use thiserror::Error;

use super::{
    arguments::Arguments,
    lineage::Lineages,
    loader::{LoadError, Loaded},
};

/// `BPF_NOEXIST`.
pub(super) const ONLY_IF_MISSING: u64 = 1;

/// Passes over `/proc` before giving up: each adds what the last one missed, so a second one is rare and a third rarer.
pub(super) const PASSES: usize = 64;

/// What can go wrong while labelling.
#[derive(Debug, Error)]
pub enum LabelError {
    /// A map is gone.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A map refused.
    #[error("map {map}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        source: MapError,
    },
    /// `/proc` cannot be read.
    #[error("/proc: {0}")]
    Proc(#[from] std::io::Error),
    /// Processes came faster than they could be labelled.
    #[error("processes still without labels after {PASSES} passes over /proc")]
    Restless,
}

/// The label maps of a loaded instance.
pub struct Labels {
    exes: HashMap<MapData, ProcessKey, u32>,
    ancestors: HashMap<MapData, ProcessKey, AncestorSet>,
    arguments: Arguments,
    lineages: Lineages,
}

/// A process as `/proc` tells it.
struct Running {
    program: Vec<u8>,
}

impl Labels {
    /// Opens the label maps of `loaded`.
    ///
    /// # Errors
    /// A map is gone.
    pub fn open(loaded: &Loaded) -> Result<Self, LabelError> {
        let refused = |map| move |source| LabelError::Map { map, source };
        Ok(Self {
            exes: HashMap::try_from(loaded.map(names::EXES)?).map_err(refused(names::EXES))?,
            ancestors: HashMap::try_from(loaded.map(names::ANCESTORS)?)
                .map_err(refused(names::ANCESTORS))?,
            arguments: Arguments::open(loaded)?,
            lineages: Lineages::open(loaded)?,
        })
    }

    /// Takes over what an earlier instance knows of the processes that run. One that knows nothing is no fault.
    pub fn take_over(&mut self, instance: &Path) {
        match Lineages::of(instance) {
            Ok(earlier) => self.lineages.take_over(&earlier),
            Err(error) => tracing::warn!(%error, "ancestors that have exited are not known"),
        }
    }

    /// Labels every process that runs under `generation`, whose image is `image`. `before` is the one in force, and what
    /// its image has at [`header::KEPT_ARGS`].
    ///
    /// # Errors
    /// A map is full or `/proc` cannot be read.
    pub fn seed(
        &mut self,
        generation: Generation,
        image: &[u8],
        before: (Generation, u32),
    ) -> Result<(), LabelError> {
        self.lineages.seed()?;
        self.arguments.seed(generation, image, before)?;
        let automaton = image.word(header::EXE_AUTOMATON);
        if automaton == 0 {
            return Ok(());
        }
        let sets = image.word(header::ANCESTOR_SETS);
        let mut rows = BTreeMap::new();
        for _ in 0..PASSES {
            let running = running()?;
            let labels: BTreeMap<u32, u32> = running
                .iter()
                .map(|(process, one)| {
                    // What the kernel saw it start is better than what `/proc` shows: a path that was arranged.
                    let kept = self.lineages.program(*process);
                    let program = kept.as_deref().unwrap_or(&one.program);
                    let label = dfa::walk(image, automaton, program);
                    (*process, label.unwrap_or(0))
                })
                .collect();
            let mut added = 0;
            'processes: for process in running.keys() {
                let key = ProcessKey { generation: generation.0, process: *process };
                let label = labels.get(process).copied().unwrap_or(0);
                added += usize::from(self.add_exe(key, label, *process)?);
                if sets != 0 {
                    // Without a row rules on ancestors decide by `on_fault`.
                    let Some(ids) = self.lineages.ancestors(*process) else { continue };
                    let mut set = [0; SET_WORDS];
                    for id in ids {
                        let row = rows.entry(id).or_insert_with(|| {
                            ancestor_row(image, automaton, sets, &self.lineages.path(id)?)
                        });
                        let Some(row) = row else { continue 'processes };
                        for (word, bits) in set.iter_mut().zip(row) {
                            *word |= *bits;
                        }
                    }
                    added += usize::from(self.add_ancestors(key, set, *process)?);
                }
            }
            if added == 0 {
                return Ok(());
            }
        }
        Err(LabelError::Restless)
    }

    fn add_exe(&mut self, key: ProcessKey, label: u32, process: u32) -> Result<bool, LabelError> {
        match self.exes.insert(key, label, ONLY_IF_MISSING) {
            Ok(()) => {
                if gone(process) {
                    let _none = self.exes.remove(&key);
                    return Ok(false);
                }
                Ok(true)
            }
            Err(error) => exists(names::EXES, error),
        }
    }

    fn add_ancestors(
        &mut self,
        key: ProcessKey,
        set: AncestorSet,
        process: u32,
    ) -> Result<bool, LabelError> {
        match self.ancestors.insert(key, set, ONLY_IF_MISSING) {
            Ok(()) => {
                if gone(process) {
                    let _none = self.ancestors.remove(&key);
                    return Ok(false);
                }
                Ok(true)
            }
            Err(error) => exists(names::ANCESTORS, error),
        }
    }

    /// Removes the rows of every generation but those in `keep`.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn sweep(&mut self, keep: &[Generation]) -> Result<(), LabelError> {
        let stale = |key: &ProcessKey| !keep.contains(&Generation(key.generation));
        let exes: BTreeSet<(u32, u32)> = keys(self.exes.keys(), stale);
        for (generation, process) in exes {
            let _none = self.exes.remove(&ProcessKey { generation, process });
        }
        let ancestors: BTreeSet<(u32, u32)> = keys(self.ancestors.keys(), stale);
        for (generation, process) in ancestors {
            let _none = self.ancestors.remove(&ProcessKey { generation, process });
        }
        self.arguments.sweep(keep);
        Ok(())
    }
}

pub(super) fn keys(
    keys: impl Iterator<Item = Result<ProcessKey, MapError>>,
    wanted: impl Fn(&ProcessKey) -> bool,
) -> BTreeSet<(u32, u32)> {
    keys.filter_map(Result::ok).filter(wanted).map(|key| (key.generation, key.process)).collect()
}

/// That a row is there already is as good as having added it.
pub(super) fn exists(map: &'static str, error: MapError) -> Result<bool, LabelError> {
    match error {
        MapError::SyscallError(error)
            if error.io_error.kind() == std::io::ErrorKind::AlreadyExists =>
        {
            Ok(false)
        }
        source => Err(LabelError::Map { map, source }),
    }
}

pub(super) fn gone(process: u32) -> bool {
    fs::symlink_metadata(format!("/proc/{process}")).is_err()
}

/// Every process there is.
fn running() -> Result<BTreeMap<u32, Running>, LabelError> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Kernel threads have no program: their label is that of the empty string.
        let program = fs::read_link(format!("/proc/{process}/exe"))
            .map(|path| without_suffix(path.as_os_str().as_bytes()).to_vec())
            .unwrap_or_default();
        found.insert(process, Running { program });
    }
    Ok(found)
}

/// `d_path` says " (deleted)" behind names that are gone; the kernel programs cut it off too.
fn without_suffix(path: &[u8]) -> &[u8] {
    path.strip_suffix(b" (deleted)").unwrap_or(path)
}

/// The ancestor predicates that hold of whoever descends from a program.
fn ancestor_row(image: &[u8], automaton: u32, sets: u32, program: &[u8]) -> Option<AncestorSet> {
    let label = dfa::walk(image, automaton, program)?;
    let mut row = [0; SET_WORDS];
    for (word, bits) in row.iter_mut().enumerate() {
        *bits = image.long(sets + label * SET_WORDS as u32 * 8 + word as u32 * 8);
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_among_those_that_run() {
        let running = running().unwrap();
        let this = running.get(&std::process::id()).unwrap();
        assert_eq!(this.program, std::env::current_exe().unwrap().as_os_str().as_bytes());
    }
}
