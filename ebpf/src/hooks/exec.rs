//! A program is about to run.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::ids::{Act, Family, Fault, object_flags};
use interdict_engine::facts;

use super::{
    enforces,
    object::{self, how},
};
use crate::{
    bounds, cache, emit,
    kernel::{
        fields,
        object::{Reader, Typed, layer, memfd},
        path::{self, Spot},
        probed, task,
    },
    maps::EXECS,
    policy::{self, Policy},
    scratch::{self, Area},
    words,
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
    let Some(inode) = Typed::read::<*const u8>(file, fields::file_inode()) else { return 0 };
    let built = path::seen::<Typed>(file, &mut area.work().text);
    area.work().found = super::process::labelled(if built.known() { built.bytes } else { 0 }, area);
    let question = &mut area.work().question;
    // SAFETY: a question of zeros is a question.
    unsafe { words::zero(question) };
    question.slot = policy.generation.slot();
    question.generation = policy.generation.0;
    question.mode = policy.mode as u32;
    question.family = Family::Exec as u32;
    question.act = Act::Exec.value();
    question.how = how::EXISTS;
    if built.known() {
        question.how |= how::BUILT | if built.deleted == 0 { 0 } else { how::DELETED };
        question.bytes = built.bytes;
    }
    question.spot = Spot::of_file(file).unwrap_or(Spot { dentry: 0, mount: 0 });
    if !question.object.fill::<Typed>(inode) {
        return 0;
    }
    question.object.flags |= memfd(&question.object, &area.work().text);
    question.object.flags |= layer(&question.object, inode);
    let magic: [u8; 2] = probed(bprm, fields::bprm_buf()).unwrap_or([0; 2]);
    if magic == *b"#!" {
        area.work().question.object.flags |= object_flags::SCRIPT;
    }
    let directory = facts::directory(&policy.image, Family::Exec);
    let object = &area.work().question.object;
    let identity = (object.device, object.inode);
    let nothing = directory != 0
        && built.known()
        && built.deleted == 0
        && object::is_nothing(
            policy,
            area,
            Family::Exec,
            object::acting(policy, directory, Act::Exec.value()),
            identity,
        );
    if directory != 0 && !nothing {
        let errno = object::answer(area);
        if errno != 0 {
            return bounds::refusal(errno as u8);
        }
        if area.work().question.how & how::LEARNED != 0 {
            cache::forget(inode.cast_mut().cast());
        }
    }
    super::process::by_names(area, built, nothing);
    let (_, thread) = task::ids();
    if EXECS.insert(&thread, &area.work().found, 0).is_err() {
        emit::count(Fault::ExecTable);
    }
    0
}
