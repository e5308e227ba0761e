//! A program is about to run.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::{
    ids::{Act, Fact, Family, Fault, object_flags},
};
use interdict_engine::facts::Narrowing;

use super::{judge, report, report::Told};
use crate::{
    bounds, emit,
    kernel::{
        fields,
        object::{Object, Reader, Typed},
        path, probed, task,
    },
    maps::EXECS,
    policy::{self, Policy},
    scratch::{self, Area, Work},
};

/// A binary, a script or an interpreter is about to run: called once for each step of a script's chain, with the file
/// of that step. Also labels the file, so that the process has its program's label the moment the exec succeeds.
///
/// hook-signature: int bprm_check_security(struct linux_binprm *bprm)
#[lsm(hook = "bprm_check_security")]
pub fn bprm_check_security(context: LsmContext) -> i32 {
    let Some(policy) = policy::active() else { return 0 };
    let Some(claim) = scratch::claim() else {
        return bounds::refusal(1);
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
    remember(known, area);

    let Work { progress, short, text, .. } = area.work();
    let slot = policy.generation.slot();
    let Some(mut narrowing) = Narrowing::start(&policy.image, Family::Exec, progress) else {
        return 0;
    };
    if known {
        judge::narrow_path(&mut narrowing, area, slot);
    } else {
        narrowing.unknown(Fact::Path);
    }
    if !narrowing.alive() {
        return 0;
    }
    if narrowing.needs(Fact::Name) {
        if path::name::<Typed>(file, short) {
            narrowing.short_string(Fact::Name, short);
        } else {
            narrowing.unknown(Fact::Name);
        }
    }
    let Some(object) = Object::of_file::<Typed>(file) else { return 0 };
    let mut object = match text.0.first_chunk::<8>() {
        Some(start) => object.with_path(start),
        None => object,
    };
    let magic: [u8; 2] = probed(bprm, fields::bprm_buf()).unwrap_or([0; 2]);
    if magic == *b"#!" {
        object.flags |= object_flags::SCRIPT;
    }
    narrowing.number(Fact::ObjectMode, object.mode);
    narrowing.number(Fact::ObjectOwner, object.owner);
    narrowing.number(Fact::FsMagic, object.magic);
    narrowing.number(Fact::ObjectFlags, object.flags);
    if !narrowing.alive() {
        return 0;
    }
    told.flags |= judge::narrow_actor(area, policy.generation);
    if !judge::decide(area, policy.generation, policy.mode) {
        return 0;
    }
    report::begin(area, policy, Family::Exec, &told);
    report::actor(area);
    report::object(area, &object);
    report::finish(area)
}

/// Labels the file for the process that will run it. The last step of a chain wins: it is the file that runs.
#[inline(always)]
fn remember(known: bool, area: Area) {
    let found = super::process::labelled(known, area);
    let (_, thread) = task::ids();
    if EXECS.insert(&thread, &found, 0).is_err() {
        emit::count(Fault::ExecTable);
    }
}
