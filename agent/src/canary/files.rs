//! Canaries on acts with files: each has a file or name of its own in the state folder.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::fd::AsFd as _,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        process::ExitStatusExt as _,
    },
    process::{Command, Stdio},
};

use interdict_abi::ids::Act;
use rustix::{
    fs::{AtFlags, CWD, FileType, Timespec, Timestamps, UTIME_NOW, XattrFlags},
    io::Errno,
};

use super::acts::{Canary, Places, always};
use crate::sys::attempt;

/// What is there, with its permission bits, so that acts have something to be about.
pub(super) const FILES: [(&str, u32); 13] = [
    ("file", 0o600),
    ("program", 0o700),
    ("renamed", 0o600),
    ("removed", 0o600),
    ("mode", 0o600),
    ("times", 0o600),
    ("attribute", 0o600),
    ("cut", 0o600),
    ("cut-open", 0o600),
    ("mounted", 0o600),
    ("mapped", 0o700),
    ("protected", 0o700),
    ("loaded", 0o600),
];

macro_rules! canary {
    ($act:ident, $name:literal, $rule:literal, $file:literal, $attempt:expr) => {
        Canary {
            act: Act::$act,
            name: $name,
            rule: concat!("INTERDICT-CANARY-", $rule),
            when: |places| format!("file.path == {}", places.quoted($file)),
            possible: always,
            attempt: $attempt,
        }
    };
}

/// All of them.
pub(super) const CANARIES: &[Canary] = &[
    Canary {
        act: Act::Exec,
        name: "exec",
        rule: "INTERDICT-CANARY-EXEC",
        when: |places| format!("exec.path == {}", places.quoted("program")),
        possible: always,
        attempt: |places| {
            let mut command = Command::new(places.at("program"));
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let status = child.env_clear().spawn()?.wait()?;
            // A rule that kills matched as well.
            match status.signal() {
                Some(_) => Err(io::Error::from_raw_os_error(libc::EPERM)),
                None => Ok(()),
            }
        },
    },
    canary!(FileRead, "file.read", "READ", "file", |places| {
        File::open(places.at("file")).map(drop)
    }),
    canary!(FileWrite, "file.write", "WRITE", "file", |places| {
        OpenOptions::new().append(true).open(places.at("file")).map(drop)
    }),
    canary!(FileCreate, "file.create", "CREATE", "created", |places| {
        let path = places.at("created");
        let _left_by_an_earlier_one = fs::remove_file(&path);
        OpenOptions::new().write(true).create_new(true).open(&path)?;
        fs::remove_file(path)
    }),
    canary!(FileMkdir, "file.mkdir", "MKDIR", "folder", |places| {
        let path = places.at("folder");
        let _left_by_an_earlier_one = fs::remove_dir(&path);
        fs::create_dir(&path)?;
        fs::remove_dir(path)
    }),
    canary!(FileMknod, "file.mknod", "MKNOD", "pipe", |places| {
        let path = places.at("pipe");
        let _left_by_an_earlier_one = fs::remove_file(&path);
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0)?;
        fs::remove_file(path)
    }),
    canary!(FileSymlink, "file.symlink", "SYMLINK", "symlink", |places| {
        let path = places.at("symlink");
        let _left_by_an_earlier_one = fs::remove_file(&path);
        symlink("file", &path)?;
        fs::remove_file(path)
    }),
    canary!(FileLink, "file.link", "LINK", "link", |places| {
        let path = places.at("link");
        let _left_by_an_earlier_one = fs::remove_file(&path);
        fs::hard_link(places.at("loaded"), &path)?;
        fs::remove_file(path)
    }),
    canary!(FileRename, "file.rename", "RENAME", "renamed", |places| {
        let (here, there) = (places.at("renamed"), places.at("renamed-away"));
        if !here.exists() {
            let _left_by_an_earlier_one = fs::rename(&there, &here);
        }
        fs::rename(&here, &there)?;
        fs::rename(there, here)
    }),
    canary!(FileUnlink, "file.unlink", "UNLINK", "removed", |places| {
        let path = places.at("removed");
        if !path.exists() {
            File::create(&path)?;
        }
        fs::remove_file(&path)?;
        File::create(path).map(drop)
    }),
    canary!(FileSetattr, "file.setattr", "MODE", "mode", |places| {
        fs::set_permissions(places.at("mode"), Permissions::from_mode(0o600))
    }),
    canary!(FileSetattr, "file.setattr of times", "TIMES", "times", |places| {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        Ok(rustix::fs::utimensat(CWD, places.at("times"), &times, AtFlags::empty())?)
    }),
    canary!(FileSetattr, "file.setattr of attributes", "ATTRIBUTE", "attribute", |places| {
        // Not every file system keeps attributes; the hook is asked before it.
        match rustix::fs::setxattr(places.at("attribute"), "user.tried", b"", XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }),
    canary!(FileTruncate, "file.truncate", "TRUNCATE", "cut", |places| {
        attempt::truncate(&places.at("cut"), 0)
    }),
    canary!(FileTruncate, "file.truncate by descriptor", "TRUNCATE-OPEN", "cut-open", |places| {
        OpenOptions::new().write(true).open(places.at("cut-open"))?.set_len(0)
    }),
    canary!(FileMount, "file.mount", "MOUNT", "mounted", |places| {
        // From nowhere: the hook is asked before that is found out.
        match rustix::mount::mount_bind(places.at("nowhere"), places.at("mounted")) {
            Err(Errno::NOENT) => Ok(()),
            other => Ok(other?),
        }
    }),
    canary!(MmapExec, "mmap.exec", "MMAP", "mapped", |places| {
        let file = File::open(places.at("mapped"))?;
        attempt::apart(&|| attempt::map_as_code(file.as_fd(), false))
    }),
    canary!(MprotectExec, "mprotect.exec", "MPROTECT", "protected", |places| {
        let file = File::open(places.at("protected"))?;
        attempt::apart(&|| attempt::map_as_code(file.as_fd(), true))
    }),
    Canary {
        act: Act::ModuleLoad,
        name: "module.load",
        rule: "INTERDICT-CANARY-MODULE",
        when: |places| format!("file.path == {}", places.quoted("loaded")),
        possible: || Places::capable(CAP_SYS_MODULE),
        attempt: |places| attempt::load_module(File::open(places.at("loaded"))?.as_fd()),
    },
    Canary {
        act: Act::Kexec,
        name: "kexec",
        rule: "INTERDICT-CANARY-KEXEC",
        when: |places| format!("file.path == {}", places.quoted("loaded")),
        possible: || Places::capable(CAP_SYS_BOOT),
        attempt: |places| attempt::load_kernel(File::open(places.at("loaded"))?.as_fd()),
    },
];

const CAP_SYS_MODULE: u32 = 16;
const CAP_SYS_BOOT: u32 = 22;
