//! The maps of the programs that guard the agent: what is told to them, and what an earlier agent left in them.
//!
//! They are pinned with the instance they belong to. Who is not trusted gets no descriptor of them once they are armed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData, MapError, MapInfo},
    programs::links::{FdLink, PinnedLink},
};
use interdict_abi::guard::{GuardId, GuardObject, GuardState, STANDING, names, objects, tasks};
use thiserror::Error;

use super::loader::{LoadError, open_map};

/// Why the guard could not be told, or asked.
#[derive(Debug, Error)]
pub enum GuardError {
    /// A map cannot be opened.
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
    /// A pinned link cannot be looked at.
    #[error("{path}: {source}")]
    Link {
        /// The pin.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Something that is guarded: what it is, why, and what people call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// The inode.
    pub object: GuardObject,
    /// A mask of `interdict_abi::guard::objects`.
    pub reasons: u32,
    /// Its path.
    pub path: PathBuf,
}

/// The guard of one instance.
pub struct Guard {
    directory: PathBuf,
    state: Array<MapData, GuardState>,
    objects: HashMap<MapData, GuardObject, u32>,
    tasks: HashMap<MapData, u32, u64>,
    ids: HashMap<MapData, GuardId, u32>,
    used: HashMap<MapData, [u8; 16], u64>,
}

fn refused(map: &'static str) -> impl FnOnce(MapError) -> GuardError {
    move |source| GuardError::Map { map, source }
}

fn map(directory: &Path, name: &'static str) -> Result<Map, GuardError> {
    Map::from_map_data(open_map(&directory.join("maps").join(name))?).map_err(refused(name))
}

fn hash<K: Pod, V: Pod>(
    directory: &Path,
    name: &'static str,
) -> Result<HashMap<MapData, K, V>, GuardError> {
    HashMap::try_from(map(directory, name)?).map_err(refused(name))
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Guard({})", self.directory.display())
    }
}

impl Guard {
    /// Opens the guard of the instance in `directory`.
    ///
    /// # Errors
    /// A map is gone, or the guard that is armed does not trust this process.
    pub fn open(directory: &Path) -> Result<Self, GuardError> {
        Ok(Self {
            directory: directory.to_owned(),
            state: Array::try_from(map(directory, names::STATE)?).map_err(refused(names::STATE))?,
            objects: hash(directory, names::OBJECTS)?,
            tasks: hash(directory, names::TASKS)?,
            ids: hash(directory, names::IDS)?,
            used: hash(directory, names::USED)?,
        })
    }

    /// The instance it belongs to.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it was told.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn state(&self) -> Result<GuardState, GuardError> {
        self.state.get(&0, 0).map_err(refused(names::STATE))
    }

    /// Tells it.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn tell(&mut self, state: GuardState) -> Result<(), GuardError> {
        self.state.set(0, state, 0).map_err(refused(names::STATE))
    }

    /// Guards these and nothing else. What was guarded before and still is stays so without a gap.
    ///
    /// # Errors
    /// The map is full or cannot be written.
    pub fn guard(&mut self, guarded: &[Guarded]) -> Result<(), GuardError> {
        for one in guarded {
            self.objects.insert(one.object, one.reasons, 0).map_err(refused(names::OBJECTS))?;
        }
        let keep: std::collections::HashSet<GuardObject> =
            guarded.iter().map(|one| one.object).collect();
        let stale: Vec<GuardObject> = self
            .objects
            .keys()
            .filter_map(Result::ok)
            .filter(|object| !keep.contains(object))
            .collect();
        for object in stale {
            let _gone = self.objects.remove(&object);
        }
        Ok(())
    }

    /// Why an inode is guarded, 0 if it is not.
    pub fn reasons(&self, object: &GuardObject) -> u32 {
        self.objects.get(object, 0).unwrap_or(0)
    }

    /// Trusts this process, in a guard that was loaded after it started.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn trust(&mut self, process: u32) -> Result<(), GuardError> {
        self.tasks.insert(process, u64::from(tasks::TRUSTED), 0).map_err(refused(names::TASKS))
    }

    /// Whether it is this guard that granted trust to a process that gave `word`. Whoever makes another guard's maps cannot
    /// know the word.
    pub fn granted(&self, process: u32, word: u64) -> bool {
        let expected = u64::from(tasks::TRUSTED) | word & !STANDING;
        self.tasks.get(&process, 0).is_ok_and(|found| found == expected)
    }

    /// Guards programs and maps by id, and every link and map that is pinned now.
    ///
    /// # Errors
    /// A pin cannot be looked at, or the map is full.
    pub fn guard_ids(&mut self, ids: &[GuardId]) -> Result<(), GuardError> {
        let mut all = ids.to_vec();
        for path in entries(&self.directory.join("maps")) {
            let info = MapInfo::from_pin(&path).map_err(refused("pinned"))?;
            all.push(GuardId { kind: GuardId::MAP, id: info.id() });
        }
        for path in entries(&self.directory.join("links")) {
            let failed = |error: aya::programs::links::LinkError| GuardError::Link {
                path: path.clone(),
                source: io::Error::other(error),
            };
            let link = FdLink::from(PinnedLink::from_pin(&path).map_err(failed)?);
            let info = link.info().map_err(failed)?;
            all.push(GuardId { kind: GuardId::LINK, id: info.id() });
            all.push(GuardId { kind: GuardId::PROGRAM, id: info.program_id() });
        }
        for id in all {
            self.ids.insert(id, 1, 0).map_err(refused(names::IDS))?;
        }
        Ok(())
    }

    /// When a token was used, seconds of wall time.
    pub fn used(&self, nonce: &[u8; 16]) -> Option<u64> {
        self.used.get(nonce, 0).ok()
    }

    /// Takes note that a token was used.
    ///
    /// # Errors
    /// It was used before, or the map is full.
    pub fn use_up(&mut self, nonce: &[u8; 16], now_s: u64) -> Result<(), GuardError> {
        const ONLY_IF_MISSING: u64 = 1;
        self.used.insert(nonce, now_s, ONLY_IF_MISSING).map_err(refused(names::USED))
    }

    /// Tokens that were used, for another instance to remember.
    pub fn all_used(&self) -> Vec<([u8; 16], u64)> {
        self.used.iter().filter_map(Result::ok).collect()
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
}

/// Reasons for which an inode is found where it was when the guard was armed.
pub const PLACED: u32 = objects::FILE | objects::TREE;
