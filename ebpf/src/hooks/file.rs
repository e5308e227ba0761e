//! File acts.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::ids::{ACT_COMBINATIONS, Act, Fact, Family, READ_AND_WRITE};

use super::{judge::Case, report, report::Told, with_policy};
use crate::{
    kernel::{
        fields,
        object::{Object, Reader, Typed},
        path,
    },
    policy::Policy,
    scratch::Area,
};

const FMODE_READ: u32 = 1;
const FMODE_WRITE: u32 = 2;

/// A file is opened. Decided before the file's own open method runs.
///
/// hook-signature: int file_open(struct file *file)
#[lsm(hook = "file_open")]
pub fn file_open(context: LsmContext) -> i32 {
    with_policy(Family::File, |policy, area| open(context.arg(0), policy, area))
}

#[inline(always)]
fn open(file: *const u8, policy: &Policy, area: Area) -> i32 {
    let Some(mode) = Typed::read::<u32>(file, fields::file_mode()) else { return 0 };
    let act = match mode & (FMODE_READ | FMODE_WRITE) {
        FMODE_READ => Act::FileRead.value(),
        FMODE_WRITE => Act::FileWrite.value(),
        0 => return 0,
        _ => READ_AND_WRITE,
    };
    decide(file, act, policy, area)
}

/// Decides an act on `file`; `act` is a value of `Fact::Act`.
#[inline(always)]
fn decide(file: *const u8, act: u32, policy: &Policy, area: Area) -> i32 {
    let Some(case) = Case::start(policy, area, Family::File) else { return 0 };
    if !case.number(Fact::Act, act) {
        return 0;
    }
    let mut told = Told::default();
    let mut built = false;
    if case.needs(Fact::Path) {
        built = true;
        let known = told.path(path::seen::<Typed>(file, &mut area.work().text));
        if !case.path(known) {
            return 0;
        }
    }
    if !case.name::<Typed>(file) {
        return 0;
    }
    let Some(object) = Object::of_file::<Typed>(file) else { return 0 };
    if !case.object(&object) {
        return 0;
    }
    told.flags |= case.actor();
    if !case.decide() {
        return 0;
    }
    if !built {
        told.path(path::seen::<Typed>(file, &mut area.work().text));
    }
    told.acts = if act < 16 { 1 << act } else { ACT_COMBINATIONS[READ_AND_WRITE as usize] };
    report::begin(area, policy, Family::File, &told);
    report::actor(area);
    report::object(area, &object);
    report::finish(area)
}
