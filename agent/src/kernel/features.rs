//! What this host can do, as far as it can be known without trying.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::btf;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Features {
    /// Kernel release, as `uname -r`.
    pub kernel: String,
    /// Machine, as `uname -m`.
    pub machine: String,
    /// The active security modules, in order; `None` if securityfs does not tell.
    pub lsm: Option<Vec<String>>,
    /// Whether the kernel tells its types.
    pub btf: bool,
    /// Whether a BPF file system is mounted where pins go.
    pub bpffs: bool,
    /// Where cgroup v2 is mounted.
    pub cgroup2: Option<PathBuf>,
    /// Whether BPF programs are compiled to machine code.
    pub jit: bool,
    /// `kernel.ftrace_enabled`: at 0, LSM programs are silently not called.
    pub ftrace: Option<bool>,
}

impl Features {
    /// Looks around.
    pub fn find(pins: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let mounts = read("/proc/self/mounts").unwrap_or_default();
        Self {
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            machine: rustix::system::uname().machine().to_string_lossy().into_owned(),
            lsm: read("/sys/kernel/security/lsm")
                .map(|list| list.split(',').map(str::to_owned).collect()),
            btf: Path::new(btf::VMLINUX).exists(),
            bpffs: mount_of(&mounts, "bpf").is_some_and(|mount| pins.starts_with(mount)),
            cgroup2: mount_of(&mounts, "cgroup2"),
            jit: read("/proc/sys/net/core/bpf_jit_enable").as_deref() != Some("0"),
            ftrace: read("/proc/sys/kernel/ftrace_enabled").map(|value| value != "0"),
        }
    }
}

/// The first mount point of a file system type.
fn mount_of(mounts: &str, kind: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let mount = fields.nth(1)?;
        (fields.next()? == kind).then(|| PathBuf::from(mount))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_a_type_is_found_whatever_its_device_is_called() {
        let mounts = "bpf /elsewhere tmpfs rw 0 0\nnone /sys/fs/bpf bpf rw 0 0\n";
        assert_eq!(mount_of(mounts, "bpf"), Some(PathBuf::from("/sys/fs/bpf")));
        assert_eq!(mount_of(mounts, "cgroup2"), None);
    }
}
