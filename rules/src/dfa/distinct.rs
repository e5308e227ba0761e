//! Sequences of words, each kept once and known by its number.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// Distinct sequences, numbered as they came.
#[derive(Default)]
pub(super) struct Distinct {
    words: Vec<u32>,
    /// Where each ends.
    ends: Vec<usize>,
    /// The one with the same hash that was kept before.
    earlier: Vec<u32>,
    latest: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
}

const NONE: u32 = u32::MAX;

impl Distinct {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes they take.
    pub(super) fn bytes(&self) -> usize {
        // A number of each in `ends`, `earlier` and `latest`, with its hash.
        size_of_val(&self.words[..]) + self.ends.len() * 32
    }

    /// Sequence `number`.
    pub(super) fn of(&self, number: usize) -> &[u32] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.words[start..self.ends[number]]
    }

    /// Keeps a sequence that no other is to be taken for. Answers its number.
    pub(super) fn keep(&mut self, sequence: impl Iterator<Item = u32>) -> u32 {
        self.words.extend(sequence);
        self.close(NONE)
    }

    /// The number of a sequence: a new one if it was not met before.
    pub(super) fn find_or_keep(&mut self, sequence: impl Iterator<Item = u32>) -> u32 {
        let start = self.words.len();
        self.words.extend(sequence);
        let hash = self.words[start..].iter().fold(0u64, |hash, word| {
            (hash.rotate_left(5) ^ u64::from(*word)).wrapping_mul(0x517c_c1b7_2722_0a95)
        });
        let latest = self.latest.get(&hash).copied().unwrap_or(NONE);
        let mut at = latest;
        while at != NONE {
            if *self.of(at as usize) == self.words[start..] {
                self.words.truncate(start);
                return at;
            }
            at = self.earlier[at as usize];
        }
        self.latest.insert(hash, self.ends.len() as u32);
        self.close(latest)
    }

    fn close(&mut self, earlier: u32) -> u32 {
        let number = self.ends.len() as u32;
        self.ends.push(self.words.len());
        self.earlier.push(earlier);
        number
    }
}

/// Keys that are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sequences_have_one_number_and_a_kept_one_is_never_found() {
        let mut distinct = Distinct::default();
        assert_eq!(distinct.keep([1, 2].into_iter()), 0);
        assert_eq!(distinct.find_or_keep([1, 2].into_iter()), 1);
        assert_eq!(distinct.find_or_keep([1].into_iter()), 2);
        assert_eq!(distinct.find_or_keep([].into_iter()), 3);
        assert_eq!(distinct.find_or_keep([1, 2].into_iter()), 1);
        assert_eq!(distinct.find_or_keep([].into_iter()), 3);
        assert_eq!((distinct.len(), distinct.of(0), distinct.of(2)), (4, &[1, 2][..], &[1][..]));
    }
}
