//! What an instance has on the BPF file system, and how it goes away.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::MapData;
use interdict_abi::guard;

use super::{
    LoadError, MAPS, Options,
    interfaces::{BARE_PACKETS, PACKETS},
};
use crate::kernel::hooks::{Attach, Hook};

/// File name of the pinned program that learns names, in the instance's directory.
pub(super) const TEACHING: &str = "teaching";

/// Opens a pinned map.
///
/// # Errors
/// There is none.
pub fn open_map(path: &Path) -> Result<MapData, LoadError> {
    MapData::from_pin(path).map_err(|error| LoadError::Pin {
        path: path.display().to_string(),
        source: io::Error::other(error),
    })
}

/// Detaches the programs of an instance.
pub fn remove_links(directory: &Path) {
    let links = directory.join("links");
    if let Ok(entries) = fs::read_dir(&links) {
        for entry in entries.filter_map(Result::ok) {
            let _gone = fs::remove_file(entry.path());
        }
    }
}

/// Takes an instance away: links first, so that programs stop before the maps they read are gone.
pub fn remove_instance(directory: &Path) {
    for program in [TEACHING, PACKETS, BARE_PACKETS] {
        let _gone = fs::remove_file(directory.join(program));
    }
    for part in ["links", "maps"] {
        let inner = directory.join(part);
        if let Ok(entries) = fs::read_dir(&inner) {
            for entry in entries.filter_map(Result::ok) {
                let _gone = fs::remove_file(entry.path());
            }
        }
        let _gone = fs::remove_dir(&inner);
    }
    let _gone = fs::remove_dir(directory);
}

pub(super) fn map_paths(directory: &Path) -> BTreeMap<&'static str, PathBuf> {
    MAPS.iter().map(|name| (*name, directory.join("maps").join(name))).collect()
}

pub(super) fn pin_error(path: &Path) -> impl FnOnce(io::Error) -> LoadError + '_ {
    |source| LoadError::Pin { path: path.display().to_string(), source }
}

pub(super) fn link_names(hook: &Hook, options: &Options) -> Vec<String> {
    match hook.attach {
        Attach::Xdp => options
            .interfaces
            .iter()
            .map(|interface| format!("{}@{interface}", hook.program))
            .collect(),
        Attach::Lsm(_)
        | Attach::Entry(_)
        | Attach::Exit(_)
        | Attach::Tracepoint(_)
        | Attach::Cgroup
        | Attach::CgroupOut
        | Attach::CgroupIn
        | Attach::Sysctl => vec![hook.program.to_owned()],
    }
}

/// The maps that this process has open, by what `/proc` tells of its descriptors.
pub(super) fn open_maps() -> Vec<guard::GuardId> {
    let entries = fs::read_dir("/proc/self/fdinfo").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .filter_map(|about| {
            let id = about.lines().find_map(|line| line.strip_prefix("map_id:"))?;
            Some(guard::GuardId { kind: guard::GuardId::MAP, id: id.trim().parse().ok()? })
        })
        .collect()
}
