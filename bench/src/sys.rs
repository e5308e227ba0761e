//! The system calls that workloads are made of, as directly as they can be called.
//!
//! The only unsafe code of this program. Every call takes C strings and numbers and answers what the kernel answered.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicI64, Ordering};

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
    wait(match program {
        Some(program) => start(program, None),
        None => {
            // SAFETY: this process has one thread, and the child only calls _exit.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: ends the child without running anything of the parent's.
                unsafe { libc::_exit(0) };
            }
            child
        }
    })
}

/// Starts a program in a child that notes the moment just before; answers the child's number.
pub fn start(program: &CStr, moment: Option<&Moment>) -> c_int {
    // SAFETY: this process has one thread, and the child only notes the time and calls execve and _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        if let Some(moment) = moment {
            moment.set(clock(MONOTONIC));
        }
        let arguments = [program.as_ptr(), std::ptr::null()];
        let environment = [std::ptr::null()];
        // SAFETY: both lists end with null and their strings with zero.
        unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(127) };
    }
    child
}

/// Waits for a child; whether it ended with success.
pub fn wait(child: c_int) -> bool {
    let mut status = 0;
    // SAFETY: `status` is an int to write to.
    child > 0 && unsafe { libc::waitpid(child, &mut status, 0) } == child && status == 0
}

/// A time that parent and child share.
pub struct Moment(*mut AtomicI64);

impl Moment {
    /// Room for one.
    pub fn shared() -> Option<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: new memory, wherever the kernel wants it.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, kind, -1, 0) };
        (memory != libc::MAP_FAILED).then_some(Self(memory.cast()))
    }

    fn cell(&self) -> &AtomicI64 {
        // SAFETY: a page of zeros that is never given back; only ever used as this one atomic.
        unsafe { &*self.0 }
    }

    fn set(&self, time: i64) {
        self.cell().store(time, Ordering::SeqCst);
    }

    /// What the child noted.
    pub fn get(&self) -> i64 {
        self.cell().load(Ordering::SeqCst)
    }
}

/// A watch on a file that is written to.
pub struct Watch(c_int);

impl Watch {
    /// Begins to watch.
    pub fn on(file: &str) -> Option<Self> {
        let file = std::ffi::CString::new(file).ok()?;
        // SAFETY: numbers only.
        let watch = unsafe { libc::inotify_init1(libc::IN_NONBLOCK) };
        // SAFETY: `file` ends with zero.
        let added = unsafe { libc::inotify_add_watch(watch, file.as_ptr(), libc::IN_MODIFY) };
        (watch >= 0 && added >= 0).then_some(Self(watch))
    }

    /// Waits until it was written to, at most so many milliseconds.
    pub fn wait(&self, at_most: c_int) {
        let mut one = libc::pollfd { fd: self.0, events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, as said.
        unsafe { libc::poll(&mut one, 1, at_most) };
        let mut buffer = [0_u8; 4096];
        // SAFETY: the kernel writes at most the buffer's length into the buffer.
        while unsafe { libc::read(self.0, buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
    }
}

/// Sleeps for so many nanoseconds, or a little longer.
pub fn sleep(nanoseconds: i64) {
    std::thread::sleep(std::time::Duration::from_nanos(nanoseconds.unsigned_abs()));
}

/// Processor time that another process has used, in nanoseconds.
pub fn clock_of(process: u32) -> Option<i64> {
    let mut which: libc::clockid_t = 0;
    // SAFETY: `which` is a clock id to write to.
    let found = unsafe { libc::clock_getcpuclockid(process.try_into().ok()?, &mut which) };
    (found == 0).then(|| clock(which))
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
