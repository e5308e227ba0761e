//! The system calls that workloads are made of, as directly as they can be called.
//!
//! The only unsafe code of this program. Every call takes C strings and numbers and answers what the kernel answered.

use std::ffi::{CStr, c_int};

/// Clock of the processor time of this process.
pub const PROCESS: c_int = libc::CLOCK_PROCESS_CPUTIME_ID;
/// Clock that only goes forward.
pub const MONOTONIC: c_int = libc::CLOCK_MONOTONIC;

/// A clock, in nanoseconds.
pub fn clock(which: c_int) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec to write to.
    unsafe { libc::clock_gettime(which, &mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Processor time of children that were waited for, in nanoseconds.
pub fn children() -> i64 {
    // SAFETY: a rusage is numbers, for which zeros are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a rusage to write to.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) };
    let nanoseconds = |time: libc::timeval| time.tv_sec * 1_000_000_000 + time.tv_usec * 1000;
    nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime)
}

/// The call that does least.
pub fn getppid() {
    // SAFETY: no arguments, no memory.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

/// Whether a file can be looked at.
pub fn stat(path: &CStr) -> bool {
    // SAFETY: a stat is numbers, for which zeros are values.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with zero, `status` is a stat to write to.
    unsafe { libc::stat(path.as_ptr(), &mut status) == 0 }
}

/// Opens for reading; the descriptor or the error number.
pub fn open(path: &CStr) -> Result<c_int, c_int> {
    // SAFETY: `path` ends with zero.
    let file = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
    if file >= 0 { Ok(file) } else { Err(errno()) }
}

/// Reads a little.
pub fn read(file: c_int) -> bool {
    let mut buffer = [0_u8; 64];
    // SAFETY: the kernel writes at most the buffer's length into the buffer.
    unsafe { libc::read(file, buffer.as_mut_ptr().cast(), buffer.len()) >= 0 }
}

/// Closes what this process opened.
pub fn close(file: c_int) {
    // SAFETY: callers pass what `open` or `socket` just gave them, once.
    unsafe { libc::close(file) };
}

/// Forks; the child starts the program or, without one, ends. Answers whether it ended with success.
pub fn fork(program: Option<&CStr>) -> bool {
    // SAFETY: this process has one thread, and the child only calls execve and _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        if let Some(program) = program {
            let arguments = [program.as_ptr(), std::ptr::null()];
            let environment = [std::ptr::null()];
            // SAFETY: both lists end with null and their strings with zero.
            unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        }
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(if program.is_some() { 127 } else { 0 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child that was just made, `status` is an int to write to.
    child > 0 && unsafe { libc::waitpid(child, &mut status, 0) } == child && status == 0
}

/// Connects to a port of this machine where nobody listens; the error number.
pub fn connect(port: u16) -> c_int {
    // SAFETY: numbers only.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
    // SAFETY: an address is numbers, for which zeros are values.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as libc::sa_family_t;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: `address` is an address of the length given.
    let answer = unsafe { libc::connect(socket, (&raw const address).cast(), length) };
    let error = if answer == 0 { 0 } else { errno() };
    close(socket);
    error
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
