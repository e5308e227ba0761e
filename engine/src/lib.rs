//! How a decision is made: facts to sets to verdict, as pure functions over the bytes of one policy image.
//!
//! In: an image (through [`Memory`]) and, fact by fact, what a hook knows of an act. Out: a [`verdict::Decision`].
//! The same code runs in the kernel programs, in `interdict test`, in simulation and in property tests. It must not
//! allocate, panic, touch a clock or know where the image lives.
//!
//! The shape of the loops is dictated by the BPF verifier: bounded by constants of `abi::limits`, one data-dependent
//! branch where a byte or a range is looked at, no slice indexing that could panic.
#![no_std]
#![forbid(unsafe_code)]

pub mod args;
pub mod dfa;
pub mod dns;
pub mod facts;
pub mod names;
pub mod sets;
pub mod tables;
pub mod tidy;
pub mod verdict;

/// Reads words of a policy image. Offsets come from the image itself; an implementation must make every offset safe
/// to read (the kernel masks them to the slot, user space answers 0 past the end) rather than trust them.
pub trait Memory {
    /// The byte at `offset`.
    fn byte(&self, offset: u32) -> u8;
    /// The little-endian u32 at `offset`, a multiple of 4.
    fn word(&self, offset: u32) -> u32;
    /// The little-endian u64 at `offset`, a multiple of 8.
    fn long(&self, offset: u32) -> u64;
}

/// Reads bytes of a string that ends with a zero byte.
pub trait Bytes {
    /// The byte at `index`; 0 at and past the end.
    fn at(&self, index: u32) -> u8;

    /// The 4 bytes from `index`, the first one lowest; what comes after a zero byte may be anything.
    #[inline(always)]
    fn four(&self, index: u32) -> u32 {
        u32::from_le_bytes([
            self.at(index),
            self.at(index + 1),
            self.at(index + 2),
            self.at(index + 3),
        ])
    }

    /// `index`, after a loop that ended at it. The BPF verifier follows a loop's counter value by value, and would check
    /// what comes after the loop once for each: in the kernel this takes the value out of its sight.
    #[inline(always)]
    fn forget(&self, index: u32) -> u32 {
        index
    }
}

/// A string in user space. It must not hold a zero byte itself: what follows would not be seen.
impl Bytes for [u8] {
    #[inline(always)]
    fn at(&self, index: u32) -> u8 {
        self.get(index as usize).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn four(&self, index: u32) -> u32 {
        let rest = self.get(index as usize..).unwrap_or(&[]);
        match rest.first_chunk::<4>() {
            Some(bytes) => u32::from_le_bytes(*bytes),
            None => rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)),
        }
    }
}

/// An image in user space.
impl Memory for [u8] {
    #[inline(always)]
    fn byte(&self, offset: u32) -> u8 {
        self.get(offset as usize).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn word(&self, offset: u32) -> u32 {
        let start = offset as usize;
        match self.get(start..).and_then(|rest| rest.first_chunk::<4>()) {
            Some(bytes) => u32::from_le_bytes(*bytes),
            None => 0,
        }
    }

    #[inline(always)]
    fn long(&self, offset: u32) -> u64 {
        let start = offset as usize;
        match self.get(start..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => 0,
        }
    }
}
