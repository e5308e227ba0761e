//! What protected paths hold: makes the file whose path was written into this copy of it, and ends with 42.
//!
//! It needs no arguments, no environment and no descriptors, because the ways to start a program differ in what they
//! hand over; 42 answers where the mark cannot be made, below another root.
#![no_std]
#![no_main]

use core::arch::asm;
use core::panic::PanicInfo;

/// Replaced in every copy by the path of its mark, with zeros behind it. The magic is how copies find it.
#[unsafe(no_mangle)]
static mut MARK: [u8; 128] = *b"BEACON-MARK-PATH\0...............................................................................................................";

/// Where the kernel starts it.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let mark = &raw mut MARK;
    // SAFETY: open(MARK, O_CREAT | O_WRONLY, 0644); the path ends with zero within its 128 bytes.
    unsafe {
        asm!("syscall", inlateout("rax") 2_usize => _, in("rdi") mark, in("rsi") 0o101, in("rdx") 0o644,
            lateout("rcx") _, lateout("r11") _);
    }
    // SAFETY: exit_group(42) does not return, touches no memory and needs no stack.
    unsafe { asm!("syscall", in("rax") 231, in("rdi") 42, options(noreturn)) }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
