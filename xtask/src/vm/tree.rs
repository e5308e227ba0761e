//! What is in a guest's file system before it boots: enough of a Debian host that rules about one make sense.
//!
//! Programs come from this machine with their libraries and lie where they lie here; `/bin` is `/usr/bin` and so on.
//! The common commands are the real ones and not busybox, so that `cat` is `/usr/bin/cat` to a rule about programs.
//! Busybox stands in for what this machine does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::cpio::Archive;
use crate::run;

/// Where programs are looked for, here and in the guest.
pub const PATH: &[&str] =
    &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Beside coreutils, what a root shell on a host expects.
const COMMON: &[&str] = &[
    "dash", "bash", "grep", "sed", "ip", "mount", "umount", "unshare", "nsenter", "setpriv",
    "hostname", "mawk",
];

/// Directories that are links on a host whose `/usr` is merged.
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib64", "lib32"];

#[derive(Debug, Clone)]
enum Entry {
    Copy(PathBuf),
    Bytes { mode: u32, content: Vec<u8> },
    Link(String),
    Directory,
}

/// A file system under construction.
#[derive(Debug, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
    examined: BTreeSet<PathBuf>,
    brings_libraries: bool,
}

/// `usr/bin/cat` for `/bin/cat`: the name in the archive, with merged directories resolved.
fn place(path: &Path) -> Result<String> {
    let mut parts: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir => {
                parts.pop();
            }
            Component::Prefix(_) => bail!("{}: not a Unix path", path.display()),
        }
    }
    if parts.first().is_some_and(|first| MERGED.contains(&first.as_str())) {
        parts.insert(0, "usr".to_owned());
    }
    Ok(parts.join("/"))
}

/// A program by name, as a root shell would find it.
pub fn find_program(name: &str) -> Option<PathBuf> {
    PATH.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

fn is_elf(path: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 4];
    fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && magic == *b"\x7fELF"
}

impl Tree {
    /// What is put on top of this machine's own file system, where libraries are at hand.
    pub fn on_this_machine() -> Self {
        Self::default()
    }

    /// A host's file system without anything that is being tested.
    pub fn of_a_host() -> Result<Self> {
        let mut tree = Self { brings_libraries: true, ..Self::default() };
        for name in MERGED {
            tree.entries.insert((*name).to_owned(), Entry::Link(format!("usr/{name}")));
            tree.entries.insert(format!("usr/{name}"), Entry::Directory);
        }
        for name in ["newroot", "dev", "out", "usr/local/bin", "usr/local/sbin", "usr/src", "srv"] {
            tree.entries.insert(name.to_owned(), Entry::Directory);
        }
        for (path, mode, content) in ETC {
            tree.write(path, *mode, content.as_bytes());
        }
        let listed = run::text(Command::new("dpkg").args(["-L", "coreutils"]))?;
        let coreutils = listed.lines().map(Path::new).filter(|path| {
            path.parent().is_some_and(|folder| folder.ends_with("bin")) && path.is_file()
        });
        for path in coreutils {
            tree.program(path)?;
        }
        for name in COMMON {
            if let Some(path) = find_program(name) {
                tree.program(&path)?;
            }
        }
        tree.entries.insert("usr/bin/sh".to_owned(), Entry::Link("dash".to_owned()));
        tree.busybox()?;
        Ok(tree)
    }

    fn busybox(&mut self) -> Result<()> {
        let busybox = find_program("busybox").context("busybox-static is not installed")?;
        self.program(&busybox)?;
        for applet in run::text(Command::new(&busybox).arg("--list"))?.lines() {
            let taken = ["usr/bin", "usr/sbin"]
                .iter()
                .any(|folder| self.entries.contains_key(&format!("{folder}/{applet}")));
            if !taken {
                self.entries.insert(format!("usr/bin/{applet}"), Entry::Link("busybox".to_owned()));
            }
        }
        Ok(())
    }

    /// Whether the guest has something there.
    pub fn has(&self, path: &Path) -> bool {
        place(path).is_ok_and(|name| self.entries.contains_key(&name))
    }

    /// Puts bytes at a path.
    pub fn write(&mut self, path: &str, mode: u32, content: &[u8]) {
        let name = place(Path::new(path)).unwrap_or_else(|_| path.to_owned());
        self.entries.insert(name, Entry::Bytes { mode, content: content.to_vec() });
    }

    /// A program at the path where it lies here, with its libraries.
    pub fn program(&mut self, path: &Path) -> Result<()> {
        self.copy(path, path)
    }

    /// A file or folder of this machine at some path; programs in it bring their libraries.
    pub fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let kind = fs::symlink_metadata(from).with_context(|| from.display().to_string())?;
        if kind.is_dir() {
            self.entries.entry(place(to)?).or_insert(Entry::Directory);
            let mut entries = fs::read_dir(from)?.collect::<std::io::Result<Vec<_>>>()?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                self.copy(&entry.path(), &to.join(entry.file_name()))?;
            }
            return Ok(());
        }
        if kind.is_symlink() {
            let target = fs::canonicalize(from).with_context(|| from.display().to_string())?;
            if from == to && !target.is_dir() {
                // Keep the link, so that the program has the name it really has.
                if place(&target)? != place(to)? {
                    let link = format!("/{}", place(&target)?);
                    self.entries.insert(place(to)?, Entry::Link(link));
                }
                return self.copy(&target, &target);
            }
            return self.copy(&target, to);
        }
        if !kind.is_file() {
            bail!("{} is neither a file nor a directory", from.display());
        }
        self.entries.insert(place(to)?, Entry::Copy(from.to_path_buf()));
        self.libraries(from)
    }

    /// Adds what the dynamic linker would load for a program, as `ldd` tells.
    fn libraries(&mut self, program: &Path) -> Result<()> {
        if !self.brings_libraries
            || !self.examined.insert(program.to_path_buf())
            || !is_elf(program)
        {
            return Ok(());
        }
        // Not a dynamic program: ldd says so with a failure.
        let Ok(text) = run::text(Command::new("ldd").arg(program)) else {
            return Ok(());
        };
        for library in text.lines().filter_map(library) {
            if !self.has(Path::new(library)) {
                let file = fs::canonicalize(library).with_context(|| library.to_owned())?;
                self.entries.insert(place(Path::new(library))?, Entry::Copy(file));
            }
        }
        Ok(())
    }

    /// Writes everything as the archive a kernel unpacks.
    pub fn archive<W: Write>(&self, sink: W) -> Result<W> {
        let mut archive = Archive::new(sink);
        // The kernel wants a console before anything is mounted.
        archive.directory("dev", 0o755)?;
        for (name, entry) in &self.entries {
            match entry {
                Entry::Directory => archive.directory(name, 0o755)?,
                Entry::Link(target) => archive.link(name, target)?,
                Entry::Bytes { mode, content } => archive.file(name, *mode, content)?,
                Entry::Copy(from) => {
                    let mode = fs::metadata(from)?.permissions().mode();
                    let content = fs::read(from).with_context(|| from.display().to_string())?;
                    archive.file(name, mode, &content)?;
                }
            }
        }
        Ok(archive.finish()?)
    }
}

/// The path in one line of `ldd`: `libc.so.6 => /lib/libc.so.6 (0x…)` or `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn library(line: &str) -> Option<&str> {
    let path = line.split_once("=>").map_or(line, |(_, path)| path).trim();
    let path = path.split_once(" (").map_or(path, |(path, _)| path);
    path.starts_with('/').then_some(path)
}

/// Files that a host has. The password hash is of nothing: no password gives it.
const ETC: &[(&str, u32, &str)] = &[
    (
        "/etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
         bin:x:2:2:bin:/bin:/usr/sbin/nologin\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\nuser:x:1000:1000:user:/home/user:/bin/sh\n",
    ),
    (
        "/etc/group",
        0o644,
        "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nshadow:x:42:\nnogroup:x:65534:\nuser:x:1000:\n",
    ),
    ("/etc/shadow", 0o640, "root:!:20000:0:99999:7:::\nuser:!:20000:0:99999:7:::\n"),
    ("/etc/gshadow", 0o640, "root:*::\nshadow:*::\nuser:!::\n"),
    ("/etc/sudoers", 0o440, "root ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n"),
    ("/etc/sudoers.d/README", 0o440, "# Local sudo rules go here.\n"),
    ("/etc/hostname", 0o644, "guest\n"),
    ("/etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 guest\n"),
    ("/etc/resolv.conf", 0o644, "nameserver 127.0.0.1\n"),
    ("/etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"),
    ("/etc/os-release", 0o644, "NAME=guest\nID=debian\nPRETTY_NAME=\"interdict test guest\"\n"),
    ("/etc/machine-id", 0o444, "4d1c0000000000000000000000000001\n"),
    ("/etc/crontab", 0o644, "# m h dom mon dow user command\n"),
    ("/etc/ssh/sshd_config", 0o644, "PermitRootLogin no\n"),
    ("/home/user/.profile", 0o644, "# ~/.profile\n"),
    ("/root/.profile", 0o644, "# ~/.profile\n"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_directories_have_one_name() {
        assert_eq!(place(Path::new("/bin/cat")).unwrap(), "usr/bin/cat");
        assert_eq!(place(Path::new("/usr/bin/../lib/x")).unwrap(), "usr/lib/x");
        assert_eq!(
            place(Path::new("/lib64/ld-linux-x86-64.so.2")).unwrap(),
            "usr/lib64/ld-linux-x86-64.so.2"
        );
        assert_eq!(place(Path::new("/library/x")).unwrap(), "library/x");
    }

    #[test]
    fn ldd_tells_paths_and_other_things() {
        assert_eq!(
            library("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)"),
            Some("/lib/x86_64-linux-gnu/libc.so.6")
        );
        assert_eq!(
            library("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)"),
            Some("/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007f)"), None);
        assert_eq!(library("\tstatically linked"), None);
    }

    #[test]
    fn a_program_brings_its_libraries_and_its_interpreter() {
        let mut tree = Tree { brings_libraries: true, ..Tree::default() };
        tree.program(Path::new("/usr/bin/cat")).unwrap();
        assert!(tree.has(Path::new("/usr/bin/cat")));
        assert!(tree.has(Path::new("/lib64/ld-linux-x86-64.so.2")));
    }
}
