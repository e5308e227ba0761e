//! Links that the loader library does not offer: of cgroup programs so that they can be pinned, of programs that are known by
//! their pin alone.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// `BPF_CGROUP_SYSCTL`.
const SYSCTL: u32 = 18;
/// `BPF_XDP`.
const XDP: u32 = 37;
/// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE`.
const XDP_GENERIC: u32 = 2;
const XDP_NATIVE: u32 = 4;

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
    pin(create(program, number(cgroup.as_raw_fd())?, SYSCTL, 0)?, path)
}

/// Attaches a pinned program to an interface by a link, in the driver if that can do it, and pins the link. Answers how.
///
/// # Errors
/// There is no such program or interface, or the kernel refuses.
pub fn pinned_interface(program: &Path, interface: &str, path: &Path) -> io::Result<&'static str> {
    let program = get(program)?;
    let index = fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?;
    let index = index.trim().parse().map_err(io::Error::other)?;
    match create(&program, index, XDP, XDP_NATIVE) {
        Ok(link) => pin(link, path).map(|()| "native"),
        Err(_) => pin(create(&program, index, XDP, XDP_GENERIC)?, path).map(|()| "generic"),
    }
}

fn number(descriptor: RawFd) -> io::Result<u32> {
    u32::try_from(descriptor).map_err(io::Error::other)
}

fn create(program: impl AsFd, target: u32, attach_type: u32, flags: u32) -> io::Result<OwnedFd> {
    let program = number(program.as_fd().as_raw_fd())?;
    let attributes = Create { program, target, attach_type, flags };
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
    let link = get(path)?;
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd()))?;
    Ok(!about.lines().any(|line| line == "ifindex:\t0" || line == "cgroup_id:\t0"))
}

/// Opens what is pinned there.
fn get(path: &Path) -> io::Result<OwnedFd> {
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
    Ok(unsafe { OwnedFd::from_raw_fd(got) })
}
