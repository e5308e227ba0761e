//! The short way for packets and flows that no rule can be about: a read of a bitmap, or a look at a table.
//!
//! In: the packet or the address of a flow, and the gates that the agent wrote with the policy. Out: whether it passes at
//! once. Anything that is not a plain packet with a whole IP header goes the long way, so nothing is decided here that
//! would not be decided there.

use core::mem;

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    programs::{SkBuffContext, XdpContext},
};
use interdict_abi::{
    ids::{Fact, Family},
    image::{front, header},
    maps::{Control, Gate},
};
use interdict_engine::{
    Memory as _, facts,
    tables::{Address, unlisted},
};

use super::net::mapped;
use super::packet;
use super::wire::{DCCP, REACH, SCTP, Source, TCP};
use crate::{
    bounds::masked,
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

/// What a policy says of acts that it is not about.
#[derive(Clone, Copy)]
struct Open {
    control: *mut Control,
    active: u64,
    image: Image,
}

impl Open {
    /// Under the policy in force, if there is one.
    #[inline(always)]
    fn now() -> Option<Self> {
        let control = CONTROL.get_ptr(0)?.cast_mut();
        // SAFETY: a live map value; the agent writes each word atomically.
        let active = unsafe { (&raw const (*control).active).read_volatile() };
        if active == 0 {
            return None;
        }
        Some(Self { control, active, image: policy::slot(active as u32)? })
    }

    /// Whether a packet of this protocol is judged by what is in it, too.
    #[inline(always)]
    fn looked_into(&self, protocol: u8) -> bool {
        // SAFETY: as in `now`.
        may_hold(protocol) && unsafe { (&raw const (*self.control).inside).read_volatile() } != 0
    }
}

/// Which gate.
#[derive(Clone, Copy)]
enum Which {
    Interface,
    Out,
    Asking,
    Accept,
    Connect,
    Send,
}

/// Which of the words of a gate.
#[derive(Clone, Copy)]
enum Word {
    RemoteV4,
    RemoteV6,
    LocalV4,
    LocalV6,
    NearV4,
    SpreadV4,
    ScatteredV4,
}

impl Open {
    #[inline(always)]
    fn word(&self, which: Which, word: Word) -> u64 {
        // SAFETY: the address of a part of a live map value.
        let gate = unsafe {
            let gates = &raw const (*self.control).gates;
            match which {
                Which::Interface => &raw const (*gates).interface,
                Which::Out => &raw const (*gates).out,
                Which::Asking => &raw const (*gates).asking,
                Which::Accept => &raw const (*gates).accept,
                Which::Connect => &raw const (*gates).connect,
                Which::Send => &raw const (*gates).send,
            }
        };
        // SAFETY: as in `now`.
        unsafe {
            match word {
                Word::RemoteV4 => (&raw const (*gate).remote_v4).read_volatile(),
                Word::RemoteV6 => (&raw const (*gate).remote_v6).read_volatile(),
                Word::LocalV4 => (&raw const (*gate).local_v4).read_volatile(),
                Word::LocalV6 => (&raw const (*gate).local_v6).read_volatile(),
                Word::NearV4 => (&raw const (*gate).near_v4).read_volatile(),
                Word::SpreadV4 => (&raw const (*gate).spread_v4).read_volatile(),
                Word::ScatteredV4 => (&raw const (*gate).scattered_v4).read_volatile(),
            }
        }
    }
}

/// What the short way knows of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// No rule is about it.
    Passes,
    /// It is dropped, and nothing is to be told but its number.
    Dropped,
    /// Nothing: it is judged.
    Nothing,
}

/// What is known of a frame that comes in at an interface. Most are of IPv4 and from nobody who is listed: only those are
/// seen to here, so that those who judge the others have the stack.
#[inline(always)]
pub fn known(frame: &XdpContext) -> Known {
    if is_clear(frame) {
        return Known::Passes;
    }
    match interdict_known(frame.ctx) {
        PASSES => Known::Passes,
        DROPPED => Known::Dropped,
        _ => Known::Nothing,
    }
}

/// Whether the fronts alone say that no rule is about a frame of IPv4.
#[inline(always)]
fn is_clear(frame: &XdpContext) -> bool {
    let Some(open) = Open::now() else { return false };
    if frame.at::<u16>(12) != Some(ETH_P_IP.to_be()) {
        return false;
    }
    let Some(packet) = V4::at(frame, 14, &open) else { return false };
    let word = open.word(Which::Interface, Word::RemoteV4);
    front_v4(&open, word, Which::Interface, packet.source) == Front::Clear
        && nothing_asked(&open, open.word(Which::Interface, Word::LocalV4))
}

/// Answers of [`interdict_known`]. 0: the frame has to be judged.
const PASSES: u64 = 1;
/// As [`PASSES`].
const DROPPED: u64 = 2;

/// [`known`], of all frames.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_known(frame: *mut xdp_md) -> u64 {
    let frame = XdpContext::new(frame);
    let Some(open) = Open::now() else { return 0 };
    let Some(kind) = frame.at::<u16>(12) else { return 0 };
    let kind = u16::from_be(kind);
    if kind == ETH_P_IP {
        let Some(packet) = V4::at(&frame, 14, &open) else { return 0 };
        let word = open.word(Which::Interface, Word::RemoteV4);
        let front = front_v4(&open, word, Which::Interface, packet.source);
        let row = sender(&open, front, Address::V4(packet.source));
        if row != 0 || front == Front::Shut {
            return settled(&open, row, &frame);
        }
        return u64::from(packet.local_clear(&open, Which::Interface, packet.destination));
    }
    if kind == ETH_P_IPV6 {
        let Some(packet) = V6::at(&frame, 14, &open) else { return 0 };
        let word = open.word(Which::Interface, Word::RemoteV6);
        let [upper, lower] = packet.source;
        let front = front_v6(&open, word, packet.source);
        let row = sender(&open, front, Address::v6(upper, lower));
        if row != 0 || front == Front::Shut {
            return settled(&open, row, &frame);
        }
        return u64::from(packet.local_clear(&open, Which::Interface, packet.destination));
    }
    0
}

/// The row of a sender. Not by [`interdict_listed`]: a call costs as much as the search.
#[inline(always)]
fn sender(open: &Open, front: Front, sender: Address) -> u32 {
    // Rules that others are about too shut the gate; whoever is listed may be settled all the same.
    let asked = match front {
        Front::Clear => false,
        Front::Ask => true,
        Front::Shut => open.image.word(header::SETTLED) != 0,
    };
    if asked { facts::listed(&open.image, Family::Packet, Fact::RemoteIp, sender) } else { 0 }
}

/// [`DROPPED`] if the row of its sender says all about a frame, and nothing is to be told of it.
#[inline(always)]
fn settled(open: &Open, row: u32, frame: &XdpContext) -> u64 {
    // SAFETY: as in `now`.
    let audits = unsafe { (&raw const (*open.control).mode).read_volatile() } != 0;
    if audits {
        return 0;
    }
    let Some(rule) = facts::settled(&open.image, row) else { return 0 };
    let bytes = (frame.data_end() - frame.data()) as u64;
    if packet::counted_alone(open.active as u32, rule, bytes) { DROPPED } else { 0 }
}

/// Whether a packet that leaves a socket passes without being judged.
#[inline(always)]
pub fn leaves(packet: &SkBuffContext) -> bool {
    interdict_leaves(packet.skb.skb) != 0
}

/// Whether a packet that arrives at a socket passes without being judged.
#[inline(always)]
pub fn arrives(packet: &SkBuffContext) -> bool {
    interdict_arrives(packet.skb.skb) != 0
}

/// [`leaves`]: a function of its own, so that those who judge the packet have its stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_leaves(packet: *mut __sk_buff) -> u64 {
    u64::from(left(&Linear(packet)))
}

/// As [`interdict_leaves`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_arrives(packet: *mut __sk_buff) -> u64 {
    u64::from(arrived(&Linear(packet)))
}

#[inline(always)]
fn left(source: &Linear) -> bool {
    let Some(open) = Open::now() else { return false };
    let Some(first) = source.first() else { return false };
    if first >> 4 == 4 {
        let Some(packet) = V4::at(source, 0, &open) else { return false };
        let which = if packet.asks(source) { Which::Asking } else { Which::Out };
        return packet.clear(&open, which, true);
    }
    if first >> 4 == 6 {
        let Some(packet) = V6::at(source, 0, &open) else { return false };
        let which = if packet.asks(source) { Which::Asking } else { Which::Out };
        return packet.clear(&open, which, true);
    }
    false
}

#[inline(always)]
fn arrived(source: &Linear) -> bool {
    let Some(open) = Open::now() else { return false };
    let Some(first) = source.first() else { return false };
    if first >> 4 == 4 {
        let Some(packet) = V4::at(source, 0, &open) else { return false };
        return !packet.asks(source) || packet.clear(&open, Which::Accept, false);
    }
    if first >> 4 == 6 {
        let Some(packet) = V6::at(source, 0, &open) else { return false };
        return !packet.asks(source) || packet.clear(&open, Which::Accept, false);
    }
    false
}

/// What a process does with a flow, and there is a gate for.
#[derive(Clone, Copy)]
pub enum Deed {
    /// It connects.
    Connect,
    /// It sends.
    Send,
}

impl Deed {
    #[inline(always)]
    fn gate(self) -> Which {
        match self {
            Self::Connect => Which::Connect,
            Self::Send => Which::Send,
        }
    }
}

/// Whether what a process does with an IPv4 peer needs not be judged. Who names none reaches another one.
#[inline(always)]
pub fn free_v4(deed: Deed, peer: u32) -> bool {
    if peer == 0 {
        return false;
    }
    let Some(open) = Open::now() else { return false };
    let which = deed.gate();
    remote_clear_v4(&open, which, peer, NET | Fact::RemoteIp as u32)
        && nothing_asked(&open, open.word(which, Word::LocalV4))
}

/// [`free_v4`] for IPv6, by halves in host order.
#[inline(always)]
pub fn free_v6(deed: Deed, upper: u64, lower: u64) -> bool {
    if upper | lower == 0 {
        return false;
    }
    let Some(open) = Open::now() else { return false };
    let which = deed.gate();
    clear_v6(&open, open.word(which, Word::RemoteV6), [upper, lower], NET | Fact::RemoteIp as u32)
        && nothing_asked(&open, open.word(which, Word::LocalV6))
}

/// Whether a word says that no clause asks for the address.
#[inline(always)]
fn nothing_asked(open: &Open, word: u64) -> bool {
    Gate::generation(word) == open.active && Gate::front(word) == (0, 0)
}

/// What is in a packet's first bytes that are not in fragments, for programs that see it as memory.
struct Linear(*mut __sk_buff);

impl Linear {
    /// The first byte of a packet that has as many as an IPv4 header.
    #[inline(always)]
    fn first(&self) -> Option<u8> {
        // SAFETY: as in `at`.
        let (start, end) = unsafe {
            let start = (&raw const (*self.0).data).read_volatile();
            (u64::from(start), u64::from((&raw const (*self.0).data_end).read_volatile()))
        };
        if start + 20 > end {
            return None;
        }
        // SAFETY: checked against the end of the packet.
        Some(unsafe { (start as *const u8).read() })
    }
}

impl Source for Linear {
    #[inline(always)]
    fn at<T: Copy>(&self, offset: u64) -> Option<T> {
        let offset = masked::<0x3fff>(offset);
        if offset >= REACH {
            return None;
        }
        // SAFETY: the context is live for the whole program; the verifier turns these into checked context reads.
        let (start, end) = unsafe {
            let start = (&raw const (*self.0).data).read_volatile();
            (u64::from(start), u64::from((&raw const (*self.0).data_end).read_volatile()))
        };
        let start = start + offset;
        if start + mem::size_of::<T>() as u64 > end {
            return None;
        }
        // SAFETY: checked against the end of the packet; packets have no alignment.
        Some(unsafe { (start as *const T).read_unaligned() })
    }
}

/// An IPv4 header.
struct V4 {
    at: u64,
    source: u32,
    destination: u32,
    transport: u64,
    protocol: u8,
    first: bool,
}

impl V4 {
    #[inline(always)]
    fn at<S: Source>(bytes: &S, at: u64, open: &Open) -> Option<Self> {
        let header = bytes.at::<[u8; 20]>(at)?;
        if header[0] >> 4 != 4 || header[0] & 15 < 5 || open.looked_into(header[9]) {
            return None;
        }
        Some(Self {
            at,
            source: u32::from_be_bytes([header[12], header[13], header[14], header[15]]),
            destination: u32::from_be_bytes([header[16], header[17], header[18], header[19]]),
            transport: u64::from(header[0] & 15) * 4,
            protocol: header[9],
            first: u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0,
        })
    }

    /// Whether it asks for a connection, or might.
    #[inline(always)]
    fn asks<S: Source>(&self, bytes: &S) -> bool {
        asks(bytes, self.protocol, if self.first { self.at + self.transport } else { REACH })
    }

    #[inline(always)]
    fn clear(&self, open: &Open, which: Which, out: bool) -> bool {
        let (remote, local) =
            if out { (self.destination, self.source) } else { (self.source, self.destination) };
        remote_clear_v4(open, which, remote, PACKET | Fact::RemoteIp as u32)
            && self.local_clear(open, which, local)
    }

    #[inline(always)]
    fn local_clear(&self, open: &Open, which: Which, local: u32) -> bool {
        let word = open.word(which, Word::LocalV4);
        clear_v4(open, word, local, PACKET | Fact::LocalIp as u32)
    }
}

/// An IPv6 header.
struct V6 {
    at: u64,
    source: [u64; 2],
    destination: [u64; 2],
    protocol: u8,
}

impl V6 {
    #[inline(always)]
    fn at<S: Source>(bytes: &S, at: u64, open: &Open) -> Option<Self> {
        let start = bytes.at::<[u8; 8]>(at)?;
        if start[0] >> 4 != 6 || open.looked_into(start[6]) {
            return None;
        }
        let source = bytes.at::<[u64; 2]>(at + 8)?;
        let destination = bytes.at::<[u64; 2]>(at + 24)?;
        Some(Self {
            at,
            source: [u64::from_be(source[0]), u64::from_be(source[1])],
            destination: [u64::from_be(destination[0]), u64::from_be(destination[1])],
            protocol: start[6],
        })
    }

    /// Whether it asks for a connection, or might: behind extension headers anything may.
    #[inline(always)]
    fn asks<S: Source>(&self, bytes: &S) -> bool {
        matches!(self.protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
            || asks(bytes, self.protocol, self.at + 40)
    }

    #[inline(always)]
    fn clear(&self, open: &Open, which: Which, out: bool) -> bool {
        let (remote, local) =
            if out { (self.destination, self.source) } else { (self.source, self.destination) };
        let word = open.word(which, Word::RemoteV6);
        clear_v6(open, word, remote, PACKET | Fact::RemoteIp as u32)
            && self.local_clear(open, which, local)
    }

    #[inline(always)]
    fn local_clear(&self, open: &Open, which: Which, local: [u64; 2]) -> bool {
        let word = open.word(which, Word::LocalV6);
        clear_v6(open, word, local, PACKET | Fact::LocalIp as u32)
    }
}

/// Whether a packet asks for a connection, or might, whose header behind that of IP starts at `transport`.
#[inline(always)]
fn asks<S: Source>(bytes: &S, protocol: u8, transport: u64) -> bool {
    match u16::from(protocol) {
        TCP => match bytes.at::<[u8; 2]>(transport + 12) {
            Some([_, flags]) => flags & 0x12 == 0x02,
            None => true,
        },
        SCTP | DCCP => true,
        _ => false,
    }
}

/// What the front of a table says of an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Front {
    /// It is not listed, or nobody asks.
    Clear,
    /// The table has to be asked.
    Ask,
    /// There is no short way.
    Shut,
}

/// Of a remote IPv4 address, by the gate's word: of small tables it is known which blocks of addresses they list nothing of.
#[inline(always)]
fn front_v4(open: &Open, word: u64, which: Which, address: u32) -> Front {
    if Gate::generation(word) != open.active {
        return Front::Shut;
    }
    if empty(open, open.word(which, Word::NearV4), Gate::near(address))
        || empty(open, open.word(which, Word::SpreadV4), Gate::spread(address))
        || empty(open, open.word(which, Word::ScatteredV4), Gate::scattered(address))
    {
        return Front::Clear;
    }
    let (offset, prefix) = Gate::front(word);
    if (offset, prefix) == (0, 0) || unlisted(&open.image, offset, front::bit_v4(address)) {
        return Front::Clear;
    }
    Front::Ask
}

/// Of an IPv6 address; mapped IPv4 goes the long way.
#[inline(always)]
fn front_v6(open: &Open, word: u64, halves: [u64; 2]) -> Front {
    let [upper, lower] = halves;
    if Gate::generation(word) != open.active || matches!(Address::v6(upper, lower), Address::V4(_))
    {
        return Front::Shut;
    }
    let (offset, prefix) = Gate::front(word);
    if (offset, prefix) == (0, 0)
        || offset != 0 && unlisted(&open.image, offset, front::bit_v6(upper, prefix))
    {
        return Front::Clear;
    }
    Front::Ask
}

/// Whether a remote IPv4 address is in no table, by the gate.
#[inline(always)]
fn remote_clear_v4(open: &Open, which: Which, address: u32, fact: u32) -> bool {
    match front_v4(open, open.word(which, Word::RemoteV4), which, address) {
        Front::Clear => true,
        Front::Ask => interdict_listed(open.active as u32, fact, 0, mapped(address)) == 0,
        Front::Shut => false,
    }
}

/// Whether a word says of a block of addresses that none is listed.
#[inline(always)]
fn empty(open: &Open, word: u64, bit: u32) -> bool {
    Gate::generation(word) == open.active && word >> (bit & 31) & 1 == 0
}

/// Whether a local IPv4 address is in no table, by the gate's word.
#[inline(always)]
fn clear_v4(open: &Open, word: u64, address: u32, fact: u32) -> bool {
    if Gate::generation(word) != open.active {
        return false;
    }
    let (offset, prefix) = Gate::front(word);
    (offset, prefix) == (0, 0)
        || unlisted(&open.image, offset, front::bit_v4(address))
        || interdict_listed(open.active as u32, fact, 0, mapped(address)) == 0
}

/// [`clear_v4`] for IPv6.
#[inline(always)]
fn clear_v6(open: &Open, word: u64, halves: [u64; 2], fact: u32) -> bool {
    match front_v6(open, word, halves) {
        Front::Clear => true,
        Front::Ask => interdict_listed(open.active as u32, fact, halves[0], halves[1]) == 0,
        Front::Shut => false,
    }
}

/// In the parameter of [`interdict_listed`]: the fact is about packets.
const PACKET: u32 = (Family::Packet as u32) << 8;
/// As [`PACKET`]: about flows.
const NET: u32 = (Family::Net as u32) << 8;

/// The delta row of an address in the table of a fact, under the policy of `generation`: a function of its own, so that
/// its searches are verified once. IPv4 comes as IPv6 has it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_listed(generation: u32, fact: u32, upper: u64, lower: u64) -> u64 {
    let Some(image) = policy::slot(generation) else { return u64::from(facts::NO_TABLE) };
    let family = if fact & !0xff == NET { Family::Net } else { Family::Packet };
    let fact = if fact & 0xff == Fact::LocalIp as u32 { Fact::LocalIp } else { Fact::RemoteIp };
    u64::from(facts::listed(&image, family, fact, Address::v6(upper, lower)))
}
