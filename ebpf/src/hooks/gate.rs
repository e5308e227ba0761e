//! The short way for packets that come in and that no rule can be about: two reads of bitmaps, and for addresses beside
//! listed ones a look at the table.
//!
//! In: the frame, and the gate that the agent wrote with the policy. Out: whether it passes at once. Anything that is not a
//! plain frame with a whole IP header goes the long way, so nothing is decided here that would not be decided there.

use aya_ebpf::programs::XdpContext;
use interdict_abi::{
    ids::{Fact, Family},
    image::front,
    maps::Gate,
};
use interdict_engine::{
    facts,
    tables::{Address, unlisted},
};

use super::wire::Source;
use crate::{
    maps::CONTROL,
    policy::{self, Image},
};

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

/// Protocols that may hold another packet.
#[inline(always)]
fn may_hold(protocol: u8) -> bool {
    // UDP for VXLAN. IPv6 extension headers may be before any of them.
    matches!(protocol, 0 | 4 | 17 | 41 | 43 | 44 | 47 | 51 | 60 | 135 | 139 | 140)
}

/// Whether a frame passes without being judged.
#[inline(always)]
pub fn passes(frame: &XdpContext) -> bool {
    let Some(control) = CONTROL.get_ptr(0) else { return false };
    let control = control.cast_mut();
    // SAFETY: a live map value; the agent writes each word atomically.
    let active = unsafe { (&raw const (*control).active).read_volatile() };
    if active == 0 {
        return false;
    }
    // SAFETY: as above.
    let inside = unsafe { (&raw const (*control).inside).read_volatile() };
    let Some(image) = policy::slot(active as u32) else { return false };
    let Some(kind) = frame.at::<u16>(12) else { return false };
    let kind = u16::from_be(kind);
    if kind == ETH_P_IP {
        let Some(header) = frame.at::<[u8; 20]>(14) else { return false };
        if header[0] >> 4 != 4 || header[0] & 15 < 5 || inside != 0 && may_hold(header[9]) {
            return false;
        }
        let source = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
        let destination = u32::from_be_bytes([header[16], header[17], header[18], header[19]]);
        // SAFETY: as above.
        let (remote, local) = unsafe {
            (
                (&raw const (*control).gate.remote_v4).read_volatile(),
                (&raw const (*control).gate.local_v4).read_volatile(),
            )
        };
        return clear_v4(&image, active, remote, source, Fact::RemoteIp)
            && clear_v4(&image, active, local, destination, Fact::LocalIp);
    }
    if kind == ETH_P_IPV6 {
        let Some(start) = frame.at::<[u8; 8]>(14) else { return false };
        if start[0] >> 4 != 6 || inside != 0 && may_hold(start[6]) {
            return false;
        }
        let Some(source) = frame.at::<[u64; 2]>(22) else { return false };
        let Some(destination) = frame.at::<[u64; 2]>(38) else { return false };
        // SAFETY: as above.
        let (remote, local) = unsafe {
            (
                (&raw const (*control).gate.remote_v6).read_volatile(),
                (&raw const (*control).gate.local_v6).read_volatile(),
            )
        };
        return clear_v6(&image, active, remote, source, Fact::RemoteIp)
            && clear_v6(&image, active, local, destination, Fact::LocalIp);
    }
    false
}

/// Whether an IPv4 address is in no table, by the gate's word.
#[inline(always)]
fn clear_v4(image: &Image, active: u64, word: u64, address: u32, fact: Fact) -> bool {
    if Gate::generation(word) != active {
        return false;
    }
    let (offset, _) = Gate::front(word);
    offset == 0
        || unlisted(image, offset, front::bit_v4(address))
        || interdict_unlisted(active as u32, fact as u32, 0, 0xffff_0000_0000 | u64::from(address))
            != 0
}

/// Whether the table of a fact about packets does not list an address, under the policy of `generation`: a function of its
/// own, so that its searches are verified once. IPv4 comes as IPv6 has it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_unlisted(generation: u32, fact: u32, upper: u64, lower: u64) -> u64 {
    let Some(image) = policy::slot(generation) else { return 0 };
    let fact = if fact == Fact::LocalIp as u32 { Fact::LocalIp } else { Fact::RemoteIp };
    u64::from(facts::unlisted(&image, Family::Packet, fact, Address::v6(upper, lower)))
}

/// [`clear_v4`] for IPv6; mapped IPv4 goes the long way.
#[inline(always)]
fn clear_v6(image: &Image, active: u64, word: u64, halves: [u64; 2], fact: Fact) -> bool {
    let (upper, lower) = (u64::from_be(halves[0]), u64::from_be(halves[1]));
    if Gate::generation(word) != active || matches!(Address::v6(upper, lower), Address::V4(_)) {
        return false;
    }
    let (offset, prefix) = Gate::front(word);
    offset == 0
        || unlisted(image, offset, front::bit_v6(upper, prefix))
        || interdict_unlisted(active as u32, fact as u32, upper, lower) != 0
}
