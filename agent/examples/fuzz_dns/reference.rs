//! What should become of a packet to a name server, by a reader that shares nothing with the kernel program's.

use hickory_proto::{
    op::{Header, MessageType, Query},
    rr::Name,
    serialize::binary::{BinDecodable as _, BinDecoder},
};

use super::generate::{Packet, Transport};

/// Messages that the program looks at in one packet.
const MESSAGES: usize = 8;

/// What a message asks for.
enum Asked {
    Name(Name),
    Nothing,
    /// It is an answer.
    Answers,
    Unreadable,
}

fn asked(message: &[u8]) -> Asked {
    let mut decoder = BinDecoder::new(message);
    let Ok(header) = Header::read(&mut decoder) else { return Asked::Unreadable };
    if header.metadata.message_type == MessageType::Response {
        return Asked::Answers;
    }
    if header.counts.queries == 0 {
        return Asked::Nothing;
    }
    match Query::read(&mut decoder) {
        Ok(query) if header.counts.queries == 1 && !compressed(message) => {
            Asked::Name(query.name().clone())
        }
        Ok(_) | Err(_) => Asked::Unreadable,
    }
}

/// Whether the first question's name has a pointer in it.
fn compressed(message: &[u8]) -> bool {
    let mut at = 12;
    loop {
        match message.get(at) {
            None | Some(0) => return false,
            Some(length) if *length >= 0xc0 => return true,
            Some(length) => at += 1 + usize::from(*length),
        }
    }
}

fn listed(name: &Name) -> bool {
    let lower = |label: &[u8]| label.to_ascii_lowercase();
    let labels: Vec<Vec<u8>> = name.iter().map(lower).collect();
    let ends = |end: &[&str]| {
        labels.len() >= end.len()
            && labels[labels.len() - end.len()..].iter().zip(end).all(|(a, b)| a == b.as_bytes())
    };
    labels.len() == 2 && ends(&["evil", "example"])
        || ends(&["bad", "example"])
        || labels.len() == 3 && ends(&["one", "test"])
}

/// Whether a packet should pass.
pub(crate) fn passes(packet: &Packet) -> bool {
    let refused = |message: &[u8]| match asked(message) {
        Asked::Name(name) => packet.judged && listed(&name),
        Asked::Nothing | Asked::Answers => false,
        Asked::Unreadable => packet.judged && packet.strict,
    };
    let body = &packet.bytes[packet.body..];
    match packet.transport {
        Transport::Other => true,
        Transport::Udp => !refused(body),
        Transport::Tcp => {
            let mut rest = body;
            let mut count = 0;
            while !rest.is_empty() {
                if count == MESSAGES {
                    return !refused(&[]);
                }
                let Some((length, after)) = rest.split_first_chunk::<2>() else {
                    return !refused(&[]);
                };
                if after.is_empty() {
                    return true;
                }
                let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
                if refused(&after[..length]) {
                    return false;
                }
                rest = &after[length..];
                count += 1;
            }
            true
        }
    }
}
