//! The guest's half without a machine: this kernel, but a root whose changes vanish, and mounts of its own.
//!
//! The root is an overlay of the machine's own, with the guest's files on top in memory. `/sys/fs/cgroup` shows only the
//! cgroup of this run as its root, so that a program attached to "the root" is confined to it.

use std::fs::{self, File, OpenOptions};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change};

use super::super::cpio;
use super::super::plan::Answer;
use super::output::Output;
use super::{finish, ground, live};

/// Names the folder of a native run to the first process of it.
pub const NATIVE: &str = "INTERDICT_NATIVE_RUN";

/// The folder, if this is a native run.
pub(super) fn asked_for() -> Option<PathBuf> {
    std::env::var_os(NATIVE).map(PathBuf::from)
}

/// Runs everything; answers the exit status of this process.
pub(super) fn run(work: &Path) -> i32 {
    let mut answer = Answer::default();
    let home = OpenOptions::new().write(true).open(work.join("disk"));
    let lived = prepare(work).and_then(|()| live(&mut answer, Output::to_standard_output()?));
    match finish(lived, &mut answer, || Ok(home?)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("native run: sending /out home: {error:#}");
            1
        }
    }
}

fn prepare(work: &Path) -> Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE.union(MountPropagationFlags::REC))?;
    let initrd = File::open(work.join("initrd"))?;
    let memory = work.join("memory");
    fs::create_dir(&memory)?;
    mount("memory", &memory, "tmpfs", MountFlags::empty(), Some(c"mode=755"))?;
    for name in ["upper", "work", "root"] {
        fs::create_dir(memory.join(name))?;
    }
    std::env::set_current_dir(&memory)?;
    let layers = c"lowerdir=/,upperdir=upper,workdir=work";
    mount("root", "root", "overlay", MountFlags::empty(), Some(layers))
        .context("an overlay of the root")?;
    let root = memory.join("root");
    mount_bind_recursive("/dev", root.join("dev"))?;
    // First in, then unpack: seen from outside, an absolute link in the overlay leads to the machine's own file.
    ground::enter(&root)?;
    cpio::unpack(&mut BufReader::with_capacity(1 << 20, initrd), Path::new("/"))?;
    // What a namespace has of its own, or must not share with the machine. Kernel messages and the rest of /dev are.
    ground::mount_some(|at| !["/dev", "/dev/pts", "/sys/kernel/debug"].contains(&at))
}
