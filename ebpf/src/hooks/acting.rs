//! What is known of the acting process, and narrowing by it. Functions that the verifier checks by themselves: see `judge`.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use interdict_abi::{
    event::flags,
    ids::{Fact, Family, Fault, Generation, SetFact, process_flags},
    image::header,
    limits::{CGROUP_LEVELS, COMM_BYTES, PATH_BYTES},
};
use interdict_engine::{
    Memory,
    dfa::{self, Cursor},
    facts::{self, Narrowing, SetFacts},
};

use super::{
    arguments,
    climbing::Climbing,
    judge::interdict_number,
    strings::{PIECE, SHORT, UNKNOWN, Walking, by_parts, interdict_short_string},
};
use crate::{
    emit,
    kernel::{
        container::{self, Ascent},
        path, task,
    },
    policy, scratch, words,
};

/// Narrows by what is known of the acting process. Answers record flags.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interdict_actor(area: u32, slot: u32, generation: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    let generation = Generation(generation);
    let mut told = 0;
    clear(&mut work.sets);
    let narrowing = Narrowing::resume(&image, &mut work.progress);
    let (process, _) = task::ids();
    let by_exe = narrowing.needs(Fact::Exe);
    let by_parent = narrowing.needs(Fact::ParentExe);
    let by_ancestors = narrowing.needs_set(SetFact::Ancestors);
    // As a program starts, its arguments are asked for, which are at hand.
    let by_args = narrowing.needs_set(SetFact::Args) && !narrowing.is_of(Family::Started);
    let (by_user, by_group) = (narrowing.needs(Fact::Uid), narrowing.needs(Fact::Gid));
    let by_effective = narrowing.needs(Fact::Euid);
    let by_name = narrowing.needs(Fact::Comm);
    if by_exe {
        let label = task::own_exe(generation);
        if label.is_none() {
            emit::count(Fault::Process);
            told |= flags::PROCESS_UNKNOWN;
        }
        if narrow_label(area, slot, Fact::Exe, label) == 0 {
            return u64::from(told);
        }
    }
    if by_ancestors {
        match task::ancestors(generation, process) {
            Some(ancestors) => words::copy(&mut work.sets.ancestors, ancestors),
            None => {
                emit::count(Fault::Process);
                told |= flags::PROCESS_UNKNOWN;
                work.sets.unknown |= 1 << SetFact::Ancestors as u64;
            }
        }
    }
    if by_args {
        told |= arguments::learn(&mut work.sets, generation);
    }
    if by_parent {
        let (parent, _) = task::lineage();
        narrow_label(area, slot, Fact::ParentExe, task::exe(generation, parent));
    }
    let (user, group) = task::owner();
    if by_user {
        narrow_label(area, slot, Fact::Uid, Some(user));
    }
    if by_group {
        narrow_label(area, slot, Fact::Gid, Some(group));
    }
    if by_effective {
        narrow_label(area, slot, Fact::Euid, task::euid());
    }
    if by_name {
        let mut source = UNKNOWN;
        if let Some(start) = work.short.0.first_chunk_mut::<COMM_BYTES>()
            && task::comm(start)
        {
            work.short.0[COMM_BYTES] = 0;
            source = SHORT;
        }
        interdict_short_string(area, slot, Fact::Comm as u32, source);
    }
    u64::from(told)
}

/// Narrows by what is asked more rarely of the acting process. A function of its own: looking for a container's name
/// goes deep, and stack is short.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interdict_circumstances(area: u32, slot: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    let needs =
        |work: &mut scratch::Work, fact| Narrowing::resume(&image, &mut work.progress).needs(fact);
    if needs(work, Fact::ProcessFlags) {
        let flags = match task::flags() {
            Some(flags) if flags & process_flags::CONTAINER == 0 => {
                Some(flags | interdict_container(area) as u32)
            }
            other => other,
        };
        narrow_label(area, slot, Fact::ProcessFlags, flags);
    }
    if needs(work, Fact::LoginUid) {
        narrow_label(area, slot, Fact::LoginUid, task::login_user());
    }
    if needs(work, Fact::Pid) {
        narrow_label(area, slot, Fact::Pid, Some(task::ids().0));
    }
    if needs(work, Fact::StartAge) {
        narrow_label(area, slot, Fact::StartAge, Some(task::age_seconds()));
    }
    if Narrowing::resume(&image, &mut work.progress).needs_set(SetFact::Caps) {
        let masks = image.word(header::CAP_MASKS);
        match task::capabilities() {
            Some(held) => work.sets.caps = facts::capabilities(&image, masks, held),
            None => work.sets.unknown |= 1 << SetFact::Caps as u64,
        }
    }
    0
}

/// Narrows by the working directory of the acting process.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interdict_cwd(area: u32, slot: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    work.cwd.start();
    let mut climbing = Climbing { work };
    // SAFETY: the callback is `climb_cwd`, and its context outlives the call.
    unsafe { bpf_loop(path::DEPTH, climb_cwd as *mut c_void, (&raw mut climbing).cast(), 0) };
    let work = climbing.work;
    let known = work.cwd.arrived();
    if !known {
        emit::count(Fault::Path);
    }
    let Some(area) = scratch::numbered(area) else { return 0 };
    by_parts(area, &image, Fact::Cwd as u32, |part, _| {
        if known { interdict_cwd_label(area.number, slot, part.automaton) } else { 0 }
    });
    0
}

/// As [`interdict_label`] for the working directory.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_cwd_label(area: u32, slot: u32, automaton: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    work.cursor = Cursor::start(&image, automaton);
    let mut walking = Walking { work, image, automaton: u64::from(automaton) };
    // SAFETY: the callback is `walk_cwd`, and its context outlives the call.
    unsafe {
        bpf_loop(
            dfa::pieces(PATH_BYTES as u32),
            walk_cwd as *mut c_void,
            (&raw mut walking).cast(),
            0,
        )
    };
    let work = walking.work;
    match work.cursor.label(&image, &work.cwd) {
        Some(label) => u64::from(label) + 1,
        None => 0,
    }
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `walking` must be live.
#[inline(never)]
unsafe extern "C" fn walk_cwd(_index: u64, walking: *mut Walking<'_>) -> i64 {
    // SAFETY: by the caller.
    let walking = unsafe { &mut *walking };
    let work = &mut *walking.work;
    let automaton = walking.automaton as u32;
    let decided = work.cursor.advance::<_, _, PIECE>(&walking.image, automaton, &work.cwd);
    i64::from(decided)
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `climbing` must be live.
#[inline(never)]
unsafe extern "C" fn climb_cwd(_index: u64, climbing: *mut Climbing<'_>) -> i64 {
    // SAFETY: by the caller.
    let work = unsafe { &mut *(*climbing).work };
    i64::from(work.cwd.up())
}

/// `process_flags::CONTAINER` if the acting task's cgroup belongs to a container, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interdict_container(area: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let found = match container::remembered() {
        Some(found) => found,
        None => {
            work.ascent = Ascent::start();
            let mut climbing = Climbing { work };
            // SAFETY: the callback is `ascend`, and its context outlives the call.
            unsafe {
                bpf_loop(CGROUP_LEVELS, ascend as *mut c_void, (&raw mut climbing).cast(), 0)
            };
            let found = climbing.work.ascent.found();
            container::remember(found);
            found
        }
    };
    if found { u64::from(process_flags::CONTAINER) } else { 0 }
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `climbing` must be live.
#[inline(never)]
unsafe extern "C" fn ascend(_index: u64, climbing: *mut Climbing<'_>) -> i64 {
    // SAFETY: by the caller.
    let work = unsafe { &mut *(*climbing).work };
    i64::from(work.ascent.up(&mut work.short))
}

/// Clears the sets.
#[inline(always)]
pub fn clear(sets: &mut SetFacts) {
    // SAFETY: no bit set and nothing unknown.
    unsafe { words::zero(sets) };
}

/// Narrows by a number or label, or by the fact that it could not be learned.
#[inline(always)]
fn narrow_label(area: u32, slot: u32, fact: Fact, value: Option<u32>) -> u64 {
    match value {
        Some(value) => interdict_number(area, slot, fact as u32, value),
        None => {
            interdict_short_string(area, slot, fact as u32, UNKNOWN);
            1
        }
    }
}
