//! Walks a string through an automaton of the image and answers its label.
//!
//! One automaton holds all patterns of all rules on a fact. A transition is the offset of the next state's row or, with
//! bit 0 set, the answer: dead ends and states that no byte can change answer at once, and the class of the
//! terminating zero answers for the rest, so the loop needs one test a byte and no length.

use interdict_abi::{image::automaton, limits::PATH_BYTES};

use crate::{Bytes, Memory};

/// The label of `text` in the automaton at offset `at`: 0 if no pattern matches. `None` if no answer was reached within
/// `PATH_BYTES` bytes: the string is longer than any the kernel makes, which is the caller's fault to decide.
#[inline(always)]
pub fn walk<M: Memory + ?Sized, B: Bytes + ?Sized>(image: &M, at: u32, text: &B) -> Option<u32> {
    walk_bounded::<M, B, { PATH_BYTES as u32 }>(image, at, text)
}

/// [`walk`] for strings of at most `LIMIT` bytes, the terminator included: a short loop for short strings.
#[inline(always)]
pub fn walk_bounded<M: Memory + ?Sized, B: Bytes + ?Sized, const LIMIT: u32>(
    image: &M,
    at: u32,
    text: &B,
) -> Option<u32> {
    let classes = at + automaton::CLASSES;
    let mut state = image.word(at + automaton::START);
    let mut index = 0;
    while index < LIMIT {
        if state & 1 != 0 {
            return Some(state >> 1);
        }
        let class = u32::from(image.byte(classes + u32::from(text.at(index))));
        state = image.word(state.wrapping_add(class * 4));
        index += 1;
    }
    if state & 1 != 0 { Some(state >> 1) } else { None }
}
