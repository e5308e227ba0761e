//! Atomic changes to map values. The BPF target of rustc offers none, so these are the instructions themselves
//! (`BPF_ATOMIC`, Documentation/bpf/standardization/instruction-set.rst).

use core::arch::asm;

/// Adds `by` to `*word`.
///
/// # Safety
/// `word` must be a live, 8-aligned map value.
#[inline(always)]
pub unsafe fn add(word: *mut u64, by: u64) {
    // SAFETY: by the caller.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word, in(reg) by, options(nostack)) };
}

/// Sets `bits` in `*word` and answers what it was.
///
/// # Safety
/// `word` must be a live, 8-aligned map value.
#[inline(always)]
pub unsafe fn fetch_or(word: *mut u64, mut bits: u64) -> u64 {
    // SAFETY: by the caller.
    unsafe {
        asm!("{1} = atomic_fetch_or((u64 *)({0} + 0), {1})", in(reg) word, inout(reg) bits, options(nostack));
    }
    bits
}

/// Keeps only `bits` of `*word`.
///
/// # Safety
/// `word` must be a live, 8-aligned map value.
#[inline(always)]
pub unsafe fn and(word: *mut u64, bits: u64) {
    // SAFETY: by the caller.
    unsafe { asm!("lock *(u64 *)({0} + 0) &= {1}", in(reg) word, in(reg) bits, options(nostack)) };
}
