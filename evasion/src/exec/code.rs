//! Code of a protected file that runs without an exec: a loader, maps that are or become executable.

use std::fs;

use crate::outcome::{Failure, Tried};
use crate::scene::Scene;
use crate::sys::{self, Mapping, call};
use crate::technique::Class::Exec;
use crate::technique::{Technique, document, must};

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// All of them.
pub const ALL: &[Technique] = &[
    must(Exec, "exec-loader", |scene| loaded(scene, LOADER)),
    must(Exec, "exec-copy-of-loader", |scene| {
        let copy = scene.work("loader");
        fs::copy(LOADER, &copy)?;
        loaded(scene, &copy)
    }),
    must(Exec, "exec-mapped", |scene| {
        let file = sys::open(scene.code(), libc::O_RDONLY)?;
        mapped(&file)
    }),
    must(Exec, "exec-mapped-hard-link", |scene| {
        let link = scene.work("link");
        fs::hard_link(scene.code(), &link)?;
        mapped(&sys::open(link, libc::O_RDONLY)?)
    }),
    must(Exec, "exec-mapped-then-protected", |scene| {
        let file = sys::open(scene.code(), libc::O_RDONLY)?;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&file);
        let mapping = Mapping::new(4096, libc::PROT_READ, libc::MAP_PRIVATE, raw)?;
        protected(&mapping)
    }),
    must(Exec, "exec-mapped-then-protected-by-key", |scene| {
        let file = sys::open(scene.code(), libc::O_RDONLY)?;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&file);
        let mapping = Mapping::new(4096, libc::PROT_READ, libc::MAP_PRIVATE, raw)?;
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        call!(SYS_pkey_mprotect, mapping.address, 4096, protection, -1)?;
        Ok(mapping.run() == 42)
    }),
    must(Exec, "exec-read-implies-exec", |scene| {
        const READ_IMPLIES_EXEC: i32 = 0x0040_0000;
        call!(SYS_personality, READ_IMPLIES_EXEC)?;
        let file = sys::open(scene.code(), libc::O_RDONLY)?;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&file);
        let mapping = Mapping::new(4096, libc::PROT_READ, libc::MAP_PRIVATE, raw)?;
        Ok(mapping.run() == 42)
    }),
    must(Exec, "exec-mapped-32-bit", |scene| {
        const MMAP: u32 = 90;
        let file = sys::open(scene.code(), libc::O_RDONLY)?;
        let protection = (libc::PROT_READ | libc::PROT_EXEC) as u32;
        let flags = libc::MAP_PRIVATE as u32;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&file) as u32;
        let arguments = [0, 4096, protection, flags, raw, 0_u32];
        let low = sys::low(sys::bytes_of(&arguments))?;
        let address = sys::call_32(MMAP, [low.address as u32, 0, 0])?;
        Ok(Mapping { address: address as usize, len_bytes: 4096 }.run() == 42)
    }),
    document(Exec, "exec-from-plain-memory", |scene| {
        // Read as data and copied: no file is behind what runs.
        let bytes = fs::read(scene.code())?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let mapping = Mapping::new(4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1)?;
        mapping.write(&bytes);
        protected(&mapping)
    }),
];

/// Whether the loader runs the dynamic program of the folder, which says what it is told to.
fn loaded(scene: &Scene, loader: &str) -> Tried {
    let output =
        std::process::Command::new(loader).arg(scene.file("echo")).arg(scene.token()).output()?;
    if scene.is_secret(&output.stdout) {
        return Ok(true);
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if complaint.contains("not permitted") {
        return Err(Failure::Errno(libc::EPERM));
    }
    Err(Failure::Broken(format!("{complaint} {}", output.status)))
}

/// Maps the page of code as code and runs it.
pub fn mapped(file: &std::os::fd::OwnedFd) -> Tried {
    let raw = std::os::fd::AsRawFd::as_raw_fd(file);
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    Ok(Mapping::new(4096, protection, libc::MAP_PRIVATE, raw)?.run() == 42)
}

/// Makes a mapping executable and runs it.
pub fn protected(mapping: &Mapping) -> Tried {
    call!(SYS_mprotect, mapping.address, 4096, libc::PROT_READ | libc::PROT_EXEC)?;
    Ok(mapping.run() == 42)
}
