//! Where one technique acts: its own protected files and their unprotected twin, a folder to work in, the addresses.
//!
//! Every technique has a folder of its own in both places, so that none spoils another's, and the content names
//! technique and place, so that whatever arrives can be told from anything else.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::outcome::{Failure, Tried};
use crate::sys::{self, call};

/// On the same file system as what is protected, so that links and renames reach it. Below it everything that techniques make, and the marks by which processes wait for each other.
pub const WORK: &str = "/srv/ev";
/// The copy of this program that rules let read what is protected.
pub const TRUSTED: &str = "/usr/local/bin/trusted";
/// More than a guest on a busy machine needs for anything that should happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The protected thing or its twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// What the policy is about.
    Vault,
    /// The same beside it, about which no rule is.
    Plain,
}

impl Place {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Vault, Self::Plain];

    /// As it is written on the command line and in paths.
    pub fn word(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Plain => "plain",
        }
    }

    /// The folder that a policy protects, or does not.
    pub fn root(self) -> &'static str {
        match self {
            Self::Vault => "/srv/vault",
            Self::Plain => "/srv/plain",
        }
    }

    /// The address that may not be reached, and one that may.
    pub fn address(self) -> [u8; 4] {
        match self {
            Self::Vault => [203, 0, 113, 66],
            Self::Plain => [203, 0, 113, 77],
        }
    }

    /// The same in IPv6.
    pub fn address_6(self) -> [u8; 16] {
        let last = if self == Self::Vault { 0x66 } else { 0x77 };
        [0x20, 0x01, 0x0d, 0xb8, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
    }

    /// The address beyond the gate whose packets may not come in, and one whose may.
    pub fn peer(self) -> [u8; 4] {
        match self {
            Self::Vault => [198, 51, 100, 66],
            Self::Plain => [198, 51, 100, 77],
        }
    }

    /// The same in IPv6.
    pub fn peer_6(self) -> [u8; 16] {
        let last = if self == Self::Vault { 0x66 } else { 0x77 };
        [0x20, 0x01, 0x0d, 0xb8, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
    }
}

/// What one technique is given.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The technique's name.
    pub name: &'static str,
    /// Its number in the list, for ports of its own.
    pub number: u16,
    /// What it goes for.
    pub place: Place,
}

impl Scene {
    /// The technique's own folder in its place.
    pub fn folder(&self) -> String {
        let root = match self.place {
            // Rules only tell of what is read there.
            Place::Vault if self.name.starts_with("obs-") => "/srv/watched",
            place => place.root(),
        };
        format!("{root}/{}", self.name)
    }

    /// A file of the folder.
    pub fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.folder())
    }

    /// The file whose content must not be had or changed.
    pub fn secret(&self) -> String {
        self.file("secret")
    }

    /// What is in it.
    pub fn token(&self) -> String {
        format!("EV:{}:{};", self.name, self.place.word())
    }

    /// The program that must not run: a copy of the beacon.
    pub fn program(&self) -> String {
        self.file("program")
    }

    /// A page of code that must not run: answers 42.
    pub fn code(&self) -> String {
        self.file("code")
    }

    /// A path in a folder that is this technique's alone, made on first use, and protected by nothing.
    pub fn work(&self, name: &str) -> String {
        let folder = format!("{WORK}/work/{}-{}", self.name, self.place.word());
        let _ = fs::create_dir_all(&folder);
        format!("{folder}/{name}")
    }

    fn mark(&self, kind: &str) -> PathBuf {
        let folder = Path::new(WORK).join(kind);
        let _ = fs::create_dir_all(&folder);
        folder.join(format!("{}-{}", self.name, self.place.word()))
    }

    /// Where the beacon of this place leaves its mark.
    pub fn ran(&self) -> PathBuf {
        self.mark("ran")
    }

    /// Says that the technique has done what it does before rules are in force, and waits until they are.
    ///
    /// It sleeps in the opening of a pipe that nobody writes to yet: many wait while an agent starts.
    pub fn enforced(&self) -> Result<(), Failure> {
        let go = sys::text(self.mark("go").as_os_str().as_encoded_bytes());
        match call!(SYS_mknod, &go, libc::S_IFIFO | 0o600, 0) {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error.into()),
            _ => fs::write(self.mark("ready"), "")?,
        }
        sys::open(go.as_bytes(), libc::O_RDONLY)?;
        Ok(())
    }

    /// Whether the technique waits now.
    pub fn is_ready(&self) -> bool {
        self.mark("ready").exists()
    }

    /// Lets it go on, and whoever of its processes comes to wait while the answer is held.
    pub fn go(&self) -> io::Result<OwnedFd> {
        let go = self.mark("go");
        // Also for reading, so that it does not wait for a reader itself.
        sys::open(go.as_os_str().as_encoded_bytes(), libc::O_RDWR)
    }

    /// Where an early technique's line goes.
    pub fn line(&self) -> PathBuf {
        self.mark("line")
    }

    /// Whether what was had is the content that must not be had.
    pub fn is_secret(&self, bytes: &[u8]) -> bool {
        // Without its end, which shells take for one of theirs.
        let token = self.token();
        let token = token.trim_end_matches(';').as_bytes();
        bytes.windows(token.len()).any(|window| window == token)
    }

    /// Reads a descriptor and looks whether the secret comes out.
    pub fn read(&self, file: &OwnedFd) -> Tried {
        let mut bytes = [0_u8; 4096];
        let length = call!(SYS_pread64, file, &mut bytes[..], 4096, 0)?;
        Ok(self.is_secret(&bytes[..length as usize]))
    }

    /// Opens for reading and looks whether the secret comes out.
    pub fn read_path(&self, path: impl AsRef<[u8]>) -> Tried {
        self.read(&sys::open(path, libc::O_RDONLY)?)
    }

    /// Whether the protected file still has its content; to change it is what writers are after. The trusted program
    /// looks, since we may not.
    pub fn is_changed(&self) -> Tried {
        let looked = std::process::Command::new(TRUSTED).args(["show", &self.secret()]).output()?;
        Ok(!looked.status.success() || looked.stdout != self.token().as_bytes())
    }

    /// Runs a program of the folder's kind by path and looks whether it ran.
    pub fn run(&self, path: &str) -> Tried {
        self.ran_after(|| exec(path, &[path]))
    }

    /// Whether the beacon ran in a child that does this: by its mark, or by the number it ends with.
    pub fn ran_after(&self, start: impl FnOnce() -> Failure) -> Tried {
        let _ = fs::remove_file(self.ran());
        let reached = child(|| Err(start()));
        let marked = self.ran().exists();
        match reached {
            Err(Failure::Broken(reason)) if reason == "status 42" => Ok(true),
            _ if marked => Ok(true),
            other => other,
        }
    }

    /// Whether the beacon has left its mark within a while; for helpers that the kernel starts.
    pub fn runs_soon(&self, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            if self.ran().exists() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// This process's own mounts, so that what is mounted ends with it.
    pub fn own_mounts(&self) -> Result<(), Failure> {
        call!(SYS_unshare, libc::CLONE_NEWNS)?;
        let root = sys::text("/");
        call!(SYS_mount, 0, &root, 0, libc::MS_REC | libc::MS_PRIVATE, 0)?;
        Ok(())
    }

    /// Mounts one path on another.
    pub fn bind(&self, from: &str, to: &str) -> Result<(), Failure> {
        let (from, to) = (sys::text(from), sys::text(to));
        call!(SYS_mount, &from, &to, 0, libc::MS_BIND | libc::MS_REC, 0)?;
        Ok(())
    }

    /// Mounts a file system.
    pub fn mount(&self, kind: &str, to: &str, options: &str) -> Result<(), Failure> {
        let (kind, to, options) = (sys::text(kind), sys::text(to), sys::text(options));
        call!(SYS_mount, &kind, &to, &kind, 0, &options)?;
        Ok(())
    }
}

/// Waits for something that happens, at most so long.
pub fn wait_until(at_most: Duration, happened: impl Fn() -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + at_most;
    while !happened() {
        if Instant::now() > deadline {
            return Err(Failure::Broken("what was waited for did not happen".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Replaces this process; returns only if that failed.
pub fn exec(path: &str, arguments: &[&str]) -> Failure {
    use std::os::unix::process::CommandExt as _;
    let mut words = arguments.iter();
    let mut command = std::process::Command::new(path);
    command.arg0(words.next().copied().unwrap_or(path));
    command.args(words);
    Failure::from(command.exec())
}

const REACHED: i32 = 0;
const MISSED: i32 = 1;
const ERRNO: i32 = 64;

/// Does it in a child process and answers what it answered.
pub fn child(act: impl FnOnce() -> Tried) -> Tried {
    wait(fork(act)?)
}

/// Starts a child that does it; [`wait`] answers what it answered.
pub fn fork(act: impl FnOnce() -> Tried) -> Result<i32, Failure> {
    // SAFETY: this process has one thread wherever it forks, so the child may do anything.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error().into());
    }
    if pid == 0 {
        sys::exit(status(&act()));
    }
    Ok(pid)
}

/// The exit status that tells an answer to [`wait`].
pub fn status(tried: &Tried) -> i32 {
    match tried {
        Ok(true) => REACHED,
        Ok(false) => MISSED,
        Err(Failure::Errno(errno)) => ERRNO + errno,
        Err(Failure::Signal(_) | Failure::Broken(_)) => 2,
        Err(Failure::Unsupported(_)) => 3,
    }
}

/// What a child came to.
pub fn wait(pid: i32) -> Tried {
    let mut status = 0_i32;
    call!(SYS_wait4, pid, sys::into(&mut status), 0, 0)?;
    if libc::WIFSIGNALED(status) {
        return Err(Failure::Signal(libc::WTERMSIG(status)));
    }
    match libc::WEXITSTATUS(status) {
        REACHED => Ok(true),
        MISSED => Ok(false),
        3 => Err(Failure::Unsupported("as its child says".to_owned())),
        code if code >= ERRNO => Err(Failure::Errno(code - ERRNO)),
        code => Err(Failure::Broken(format!("status {code}"))),
    }
}

/// `/proc/self/fd/N` of a descriptor.
pub fn descriptor_path(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
