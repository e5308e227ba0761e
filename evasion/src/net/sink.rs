//! The far end of the wire: whatever passes there with a text of ours in it, to an address of ours, leaves a mark.
//!
//! It also listens over every protocol that has connections, so that what is refused would otherwise have been made.

use std::fs;
use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use super::sockets::socket;
use super::{PORT, address, mark};
use crate::outcome::Failure;
use crate::scene::{Place, WORK};
use crate::sys::{self, call};

/// Serves for ever; leaves `ready` when it sees what passes.
pub fn serve() -> Result<(), Failure> {
    fs::create_dir_all(Path::new(WORK).join("seen"))?;
    super::go_far()?;
    const ALL_PROTOCOLS: u16 = 3;
    let kind = libc::SOCK_RAW;
    let watch = socket(libc::AF_PACKET, kind, i32::from(ALL_PROTOCOLS.to_be()))?;
    let (level, option, room) = (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 8_i32 << 20);
    call!(SYS_setsockopt, &watch, level, option, sys::at(&room), 4)?;
    // Of both families.
    let listener = TcpListener::bind(("::", PORT))?;
    std::thread::spawn(move || accept(&listener));
    let _held = [UdpSocket::bind(("0.0.0.0", PORT))];
    let _connections = [
        listening(libc::SOCK_STREAM, libc::IPPROTO_SCTP),
        listening(libc::SOCK_SEQPACKET, libc::IPPROTO_SCTP),
        listening(6, libc::IPPROTO_DCCP),
    ];
    fs::write(Path::new(WORK).join("sink"), "")?;
    let mut frame = vec![0_u8; 65536];
    loop {
        let length = call!(SYS_read, &watch, &mut frame[..], 65536).unwrap_or(0);
        look(&frame[..length as usize]);
    }
}

fn accept(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        std::thread::spawn(move || while let Ok(1..) = stream.read(&mut [0; 512]) {});
    }
}

fn listening(kind: i32, protocol: i32) -> Option<std::os::fd::OwnedFd> {
    let socket = socket(libc::AF_INET, kind, protocol).ok()?;
    let any = address([0; 4], PORT);
    call!(SYS_bind, &socket, sys::at(&any), 16).ok()?;
    call!(SYS_listen, &socket, 16).ok()?;
    Some(socket)
}

fn look(frame: &[u8]) {
    let text = frame.windows(3).position(|window| window == b"EV:");
    let Some(text) = text.and_then(|from| frame.get(from..)) else { return };
    let Some(end) = text.iter().position(|&byte| byte == b';') else { return };
    let Ok(text) = str::from_utf8(&text[..=end]) else { return };
    let place = Place::ALL.into_iter().find(|place| text.ends_with(&format!(":{};", place.word())));
    let Some(place) = place else { return };
    let names = |address: &[u8]| frame.windows(address.len()).any(|window| window == address);
    if !text.contains('/') && (names(&place.address()) || names(&place.address_6())) {
        let _ = fs::write(mark(text), "");
    }
}
