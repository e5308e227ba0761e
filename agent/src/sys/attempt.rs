//! Acts by which it is tried whether rules refuse them, as far as nothing safe does them. Each changes nothing that stays.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use libc::{c_int, c_long, c_void};

/// Bytes of the stack of a process that tries.
const STACK_BYTES: usize = 256 * 1024;

const PAGE_BYTES: usize = 4096;

/// What is to be done apart, and what came of it.
struct Job<'a> {
    what: &'a dyn Fn() -> io::Result<()>,
    error: c_int,
}

extern "C" fn run(job: *mut c_void) -> c_int {
    // SAFETY: `apart` hands over its job and waits.
    let job = unsafe { &mut *job.cast::<Job<'_>>() };
    job.error = match (job.what)() {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    0
}

/// Does something in a process of its own, which shares this one's memory: what it may not become this one does not
/// become either. One that is killed was refused.
///
/// # Errors
/// What was done failed, or no process can be had.
pub fn apart(what: &dyn Fn() -> io::Result<()>) -> io::Result<()> {
    let mut stack = vec![0_u128; STACK_BYTES / 16];
    let mut job = Job { what, error: libc::EPERM };
    let top = stack.as_mut_ptr_range().end;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is aligned and as large as said; this thread stands still until the process has ended.
    let process = unsafe { libc::clone(run, top.cast(), flags, (&raw mut job).cast()) };
    if process < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut status = 0;
    // SAFETY: the status is ours.
    let waited = unsafe { libc::waitpid(process, &raw mut status, 0) };
    if waited == process && libc::WIFSIGNALED(status) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    // SAFETY: the job is ours; volatile, because another process has written it.
    match unsafe { (&raw const job.error).read_volatile() } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// What a call came to; that it failed with one of `harmless`, for what is asked is impossible, is as good as that it
/// went through.
fn came_to(result: c_long, harmless: &[c_int]) -> io::Result<()> {
    if result >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(code) if harmless.contains(&code) => Ok(()),
        Some(_) | None => Err(error),
    }
}

fn closed(result: c_long, harmless: &[c_int]) -> io::Result<()> {
    if let Ok(descriptor) = c_int::try_from(result)
        && descriptor >= 0
    {
        // SAFETY: a new descriptor that nobody else knows.
        unsafe { libc::close(descriptor) };
    }
    came_to(result, harmless)
}

/// Cuts a file off, by its path.
///
/// # Errors
/// It was refused.
pub fn truncate(path: &Path, bytes: i64) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path outlives the call.
    came_to(c_long::from(unsafe { libc::truncate(path.as_ptr(), bytes) }), &[])
}

/// Maps a page of a file: as code, or, with `later`, as data that becomes code.
///
/// # Errors
/// It was refused.
pub fn map_as_code(file: BorrowedFd<'_>, later: bool) -> io::Result<()> {
    let (read, code) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_EXEC);
    let first = if later { read } else { code };
    let (none, descriptor) = (std::ptr::null_mut(), file.as_raw_fd());
    // SAFETY: a new mapping; nobody looks at it.
    let at = unsafe { libc::mmap(none, PAGE_BYTES, first, libc::MAP_PRIVATE, descriptor, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let changed = if later {
        // SAFETY: the mapping was made just now.
        came_to(c_long::from(unsafe { libc::mprotect(at, PAGE_BYTES, code) }), &[])
    } else {
        Ok(())
    };
    // SAFETY: as above.
    unsafe { libc::munmap(at, PAGE_BYTES) };
    changed
}

/// Has the kernel read a file as a module. It must be none.
///
/// # Errors
/// It was refused.
pub fn load_module(file: BorrowedFd<'_>) -> io::Result<()> {
    let none = c"";
    // SAFETY: the arguments outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), none.as_ptr(), 0) };
    came_to(result, &[libc::EINVAL, libc::ENOEXEC, libc::ENOSYS])
}

/// Has the kernel read a file as another kernel. It must be none.
///
/// # Errors
/// It was refused.
pub fn load_kernel(file: BorrowedFd<'_>) -> io::Result<()> {
    const NO_INITRAMFS: c_long = 4;
    let (none, descriptor) = (c"", c_long::from(file.as_raw_fd()));
    // SAFETY: the arguments outlive the call.
    let result = unsafe {
        let call = libc::SYS_kexec_file_load;
        libc::syscall(call, descriptor, -1 as c_long, 1 as c_long, none.as_ptr(), NO_INITRAMFS)
    };
    came_to(result, &[libc::EINVAL, libc::ENOEXEC, libc::EBUSY, libc::ENOSYS])
}

/// Asks bpf(2) for an iterator of no link.
///
/// # Errors
/// It was refused.
pub fn ask_bpf() -> io::Result<()> {
    const ITER_CREATE: c_long = 33;
    let attributes = [u32::MAX, 0];
    let size = size_of_val(&attributes);
    // SAFETY: the attributes outlive the call and have the size that is told.
    let result = unsafe { libc::syscall(libc::SYS_bpf, ITER_CREATE, attributes.as_ptr(), size) };
    closed(result, &[libc::EINVAL, libc::EBADF])
}

/// Asks for a performance event of no kind.
///
/// # Errors
/// It was refused.
pub fn ask_perf() -> io::Result<()> {
    // `perf_event_attr` of the first version: 64 bytes, a type that nothing has.
    let mut attributes = [0_u32; 16];
    attributes[0] = u32::MAX;
    attributes[1] = 64;
    let (all, any, none) = (-1 as c_long, 0 as c_long, 0 as c_long);
    // SAFETY: the attributes outlive the call and have the size that they tell.
    let result = unsafe {
        let call = libc::SYS_perf_event_open;
        libc::syscall(call, attributes.as_ptr(), any, all, all, none)
    };
    closed(result, &[libc::EINVAL, libc::ENOENT, libc::ENODEV, libc::EOPNOTSUPP])
}

/// Makes a timer that would wake the machine, and lets it go.
///
/// # Errors
/// It was refused.
pub fn ask_alarm() -> io::Result<()> {
    // SAFETY: takes no pointers.
    closed(c_long::from(unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME_ALARM, 0) }), &[])
}

/// Leaves the namespace of host names. To be done [`apart`].
///
/// # Errors
/// It was refused.
pub fn leave_names() -> io::Result<()> {
    // SAFETY: takes no pointers.
    came_to(c_long::from(unsafe { libc::unshare(libc::CLONE_NEWUTS) }), &[])
}

/// Becomes the user it is. To be done [`apart`]; by the call itself, because the library's concerns all threads.
///
/// # Errors
/// It was refused.
pub fn stay_user() -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    // SAFETY: takes no pointers.
    came_to(unsafe { libc::syscall(libc::SYS_setuid, own) }, &[])
}

/// Becomes of the group it is. As [`stay_user`].
///
/// # Errors
/// It was refused.
pub fn stay_group() -> io::Result<()> {
    let own = rustix::process::getegid().as_raw();
    // SAFETY: takes no pointers.
    came_to(unsafe { libc::syscall(libc::SYS_setgid, own) }, &[])
}

/// Becomes of the groups it is. As [`stay_user`].
///
/// # Errors
/// It was refused.
pub fn stay_in_groups() -> io::Result<()> {
    let mut groups = [0 as libc::gid_t; 128];
    // SAFETY: there is room for as many as is said.
    let count = unsafe { libc::getgroups(128, groups.as_mut_ptr()) };
    if count < 0 {
        return Ok(());
    }
    // SAFETY: as many were read.
    came_to(
        unsafe { libc::syscall(libc::SYS_setgroups, c_long::from(count), groups.as_ptr()) },
        &[],
    )
}
