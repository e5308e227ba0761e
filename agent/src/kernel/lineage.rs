//! The agent's side of what processes descend from: see `ebpf/src/lineage.rs`.
//!
//! The kernel programs keep rows for whatever forks from a process that has one. The agent gives a row to what ran before,
//! once, from `/proc`, and takes rows over from an earlier instance. It only adds rows that are missing. A row whose
//! process was another one a moment ago is taken back: by the time the process started.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use aya::maps::{HashMap, Map, MapData, MapError};
use interdict_abi::{
    limits::{LINEAGE, PATH_BYTES, PROGRAMS},
    maps::{Lineage, ProgramPath, names, program_id},
};

use super::{
    labels::LabelError,
    loader::{Loaded, open_map},
};

/// `BPF_NOEXIST`.
const ONLY_IF_MISSING: u64 = 1;

/// Passes over `/proc` before it is left at that: what is still missing then is told as unknown.
const PASSES: usize = 16;

/// The lineage maps of an instance.
pub struct Lineages {
    programs: HashMap<MapData, u64, ProgramPath>,
    rows: HashMap<MapData, u32, Lineage>,
}

/// A process as `/proc` tells it.
struct Running {
    parent: u32,
    started: u64,
    program: Vec<u8>,
}

fn map(directory: &Path, name: &'static str) -> Result<Map, LabelError> {
    let data = open_map(&directory.join("maps").join(name))?;
    Map::from_map_data(data).map_err(|source| LabelError::Map { map: name, source })
}

impl Lineages {
    /// Opens those of `loaded`.
    ///
    /// # Errors
    /// A map is gone.
    pub fn open(loaded: &Loaded) -> Result<Self, LabelError> {
        Self::of(loaded.directory())
    }

    /// Opens those of the instance in `directory`.
    ///
    /// # Errors
    /// A map is gone, or was never there.
    pub fn of(directory: &Path) -> Result<Self, LabelError> {
        let refused = |map| move |source| LabelError::Map { map, source };
        let programs = map(directory, names::PROGRAMS)?;
        let rows = map(directory, names::LINEAGES)?;
        Ok(Self {
            programs: HashMap::try_from(programs).map_err(refused(names::PROGRAMS))?,
            rows: HashMap::try_from(rows).map_err(refused(names::LINEAGES))?,
        })
    }

    /// Takes over the rows of an earlier instance, for processes that have none here.
    pub fn take_over(&mut self, earlier: &Self) {
        for (id, path) in earlier.programs.iter().filter_map(Result::ok) {
            let _known = self.programs.insert(id, path, ONLY_IF_MISSING);
        }
        for (process, row) in earlier.rows.iter().filter_map(Result::ok) {
            let Some(before) = running(process) else { continue };
            if self.rows.insert(process, row, ONLY_IF_MISSING).is_ok() {
                self.keep_if_same(process, before.started);
            }
        }
    }

    /// Gives every process that runs a row, if it has none.
    ///
    /// # Errors
    /// `/proc` cannot be read, or a map refuses.
    pub fn seed(&mut self) -> Result<(), LabelError> {
        for _ in 0..PASSES {
            let all = all_running()?;
            let mut added = 0;
            for process in all.keys() {
                if self.rows.get(process, 0).is_err() {
                    added += usize::from(self.add(*process, &all)?);
                }
            }
            if added == 0 {
                break;
            }
        }
        self.sweep();
        Ok(())
    }

    fn add(&mut self, process: u32, all: &BTreeMap<u32, Running>) -> Result<bool, LabelError> {
        let Some(one) = all.get(&process) else { return Ok(false) };
        let mut row = Lineage { program: self.keep(&one.program)?, ..Lineage::default() };
        let mut found = BTreeSet::new();
        let mut passed = BTreeSet::from([process]);
        let mut at = one.parent;
        while let Some(ancestor) = all.get(&at) {
            if !passed.insert(at) {
                break;
            }
            // What an ancestor is known to descend from is better than what is left of it.
            if let Ok(known) = self.rows.get(&at, 0) {
                found.extend(known.ancestors.iter().copied().filter(|id| *id != 0));
                found.insert(known.program);
                row.lost |= known.lost;
                break;
            }
            found.insert(self.keep(&ancestor.program)?);
            at = ancestor.parent;
        }
        row.lost |= u64::from(found.remove(&0) || found.len() > LINEAGE);
        for (place, id) in row.ancestors.iter_mut().zip(found) {
            *place = id;
        }
        match self.rows.insert(process, row, ONLY_IF_MISSING) {
            Ok(()) => {}
            Err(error) => return missing(names::LINEAGES, error),
        }
        if !self.keep_if_same(process, one.started) {
            return Ok(false);
        }
        // An exec that came in between found no row to write to.
        while let Some(now) = running(process) {
            let program = self.keep(&now.program)?;
            // One that came later has written what the kernel saw.
            let seen = self.rows.get(&process, 0).is_ok_and(|now| now.program != row.program);
            if program == row.program || seen {
                break;
            }
            row.program = program;
            self.rows
                .insert(process, row, 0)
                .map_err(|source| LabelError::Map { map: names::LINEAGES, source })?;
        }
        Ok(true)
    }

    /// Takes a row back if its process is gone, or another one.
    fn keep_if_same(&mut self, process: u32, started: u64) -> bool {
        if running(process).is_some_and(|now| now.started == started) {
            return true;
        }
        let _gone = self.rows.remove(&process);
        false
    }

    /// Keeps a program's path; its id, 0 if it cannot be kept. A kernel thread's is empty.
    fn keep(&mut self, path: &[u8]) -> Result<u64, LabelError> {
        let mut kept = ProgramPath([0; PATH_BYTES]);
        let Some(place) = kept.0.get_mut(..path.len()) else { return Ok(0) };
        if path.len() == PATH_BYTES {
            return Ok(0);
        }
        place.copy_from_slice(path);
        let id = program_id(path);
        match self.programs.insert(id, kept, ONLY_IF_MISSING) {
            Ok(()) => Ok(id),
            Err(error) => {
                if missing(names::PROGRAMS, error).is_err() {
                    return Ok(0);
                }
                // Another path with this id may be there.
                Ok(if self.path(id).as_deref() == Some(path) { id } else { 0 })
            }
        }
    }

    /// What a process is known to run; empty for a program that goes by no name. `None`: that is not known.
    pub fn program(&self, process: u32) -> Option<Vec<u8>> {
        self.path(self.rows.get(&process, 0).ok()?.program)
    }

    /// The path kept under an id.
    pub fn path(&self, id: u64) -> Option<Vec<u8>> {
        if id == Lineage::NAMELESS {
            return Some(Vec::new());
        }
        let path = self.programs.get(&id, 0).ok()?;
        let end = path.0.iter().position(|byte| *byte == 0)?;
        Some(path.0[..end].to_vec())
    }

    /// Ids of the programs of all ancestors of a process. `None`: not all are known.
    pub fn ancestors(&self, process: u32) -> Option<Vec<u64>> {
        let row = self.rows.get(&process, 0).ok()?;
        let known = row.ancestors.iter().copied().take_while(|id| *id != 0).collect();
        (row.lost == 0).then_some(known)
    }

    /// Removes paths that nobody refers to, when half of the room is taken.
    fn sweep(&mut self) {
        let ids: Vec<u64> = self.programs.keys().filter_map(Result::ok).collect();
        if ids.len() < PROGRAMS as usize / 2 {
            return;
        }
        let rows = self.rows.iter().filter_map(Result::ok);
        let used: BTreeSet<u64> =
            rows.flat_map(|(_, row)| row.ancestors.into_iter().chain([row.program])).collect();
        for id in ids.iter().filter(|id| !used.contains(id)) {
            let _gone = self.programs.remove(id);
        }
    }
}

/// That a row is there already is no error.
fn missing(map: &'static str, error: MapError) -> Result<bool, LabelError> {
    match error {
        MapError::SyscallError(error)
            if error.io_error.kind() == std::io::ErrorKind::AlreadyExists =>
        {
            Ok(false)
        }
        source => Err(LabelError::Map { map, source }),
    }
}

fn all_running() -> Result<BTreeMap<u32, Running>, LabelError> {
    let entries = fs::read_dir("/proc")?.filter_map(Result::ok);
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(processes.filter_map(|process| Some((process, running(process)?))).collect())
}

fn running(process: u32) -> Option<Running> {
    let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
    let (parent, started) = parse(&stat)?;
    let program = fs::read_link(format!("/proc/{process}/exe"))
        .map(|path| {
            let path = path.as_os_str().as_bytes();
            path.strip_suffix(b" (deleted)").unwrap_or(path).to_vec()
        })
        .unwrap_or_default();
    Some(Running { parent, started, program })
}

/// Parent and start from `/proc/PID/stat`: the 2nd and the 20th field after the name, which is in parentheses.
fn parse(stat: &[u8]) -> Option<(u32, u64)> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    Some((parent, fields.nth(17)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_and_start_are_read_behind_a_name_with_parentheses() {
        let stat = b"42 (a) b) S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 99 1";
        assert_eq!(parse(stat), Some((7, 12345)));
        assert_eq!(parse(b"42 (a"), None);
    }

    #[test]
    fn ids_differ_by_length_and_by_every_byte() {
        let paths: [&[u8]; 5] = [b"/a", b"/a\0", b"/b", b"/usr/bin/cat", b"/usr/bin/caT"];
        let ids: BTreeSet<u64> = paths.iter().map(|path| program_id(path)).collect();
        assert_eq!(ids.len(), paths.len());
    }
}
