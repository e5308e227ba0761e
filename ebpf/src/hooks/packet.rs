//! Packets that come in at an interface: XDP.
//!
//! The addresses of an IP header sit at fixed places, so they are judged whatever follows: options, fragments,
//! extension headers. VLAN tags are followed up to `TAGS`; a packet with more is dropped if any rule is about packets.

use core::mem;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use interdict_abi::ids::{Act, Action, Fact, Family, Fault};
use interdict_engine::facts;

use super::{
    enforces,
    judge::{self, Case},
    net::mapped,
    report,
    report::Told,
};
use crate::{
    bounds::masked,
    emit,
    policy::{self, Policy},
    scratch::{self, Area, Work},
};

const ETHERNET_BYTES: u64 = 14;
const TAG_BYTES: u64 = 4;
/// VLAN tags that are looked behind.
const TAGS: u32 = 4;
/// IPv6 extension headers that are looked behind for ports; addresses are known before.
const EXTENSIONS: u32 = 8;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;
const ETH_P_QINQ1: u16 = 0x9100;

const TCP: u16 = 6;
const UDP: u16 = 17;
const DCCP: u16 = 33;
const SCTP: u16 = 132;
const UDPLITE: u16 = 136;

/// What a parser makes of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parsed {
    /// An IP packet.
    Packet,
    /// Nothing rules are about.
    Other,
    /// Cut short or too deep: see the module.
    Malformed,
}

/// What is known of a packet; lives in the scratch area.
#[repr(C)]
pub struct Packet {
    /// High and low half in host order, IPv4 as mapped IPv6.
    source: [u64; 2],
    /// As `source`.
    destination: [u64; 2],
    version: u16,
    protocol: u16,
    source_port: u16,
    destination_port: u16,
    /// See [`PORTS`].
    has_ports: u64,
}

/// The packet should have ports, but they are not in it: a later fragment, or cut short.
const UNKNOWN_PORTS: u64 = 0;
/// Its ports are known.
const PORTS: u64 = 1;
/// Its protocol has none.
const NO_PORTS: u64 = 2;

/// A packet arrives.
#[xdp]
pub fn packet_in(context: XdpContext) -> u32 {
    let Some(policy) = policy::active() else { return xdp_action::XDP_PASS };
    let directory = facts::directory(&policy.image, Family::Packet);
    if directory == 0 {
        return xdp_action::XDP_PASS;
    }
    let unjudged =
        if enforces(&policy, directory) { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS };
    let Some(claim) = scratch::claim() else { return unjudged };
    let answer = match parse(&context, &mut claim.area.work().packet) {
        Parsed::Packet => judge::packet(claim.area, &policy),
        Parsed::Other => xdp_action::XDP_PASS,
        Parsed::Malformed => {
            emit::count(Fault::Packet);
            unjudged
        }
    };
    claim.release();
    answer
}

/// `T` at `offset`, if the packet is that long.
#[inline(always)]
fn at<T: Copy>(context: &XdpContext, offset: u64) -> Option<T> {
    let start = context.data() as u64 + masked::<0xfff>(offset);
    if start + mem::size_of::<T>() as u64 > context.data_end() as u64 {
        return None;
    }
    // SAFETY: checked against the end of the packet; packets have no alignment.
    Some(unsafe { (start as *const T).read_unaligned() })
}

#[inline(always)]
fn parse(context: &XdpContext, packet: &mut Packet) -> Parsed {
    let Some(kind) = at::<[u8; 2]>(context, 12) else { return Parsed::Malformed };
    let mut kind = u16::from_be_bytes(kind);
    let mut offset = ETHERNET_BYTES;
    let mut tags = 0;
    while tags < TAGS {
        if kind != ETH_P_8021Q && kind != ETH_P_8021AD && kind != ETH_P_QINQ1 {
            break;
        }
        let Some(next) = at::<[u8; 2]>(context, offset + 2) else { return Parsed::Malformed };
        kind = u16::from_be_bytes(next);
        offset += TAG_BYTES;
        tags += 1;
    }
    match kind {
        ETH_P_IP => parse_v4(context, offset, packet),
        ETH_P_IPV6 => parse_v6(context, offset, packet),
        ETH_P_8021Q | ETH_P_8021AD | ETH_P_QINQ1 => Parsed::Malformed,
        _ => Parsed::Other,
    }
}

#[inline(always)]
fn parse_v4(context: &XdpContext, offset: u64, packet: &mut Packet) -> Parsed {
    let Some(header) = at::<[u8; 20]>(context, offset) else { return Parsed::Malformed };
    if header[0] >> 4 != 4 || header[0] & 15 < 5 {
        return Parsed::Malformed;
    }
    let source = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
    let destination = u32::from_be_bytes([header[16], header[17], header[18], header[19]]);
    let first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
    let transport = offset + u64::from(header[0] & 15) * 4;
    packet.source[0] = 0;
    packet.source[1] = mapped(source);
    packet.destination[0] = 0;
    packet.destination[1] = mapped(destination);
    packet.version = 2;
    packet.protocol = u16::from(header[9]);
    packet.has_ports = UNKNOWN_PORTS;
    if first {
        ports(context, transport, packet);
    }
    Parsed::Packet
}

#[inline(always)]
fn parse_v6(context: &XdpContext, offset: u64, packet: &mut Packet) -> Parsed {
    let Some(start) = at::<[u8; 8]>(context, offset) else { return Parsed::Malformed };
    let Some(source) = at::<[u64; 2]>(context, offset + 8) else { return Parsed::Malformed };
    packet.source[0] = u64::from_be(source[0]);
    packet.source[1] = u64::from_be(source[1]);
    let Some(destination) = at::<[u64; 2]>(context, offset + 24) else {
        return Parsed::Malformed;
    };
    packet.destination[0] = u64::from_be(destination[0]);
    packet.destination[1] = u64::from_be(destination[1]);
    if start[0] >> 4 != 6 {
        return Parsed::Malformed;
    }
    let mut next = start[6];
    let mut transport = offset + 40;
    let mut first = true;
    let mut extensions = 0;
    while extensions < EXTENSIONS {
        let bytes = match next {
            0 | 43 | 60 | 135 | 139 | 140 => {
                let Some(head) = at::<[u8; 2]>(context, transport) else { break };
                next = head[0];
                (u64::from(head[1]) + 1) * 8
            }
            44 => {
                let Some(head) = at::<[u8; 8]>(context, transport) else { break };
                next = head[0];
                first = first && u16::from_be_bytes([head[2], head[3]]) >> 3 == 0;
                8
            }
            51 => {
                let Some(head) = at::<[u8; 2]>(context, transport) else { break };
                next = head[0];
                (u64::from(head[1]) + 2) * 4
            }
            _ => break,
        };
        transport = masked::<0xfff>(transport + bytes);
        extensions += 1;
    }
    packet.version = 10;
    packet.protocol = u16::from(next);
    packet.has_ports = UNKNOWN_PORTS;
    if first {
        ports(context, transport, packet);
    }
    Parsed::Packet
}

#[inline(always)]
fn ports(context: &XdpContext, offset: u64, packet: &mut Packet) {
    if !matches!(packet.protocol, TCP | UDP | SCTP | DCCP | UDPLITE) {
        packet.has_ports = NO_PORTS;
        return;
    }
    if let Some(ports) = at::<[u8; 4]>(context, offset) {
        packet.source_port = u16::from_be_bytes([ports[0], ports[1]]);
        packet.destination_port = u16::from_be_bytes([ports[2], ports[3]]);
        packet.has_ports = PORTS;
    }
}

/// Decides the packet in the area. Answers an XDP action.
#[inline(always)]
pub fn decide(policy: &Policy, area: Area) -> u32 {
    let Some(case) = Case::start(policy, area, Family::Packet) else {
        return xdp_action::XDP_PASS;
    };
    let packet = &area.work().packet;
    if !case.number(Fact::Act, Act::PacketIn.value())
        || !case.address(Fact::RemoteIp, packet.source[0], packet.source[1])
        || !case.address(Fact::LocalIp, packet.destination[0], packet.destination[1])
        || !case.number(Fact::Protocol, u32::from(packet.protocol))
        || !case.number(Fact::AddressFamily, u32::from(packet.version))
    {
        return xdp_action::XDP_PASS;
    }
    match packet.has_ports {
        PORTS => {
            case.number(Fact::RemotePort, u32::from(packet.source_port));
            case.number(Fact::LocalPort, u32::from(packet.destination_port));
        }
        NO_PORTS => {
            case.absent(Fact::RemotePort);
            case.absent(Fact::LocalPort);
        }
        _ => {
            case.unknown(Fact::RemotePort);
            case.unknown(Fact::LocalPort);
        }
    }
    judge::clear(&mut area.work().sets);
    if !case.decide() {
        return xdp_action::XDP_PASS;
    }
    let told = Told { acts: Act::PacketIn.bit(), ..Told::default() };
    report::begin(area, policy.generation, Family::Packet, &told);
    let Work { head, packet, decision, .. } = area.work();
    report::address(&mut head.remote_ip, packet.source[0], packet.source[1]);
    report::address(&mut head.local_ip, packet.destination[0], packet.destination[1]);
    head.protocol = packet.protocol;
    head.address_family = packet.version;
    if packet.has_ports == PORTS {
        head.remote_port = packet.source_port;
        head.local_port = packet.destination_port;
    }
    let verdict = decision.verdict;
    emit::count_decision(Family::Packet as u8, verdict);
    // Floods of packets must not take the room kept for refused acts of processes.
    emit::send(area.work(), emit::Weight::Audit);
    if verdict as u8 >= Action::Block as u8 { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}
