//! One module per hook family, and what they share: `judge` narrows and decides, `acting` knows the process, `report` tells
//! and acts. To add a hook: write its kernel prototype on a `hook-signature:` line, gather the facts its family needs,
//! `decide`, `report`; then name it in the agent's `kernel::hooks` table.

pub mod acting;
pub mod arguments;
pub mod called;
pub mod cgroup;
pub mod climbing;
pub mod close;
pub mod dns;
pub mod exec;
pub mod file;
pub mod gate;
pub mod guard;
pub mod judge;
pub mod measure;
pub mod named;
pub mod net;
pub mod object;
pub mod packet;
pub mod placed;
pub mod process;
pub mod rate;
pub mod repeats;
pub mod report;
pub mod spelled;
pub mod strings;
pub mod syscall;
pub mod system;
pub mod wire;

use interdict_abi::ids::{Family, Fault, Mode};
use interdict_engine::{Memory, facts};

use crate::{
    emit,
    policy::{self, Policy},
    scratch::{self, Area},
};

/// Runs `judge` with the policy in force and a scratch area, if any rule is about `family`. Answers 0 if none is.
///
/// When no scratch area is free nothing can be judged: then a family that enforces anything refuses, and the fault is
/// counted. That takes more nested preemptions on one CPU than there are areas.
#[inline(always)]
pub fn with_policy(family: Family, judge: impl FnOnce(&Policy, Area) -> i32) -> i32 {
    let Some(policy) = policy::active() else { return 0 };
    let directory = facts::directory(&policy.image, family);
    if directory == 0 {
        return 0;
    }
    with_area(&policy, directory, |area| judge(&policy, area))
}

/// Runs `judge` with a scratch area: see [`with_policy`].
#[inline(always)]
pub fn with_area(policy: &Policy, directory: u32, judge: impl FnOnce(Area) -> i32) -> i32 {
    let Some(claim) = scratch::claim() else {
        return if enforces(policy, directory) { crate::bounds::refusal(1) } else { 0 };
    };
    let answer = judge(claim.area);
    claim.release();
    answer
}

/// Whether anything in the family at `directory` refuses acts: what cannot be judged at all is refused then.
#[inline(always)]
pub fn enforces(policy: &Policy, directory: u32) -> bool {
    let rules = policy.image.word(directory.wrapping_add(interdict_abi::image::family::ENFORCING));
    directory != 0 && rules != 0 && policy.mode as u8 == Mode::Enforce as u8
}

/// Counts `fault` and answers its number for the record.
#[inline(always)]
pub fn faulted(fault: Fault) -> u8 {
    emit::count(fault);
    fault as u8
}
