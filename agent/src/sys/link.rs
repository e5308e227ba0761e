//! Links of cgroup programs for which the loader library offers none that can be pinned.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// `BPF_CGROUP_SYSCTL`.
const SYSCTL: u32 = 18;

const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const LINK_CREATE: libc::c_long = 28;

/// The part of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Default)]
struct Create {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// The part of `union bpf_attr` for `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Pin {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// Attaches a program to the sysctls of a cgroup by a link, and pins that.
///
/// # Errors
/// The kernel refuses.
pub fn pinned_sysctl(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    path: &Path,
) -> io::Result<()> {
    pin(to_cgroup(program, cgroup, SYSCTL)?, path)
}

fn to_cgroup(program: impl AsFd, cgroup: impl AsFd, attach_type: u32) -> io::Result<OwnedFd> {
    let number = |descriptor: RawFd| u32::try_from(descriptor).map_err(io::Error::other);
    let attributes = Create {
        program: number(program.as_fd().as_raw_fd())?,
        target: number(cgroup.as_fd().as_raw_fd())?,
        attach_type,
        flags: 0,
    };
    // SAFETY: the attributes outlive the call and have the size that is told.
    let made = unsafe {
        libc::syscall(libc::SYS_bpf, LINK_CREATE, &raw const attributes, size_of::<Create>())
    };
    let made = RawFd::try_from(made).map_err(io::Error::other)?;
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let descriptor = u32::try_from(object.as_fd().as_raw_fd()).map_err(io::Error::other)?;
    let attributes = Pin { path: path.as_ptr() as u64, descriptor, flags: 0 };
    // SAFETY: the attributes and the path they point to outlive the call.
    let pinned =
        unsafe { libc::syscall(libc::SYS_bpf, OBJ_PIN, &raw const attributes, size_of::<Pin>()) };
    if pinned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a pinned link is still attached to what it was made for: links to cgroups and interfaces can be detached and
/// stay where they are pinned.
///
/// # Errors
/// There is no such pin.
pub fn is_attached(path: &Path) -> io::Result<bool> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Pin { path: path.as_ptr() as u64, descriptor: 0, flags: 0 };
    // SAFETY: the attributes and the path they point to outlive the call.
    let got =
        unsafe { libc::syscall(libc::SYS_bpf, OBJ_GET, &raw const attributes, size_of::<Pin>()) };
    let got = RawFd::try_from(got).map_err(io::Error::other)?;
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else knows.
    let link = unsafe { OwnedFd::from_raw_fd(got) };
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd()))?;
    Ok(!about.lines().any(|line| line == "ifindex:\t0" || line == "cgroup_id:\t0"))
}
