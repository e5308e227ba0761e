//! What has to be written to an image, in which order.

use std::collections::HashMap;

use super::{Refused, room::Room};
use crate::{image::page, lower::Sharers};

/// One write. Each takes effect at once for whoever reads meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Bytes that nobody reads yet, at an offset.
    Fill(u32, &'a [u8]),
    /// Sets these bits of the byte at an offset.
    Set(u32, u8),
    /// Stores the word at an offset, a multiple of 8, in one piece.
    Store(u32, u64),
    /// Clears these bits of the byte at an offset.
    Clear(u32, u8),
}

impl Step<'_> {
    /// Makes it in a copy of the image, which grows as needed.
    pub fn apply(&self, image: &mut Vec<u8>) {
        let mut put = |at: u32, bytes: &[u8]| {
            let (start, end) = (at as usize, at as usize + bytes.len());
            if image.len() < end {
                image.resize(end, 0);
            }
            image[start..end].copy_from_slice(bytes);
        };
        match self {
            Self::Fill(at, bytes) => put(*at, bytes),
            Self::Store(at, word) => put(*at, &word.to_le_bytes()),
            Self::Set(at, bits) => image[*at as usize] |= bits,
            Self::Clear(at, bits) => image[*at as usize] &= !bits,
        }
    }
}

/// Changes of an image, to be made in the order of [`Patch::steps`].
#[derive(Clone, Debug, Default)]
pub struct Patch {
    fill: Vec<(u32, Vec<u8>)>,
    set: Vec<(u32, u8)>,
    store: Vec<(u32, u64)>,
    clear: Vec<(u32, u8)>,
    /// What nobody reads once it is made and a grace period is over: offset and bytes.
    pub(super) freed: Vec<(u32, u32)>,
    bytes: usize,
}

impl Patch {
    /// The writes. Between `Fill` and `Store` all that was filled must have become visible.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let fill = self.fill.iter().map(|(at, bytes)| Step::Fill(*at, bytes));
        let set = self.set.iter().map(|(at, bits)| Step::Set(*at, *bits));
        let store = self.store.iter().map(|(at, word)| Step::Store(*at, *word));
        let clear = self.clear.iter().map(|(at, bits)| Step::Clear(*at, *bits));
        fill.chain(set).chain(store).chain(clear)
    }

    /// Bytes that are filled.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fill.is_empty() && self.store.is_empty()
    }

    /// Whether something becomes free by it.
    pub(super) fn frees(&self) -> bool {
        !self.freed.is_empty()
    }
}

/// What the tables of a column write with.
pub(super) struct Writing<'w> {
    pub(super) patch: &'w mut Patch,
    pub(super) room: &'w mut Room,
    /// What stands in pages, by the predicates that are true.
    pub(super) rows: &'w mut HashMap<Vec<u32>, u32>,
    pub(super) sharers: &'w Sharers,
    /// Blocks of fronts that may still be looked at.
    pub(super) blocks: &'w mut u64,
}

impl Writing<'_> {
    /// What stands in pages for values that make exactly `truths` true: the delta row, or where those of all sharers are. Rows
    /// stay where they are.
    pub(super) fn row(&mut self, truths: &[u32]) -> Result<u32, Refused> {
        if let Some(known) = self.rows.get(truths) {
            return Ok(*known);
        }
        let mut deltas = Vec::new();
        for flips in self.sharers.flips(truths) {
            deltas.push(if flips.is_empty() { 0 } else { self.fill(page::delta_row(&flips))? });
        }
        let row = match deltas[..] {
            [one] => one,
            _ if deltas.iter().all(|delta| *delta == 0) => 0,
            _ => self.fill(page::entry(&deltas))?,
        };
        self.rows.insert(truths.to_vec(), row);
        Ok(row)
    }

    /// Writes bytes where nobody reads.
    pub(super) fn fill(&mut self, bytes: Vec<u8>) -> Result<u32, Refused> {
        let at = self.room.take(bytes.len() as u32).ok_or(Refused::NoRoom)?;
        self.patch.bytes += bytes.len();
        self.patch.fill.push((at, bytes));
        Ok(at)
    }

    pub(super) fn store(&mut self, at: u32, word: u64) {
        self.patch.store.push((at, word));
    }

    pub(super) fn free(&mut self, at: u32, bytes: u32) {
        self.patch.freed.push((at, bytes));
    }

    pub(super) fn set(&mut self, at: u32, bits: u8) {
        self.patch.set.push((at, bits));
    }

    pub(super) fn clear(&mut self, at: u32, bits: u8) {
        self.patch.clear.push((at, bits));
    }
}
