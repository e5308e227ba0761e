//! The parts of deciding that all hooks share, each a function that the verifier checks once and by itself: so they are
//! handed numbers (a scratch area, a slot, a generation), not memory. Inlined, a hook that decides twice would be checked
//! along every combination of their paths.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use interdict_abi::{
    event::flags,
    ids::{Fact, Family, Fault, Generation, Mode, SetFact, process_flags},
    image::header,
    limits::{CGROUP_LEVELS, COLUMN_PARTS, COMM_BYTES, DECIDE_STEPS, PATH_BYTES},
};
use interdict_engine::{
    Memory,
    dfa::{self, Cursor},
    dns::KEY_BYTES,
    facts::{self, Narrowing, SetFacts},
    names,
    tables::Address,
    verdict::Walk,
};

use super::packet;
use crate::{
    emit,
    kernel::{
        container::{self, Ascent},
        object::Object,
        path::{self, Climb, Spot},
        task,
    },
    policy::{self, Image, Policy},
    scratch::{self, Area},
    words,
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
const PIECE: u32 = 64;

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
const UNKNOWN: u32 = 0;
/// [`interdict_string`]: it is the text in the area.
const LONG: u32 = 1;
/// [`interdict_string`]: it is the short string in the area.
const SHORT: u32 = 2;
/// [`interdict_string`]: the act has no such thing.
const ABSENT: u32 = 3;

/// Narrows by a string, or by the fact that there is none to be had, part by part of the fact's column. Answers its label
/// plus one if the column has one part, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_string(area: u32, slot: u32, fact: u32, source: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    if source == ABSENT {
        Narrowing::resume(&image, &mut work.progress).absent_of(fact);
        return 0;
    }
    let mut part = Narrowing::resume(&image, &mut work.progress).first_part_of(fact);
    let mut label = 0;
    let mut step = 0;
    while step < COLUMN_PARTS && part != 0 {
        let automaton = Narrowing::resume(&image, &mut work.progress).part_automaton(part);
        label = match source {
            LONG => interdict_label(area, slot, automaton),
            SHORT => interdict_short_label(area, slot, automaton),
            _ => 0,
        };
        let known = if label == 0 { None } else { Some((label - 1) as u32) };
        let mut narrowing = Narrowing::resume(&image, &mut work.progress);
        narrowing.part(part, known);
        part = narrowing.next_part(part);
        step += 1;
    }
    if step == 1 { label } else { 0 }
}

/// [`interdict_string`] for short strings only: it is called from deeper down, where there is less stack left.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_short_string(area: u32, slot: u32, fact: u32, source: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    let mut part = Narrowing::resume(&image, &mut work.progress).first_part_of(fact);
    let mut step = 0;
    while step < COLUMN_PARTS && part != 0 {
        let automaton = Narrowing::resume(&image, &mut work.progress).part_automaton(part);
        let label = if source == SHORT { interdict_short_label(area, slot, automaton) } else { 0 };
        let known = if label == 0 { None } else { Some((label - 1) as u32) };
        let mut narrowing = Narrowing::resume(&image, &mut work.progress);
        narrowing.part(part, known);
        part = narrowing.next_part(part);
        step += 1;
    }
    0
}

/// Narrows by the name looked up, whose key is in the area, if it is known.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_looked_up(area: u32, slot: u32, known: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    let mut part =
        Narrowing::resume(&image, &mut work.progress).first_part_of(Fact::DnsName as u32);
    let mut step = 0;
    while step < COLUMN_PARTS && part != 0 {
        let automaton = Narrowing::resume(&image, &mut work.progress).part_automaton(part);
        let names = Narrowing::resume(&image, &mut work.progress).part_has_names(part);
        let label = if known == 0 {
            0
        } else if names {
            interdict_listed_label(area, slot, automaton)
        } else {
            interdict_key_label(area, slot, automaton)
        };
        let label = if label == 0 { None } else { Some((label - 1) as u32) };
        let mut narrowing = Narrowing::resume(&image, &mut work.progress);
        narrowing.part(part, label);
        part = narrowing.next_part(part);
        step += 1;
    }
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

/// Narrows by a number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_number(area: u32, slot: u32, fact: u32, value: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    u64::from(Narrowing::resume(&image, &mut work.progress).number_of(fact, value))
}

/// Narrows by an address; IPv4 as mapped IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_address(area: u32, slot: u32, fact: u32, upper: u64, lower: u64) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    let address = Address::v6(upper, lower);
    u64::from(Narrowing::resume(&image, &mut work.progress).address_of(fact, address))
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
    pub fn unknown(&self, fact: Fact) {
        interdict_string(self.area.number, self.slot(), fact as u32, UNKNOWN);
    }

    /// Narrows by a fact that the act does not have.
    #[inline(always)]
    pub fn absent(&self, fact: Fact) {
        interdict_string(self.area.number, self.slot(), fact as u32, ABSENT);
    }

    /// Narrows by the name looked up, whose key is in the area, if some clause tests it.
    #[inline(always)]
    pub fn looked_up(&self, known: bool) {
        if self.needs(Fact::DnsName) {
            interdict_looked_up(self.area.number, self.slot(), u32::from(known));
        }
    }

    /// Narrows by the path in the area, if some clause tests it. Without one it counts as unknown. Answers the path's
    /// label plus one if that is all there is to know of it, else 0.
    #[inline(always)]
    pub fn path(&self, known: bool) -> u64 {
        if !self.needs(Fact::Path) {
            return 0;
        }
        let source = if known { LONG } else { UNKNOWN };
        interdict_string(self.area.number, self.slot(), Fact::Path as u32, source)
    }

    /// Narrows by the last component of the path of what is at `spot`, if some clause tests it.
    #[inline(always)]
    pub fn name(&self, spot: Spot) -> bool {
        if !self.needs(Fact::Name) {
            return self.alive();
        }
        let known = path::name(spot, &mut self.area.work().short);
        let source = if known { SHORT } else { UNKNOWN };
        interdict_string(self.area.number, self.slot(), Fact::Name as u32, source);
        self.alive()
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
        let told = interdict_actor(self.area.number, self.slot(), self.policy.generation.0) as u32;
        if self.alive() {
            interdict_circumstances(self.area.number, self.slot());
            if self.needs(Fact::Cwd) {
                interdict_cwd(self.area.number, self.slot());
            }
        }
        told
    }

    /// Decides what is left. Answers whether there is anything to tell; the decision is in the area.
    #[inline(always)]
    pub fn decide(&self) -> bool {
        self.alive()
            && interdict_decide(self.area.number, self.slot(), self.policy.mode as u32) != 0
    }
}

/// Builds the path of what is at a spot by walking dentries and mounts, at `at` of the text in the area. Answers its
/// bytes, with bit 32 set if its name is gone; 0 if it cannot be built.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_climbed(area: u32, at: u32, dentry: u64, mount: u64, root: u64) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let root = if root == 0 { Spot { dentry: 0, mount: 0 } } else { task::root() };
    work.climb = Climb::start(Spot { dentry, mount }, root, &mut work.text);
    let mut climbing = Climbing { work };
    // SAFETY: the callback is `climb`, and its context outlives the call.
    unsafe { bpf_loop(path::DEPTH, climb as *mut c_void, (&raw mut climbing).cast(), 0) };
    let work = climbing.work;
    let bytes = work.climb.built(u64::from(at), &mut work.text);
    if bytes < 2 {
        return 0;
    }
    bytes - 1 | u64::from(path::gone(dentry)) << 32
}

/// What [`climb`] works on. The context of `bpf_loop` must be on the stack.
#[repr(C)]
struct Climbing<'a> {
    work: &'a mut scratch::Work,
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `climbing` must be live.
#[inline(never)]
unsafe extern "C" fn climb(_index: u64, climbing: *mut Climbing<'_>) -> i64 {
    // SAFETY: by the caller.
    let work = unsafe { &mut *(*climbing).work };
    i64::from(work.climb.up(&mut work.text))
}

/// Where the path that is built starts.
#[derive(Clone, Copy)]
pub enum From {
    /// The acting process's root: as `d_path`.
    Process,
    /// The root of the mount namespace.
    Namespace,
}

/// The path of what is at `spot`, built at `at` of the text in the area.
#[inline(always)]
pub fn climbed(area: Area, at: u64, spot: Spot, from: From) -> path::Built {
    let root = match from {
        From::Process => 1,
        From::Namespace => 0,
    };
    let both = interdict_climbed(area.number, at as u32, spot.dentry, spot.mount, root);
    path::Built { bytes: both & 0xffff_ffff, deleted: both >> 32 }
}

/// The path of `file` from the root of its mount namespace, in the area.
#[inline(always)]
pub fn walked(area: Area, file: *const u8) -> path::Built {
    let spot = Spot::of_file(file).unwrap_or(Spot { dentry: 0, mount: 0 });
    climbed(area, 0, spot, From::Namespace)
}

/// Narrows by the name in the area, or by there being none.
#[inline(always)]
pub fn by_name(area: Area, slot: u32, known: bool) {
    if known {
        interdict_looked_up(area.number, slot, 1);
    } else {
        interdict_string(area.number, slot, Fact::DnsName as u32, ABSENT);
    }
}

/// Decides what is left in the area. Answers whether there is anything to tell.
#[inline(always)]
pub fn decided(area: Area, slot: u32, mode: u32) -> bool {
    interdict_decide(area.number, slot, mode) != 0
}

/// Narrows by what is known of the acting process. Answers record flags.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_actor(area: u32, slot: u32, generation: u32) -> u64 {
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
    let (by_user, by_group) = (narrowing.needs(Fact::Uid), narrowing.needs(Fact::Gid));
    let by_effective = narrowing.needs(Fact::Euid);
    let by_name = narrowing.needs(Fact::Comm);
    if by_exe {
        let label = task::exe(generation, process);
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
extern "C" fn interdict_circumstances(area: u32, slot: u32) -> u64 {
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
extern "C" fn interdict_cwd(area: u32, slot: u32) -> u64 {
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
    let mut part = Narrowing::resume(&image, &mut work.progress).first_part_of(Fact::Cwd as u32);
    let mut step = 0;
    while step < COLUMN_PARTS && part != 0 {
        let automaton = Narrowing::resume(&image, &mut work.progress).part_automaton(part);
        let label = if known { interdict_cwd_label(area, slot, automaton) } else { 0 };
        let label = if label == 0 { None } else { Some((label - 1) as u32) };
        let mut narrowing = Narrowing::resume(&image, &mut work.progress);
        narrowing.part(part, label);
        part = narrowing.next_part(part);
        step += 1;
    }
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
extern "C" fn interdict_container(area: u32) -> u64 {
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

/// Decides the packet in the area, met at a `packet::place`. Answers 1 if it passes and nothing is to be told, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_packet(area: u32, slot: u32, generation: u32, mode: u32, at: u32) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 1 };
    let Some(policy) = policy::numbered(slot, generation, mode) else { return 1 };
    u64::from(packet::decide(&policy, area, at))
}

/// Does and tells what [`interdict_packet`] decided. Answers 1 if the packet passes, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_packet_finish(
    area: u32,
    slot: u32,
    generation: u32,
    mode: u32,
    at: u32,
) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 1 };
    let Some(policy) = policy::numbered(slot, generation, mode) else { return 1 };
    u64::from(packet::finish(&policy, area, at))
}

/// Calls [`interdict_packet`].
#[inline(always)]
pub fn packet(area: Area, policy: &Policy, at: u32) -> u64 {
    let generation = policy.generation;
    interdict_packet(area.number, generation.slot(), generation.0, policy.mode as u32, at)
}

/// Calls [`interdict_packet_finish`].
#[inline(always)]
pub fn packet_finish(area: Area, policy: &Policy, at: u32) -> u64 {
    let generation = policy.generation;
    interdict_packet_finish(area.number, generation.slot(), generation.0, policy.mode as u32, at)
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
    // SAFETY: a decision of zeros is `Decision::PASS`.
    unsafe { words::zero(&mut work.decision) };
    let mut deciding = Deciding { work, image, mode: u64::from(mode), done: 0 };
    // SAFETY: the callback is `step`, and its context outlives the call.
    unsafe { bpf_loop(DECIDE_STEPS as u32, step as *mut c_void, (&raw mut deciding).cast(), 0) };
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
