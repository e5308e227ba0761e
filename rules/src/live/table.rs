//! One table of addresses in an image: its pages, and how one of them is written anew.

use interdict_abi::image::{front, pages};
use interdict_engine::Memory as _;

use super::{Refused, patch::Writing};
use crate::{
    image::{
        front as blocks,
        page::{self, Key},
    },
    lower::{Point, Ranges},
};

/// An address as tables have it.
pub(super) trait Address: Key + Point {
    /// The largest.
    const LAST: Self;
    /// Whose it is.
    const FAMILY: blocks::Family;
    /// The one before.
    fn before(self) -> Self;
    /// The block of a front that it lies in.
    fn block(self, prefix: u32) -> u64;
    /// The first address of a block.
    fn of_block(block: u64, prefix: u32) -> Self;
    /// The fences of a table of `count` pages.
    fn fences(image: &[u8], fences: u32, count: u32) -> Vec<Self>;
}

impl Address for u32 {
    const LAST: Self = u32::MAX;
    const FAMILY: blocks::Family = blocks::Family::V4;

    fn before(self) -> Self {
        self.wrapping_sub(1)
    }

    fn block(self, prefix: u32) -> u64 {
        u64::from(self >> (32 - prefix))
    }

    fn of_block(block: u64, prefix: u32) -> Self {
        (block as u32) << (32 - prefix)
    }

    fn fences(_image: &[u8], _fences: u32, count: u32) -> Vec<Self> {
        (0..count).map(|top| top << 16).collect()
    }
}

impl Address for u128 {
    const LAST: Self = u128::MAX;
    const FAMILY: blocks::Family = blocks::Family::V6;

    fn before(self) -> Self {
        self.wrapping_sub(1)
    }

    fn block(self, prefix: u32) -> u64 {
        (self >> (128 - prefix)) as u64
    }

    fn of_block(block: u64, prefix: u32) -> Self {
        u128::from(block) << (128 - prefix)
    }

    fn fences(image: &[u8], fences: u32, count: u32) -> Vec<Self> {
        let key = |at: u32| u128::from(image.long(at)) << 64 | u128::from(image.long(at + 8));
        (0..count).map(|fence| key(fences + fence * 16)).collect()
    }
}

/// Ascending ranges, apart from each other, in which something may have changed.
pub(super) struct Changed<'c, P>(pub(super) &'c [(P, P)]);

impl<P: Address> Changed<'_, P> {
    /// Those that meet `first..=last`, cut to it.
    fn within(&self, first: P, last: P) -> impl Iterator<Item = (P, P)> {
        let start = self.0.partition_point(|(_, high)| *high < first);
        let met = self.0[start..].iter().take_while(move |(low, _)| *low <= last);
        met.map(move |(low, high)| ((*low).max(first), (*high).min(last)))
    }
}

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Table<P> {
    fences: Vec<P>,
    /// Offset and number of ranges of each page.
    pages: Vec<(u32, u32)>,
    descriptors: u32,
    front: u32,
    prefix: u32,
}

impl<P: Address> Table<P> {
    /// The table at `at`.
    pub(super) fn read(image: &[u8], at: u32) -> Self {
        let count = image.word(at + pages::COUNT);
        let descriptors = image.word(at + pages::DESCRIPTORS);
        let page = |number: u32| {
            let descriptor = image.long(descriptors + number * 8);
            (descriptor as u32, (descriptor >> 32) as u32)
        };
        Self {
            fences: P::fences(image, image.word(at + pages::FENCES), count),
            pages: (0..count).map(page).collect(),
            descriptors,
            front: image.word(at + front::OFFSET),
            prefix: image.word(at + front::PREFIX),
        }
    }

    /// The page that answers for an address.
    fn page_of(&self, address: P) -> usize {
        self.fences.partition_point(|fence| *fence <= address).saturating_sub(1)
    }

    /// The pages that answer for some address of ascending ranges.
    pub(super) fn pages_of(&self, ranges: &[(P, P)]) -> Vec<usize> {
        let mut found: Vec<usize> = ranges
            .iter()
            .flat_map(|(low, high)| self.page_of(*low)..=self.page_of(*high))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Writes page `number` anew, by the ranges of all predicates, and sees to the front.
    pub(super) fn write<'r>(
        &mut self,
        number: usize,
        predicates: impl Iterator<Item = &'r [(P, P)]>,
        changed: &Changed<'_, P>,
        writing: &mut Writing<'_>,
    ) -> Result<(), Refused>
    where
        P: 'r,
    {
        let first = self.fences[number];
        let last = self.fences.get(number + 1).map_or(P::LAST, |next| next.before());
        let mut ranges = Ranges::default();
        for (predicate, all) in (0u32..).zip(predicates) {
            let start = all.partition_point(|(_, high)| *high < first);
            let met: Vec<(P, P)> = all[start..]
                .iter()
                .take_while(|(low, _)| *low <= last)
                .map(|(low, high)| ((*low).max(first), *high))
                .collect();
            ranges.add(predicate, &met);
        }
        let mut refused = None;
        let (mut keys, mut deltas) = ranges.sweep_from(first, &mut |truths| {
            writing.row(truths).unwrap_or_else(|why| {
                refused = Some(why);
                0
            })
        });
        if let Some(refused) = refused {
            return Err(refused);
        }
        // What ends past the page ends there.
        let within = keys.partition_point(|key| *key <= last);
        keys.truncate(within);
        deltas.truncate(within);
        if self.front != 0 {
            self.see_to_front(&keys, &deltas, (first, last), changed, writing)?;
        }
        let made = page::of(&keys, &deltas);
        let count = made.count;
        let at = writing.fill(made.bytes)?;
        let place = self.descriptors + number as u32 * 8;
        writing.store(place, pages::descriptor(at, count));
        let (old, old_count) = std::mem::replace(&mut self.pages[number], (at, count));
        writing.free(old, (pages::deltas(old_count, P::BYTES) + old_count * 4).next_multiple_of(8));
        Ok(())
    }

    /// Lets what is listed now pass the front, and of IPv4, whose blocks have a bit each, nothing else.
    fn see_to_front(
        &self,
        keys: &[P],
        deltas: &[u32],
        (first, last): (P, P),
        changed: &Changed<'_, P>,
        writing: &mut Writing<'_>,
    ) -> Result<(), Refused> {
        for (low, high) in changed.within(first, last) {
            let met = low.block(self.prefix)..=high.block(self.prefix);
            let count = met.end() - met.start() + 1;
            *writing.blocks = writing.blocks.checked_sub(count).ok_or(Refused::Wide)?;
            for block in met {
                let begin = P::of_block(block, self.prefix).max(first);
                let next = block.wrapping_add(1);
                let past = P::of_block(next, self.prefix);
                let end = if past > begin { past.before().min(last) } else { last };
                let from = keys.partition_point(|key| *key <= begin).saturating_sub(1);
                let to = keys.partition_point(|key| *key <= end);
                let listed = deltas[from..to].iter().any(|delta| *delta != 0);
                let bit = blocks::bit(block, self.prefix, P::FAMILY);
                let (place, bits) = (self.front + bit / 8, 1 << (bit % 8));
                match (listed, P::FAMILY) {
                    (true, _) => writing.set(place, bits),
                    (false, blocks::Family::V4) => writing.clear(place, bits),
                    // Others may share the bit.
                    (false, blocks::Family::V6) => {}
                }
            }
        }
        Ok(())
    }
}
