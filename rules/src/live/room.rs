//! Which bytes of an image are free: what lies behind it, and the pages that were replaced.

use std::collections::{BTreeMap, BTreeSet};

/// Free bytes.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// Sizes by place; no two touch.
    places: BTreeMap<u32, u32>,
    /// The same, by size.
    sizes: BTreeSet<(u32, u32)>,
    /// The end of what was ever used.
    next: u32,
    /// Where the memory ends.
    pub(super) end: u32,
}

impl Room {
    /// Behind an image of `length` bytes.
    pub(super) fn new(length: u32) -> Self {
        let (places, sizes) = (BTreeMap::new(), BTreeSet::new());
        Self { places, sizes, next: length, end: length }
    }

    /// The end of what was ever used.
    pub(super) fn used(&self) -> u32 {
        self.next
    }

    /// Takes `bytes`, a multiple of 8: of the smallest place that is large enough, else behind what was ever used.
    pub(super) fn take(&mut self, bytes: u32) -> Option<u32> {
        let Some((size, at)) = self.sizes.range((bytes, 0)..).next().copied() else {
            let at = self.next;
            self.next = at.checked_add(bytes).filter(|end| *end <= self.end)?;
            return Some(at);
        };
        self.forget(at, size);
        if size > bytes {
            self.keep(at + bytes, size - bytes);
        }
        Some(at)
    }

    /// Gives back.
    pub(super) fn free(&mut self, mut at: u32, mut bytes: u32) {
        if let Some((before, size)) =
            self.places.range(..at).next_back().map(|(at, size)| (*at, *size))
            && before + size == at
        {
            self.forget(before, size);
            (at, bytes) = (before, size + bytes);
        }
        if let Some(size) = self.places.get(&(at + bytes)).copied() {
            self.forget(at + bytes, size);
            bytes += size;
        }
        self.keep(at, bytes);
    }

    fn keep(&mut self, at: u32, bytes: u32) {
        self.places.insert(at, bytes);
        self.sizes.insert((bytes, at));
    }

    fn forget(&mut self, at: u32, bytes: u32) {
        self.places.remove(&at);
        self.sizes.remove(&(bytes, at));
    }
}

#[cfg(test)]
mod tests {
    use super::Room;

    #[test]
    fn what_is_taken_never_overlaps_and_ends_with_the_memory() {
        let mut room = Room::new(64);
        assert_eq!(room.take(8), None);
        room.end = 128;
        assert_eq!((room.take(32), room.take(32), room.take(8)), (Some(64), Some(96), None));
        room.free(64, 32);
        assert_eq!((room.take(8), room.take(24), room.take(8)), (Some(64), Some(72), None));
        assert_eq!(room.used(), 128);
        // Neighbours become one place again, in whatever order they come.
        room.free(72, 24);
        room.free(96, 32);
        room.free(64, 8);
        assert_eq!((room.take(64), room.take(8)), (Some(64), None));
    }
}
