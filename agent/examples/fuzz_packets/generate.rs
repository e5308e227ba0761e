//! Packets that are nearly right: made layer by layer, then damaged.

use std::net::{Ipv4Addr, Ipv6Addr};

/// SplitMix64.
pub(crate) struct Random(pub u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `of`.
    pub(crate) fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}

fn v4_address(random: &mut Random) -> Ipv4Addr {
    match random.below(8) {
        0 => Ipv4Addr::new(203, 0, 113, random.byte()),
        1 => Ipv4Addr::new(198, 51, 100, random.byte() & 3),
        2 => Ipv4Addr::from(random.next() as u32),
        _ => Ipv4Addr::new(10, 0, 0, random.byte()),
    }
}

fn v6_address(random: &mut Random) -> Ipv6Addr {
    let low = u128::from(random.next());
    match random.below(8) {
        0 => Ipv6Addr::from(0x2001_0db8_0bad << 80 | low),
        1 => v4_address(random).to_ipv6_mapped(),
        2 => Ipv6Addr::from(0xff02 << 112 | low),
        3 => Ipv6Addr::from(0xfe80 << 112 | low),
        _ => Ipv6Addr::from(0x2001_0db8_0001 << 80 | low),
    }
}

/// A frame.
pub(crate) fn frame(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    ethernet(random, &mut bytes, 0);
    damage(random, &mut bytes);
    while bytes.len() < 14 {
        bytes.push(random.byte());
    }
    bytes
}

fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    if random.one_in(4) {
        let length = random.below(bytes.len() as u64 + 1) as usize;
        bytes.truncate(length);
    }
    if random.one_in(3) && !bytes.is_empty() {
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
    }
    if random.one_in(16) {
        for byte in bytes.iter_mut().skip(14) {
            *byte = random.byte();
        }
    }
}

fn ethernet(random: &mut Random, bytes: &mut Vec<u8>, depth: u32) {
    bytes.extend((0..12).map(|_| random.byte()));
    if random.one_in(4) {
        for _ in 0..=random.below(5) {
            let tag = [0x8100u16, 0x88a8, 0x9100][random.below(3) as usize];
            bytes.extend(tag.to_be_bytes());
            bytes.extend([random.byte(), random.byte()]);
        }
    }
    match random.below(16) {
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

fn protocol(random: &mut Random) -> u8 {
    let known = [6u8, 17, 1, 58, 132, 33, 136, 4, 41, 47, 47, 17];
    if random.one_in(20) { random.byte() } else { known[random.below(12) as usize] }
}

fn v4(random: &mut Random, bytes: &mut Vec<u8>, depth: u32) {
    let words = if random.one_in(4) { 5 + random.below(11) } else { 5 };
    let protocol = protocol(random);
    let fragment = if random.one_in(6) { random.next() as u16 } else { 0 };
    bytes.extend([0x40 | words as u8, 0, 0, 40, 0, 1]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0]);
    bytes.extend(v4_address(random).octets());
    bytes.extend(v4_address(random).octets());
    bytes.extend((5..words).flat_map(|_| [1, 1, 1, 0]));
    behind(random, bytes, protocol, depth);
}

fn v6(random: &mut Random, bytes: &mut Vec<u8>, depth: u32) {
    let protocol = protocol(random);
    let extensions = if random.one_in(3) { 1 + random.below(9) } else { 0 };
    let kinds: Vec<u8> = (0..extensions)
        .map(|_| [0u8, 43, 60, 135, 139, 140, 44, 51][random.below(8) as usize])
        .collect();
    let first = kinds.first().copied().unwrap_or(protocol);
    bytes.extend([0x60, 0, 0, 0, 0, 40, first, 64]);
    bytes.extend(v6_address(random).octets());
    bytes.extend(v6_address(random).octets());
    for (index, kind) in kinds.iter().enumerate() {
        let next = kinds.get(index + 1).copied().unwrap_or(protocol);
        match kind {
            44 => {
                let offset = if random.one_in(3) { random.next() as u16 } else { 1 };
                bytes.extend([next, 0]);
                bytes.extend(offset.to_be_bytes());
                bytes.extend([0, 0, 0, 1]);
            }
            51 => {
                let words = random.below(4);
                bytes.extend([next, words as u8]);
                bytes.extend((0..4 * words + 6).map(|_| 0));
            }
            _ => {
                let eights = if random.one_in(8) { random.below(5) } else { 0 };
                bytes.extend([next, eights as u8]);
                bytes.extend((0..8 * eights + 6).map(|_| 0));
            }
        }
    }
    behind(random, bytes, protocol, depth);
}

fn port(random: &mut Random) -> u16 {
    match random.below(6) {
        0 => 4444,
        1 => 4789,
        2 => 22,
        _ => random.next() as u16,
    }
}

fn behind(random: &mut Random, bytes: &mut Vec<u8>, protocol: u8, depth: u32) {
    match protocol {
        6 | 17 | 33 | 132 | 136 => {
            bytes.extend(port(random).to_be_bytes());
            let to = if protocol == 17 && random.one_in(2) { 4789 } else { port(random) };
            bytes.extend(to.to_be_bytes());
            if protocol == 17 {
                bytes.extend([0, 8, 0, 0]);
                if to == 4789 && depth < 5 {
                    bytes.extend([8, 0, 0, 0, 0, 0, 1, 0]);
                    ethernet(random, bytes, depth + 1);
                    return;
                }
            } else {
                let flags = [2u8, 0x12, 0x10, 0x18, 4][random.below(5) as usize];
                let kind = [1u8, 0, 3, 2][random.below(4) as usize];
                bytes.extend([0, 0, 0, 1, kind, 0, 0, 0]);
                bytes.extend([if protocol == 132 { kind } else { 0x50 }, flags]);
            }
            bytes.extend((0..random.below(12)).map(|_| 0));
        }
        4 if depth < 5 => v4(random, bytes, depth + 1),
        41 if depth < 5 => v6(random, bytes, depth + 1),
        47 if depth < 5 => {
            let flags = if random.one_in(3) { (random.next() as u16) & 0xf007 } else { 0 };
            let kind = [0x0800u16, 0x86dd, 0x6558, 0x880b][random.below(4) as usize];
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
            bytes.push([135, 136, 128, 143, 130][random.below(5) as usize]);
            bytes.extend((0..random.below(16)).map(|_| 0));
        }
    }
}
