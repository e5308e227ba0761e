//! Walks a string through an automaton of the image and answers its label.
//!
//! One automaton holds all patterns of all rules on a fact. A transition is the offset of the next state's row or, with
//! bit 0 set, the answer: dead ends and states that no byte can change answer at once, and the class of the
//! terminating zero answers for the rest, so the loop needs one test a byte and no length. What is left of a string that
//! only one pattern can still match is compared in a second, short loop. Bytes in the middle that all strings which can
//! still match share are compared four at a time: ten thousand patterns are no deeper than ten where they differ.

use interdict_abi::{
    image::{automaton, skip, tail},
    limits::{PATH_BYTES, SKIP_BYTES, TAIL_BYTES},
};

use crate::{Bytes, Memory};

/// The label of `text` in the automaton at offset `at`: 0 if no pattern matches. `None` if no answer was reached within
/// `PATH_BYTES` bytes: the string is longer than any the kernel makes, which is the caller's fault to decide.
#[inline(always)]
pub fn walk<M: Memory + ?Sized, B: Bytes + ?Sized>(image: &M, at: u32, text: &B) -> Option<u32> {
    let mut cursor = Cursor::start(image, at);
    let mut piece = 0;
    while piece < pieces(PATH_BYTES as u32) && cursor.index < PATH_BYTES as u32 {
        if cursor.advance::<M, B, { PATH_BYTES as u32 }>(image, at, text) {
            break;
        }
        piece += 1;
    }
    cursor.label(image, text)
}

/// [`walk`] for strings of at most `LIMIT` bytes, the terminator included, in an automaton without skips: a short loop for
/// short strings.
#[inline(always)]
pub fn walk_bounded<M: Memory + ?Sized, B: Bytes + ?Sized, const LIMIT: u32>(
    image: &M,
    at: u32,
    text: &B,
) -> Option<u32> {
    let mut cursor = Cursor::start(image, at);
    cursor.steps::<M, B, LIMIT>(image, at, text);
    cursor.decided(image, text)
}

/// How many pieces a walk over a string of `bytes` bytes takes at most: each ends with a skip, or after more bytes.
pub const fn pieces(bytes: u32) -> u32 {
    bytes / SKIP_BYTES as u32 + 1
}

/// How far a walk has come, for walks in pieces: the kernel programs drive [`Cursor::advance`] with `bpf_loop`, a piece
/// at a time, so that the verifier checks one piece rather than every byte.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Cursor {
    state: u32,
    index: u32,
}

impl Cursor {
    /// Before the first byte.
    #[inline(always)]
    pub fn start<M: Memory + ?Sized>(image: &M, at: u32) -> Self {
        Self::start_at(image, at, 0)
    }

    /// Before the byte at `index`: what is in front of it is not part of the string.
    #[inline(always)]
    pub fn start_at<M: Memory + ?Sized>(image: &M, at: u32, index: u32) -> Self {
        Self { state: image.word(at + automaton::START), index }
    }

    /// Walks over at most `BYTES` bytes of `text` in the automaton at `at`, and over a skip if it comes to one. Answers
    /// whether the walk is decided.
    #[inline(always)]
    pub fn advance<M: Memory + ?Sized, B: Bytes + ?Sized, const BYTES: u32>(
        &mut self,
        image: &M,
        at: u32,
        text: &B,
    ) -> bool {
        self.steps::<M, B, BYTES>(image, at, text);
        if self.at_skip() {
            self.follow(image, text);
        }
        self.state & 1 != 0 && !self.at_skip()
    }

    #[inline(always)]
    fn steps<M: Memory + ?Sized, B: Bytes + ?Sized, const BYTES: u32>(
        &mut self,
        image: &M,
        at: u32,
        text: &B,
    ) {
        let classes = at + automaton::CLASSES;
        let mut state = self.state;
        let mut step = 0;
        while step < BYTES {
            if state & 1 != 0 {
                break;
            }
            let class = u32::from(image.byte(classes + u32::from(text.at(self.index + step))));
            state = image.word(state.wrapping_add(class * 4));
            step += 1;
        }
        self.state = state;
        self.index += text.forget(step);
    }

    #[inline(always)]
    fn at_skip(&self) -> bool {
        self.state & (automaton::SKIP | 1) == automaton::SKIP | 1
    }

    /// Goes where the skip leads if `text` goes on like it: nowhere else can a string go on.
    #[inline(always)]
    fn follow<M: Memory + ?Sized, B: Bytes + ?Sized>(&mut self, image: &M, text: &B) {
        const NOTHING: u32 = 1;
        let skip = image.long(self.state & !(automaton::SKIP | 1));
        let follows = text.four(self.index) == (skip >> (skip::TEXT * 8)) as u32;
        self.state = if follows { skip as u32 } else { NOTHING };
        self.index += SKIP_BYTES as u32;
    }

    /// The label the walk came to, `None` if it is not decided.
    #[inline(always)]
    pub fn label<M: Memory + ?Sized, B: Bytes + ?Sized>(&self, image: &M, text: &B) -> Option<u32> {
        if self.at_skip() { None } else { self.decided(image, text) }
    }

    /// [`Self::label`] in an automaton without skips.
    #[inline(always)]
    fn decided<M: Memory + ?Sized, B: Bytes + ?Sized>(&self, image: &M, text: &B) -> Option<u32> {
        if self.state & 1 == 0 {
            return None;
        }
        let label = self.state >> 1;
        if label & automaton::TAIL == 0 {
            Some(label)
        } else {
            Some(compare(image, label, text, self.index))
        }
    }
}

/// The label of the tail that `place` names if `text` goes on like it from `index`, else 0.
#[inline(always)]
fn compare<M: Memory + ?Sized, B: Bytes + ?Sized>(
    image: &M,
    place: u32,
    text: &B,
    index: u32,
) -> u32 {
    let at = (place & !automaton::TAIL) << 3;
    let head = image.long(at);
    let length = (head >> 32) as u32 & 0xffff;
    let mut differs = 0;
    let mut step = 0;
    while step < TAIL_BYTES as u32 {
        if step >= length {
            break;
        }
        differs |= text.at(index + step) ^ image.byte(at + tail::BYTES + step);
        step += 1;
    }
    let next = text.at(index + step);
    // A kind of end that this version does not know counts as none: the shortest list of strings.
    let end = (head >> 48) as u16;
    let goes_on = if end == tail::End::Anything as u16 {
        false
    } else if end == tail::End::EndOrSlash as u16 {
        next != 0 && next != b'/'
    } else {
        next != 0
    };
    if differs != 0 || goes_on { 0 } else { head as u32 }
}
