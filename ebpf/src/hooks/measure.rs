//! What packets cost, measured from inside: programs that the agent never loads.
//!
//! `BPF_PROG_TEST_RUN` repeats a program on one packet. These change the packet's source before each run, so that every
//! run asks for another address: the low half of the source follows a generator whose state is the address itself.

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

use super::packet;

/// Nothing at all: what the kernel's own share of a measurement is.
#[xdp]
pub fn measure_nothing(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Only changes the source.
#[xdp]
pub fn measure_walk(context: XdpContext) -> u32 {
    walk(&context);
    xdp_action::XDP_PASS
}

/// Changes the source and judges the packet.
#[xdp]
pub fn measure_judged(context: XdpContext) -> u32 {
    walk(&context);
    packet::judged_at_interface(&context)
}

/// The generator of Knuth and Lewis: it meets every number once.
const FACTOR: u32 = 1_664_525;
const SUMMAND: u32 = 1_013_904_223;

#[inline(always)]
fn walk(context: &XdpContext) {
    let start = context.data();
    if start + 54 > context.data_end() {
        return;
    }
    // In IPv4 the source, in IPv6 the second quarter of it: the fronts look no further than the first half.
    let source = (start + 26) as *mut u32;
    // SAFETY: as above; packets have no alignment.
    let before = u32::from_be(unsafe { source.read_unaligned() });
    let after = before.wrapping_mul(FACTOR).wrapping_add(SUMMAND);
    // SAFETY: as above.
    unsafe { source.write_unaligned(after.to_be()) };
}
