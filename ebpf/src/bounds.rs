//! The few barriers that keep LLVM from removing what the verifier needs to see. The only inline assembly.

use core::arch::asm;

/// Hides where `value` comes from, so that a check on it is kept.
#[inline(always)]
pub fn opaque(mut value: u64) -> u64 {
    // SAFETY: copies a register to itself; no memory is touched. (A template of only a comment would give two lines of
    // line information the same instruction, which the kernel refuses.)
    unsafe { asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// `value`, at most `MASK` (a power of two less one), in a way that the verifier tracks.
#[inline(always)]
pub fn masked<const MASK: u64>(value: u64) -> u64 {
    opaque(value) & MASK
}

/// A refusal as an LSM program must return it: a constant from its own branch. From 6.12 the verifier wants the return
/// value provably in [-4095, 0] and cannot follow a negation; LLVM would fold the branches into one without barriers.
#[inline(always)]
pub fn refusal(errno: u8) -> i32 {
    match errno {
        2 => constant(-2),
        13 => constant(-13),
        101 => constant(-101),
        111 => constant(-111),
        113 => constant(-113),
        _ => constant(-1),
    }
}

/// The word of the guard that it trusts the asking process: see `interdict_abi::guard::GRANTED`.
#[inline(always)]
pub fn granted() -> i32 {
    constant(-interdict_abi::guard::GRANTED)
}

#[inline(always)]
fn constant(value: i32) -> i32 {
    // SAFETY: an empty template; it only marks this branch as different from the others.
    unsafe { asm!("", options(nomem, nostack, preserves_flags)) };
    value
}
