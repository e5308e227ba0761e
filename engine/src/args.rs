//! The arguments of a new program, one by one, as a set of predicates.

use interdict_abi::{
    image::automaton,
    limits::{ARGS_MATCHED_BYTES, SET_WORDS},
};

use crate::{Bytes, Memory};

/// Adds to `set` the predicates that hold of any argument in `text`: zero-separated, `bytes` long, the last one
/// terminated. `at` is the argument automaton, `sets` its table of label to set. Answers false if there is more text
/// than is looked at: then the set holds what was found in the first `ARGS_MATCHED_BYTES`.
///
/// The automaton steps without a branch even after it has decided, so that each byte costs the verifier one decision.
#[inline(always)]
pub fn gather<M: Memory + ?Sized, B: Bytes + ?Sized>(
    image: &M,
    at: u32,
    sets: u32,
    text: &B,
    bytes: u32,
    set: &mut [u64; SET_WORDS],
) -> bool {
    let classes = at + automaton::CLASSES;
    let start = image.word(at + automaton::START);
    let mut state = start;
    let mut index = 0;
    while index < ARGS_MATCHED_BYTES {
        if index >= bytes {
            return true;
        }
        let byte = text.at(index);
        let class = u32::from(image.byte(classes + u32::from(byte)));
        let next = image.word(state.wrapping_add(class * 4));
        let decided = 0u32.wrapping_sub(state & 1);
        state = (state & decided) | (next & !decided);
        if byte == 0 {
            let row = sets.wrapping_add((state >> 1).wrapping_mul(SET_WORDS as u32 * 8));
            let mut word = 0;
            while word < SET_WORDS {
                set[word] |= image.long(row.wrapping_add(word as u32 * 8));
                word += 1;
            }
            state = start;
        }
        index += 1;
    }
    bytes <= ARGS_MATCHED_BYTES
}
