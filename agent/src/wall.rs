//! The wall clock: what it says may jump either way, so only what people read and what is kept for days goes by it.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since 1970.
pub fn now_ns() -> i128 {
    #[cfg(test)]
    let stepped = i128::from(test::stepped_s());
    #[cfg(not(test))]
    let stepped = 0;
    nanoseconds(clock_gettime(ClockId::Realtime)) + stepped * 1_000_000_000
}

/// Seconds since 1970; 0 before that.
pub fn now_s() -> u64 {
    u64::try_from(now_ns() / 1_000_000_000).unwrap_or(0)
}

/// Nanoseconds since this machine was started, which only go forward, at the same pace.
pub fn boot_ns() -> u64 {
    u64::try_from(nanoseconds(clock_gettime(ClockId::Boottime))).unwrap_or(0)
}

fn nanoseconds(time: Timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// Steps the clock: of the whole process, for one that runs one test alone, or of a thread.
#[cfg(test)]
pub(crate) mod test {
    use std::{
        cell::Cell,
        sync::atomic::{AtomicI64, Ordering},
    };

    /// Seconds that the clock is ahead in every thread.
    pub(crate) static STEP_S: AtomicI64 = AtomicI64::new(0);

    thread_local! {
        /// And in this one.
        pub(crate) static HERE_S: Cell<i64> = const { Cell::new(0) };
    }

    pub(super) fn stepped_s() -> i64 {
        STEP_S.load(Ordering::Relaxed) + HERE_S.get()
    }
}
