//! What is known of the container that the acting process runs in, and narrowing by it. Functions that the verifier checks
//! by themselves: see `judge`.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use interdict_abi::{
    event::flags,
    ids::{Fact, Fault, process_flags},
    limits::{COLUMN_PARTS, WORKLOAD_BYTES},
    maps::Workload,
};
use interdict_engine::{
    dfa::{self, Cursor},
    facts::Narrowing,
};

use super::{acting::interdict_container, strings::PIECE};
use crate::{
    emit,
    kernel::{
        task,
        workload::{self, Texts},
    },
    policy::{self, Image},
    scratch,
};

/// The id of the cgroup of the acting process's container, [`Workload::HOST`] if none has a row.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interdict_holder() -> u64 {
    workload::holder()
}

/// Narrows by `Fact::PLACES`, as far as clauses test them: by the row of the cgroup `holder`, which for the host is
/// [`Workload::HOST`]. `unlearned`: there should be another row. Answers record flags.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interdict_workload(area: u32, slot: u32, holder: u64, unlearned: u32) -> u64 {
    let mut unknown = 0;
    let mut place = 0;
    while place < Fact::PLACES.len() as u32 {
        unknown |= interdict_place(area, slot, place, holder, unlearned);
        place += 1;
    }
    if unknown == 0 {
        return 0;
    }
    emit::count(Fault::Workload);
    u64::from(flags::WORKLOAD_UNKNOWN)
}

/// Whether the acting process runs in a container, 1 or 0. What cannot be told may be one.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interdict_contained(area: u32) -> u64 {
    match task::flags() {
        Some(flags) if flags & process_flags::CONTAINER == 0 => {
            u64::from(interdict_container(area) != 0)
        }
        Some(_) | None => 1,
    }
}

/// Narrows by one of `Fact::PLACES`, if some clause tests it: see [`interdict_workload`]. Answers 1 if it is not known,
/// else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_place(
    area: u32,
    slot: u32,
    place: u32,
    holder: u64,
    unlearned: u32,
) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    let fact = Fact::PLACES[0] as u32 + place;
    let mut part = Narrowing::resume(&image, &mut work.progress).first_part_of(fact);
    if part == 0 {
        return 0;
    }
    // Its row may have gone since the holder was found: then nothing is known.
    let row = workload::of(holder).filter(|_| unlearned == 0);
    let told =
        row.map_or(Workload::UNKNOWN, |row| row.fields[place as usize & (Fact::PLACES.len() - 1)]);
    if told == Workload::ABSENT {
        Narrowing::resume(&image, &mut work.progress).absent_of(fact);
        return 0;
    }
    let text = row.filter(|_| told & Workload::TEXT != 0);
    let mut step = 0;
    while step < COLUMN_PARTS && part != 0 {
        let mut known = None;
        if let Some(row) = text {
            let automaton = Narrowing::resume(&image, &mut work.progress).part_automaton(part);
            work.cursor = Cursor::start_at(&image, automaton, told & (WORKLOAD_BYTES as u32 - 1));
            let mut reading = Reading { area: u64::from(area), row, image, automaton };
            // SAFETY: the callback is `walk_place`, and its context outlives the call.
            unsafe {
                bpf_loop(
                    dfa::pieces(WORKLOAD_BYTES as u32),
                    walk_place as *mut c_void,
                    (&raw mut reading).cast(),
                    0,
                )
            };
            let label = interdict_place_label(area, slot, holder);
            known = if label == 0 { None } else { Some((label - 1) as u32) };
        }
        let mut narrowing = Narrowing::resume(&image, &mut work.progress);
        narrowing.part(part, known);
        part = narrowing.next_part(part);
        step += 1;
    }
    u64::from(text.is_none())
}

/// The label that a walk over a text of the row of `holder` has come to, plus one; 0 if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_place_label(area: u32, slot: u32, holder: u64) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    let Some(row) = workload::of(holder) else { return 0 };
    match work.cursor.label(&image, &Texts { row, short: &work.short }) {
        Some(label) => u64::from(label) + 1,
        None => 0,
    }
}

/// What [`walk_place`] works on.
#[repr(C)]
struct Reading {
    area: u64,
    row: &'static Workload,
    image: Image,
    automaton: u32,
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `reading` must be live.
#[inline(never)]
unsafe extern "C" fn walk_place(_index: u64, reading: *mut Reading) -> i64 {
    // SAFETY: by the caller.
    let reading = unsafe { &mut *reading };
    // SAFETY: whoever loops has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(reading.area as u32) }) else { return 1 };
    let texts = Texts { row: reading.row, short: &work.short };
    i64::from(work.cursor.advance::<_, _, PIECE>(&reading.image, reading.automaton, &texts))
}
