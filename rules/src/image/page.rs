//! The bytes of a page of ranges of addresses, and of a delta row: what is written to an image, and what replaces it later.

use interdict_abi::{
    image::pages,
    limits::{BLOCK_BITS, BLOCK_WORDS},
};

/// An address as the key of a range.
pub(crate) trait Key: Copy + Ord {
    /// Bytes of a key in a page.
    const BYTES: u32;
    /// Its bytes.
    fn put(self, bytes: &mut Vec<u8>);
}

impl Key for u32 {
    const BYTES: u32 = 4;
    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
}

impl Key for u128 {
    const BYTES: u32 = 16;
    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&halves(self));
    }
}

/// The halves of an IPv6 address, the high one first, each with its lowest byte first.
pub(crate) fn halves(address: u128) -> [u8; 16] {
    address.rotate_left(64).to_le_bytes()
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Ranges in it.
    pub(crate) count: u32,
    /// Its bytes, a multiple of 8.
    pub(crate) bytes: Vec<u8>,
}

/// The page of these ranges.
pub(crate) fn of<K: Key>(keys: &[K], deltas: &[u32]) -> Page {
    let count = keys.len() as u32;
    let start = pages::deltas(count, K::BYTES) as usize;
    let mut bytes = Vec::with_capacity(start + (keys.len() * 4).next_multiple_of(8));
    keys.iter().for_each(|key| key.put(&mut bytes));
    bytes.resize(start, 0);
    deltas.iter().for_each(|delta| bytes.extend_from_slice(&delta.to_le_bytes()));
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    Page { count, bytes }
}

/// What leads from an [`entry`] to the delta of column `column` of those that share it. Never 0, which says that nothing is
/// shared.
pub(crate) fn share(column: u32) -> u32 {
    4 + column * 4
}

/// What is behind what stands in shared pages: a word that nobody reads, and the delta of each column.
pub(crate) fn entry(deltas: &[u32]) -> Vec<u8> {
    let words = [0].into_iter().chain(deltas.iter().copied());
    let mut bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// The delta row that flips these clauses, ascending, at least one.
pub(crate) fn delta_row(flips: &[u32]) -> Vec<u8> {
    let mut summary = 0u64;
    let mut blocks: Vec<[u64; BLOCK_WORDS]> = Vec::new();
    for clause in flips {
        let clause = *clause as usize;
        let bit = 1u64 << (clause / BLOCK_BITS);
        if summary & bit == 0 {
            summary |= bit;
            blocks.push([0; BLOCK_WORDS]);
        }
        if let Some(block) = blocks.last_mut() {
            block[clause % BLOCK_BITS / 64] |= 1 << (clause % 64);
        }
    }
    let words = [summary].into_iter().chain(blocks.into_iter().flatten());
    words.flat_map(u64::to_le_bytes).collect()
}
