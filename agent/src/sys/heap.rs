//! Keeps the allocator's share of resident memory small.
//!
//! glibc gives every thread an arena of its own, and learns from one large buffer that was freed to put the next ones
//! (up to 32 MiB) between small allocations, where a single one that stays keeps the whole from going back to the
//! system. After a flood the agent would keep what the flood needed. So: few arenas, large buffers always in mappings of
//! their own, and what is free goes back when the flood is over. Other allocators (musl) have none of this.

/// Buffers from this size on are mappings of their own: beyond any alert, below any queue.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 256 << 10;

/// Arenas: what the ring's reader, the worker and the sinks allocate goes through few hands.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// Sets the allocator up, and keeps the kernel from making huge pages of a heap with gaps: where it may, it gives back what
/// was given back to it. Once, before threads are started.
pub fn keep_small() {
    // SAFETY: takes no pointers; concerns this process and what it starts.
    if unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } != 0 {
        tracing::debug!("the kernel makes huge pages whoever wants them");
    }
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [(libc::M_MMAP_THRESHOLD, MAPPED_FROM), (libc::M_ARENA_MAX, ARENAS)] {
        // SAFETY: sets a number of the allocator; takes its own lock.
        if unsafe { libc::mallopt(parameter, value) } == 0 {
            tracing::debug!(parameter, value, "the allocator takes no such setting");
        }
    }
}

/// Gives free pages of the heap back to the system. Milliseconds: for when a flood is over, or a policy is loaded.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions; takes the allocator's own locks.
    let _given = unsafe { libc::malloc_trim(0) };
}
