//! Which inodes are guarded: the agent's program and libraries, its configuration, key, spool, policies, pins, the folders
//! on the way to them, and its cgroups.
//!
//! The kernel knows an inode by its file system's device. `stat` tells another one on file systems with several volumes
//! (btrfs), so it is read from the list of mounts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use interdict_abi::guard::{GuardObject, objects};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::{config::Config, kernel::guard::Guarded};

/// Folders in folders that are looked into.
const DEPTH: usize = 8;

/// Devices by mount, as the kernel encodes them.
#[derive(Debug)]
pub struct Mounts {
    devices: BTreeMap<u64, u64>,
}

impl Mounts {
    /// Reads the list of mounts of this process.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read() -> io::Result<Self> {
        Ok(Self { devices: parse(&fs::read_to_string("/proc/self/mountinfo")?) })
    }

    /// The inode that a path leads to.
    ///
    /// # Errors
    /// There is none.
    pub fn object(&self, path: &Path) -> io::Result<GuardObject> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let about = statx(CWD, path, AtFlags::empty(), wanted)?;
        let told = encoded(about.stx_dev_major.into(), about.stx_dev_minor.into());
        let device = self.devices.get(&about.stx_mnt_id).copied().unwrap_or(told);
        Ok(GuardObject { inode: about.stx_ino, device })
    }
}

/// `dev_t` as the kernel has it: 12 bits major, 20 bits minor.
fn encoded(major: u64, minor: u64) -> u64 {
    major << 20 | minor
}

fn parse(mounts: &str) -> BTreeMap<u64, u64> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let id = fields.next()?.parse().ok()?;
            let (major, minor) = fields.nth(1)?.split_once(':')?;
            Some((id, encoded(major.parse().ok()?, minor.parse().ok()?)))
        })
        .collect()
}

/// Collects what is guarded; one inode may be guarded for several reasons.
struct Collection<'a> {
    mounts: &'a Mounts,
    found: BTreeMap<(u64, u64), Guarded>,
}

impl Collection<'_> {
    fn add(&mut self, path: &Path, reasons: u32) -> io::Result<()> {
        let object = self.mounts.object(path)?;
        let place = self.found.entry((object.device, object.inode));
        let one = place.or_insert_with(|| Guarded { object, reasons: 0, path: path.to_owned() });
        one.reasons |= reasons;
        Ok(())
    }

    /// A folder, all folders in it, and the way to it.
    fn tree(&mut self, path: &Path, depth: usize) -> io::Result<()> {
        self.add(path, objects::TREE)?;
        if depth == 0 {
            self.way(path);
        }
        let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
        for entry in entries.filter_map(Result::ok) {
            let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if folder && depth < DEPTH {
                self.tree(&entry.path(), depth + 1)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> io::Result<()> {
        self.add(path, objects::FILE)?;
        self.way(path);
        Ok(())
    }

    fn way(&mut self, path: &Path) {
        let Ok(path) = fs::canonicalize(path) else { return };
        for folder in path.ancestors().skip(1) {
            let _unseen = self.add(folder, objects::WAY);
        }
    }
}

/// Everything of this agent that is guarded.
///
/// # Errors
/// Something of it is not there.
pub fn of_agent(config: &Config, mounts: &Mounts) -> io::Result<Vec<Guarded>> {
    let mut all = Collection { mounts, found: BTreeMap::new() };
    let program = fs::canonicalize("/proc/self/exe")?;
    all.add(Path::new("/proc/self/exe"), objects::CODE)?;
    all.file(&program)?;
    for library in mapped_code(&fs::read_to_string("/proc/self/maps")?) {
        if library != program {
            all.add(&library, objects::LIBRARY)?;
        }
    }
    if let Some(origin) = &config.origin {
        all.file(origin)?;
    }
    if let Some(key) = &config.protect.break_glass {
        all.file(key)?;
    }
    if config.protect.policies {
        if config.policies.is_dir() {
            all.tree(&config.policies, 0)?;
        } else {
            all.file(&config.policies)?;
        }
    }
    all.tree(&config.state, 0)?;
    all.tree(&config.spool_path(), 0)?;
    all.file(&config.key_path())?;
    if config.journal_path().exists() {
        all.file(&config.journal_path())?;
    }
    all.tree(&config.pins, 0)?;
    for folder in cgroups() {
        all.add(&folder, objects::CGROUP)?;
    }
    Ok(all.found.into_values().collect())
}

/// Files that are mapped executable, from `/proc/PID/maps`.
fn mapped_code(maps: &str) -> BTreeSet<PathBuf> {
    let code = maps.lines().filter_map(|line| {
        let (_, rest) = line.split_once(' ')?;
        let path = rest.splitn(5, ' ').nth(4)?.trim_start();
        (rest.get(2..3)? == "x" && path.starts_with('/')).then(|| PathBuf::from(path))
    });
    code.collect()
}

fn root_cgroup() -> Option<PathBuf> {
    crate::kernel::features::Features::find(Path::new("/sys/fs/bpf")).cgroup2
}

/// The device of cgroupfs, 0 if there is none.
pub fn cgroups_device(mounts: &Mounts) -> u64 {
    root_cgroup().and_then(|root| mounts.object(&root).ok()).map_or(0, |object| object.device)
}

/// The folders of this process's cgroup and of those around it, but the root one, which cannot be frozen.
fn cgroups() -> Vec<PathBuf> {
    let Some(root) = root_cgroup() else { return Vec::new() };
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return Vec::new();
    };
    let folder = root.join(path);
    folder
        .ancestors()
        .take_while(|above| *above != root && above.starts_with(&root))
        .map(Path::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_of_a_mount_is_read_from_the_list_of_mounts() {
        let mounts = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n";
        assert_eq!(parse(mounts), BTreeMap::from([(36, 98 << 20)]));
    }

    #[test]
    fn a_file_has_the_inode_that_stat_tells() {
        use std::os::unix::fs::MetadataExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        let object = Mounts::read().unwrap().object(file.path()).unwrap();
        assert_eq!(object.inode, file.path().metadata().unwrap().ino());
        assert_ne!(object.device, 0);
    }

    #[test]
    fn only_executable_mappings_of_files_are_code() {
        let maps = "\
            5500-5600 r--p 00000000 fe:00 12   /usr/bin/a\n\
            5600-5700 r-xp 00001000 fe:00 12   /usr/bin/a\n\
            7f00-7f10 r-xp 00000000 fe:00 13                         /lib/with space.so\n\
            7ffc-7ffd r-xp 00000000 00:00 0                          [vdso]\n\
            7ffd-7ffe rwxp 00000000 00:00 0 \n";
        let code: Vec<PathBuf> = mapped_code(maps).into_iter().collect();
        assert_eq!(code, [Path::new("/lib/with space.so"), Path::new("/usr/bin/a")]);
    }
}
