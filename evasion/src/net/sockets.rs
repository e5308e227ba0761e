//! Packets to an address by every kind of socket and every call that sends.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

use super::{PORT, address, arrived, socket_address};
use crate::outcome::{Failure, Tried};
use crate::ring::{self, Entry, Ring};
use crate::scene::{Place, Scene, child};
use crate::sys::{self, call};
use crate::technique::Class::Outbound;
use crate::technique::{Technique, must};

const IPPROTO_MPTCP: i32 = 262;
const TCP_FASTOPEN_CONNECT: i32 = 30;
const SCTP_SOCKOPT_CONNECTX: i32 = 110;

/// All of them.
pub const ALL: &[Technique] = &[
    must(Outbound, "out-tcp", |scene| stream(scene, target(scene))),
    must(Outbound, "out-tcp-6", |scene| stream(scene, target_6(scene))),
    must(Outbound, "out-tcp-mapped", |scene| {
        let mapped = Ipv4Addr::from(scene.place.address()).to_ipv6_mapped();
        stream(scene, SocketAddr::new(IpAddr::V6(mapped), PORT))
    }),
    must(Outbound, "out-tcp-non-blocking", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
        match connect(&socket, scene) {
            Err(Failure::Errno(libc::EINPROGRESS)) | Ok(()) => {}
            Err(failure) => return Err(failure),
        }
        let mut ready = [socket.as_raw_fd() as u64 | (libc::POLLOUT as u64) << 32];
        call!(SYS_poll, sys::into(&mut ready), 1, 2000)?;
        send(&socket, scene)?;
        arrived(scene)
    }),
    must(Outbound, "out-udp-sendto", |scene| {
        UdpSocket::bind("0.0.0.0:0")?.send_to(scene.token().as_bytes(), target(scene))?;
        arrived(scene)
    }),
    must(Outbound, "out-udp-sendto-6", |scene| {
        UdpSocket::bind("[::]:0")?.send_to(scene.token().as_bytes(), target_6(scene))?;
        arrived(scene)
    }),
    must(Outbound, "out-udp-mapped", |scene| {
        let mapped = Ipv4Addr::from(scene.place.address()).to_ipv6_mapped();
        let to = SocketAddr::new(IpAddr::V6(mapped), PORT);
        UdpSocket::bind("[::]:0")?.send_to(scene.token().as_bytes(), to)?;
        arrived(scene)
    }),
    must(Outbound, "out-udp-connected", |scene| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(target(scene))?;
        socket.send(scene.token().as_bytes())?;
        arrived(scene)
    }),
    must(Outbound, "out-udp-connected-elsewhere", |scene| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(socket_address(Place::Plain.address(), PORT))?;
        let to = address(scene.place.address(), PORT);
        let token = scene.token();
        let (text, size) = (token.as_bytes(), size_of_val(&to));
        call!(SYS_sendto, socket.as_raw_fd(), text, text.len(), 0, sys::at(&to), size)?;
        arrived(scene)
    }),
    must(Outbound, "out-udp-sendmsg", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let message = Message::new(scene);
        call!(SYS_sendmsg, &socket, sys::at(&message.header()), 0)?;
        arrived(scene)
    }),
    must(Outbound, "out-udp-sendmmsg", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let message = Message::new(scene);
        let mut messages: [libc::mmsghdr; 1] = sys::zeroed();
        messages[0].msg_hdr = message.header();
        call!(SYS_sendmmsg, &socket, sys::into(&mut messages), 1, 0)?;
        arrived(scene)
    }),
    must(Outbound, "out-udp-lite", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE)?;
        send_to(&socket, scene, 0)?;
        arrived(scene)
    }),
    must(Outbound, "out-udp-corked", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        send_to(&socket, scene, libc::MSG_MORE)?;
        send_to(&socket, scene, 0)?;
        arrived(scene)
    }),
    must(Outbound, "out-udp-segmented", |scene| {
        // One packet for the kernel, cut into datagrams behind every hook.
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let (token, to) = (scene.token(), address(scene.place.address(), PORT));
        let size = token.len() as i32;
        call!(SYS_setsockopt, &socket, libc::SOL_UDP, libc::UDP_SEGMENT, sys::at(&size), 4)?;
        let twice = [token.as_bytes(), token.as_bytes()].concat();
        call!(SYS_sendto, &socket, &twice[..], twice.len(), 0, sys::at(&to), 16)?;
        arrived(scene)
    }),
    must(Outbound, "out-tcp-fast-open", |scene| {
        // The connection is made inside of the call that sends.
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
        send_to(&socket, scene, libc::MSG_FASTOPEN)?;
        arrived(scene)
    }),
    must(Outbound, "out-tcp-fast-open-connect", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
        let (tcp, on) = (libc::IPPROTO_TCP, 1_i32);
        call!(SYS_setsockopt, &socket, tcp, TCP_FASTOPEN_CONNECT, sys::at(&on), 4)?;
        connect(&socket, scene)?;
        send(&socket, scene)?;
        arrived(scene)
    }),
    must(Outbound, "out-multipath-tcp", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM, IPPROTO_MPTCP)?;
        connect(&socket, scene)?;
        send(&socket, scene)?;
        arrived(scene)
    }),
    must(Outbound, "out-dccp", |scene| {
        const SOCK_DCCP: i32 = 6;
        let socket = socket(libc::AF_INET, SOCK_DCCP, libc::IPPROTO_DCCP)?;
        connect(&socket, scene)?;
        send(&socket, scene)?;
        arrived(scene)
    }),
    must(Outbound, "out-sctp", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)?;
        connect(&socket, scene)?;
        send(&socket, scene)?;
        arrived(scene)
    }),
    must(Outbound, "out-sctp-by-option", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)?;
        let to = address(scene.place.address(), PORT);
        let (protocol, size) = (libc::IPPROTO_SCTP, size_of_val(&to));
        call!(SYS_setsockopt, &socket, protocol, SCTP_SOCKOPT_CONNECTX, sys::at(&to), size)?;
        send(&socket, scene)?;
        arrived(scene)
    }),
    must(Outbound, "out-sctp-sendto", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_SEQPACKET, libc::IPPROTO_SCTP)?;
        send_to(&socket, scene, 0)?;
        arrived(scene)
    }),
    must(Outbound, "out-ring-connect", |scene| through_ring(scene, &Ring::new(0)?)),
    must(Outbound, "out-ring-polled", |scene| through_ring(scene, &Ring::new(ring::SQPOLL)?)),
    must(Outbound, "out-ring-send-udp", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        connect(&socket, scene)?;
        ring_send(scene, &Ring::new(0)?, &socket)?;
        arrived(scene)
    }),
    must(Outbound, "out-32-bit", |scene| {
        const SOCKETCALL: u32 = 102;
        const CONNECT: u32 = 3;
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
        let to = address(scene.place.address(), PORT);
        let to = sys::low(sys::bytes_of(&to))?;
        let arguments = [socket.as_raw_fd() as u32, to.address as u32, 16];
        let arguments = sys::low(sys::bytes_of(&arguments))?;
        sys::call_32(SOCKETCALL, [CONNECT, arguments.address as u32, 0])?;
        send(&socket, scene)?;
        arrived(scene)
    }),
    must(Outbound, "out-thread", |scene| {
        let to = target(scene);
        let scene = scene.clone();
        std::thread::spawn(move || stream(&scene, to))
            .join()
            .unwrap_or_else(|_| Err(Failure::Broken("a thread that panicked".to_owned())))
    }),
    must(Outbound, "out-address-not-in-memory", |scene| {
        let holder = scene.work("address");
        let mut page = sys::bytes_of(&address(scene.place.address(), PORT)).to_vec();
        page.resize(4096, 0);
        std::fs::write(&holder, page)?;
        let file = sys::open(&holder, libc::O_RDONLY)?;
        let raw = file.as_raw_fd();
        let page = sys::Mapping::new(4096, libc::PROT_READ, libc::MAP_PRIVATE, raw)?;
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
        call!(SYS_connect, &socket, page.address, 16)?;
        send(&socket, scene)?;
        arrived(scene)
    }),
    must(Outbound, "out-address-that-changes", |scene| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let shared = sys::Mapping::new(4096, protection, flags, -1)?;
        let harmless = address(Place::Plain.address(), PORT);
        let wanted = address(scene.place.address(), PORT);
        let stop = std::sync::atomic::AtomicBool::new(false);
        shared.write(sys::bytes_of(&harmless));
        let raced = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    shared.write(sys::bytes_of(&wanted));
                    std::thread::yield_now();
                    shared.write(sys::bytes_of(&harmless));
                }
            });
            let race = || -> Tried {
                let mut refused = None;
                for _ in 0..3000 {
                    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
                    match call!(SYS_connect, &socket, shared.address, 16) {
                        Ok(_) => drop(send(&socket, scene)),
                        Err(error) => refused = Some(error),
                    }
                    if super::mark(&scene.token()).exists() {
                        return Ok(true);
                    }
                }
                refused.map_or(Ok(false), |error| Err(error.into()))
            };
            let raced = race();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            raced
        });
        if arrived(scene)? { Ok(true) } else { raced }
    }),
    must(Outbound, "out-connected-anew", |scene| {
        // Dissolved and connected elsewhere: the socket's own state says allowed.
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(socket_address(Place::Plain.address(), PORT))?;
        let mut nowhere = address([0; 4], 0);
        nowhere.sin_family = libc::AF_UNSPEC as u16;
        call!(SYS_connect, socket.as_raw_fd(), sys::at(&nowhere), 16)?;
        socket.connect(target(scene))?;
        socket.send(scene.token().as_bytes())?;
        arrived(scene)
    }),
    must(Outbound, "out-accepted", |scene| {
        // They call, we answer.
        let port = 21_000 + scene.number;
        let listener = std::net::TcpListener::bind(("0.0.0.0", port))?;
        let from = scene.place.address();
        let caller = crate::scene::fork(|| {
            super::go_far()?;
            let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
            let (here, there) = (address(from, 0), address([198, 51, 100, 1], port));
            call!(SYS_bind, &socket, sys::at(&here), 16)?;
            call!(SYS_connect, &socket, sys::at(&there), 16)?;
            let mut bytes = [0_u8; 64];
            call!(SYS_read, &socket, &mut bytes[..], 64)?;
            Ok(true)
        })?;
        listener.set_nonblocking(true)?;
        let mut accepted = None;
        for _ in 0..300 {
            if let Ok(pair) = listener.accept() {
                accepted = Some(pair.0);
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let answered = match accepted {
            Some(mut stream) => {
                stream.write_all(scene.token().as_bytes())?;
                arrived(scene)
            }
            None => Ok(false),
        };
        let _ = call!(SYS_kill, caller, libc::SIGKILL);
        let _ = crate::scene::wait(caller);
        answered
    }),
    must(Outbound, "out-other-namespace", |scene| {
        // A network of our own beyond the one that rules were attached in: its packets leave by another gate.
        child(|| {
            super::go_far()?;
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.send_to(scene.token().as_bytes(), target(scene))?;
            Ok(true)
        })?;
        arrived(scene)
    }),
    must(Outbound, "out-splice", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        connect(&socket, scene)?;
        let mut pipe = [0_i32; 2];
        call!(SYS_pipe2, sys::into(&mut pipe), 0)?;
        let token = scene.token();
        call!(SYS_write, pipe[1], token.as_bytes(), token.len())?;
        call!(SYS_splice, pipe[0], 0, &socket, 0, token.len(), 0)?;
        arrived(scene)
    }),
];

fn target(scene: &Scene) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(scene.place.address())), PORT)
}

fn target_6(scene: &Scene) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(scene.place.address_6())), PORT)
}

/// A socket.
pub fn socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Failure> {
    Ok(sys::owned(call!(SYS_socket, family, kind, protocol)?))
}

fn connect(socket: &OwnedFd, scene: &Scene) -> Result<(), Failure> {
    let to = address(scene.place.address(), PORT);
    call!(SYS_connect, socket, sys::at(&to), 16)?;
    Ok(())
}

fn send(socket: &OwnedFd, scene: &Scene) -> Result<(), Failure> {
    let token = scene.token();
    call!(SYS_sendto, socket, token.as_bytes(), token.len(), libc::MSG_NOSIGNAL, 0, 0)?;
    Ok(())
}

/// Sends to the place's address by `sendto`.
pub fn send_to(socket: &OwnedFd, scene: &Scene, flags: i32) -> Result<(), Failure> {
    let (token, to) = (scene.token(), address(scene.place.address(), PORT));
    let text = token.as_bytes();
    call!(SYS_sendto, socket, text, text.len(), flags, sys::at(&to), 16)?;
    Ok(())
}

fn stream(scene: &Scene, to: SocketAddr) -> Tried {
    let mut stream = TcpStream::connect_timeout(&to, std::time::Duration::from_secs(3))?;
    stream.write_all(scene.token().as_bytes())?;
    arrived(scene)
}

fn ring_send(scene: &Scene, ring: &Ring, socket: &OwnedFd) -> Result<(), Failure> {
    let token = scene.token();
    ring.act(Entry {
        opcode: ring::SEND,
        file: socket.as_raw_fd(),
        address: ring::address(token.as_bytes()),
        length: token.len() as u32,
        ..Entry::default()
    })?;
    Ok(())
}

fn through_ring(scene: &Scene, ring: &Ring) -> Tried {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let to = address(scene.place.address(), PORT);
    ring.act(Entry {
        opcode: ring::CONNECT,
        file: socket.as_raw_fd(),
        address: ring::address(sys::bytes_of(&to)),
        offset: 16,
        ..Entry::default()
    })?;
    ring_send(scene, ring, &socket)?;
    arrived(scene)
}

/// What `sendmsg` is given, with an address in it.
struct Message {
    to: Box<libc::sockaddr_in>,
    token: Vec<u8>,
    vector: Box<[usize; 2]>,
}

impl Message {
    fn new(scene: &Scene) -> Self {
        let token = scene.token().into_bytes();
        let vector = Box::new([token.as_ptr() as usize, token.len()]);
        Self { to: Box::new(address(scene.place.address(), PORT)), token, vector }
    }

    fn header(&self) -> libc::msghdr {
        debug_assert_eq!(self.vector[1], self.token.len());
        let mut header: libc::msghdr = sys::zeroed();
        header.msg_name = std::ptr::from_ref(&*self.to).cast_mut().cast();
        header.msg_namelen = 16;
        header.msg_iov = std::ptr::from_ref(&*self.vector).cast_mut().cast();
        header.msg_iovlen = 1;
        header
    }
}
