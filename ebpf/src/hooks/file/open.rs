//! Files are opened, come in from other processes, are read, written and mapped through descriptors that are open
//! already.

use aya_ebpf::{bindings::inode, macros::lsm, programs::LsmContext};
use interdict_abi::{
    ids::{Act, Fact, Family, READ_AND_WRITE},
    limits::REMEMBERED_PARTS,
    maps::Control,
};
use interdict_engine::facts;

use super::{NOWHERE, ask, concerned, concerns, mode_of, of_mode, refusal};
use crate::{
    cache,
    hooks::{
        object::{self, how, row},
        with_area,
    },
    kernel::{
        fields, is_null_argument,
        object::{Object, Reader, Typed},
        path::{self, Built, Spot},
    },
    names,
    policy::{self, Policy},
    scratch::{Area, Labels},
};

const MAY_WRITE: i32 = 2;
const MAY_READ: i32 = 4;
const PROT_WRITE: u64 = 2;
const PROT_EXEC: u64 = 4;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_HUGETLB: u64 = 0x4_0000;
const MAP_TYPE: u64 = 0xf;
const MAP_PRIVATE: u64 = 2;
const S_IFMT: u16 = 0o170_000;
const S_IFREG: u16 = 0o100_000;
const S_IFDIR: u16 = 0o040_000;
const S_IFBLK: u16 = 0o060_000;

/// A file is opened. Decided before the file's own open method runs.
///
/// hook-signature: int file_open(struct file *file)
#[lsm(hook = "file_open")]
pub fn file_open(context: LsmContext) -> i32 {
    let file: *const u8 = context.arg(0);
    let mode = mode_of(file);
    let Some((control, generation)) = policy::in_force() else { return 0 };
    // Only what the first look needs: each field read through a typed pointer costs several machine instructions.
    let inode: *const u8 = Typed::read(file, fields::file_inode()).unwrap_or(core::ptr::null());
    let known = cache::find(file, inode, control, generation.0);
    if let Some(known) = &known
        && known.is_unconcerned(mode)
    {
        return 0;
    }
    let Some(act) = of_mode(mode) else { return 0 };
    let Some(policy) = policy::of(control, generation) else { return 0 };
    let Some((policy, directory, acting)) = concerns(policy, act) else { return 0 };
    let mut labels = None;
    if let Some(known) = known {
        if !object::possible(&policy, directory, acting, known.labels()) {
            cache::unconcerned(known, mode);
            return 0;
        }
        labels = Some(known.labels());
    }
    with_area(&policy, directory, |area| {
        let inode = inode.cast_mut().cast();
        judge(file, act, &policy, area, Met { inode, control, directory, acting, mode, labels })
    })
}

/// Whether all labels of a path are remembered: those of the first few parts of its column are.
#[inline(always)]
fn all_remembered(policy: &Policy, directory: u32) -> bool {
    let mut part = facts::first_part(&policy.image, directory, Fact::Path);
    let mut step = 0;
    while step < REMEMBERED_PARTS {
        if part == 0 {
            return true;
        }
        part = facts::next_part(&policy.image, part);
        step += 1;
    }
    part == 0
}

/// What the first look has found.
struct Met {
    inode: *mut inode,
    control: &'static Control,
    directory: u32,
    acting: u64,
    mode: u32,
    labels: Option<&'static [u32; REMEMBERED_PARTS]>,
}

#[inline(always)]
fn judge(file: *const u8, act: u32, policy: &Policy, area: Area, met: Met) -> i32 {
    let mut built = Built::UNKNOWN;
    let mut placed = false;
    if met.labels.is_none() {
        placed = Typed::read(met.inode.cast(), fields::inode_nlink()) == Some(1u32)
            && all_remembered(policy, met.directory)
            && cache::placed(file, met.control, policy.generation.0, &mut area.work().kept);
        built = path::seen::<Typed>(file, &mut area.work().text);
        if placed
            && built.known()
            && built.deleted == 0
            && let Some(identity) = Object::identity::<Typed>(met.inode.cast())
            && object::is_nothing(policy, area, Family::File, met.acting, identity)
        {
            let work = area.work();
            cache::keep(met.inode, &mut work.kept, &work.labels[row::SEEN as usize], met.mode);
            return 0;
        }
    }
    let question = ask(policy, area, act, how::EXISTS);
    question.spot = spot(file);
    if !question.object.fill::<Typed>(met.inode.cast()) {
        return 0;
    }
    if let Some(labels) = met.labels {
        question.how |= how::LABELLED;
        let seen = &mut area.work().labels[row::SEEN as usize];
        let mut part = 0;
        while part < REMEMBERED_PARTS {
            // SAFETY: inside the row; volatile, so that the loop is not made a call.
            unsafe { (&raw mut seen[part]).write_volatile(labels[part].wrapping_add(1)) };
            part += 1;
        }
    } else if built.known() {
        question.how |= how::BUILT | if built.deleted == 0 { 0 } else { how::DELETED };
        question.bytes = built.bytes;
    }
    let answer = object::answer(area);
    let work = area.work();
    if work.question.how & how::LEARNED != 0 {
        cache::forget(met.inode);
    } else if placed && work.question.how & (how::NAMED | how::UNKNOWN) == 0 {
        cache::keep(met.inode, &mut work.kept, &work.labels[row::SEEN as usize], 0);
    }
    refusal(answer)
}

#[inline(always)]
fn spot(file: *const u8) -> Spot {
    let at = fields::file_path();
    let dentry = Typed::read::<u64>(file, at + fields::path_dentry()).unwrap_or(0);
    let mount = Typed::read::<u64>(file, at + fields::path_mnt()).unwrap_or(0);
    Spot { dentry, mount }
}

/// A descriptor comes in from another process: over a Unix socket, or taken with `pidfd_getfd`.
///
/// hook-signature: int file_receive(struct file *file)
#[lsm(hook = "file_receive")]
pub fn file_receive(context: LsmContext) -> i32 {
    let file: *const u8 = context.arg(0);
    let Some(act) = of_mode(mode_of(file)) else { return 0 };
    let Some((policy, directory, _)) = concerned(act) else { return 0 };
    let Some(inode) = Typed::read::<*const u8>(file, fields::file_inode()) else { return 0 };
    if !is_stored(inode) {
        return 0;
    }
    with_area(&policy, directory, |area| {
        let question = ask(&policy, area, act, how::EXISTS);
        question.spot = spot(file);
        if !question.object.fill::<Typed>(inode) {
            return 0;
        }
        refusal(object::answer(area))
    })
}

/// A file is read or written through a descriptor. Its path was judged when it was opened or received; here it is judged
/// by the names it is remembered under, for descriptors that are older than the rules and processes that are no longer
/// what they were. Only refusals are told.
///
/// hook-signature: int file_permission(struct file *file, int mask)
#[lsm(hook = "file_permission")]
pub fn file_permission(context: LsmContext) -> i32 {
    let file: *const u8 = context.arg(0);
    let mask: i32 = context.arg(1);
    let act = if mask & MAY_WRITE != 0 {
        Act::FileWrite
    } else if mask & MAY_READ != 0 {
        Act::FileRead
    } else {
        return 0;
    };
    through_descriptor(file, act.value())
}

/// See [`file_permission`].
#[inline(always)]
fn through_descriptor(file: *const u8, act: u32) -> i32 {
    let Some((control, generation)) = policy::in_force() else { return 0 };
    let Some(inode) = Typed::read::<*const u8>(file, fields::file_inode()) else { return 0 };
    if !is_stored(inode) {
        return 0;
    }
    // What is remembered of a path has no other names.
    if cache::anywhere(inode.cast_mut().cast(), generation.0) {
        return 0;
    }
    let Some(policy) = policy::of(control, generation) else { return 0 };
    let Some((policy, directory, acting)) = concerns(policy, act) else { return 0 };
    let Some((device, number)) = Object::identity::<Typed>(inode) else { return 0 };
    if acting == 0 || !names::has_any(device, number) {
        return 0;
    }
    with_area(&policy, directory, |area| {
        let question = ask(&policy, area, act, how::EXISTS | how::NAMES_ONLY | how::QUIET);
        question.spot = spot(file);
        if !question.object.fill::<Typed>(inode) {
            return 0;
        }
        refusal(object::answer(area))
    })
}

/// Whether the inode is a file, a directory or a disk: not a pipe, socket or terminal.
#[inline(always)]
fn is_stored(inode: *const u8) -> bool {
    let Some(mode) = Typed::read::<u16>(inode, fields::inode_mode()) else { return false };
    let kind = mode & S_IFMT;
    kind == S_IFREG || kind == S_IFDIR || kind == S_IFBLK
}

/// A file is mapped: executable, or through a descriptor that is older than the rules.
///
/// hook-signature: int mmap_file(struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
#[lsm(hook = "mmap_file")]
pub fn mmap_file(context: LsmContext) -> i32 {
    let file: *const u8 = context.arg(0);
    let protection: u64 = context.arg(2);
    let flags: u64 = context.arg(3);
    // Mappings of nothing are the most frequent. Only those of huge pages have a file.
    if flags & (MAP_ANONYMOUS | MAP_HUGETLB) == MAP_ANONYMOUS
        || is_null_argument(&context, 0)
        || file.is_null()
    {
        return 0;
    }
    if protection & PROT_EXEC != 0 {
        let refused = made_executable(file, Act::MmapExec.value());
        if refused != 0 {
            return refused;
        }
    }
    let writes = protection & PROT_WRITE != 0 && flags & MAP_TYPE != MAP_PRIVATE;
    let act = if writes { READ_AND_WRITE } else { Act::FileRead.value() };
    through_descriptor(file, act)
}

#[inline(always)]
fn made_executable(file: *const u8, act: u32) -> i32 {
    let Some((policy, directory, _)) = concerned(act) else { return 0 };
    let Some(inode) = Typed::read::<*const u8>(file, fields::file_inode()) else { return 0 };
    with_area(&policy, directory, |area| {
        let question = ask(&policy, area, act, how::EXISTS);
        question.spot = spot(file);
        if !question.object.fill::<Typed>(inode) {
            return 0;
        }
        refusal(object::answer(area))
    })
}

/// A mapping becomes executable. One of no file has no path.
///
/// hook-signature: int file_mprotect(struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
#[lsm(hook = "file_mprotect")]
pub fn file_mprotect(context: LsmContext) -> i32 {
    let area: *const u8 = context.arg(0);
    let protection: u64 = context.arg(2);
    if protection & PROT_EXEC == 0 {
        return 0;
    }
    let Some(file) = Typed::read::<*const u8>(area, fields::vma_file()) else { return 0 };
    if !file.is_null() {
        return made_executable(file, Act::MprotectExec.value());
    }
    let Some((policy, directory, _)) = concerned(Act::MprotectExec.value()) else { return 0 };
    with_area(&policy, directory, |area| {
        let question = ask(&policy, area, Act::MprotectExec.value(), how::PATHLESS);
        question.spot = NOWHERE;
        refusal(object::answer(area))
    })
}

const _: () = assert!(size_of::<Labels>() / 4 >= REMEMBERED_PARTS);
