//! The kernel programs of interdict: hooks, kept thin.
//!
//! A hook reads its arguments, gathers the facts that the policy in force needs, lets `interdict-engine` decide and
//! reports through `emit`. `kernel` is the only reader of kernel memory, `maps` the only place that names maps.
//! There is no C here and there are no CO-RE relocations: field offsets are read-only globals that the loader fills in
//! from the running kernel's BTF (`kernel::fields`).
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod atomic;
mod bounds;
mod cache;
mod emit;
mod hooks;
mod kernel;
mod lineage;
mod maps;
mod names;
mod policy;
mod scratch;
mod words;

/// The verifier rejects a program that could get here, so nothing in this crate may panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
