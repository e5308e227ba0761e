//! Packets byte by byte, for those who make their own headers.

use std::net::Ipv6Addr;

/// Ethernet's number for IPv4.
pub const IPV4: u16 = 0x0800;
/// Ethernet's number for IPv6.
pub const IPV6: u16 = 0x86dd;
/// Ethernet's number for a tag.
pub const TAG: u16 = 0x8100;
/// Ethernet's number for a service tag.
pub const SERVICE_TAG: u16 = 0x88a8;
/// IP's number for UDP.
pub const UDP: u8 = 17;
/// More fragments follow.
pub const MORE: u16 = 0x2000;

fn sum(bytes: &[u8], mut sum: u32) -> u32 {
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    sum
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A UDP datagram without a checksum, as IPv4 permits.
pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [from, to, (payload.len() + 8) as u16, 0] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// A UDP datagram with the checksum that IPv6 demands.
pub fn udp_6(source: [u8; 16], target: [u8; 16], from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = udp(from, to, payload);
    let mut total = sum(&source, 0);
    total = sum(&target, total);
    total = sum(&[0, UDP], total) + bytes.len() as u32;
    let check = folded(sum(&bytes, total));
    bytes[6..8].copy_from_slice(&check.to_be_bytes());
    bytes
}

/// An ICMP echo request.
pub fn echo(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![8, 0, 0, 0, 0x45, 0x56, 0, 1];
    bytes.extend_from_slice(payload);
    let check = folded(sum(&bytes, 0));
    bytes[2..4].copy_from_slice(&check.to_be_bytes());
    bytes
}

/// An IPv4 packet.
#[derive(Debug, Clone)]
pub struct V4<'a> {
    /// Sender.
    pub source: [u8; 4],
    /// Receiver.
    pub target: [u8; 4],
    /// What is inside.
    pub protocol: u8,
    /// Flags and offset of a fragment, in units of eight bytes.
    pub fragment: u16,
    /// Options, a multiple of four bytes.
    pub options: &'a [u8],
    /// What follows.
    pub payload: &'a [u8],
}

impl V4<'_> {
    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let header = 20 + self.options.len();
        let mut bytes = vec![0x40 | (header / 4) as u8, 0];
        bytes.extend_from_slice(&((header + self.payload.len()) as u16).to_be_bytes());
        bytes.extend_from_slice(&[0x45, 0x56]);
        bytes.extend_from_slice(&self.fragment.to_be_bytes());
        bytes.extend_from_slice(&[64, self.protocol, 0, 0]);
        bytes.extend_from_slice(&self.source);
        bytes.extend_from_slice(&self.target);
        bytes.extend_from_slice(self.options);
        let check = folded(sum(&bytes, 0));
        bytes[10..12].copy_from_slice(&check.to_be_bytes());
        bytes.extend_from_slice(self.payload);
        bytes
    }
}

/// An IPv6 packet; `next` says what the payload begins with.
pub fn v6(source: [u8; 16], target: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[next, 64]);
    bytes.extend_from_slice(&Ipv6Addr::from(source).octets());
    bytes.extend_from_slice(&target);
    bytes.extend_from_slice(payload);
    bytes
}

/// An Ethernet frame from an address of ours; `kinds` are tags and at last the kind of the payload.
pub fn frame(to: [u8; 6], kinds: &[(u16, Option<u16>)], payload: &[u8]) -> Vec<u8> {
    let mut bytes = to.to_vec();
    bytes.extend_from_slice(&[2, 0, 0, 0, 0, 9]);
    for (kind, tag) in kinds {
        bytes.extend_from_slice(&kind.to_be_bytes());
        if let Some(tag) = tag {
            bytes.extend_from_slice(&tag.to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}
