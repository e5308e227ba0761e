//! Ways to get a packet to an address, or from one.
//!
//! Whether one arrived is seen by the sink, which watches the far end of the wire and leaves a mark for every text of
//! ours that passes: [`arrived`]. A packet that does not arrive is never waited for: one that must is sent after it.

mod inbound;
pub mod packet;
pub mod raw;
pub mod sink;
pub mod sockets;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::outcome::{Failure, Tried};
use crate::scene::{PATIENCE, Place, Scene, WORK};
use crate::sys::{self, call};
use crate::technique::Technique;

/// All of them.
pub const ALL: &[&[Technique]] = &[sockets::ALL, raw::ALL, inbound::ALL];

/// Where the sink listens, over every protocol it knows.
pub const PORT: u16 = 7;
/// How long a packet may be late after one that was sent later.
const SECOND_LOOK: Duration = Duration::from_millis(300);

/// The mark that the sink leaves for a text.
pub fn mark(text: &str) -> PathBuf {
    Path::new(WORK).join("seen").join(text)
}

/// Whether the technique's text has arrived at its place, now that it has been sent.
pub fn arrived(scene: &Scene) -> Tried {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let last = format!("EV:last-{}-{number}:plain;", std::process::id());
    let (token, seen, end) = (scene.token(), mark(&scene.token()), mark(&last));
    debug_assert!(token.starts_with("EV:"));
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let mut deadline = Instant::now() + PATIENCE;
    let mut ended = false;
    loop {
        if seen.exists() {
            return Ok(true);
        }
        if !ended && end.exists() {
            ended = true;
            deadline = Instant::now() + SECOND_LOOK;
        }
        if Instant::now() > deadline {
            let lost = || Failure::Broken("not even the last packet arrived".to_owned());
            return if ended { Ok(false) } else { Err(lost()) };
        }
        if !ended {
            let _ = socket.send_to(last.as_bytes(), socket_address(Place::Plain.address(), PORT));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The kernel's form of an IPv4 address and port.
pub fn address(ip: [u8; 4], port: u16) -> libc::sockaddr_in {
    let mut address: libc::sockaddr_in = sys::zeroed();
    address.sin_family = libc::AF_INET as u16;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from_ne_bytes(ip);
    address
}

/// The library's form of an IPv4 address and port.
pub fn socket_address(ip: [u8; 4], port: u16) -> std::net::SocketAddr {
    std::net::SocketAddr::new(std::net::IpAddr::V4(ip.into()), port)
}

/// Goes on beyond the gate, in the namespace of the sink.
pub fn go_far() -> Result<(), Failure> {
    let namespace = sys::open("/run/netns/far", libc::O_RDONLY)?;
    call!(SYS_setns, &namespace, libc::CLONE_NEWNET)?;
    Ok(())
}

/// Index of an interface in the namespace this process is in.
pub fn interface(name: &str) -> Result<i32, Failure> {
    let name = sys::text(name);
    // SAFETY: the name ends with zero.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(std::io::Error::last_os_error().into()),
        index => Ok(index as i32),
    }
}
