//! Strings of an act, walked through the automata of a policy, and narrowing by what they come to. Functions that the
//! verifier checks by themselves: see `judge`.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use interdict_abi::{
    ids::Fact,
    limits::{COLUMN_PARTS, PATH_BYTES},
};
use interdict_engine::{
    dfa::{self, Cursor},
    dns::KEY_BYTES,
    facts::Narrowing,
    names,
};

use crate::{
    policy::{self, Image},
    scratch::{self, Area},
};

/// The label of the path in the area under an automaton, plus one; 0 if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_label(area: u32, slot: u32, automaton: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    work.cursor = Cursor::start(&image, automaton);
    let mut walking = Walking { work, image, automaton: u64::from(automaton) };
    // SAFETY: the callback is `walk`, and its context outlives the call.
    unsafe {
        bpf_loop(dfa::pieces(PATH_BYTES as u32), walk as *mut c_void, (&raw mut walking).cast(), 0)
    };
    let work = walking.work;
    match work.cursor.label(&image, &work.text) {
        Some(label) => u64::from(label) + 1,
        None => 0,
    }
}

/// Bytes of a path that one step walks over, or fewer and a skip.
pub const PIECE: u32 = 64;

/// What [`walk`] works on.
#[repr(C)]
pub struct Walking<'a> {
    /// The area, with the string and how far the walk has come.
    pub work: &'a mut scratch::Work,
    /// The policy.
    pub image: Image,
    /// Where in it the automaton is.
    pub automaton: u64,
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `walking` must be live.
#[inline(never)]
pub unsafe extern "C" fn walk(_index: u64, walking: *mut Walking<'_>) -> i64 {
    // SAFETY: by the caller.
    let walking = unsafe { &mut *walking };
    let work = &mut *walking.work;
    let automaton = walking.automaton as u32;
    let decided = work.cursor.advance::<_, _, PIECE>(&walking.image, automaton, &work.text);
    i64::from(decided)
}

/// As [`interdict_label`] for the short string in the area.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_short_label(area: u32, slot: u32, automaton: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    match dfa::walk_bounded::<_, _, 257>(&image, automaton, &work.short) {
        Some(label) => u64::from(label) + 1,
        None => 0,
    }
}

/// [`interdict_string`]: the fact could not be learned.
pub const UNKNOWN: u32 = 0;
/// [`interdict_string`]: it is the text in the area.
pub const LONG: u32 = 1;
/// [`interdict_string`]: it is the short string in the area.
pub const SHORT: u32 = 2;
/// [`interdict_string`]: the act has no such thing.
pub const ABSENT: u32 = 3;

/// Narrows by a string, or by the fact that there is none to be had, part by part of the fact's column. Answers its label
/// plus one if the column has one part, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interdict_string(area: u32, slot: u32, fact: u32, source: u32) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    if source == ABSENT {
        Narrowing::resume(&image, &mut area.work().progress).absent_of(fact);
        return 0;
    }
    let mut label = 0;
    let parts = by_parts(area, &image, fact, |part, _| {
        label = match source {
            LONG => interdict_label(area.number, slot, part.automaton),
            SHORT => interdict_short_label(area.number, slot, part.automaton),
            _ => 0,
        };
        label
    });
    if parts == 1 { label } else { 0 }
}

/// One part of a column whose strings are read by automata.
pub struct Part {
    /// The automaton, or the table of names.
    pub automaton: u32,
    /// Whether it is a table of names.
    pub names: bool,
}

/// Narrows by each part of a fact's column in turn: by the label that `label` answers for it and for its place, plus one; 0
/// if there is none to be known. Answers how many parts there were.
#[inline(always)]
pub fn by_parts(
    area: Area,
    image: &Image,
    fact: u32,
    mut label: impl FnMut(Part, usize) -> u64,
) -> usize {
    let mut part = Narrowing::resume(image, &mut area.work().progress).first_part_of(fact);
    let mut step = 0;
    while step < COLUMN_PARTS && part != 0 {
        let narrowing = Narrowing::resume(image, &mut area.work().progress);
        let automaton = narrowing.part_automaton(part);
        let names = narrowing.part_has_names(part);
        let label = label(Part { automaton, names }, step);
        let known = if label == 0 { None } else { Some((label - 1) as u32) };
        let mut narrowing = Narrowing::resume(image, &mut area.work().progress);
        narrowing.part(part, known);
        part = narrowing.next_part(part);
        step += 1;
    }
    step
}

/// [`interdict_string`] for short strings only: it is called from deeper down, where there is less stack left.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interdict_short_string(area: u32, slot: u32, fact: u32, source: u32) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    by_parts(area, &image, fact, |part, _| {
        if source == SHORT { interdict_short_label(area.number, slot, part.automaton) } else { 0 }
    });
    0
}

/// Narrows by the name looked up, whose key is in the area, if it is known.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interdict_looked_up(area: u32, slot: u32, known: u32) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    by_parts(area, &image, Fact::DnsName as u32, |part, _| {
        if known == 0 {
            0
        } else if part.names {
            interdict_listed_label(area.number, slot, part.automaton)
        } else {
            interdict_key_label(area.number, slot, part.automaton)
        }
    });
    0
}

/// The label of the key in the area in a table of names, plus one; 0 if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_listed_label(area: u32, slot: u32, table: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    work.names = names::Walk::start(&image, table, work.lookup.start);
    let mut walking = Walking { work, image, automaton: u64::from(table) };
    // SAFETY: the callback is `walk_names`, and its context outlives the call.
    unsafe { bpf_loop(names::STEPS, walk_names as *mut c_void, (&raw mut walking).cast(), 0) };
    u64::from(walking.work.names.label) + 1
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `walking` must be live.
#[inline(never)]
unsafe extern "C" fn walk_names(_index: u64, walking: *mut Walking<'_>) -> i64 {
    // SAFETY: by the caller.
    let walking = unsafe { &mut *walking };
    let work = &mut *walking.work;
    let table = walking.automaton as u32;
    i64::from(work.names.step(&walking.image, table, &work.text))
}

/// As [`interdict_label`] for the key of a name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_key_label(area: u32, slot: u32, automaton: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    work.cursor = Cursor::start_at(&image, automaton, work.lookup.start);
    let mut walking = Walking { work, image, automaton: u64::from(automaton) };
    // SAFETY: the callback is `walk`, and its context outlives the call.
    unsafe { bpf_loop(dfa::pieces(KEY_BYTES), walk as *mut c_void, (&raw mut walking).cast(), 0) };
    let work = walking.work;
    match work.cursor.label(&image, &work.text) {
        Some(label) => u64::from(label) + 1,
        None => 0,
    }
}

/// See [`interdict_label`].
#[inline(always)]
pub fn label_of(area: u32, slot: u32, automaton: u32) -> u64 {
    interdict_label(area, slot, automaton)
}

/// See [`interdict_short_label`].
#[inline(always)]
pub fn short_label_of(area: u32, slot: u32, automaton: u32) -> u64 {
    interdict_short_label(area, slot, automaton)
}

/// The label of the path in the area under an automaton.
#[inline(always)]
pub fn label(area: Area, slot: u32, automaton: u32) -> Option<u32> {
    let label = interdict_label(area.number, slot, automaton);
    if label == 0 { None } else { Some((label - 1) as u32) }
}
