//! Acts on files beyond reading and writing. Each leaves things as it found them when it went through, so that the same
//! script can be done again.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chroot, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::fs::{
    AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, XattrFlags, removexattr, setxattr, utimensat,
};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, mount_move, unmount};
use serde::{Deserialize, Serialize};

/// The extended attribute by which a list of access is changed.
const ACCESS: &str = "system.posix_acl_access";

/// What is tried with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileAct {
    /// Make a file that is not there.
    Create(String),
    /// Make a directory.
    MakeDirectory(String),
    /// Make a character device (the null device).
    MakeDevice(String),
    /// Make a symbolic link.
    LinkSymbolically(String),
    /// Give the first the second as another name.
    Link(String, String),
    /// Rename the first to the second.
    Rename(String, String),
    /// Remove a file.
    Remove(String),
    /// Cut a file off where it ends.
    Truncate(String),
    /// Set the permission bits to what they are.
    ChangeMode(String),
    /// Set the owner to what it is.
    ChangeOwner(String),
    /// Set its times to now.
    SetTimes(String),
    /// Set an extended attribute.
    SetAttribute(String),
    /// Remove an extended attribute, if it has it.
    RemoveAttribute(String),
    /// Set its list of access to what its permission bits say.
    SetAccess(String),
    /// Remove its list of access.
    RemoveAccess(String),
    /// Mount the first on the second.
    Mount(String, String),
    /// Run a program by the dynamic loader, which maps it: no program is executed but the loader.
    Load(String),
    /// Rename the first to the second and read it there.
    ReadRenamed(String, String),
    /// Read a file of the first directory, whose name is the third, rename the directory to the second, and read the file
    /// there.
    ReadMoved(String, String, String),
    /// Mount the first on the second, read the file there whose name is the fourth, move the mount to the third, and read the
    /// file there.
    ReadRemounted(String, String, String, String),
    /// The same in another mount namespace, whose files are read through `/proc`.
    ReadRemountedElsewhere(String, String, String, String),
    /// Make the first the root directory, read the second and the third there, and then write to the second.
    WriteRooted(String, String, String),
    /// Open a file, give up the right to open it by becoming another program, and read it through the descriptor: the
    /// program is the second.
    ReadInherited(String, String),
}

impl fmt::Display for FileAct {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(path) => write!(formatter, "create {path}"),
            Self::MakeDirectory(path) => write!(formatter, "make directory {path}"),
            Self::MakeDevice(path) => write!(formatter, "make device {path}"),
            Self::LinkSymbolically(path) => write!(formatter, "make symbolic link {path}"),
            Self::Link(from, to) => write!(formatter, "link {from} to {to}"),
            Self::Rename(from, to) => write!(formatter, "rename {from} to {to}"),
            Self::Remove(path) => write!(formatter, "remove {path}"),
            Self::Truncate(path) => write!(formatter, "truncate {path}"),
            Self::ChangeMode(path) => write!(formatter, "change mode of {path}"),
            Self::ChangeOwner(path) => write!(formatter, "change owner of {path}"),
            Self::SetTimes(path) => write!(formatter, "set times of {path}"),
            Self::SetAttribute(path) => write!(formatter, "set an attribute of {path}"),
            Self::RemoveAttribute(path) => write!(formatter, "remove an attribute of {path}"),
            Self::SetAccess(path) => write!(formatter, "set who may access {path}"),
            Self::RemoveAccess(path) => write!(formatter, "remove the list of access of {path}"),
            Self::Mount(from, to) => write!(formatter, "mount {from} on {to}"),
            Self::Load(path) => write!(formatter, "load {path}"),
            Self::ReadRenamed(from, to) => write!(formatter, "rename {from} to {to} and read it"),
            Self::ReadMoved(from, to, name) => {
                write!(formatter, "read {from}/{name}, rename {from} to {to} and read {to}/{name}")
            }
            Self::ReadRemounted(what, from, to, name) => {
                write!(
                    formatter,
                    "mount {what} on {from}, read {name}, move it to {to} and read it"
                )
            }
            Self::ReadRemountedElsewhere(what, from, to, name) => {
                write!(
                    formatter,
                    "mount {what} on {from} elsewhere, read {name}, move it to {to} and read it"
                )
            }
            Self::WriteRooted(root, path, other) => {
                write!(formatter, "read {path} and {other} below {root} and write to the first")
            }
            Self::ReadInherited(path, by) => write!(formatter, "open {path} and read it in {by}"),
        }
    }
}

/// The word that makes the performer read a descriptor to its end.
pub(super) const DRAIN: &str = "drain";

/// Tries it.
pub(super) fn attempt(act: &FileAct) -> io::Result<()> {
    match act {
        FileAct::Create(path) => {
            OpenOptions::new().write(true).create_new(true).open(path)?;
            fs::remove_file(path)
        }
        FileAct::MakeDirectory(path) => {
            fs::create_dir(path)?;
            fs::remove_dir(path)
        }
        FileAct::MakeDevice(path) => {
            let null = rustix::fs::makedev(1, 3);
            let kind = rustix::fs::FileType::CharacterDevice;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, 0o666.into(), null)?;
            fs::remove_file(path)
        }
        FileAct::LinkSymbolically(path) => {
            symlink("/dev/null", path)?;
            fs::remove_file(path)
        }
        FileAct::Link(from, to) => {
            fs::hard_link(from, to)?;
            fs::remove_file(to)
        }
        FileAct::Rename(from, to) => {
            fs::rename(from, to)?;
            fs::rename(to, from)
        }
        FileAct::Remove(path) => {
            fs::remove_file(path)?;
            fs::write(path, "content\n")
        }
        FileAct::Truncate(path) => {
            let bytes = fs::metadata(path)?.len();
            // By the descriptor of a file that is open for something else than truncating.
            rustix::fs::ftruncate(OpenOptions::new().write(true).open(path)?.as_fd(), bytes)?;
            Ok(())
        }
        FileAct::ChangeMode(path) => {
            let mode = fs::metadata(path)?.permissions().mode();
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        }
        FileAct::ChangeOwner(path) => {
            let about = fs::metadata(path)?;
            std::os::unix::fs::chown(path, Some(about.uid()), Some(about.gid()))
        }
        FileAct::SetTimes(path) => {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            let times = Timestamps { last_access: now, last_modification: now };
            Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
        }
        FileAct::SetAttribute(path) => {
            Ok(setxattr(path, "trusted.tried", b"yes", XattrFlags::empty())?)
        }
        FileAct::RemoveAttribute(path) => match removexattr(path, "trusted.tried") {
            Err(Errno::NODATA) => Ok(()),
            other => Ok(other?),
        },
        FileAct::SetAccess(path) => {
            // Version 2; owner, group, others: tag, permissions, nobody in particular.
            let mut list = 2_u32.to_le_bytes().to_vec();
            for (tag, permissions) in [(1_u16, 6_u16), (4, 4), (32, 4)] {
                list.extend(tag.to_le_bytes());
                list.extend(permissions.to_le_bytes());
                list.extend(u32::MAX.to_le_bytes());
            }
            Ok(setxattr(path, ACCESS, &list, XattrFlags::empty())?)
        }
        FileAct::RemoveAccess(path) => Ok(removexattr(path, ACCESS)?),
        FileAct::Mount(from, to) => {
            mount_bind(from, to)?;
            unmount(to, UnmountFlags::empty())?;
            Ok(())
        }
        FileAct::Load(path) => load(path),
        FileAct::ReadRenamed(from, to) => {
            fs::rename(from, to)?;
            let read = File::open(to);
            fs::rename(to, from)?;
            read.map(drop)
        }
        FileAct::ReadMoved(from, to, name) => {
            let (from, to) = (Path::new(from), Path::new(to));
            read_twice(&from.join(name))?;
            fs::rename(from, to)?;
            let read = File::open(to.join(name));
            fs::rename(to, from)?;
            read.map(drop)
        }
        FileAct::ReadRemounted(what, from, to, name) => {
            let (from, to) = (Path::new(from), Path::new(to));
            mount_bind(what, from)?;
            let read = read_twice(&from.join(name))
                .and_then(|()| Ok(mount_move(from, to)?))
                .and_then(|()| File::open(to.join(name)));
            for place in [from, to] {
                // On one of them nothing is mounted.
                let _unmounted = unmount(place, UnmountFlags::DETACH);
            }
            read.map(drop)
        }
        FileAct::ReadRemountedElsewhere(what, from, to, name) => {
            let mut elsewhere = Elsewhere::start(what, from, to)?;
            let seen =
                |place: &str| elsewhere.root().join(place.trim_start_matches('/')).join(name);
            let (before, after) = (seen(from), seen(to));
            elsewhere.next()?;
            read_twice(&before)?;
            elsewhere.next()?;
            File::open(after).map(drop)
        }
        FileAct::WriteRooted(root, path, other) => {
            chroot(root)?;
            std::env::set_current_dir("/")?;
            read_twice(Path::new(path))?;
            read_twice(Path::new(other))?;
            OpenOptions::new().append(true).open(path).map(drop)
        }
        FileAct::ReadInherited(path, by) => {
            let status = Command::new(by).arg(DRAIN).stdin(File::open(path)?).status()?;
            match status.code() {
                Some(0) => Ok(()),
                Some(code) => Err(io::Error::from_raw_os_error(code)),
                None => Err(io::Error::other(format!("{by} ended with {status}"))),
            }
        }
    }
}

/// What is remembered of a file is believed the second time.
fn read_twice(path: &Path) -> io::Result<()> {
    for _ in 0..2 {
        File::open(path)?;
    }
    Ok(())
}

/// A process in a mount namespace of its own, which mounts something and then moves it, each when it is told to.
struct Elsewhere {
    shell: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Elsewhere {
    fn start(what: &str, from: &str, to: &str) -> io::Result<Self> {
        const SCRIPT: &str = "read _; mount --bind \"$0\" \"$1\" || exit 1; echo mounted; \
                              read _; mount --move \"$1\" \"$2\" || exit 1; echo moved; read _";
        let mut shell = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, what, from, to])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = shell.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        Ok(Self { shell, said: BufReader::new(said).lines() })
    }

    /// Its root directory, as others reach it.
    fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.shell.id()))
    }

    /// Lets it do the next thing, and waits until it is done.
    fn next(&mut self) -> io::Result<()> {
        let mut asked = self.shell.stdin.as_ref().ok_or_else(|| io::Error::other("no input"))?;
        asked.write_all(b"\n")?;
        match self.said.next() {
            Some(line) => line.map(drop),
            None => Err(io::Error::other("the other namespace is gone")),
        }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.shell.stdin.take());
        let _status = self.shell.wait();
    }
}

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn load(path: &str) -> io::Result<()> {
    let output = Command::new(LOADER).arg(path).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    // The loader does not always say why.
    if complaint.contains("failed to map segment") {
        return Err(rustix::io::Errno::PERM.into());
    }
    Err(io::Error::other(complaint))
}

/// Reads standard input to its end. Answers the error number, or 0.
pub(super) fn drain() -> u8 {
    match io::stdin().read_to_end(&mut Vec::new()) {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().and_then(|errno| u8::try_from(errno).ok()).unwrap_or(99),
    }
}
