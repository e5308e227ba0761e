//! Facts on the acting process, gathered only when the family's rules test them.

use interdict_abi::{
    event::flags,
    ids::{Fact, Fault, Generation, SetFact},
    limits::COMM_BYTES,
};
use interdict_engine::facts::{Narrowing, SetFacts};

use crate::{emit, kernel::task, policy::Image, scratch::Short};

/// Narrows by everything on the acting process. Answers record flags.
#[inline(never)]
pub fn narrow(
    narrowing: &mut Narrowing<'_, Image>,
    sets: &mut SetFacts,
    short: &mut Short,
    generation: Generation,
) -> u32 {
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
            return told;
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
        if task::comm(&mut comm) {
            let Some(start) = short.0.first_chunk_mut::<COMM_BYTES>() else { return told };
            *start = comm;
            short.0[COMM_BYTES] = 0;
            narrowing.comm(Fact::Comm, short);
        } else {
            narrowing.unknown(Fact::Comm);
        }
    }
    told
}
