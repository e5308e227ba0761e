//! Writes the parts of an image one after the other and keeps equal parts once.

use std::collections::HashMap;

use interdict_abi::{
    image::{
        HEADER_BYTES, MAGIC, RANGES_INDEX, VERSION, automaton, header, names, pages, skip, tail,
    },
    limits::{BLOCK_BITS, BLOCK_WORDS, SET_WORDS},
};

use super::{
    front::{self, Front},
    page,
};
use crate::dfa::{Automaton, Next, Tail};

/// Ranges a table may have before it gets an index over the top 16 bits.
const UNINDEXED: usize = 512;

/// Ranges of addresses a table may have in one page.
const ONE_PAGE: usize = 4_096;

/// Ranges in a page of a larger IPv6 table.
const PAGE_V6: usize = 32;

/// An image being written.
#[derive(Debug)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
    deltas: HashMap<Vec<u32>, u32>,
    /// Length and CRC of arrays that were written, to their offsets.
    arrays: HashMap<(usize, u32), Vec<u32>>,
}

impl Arena {
    /// An image with nothing but room for its header.
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES as usize],
            deltas: HashMap::new(),
            arrays: HashMap::new(),
        }
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn align(&mut self) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.bytes.len() as u32
    }

    /// Room for `count` bytes that are filled in later.
    pub(crate) fn reserve(&mut self, count: u32) -> u32 {
        let at = self.align();
        self.bytes.resize(self.bytes.len() + count as usize, 0);
        at
    }

    /// Writes a word where room was reserved.
    pub(crate) fn put(&mut self, at: u32, word: u32) {
        self.put_bytes(at, &word.to_le_bytes());
    }

    /// Writes bytes where room was reserved.
    pub(crate) fn put_bytes(&mut self, at: u32, bytes: &[u8]) {
        let at = at as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes an array, or finds one that is equal.
    fn array(&mut self, bytes: &[u8]) -> u32 {
        let key = (bytes.len(), crc32fast::hash(bytes));
        if let Some(places) = self.arrays.get(&key) {
            for place in places {
                let start = *place as usize;
                if self.bytes[start..start + bytes.len()] == *bytes {
                    return *place;
                }
            }
        }
        let at = self.align();
        self.bytes.extend_from_slice(bytes);
        self.arrays.entry(key).or_default().push(at);
        at
    }

    fn words(&mut self, words: impl Iterator<Item = u32>) -> u32 {
        let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        self.array(&bytes)
    }

    /// A base row: the set of clauses as one flag each.
    pub(crate) fn base_row(&mut self, set: &[bool]) -> u32 {
        let blocks = set.len().div_ceil(BLOCK_BITS);
        let mut words = vec![0u64; 1 + blocks * BLOCK_WORDS];
        for (clause, _) in set.iter().enumerate().filter(|(_, held)| **held) {
            words[0] |= 1 << (clause / BLOCK_BITS);
            words[1 + clause / 64] |= 1 << (clause % 64);
        }
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        self.array(&bytes)
    }

    /// A delta row: the clauses, ascending, in which a set differs from the base row. 0 for none.
    pub(crate) fn delta_row(&mut self, flips: &[u32]) -> u32 {
        if flips.is_empty() {
            return 0;
        }
        if let Some(known) = self.deltas.get(flips) {
            return *known;
        }
        let at = self.align();
        self.bytes.extend_from_slice(&page::delta_row(flips));
        self.deltas.insert(flips.to_vec(), at);
        at
    }

    /// A direct table of delta rows.
    pub(crate) fn direct(&mut self, deltas: &[u32]) -> u32 {
        self.words([deltas.len() as u32, 0].into_iter().chain(deltas.iter().copied()))
    }

    /// A table of names: digests and labels by cell.
    pub(crate) fn names(&mut self, seed: u32, cells: &[(u64, u32, u32)]) -> u32 {
        let at = self.reserve(names::CELLS + cells.len() as u32 * names::CELL_BYTES);
        self.put(at + names::MASK, cells.len() as u32 - 1);
        self.put(at + names::SEED, seed);
        let places = (at + names::CELLS..).step_by(names::CELL_BYTES as usize);
        for (place, (digest, name, below)) in places.zip(cells) {
            self.put_bytes(place, &digest.to_le_bytes());
            self.put(place + 8, *name);
            self.put(place + 12, *below);
        }
        at
    }

    /// A ranges table over u32 keys.
    pub(crate) fn ranges(&mut self, keys: &[u32], deltas: &[u32]) -> u32 {
        let index = self.index(keys.len(), |at, top| keys[at] <= top << 16);
        let keys_at = self.words(keys.iter().copied());
        self.ranges_head(keys.len(), index, keys_at, deltas)
    }

    /// What stands in pages that several columns share for a range with these deltas of theirs. One column has its delta there.
    pub(crate) fn entry(&mut self, deltas: &[u32]) -> u32 {
        match deltas {
            [one] => *one,
            [..] if deltas.iter().all(|delta| *delta == 0) => 0,
            [..] => self.array(&page::entry(deltas)),
        }
    }

    /// A table of IPv4 addresses for so many columns: the head of each.
    pub(crate) fn addresses_v4(&mut self, keys: &[u32], deltas: &[u32], columns: u32) -> Vec<u32> {
        let wide: Vec<u128> = keys.iter().map(|key| u128::from(*key) << 96).collect();
        let front = front::of(&wide, deltas, front::Family::V4);
        if keys.len() <= ONE_PAGE {
            let descriptors = self.pages(&[page::of(keys, deltas)]);
            return self.addresses_heads([1, 0, 0, descriptors], front, columns);
        }
        let mut at = 0;
        let pages: Vec<page::Page> = (0..pages::V4)
            .map(|top| {
                let first = at;
                while at < keys.len() && keys[at] >> 16 == top {
                    at += 1;
                }
                let (own, own_deltas) = (&keys[first..at], &deltas[first..at]);
                if own.first() == Some(&(top << 16)) {
                    return page::of(own, own_deltas);
                }
                // What holds where the page begins has begun before it.
                let keys: Vec<u32> = [top << 16].into_iter().chain(own.iter().copied()).collect();
                let held = [deltas[first - 1]].into_iter();
                let deltas: Vec<u32> = held.chain(own_deltas.iter().copied()).collect();
                page::of(&keys, &deltas)
            })
            .collect();
        let descriptors = self.pages(&pages);
        self.addresses_heads([pages::V4, 0, 0, descriptors], front, columns)
    }

    /// A table of IPv6 addresses for so many columns: the head of each.
    pub(crate) fn addresses_v6(&mut self, keys: &[u128], deltas: &[u32], columns: u32) -> Vec<u32> {
        let front = front::of(keys, deltas, front::Family::V6);
        let size = if keys.len() <= ONE_PAGE { ONE_PAGE } else { PAGE_V6 };
        let fences: Vec<u128> = keys.iter().step_by(size).copied().collect();
        let index = self.index(fences.len(), |at, top| fences[at] <= u128::from(top) << 112);
        let chunks = keys.chunks(size).zip(deltas.chunks(size));
        let pages: Vec<page::Page> = chunks.map(|(keys, deltas)| page::of(keys, deltas)).collect();
        let descriptors = self.pages(&pages);
        let bytes: Vec<u8> = fences.iter().flat_map(|fence| page::halves(*fence)).collect();
        let fences_at = self.array(&bytes);
        let words = [fences.len() as u32, index, fences_at, descriptors];
        self.addresses_heads(words, front, columns)
    }

    /// Writes pages, and answers where their descriptors are. No two tables share any: they are changed one by one.
    fn pages(&mut self, pages: &[page::Page]) -> u32 {
        let descriptors = self.reserve(pages.len() as u32 * 8);
        for (place, page) in (descriptors..).step_by(8).zip(pages) {
            let at = self.reserve(page.bytes.len() as u32);
            self.put_bytes(at, &page.bytes);
            self.put_bytes(place, &pages::descriptor(at, page.count).to_le_bytes());
        }
        descriptors
    }

    fn addresses_heads(
        &mut self,
        [count, index, fences, descriptors]: [u32; 4],
        front: Option<Front>,
        columns: u32,
    ) -> Vec<u32> {
        let (at, prefix) = match front {
            Some(front) => {
                let at = self.reserve(front.bytes.len() as u32);
                self.put_bytes(at, &front.bytes);
                (at, front.prefix)
            }
            None => (0, 24),
        };
        (0..columns)
            .map(|column| {
                let share = if columns == 1 { 0 } else { page::share(column) };
                self.head(&[count, index, fences, descriptors, at, prefix, share, 0])
            })
            .collect()
    }

    fn ranges_head(&mut self, count: usize, index: u32, keys: u32, deltas: &[u32]) -> u32 {
        let deltas = self.words(deltas.iter().copied());
        self.head(&[count as u32, index, keys, deltas])
    }

    fn head(&mut self, words: &[u32]) -> u32 {
        let head = self.reserve(words.len() as u32 * 4);
        for (at, word) in (0u32..).zip(words) {
            self.put(head + at * 4, *word);
        }
        head
    }

    /// The index of a ranges table of `count` ranges; `starts(range, top)` says whether a range starts at or before the
    /// first value with these top 16 bits. 0 for a table that needs none.
    fn index(&mut self, count: usize, starts: impl Fn(usize, u32) -> bool) -> u32 {
        if count <= UNINDEXED {
            return 0;
        }
        let mut last = 0;
        let mut entries = Vec::with_capacity(RANGES_INDEX as usize);
        for top in 0..RANGES_INDEX - 1 {
            while last + 1 < count && starts(last + 1, top) {
                last += 1;
            }
            entries.push(last as u32);
        }
        entries.push(count as u32 - 1);
        self.words(entries.into_iter())
    }

    /// A table of sets, one for each label.
    pub(crate) fn sets(&mut self, sets: &[[u64; SET_WORDS]]) -> u32 {
        let bytes: Vec<u8> = sets.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
        self.array(&bytes)
    }

    /// An automaton.
    pub(crate) fn automaton(&mut self, from: &Automaton) -> u32 {
        let tails: Vec<u32> = from.tails.iter().map(|tail| self.tail(tail)).collect();
        let skips = self.reserve(from.skips.len() as u32 * skip::BYTES);
        let at = self.reserve(automaton::ROWS + from.rows.len() as u32 * 4);
        let width = from.class_count as u32 * 4;
        let encode = |next: Next| match next {
            Next::State(state) => at + automaton::ROWS + state * width,
            Next::Label(label) => label << 1 | 1,
            Next::Tail(tail) => (tails[tail as usize] >> 3 | automaton::TAIL) << 1 | 1,
            Next::Skip(number) => (skips + number * skip::BYTES) | automaton::SKIP | 1,
        };
        for (place, skip) in (skips..).step_by(skip::BYTES as usize).zip(&from.skips) {
            self.put(place + skip::NEXT, encode(skip.next));
            self.put_bytes(place + skip::TEXT, &skip.bytes);
        }
        self.put(at + automaton::START, encode(from.start));
        self.put(at + automaton::STATES, from.states() as u32);
        self.put_bytes(at + automaton::CLASSES, &from.classes);
        let start = (at + automaton::ROWS) as usize;
        for (place, next) in self.bytes[start..].chunks_exact_mut(4).zip(&from.rows) {
            place.copy_from_slice(&encode(*next).to_le_bytes());
        }
        at
    }

    fn tail(&mut self, from: &Tail) -> u32 {
        let at = self.reserve(tail::BYTES + from.bytes.len() as u32);
        self.put(at + tail::LABEL, from.label);
        self.put(at + tail::LENGTH, from.bytes.len() as u32 | (from.end as u32) << 16);
        self.put_bytes(at + tail::BYTES, &from.bytes);
        at
    }

    /// The finished image.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = self.align();
        self.put(header::MAGIC, MAGIC);
        self.put(header::VERSION, VERSION);
        self.put(header::LENGTH, length);
        self.put(header::CHECKSUM, 0);
        let checksum = crc32fast::hash(&self.bytes);
        self.put(header::CHECKSUM, checksum);
        self.bytes
    }
}
