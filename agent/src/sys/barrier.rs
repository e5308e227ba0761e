//! A grace period: when it returns, every BPF program that was running has finished.

use std::io;

/// `membarrier(MEMBARRIER_CMD_GLOBAL)` is `synchronize_rcu()` (kernel/sched/membarrier.c), and all programs of the
/// kernel object run inside RCU read-side sections.
///
/// # Errors
/// The kernel refuses it (`EINVAL`) on machines with `nohz_full` CPUs.
pub fn grace_period() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: i32 = 1;
    // SAFETY: takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
