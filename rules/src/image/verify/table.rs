//! Checks rows, tables and automata of an image.

use std::collections::HashSet;

use interdict_abi::{
    ids::{FAMILIES, Fact, object_flags, process_flags},
    image::{
        self, ADDRESSES_BYTES, COLUMN_BYTES, RANGES_BYTES, RANGES_INDEX, TableKind, automaton,
        column, names, pages, skip, tail,
    },
    limits::{BLOCK_BITS, BLOCK_WORDS, SEARCH_STEPS, TAIL_BYTES},
};

use super::{
    super::{
        expected::{Expected, chains, expected},
        front,
    },
    ImageError,
};
use crate::dfa::Chains;

const BLOCK_BYTES: u32 = BLOCK_WORDS as u32 * 8;

/// How often on average a word may be checked: tables are shared, but not by more than all families and facts.
const SHARING: usize = 64;

/// Reads an image that may be anything.
pub(super) struct Tables<'a> {
    bytes: &'a [u8],
    work_left: usize,
    /// Clauses that some row of the columns looked at last flips, and the row among them that was looked at last.
    flipped: Vec<u64>,
    last: u32,
}

impl<'a> Tables<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            work_left: (bytes.len() / 4).saturating_mul(SHARING),
            flipped: Vec::new(),
            last: 0,
        }
    }

    /// The clauses that the rows looked at since the last call flip, by words.
    pub(super) fn take_flipped(&mut self) -> Vec<u64> {
        self.last = 0;
        std::mem::take(&mut self.flipped)
    }

    /// All of it, for the engine.
    pub(super) fn image(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn word(&self, at: u32) -> Result<u32, ImageError> {
        let found = self.bytes.get(at as usize..).and_then(|rest| rest.first_chunk());
        let offset = ImageError::Offset { what: "word", offset: at.into() };
        found.map(|bytes| u32::from_le_bytes(*bytes)).ok_or(offset)
    }

    pub(super) fn long(&self, at: u32) -> Result<u64, ImageError> {
        let found = self.bytes.get(at as usize..).and_then(|rest| rest.first_chunk());
        let offset = ImageError::Offset { what: "long word", offset: at.into() };
        found.map(|bytes| u64::from_le_bytes(*bytes)).ok_or(offset)
    }

    /// The bytes of `count` items of `size` bytes at `at`, which must be aligned and not be the header.
    pub(super) fn part(
        &mut self,
        what: &'static str,
        at: u32,
        count: u32,
        size: u32,
    ) -> Result<&'a [u8], ImageError> {
        let offset = ImageError::Offset { what, offset: at.into() };
        let length = u64::from(count) * u64::from(size);
        let end = u64::from(at) + length;
        if !at.is_multiple_of(8) || at == 0 || end > self.bytes.len() as u64 {
            return Err(offset);
        }
        self.work_left = self.work_left.checked_sub(length as usize / 4).ok_or(ImageError::Work)?;
        self.bytes.get(at as usize..end as usize).ok_or(offset)
    }

    fn words(
        &mut self,
        what: &'static str,
        at: u32,
        count: u32,
    ) -> Result<impl Iterator<Item = u32> + use<'a>, ImageError> {
        let bytes = self.part(what, at, count, 4)?;
        Ok(bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])))
    }

    /// Checks an automaton whose labels must be below `labels`; answers the highest.
    pub(super) fn automaton(
        &mut self,
        at: u32,
        labels: u32,
        chains: Chains,
    ) -> Result<u32, ImageError> {
        let broken = |reason| ImageError::Broken { what: "automaton", offset: at, reason };
        let head = self.part("automaton", at, 1, automaton::ROWS)?;
        let classes = &head[automaton::CLASSES as usize..];
        if classes[0] != 0 || classes[1..].contains(&0) {
            return Err(broken("the end of the string has no class of its own"));
        }
        let width = u32::from(classes.iter().copied().max().unwrap_or(0)) + 1;
        let states = self.word(at + automaton::STATES)?;
        let size = states.checked_mul(width).ok_or_else(|| broken("more states than fit"))?;
        let first = at + automaton::ROWS;
        let rows = self.words("automaton rows", first, size)?;
        let mut highest = 0;
        let mut skips = HashSet::new();
        let mut check = |tables: &mut Self, mut next: u32, decides: bool| {
            // Skips lead on. What a known one leads to has been looked at.
            while next & 1 != 0
                && next & (automaton::TAIL << 1 | automaton::SKIP) == automaton::SKIP
            {
                if decides || chains != Chains::Skips {
                    return Err(broken("a skip where none may be"));
                }
                if !skips.insert(next) {
                    return Ok(());
                }
                next = tables.skip(next & !(automaton::SKIP | 1))?;
            }
            if next & 1 != 0 {
                let decided = next >> 1;
                let label = if decided & automaton::TAIL == 0 {
                    decided
                } else if chains == Chains::Rows {
                    return Err(broken("a tail where none may be"));
                } else {
                    tables.tail((decided & !automaton::TAIL) << 3)?
                };
                highest = highest.max(label);
                return if label < labels {
                    Ok(())
                } else {
                    Err(broken("a label that has no entry"))
                };
            }
            if decides {
                return Err(broken("a state that does not decide at the end of the string"));
            }
            let inside = next >= first
                && next - first < size * 4
                && (next - first).is_multiple_of(width * 4);
            if inside { Ok(()) } else { Err(broken("a transition to no state")) }
        };
        let start = self.word(at + automaton::START)?;
        check(self, start, false)?;
        for (place, next) in (0..width).cycle().zip(rows) {
            check(self, next, place == 0)?;
        }
        Ok(highest)
    }

    /// Checks a skip; answers where it leads.
    fn skip(&mut self, at: u32) -> Result<u32, ImageError> {
        let bytes = self.part("skip", at, 1, skip::BYTES)?;
        if bytes[skip::TEXT as usize..].contains(&0) {
            return Err(ImageError::Broken {
                what: "skip",
                offset: at,
                reason: "a zero byte, which no string holds",
            });
        }
        self.word(at + skip::NEXT)
    }

    /// Checks a tail; answers its label.
    fn tail(&mut self, at: u32) -> Result<u32, ImageError> {
        let broken = |reason| ImageError::Broken { what: "tail", offset: at, reason };
        self.part("tail", at, 1, tail::BYTES)?;
        let packed = self.word(at + tail::LENGTH)?;
        let (length, end) = (packed & 0xffff, packed >> 16);
        if length as usize > TAIL_BYTES || end > tail::End::Anything as u32 {
            return Err(broken("longer than a tail can be, or with an unknown end"));
        }
        if self.part("tail", at, 1, tail::BYTES + length)?.iter().skip(8).any(|byte| *byte == 0) {
            return Err(broken("a zero byte, which no string holds"));
        }
        let label = self.word(at + tail::LABEL)?;
        if label & automaton::TAIL != 0 {
            return Err(broken("a label that names a tail"));
        }
        Ok(label)
    }

    /// Checks a table of names whose labels must be below `labels`.
    fn names(&mut self, at: u32, labels: u32) -> Result<(), ImageError> {
        let broken = |reason| ImageError::Broken { what: "table of names", offset: at, reason };
        let mask = self.word(at + names::MASK)?;
        let count = mask.checked_add(1).filter(|count| count.is_power_of_two());
        let count = count.ok_or_else(|| broken("the number of cells is no power of two"))?;
        let cells = self.part("cells of names", at + names::CELLS, count, names::CELL_BYTES)?;
        let words = cells.chunks_exact(4).map(|word| word.try_into().map(u32::from_le_bytes));
        let words: Vec<u32> = words.map(|word| word.unwrap_or(0)).collect();
        for cell in words.chunks_exact(4) {
            let taken = cell[0] != 0 || cell[1] != 0;
            for label in &cell[2..] {
                if (label & names::PRESENT != 0) != taken {
                    return Err(broken("a cell that is neither taken nor free"));
                }
                if label & !names::PRESENT >= labels {
                    return Err(broken("a label without an entry"));
                }
            }
        }
        Ok(())
    }

    /// Checks the column of `fact` at `at` in a family of `count` clauses; answers its next part.
    pub(super) fn column(
        &mut self,
        at: u32,
        fact: Fact,
        count: u32,
        exe_labels: Option<u32>,
    ) -> Result<u32, ImageError> {
        let broken = |reason| ImageError::Broken { what: "column", offset: at, reason };
        let kind = self.word(at + column::KIND)?;
        let base = self.word(at + column::BASE)?;
        let table = self.word(at + column::TABLE)?;
        let table_v6 = self.word(at + column::TABLE_V6)?;
        let automaton = self.word(at + column::AUTOMATON)?;
        let fault = self.word(at + column::FAULT_ROW)?;
        let next = self.word(at + column::NEXT)?;
        self.base_row(base, count)?;
        self.delta_row(fault, count)?;
        let expected = expected(fact);
        let wanted = match expected {
            Expected::Text | Expected::Program | Expected::Direct => TableKind::Direct,
            Expected::Ranges => TableKind::Ranges,
            Expected::Addresses => TableKind::Addresses,
        };
        let names = kind == TableKind::Names as u32 && fact == Fact::DnsName;
        if kind != wanted as u32 && !names {
            return Err(broken("a kind of table that its fact does not have"));
        }
        if (automaton != 0) != matches!(expected, Expected::Text) {
            return Err(broken("an automaton for a fact without, or none for one with"));
        }
        if (table_v6 != 0) != matches!(expected, Expected::Addresses) {
            return Err(broken("a second table for a fact without, or none for one with"));
        }
        if next != 0 {
            if !matches!(expected, Expected::Text) {
                return Err(broken("parts of a fact that has none"));
            }
            self.part("part of a column", next, 1, COLUMN_BYTES)?;
        }
        match expected {
            Expected::Text => {
                let labels = self.direct(table, count)?;
                if names {
                    self.names(automaton, labels)?;
                } else {
                    self.automaton(automaton, labels, chains(fact))?;
                }
            }
            Expected::Program => {
                if Some(self.direct(table, count)?) != exe_labels {
                    return Err(broken("another number of labels than the automaton has"));
                }
            }
            Expected::Direct => {
                let entries = self.direct(table, count)?;
                let all = match fact {
                    Fact::ObjectFlags => 1 << object_flags::BITS,
                    Fact::ProcessFlags => 1 << process_flags::BITS,
                    Fact::Act => interdict_abi::ids::ACT_COMBINATIONS.len() as u32,
                    _ => 0,
                };
                if entries < all {
                    return Err(broken("values without an entry"));
                }
            }
            Expected::Ranges => self.ranges(table, count)?,
            Expected::Addresses => {
                self.pages(table, count, front::Family::V4)?;
                self.pages(table_v6, count, front::Family::V6)?;
            }
        }
        Ok(next)
    }

    /// Bits of the last block that no clause has.
    fn spare(count: u32) -> [u64; BLOCK_WORDS] {
        let used = (count - 1) as usize % BLOCK_BITS + 1;
        std::array::from_fn(|word| match used.saturating_sub(word * 64) {
            0 => u64::MAX,
            bits if bits >= 64 => 0,
            bits => u64::MAX << bits,
        })
    }

    /// Checks that the base row at `at` has what all of `bases` have, which have been checked.
    pub(super) fn common(&mut self, at: u32, bases: &[u32], count: u32) -> Result<(), ImageError> {
        self.base_row(at, count)?;
        let words = count.div_ceil(BLOCK_BITS as u32) * BLOCK_WORDS as u32;
        for place in (0..words).map(|word| 8 + word * 8) {
            let mut all = !0;
            for base in bases {
                all &= self.long(base + place)?;
            }
            if self.long(at + place)? != all {
                let reason = "not what all parts have in common";
                return Err(ImageError::Broken { what: "base row", offset: at, reason });
            }
        }
        Ok(())
    }

    fn base_row(&mut self, at: u32, count: u32) -> Result<(), ImageError> {
        let broken = |reason| ImageError::Broken { what: "base row", offset: at, reason };
        let blocks = count.div_ceil(BLOCK_BITS as u32);
        self.part("base row", at, 1, 8 + blocks * BLOCK_BYTES)?;
        let mut summary = 0u64;
        for block in 0..blocks {
            let spare = if block + 1 == blocks { Self::spare(count) } else { [0; BLOCK_WORDS] };
            for (word, spare) in (0u32..).zip(spare) {
                let bits = self.long(at + 8 + block * BLOCK_BYTES + word * 8)?;
                if bits & spare != 0 {
                    return Err(broken("clauses that do not exist"));
                }
                if bits != 0 {
                    summary |= 1 << block;
                }
            }
        }
        if self.long(at)? != summary {
            return Err(broken("the summary is not that of its blocks"));
        }
        Ok(())
    }

    pub(super) fn delta_row(&mut self, at: u32, count: u32) -> Result<(), ImageError> {
        if at == 0 {
            return Ok(());
        }
        let broken = |reason| ImageError::Broken { what: "delta row", offset: at, reason };
        let offset = ImageError::Offset { what: "delta row", offset: at.into() };
        let blocks = count.div_ceil(BLOCK_BITS as u32);
        if !at.is_multiple_of(8) {
            return Err(offset);
        }
        let summary = self.long(at)?;
        let past = summary.checked_shr(blocks).unwrap_or(0);
        if past != 0 {
            return Err(broken("blocks that do not exist"));
        }
        let end = u64::from(at) + 8 + u64::from(summary.count_ones() * BLOCK_BYTES);
        if end > self.bytes.len() as u64 {
            return Err(offset);
        }
        if summary >> (blocks - 1) & 1 != 0 {
            let last = end as u32 - BLOCK_BYTES;
            for (word, spare) in (0u32..).zip(Self::spare(count)) {
                if self.long(last + word * 8)? & spare != 0 {
                    return Err(broken("clauses that do not exist"));
                }
            }
        }
        // Neighbouring ranges mostly have the same row.
        if at != self.last {
            self.last = at;
            self.flipped.resize(blocks as usize * BLOCK_WORDS, 0);
            let present = (0..blocks).filter(|block| summary >> block & 1 != 0);
            for (place, block) in (at + 8..).step_by(BLOCK_BYTES as usize).zip(present) {
                for word in 0..BLOCK_WORDS as u32 {
                    let bits = self.long(place + word * 8)?;
                    self.flipped[block as usize * BLOCK_WORDS + word as usize] |= bits;
                }
            }
        }
        Ok(())
    }

    /// Checks a direct table; answers its number of entries.
    fn direct(&mut self, at: u32, count: u32) -> Result<u32, ImageError> {
        self.part("direct table", at, 1, 8)?;
        let entries = self.word(at)?;
        for delta in self.words("direct table", at + 8, entries)? {
            self.delta_row(delta, count)?;
        }
        Ok(entries)
    }

    fn ranges(&mut self, at: u32, count: u32) -> Result<(), ImageError> {
        let broken = |reason| ImageError::Broken { what: "ranges table", offset: at, reason };
        self.part("ranges table", at, 1, RANGES_BYTES)?;
        let entries = self.word(at)?;
        let index = self.word(at + 4)?;
        let keys = self.word(at + 8)?;
        let deltas = self.word(at + 12)?;
        if entries == 0 || entries > 1 << SEARCH_STEPS {
            return Err(broken("more ranges than the search has steps for, or none"));
        }
        for delta in self.words("ranges' rows", deltas, entries)? {
            self.delta_row(delta, count)?;
        }
        self.keys(at, keys, entries, index, Width::Number)
    }

    /// Checks a table of addresses in pages.
    fn pages(&mut self, at: u32, count: u32, family: front::Family) -> Result<(), ImageError> {
        let broken = |reason| ImageError::Broken { what: "table of addresses", offset: at, reason };
        self.part("table of addresses", at, 1, ADDRESSES_BYTES)?;
        let entries = self.word(at + pages::COUNT)?;
        let index = self.word(at + pages::INDEX)?;
        let fences = self.word(at + pages::FENCES)?;
        let descriptors = self.word(at + pages::DESCRIPTORS)?;
        let share = self.word(at + pages::SHARE)?;
        if !share.is_multiple_of(4) || share > FAMILIES as u32 * 4 {
            return Err(broken("a share of more columns than there can be"));
        }
        // What stands in pages, once for all ranges it stands in.
        let mut known = HashSet::new();
        let (width, shift) = match family {
            front::Family::V4 => (Width::V4, 96),
            front::Family::V6 => (Width::V6, 0),
        };
        let mut fences: Box<dyn Iterator<Item = u128>> = match family {
            front::Family::V4 => {
                if index != 0 || fences != 0 || (entries != 1 && entries != pages::V4) {
                    return Err(broken("pages of other addresses than the search looks for there"));
                }
                Box::new((0..entries).map(|top| u128::from(top) << 112))
            }
            front::Family::V6 => {
                if entries == 0 || entries > 1 << SEARCH_STEPS {
                    return Err(broken("more pages than the search has steps for, or none"));
                }
                self.keys(at, fences, entries, index, width)?;
                self.first_values(fences, entries, width)?
            }
        };
        let front = self.front(at, family)?;
        let mut left = front::ASKED_MAX;
        let descriptors = self.part("descriptors", descriptors, entries, 8)?;
        let mut fence = fences.next();
        for descriptor in descriptors.chunks_exact(8) {
            let descriptor =
                descriptor.iter().rev().fold(0u64, |all, byte| all << 8 | u64::from(*byte));
            let (page, ranges) = (descriptor as u32, (descriptor >> 32) as u32);
            if ranges == 0 || ranges > 1 << SEARCH_STEPS {
                return Err(broken(
                    "a page with more ranges than the search has steps for, or none",
                ));
            }
            let past = fences.next();
            let mut earlier = None;
            for key in self.first_values(page, ranges, width)? {
                let key = key << shift;
                let follows = match earlier {
                    None => Some(key) == fence,
                    Some(earlier) => earlier < key,
                };
                if !follows || past.is_some_and(|past| key >= past) {
                    return Err(broken(
                        "ranges that do not ascend from the beginning of their page to its end",
                    ));
                }
                earlier = Some(key);
            }
            let bytes = width.bits() / 8;
            let start = page.checked_add(pages::deltas(ranges, bytes));
            let deltas = start.ok_or_else(|| broken("a page that does not end"))?;
            for found in self.words("rows of a page", deltas, ranges)? {
                if found == 0 || !known.insert(found) {
                    continue;
                }
                let delta = match share {
                    0 => found,
                    share => {
                        self.part("shared rows", found, 1, share + 4)?;
                        self.word(found + share)?
                    }
                };
                self.delta_row(delta, count)?;
            }
            if let Some((bits, prefix)) = front {
                let first = self.first_values(page, ranges, width)?.map(|key| key << shift);
                let last = self.first_values(page, ranges, width)?.skip(1);
                let last = last.map(|key| (key << shift) - 1);
                let end = past.map_or(u128::MAX, |past| past - 1);
                let listed = first
                    .zip(last.chain([end]))
                    .zip(self.words("rows of a page", deltas, ranges)?)
                    .filter(|(_, delta)| *delta != 0)
                    .map(|(range, _)| range);
                if !front::covers(bits, prefix, listed, family, &mut left) {
                    let reason = "it stops addresses that are listed";
                    return Err(ImageError::Broken { what: "front", offset: at, reason });
                }
            }
            fence = past;
        }
        Ok(())
    }

    /// The first values of ranges.
    fn first_values(
        &mut self,
        at: u32,
        entries: u32,
        width: Width,
    ) -> Result<Box<dyn Iterator<Item = u128> + 'a>, ImageError> {
        Ok(match width {
            Width::Number | Width::V4 => {
                Box::new(self.words("ranges", at, entries)?.map(u128::from))
            }
            Width::V6 => {
                let bytes = self.part("ranges", at, entries, 16)?;
                Box::new(bytes.chunks_exact(16).map(|key| {
                    let mut halves = key.chunks_exact(8).map(|half| {
                        half.iter().rev().fold(0u128, |value, byte| value << 8 | u128::from(*byte))
                    });
                    let upper = halves.next().unwrap_or(0);
                    upper << 64 | halves.next().unwrap_or(0)
                }))
            }
        })
    }

    /// The bits of the front of the table at `at`, and what it looks at, if it has one.
    fn front(
        &mut self,
        at: u32,
        family: front::Family,
    ) -> Result<Option<(&'a [u8], u32)>, ImageError> {
        let offset = self.word(at + image::front::OFFSET)?;
        let prefix = self.word(at + image::front::PREFIX)?;
        let prefixes = match family {
            front::Family::V4 => 24..=24,
            front::Family::V6 => 1..=64,
        };
        if !prefixes.contains(&prefix) {
            let reason = "blocks of a size there is not";
            return Err(ImageError::Broken { what: "front", offset: at, reason });
        }
        if offset == 0 {
            return Ok(None);
        }
        Ok(Some((self.part("front", offset, 1, image::front::BYTES)?, prefix)))
    }

    /// Checks the first values of ranges and the index over them.
    fn keys(
        &mut self,
        at: u32,
        keys: u32,
        entries: u32,
        index: u32,
        width: Width,
    ) -> Result<(), ImageError> {
        let broken = |reason| ImageError::Broken { what: "ranges table", offset: at, reason };
        let keys = self.first_values(keys, entries, width)?;
        let mut index = match index {
            0 => None,
            at => Some(self.words("ranges index", at, RANGES_INDEX)?.peekable()),
        };
        // For each range the tops of values that come after the one before it and before it are indexed to the former.
        let shift = width.bits() - 16;
        let mut earlier: Option<u128> = None;
        let mut top = 0u32;
        for (number, key) in (0u32..).zip(keys) {
            if earlier.is_none() && key != 0 || earlier.is_some_and(|earlier| earlier >= key) {
                return Err(broken("ranges that do not ascend from 0"));
            }
            earlier = Some(key);
            if let Some(index) = &mut index {
                while top < RANGES_INDEX - 1 && u128::from(top) << shift < key {
                    if index.next() != Some(number.wrapping_sub(1)) {
                        return Err(broken("an index that leads elsewhere"));
                    }
                    top += 1;
                }
            }
        }
        if let Some(mut rest) = index
            && rest.any(|last| last != entries - 1)
        {
            return Err(broken("an index that leads elsewhere"));
        }
        Ok(())
    }
}

/// How wide keys are.
#[derive(Clone, Copy)]
enum Width {
    Number,
    V4,
    V6,
}

impl Width {
    fn bits(self) -> u32 {
        match self {
            Self::Number | Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}
