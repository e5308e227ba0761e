//! One act being judged. What all hooks share of it are functions that the verifier checks once and by themselves, here and
//! in `strings`, `acting` and `climbing`: so they are handed numbers (a scratch area, a slot, a generation), not memory.
//! Inlined, a hook that decides twice would be checked along every combination of their paths.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use interdict_abi::{
    ids::{Fact, Family, Fault, Mode, SetFact},
    limits::DECIDE_STEPS,
    maps::Workload,
};
use interdict_engine::{facts::Narrowing, tables::Address, verdict::Walk};

use super::{
    acting::{interdict_actor, interdict_circumstances, interdict_cwd},
    packet,
    placed::{interdict_contained, interdict_holder, interdict_workload},
    strings::{ABSENT, LONG, SHORT, UNKNOWN, interdict_looked_up, interdict_string},
};
use crate::{
    emit,
    kernel::{
        object::{FLAGS_UNKNOWN, Object},
        path::{self, Spot},
    },
    policy::{self, Image, Policy},
    scratch::{self, Area},
    words,
};

/// Narrows by a number.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interdict_number(area: u32, slot: u32, fact: u32, value: u32) -> u64 {
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
        if object.flags & FLAGS_UNKNOWN != 0 {
            self.unknown(Fact::ObjectFlags);
        } else {
            self.number(Fact::ObjectFlags, object.flags);
        }
        self.number(Fact::ObjectMode, object.mode)
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
            if self.narrowing().needs_any(Fact::PLACES_MASK) {
                return told | self.workload();
            }
        }
        told
    }

    /// Narrows by what is known of the container that the acting process runs in. Answers record flags.
    #[inline(always)]
    fn workload(&self) -> u32 {
        let area = self.area.number;
        let holder = interdict_holder();
        let unlearned = if holder == Workload::HOST { interdict_contained(area) as u32 } else { 0 };
        interdict_workload(area, self.slot(), holder, unlearned) as u32
    }

    /// Decides what is left. Answers whether there is anything to tell; the decision is in the area.
    #[inline(always)]
    pub fn decide(&self) -> bool {
        self.alive()
            && interdict_decide(self.area.number, self.slot(), self.policy.mode as u32) != 0
    }
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
