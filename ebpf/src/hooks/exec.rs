//! A program is about to run.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::ids::{Act, Family, Fault, object_flags};
use interdict_engine::facts;

use super::{enforces, judge::Case, report, report::Told};
use crate::{
    bounds, emit,
    kernel::{
        fields,
        object::{Object, Reader, Typed},
        path, probed, task,
    },
    maps::EXECS,
    policy::{self, Policy},
    scratch::{self, Area},
};

/// A binary, a script or an interpreter is about to run: called once for each step of a script's chain, with the file
/// of that step. Also labels the file, so that the process has its program's label the moment the exec succeeds.
///
/// hook-signature: int bprm_check_security(struct linux_binprm *bprm)
#[lsm(hook = "bprm_check_security")]
pub fn bprm_check_security(context: LsmContext) -> i32 {
    let Some(policy) = policy::active() else { return 0 };
    let Some(claim) = scratch::claim() else {
        let directory = facts::directory(&policy.image, Family::Exec);
        return if enforces(&policy, directory) { bounds::refusal(1) } else { 0 };
    };
    let answer = check(context.arg(0), &policy, claim.area);
    claim.release();
    answer
}

#[inline(always)]
fn check(bprm: *const u8, policy: &Policy, area: Area) -> i32 {
    let Some(file) = Typed::read::<*const u8>(bprm, fields::bprm_file()) else { return 0 };
    let mut told = Told { acts: Act::Exec.bit(), ..Told::default() };
    let built = path::seen::<Typed>(file, &mut area.work().text);
    let known = told.path(built);
    remember(if known { built.bytes } else { 0 }, area);

    let Some(case) = Case::start(policy, area, Family::Exec) else { return 0 };
    case.path(known);
    if !case.alive() || !case.name::<Typed>(file) {
        return 0;
    }
    let Some(object) = Object::of_file::<Typed>(file) else { return 0 };
    let mut object = object.with_path(&area.work().text);
    let magic: [u8; 2] = probed(bprm, fields::bprm_buf()).unwrap_or([0; 2]);
    if magic == *b"#!" {
        object.flags |= object_flags::SCRIPT;
    }
    if !case.object(&object) {
        return 0;
    }
    told.flags |= case.actor();
    if !case.decide() {
        return 0;
    }
    report::begin(area, policy, Family::Exec, &told);
    report::actor(area);
    report::object(area, &object);
    report::finish(area)
}

/// Labels the file for the process that will run it. The last step of a chain wins: it is the file that runs.
#[inline(always)]
fn remember(path_bytes: u64, area: Area) {
    let found = super::process::labelled(path_bytes, area);
    let (_, thread) = task::ids();
    if EXECS.insert(&thread, &found, 0).is_err() {
        emit::count(Fault::ExecTable);
    }
}
