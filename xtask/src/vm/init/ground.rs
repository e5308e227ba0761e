//! The ground a guest stands on: a root file system of the kind a host has, everything mounted, modules loaded.
//!
//! The kernel unpacks into "rootfs", which cannot be left, moved or mounted elsewhere as a host's root can. So everything
//! moves to a tmpfs first.

use std::ffi::CStr;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change, mount_move};

use super::super::plan::INIT;

const NEW_ROOT: &str = "/newroot";
const SWITCHED: &str = "GUEST_ROOT_SWITCHED";

/// Moves to the tmpfs and starts this program again from there; returns in the second life.
pub(super) fn switch_root() -> Result<()> {
    if std::env::var_os(SWITCHED).is_some() {
        return Ok(());
    }
    fs::create_dir_all(NEW_ROOT)?;
    mount("root", NEW_ROOT, "tmpfs", MountFlags::empty(), Some(c"mode=755,size=90%"))?;
    for entry in fs::read_dir("/")? {
        let entry = entry?;
        if entry.path() != Path::new(NEW_ROOT) && entry.file_name() != "dev" {
            relocate(&entry.path(), &Path::new(NEW_ROOT).join(entry.file_name()))?;
        }
    }
    enter(Path::new(NEW_ROOT))?;
    Err(Command::new(INIT).env_clear().env(SWITCHED, "1").exec()).context("starting again")
}

/// Makes a mounted file system the root.
pub(super) fn enter(root: &Path) -> Result<()> {
    std::env::set_current_dir(root)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    std::env::set_current_dir("/")?;
    Ok(())
}

/// Copies and deletes: both are memory, and there may be little of it.
fn relocate(from: &Path, to: &Path) -> Result<()> {
    let kind = fs::symlink_metadata(from)?;
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else if kind.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            relocate(&entry.path(), &to.join(entry.file_name()))?;
        }
        fs::set_permissions(to, kind.permissions())?;
        return Ok(());
    } else {
        fs::copy(from, to)?;
    }
    fs::remove_file(from).with_context(|| format!("removing {}", from.display()))
}

struct Mount {
    kind: &'static str,
    at: &'static str,
    data: Option<&'static CStr>,
    flags: MountFlags,
}

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const SAFEST: MountFlags = SAFE.union(MountFlags::NOEXEC);

const MOUNTS: &[Mount] = &[
    Mount { kind: "proc", at: "/proc", data: None, flags: SAFEST },
    Mount { kind: "sysfs", at: "/sys", data: None, flags: SAFEST },
    Mount { kind: "devtmpfs", at: "/dev", data: Some(c"mode=755"), flags: MountFlags::NOSUID },
    Mount {
        kind: "devpts",
        at: "/dev/pts",
        data: Some(c"gid=5,mode=620"),
        flags: MountFlags::NOSUID,
    },
    Mount { kind: "tmpfs", at: "/dev/shm", data: Some(c"mode=1777"), flags: SAFE },
    Mount { kind: "tmpfs", at: "/run", data: Some(c"mode=755"), flags: SAFE },
    Mount { kind: "tmpfs", at: "/tmp", data: Some(c"mode=1777"), flags: SAFE },
    Mount { kind: "securityfs", at: "/sys/kernel/security", data: None, flags: SAFEST },
    Mount { kind: "debugfs", at: "/sys/kernel/debug", data: None, flags: SAFEST },
    Mount { kind: "tracefs", at: "/sys/kernel/tracing", data: None, flags: SAFEST },
    Mount { kind: "cgroup2", at: "/sys/fs/cgroup", data: Some(c"nsdelegate"), flags: SAFEST },
    Mount { kind: "bpf", at: "/sys/fs/bpf", data: Some(c"mode=700"), flags: SAFEST },
];

/// Mounts what systemd mounts on a host.
pub(super) fn mount_all() -> Result<()> {
    mount_change("/", MountPropagationFlags::SHARED.union(MountPropagationFlags::REC))?;
    mount_some(|_| true)?;
    for (link, target) in
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        symlink(target, Path::new("/dev").join(link))?;
    }
    Ok(())
}

/// Mounts those of them that are wanted, by where they go.
pub(super) fn mount_some(wanted: impl Fn(&str) -> bool) -> Result<()> {
    for Mount { kind, at, data, flags } in MOUNTS.iter().filter(|mount| wanted(mount.at)) {
        fs::create_dir_all(at)?;
        mount(*kind, *at, *kind, *flags, *data).with_context(|| format!("mounting {at}"))?;
    }
    Ok(())
}

/// Loads modules, in the order given.
pub(super) fn load_modules(modules: &[String]) -> Result<()> {
    for module in modules {
        let file = File::open(module).with_context(|| module.clone())?;
        match rustix::system::finit_module(&file, c"", 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("loading {module}")),
        }
    }
    Ok(())
}

/// The rest of what a host has when a service is started.
pub(super) fn settle() -> Result<()> {
    rustix::system::sethostname(b"guest")?;
    for (path, mode) in [("/root", 0o700), ("/etc/shadow", 0o640), ("/etc/gshadow", 0o640)] {
        if Path::new(path).exists() {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
    }
    for directory in
        ["/out", "/root", "/var/tmp", "/var/log", "/var/lib/interdict", "/opt", "/home", "/mnt"]
    {
        fs::create_dir_all(directory)?;
    }
    fs::set_permissions("/var/tmp", fs::Permissions::from_mode(0o1777))?;
    let status = Command::new("/usr/sbin/ip").args(["link", "set", "lo", "up"]).status()?;
    anyhow::ensure!(status.success(), "lo cannot be set up: {status}");
    std::env::set_current_dir("/root")?;
    Ok(())
}
