//! Rows of clause bits: one per value of a fact, ANDed until nothing is left.

use interdict_abi::limits::BLOCK_WORDS;

use crate::Memory;

const SUMMARY_BYTES: u32 = 8;
const BLOCK_BYTES: u32 = BLOCK_WORDS as u32 * 8;

/// The blocks in which the set `base ^ delta` may have a bit: never too few, sometimes too many.
#[inline(always)]
pub fn summary<M: Memory + ?Sized>(image: &M, base: u32, delta: u32) -> u64 {
    let changed = if delta == 0 { 0 } else { image.long(delta) };
    image.long(base) | changed
}

/// Word `word` of block `block` of the set `base ^ delta`.
#[inline(always)]
pub fn word<M: Memory + ?Sized>(image: &M, base: u32, delta: u32, block: u32, word: u32) -> u64 {
    let dense = image.long(base + SUMMARY_BYTES + block * BLOCK_BYTES + word * 8);
    if delta == 0 {
        return dense;
    }
    let present = image.long(delta);
    let bit = 1u64 << (block & 63);
    if present & bit == 0 {
        return dense;
    }
    let rank = (present & (bit - 1)).count_ones();
    dense ^ image.long(delta + SUMMARY_BYTES + rank * BLOCK_BYTES + word * 8)
}
