//! System calls by name: raw tracepoints where they begin and end. Alert and kill only: nothing can be refused here.
//!
//! Attached only while a rule asks for system calls. Then every call of every process comes by, and a bitmap in the
//! image answers for those that no rule is about.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use interdict_abi::{
    ids::{Act, Fact, Family, Generation, Mode},
    image::header,
    limits::{CALLINGS, SYSCALL_NUMBERS},
};
use interdict_engine::Memory;

use super::{judge::Case, report, report::Told};
use crate::{
    kernel::call::Call,
    policy::{self, Policy},
    scratch::{self, Area, Work},
    words,
};

/// What is known of a system call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Called {
    /// The value of `Fact::Number`.
    value: u64,
    /// What it answered, when it ended.
    answer: u64,
    /// 1 when it ended.
    ended: u64,
    /// Arguments that could not be read, as bits.
    unknown: u64,
    arguments: [u64; 6],
}

/// Words of [`Called`].
const WORDS: usize = size_of::<Called>() / 8;

/// Whether some rule is about the beginning (0) or end (1) of a call.
#[inline(always)]
fn concerns(policy: &Policy, value: u32, end: u32) -> bool {
    let bits = policy.image.word(header::SYSCALLS);
    let (calling, number) = (value >> 16, value & 0xffff);
    if bits == 0 || number >= SYSCALL_NUMBERS || calling >= CALLINGS {
        return false;
    }
    let bit = (end * CALLINGS + calling) * SYSCALL_NUMBERS + number;
    (policy.image.byte(bits + (bit >> 3)) >> (bit & 7)) & 1 != 0
}

/// A system call begins.
///
/// tracepoint: sys_enter(struct pt_regs *regs, long id)
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn syscall_begins(context: RawTracePointContext) -> i32 {
    let registers: *const u8 = context.arg(0);
    let number = context.arg::<u64>(1) as u32;
    called(Call::of(registers, number), 0, 0);
    0
}

/// A system call ends.
///
/// tracepoint: sys_exit(struct pt_regs *regs, long ret)
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn syscall_ends(context: RawTracePointContext) -> i32 {
    let registers: *const u8 = context.arg(0);
    let Some(call) = Call::saved(registers) else { return 0 };
    called(call, 1, context.arg::<u64>(1));
    0
}

#[inline(always)]
fn called(call: Call, end: u32, answer: u64) {
    let Some(policy) = policy::active() else { return };
    let value = call.value();
    if !concerns(&policy, value, end) {
        return;
    }
    // Without memory to work in nothing can be judged; it is counted, and nothing could be refused anyway.
    let Some(claim) = scratch::claim() else { return };
    let area = claim.area;
    let called = &mut area.work().called;
    // SAFETY: all zero is a call of which nothing is known.
    unsafe { words::zero(called) };
    called.value = u64::from(value);
    called.answer = answer;
    called.ended = u64::from(end);
    let mut index = 0;
    while index < 6 {
        match call.argument(index) {
            Some(argument) => called.arguments[index as usize] = argument,
            None => called.unknown |= 1 << index,
        }
        index += 1;
    }
    interdict_syscall(area.number, policy.generation.0, policy.mode as u32);
    claim.release();
}

/// Narrows by the call in the area and the acting process, decides and reports.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_syscall(area: u32, generation: u32, mode: u32) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 0 };
    let generation = Generation(generation);
    let Some(image) = policy::slot(generation.slot()) else { return 0 };
    let mode = if mode == Mode::Enforce as u32 { Mode::Enforce } else { Mode::Audit };
    judge(&Policy { image, generation, mode }, area);
    0
}

const ARGUMENTS: [Fact; 6] = [
    Fact::Argument0,
    Fact::Argument1,
    Fact::Argument2,
    Fact::Argument3,
    Fact::Argument4,
    Fact::Argument5,
];

/// The highest error number the kernel answers with.
const MAX_ERRNO: u64 = 4095;

#[inline(always)]
fn judge(policy: &Policy, area: Area) {
    let Some(case) = Case::start(policy, area, Family::Syscall) else { return };
    let ended = area.work().called.ended != 0;
    let act = if ended { Act::SyscallResult } else { Act::Syscall };
    if !case.number(Fact::Act, act.value())
        || !case.number(Fact::Number, area.work().called.value as u32)
    {
        return;
    }
    let mut index = 0;
    while index < 6 {
        if area.work().called.unknown >> index & 1 != 0 {
            case.unknown(ARGUMENTS[index]);
        } else {
            let value = area.work().called.arguments[index] as u32;
            case.number(ARGUMENTS[index], value);
        }
        index += 1;
    }
    let answer = area.work().called.answer;
    let error = answer.wrapping_neg();
    if !ended {
        case.absent(Fact::Result);
        case.absent(Fact::Error);
    } else if error != 0 && error <= MAX_ERRNO {
        case.absent(Fact::Result);
        case.number(Fact::Error, error as u32);
    } else {
        case.number(Fact::Result, answer as u32);
        case.number(Fact::Error, 0);
    }
    if !case.alive() {
        return;
    }
    let mut told = Told {
        acts: act.bit(),
        number: area.work().called.value as u32,
        extra_bytes: size_of::<Called>() as u64,
        ..Told::default()
    };
    told.flags |= case.actor();
    if !case.decide() {
        return;
    }
    // The call's particulars are the record's second string.
    let Work { called, text, .. } = area.work();
    let source: *const [u64; WORDS] = (&raw const *called).cast();
    let target: *mut [u64; WORDS] = text.0.as_mut_ptr().cast();
    // SAFETY: the particulars are so many words, and the text is larger and 8-aligned.
    unsafe { words::copy(&mut *target, &*source) };
    report::begin(area, policy.generation, Family::Syscall, &told);
    report::actor(area);
    report::finish(area);
}
