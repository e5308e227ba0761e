//! A parser of packets that shares nothing with the kernel's: slices, options, recursion. What it says must come of a
//! packet is what the kernel programs must do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a packet is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At an interface.
    Interface,
    /// Leaving a socket.
    Out,
    /// Arriving at a socket.
    In,
}

/// One packet of a packet and those inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Source.
    pub(crate) from: IpAddr,
    /// Destination.
    pub(crate) to: IpAddr,
    /// Protocol behind all extension headers.
    pub(crate) protocol: u8,
    /// Ports, source first.
    pub(crate) ports: Ports,
    /// It asks for a connection, or might.
    pub(crate) asks: bool,
    /// It keeps the link alive.
    pub(crate) link: bool,
}

/// What is known of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// These.
    Known(u16, u16),
    /// There are some, but not in this packet.
    Unknown,
    /// The protocol has none.
    None,
}

/// What follows a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    V4(usize),
    V6(usize),
    Frame(usize),
    Broken,
}

/// The layers of a packet, outermost first, and whether what came after the last was broken or too deep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layers {
    /// Outermost first.
    pub(crate) layers: Vec<Layer>,
    /// The rest could not be parsed.
    pub(crate) broken: bool,
}

const LEVELS: usize = 3;

/// Takes a packet apart. `frame`: it starts with an Ethernet header. `inside`: look into tunnels.
pub(crate) fn layers(bytes: &[u8], frame: bool, inside: bool) -> Layers {
    let mut found = Layers { layers: Vec::new(), broken: false };
    let mut next = if frame {
        Next::Frame(0)
    } else {
        match bytes.get(..2) {
            Some([first, _]) if first >> 4 == 4 => Next::V4(0),
            Some([first, _]) if first >> 4 == 6 => Next::V6(0),
            _ => Next::Broken,
        }
    };
    loop {
        if next != Next::Nothing && found.layers.len() == LEVELS {
            found.broken = true;
            return found;
        }
        let start = match next {
            Next::Nothing => return found,
            Next::Frame(at) => match behind_tags(bytes, at) {
                Some(Some(start)) => start,
                Some(None) => return found,
                None => {
                    found.broken = true;
                    return found;
                }
            },
            other => other,
        };
        let layer = match start {
            Next::V4(at) => v4(bytes, at),
            Next::V6(at) => v6(bytes, at),
            Next::Nothing | Next::Frame(_) | Next::Broken => None,
        };
        let Some((layer, then)) = layer else {
            found.broken = true;
            return found;
        };
        found.layers.push(layer);
        next = if inside { then } else { Next::Nothing };
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// What an Ethernet frame holds: `None` if it is broken, `Some(None)` if it is not IP.
fn behind_tags(bytes: &[u8], at: usize) -> Option<Option<Next>> {
    let mut place = at + 12;
    for _ in 0..=4 {
        match number(bytes, place)? {
            0x8100 | 0x88a8 | 0x9100 => place += 4,
            0x0800 => return Some(Some(Next::V4(place + 2))),
            0x86dd => return Some(Some(Next::V6(place + 2))),
            _ => return Some(None),
        }
    }
    None
}

fn v4(bytes: &[u8], at: usize) -> Option<(Layer, Next)> {
    let header = bytes.get(at..at + 20)?;
    let words = usize::from(header[0] & 15);
    if header[0] >> 4 != 4 || words < 5 {
        return None;
    }
    let address = |from: usize| {
        let four: [u8; 4] = header[from..from + 4].try_into().unwrap();
        IpAddr::V4(Ipv4Addr::from(four))
    };
    let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    let (ports, asks, next) = transport(bytes, at + 4 * words, header[9], offset == 0);
    let (from, to) = (address(12), address(16));
    Some((Layer { from, to, protocol: header[9], ports, asks, link: false }, next))
}

fn v6(bytes: &[u8], at: usize) -> Option<(Layer, Next)> {
    let header = bytes.get(at..at + 40)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |from: usize| {
        let sixteen: [u8; 16] = header[from..from + 16].try_into().unwrap();
        Ipv6Addr::from(sixteen)
    };
    let (from, to) = (address(8), address(24));
    let mut protocol = header[6];
    let mut place = at + 40;
    let mut first = true;
    for _ in 0..8 {
        let length = match protocol {
            0 | 43 | 60 | 135 | 139 | 140 => {
                let Some(head) = bytes.get(place..place + 2) else { break };
                protocol = head[0];
                8 * (usize::from(head[1]) + 1)
            }
            44 => {
                let Some(head) = bytes.get(place..place + 8) else { break };
                protocol = head[0];
                first &= u16::from_be_bytes([head[2], head[3]]) >> 3 == 0;
                8
            }
            51 => {
                let Some(head) = bytes.get(place..place + 2) else { break };
                protocol = head[0];
                4 * (usize::from(head[1]) + 2)
            }
            _ => break,
        };
        place += length;
    }
    let (ports, asks, next) = transport(bytes, place, protocol, first);
    let on_link = to.segments()[0] & 0xffc0 == 0xfe80 || to.segments()[0] == 0xff02;
    let kind = bytes.get(place..place + 2).map_or(0, |head| head[0]);
    let link = protocol == 58 && first && on_link && matches!(kind, 130..=137 | 143);
    let folded = |six: Ipv6Addr| six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4);
    Some((Layer { from: folded(from), to: folded(to), protocol, ports, asks, link }, next))
}

fn transport(bytes: &[u8], at: usize, protocol: u8, first: bool) -> (Ports, bool, Next) {
    let might_ask = matches!(protocol, 6 | 33 | 132);
    match protocol {
        6 | 17 | 33 | 132 | 136 => {
            let both = first.then(|| number(bytes, at).zip(number(bytes, at + 2))).flatten();
            let Some((source, destination)) = both else {
                return (Ports::Unknown, might_ask, Next::Nothing);
            };
            let pair = |from: usize| bytes.get(at + from..at + from + 2);
            let asks = match protocol {
                6 => pair(12).is_none_or(|two| two[1] & 0x12 == 2),
                132 => pair(12).is_none_or(|two| two[0] == 1),
                33 => pair(8).is_none_or(|two| (two[0] >> 1) & 15 == 0),
                _ => false,
            };
            let vxlan = protocol == 17 && destination == 4789;
            let next = if vxlan { Next::Frame(at + 16) } else { Next::Nothing };
            (Ports::Known(source, destination), asks, next)
        }
        4 | 41 | 47 => {
            let next = match protocol {
                _ if !first => Next::Nothing,
                4 => Next::V4(at),
                41 => Next::V6(at),
                _ => gre(bytes, at),
            };
            (Ports::None, false, next)
        }
        _ => (Ports::None, false, Next::Nothing),
    }
}

fn gre(bytes: &[u8], at: usize) -> Next {
    let (Some(flags), Some(kind)) = (number(bytes, at), number(bytes, at + 2)) else {
        return Next::Broken;
    };
    if flags & 0x4007 != 0 {
        return Next::Broken;
    }
    let optional = [0x8000, 0x2000, 0x1000].iter().filter(|bit| flags & **bit != 0).count();
    let start = at + 4 + 4 * optional;
    match kind {
        0x0800 => Next::V4(start),
        0x86dd => Next::V6(start),
        0x6558 => Next::Frame(start),
        _ => Next::Nothing,
    }
}
