//! Other bytes in the same file.

use std::fs;

use crate::outcome::{Failure, Tried};
use crate::ring::{self, Entry, Ring};
use crate::scene::{Scene, child, descriptor_path};
use crate::sys::{self, Mapping, call};
use crate::technique::Class::FileWrite;
use crate::technique::{Technique, must, should};

const OTHER: &[u8] = b"changed";

/// All of them.
pub const ALL: &[Technique] = &[
    must(FileWrite, "write-open", |scene| {
        written(scene, &sys::open(scene.secret(), libc::O_WRONLY)?)
    }),
    must(FileWrite, "write-append", |scene| {
        written(scene, &sys::open(scene.secret(), libc::O_WRONLY | libc::O_APPEND)?)
    }),
    must(FileWrite, "write-open-truncating", |scene| {
        sys::open(scene.secret(), libc::O_WRONLY | libc::O_TRUNC)?;
        scene.is_changed()
    }),
    must(FileWrite, "write-read-only-truncating", |scene| {
        sys::open(scene.secret(), libc::O_RDONLY | libc::O_TRUNC)?;
        scene.is_changed()
    }),
    must(FileWrite, "write-truncate", |scene| {
        let path = sys::text(scene.secret());
        call!(SYS_truncate, &path, 0)?;
        scene.is_changed()
    }),
    must(FileWrite, "write-truncate-hard-link", |scene| {
        let link = scene.work("link");
        fs::hard_link(scene.secret(), &link)?;
        let path = sys::text(link);
        call!(SYS_truncate, &path, 0)?;
        scene.is_changed()
    }),
    must(FileWrite, "write-hard-link", |scene| {
        let link = scene.work("link");
        fs::hard_link(scene.secret(), &link)?;
        written(scene, &sys::open(link, libc::O_WRONLY)?)
    }),
    must(FileWrite, "write-symlink", |scene| {
        let link = scene.work("link");
        std::os::unix::fs::symlink(scene.secret(), &link)?;
        written(scene, &sys::open(link, libc::O_WRONLY)?)
    }),
    must(FileWrite, "write-bind", |scene| {
        scene.own_mounts()?;
        let to = scene.work("bound");
        fs::write(&to, "")?;
        scene.bind(&scene.secret(), &to)?;
        written(scene, &sys::open(to, libc::O_WRONLY)?)
    }),
    must(FileWrite, "write-chroot", |scene| {
        child(|| {
            let root = sys::text(scene.folder());
            call!(SYS_chroot, &root)?;
            call!(SYS_pwrite64, &sys::open("/secret", libc::O_WRONLY)?, OTHER, OTHER.len(), 0)?;
            Ok(true)
        })?;
        scene.is_changed()
    }),
    must(FileWrite, "write-descriptor-reopened", |scene| {
        let file = sys::open(scene.secret(), libc::O_PATH)?;
        written(scene, &sys::open(descriptor_path(&file), libc::O_WRONLY)?)
    }),
    must(FileWrite, "write-handle", |scene| {
        let handle = crate::read::Handle::of(&scene.secret())?;
        written(scene, &handle.open(libc::O_WRONLY)?)
    }),
    must(FileWrite, "write-shared-mapping", |scene| {
        mapped(scene, &sys::open(scene.secret(), libc::O_RDWR)?)
    }),
    must(FileWrite, "write-ring", |scene| {
        let ring = Ring::new(0)?;
        let file = ring::open(&ring, &scene.secret(), libc::O_WRONLY)?;
        through_ring(scene, &ring, std::os::fd::AsRawFd::as_raw_fd(&file))
    }),
    must(FileWrite, "write-fallocate", |scene| {
        let file = sys::open(scene.secret(), libc::O_WRONLY)?;
        let how = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        call!(SYS_fallocate, &file, how, 0, 4)?;
        scene.is_changed()
    }),
    must(FileWrite, "write-copy-file-range", |scene| {
        let from = other(scene)?;
        let to = sys::open(scene.secret(), libc::O_WRONLY)?;
        call!(SYS_copy_file_range, &from, 0, &to, 0, OTHER.len(), 0)?;
        scene.is_changed()
    }),
    must(FileWrite, "write-sendfile", |scene| {
        let from = other(scene)?;
        let to = sys::open(scene.secret(), libc::O_WRONLY)?;
        call!(SYS_sendfile, &to, &from, 0, OTHER.len())?;
        scene.is_changed()
    }),
    must(FileWrite, "write-splice", |scene| {
        let to = sys::open(scene.secret(), libc::O_WRONLY)?;
        let mut pipe = [0_i32; 2];
        call!(SYS_pipe2, sys::into(&mut pipe), 0)?;
        call!(SYS_write, pipe[1], OTHER, OTHER.len())?;
        call!(SYS_splice, pipe[0], 0, &to, 0, OTHER.len(), 0)?;
        scene.is_changed()
    }),
    must(FileWrite, "write-32-bit", |scene| {
        const OPEN: u32 = 5;
        let path = sys::low(sys::text(scene.secret()).as_bytes_with_nul())?;
        let file = sys::call_32(OPEN, [path.address as u32, libc::O_WRONLY as u32, 0])?;
        written(scene, &sys::owned(file.into()))
    }),
    must(FileWrite, "write-path-that-changes", |scene| {
        let harmless = scene.work("harmless");
        fs::write(&harmless, "harmless")?;
        crate::read::racing(&harmless, &scene.secret(), |path| {
            let file = call!(SYS_openat, libc::AT_FDCWD, path.address, libc::O_WRONLY, 0)?;
            let file = sys::owned(file);
            let is_secret = fs::read_link(descriptor_path(&file))? == *scene.secret();
            if is_secret { written(scene, &file) } else { Ok(false) }
        })
    }),
    must(FileWrite, "write-shell-redirect", |scene| {
        let script = "echo changed > \"$1\"";
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", script, "sh"])
            .arg(scene.secret())
            .output()?;
        if output.status.success() { scene.is_changed() } else { Err(Failure::Errno(libc::EPERM)) }
    }),
    should(FileWrite, "write-below-a-long-path", |scene| {
        std::env::set_current_dir(scene.folder())?;
        for _ in 0..30 {
            std::env::set_current_dir("d".repeat(200))?;
        }
        let file = sys::open("secret", libc::O_WRONLY)?;
        call!(SYS_pwrite64, &file, OTHER, OTHER.len(), 0)?;
        Ok(true)
    }),
];

fn other(scene: &Scene) -> Result<std::os::fd::OwnedFd, Failure> {
    fs::write(scene.work("other"), OTHER)?;
    Ok(sys::open(scene.work("other"), libc::O_RDONLY)?)
}

/// Writes and looks whether the file has changed.
pub fn written(scene: &Scene, file: &std::os::fd::OwnedFd) -> Tried {
    call!(SYS_pwrite64, file, OTHER, OTHER.len(), 0)?;
    scene.is_changed()
}

/// Writes by a shared mapping.
pub fn mapped(scene: &Scene, file: &std::os::fd::OwnedFd) -> Tried {
    let raw = std::os::fd::AsRawFd::as_raw_fd(file);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    Mapping::new(4096, protection, libc::MAP_SHARED, raw)?.write(OTHER);
    scene.is_changed()
}

/// Writes by a ring.
pub fn through_ring(scene: &Scene, ring: &Ring, file: i32) -> Tried {
    ring.act(Entry {
        opcode: ring::WRITE,
        file,
        address: ring::address(OTHER),
        length: OTHER.len() as u32,
        ..Entry::default()
    })?;
    scene.is_changed()
}
