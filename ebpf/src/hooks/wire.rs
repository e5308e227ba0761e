//! What the bytes of a packet say: addresses, ports, whether it asks for a connection, and where the next packet inside
//! it starts.
//!
//! In: bytes at offsets, through [`Source`]. Out: a [`Packet`]. The addresses of an IP header sit at fixed places, so they
//! are known whatever follows: options, fragments, extension headers. Nothing is judged here.

use super::net::mapped;
use crate::bounds::masked;

const ETHERNET_BYTES: u64 = 14;
const TAG_BYTES: u64 = 4;
/// VLAN tags that are looked behind.
const TAGS: u32 = 4;
/// IPv6 extension headers that are looked behind for ports; addresses are known before.
const EXTENSIONS: u32 = 8;
/// Bytes into a packet that are looked at; what starts later is cut short.
pub const REACH: u64 = 0xf00;

/// `offset`, or where no more is looked at: never back in front.
#[inline(always)]
fn reach(offset: u64) -> u64 {
    masked::<0x3fff>(offset).min(REACH)
}

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;
const ETH_P_QINQ1: u16 = 0x9100;
const ETH_P_TEB: u16 = 0x6558;

const IPIP: u16 = 4;
/// TCP.
pub const TCP: u16 = 6;
/// UDP.
pub const UDP: u16 = 17;
/// DCCP.
pub const DCCP: u16 = 33;
const IPV6: u16 = 41;
const GRE: u16 = 47;
const ICMPV6: u16 = 58;
/// SCTP.
pub const SCTP: u16 = 132;
const UDPLITE: u16 = 136;

const VXLAN: u16 = 4789;

/// Bytes of a packet.
pub trait Source {
    /// `T`, of at least two bytes, at `offset`, if the packet is that long and `offset` within [`REACH`]. (The verifier learns
    /// nothing from a check that one byte is there.)
    fn at<T: Copy>(&self, offset: u64) -> Option<T>;
}

/// What a parser makes of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// An IP packet.
    Packet,
    /// Nothing rules are about.
    Other,
    /// Cut short, or nested too deep.
    Malformed,
}

/// What is known of a packet; lives in the scratch area.
#[repr(C)]
pub struct Packet {
    /// High and low half in host order, IPv4 as mapped IPv6.
    pub source: [u64; 2],
    /// As `source`.
    pub destination: [u64; 2],
    /// Address family.
    pub version: u16,
    /// IP protocol.
    pub protocol: u16,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// See [`PORTS`].
    pub ports: u64,
    /// Whether it asks for a connection: 1. A packet that might, as far as can be seen, does.
    pub asks: u64,
    /// Whether it keeps the link alive (IPv6 neighbours and groups) and can go no further than the link: 1.
    pub link: u64,
    /// What is inside: see [`inside`].
    pub inner: u64,
    /// Where that starts.
    pub inner_offset: u64,
    /// Where the header behind that of IP starts.
    pub transport: u64,
    /// Bytes of the whole packet.
    pub bytes: u64,
    /// Cgroup of its socket, 0 if not known.
    pub cgroup: u64,
}

/// The packet should have ports, but they are not in it: a later fragment, or cut short.
pub const UNKNOWN_PORTS: u64 = 0;
/// Its ports are known.
pub const PORTS: u64 = 1;
/// Its protocol has none.
pub const NO_PORTS: u64 = 2;

/// What can be inside a packet.
pub mod inside {
    /// No packet.
    pub const NOTHING: u64 = 0;
    /// An IPv4 packet.
    pub const V4: u64 = 1;
    /// An IPv6 packet.
    pub const V6: u64 = 2;
    /// An Ethernet frame.
    pub const FRAME: u64 = 3;
    /// One of another kind of tunnel, cut short or not known.
    pub const MALFORMED: u64 = 4;
}

/// A frame at `offset`.
#[inline(always)]
pub fn frame<S: Source>(source: &S, offset: u64, packet: &mut Packet) -> Parsed {
    let Some(kind) = source.at::<[u8; 2]>(offset + 12) else { return Parsed::Malformed };
    let mut kind = u16::from_be_bytes(kind);
    let mut offset = offset + ETHERNET_BYTES;
    let mut tags = 0;
    while tags < TAGS {
        if kind != ETH_P_8021Q && kind != ETH_P_8021AD && kind != ETH_P_QINQ1 {
            break;
        }
        let Some(next) = source.at::<[u8; 2]>(offset + 2) else { return Parsed::Malformed };
        kind = u16::from_be_bytes(next);
        offset += TAG_BYTES;
        tags += 1;
    }
    match kind {
        ETH_P_IP => v4(source, offset, packet),
        ETH_P_IPV6 => v6(source, offset, packet),
        ETH_P_8021Q | ETH_P_8021AD | ETH_P_QINQ1 => Parsed::Malformed,
        _ => Parsed::Other,
    }
}

/// An IP packet at `offset`, of the version its first bits say.
#[inline(always)]
pub fn internet<S: Source>(source: &S, offset: u64, packet: &mut Packet) -> Parsed {
    match source.at::<[u8; 2]>(offset) {
        Some([first, _]) if first >> 4 == 4 => v4(source, offset, packet),
        Some([first, _]) if first >> 4 == 6 => v6(source, offset, packet),
        Some(_) | None => Parsed::Malformed,
    }
}

/// An IPv4 packet at `offset`.
#[inline(always)]
pub fn v4<S: Source>(source: &S, offset: u64, packet: &mut Packet) -> Parsed {
    let Some(header) = source.at::<[u8; 20]>(offset) else { return Parsed::Malformed };
    if header[0] >> 4 != 4 || header[0] & 15 < 5 {
        return Parsed::Malformed;
    }
    let from = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
    let to = u32::from_be_bytes([header[16], header[17], header[18], header[19]]);
    let first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
    packet.source[0] = 0;
    packet.source[1] = mapped(from);
    packet.destination[0] = 0;
    packet.destination[1] = mapped(to);
    packet.version = 2;
    packet.protocol = u16::from(header[9]);
    packet.link = 0;
    transport(source, offset + u64::from(header[0] & 15) * 4, first, packet);
    Parsed::Packet
}

/// An IPv6 packet at `offset`.
#[inline(always)]
pub fn v6<S: Source>(source: &S, offset: u64, packet: &mut Packet) -> Parsed {
    let Some(start) = source.at::<[u8; 8]>(offset) else { return Parsed::Malformed };
    let Some(from) = source.at::<[u64; 2]>(offset + 8) else { return Parsed::Malformed };
    let Some(to) = source.at::<[u64; 2]>(offset + 24) else { return Parsed::Malformed };
    packet.source[0] = u64::from_be(from[0]);
    packet.source[1] = u64::from_be(from[1]);
    packet.destination[0] = u64::from_be(to[0]);
    packet.destination[1] = u64::from_be(to[1]);
    if start[0] >> 4 != 6 {
        return Parsed::Malformed;
    }
    let mut next = start[6];
    let mut place = offset + 40;
    let mut first = true;
    let mut extensions = 0;
    while extensions < EXTENSIONS {
        let bytes = match next {
            0 | 43 | 60 | 135 | 139 | 140 => {
                let Some(head) = source.at::<[u8; 2]>(place) else { break };
                next = head[0];
                (u64::from(head[1]) + 1) * 8
            }
            44 => {
                let Some(head) = source.at::<[u8; 8]>(place) else { break };
                next = head[0];
                first = first && u16::from_be_bytes([head[2], head[3]]) >> 3 == 0;
                8
            }
            51 => {
                let Some(head) = source.at::<[u8; 2]>(place) else { break };
                next = head[0];
                (u64::from(head[1]) + 2) * 4
            }
            _ => break,
        };
        place = reach(place + bytes);
        extensions += 1;
    }
    packet.version = 10;
    packet.protocol = u16::from(next);
    transport(source, place, first, packet);
    packet.link = 0;
    if packet.protocol == ICMPV6 && first && stays_on_link(packet.destination[0]) {
        let [kind, _] = source.at::<[u8; 2]>(place).unwrap_or_default();
        packet.link = u64::from(matches!(kind, 130..=137 | 143));
    }
    Parsed::Packet
}

/// Whether no router forwards a packet to an address with this high half: `fe80::/10` and `ff02::/16`.
#[inline(always)]
fn stays_on_link(upper: u64) -> bool {
    upper >> 54 == 0xfe80 >> 6 || upper >> 48 == 0xff02
}

/// Ports, whether a connection is asked for, and what is inside, of the header at `offset`, if it is in this packet.
#[inline(always)]
fn transport<S: Source>(source: &S, offset: u64, first: bool, packet: &mut Packet) {
    let protocol = packet.protocol;
    packet.inner = inside::NOTHING;
    packet.inner_offset = 0;
    packet.transport = offset;
    packet.ports = UNKNOWN_PORTS;
    packet.asks = u64::from(matches!(protocol, TCP | SCTP | DCCP));
    match protocol {
        TCP | UDP | SCTP | DCCP | UDPLITE => {
            if !first {
                return;
            }
            let Some(ports) = source.at::<[u8; 4]>(offset) else { return };
            packet.source_port = u16::from_be_bytes([ports[0], ports[1]]);
            packet.destination_port = u16::from_be_bytes([ports[2], ports[3]]);
            packet.ports = PORTS;
            match protocol {
                TCP => {
                    if let Some([_, flags]) = source.at::<[u8; 2]>(offset + 12) {
                        packet.asks = u64::from(flags & 0x12 == 0x02);
                    }
                }
                SCTP => {
                    if let Some([chunk, _]) = source.at::<[u8; 2]>(offset + 12) {
                        packet.asks = u64::from(chunk == 1);
                    }
                }
                DCCP => {
                    if let Some([kind, _]) = source.at::<[u8; 2]>(offset + 8) {
                        packet.asks = u64::from((kind >> 1) & 15 == 0);
                    }
                }
                UDP if packet.destination_port == VXLAN => {
                    packet.inner = inside::FRAME;
                    packet.inner_offset = reach(offset + 16);
                }
                _ => {}
            }
        }
        IPIP | IPV6 | GRE => {
            packet.ports = NO_PORTS;
            if !first {
                return;
            }
            packet.inner_offset = reach(offset);
            packet.inner = match protocol {
                IPIP => inside::V4,
                IPV6 => inside::V6,
                _ => gre(source, offset, packet),
            };
        }
        _ => packet.ports = NO_PORTS,
    }
}

/// What is inside a GRE packet, and where.
#[inline(always)]
fn gre<S: Source>(source: &S, offset: u64, packet: &mut Packet) -> u64 {
    let Some(head) = source.at::<[u8; 4]>(offset) else { return inside::MALFORMED };
    // Version 1 carries PPP, and source routing is long gone.
    if head[1] & 7 != 0 || head[0] & 0x40 != 0 {
        return inside::MALFORMED;
    }
    let optional =
        u64::from(head[0] >> 7) + u64::from((head[0] >> 5) & 1) + u64::from((head[0] >> 4) & 1);
    packet.inner_offset = reach(offset + 4 + 4 * optional);
    match u16::from_be_bytes([head[2], head[3]]) {
        ETH_P_IP => inside::V4,
        ETH_P_IPV6 => inside::V6,
        ETH_P_TEB => inside::FRAME,
        _ => inside::NOTHING,
    }
}
