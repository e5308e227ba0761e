//! Packets to name servers: most nearly right.

use fastrand::Rng;

/// What a packet carries messages in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// One datagram.
    Udp,
    /// The first segment of a stream that brings data.
    Tcp,
    /// Not to a name server.
    Other,
}

/// A packet and what was meant by it.
#[derive(Debug)]
pub(crate) struct Packet {
    /// A frame.
    pub(crate) bytes: Vec<u8>,
    /// Where what UDP or TCP carries starts.
    pub(crate) body: usize,
    /// What it is.
    pub(crate) transport: Transport,
    /// Whether a rule is about the server.
    pub(crate) judged: bool,
    /// Whether that rule holds of what cannot be read.
    pub(crate) strict: bool,
}

const LABELS: [&str; 12] =
    ["evil", "bad", "example", "one", "test", "www", "a", "EVIL", "BaD", "eXample", "com", "x-1_y"];

fn name(random: &mut Rng, bytes: &mut Vec<u8>) {
    match random.u64(..8) {
        0 => bytes.extend(b"\x04evil\x07example\0"),
        1 => bytes.extend(b"\x03www\x03bAd\x07eXample\0"),
        2 => bytes.extend(b"\x01a\x03one\x04test\0"),
        3 => {
            // Long names, around the longest.
            for _ in 0..random.u64(..6) {
                let length = 40 + random.u64(..26) as u8;
                bytes.push(length);
                bytes.extend((0..length).map(|_| b'a' + random.u64(..26) as u8));
            }
            bytes.extend(b"\x03bad\x07example\0");
        }
        _ => {
            for _ in 0..random.u64(..6) {
                let label = LABELS[random.u64(..12) as usize];
                bytes.push(label.len() as u8);
                bytes.extend(label.as_bytes());
            }
            bytes.push(0);
        }
    }
}

fn message(random: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![random.u64(..) as u8, random.u64(..) as u8, 1, 0];
    if random.u8(..16) == 0 {
        bytes[2] |= 0x80;
    }
    let questions: u16 = if random.u8(..12) == 0 { random.u16(..4) } else { 1 };
    bytes.extend(questions.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0, u8::from(random.bool())]);
    for _ in 0..questions.max(1) {
        name(random, &mut bytes);
        bytes.extend([0, 1, 0, 1]);
    }
    if random.bool() {
        bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    if random.u8(..6) == 0 {
        for _ in 0..=random.u64(..3) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u64(..) as u8;
        }
    }
    if random.u8(..8) == 0 {
        bytes.truncate(random.usize(..bytes.len() + 1));
    }
    bytes
}

/// The next packet.
pub(crate) fn packet(random: &mut Rng) -> Packet {
    let last = [53, 54, 55][random.u64(..3) as usize];
    let six = random.bool();
    let transport = match random.u64(..8) {
        0..4 => Transport::Udp,
        4..7 => Transport::Tcp,
        _ => Transport::Other,
    };
    let port: u16 = if transport == Transport::Other { 54 } else { 53 };
    let stream = transport == Transport::Tcp;
    let mut upper = Vec::new();
    upper.extend([0x9c, 0x40]);
    upper.extend(port.to_be_bytes());
    let mut body = Vec::new();
    if stream {
        let options = random.u64(..4) as u8;
        upper.extend((random.u64(..) as u32).to_be_bytes());
        upper.extend([0, 0, 0, 0, (5 + options) << 4, 0x18, 1, 0, 0, 0, 0, 0]);
        upper.extend(vec![1; usize::from(options) * 4]);
        let messages = if random.u8(..4) == 0 { random.u64(..12) } else { 1 };
        for _ in 0..messages {
            let message = message(random);
            let mut length = message.len() as u16;
            if random.u8(..12) == 0 {
                length = random.u64(..600) as u16;
            }
            body.extend(length.to_be_bytes());
            body.extend(message);
        }
        if random.u8(..8) == 0 {
            body.truncate(random.usize(..body.len() + 1));
        }
    } else {
        body = message(random);
        let length = (8 + body.len()) as u16;
        upper.extend(length.to_be_bytes());
        upper.extend([0, 0]);
    }
    let protocol = if stream { 6 } else { 17 };
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let length = upper.len() + body.len();
    if six {
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        let extended = random.u8(..4) == 0;
        let length = length + if extended { 8 } else { 0 };
        bytes.extend((length as u16).to_be_bytes());
        bytes.extend([if extended { 60 } else { protocol }, 64]);
        let mut address = [0u8; 16];
        address[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        address[15] = 9;
        bytes.extend(address);
        address[15] = 0x53 + (last - 53);
        bytes.extend(address);
        if extended {
            bytes.extend([protocol, 0, 1, 4, 0, 0, 0, 0]);
        }
    } else {
        let options = random.u64(..3) as u8;
        bytes.extend([0x08, 0x00, 0x45 + options, 0]);
        let total = 20 + usize::from(options) * 4 + length;
        bytes.extend((total as u16).to_be_bytes());
        bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0, 198, 51, 100, 9, 192, 0, 2, last]);
        bytes.extend(vec![1; usize::from(options) * 4]);
    }
    bytes.extend(upper);
    let start = bytes.len();
    bytes.extend(body);
    Packet { bytes, body: start, transport, judged: last != 55, strict: last == 53 }
}
