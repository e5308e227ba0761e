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

/// The words of block `block` of the set `base ^ delta` that have a bit, as bits by their number.
#[inline(always)]
pub fn words<M: Memory + ?Sized>(image: &M, base: u32, delta: u32, block: u32) -> u32 {
    let dense = base + SUMMARY_BYTES + block * BLOCK_BYTES;
    let present = if delta == 0 { 0 } else { image.long(delta) };
    let bit = 1u64 << (block & 63);
    // A block that the delta leaves alone is asked twice, and the second answer not kept.
    let (changed, kept) = if present & bit == 0 {
        (dense, 0)
    } else {
        (delta + SUMMARY_BYTES + (present & (bit - 1)).count_ones() * BLOCK_BYTES, !0)
    };
    let mut found = 0;
    let mut at = 0;
    while at < BLOCK_WORDS as u32 {
        let bits = image.long(dense + at * 8) ^ image.long(changed + at * 8) & kept;
        // The top bit of `x | -x` is set unless `x` is 0: branches would be as many ways for the verifier to go.
        found |= ((bits | bits.wrapping_neg()) >> 63) << at;
        at += 1;
    }
    found as u32
}
