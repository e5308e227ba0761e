//! Packets to name servers: most nearly right.

/// A generator (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        let mut state = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0 = state;
        state
    }

    /// One below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

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

fn name(random: &mut Random, bytes: &mut Vec<u8>) {
    match random.below(8) {
        0 => bytes.extend(b"\x04evil\x07example\0"),
        1 => bytes.extend(b"\x03www\x03bAd\x07eXample\0"),
        2 => bytes.extend(b"\x01a\x03one\x04test\0"),
        3 => {
            // Long names, around the longest.
            for _ in 0..random.below(6) {
                let length = 40 + random.below(26) as u8;
                bytes.push(length);
                bytes.extend((0..length).map(|_| b'a' + random.below(26) as u8));
            }
            bytes.extend(b"\x03bad\x07example\0");
        }
        _ => {
            for _ in 0..random.below(6) {
                let label = LABELS[random.below(12) as usize];
                bytes.push(label.len() as u8);
                bytes.extend(label.as_bytes());
            }
            bytes.push(0);
        }
    }
}

fn message(random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![random.next() as u8, random.next() as u8, 1, 0];
    if random.once_in(16) {
        bytes[2] |= 0x80;
    }
    let questions: u16 = if random.once_in(12) { random.below(4) as u16 } else { 1 };
    bytes.extend(questions.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0, u8::from(random.once_in(2))]);
    for _ in 0..questions.max(1) {
        name(random, &mut bytes);
        bytes.extend([0, 1, 0, 1]);
    }
    if random.once_in(2) {
        bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    if random.once_in(6) {
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.next() as u8;
        }
    }
    if random.once_in(8) {
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
    }
    bytes
}

/// The next packet.
pub(crate) fn packet(random: &mut Random) -> Packet {
    let last = [53, 54, 55][random.below(3) as usize];
    let six = random.once_in(2);
    let transport = match random.below(8) {
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
        let options = random.below(4) as u8;
        upper.extend((random.next() as u32).to_be_bytes());
        upper.extend([0, 0, 0, 0, (5 + options) << 4, 0x18, 1, 0, 0, 0, 0, 0]);
        upper.extend(vec![1; usize::from(options) * 4]);
        let messages = if random.once_in(4) { random.below(12) } else { 1 };
        for _ in 0..messages {
            let message = message(random);
            let mut length = message.len() as u16;
            if random.once_in(12) {
                length = random.below(600) as u16;
            }
            body.extend(length.to_be_bytes());
            body.extend(message);
        }
        if random.once_in(8) {
            body.truncate(random.below(body.len() as u64 + 1) as usize);
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
        let extended = random.once_in(4);
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
        let options = random.below(3) as u8;
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
