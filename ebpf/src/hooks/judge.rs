//! The parts of deciding that all hooks share, each a function that the verifier checks once and by itself: so they are
//! handed numbers (a scratch area, a slot, a generation), not memory. Inlined, a hook that decides twice would be checked
//! along every combination of their paths.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use interdict_abi::{
    event::flags,
    ids::{Fact, Family, Fault, Generation, Mode, SetFact},
    limits::{COMM_BYTES, DECIDE_STEPS},
};
use interdict_engine::{
    dfa,
    facts::{Narrowing, SetFacts},
    tables::Address,
    verdict::{Decision, Walk},
};

use crate::{
    emit,
    kernel::{
        object::{Object, Reader},
        path, task,
    },
    policy::{self, Image, Policy},
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

/// Narrows by a number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_number(area: u32, slot: u32, fact: u32, value: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    let Ok(fact) = Fact::try_from(fact as u8) else { return 0 };
    u64::from(Narrowing::resume(&image, &mut work.progress).number(fact, value))
}

/// Narrows by an address; IPv4 as mapped IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_address(area: u32, slot: u32, fact: u32, upper: u64, lower: u64) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    let Ok(fact) = Fact::try_from(fact as u8) else { return 0 };
    let address = Address::v6(upper, lower);
    u64::from(Narrowing::resume(&image, &mut work.progress).address(fact, address))
}

/// The label of the path in the area under an automaton.
#[inline(always)]
pub fn label(area: Area, slot: u32, automaton: u32) -> Option<u32> {
    let label = interdict_label(area.number, slot, automaton);
    if label == 0 { None } else { Some((label - 1) as u32) }
}

/// One act being judged: a policy, a scratch area, and how far narrowing has come, which is in the area.
pub struct Case<'a> {
    policy: &'a Policy,
    area: Area,
}

impl<'a> Case<'a> {
    /// Starts with all clauses of `family`. `None` when there are none.
    #[inline(always)]
    pub fn start(policy: &'a Policy, area: Area, family: Family) -> Option<Self> {
        let progress = &mut area.work().progress;
        Narrowing::start(&policy.image, family, progress)?;
        Some(Self { policy, area })
    }

    #[inline(always)]
    fn narrowing(&self) -> Narrowing<'_, Image> {
        Narrowing::resume(&self.policy.image, &mut self.area.work().progress)
    }

    #[inline(always)]
    fn slot(&self) -> u32 {
        self.policy.generation.slot()
    }

    /// Whether some clause may still hold.
    #[inline(always)]
    pub fn alive(&self) -> bool {
        self.narrowing().alive()
    }

    /// Whether some clause of the family tests `fact`.
    #[inline(always)]
    pub fn needs(&self, fact: Fact) -> bool {
        self.narrowing().needs(fact)
    }

    /// Whether some clause of the family tests `fact`.
    #[inline(always)]
    pub fn needs_set(&self, fact: SetFact) -> bool {
        self.narrowing().needs_set(fact)
    }

    /// Narrows by a number or flags, if some clause tests them.
    #[inline(always)]
    pub fn number(&self, fact: Fact, value: u32) -> bool {
        if !self.needs(fact) {
            return self.alive();
        }
        interdict_number(self.area.number, self.slot(), fact as u32, value) != 0
    }

    /// Narrows by an address (halves in host order, IPv4 as mapped IPv6), if some clause tests it.
    #[inline(always)]
    pub fn address(&self, fact: Fact, upper: u64, lower: u64) -> bool {
        if !self.needs(fact) {
            return self.alive();
        }
        interdict_address(self.area.number, self.slot(), fact as u32, upper, lower) != 0
    }

    /// Narrows by a fact that could not be learned.
    #[inline(always)]
    pub fn unknown(&self, fact: Fact) -> bool {
        self.narrowing().unknown(fact)
    }

    /// Narrows by the path in the area, if some clause tests it. Without one it counts as unknown.
    #[inline(always)]
    pub fn path(&self, known: bool) -> bool {
        let automaton = self.narrowing().automaton(Fact::Path);
        if automaton == 0 {
            return self.alive();
        }
        let label = if known { label(self.area, self.slot(), automaton) } else { None };
        match label {
            Some(label) => self.narrowing().label(Fact::Path, label),
            None => self.unknown(Fact::Path),
        }
    }

    /// Narrows by the last component of the path of `file`, if some clause tests it.
    #[inline(always)]
    pub fn name<R: Reader>(&self, file: *const u8) -> bool {
        let automaton = self.narrowing().automaton(Fact::Name);
        if automaton == 0 {
            return self.alive();
        }
        if !path::name::<R>(file, &mut self.area.work().short) {
            return self.unknown(Fact::Name);
        }
        match interdict_short_label(self.area.number, self.slot(), automaton) {
            0 => self.unknown(Fact::Name),
            label => self.narrowing().label(Fact::Name, (label - 1) as u32),
        }
    }

    /// Narrows by what is known of the object.
    #[inline(always)]
    pub fn object(&self, object: &Object) -> bool {
        self.number(Fact::ObjectFlags, object.flags)
            && self.number(Fact::ObjectMode, object.mode)
            && self.number(Fact::ObjectOwner, object.owner)
            && self.number(Fact::FsMagic, object.magic)
    }

    /// Narrows by what is known of the acting process, and clears the sets. Answers record flags.
    #[inline(always)]
    pub fn actor(&self) -> u32 {
        interdict_actor(self.area.number, self.slot(), self.policy.generation.0) as u32
    }

    /// Decides what is left. Answers whether there is anything to tell; the decision is in the area.
    #[inline(always)]
    pub fn decide(&self) -> bool {
        self.alive()
            && interdict_decide(self.area.number, self.slot(), self.policy.mode as u32) != 0
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
