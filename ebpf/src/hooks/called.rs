//! Acts on files on hosts without BPF LSM: system calls, judged as they end.
//!
//! A call that opened a file is judged by that file. Any other is judged by the path that its caller wrote (`spelled`):
//! links are not followed, and another thread may have changed it since the kernel read it. As calls end, and not as they
//! begin: by then the kernel has read the path, so that it is there to be read again, and what failed is no act. Nothing
//! is refused; who is to be stopped is killed before its next instruction.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use interdict_abi::{
    calls::{CALLINGS, NUMBERS, Shape, TABLE},
    ids::{Act, Calling, Family, Generation, READ_AND_WRITE},
};
use interdict_engine::facts;

use super::{
    file::ask,
    object::{self, how},
    spelled,
};
use crate::{
    bounds::masked,
    kernel::{call::Call, copy_user, fields, object::Probed, path::Spot, probed, task},
    policy::{self, Policy},
    scratch::{self, Area},
};

/// What calls do, and with which arguments: see [`TABLE`].
static CALLS: [u8; CALLS_LEN] = TABLE;
const CALLS_LEN: usize = CALLINGS.len() * NUMBERS;
const _: () = assert!(CALLS_LEN.is_power_of_two());

const FMODE_READ: u32 = 1;
const FMODE_WRITE: u32 = 2;
/// The open made the file.
const FMODE_CREATED: u32 = 1 << 20;
/// Of open(2), on all machines that are supported.
const O_TRUNC: u64 = 0o1000;
const S_IFMT: u64 = 0o170_000;
const S_IFREG: u64 = 0o100_000;
/// The working directory in place of a descriptor.
const AT_FDCWD: i32 = -100;

/// A call that is about files.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FileCalled {
    /// `Shape`.
    shape: u64,
    /// The number of the act in its family.
    act: u64,
    /// What it answered.
    answer: u64,
    arguments: [u64; 4],
    /// How it was called, and its number: `Fact::Number` of a system call.
    value: u64,
}

/// A system call ends.
///
/// tracepoint: sys_exit(struct pt_regs *regs, long ret)
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn file_called(context: RawTracePointContext) -> i32 {
    let registers: *const u8 = context.arg(0);
    let answer = context.arg::<u64>(1);
    // What failed is no act.
    if answer as i64 >= 0
        && let Some(call) = Call::saved(registers)
    {
        ended(&call, answer);
    }
    0
}

#[inline(always)]
fn ended(call: &Call, answer: u64) {
    let table = if call.calling == Calling::I386 as u32 {
        1
    } else if call.calling == Calling::Aarch64 as u32 {
        2
    } else if call.calling == Calling::Arm as u32 {
        3
    } else {
        0
    };
    if call.number as usize >= NUMBERS {
        return;
    }
    let at = masked::<{ CALLS_LEN as u64 - 1 }>(table * NUMBERS as u64 + u64::from(call.number));
    // SAFETY: masked to the table; volatile, because it is a map of its own when it runs.
    let entry = unsafe { (&raw const CALLS).cast::<u8>().add(at as usize).read_volatile() };
    if entry == 0 {
        return;
    }
    let Some(policy) = policy::active() else { return };
    if facts::directory(&policy.image, Family::File) == 0 {
        return;
    }
    // Without memory to work in nothing can be judged; it is counted, and nothing could be refused anyway.
    let Some(claim) = scratch::claim() else { return };
    let called = &mut claim.area.work().file_called;
    called.shape = u64::from(entry >> 4);
    called.act = u64::from(entry & 15);
    called.answer = answer;
    called.value = u64::from(call.value());
    called.arguments[0] = call.argument(0).unwrap_or(0);
    called.arguments[1] = call.argument(1).unwrap_or(0);
    called.arguments[2] = call.argument(2).unwrap_or(0);
    called.arguments[3] = call.argument(3).unwrap_or(0);
    let mut step = 0;
    while step < ACTS {
        let asked =
            interdict_called(claim.area.number, policy.generation.0, policy.mode as u32, step);
        if asked == BY_FILE {
            object::answer(claim.area);
        } else if asked == BY_SPELLING {
            spelled::answer(claim.area);
        }
        step += 1;
    }
    claim.release();
}

/// Acts that one call can be: an open that makes the file or cuts it off is another.
const ACTS: u32 = 2;

/// Nothing is asked.
const NOTHING: u64 = 0;
/// A question is in the area: about a file.
const BY_FILE: u64 = 1;
/// A question is in the area: about paths as they were written.
const BY_SPELLING: u64 = 2;

/// Asks about the call in the area, as the act numbered `step` that it is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_called(number: u32, generation: u32, mode: u32, step: u32) -> u64 {
    let Some(area) = scratch::numbered(number) else { return NOTHING };
    let slot = Generation(generation).slot();
    let Some(policy) = policy::numbered(slot, generation, mode) else { return NOTHING };
    let called = &area.work().file_called;
    let shape = called.shape as u8;
    if shape == Shape::Opened as u8 {
        return opened(&policy, area, called, step);
    }
    if step != 0 {
        return NOTHING;
    }
    if shape == Shape::Descriptor as u8 {
        let act = Act::FileRead.value() + called.act as u32;
        return match behind(called.arguments[0]) {
            Some(file) => of_file(&policy, area, act, file),
            None => NOTHING,
        };
    }
    named(&policy, area, called)
}

/// The file behind a descriptor of the acting process.
#[inline(always)]
fn behind(descriptor: u64) -> Option<*const u8> {
    let descriptor = descriptor & 0xffff_ffff;
    let files: *const u8 = probed(task::current(), fields::task_files())?;
    let table: *const u8 = probed(files, fields::files_table())?;
    let most: u32 = probed(table, fields::guard_fdtable_max())?;
    if descriptor >= u64::from(most) {
        return None;
    }
    let array: *const u8 = probed(table, fields::fdtable_files())?;
    let file: *const u8 = probed(array, descriptor * 8)?;
    if file.is_null() { None } else { Some(file) }
}

/// A file was opened: read or written, and then made or cut off, by how it was opened.
#[inline(always)]
fn opened(policy: &Policy, area: Area, called: &FileCalled, step: u32) -> u64 {
    let Some(file) = behind(called.answer) else { return NOTHING };
    let mode: u32 = probed(file, fields::file_mode()).unwrap_or(0);
    let act = if step == 0 {
        match mode & (FMODE_READ | FMODE_WRITE) {
            0 => return NOTHING,
            FMODE_READ => Act::FileRead.value(),
            FMODE_WRITE => Act::FileWrite.value(),
            _ => READ_AND_WRITE,
        }
    } else if mode & FMODE_CREATED != 0 {
        Act::FileCreate.value()
    } else if mode & FMODE_WRITE != 0 && cuts_off(called) {
        Act::FileTruncate.value()
    } else {
        return NOTHING;
    };
    of_file(policy, area, act, file)
}

/// Whether an open cuts the file off: its flags are in a register, but for openat2(2) in the caller's memory.
#[inline(always)]
fn cuts_off(called: &FileCalled) -> bool {
    /// creat(2), which has no flags: 64-bit x86, and all that are numbered as 32-bit x86.
    const CREAT: [u64; 2] = [85, 8];
    const OPENAT2: u64 = 437;
    const OPENAT: [u64; 4] = [257, 295, 56, 322];
    let (calling, number) = (called.value >> Calling::SHIFT, called.value & 0xffff);
    let native = calling == Calling::X86_64 as u64 || calling == Calling::X32 as u64;
    if number == OPENAT2 {
        let mut flags = 0u64;
        // SAFETY: a word; the helper checks the source.
        let read = unsafe { copy_user((&raw mut flags).cast(), 8, called.arguments[2]) };
        return read && flags & O_TRUNC != 0;
    }
    if number == CREAT[if native { 0 } else { 1 }] && calling != Calling::Aarch64 as u64 {
        return true;
    }
    let at =
        number == OPENAT[0] || number == OPENAT[1] || number == OPENAT[2] || number == OPENAT[3];
    let flags = if at { called.arguments[2] } else { called.arguments[1] };
    flags & O_TRUNC != 0
}

/// An act on the file at `file`, which is open.
#[inline(always)]
fn of_file(policy: &Policy, area: Area, act: u32, file: *const u8) -> u64 {
    let directory = facts::directory(&policy.image, Family::File);
    if object::acting(policy, directory, act) == 0 {
        return NOTHING;
    }
    let question = ask(policy, area, act, how::EXISTS);
    question.spot = Spot::of_file(file).unwrap_or(Spot { dentry: 0, mount: 0 });
    let Some(inode) = probed::<*const u8>(file, fields::file_inode()) else { return NOTHING };
    if question.object.fill::<Probed>(inode) { BY_FILE } else { NOTHING }
}

/// A call that names what it is about.
#[inline(always)]
fn named(policy: &Policy, area: Area, called: &FileCalled) -> u64 {
    let shape = called.shape as u8;
    let mut act = Act::FileRead.value() + called.act as u32;
    let arguments = &called.arguments;
    let here = AT_FDCWD as u32 as u64;
    let (from, path) = if shape == Shape::At as u8 || shape == Shape::PathsAt as u8 {
        (arguments[0], arguments[1])
    } else if shape == Shape::SecondAt as u8 {
        (arguments[1], arguments[2])
    } else if shape == Shape::ThirdAt as u8 {
        (arguments[2], arguments[3])
    } else if shape == Shape::SecondPath as u8 {
        (here, arguments[1])
    } else {
        (here, arguments[0])
    };
    if act == Act::FileMknod.value() {
        let mode = if shape == Shape::At as u8 { arguments[2] } else { arguments[1] };
        if mode & S_IFMT == S_IFREG || mode & S_IFMT == 0 {
            act = Act::FileCreate.value();
        }
    }
    let directory = facts::directory(&policy.image, Family::File);
    if object::acting(policy, directory, act) == 0 {
        return NOTHING;
    }
    ask(policy, area, act, how::SPELLED);
    let bytes = spelled::spelled(area, 0, place(from), path);
    let work = area.work();
    work.question.bytes = bytes;
    work.question.last = work.tidying.last();
    let both = shape == Shape::Paths as u8 || shape == Shape::PathsAt as u8;
    if both {
        let (from, path) = if shape == Shape::Paths as u8 {
            (here, arguments[1])
        } else {
            (arguments[2], arguments[3])
        };
        let second = spelled::spelled(area, bytes + 1, place(from), path);
        let work = area.work();
        work.question.second_bytes = second;
        work.question.second_last = work.tidying.last();
        work.question.how |= how::SPELLED_BOTH;
    }
    BY_SPELLING
}

/// Where the directory behind a descriptor is, or the working directory.
#[inline(always)]
fn place(descriptor: u64) -> Spot {
    const NOWHERE: Spot = Spot { dentry: 0, mount: 0 };
    if descriptor as u32 as i32 != AT_FDCWD {
        return match behind(descriptor) {
            Some(file) => Spot::of_file(file).unwrap_or(NOWHERE),
            None => NOWHERE,
        };
    }
    match probed::<*const u8>(task::current(), fields::task_fs()) {
        Some(fs) => Spot::of_path(fs.wrapping_add(fields::fs_pwd() as usize)).unwrap_or(NOWHERE),
        None => NOWHERE,
    }
}
