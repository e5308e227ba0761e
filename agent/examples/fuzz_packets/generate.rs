//! Packets that are nearly right: made layer by layer, then damaged.

use std::net::{Ipv4Addr, Ipv6Addr};

use fastrand::Rng;

fn v4_address(random: &mut Rng) -> Ipv4Addr {
    match random.u64(..8) {
        0 => Ipv4Addr::new(203, 0, 113, random.u8(..)),
        1 => Ipv4Addr::new(198, 51, 100, random.u8(..) & 3),
        2 => Ipv4Addr::from(random.u32(..)),
        _ => Ipv4Addr::new(10, 0, 0, random.u8(..)),
    }
}

fn v6_address(random: &mut Rng) -> Ipv6Addr {
    let low = u128::from(random.u64(..));
    match random.u64(..8) {
        0 => Ipv6Addr::from(0x2001_0db8_0bad << 80 | low),
        1 => v4_address(random).to_ipv6_mapped(),
        2 => Ipv6Addr::from(0xff02 << 112 | low),
        3 => Ipv6Addr::from(0xfe80 << 112 | low),
        _ => Ipv6Addr::from(0x2001_0db8_0001 << 80 | low),
    }
}

/// A frame.
pub(crate) fn frame(random: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    ethernet(random, &mut bytes, 0);
    damage(random, &mut bytes);
    while bytes.len() < 14 {
        bytes.push(random.u8(..));
    }
    bytes
}

fn damage(random: &mut Rng, bytes: &mut Vec<u8>) {
    if random.u8(..4) == 0 {
        let length = random.usize(..bytes.len() + 1);
        bytes.truncate(length);
    }
    if random.u8(..3) == 0 && !bytes.is_empty() {
        for _ in 0..=random.u64(..4) {
            let at = random.usize(..bytes.len());
            bytes[at] ^= 1 << random.u64(..8);
        }
    }
    if random.u8(..16) == 0 {
        for byte in bytes.iter_mut().skip(14) {
            *byte = random.u8(..);
        }
    }
}

fn ethernet(random: &mut Rng, bytes: &mut Vec<u8>, depth: u32) {
    bytes.extend((0..12).map(|_| random.u8(..)));
    if random.u8(..4) == 0 {
        for _ in 0..=random.u64(..5) {
            let tag = [0x8100u16, 0x88a8, 0x9100][random.u64(..3) as usize];
            bytes.extend(tag.to_be_bytes());
            bytes.extend([random.u8(..), random.u8(..)]);
        }
    }
    match random.u64(..16) {
        0 => bytes.extend([8, 6, 0, 1]),
        number if number % 2 == 0 => {
            bytes.extend([8, 0]);
            v4(random, bytes, depth);
        }
        _ => {
            bytes.extend([0x86, 0xdd]);
            v6(random, bytes, depth);
        }
    }
}

fn protocol(random: &mut Rng) -> u8 {
    let known = [6u8, 17, 1, 58, 132, 33, 136, 4, 41, 47, 47, 17];
    if random.u8(..20) == 0 { random.u8(..) } else { known[random.usize(..12)] }
}

fn v4(random: &mut Rng, bytes: &mut Vec<u8>, depth: u32) {
    let words = if random.u8(..4) == 0 { 5 + random.u64(..11) } else { 5 };
    let protocol = protocol(random);
    let fragment = if random.u8(..6) == 0 { random.u16(..) } else { 0 };
    bytes.extend([0x40 | words as u8, 0, 0, 40, 0, 1]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0]);
    bytes.extend(v4_address(random).octets());
    bytes.extend(v4_address(random).octets());
    bytes.extend((5..words).flat_map(|_| [1, 1, 1, 0]));
    behind(random, bytes, protocol, depth);
}

fn v6(random: &mut Rng, bytes: &mut Vec<u8>, depth: u32) {
    let protocol = protocol(random);
    let extensions = if random.u8(..3) == 0 { 1 + random.u64(..9) } else { 0 };
    let kinds: Vec<u8> = (0..extensions)
        .map(|_| [0u8, 43, 60, 135, 139, 140, 44, 51][random.u64(..8) as usize])
        .collect();
    let first = kinds.first().copied().unwrap_or(protocol);
    bytes.extend([0x60, 0, 0, 0, 0, 40, first, 64]);
    bytes.extend(v6_address(random).octets());
    bytes.extend(v6_address(random).octets());
    for (index, kind) in kinds.iter().enumerate() {
        let next = kinds.get(index + 1).copied().unwrap_or(protocol);
        match kind {
            44 => {
                let offset = if random.u8(..3) == 0 { random.u16(..) } else { 1 };
                bytes.extend([next, 0]);
                bytes.extend(offset.to_be_bytes());
                bytes.extend([0, 0, 0, 1]);
            }
            51 => {
                let words = random.u64(..4);
                bytes.extend([next, words as u8]);
                bytes.extend((0..4 * words + 6).map(|_| 0));
            }
            _ => {
                let eights = if random.u8(..8) == 0 { random.u64(..5) } else { 0 };
                bytes.extend([next, eights as u8]);
                bytes.extend((0..8 * eights + 6).map(|_| 0));
            }
        }
    }
    behind(random, bytes, protocol, depth);
}

fn port(random: &mut Rng) -> u16 {
    match random.u64(..6) {
        0 => 4444,
        1 => 4789,
        2 => 22,
        _ => random.u16(..),
    }
}

fn behind(random: &mut Rng, bytes: &mut Vec<u8>, protocol: u8, depth: u32) {
    match protocol {
        6 | 17 | 33 | 132 | 136 => {
            bytes.extend(port(random).to_be_bytes());
            let to = if protocol == 17 && random.bool() { 4789 } else { port(random) };
            bytes.extend(to.to_be_bytes());
            if protocol == 17 {
                bytes.extend([0, 8, 0, 0]);
                if to == 4789 && depth < 5 {
                    bytes.extend([8, 0, 0, 0, 0, 0, 1, 0]);
                    ethernet(random, bytes, depth + 1);
                    return;
                }
            } else {
                let flags = [2u8, 0x12, 0x10, 0x18, 4][random.u64(..5) as usize];
                let kind = [1u8, 0, 3, 2][random.u64(..4) as usize];
                bytes.extend([0, 0, 0, 1, kind, 0, 0, 0]);
                bytes.extend([if protocol == 132 { kind } else { 0x50 }, flags]);
            }
            bytes.extend((0..random.u64(..12)).map(|_| 0));
        }
        4 if depth < 5 => v4(random, bytes, depth + 1),
        41 if depth < 5 => v6(random, bytes, depth + 1),
        47 if depth < 5 => {
            let flags = if random.u8(..3) == 0 { random.u16(..) & 0xf007 } else { 0 };
            let kind = [0x0800u16, 0x86dd, 0x6558, 0x880b][random.u64(..4) as usize];
            bytes.extend(flags.to_be_bytes());
            bytes.extend(kind.to_be_bytes());
            let optional = [0x8000u16, 0x2000, 0x1000];
            for _ in optional.iter().filter(|bit| flags & **bit != 0) {
                bytes.extend([0, 0, 0, 0]);
            }
            match kind {
                0x0800 => v4(random, bytes, depth + 1),
                0x86dd => v6(random, bytes, depth + 1),
                0x6558 => ethernet(random, bytes, depth + 1),
                _ => bytes.extend([0; 8]),
            }
        }
        _ => {
            bytes.push([135, 136, 128, 143, 130][random.u64(..5) as usize]);
            bytes.extend((0..random.u64(..16)).map(|_| 0));
        }
    }
}
