//! Digests of files that alerts are about.
//!
//! In: a path as a process saw it, and the inode the kernel decided on. Out: its SHA-256, if the path still leads to
//! that inode. Bounded in the size of a file and in bytes a second, so that nobody can keep the agent busy by touching
//! large files; what is past a bound is not known. Answers are kept while the file has not changed.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};

/// Longest file that is read.
const FILE_BYTES: u64 = 64 << 20;

/// Bytes read in one second of all files together, beyond the first file of the second.
const SECOND_BYTES: u64 = 64 << 20;

/// Cached answers.
const CACHED: usize = 1_024;

/// What makes a file another: device, inode, length, and when content and attributes changed.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

/// Digests by file.
#[derive(Debug)]
pub(super) struct Digests {
    proc: PathBuf,
    cache: HashMap<Stamp, String>,
    second: Instant,
    read_bytes: u64,
}

impl Digests {
    /// `proc` is `/proc`, except in tests.
    pub(super) fn new(proc: PathBuf) -> Self {
        Self { proc, cache: HashMap::new(), second: Instant::now(), read_bytes: 0 }
    }

    /// The digest of the file that process `pid` sees at `path`, if that is inode `inode`.
    pub(super) fn find(&mut self, pid: u32, path: &Path, inode: u64) -> Option<String> {
        let below = path.strip_prefix("/").ok()?;
        let seen = self.proc.join(pid.to_string()).join("root").join(below);
        // Only a plain file is opened: opening a device or a pipe could do something.
        let about = fs::symlink_metadata(&seen).ok()?;
        if !about.is_file() || about.ino() != inode {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(&seen, flags, Mode::empty()).ok()?);
        let about = file.metadata().ok()?;
        if !about.is_file() || about.ino() != inode || about.len() > FILE_BYTES {
            return None;
        }
        let stamp = (
            about.dev(),
            about.ino(),
            about.len(),
            about.mtime(),
            about.mtime_nsec(),
            about.ctime(),
            about.ctime_nsec(),
        );
        if let Some(known) = self.cache.get(&stamp) {
            return Some(known.clone());
        }
        if !self.may_read(about.len()) {
            return None;
        }
        let digest = digest(&mut file)?;
        if self.cache.len() >= CACHED {
            self.cache.clear();
        }
        self.cache.insert(stamp, digest.clone());
        Some(digest)
    }

    fn may_read(&mut self, bytes: u64) -> bool {
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.second = Instant::now();
            self.read_bytes = 0;
        }
        if self.read_bytes > 0 && self.read_bytes + bytes > SECOND_BYTES {
            return false;
        }
        self.read_bytes += bytes;
        true
    }
}

fn digest(file: &mut File) -> Option<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut left = FILE_BYTES + 1;
    loop {
        let count = file.read(&mut buffer).ok()?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        // It grows while it is read.
        left = left.checked_sub(count as u64)?;
    }
    Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("7/root/srv");
        fs::create_dir_all(&root).unwrap();
        (folder, root)
    }

    #[test]
    fn a_file_has_the_digest_of_its_content() {
        let (folder, root) = ground();
        fs::write(root.join("a"), "abc").unwrap();
        let inode = fs::metadata(root.join("a")).unwrap().ino();
        let mut digests = Digests::new(folder.path().to_owned());
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digests.find(7, Path::new("/srv/a"), inode).as_deref(), Some(expected));
        assert_eq!(digests.find(7, Path::new("/srv/a"), inode).as_deref(), Some(expected));
        fs::write(root.join("a"), "abcd").unwrap();
        assert_ne!(digests.find(7, Path::new("/srv/a"), inode).as_deref(), Some(expected));
    }

    #[test]
    fn another_inode_a_link_a_pipe_and_a_process_that_is_gone_have_none() {
        let (folder, root) = ground();
        fs::write(root.join("a"), "abc").unwrap();
        std::os::unix::fs::symlink("a", root.join("link")).unwrap();
        let pipe = root.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        let inode = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().ino();
        let mut digests = Digests::new(folder.path().to_owned());
        assert_eq!(digests.find(7, Path::new("/srv/a"), inode("a") + 1), None);
        for name in ["link", "pipe"] {
            assert_eq!(digests.find(7, &Path::new("/srv").join(name), inode(name)), None, "{name}");
        }
        assert_eq!(digests.find(8, Path::new("/srv/a"), inode("a")), None);
        assert_eq!(digests.find(7, Path::new("srv/a"), inode("a")), None);
    }

    #[test]
    fn one_second_has_a_budget_and_its_first_file_always_fits() {
        let mut digests = Digests::new(PathBuf::from("/proc"));
        assert!(digests.may_read(SECOND_BYTES + 1));
        assert!(!digests.may_read(1));
        digests.second = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        assert!(digests.may_read(1));
    }
}
