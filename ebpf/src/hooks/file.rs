//! File acts.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::{
    event::flags,
    ids::{ACT_COMBINATIONS, Act, Fact, Family, READ_AND_WRITE},
};
use interdict_engine::facts::Narrowing;

use super::{judge, report, report::Told, with_policy};
use crate::{
    kernel::{
        fields,
        object::{Object, Reader, Typed},
        path,
    },
    policy::Policy,
    scratch::{Area, Work},
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
    let Work { progress, short, text, .. } = area.work();
    let slot = policy.generation.slot();
    let Some(mut narrowing) = Narrowing::start(&policy.image, Family::File, progress) else {
        return 0;
    };
    if !narrowing.number(Fact::Act, act) {
        return 0;
    }
    let mut told = Told::default();
    if narrowing.needs(Fact::Path) {
        if told.path(path::seen::<Typed>(file, text)) {
            judge::narrow_path(&mut narrowing, area, slot);
        } else {
            narrowing.unknown(Fact::Path);
        }
        if !narrowing.alive() {
            return 0;
        }
    }
    if narrowing.needs(Fact::Name) {
        if path::name::<Typed>(file, short) {
            narrowing.short_string(Fact::Name, short);
        } else {
            narrowing.unknown(Fact::Name);
        }
        if !narrowing.alive() {
            return 0;
        }
    }
    let Some(object) = Object::of_file::<Typed>(file) else { return 0 };
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
    if told.path_bytes == 0 && told.flags & flags::PATH_UNKNOWN == 0 {
        told.path(path::seen::<Typed>(file, text));
    }
    told.acts = if act < 16 { 1 << act } else { ACT_COMBINATIONS[READ_AND_WRITE as usize] };
    report::begin(area, policy, Family::File, &told);
    report::actor(area);
    report::object(area, &object);
    report::finish(area)
}
