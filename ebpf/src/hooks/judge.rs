//! The parts of deciding that all hooks share, each a function that the verifier checks once and by itself: so they are
//! handed numbers (a scratch area, a slot, a generation), not memory. Inlined, a hook that decides twice would be checked
//! along every combination of their paths.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use interdict_abi::{
    event::flags,
    ids::{Fact, Fault, Generation, Mode, SetFact},
    limits::{COMM_BYTES, DECIDE_STEPS},
};
use interdict_engine::{
    dfa,
    facts::{Narrowing, SetFacts},
    verdict::{Decision, Walk},
};

use crate::{
    emit,
    kernel::{path, task},
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
    match dfa::walk(&image, automaton, &work.text) {
        Some(label) => u64::from(label) + 1,
        None => 0,
    }
}

/// The label of the path in the area under an automaton.
#[inline(always)]
pub fn label(area: Area, slot: u32, automaton: u32) -> Option<u32> {
    let label = interdict_label(area.number, slot, automaton);
    if label == 0 { None } else { Some((label - 1) as u32) }
}

/// Narrows by the path in the area, if a rule tests it.
#[inline(always)]
pub fn narrow_path(narrowing: &mut Narrowing<'_, Image>, area: Area, slot: u32) -> bool {
    let automaton = narrowing.automaton(Fact::Path);
    if automaton == 0 {
        return narrowing.alive();
    }
    match label(area, slot, automaton) {
        Some(label) => narrowing.label(Fact::Path, label),
        None => narrowing.unknown(Fact::Path),
    }
}

/// Builds the path of `file` in the area by walking dentries and mounts. Answers its bytes, with bit 32 set if its name
/// is gone; 0 if it cannot be built.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_walked(area: u32, file: u64) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    match path::walked(file as *const u8, &mut work.text) {
        Some(built) => built.bytes | built.deleted << 32,
        None => 0,
    }
}

/// The path of `file` from the root of its mount namespace, in the area.
#[inline(always)]
pub fn walked(area: Area, file: *const u8) -> path::Built {
    let both = interdict_walked(area.number, file as u64);
    path::Built { bytes: both & 0xffff_ffff, deleted: both >> 32 }
}

/// Narrows by what is known of the acting process. Answers record flags.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_actor(area: u32, slot: u32, generation: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    let generation = Generation(generation);
    let mut narrowing = Narrowing::resume(&image, &mut work.progress);
    let sets = &mut work.sets;
    let short = &mut work.short;
    let mut told = 0;
    *sets = SetFacts { ancestors: [0; 4], args: [0; 4], unknown: 0 };
    let (process, _) = task::ids();
    if narrowing.needs(Fact::Exe) {
        match task::exe(generation, process) {
            Some(label) => narrowing.label(Fact::Exe, label),
            None => {
                emit::count(Fault::Process);
                told |= flags::PROCESS_UNKNOWN;
                narrowing.unknown(Fact::Exe)
            }
        };
        if !narrowing.alive() {
            return u64::from(told);
        }
    }
    if narrowing.needs_set(SetFact::Ancestors) {
        match task::ancestors(generation, process) {
            Some(ancestors) => sets.ancestors = *ancestors,
            None => {
                emit::count(Fault::Process);
                told |= flags::PROCESS_UNKNOWN;
                sets.unknown |= 1 << SetFact::Ancestors as u64;
            }
        }
    }
    if narrowing.needs(Fact::ParentExe) {
        let (parent, _) = task::lineage();
        match task::exe(generation, parent) {
            Some(label) => narrowing.label(Fact::ParentExe, label),
            None => narrowing.unknown(Fact::ParentExe),
        };
    }
    if narrowing.needs(Fact::Uid) || narrowing.needs(Fact::Gid) {
        let (user, group) = task::owner();
        narrowing.number(Fact::Uid, user);
        narrowing.number(Fact::Gid, group);
    }
    if narrowing.needs(Fact::Euid) {
        match task::euid() {
            Some(user) => narrowing.number(Fact::Euid, user),
            None => narrowing.unknown(Fact::Euid),
        };
    }
    if narrowing.needs(Fact::ProcessFlags) {
        match task::flags() {
            Some(flags) => narrowing.label(Fact::ProcessFlags, flags),
            None => narrowing.unknown(Fact::ProcessFlags),
        };
    }
    if narrowing.needs(Fact::Comm) {
        let mut comm = [0; COMM_BYTES];
        if let Some(start) = short.0.first_chunk_mut::<COMM_BYTES>()
            && task::comm(&mut comm)
        {
            *start = comm;
            short.0[COMM_BYTES] = 0;
            narrowing.comm(Fact::Comm, short);
        } else {
            narrowing.unknown(Fact::Comm);
        }
    }
    u64::from(told)
}

/// Narrows by what is known of the acting process. Answers record flags.
#[inline(always)]
pub fn narrow_actor(area: Area, generation: Generation) -> u32 {
    interdict_actor(area.number, generation.slot(), generation.0) as u32
}

/// What [`step`] works on.
#[repr(C)]
struct Deciding<'a> {
    work: &'a mut scratch::Work,
    image: Image,
    mode: u64,
    done: u64,
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `deciding` must be live.
#[inline(never)]
unsafe extern "C" fn step(_index: u64, deciding: *mut Deciding<'_>) -> i64 {
    // SAFETY: by the caller.
    let deciding = unsafe { &mut *deciding };
    let mode = if deciding.mode == Mode::Enforce as u64 { Mode::Enforce } else { Mode::Audit };
    let work = &mut *deciding.work;
    let mut narrowing = Narrowing::resume(&deciding.image, &mut work.progress);
    if narrowing.step(&mut work.walk, &work.sets, mode, &mut work.decision) {
        deciding.done = 1;
        return 1;
    }
    0
}

/// Decides what is left after narrowing. Answers whether there is anything to tell; the decision is in the area.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_decide(area: u32, slot: u32, mode: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    work.walk = Walk::START;
    work.decision = Decision::PASS;
    let mut deciding = Deciding { work, image, mode: u64::from(mode), done: 0 };
    // SAFETY: the callback is `step`, and its context outlives the call.
    unsafe {
        bpf_loop(DECIDE_STEPS as u32, step as *mut c_void, (&raw mut deciding).cast(), 0)
    };
    let done = deciding.done;
    let work = deciding.work;
    if done == 0 {
        emit::count(Fault::Steps);
        let mode = if mode == Mode::Enforce as u32 { Mode::Enforce } else { Mode::Audit };
        let narrowing = Narrowing::resume(&image, &mut work.progress);
        narrowing.exhausted(&work.walk, mode, &mut work.decision);
    }
    u64::from(work.decision.tells())
}

/// Decides what is left after narrowing. Answers whether there is anything to tell; the decision is in the area.
#[inline(always)]
pub fn decide(area: Area, generation: Generation, mode: Mode) -> bool {
    interdict_decide(area.number, generation.slot(), mode as u32) != 0
}
