//! The arguments of a new program, one by one, as a set of predicates.

use interdict_abi::{image::automaton, limits::SET_WORDS};

use crate::{Bytes, Memory};

/// How far the walk over the arguments has come, and what it found.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Gathering {
    /// Predicates that hold of any argument so far.
    pub set: [u64; SET_WORDS],
    /// Offset of the automaton.
    automaton: u32,
    /// Offset of the table of label to set.
    sets: u32,
    state: u32,
    index: u32,
    /// Bytes of text.
    bytes: u32,
    reserved: u32,
}

impl Gathering {
    /// Before the first byte of `bytes` bytes of arguments, zero-separated, the last one terminated. `at` is the argument
    /// automaton, `sets` its table of label to set.
    #[inline(always)]
    pub fn start<M: Memory + ?Sized>(image: &M, at: u32, sets: u32, bytes: u32) -> Self {
        let state = image.word(at + automaton::START);
        Self { set: [0; SET_WORDS], automaton: at, sets, state, index: 0, bytes, reserved: 0 }
    }

    /// [`Self::start`] in place, for memory whose set is clear already.
    #[inline(always)]
    pub fn restart<M: Memory + ?Sized>(&mut self, image: &M, at: u32, sets: u32, bytes: u32) {
        self.automaton = at;
        self.sets = sets;
        self.state = image.word(at + automaton::START);
        self.index = 0;
        self.bytes = bytes;
    }

    /// Looks at one byte. Answers true when all have been looked at. The kernel programs drive it with `bpf_loop`.
    #[inline(always)]
    pub fn step<M: Memory + ?Sized, B: Bytes + ?Sized>(&mut self, image: &M, text: &B) -> bool {
        if self.index >= self.bytes {
            return true;
        }
        let byte = text.at(self.index);
        self.index += 1;
        if self.state & 1 == 0 {
            let class =
                u32::from(image.byte(self.automaton + automaton::CLASSES + u32::from(byte)));
            self.state = image.word(self.state.wrapping_add(class * 4));
        }
        if byte == 0 {
            let label = self.state >> 1;
            let row = self.sets.wrapping_add(label.wrapping_mul(SET_WORDS as u32 * 8));
            let mut word = 0;
            while word < SET_WORDS {
                self.set[word] |= image.long(row.wrapping_add(word as u32 * 8));
                word += 1;
            }
            self.state = image.word(self.automaton + automaton::START);
        }
        false
    }
}

/// The predicates that hold of any argument in `text`: see [`Gathering::start`].
pub fn gather<M: Memory + ?Sized, B: Bytes + ?Sized>(
    image: &M,
    at: u32,
    sets: u32,
    text: &B,
    bytes: u32,
) -> [u64; SET_WORDS] {
    let mut gathering = Gathering::start(image, at, sets, bytes);
    while !gathering.step(image, text) {}
    gathering.set
}
