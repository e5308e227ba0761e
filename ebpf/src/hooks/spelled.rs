//! Paths as a caller wrote them, and acts on files that are judged by such: for hosts without BPF LSM.
//!
//! In: an address in the caller's memory and the directory a relative path starts from. Out: an absolute path in the area's
//! text, without `.`, `..` and empty components. Links are not followed, so it need not be the path of the file. Nothing
//! is remembered of it.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user_str};
use interdict_abi::{
    event::flags,
    ids::{Fact, Family, Generation},
    limits::{COLUMN_PARTS, PATH_BYTES},
};
use interdict_engine::{
    dfa::{self, Cursor},
    facts::Narrowing,
    tidy::{Page, Tidying},
};

use super::{
    climbing::{self, From},
    judge::Case,
    object::{self, how, row},
    report::{self, Told},
    strings::{self, Walking},
};
use crate::{
    bounds::{masked, opaque},
    kernel::{
        copy, copy_string, copy_user,
        path::{Built, Spot},
    },
    policy,
    scratch::{self, Area, SLACK_BYTES, TEXT_BYTES, Text},
    words,
};

/// Bytes that positions in the text can name.
const ROOM: u64 = (TEXT_BYTES + SLACK_BYTES) as u64;

impl Page for Text {
    #[inline(always)]
    fn get(&self, at: u64) -> u8 {
        let at = opaque(at);
        if at < ROOM { self.0[at as usize] } else { 0 }
    }

    #[inline(always)]
    fn put(&mut self, at: u64, byte: u8) {
        let at = opaque(at);
        if at < ROOM {
            self.0[at as usize] = byte;
        }
    }
}

/// What the callbacks work on. The context of `bpf_loop` must be on the stack.
#[repr(C)]
struct Working<'a> {
    work: &'a mut scratch::Work,
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `working` must be live.
#[inline(never)]
unsafe extern "C" fn tidy(_index: u64, working: *mut Working<'_>) -> i64 {
    // SAFETY: by the caller.
    let work = unsafe { &mut *(*working).work };
    i64::from(work.tidying.step(&mut work.text))
}

/// The path at an address of the caller's memory, made absolute from `place`, at `at` of the text in the area. Answers its
/// bytes; 0 if it cannot be had. Where its last component starts is left in the area.
#[inline(always)]
pub fn spelled(area: Area, at: u64, place: Spot, address: u64) -> u64 {
    if at >= PATH_BYTES as u64 {
        return 0;
    }
    let mut first = 0u8;
    // SAFETY: a byte; the helper checks the source.
    if !unsafe { copy_user(&raw mut first, 1, address) } {
        return 0;
    }
    let mut behind = 0;
    if first != b'/' {
        let base = climbing::climbed(area, at, place, From::Process);
        if !base.known() {
            return 0;
        }
        behind = masked::<{ PATH_BYTES as u64 - 1 }>(base.bytes) + 1;
    }
    interdict_spelled(area.number, at as u32, behind as u32, address)
}

/// Reads the path at `address` behind `behind` bytes of the text at `at` and tidies it. See [`spelled`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_spelled(area: u32, at: u32, behind: u32, address: u64) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let at = masked::<{ PATH_BYTES as u64 - 1 }>(u64::from(at));
    let behind = masked::<{ PATH_BYTES as u64 - 1 }>(u64::from(behind));
    // SAFETY: both are below PATH_BYTES, and the text has three times that.
    let target = unsafe { work.text.0.as_mut_ptr().add(at as usize).add(behind as usize) };
    // SAFETY: as above; the helper checks the source.
    let read = unsafe {
        bpf_probe_read_user_str(target.cast(), PATH_BYTES as u32, address as *const c_void) as i64
    };
    // Of PATH_BYTES the last is a terminator that was put there: so long a path the kernel would not have taken.
    if read <= 0 {
        return 0;
    }
    if behind != 0 {
        work.text.put(at + behind - 1, b'/');
    }
    work.tidying = Tidying::start(at, ROOM);
    let mut working = Working { work };
    // SAFETY: the callback is `tidy`, and its context outlives the call.
    unsafe {
        bpf_loop(Tidying::steps(ROOM as u32), tidy as *mut c_void, (&raw mut working).cast(), 0)
    };
    let work = working.work;
    let bytes = work.tidying.bytes();
    if bytes == 0 || bytes >= PATH_BYTES as u64 {
        return 0;
    }
    work.text.put(at + bytes, 0);
    bytes
}

/// As `interdict_label` of a path that starts at `at` in the text.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_spelled_label(area: u32, slot: u32, automaton: u32, at: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    work.cursor = Cursor::start_at(&image, automaton, at);
    let mut walking = Walking { work, image, automaton: u64::from(automaton) };
    // SAFETY: the callback is `walk`, and its context outlives the call.
    unsafe {
        bpf_loop(
            dfa::pieces(PATH_BYTES as u32),
            strings::walk as *mut c_void,
            (&raw mut walking).cast(),
            0,
        )
    };
    let work = walking.work;
    match work.cursor.label(&image, &work.text) {
        Some(label) => u64::from(label) + 1,
        None => 0,
    }
}

/// Writes the labels of the path that starts at `at` into a row, as a `fact`; those of no path if it has no `bytes`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_spelled_labels(area: u32, fact: u32, row: u32, at: u32, bytes: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let slot = work.question.slot;
    let Some(image) = policy::slot(slot) else { return 0 };
    if bytes == 0 {
        object::all_labels(work, row, 0);
        return 0;
    }
    let mut part = Narrowing::resume(&image, &mut work.progress).first_part_of(fact);
    let mut step = 0;
    while step < COLUMN_PARTS && part != 0 {
        let narrowing = Narrowing::resume(&image, &mut work.progress);
        let automaton = narrowing.part_automaton(part);
        part = narrowing.next_part(part);
        let label = interdict_spelled_label(area, slot, automaton, at);
        object::write_label(work, row, step, label as u32);
        step += 1;
    }
    0
}

/// The last component of a path that was spelled: where it starts in the text, and its end.
#[inline(always)]
fn label_last(area: Area, start: u64, end: u64) {
    if !object::tested(area, Fact::Name) {
        return;
    }
    let bytes = end.wrapping_sub(start);
    let work = area.work();
    let at = masked::<{ TEXT_BYTES as u64 - 1 }>(start);
    // SAFETY: inside the text, which has more than 257 bytes of slack; the short string has 512.
    let read = unsafe {
        copy_string(work.short.0.as_mut_ptr(), 257, work.text.0.as_ptr().add(at as usize))
    };
    object::label_name(area, read > 0 && bytes <= 255 && end > start);
}

/// Judges the act in question by the paths in the text. Nothing can be refused: who is to be stopped is killed.
#[inline(always)]
pub fn answer(area: Area) {
    interdict_spelled_answer(area.number);
}

/// See [`answer`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_spelled_answer(number: u32) -> u64 {
    let Some(area) = scratch::numbered(number) else { return 0 };
    let Some(policy) = object::policy_of(&area.work().question) else { return 0 };
    if Case::start(&policy, area, Family::File).is_none() {
        return 0;
    }
    // SAFETY: a decision of zeros is `Decision::PASS`.
    unsafe { words::zero(&mut area.work().best) };
    let question = &area.work().question;
    let (bytes, last) = (question.bytes, question.last);
    if question.how & how::SPELLED_BOTH != 0 {
        let (second, second_last) = (question.second_bytes, question.second_last);
        let (path, other) = (Fact::Path as u32, Fact::SecondPath as u32);
        let at = bytes as u32 + 1;
        interdict_spelled_labels(number, other, row::SECOND, at, second as u32);
        interdict_spelled_labels(number, path, row::OTHER, at, second as u32);
        label_last(area, second_last, bytes + 1 + second);
        object::by_path(area, row::OTHER);
    }
    interdict_spelled_labels(number, Fact::Path as u32, row::SEEN, 0, bytes as u32);
    label_last(area, last, bytes);
    object::by_path(area, row::SEEN);
    if !area.work().best.tells() {
        return 0;
    }
    tell(area);
    0
}

#[inline(always)]
fn tell(area: Area) {
    let question = &area.work().question;
    let mut told = Told { flags: question.flags | flags::SPELLED, ..Told::default() };
    told.acts = 1 << (question.act & 15);
    told.path(Built { bytes: masked::<{ PATH_BYTES as u64 - 1 }>(question.bytes), deleted: 0 });
    if question.how & how::SPELLED_BOTH != 0 {
        let bytes = masked::<{ PATH_BYTES as u64 - 1 }>(question.second_bytes);
        let at = told.path_bytes as usize;
        let text = &mut area.work().text;
        // SAFETY: inside the text.
        let (target, source) =
            unsafe { (text.0.as_mut_ptr().add(at), text.0.as_ptr().add(at + 1)) };
        // SAFETY: as above. Records have one string behind the other; the kernel copies upwards.
        if unsafe { copy(target, bytes, source) } {
            told.extra_bytes = bytes;
        }
        told.flags |= flags::SECOND_PATH;
    }
    let work = area.work();
    // SAFETY: a decision is eight-aligned words.
    unsafe { words::copy_value(&mut work.decision, &work.best) };
    report::happened(area);
    let generation = Generation(area.work().question.generation);
    report::begin(area, generation, Family::File, &told);
    report::actor(area);
    report::finish(area);
}
