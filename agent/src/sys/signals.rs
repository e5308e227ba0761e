//! Signals that must not meet a thread.

use std::{mem::MaybeUninit, ptr};

/// Does something on this thread while no signal reaches it; what comes for the process goes to another thread, or waits.
///
/// The kernel gives up checking a program once a signal waits (`do_check` of its verifier answers `EAGAIN`), whoever it is
/// for. One comes with each child that could not be started: the thread that starts it takes none meanwhile, so that any
/// other one gets it (`complete_signal`).
pub fn held_off<T>(what: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: fills the set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: both are room for a set, and the first is one.
    let held =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let done = what();
    if held == 0 {
        // SAFETY: the call before filled the set.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_waits_until_it_is_taken() {
        let taken = held_off(|| {
            // Unless it is held off this is the end.
            // SAFETY: of this thread alone.
            assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
            let mut one = MaybeUninit::uninit();
            let mut taken = 0;
            // SAFETY: fills the set.
            unsafe { libc::sigemptyset(one.as_mut_ptr()) };
            // SAFETY: a set.
            unsafe { libc::sigaddset(one.as_mut_ptr(), libc::SIGUSR1) };
            // SAFETY: a set, and room for a number.
            unsafe { libc::sigwait(one.as_ptr(), &raw mut taken) };
            taken
        });
        assert_eq!(taken, libc::SIGUSR1);
    }
}
