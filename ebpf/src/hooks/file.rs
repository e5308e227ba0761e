//! File acts.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::inode, macros::lsm, programs::LsmContext};
use interdict_abi::{
    ids::{ACT_COMBINATIONS, Act, Fact, Family, READ_AND_WRITE},
    image,
};
use interdict_engine::{Memory, facts};

use super::{judge::Case, report, report::Told, with_area};
use crate::{
    cache,
    kernel::{
        fields,
        object::{Object, Reader, Typed},
        path,
    },
    policy::{self, Policy},
    scratch::Area,
};

const FMODE_READ: u32 = 1;
const FMODE_WRITE: u32 = 2;

/// A file is opened. Decided before the file's own open method runs.
///
/// hook-signature: int file_open(struct file *file)
#[lsm(hook = "file_open")]
pub fn file_open(context: LsmContext) -> i32 {
    let Some(policy) = policy::active() else { return 0 };
    let directory = facts::directory(&policy.image, Family::File);
    if directory == 0 {
        return 0;
    }
    open(context.arg(0), &policy, directory)
}

#[inline(always)]
fn open(file: *const u8, policy: &Policy, directory: u32) -> i32 {
    let Some(mode) = Typed::read::<u32>(file, fields::file_mode()) else { return 0 };
    let act = match mode & (FMODE_READ | FMODE_WRITE) {
        FMODE_READ => Act::FileRead.value(),
        FMODE_WRITE => Act::FileWrite.value(),
        0 => return 0,
        _ => READ_AND_WRITE,
    };
    decide(file, act, policy, directory)
}

/// Decides an act on `file`; `act` is a value of `Fact::Act`.
#[inline(always)]
fn decide(file: *const u8, act: u32, policy: &Policy, directory: u32) -> i32 {
    let image = &policy.image;
    let acting = facts::possible(image, directory, Fact::Act, act)
        & image.long(directory.wrapping_add(image::family::ALL));
    if acting == 0 {
        return 0;
    }
    // Only what the first look needs: each field read through a typed pointer costs several machine instructions.
    let inode: *const u8 = Typed::read(file, fields::file_inode()).unwrap_or(core::ptr::null());
    let links: u32 = Typed::read(inode, fields::inode_nlink()).unwrap_or(0);
    let inode = inode.cast_mut().cast::<inode>();
    let mut known = 0;
    let mut place = MaybeUninit::uninit();
    if let Some(place) = cache::place(file, links, policy.generation, &mut place)
        && let Some(label) = cache::find(inode, place)
    {
        if acting & facts::possible(image, directory, Fact::Path, label) == 0 {
            return 0;
        }
        known = u64::from(label) + 1;
    }
    with_area(policy, directory, |area| {
        judge(file, act, policy, area, Label { known, inode, links })
    })
}

/// What is known of the path's label before the path is built.
struct Label {
    /// The label plus one, 0 if it is not known.
    known: u64,
    inode: *mut inode,
    links: u32,
}

#[inline(always)]
fn judge(file: *const u8, act: u32, policy: &Policy, area: Area, label: Label) -> i32 {
    let Some(case) = Case::start(policy, area, Family::File) else { return 0 };
    if !case.number(Fact::Act, act) {
        return 0;
    }
    let mut told = Told::default();
    let mut built = 0;
    if label.known != 0 {
        case.path_label((label.known - 1) as u32);
    } else if case.needs(Fact::Path) {
        built = 1;
        let placed = cache::place(file, label.links, policy.generation, &mut area.work().place);
        let found = told.path(path::seen::<Typed>(file, &mut area.work().text));
        let walked = case.path(found);
        if let Some(place) = placed
            && walked != 0
        {
            cache::keep(label.inode, place, (walked - 1) as u32);
        }
    }
    if !case.alive() || !case.name::<Typed>(file) {
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
    if built == 0 {
        told.path(path::seen::<Typed>(file, &mut area.work().text));
    }
    told.acts = if act < 16 { 1 << act } else { ACT_COMBINATIONS[READ_AND_WRITE as usize] };
    report::begin(area, policy, Family::File, &told);
    report::actor(area);
    report::object(area, &object);
    report::finish(area)
}
