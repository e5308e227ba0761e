//! The system call the acting task is in: which one, in which way of calling, with which arguments.
//!
//! Registers are read from the frame that the kernel saved on entry: a program cannot change them while it is inside.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use interdict_abi::{ids::Calling, offsets::MISSING};

use super::{fields, probed, task};

/// `TS_COMPAT` of x86: the task is in a 32-bit system call.
const TS_COMPAT: u32 = 2;
/// `TIF_32BIT` of arm64: the task is a 32-bit one.
const TIF_32BIT: u64 = 1 << 22;
/// The bit that x32 sets in its numbers.
const X32_BIT: u32 = 0x4000_0000;

/// A system call.
#[derive(Clone, Copy)]
pub struct Call {
    /// How it was called, as `Calling`.
    pub calling: u32,
    /// Its number, without the bit of x32.
    pub number: u32,
    registers: *const u8,
    compat: bool,
}

/// Numbers of a system call: of x86 with 64 bits (and x32) and with 32, of ARM with 64 and with 32.
pub type Numbers = [u32; 4];

impl Call {
    /// unshare(2).
    pub const UNSHARE: Numbers = [272, 310, 97, 337];
    /// setns(2).
    pub const SETNS: Numbers = [308, 346, 268, 375];

    /// Whether it is the one with these numbers.
    #[inline(always)]
    pub fn is(&self, numbers: Numbers) -> bool {
        let own = if self.calling == Calling::I386 as u32 {
            numbers[1]
        } else if self.calling == Calling::Aarch64 as u32 {
            numbers[2]
        } else if self.calling == Calling::Arm as u32 {
            numbers[3]
        } else {
            numbers[0]
        };
        self.number == own
    }

    /// The call with these saved registers and this number, made by the acting task.
    #[inline(always)]
    pub fn of(registers: *const u8, number: u32) -> Self {
        let compat = compatible();
        let x32 = fields::native_calling() == Calling::X86_64 as u32
            && !compat
            && number & X32_BIT != 0
            && number != u32::MAX;
        let calling = if compat {
            fields::compat_calling()
        } else if x32 {
            Calling::X32 as u32
        } else {
            fields::native_calling()
        };
        Self { calling, number: if x32 { number & !X32_BIT } else { number }, registers, compat }
    }

    /// The one the acting task is in, as the kernel saved it. `None` where the number cannot be read.
    #[inline(always)]
    pub fn current() -> Option<Self> {
        // SAFETY: the helper has no preconditions.
        let task = unsafe { bpf_get_current_task_btf() };
        // SAFETY: the task is the current one.
        let registers = unsafe { bpf_task_pt_regs(task) } as *const u8;
        Self::saved(registers)
    }

    /// The one with these saved registers.
    #[inline(always)]
    pub fn saved(registers: *const u8) -> Option<Self> {
        let offset = fields::registers_number();
        if offset == MISSING {
            return None;
        }
        Some(Self::of(registers, probed::<u32>(registers, offset)?))
    }

    /// The value of `Fact::Number`.
    #[inline(always)]
    pub fn value(&self) -> u32 {
        self.calling << Calling::SHIFT | self.number & 0xffff
    }

    /// An argument, from 0, as it was passed.
    #[inline(always)]
    pub fn argument(&self, index: u32) -> Option<u64> {
        let offset = match (self.compat, index) {
            (false, 0) => fields::registers_0(),
            (false, 1) => fields::registers_1(),
            (false, 2) => fields::registers_2(),
            (false, 3) => fields::registers_3(),
            (false, 4) => fields::registers_4(),
            (false, _) => fields::registers_5(),
            (true, 0) => fields::compat_0(),
            (true, 1) => fields::compat_1(),
            (true, 2) => fields::compat_2(),
            (true, 3) => fields::compat_3(),
            (true, 4) => fields::compat_4(),
            (true, _) => fields::compat_5(),
        };
        if offset == MISSING {
            return None;
        }
        let value = probed::<u64>(self.registers, offset)?;
        Some(if self.compat { value & 0xffff_ffff } else { value })
    }
}

/// Whether the acting task is in a 32-bit system call.
#[inline(always)]
fn compatible() -> bool {
    if fields::native_calling() == Calling::X86_64 as u32 {
        let offset = fields::thread_status();
        return offset != MISSING
            && probed::<u32>(task::current(), offset).unwrap_or(0) & TS_COMPAT != 0;
    }
    let offset = fields::thread_flags();
    offset != MISSING && probed::<u64>(task::current(), offset).unwrap_or(0) & TIF_32BIT != 0
}
