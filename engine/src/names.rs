//! A table of names, each with or without what is below it: for lists of domains too long for an automaton.
//!
//! In: a key as `dns` writes it, labels last first with `/` between. A name is found by a digest of its bytes, which is made
//! as they are read; at the end of every label the table is asked, and the longest name in it counts. Names that are not in
//! the table but have the digest of one that is (one in 2^64) are taken for it; the other way round cannot be.

use interdict_abi::image::names;

use crate::{Bytes, Memory};

/// Characters of the longest key, and its end.
pub const STEPS: u32 = 254;

/// How far a walk over a key has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Walk {
    digest: u64,
    index: u32,
    /// The label so far: 0 if no name of the table matches.
    pub label: u32,
}

impl Walk {
    /// Before the byte at `index`.
    #[inline(always)]
    pub fn start<M: Memory + ?Sized>(image: &M, at: u32, index: u32) -> Self {
        Self { digest: names::digest_of(image.word(at + names::SEED)), index, label: 0 }
    }

    /// Reads one byte. Answers whether it was the last.
    #[inline(always)]
    pub fn step<M: Memory + ?Sized, B: Bytes + ?Sized>(
        &mut self,
        image: &M,
        at: u32,
        text: &B,
    ) -> bool {
        let byte = text.at(self.index);
        self.index += 1;
        let end = byte == 0;
        if end || byte == b'/' {
            let found = find(image, at, names::finished(self.digest));
            if found != 0 {
                let label = if end { found } else { found >> 32 };
                self.label = (label as u32) & !names::PRESENT;
            }
        }
        self.digest = names::mixed(self.digest, byte);
        end
    }
}

/// The labels of the cell with this digest, 0 if there is none.
#[inline(always)]
fn find<M: Memory + ?Sized>(image: &M, at: u32, digest: u64) -> u64 {
    let mask = image.word(at + names::MASK);
    let mut place = digest as u32;
    let mut probe = 0;
    while probe < names::PROBES {
        let cell = at + names::CELLS + (place & mask) * names::CELL_BYTES;
        let there = image.long(cell);
        if there == digest {
            return image.long(cell + 8);
        }
        if there == 0 {
            return 0;
        }
        place = place.wrapping_add(1);
        probe += 1;
    }
    0
}

/// The label of a key, for readers that are not kernel programs. `None` if it is longer than any name.
pub fn label<M: Memory + ?Sized, B: Bytes + ?Sized>(image: &M, at: u32, text: &B) -> Option<u32> {
    let mut walk = Walk::start(image, at, 0);
    for _ in 0..STEPS {
        if walk.step(image, at, text) {
            return Some(walk.label);
        }
    }
    None
}
