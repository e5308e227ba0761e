//! Ways out of a host, and what else is done with sockets.
//!
//! What goes to the network beyond the veth pair is watched there by a packet socket: an act that claims to be refused and
//! of which one packet arrived is unclear, never refused.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, Protocol, RawProtocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv,
    sendto, socket_with, sockopt,
};
use serde::{Deserialize, Serialize};

use super::PERFORMER;

/// The word that makes the performer count packets: `act watch ADDRESS`.
pub(super) const WATCH: &str = "watch";
/// The word that makes it connect from another namespace and wait for an answer: `act call FROM TO`.
pub(super) const CALL: &str = "call";

/// Where the far namespace is, and its network.
const FAR: &str = "far";
/// A far address that no rule is about: a datagram to it tells the watcher that all is over.
const LAST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 8), 9);
/// How long a listener waits for what is sent to it on this machine.
const LISTENING: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a caller waits: the kernel asks again after one and after three seconds.
const CALLING: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Something done with a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketAct {
    /// A datagram through a socket without a peer.
    Datagram {
        /// Where to.
        to: SocketAddr,
    },
    /// A datagram through a connected socket; connecting must succeed.
    ConnectedDatagram {
        /// Where to.
        to: SocketAddr,
    },
    /// An echo request through a raw socket.
    Echo {
        /// Where to.
        to: Ipv4Addr,
    },
    /// A packet whose header the program writes, sent as if to somebody else.
    OwnHeader {
        /// Where the header says.
        to: Ipv4Addr,
        /// Where the call says.
        pretended: Ipv4Addr,
    },
    /// Data with the request for a connection.
    FastOpen {
        /// Where to.
        to: SocketAddrV4,
    },
    /// A connection of more than one path.
    Multipath {
        /// Where to.
        to: SocketAddrV4,
    },
    /// An answer over a connection that was accepted from the far namespace.
    Answer {
        /// Who calls.
        from: SocketAddrV4,
        /// Where this side listens.
        to: SocketAddrV4,
    },
    /// A name is looked up in a datagram.
    LookUp {
        /// The name.
        name: String,
        /// The server.
        to: SocketAddr,
    },
    /// A name is looked up at a server that this act brings along, and the address in its answer is connected to.
    Resolve {
        /// The name.
        name: String,
        /// The server: an address of this namespace.
        server: SocketAddrV4,
        /// What it answers with, also of this namespace; somebody listens there.
        address: SocketAddrV4,
        /// Whether the answer has the number of the question.
        asked: bool,
    },
    /// Names are looked up over one stream to an address of this namespace, where somebody listens.
    LookUps {
        /// The names, each in a message of its own.
        names: Vec<String>,
        /// The server.
        to: SocketAddr,
        /// Where what is sent is cut into segments, in bytes from the first.
        cuts: Vec<usize>,
    },
    /// A local address is taken.
    Bind {
        /// Which.
        at: SocketAddr,
    },
    /// Listening, on a port the kernel chooses.
    Listen {
        /// The address.
        at: IpAddr,
    },
    /// Accepting, when nobody calls.
    Accept {
        /// Where it listens.
        at: SocketAddr,
    },
    /// A socket is made, by number of family and type.
    Make {
        /// Address family.
        family: u16,
        /// Socket type.
        kind: u32,
    },
}

impl fmt::Display for SocketAct {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Datagram { to } => write!(formatter, "a datagram to {to}"),
            Self::ConnectedDatagram { to } => write!(formatter, "a connected datagram to {to}"),
            Self::Echo { to } => write!(formatter, "an echo request to {to}"),
            Self::OwnHeader { to, pretended } => {
                write!(formatter, "a packet written for {to}, sent to {pretended}")
            }
            Self::FastOpen { to } => write!(formatter, "fast open to {to}"),
            Self::Multipath { to } => write!(formatter, "multipath to {to}"),
            Self::Answer { from, .. } => write!(formatter, "an answer to {from}"),
            Self::LookUp { name, to } => write!(formatter, "look up {name} at {to}"),
            Self::Resolve { name, address, asked, .. } => {
                let asked = if *asked { "" } else { " unasked" };
                write!(formatter, "connect to {address} as {name}, answered{asked}")
            }
            Self::LookUps { names, to, cuts } => {
                write!(formatter, "look up {} at {to}, cut at {cuts:?}", names.join(" and "))
            }
            Self::Bind { at } => write!(formatter, "bind to {at}"),
            Self::Listen { at } => write!(formatter, "listen at {at}"),
            Self::Accept { at } => write!(formatter, "accept at {at}"),
            Self::Make { family, kind } => write!(formatter, "socket({family}, {kind})"),
        }
    }
}

impl SocketAct {
    /// The far address that no packet may reach if this is refused.
    pub(super) fn watched(&self) -> Option<Ipv4Addr> {
        let address = match self {
            Self::Datagram { to: SocketAddr::V4(to) }
            | Self::LookUp { to: SocketAddr::V4(to), .. }
            | Self::ConnectedDatagram { to: SocketAddr::V4(to) }
            | Self::FastOpen { to }
            | Self::Multipath { to } => *to.ip(),
            Self::Echo { to } | Self::OwnHeader { to, .. } => *to,
            Self::Datagram { to: SocketAddr::V6(_) }
            | Self::LookUp { to: SocketAddr::V6(_), .. }
            | Self::LookUps { .. }
            | Self::Resolve { .. }
            | Self::ConnectedDatagram { to: SocketAddr::V6(_) }
            | Self::Answer { .. }
            | Self::Bind { .. }
            | Self::Listen { .. }
            | Self::Accept { .. }
            | Self::Make { .. } => return None,
        };
        (address.octets()[..3] == LAST.ip().octets()[..3]).then_some(address)
    }
}

/// Does it.
///
/// # Errors
/// As the kernel answers. That nobody listens is no refusal: somebody was asked.
pub(super) fn attempt(act: &SocketAct) -> io::Result<()> {
    let reached = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        other => other,
    };
    match act {
        SocketAct::Datagram { to } => unconnected(to)?.send_to(b"datagram", to).map(drop),
        SocketAct::ConnectedDatagram { to } => {
            let socket = unconnected(to)?;
            socket.connect(to).map_err(|error| io::Error::other(format!("connect: {error}")))?;
            socket.send(b"datagram").map(drop)
        }
        SocketAct::Echo { to } => {
            let socket = raw(1)?;
            // Type 8, code 0, and the checksum of that and zeros.
            let echo = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
            sendto(&socket, &echo, SendFlags::empty(), &SocketAddrV4::new(*to, 0))?;
            Ok(())
        }
        SocketAct::OwnHeader { to, pretended } => {
            let socket = raw(255)?;
            let [a, b, c, d] = to.octets();
            // 28 bytes of UDP from 198.51.100.1; the kernel fills in the checksum and the length.
            let packet = [
                0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 198, 51, 100, 1, a, b, c, d, 0x10, 0,
                0x10, 1, 0, 8, 0, 0,
            ];
            sendto(&socket, &packet, SendFlags::empty(), &SocketAddrV4::new(*pretended, 0))?;
            Ok(())
        }
        SocketAct::FastOpen { to } => {
            let socket = stream(None)?;
            let fast_open = SendFlags::from_bits_retain(0x2000_0000);
            reached(sendto(&socket, b"data", fast_open, to).map(drop).map_err(io::Error::from))
        }
        SocketAct::Multipath { to } => {
            let socket = stream(RawProtocol::new(262).map(Protocol::from_raw))?;
            reached(rustix::net::connect(&socket, to).map_err(io::Error::from))
        }
        SocketAct::Answer { from, to } => answer(*from, *to),
        SocketAct::LookUp { name, to } => unconnected(to)?.send_to(&query(name), to).map(drop),
        SocketAct::Resolve { name, server, address, asked } => {
            resolve(name, *server, *address, *asked)
        }
        SocketAct::LookUps { names, to, cuts } => look_ups(names, *to, cuts),
        SocketAct::Bind { at } => UdpSocket::bind(at).map(drop),
        SocketAct::Listen { at } => TcpListener::bind((*at, 0)).map(drop),
        SocketAct::Accept { at } => {
            let listener = TcpListener::bind(at)?;
            listener.set_nonblocking(true)?;
            match listener.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                other => other.map(drop),
            }
        }
        SocketAct::Make { family, kind } => {
            let family = AddressFamily::from_raw(*family);
            let kind = SocketType::from_raw(*kind);
            // Raw sockets of the Internet have no protocol that goes without saying.
            let echo = family == AddressFamily::INET && kind == SocketType::RAW;
            let protocol = RawProtocol::new(u32::from(echo)).map(Protocol::from_raw);
            socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
            Ok(())
        }
    }
}

fn unconnected(to: &SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })
}

/// A message that asks for the address of a name.
fn query(name: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// Asks a server of its own for a name, and connects to the address in the answer.
fn resolve(name: &str, server: SocketAddrV4, address: SocketAddrV4, asked: bool) -> io::Result<()> {
    let _listener = TcpListener::bind(address)?;
    let answering = UdpSocket::bind(server)?;
    let asking = UdpSocket::bind("0.0.0.0:0")?;
    answering.set_read_timeout(Some(PATIENCE))?;
    asking.set_read_timeout(Some(PATIENCE))?;
    asking.send_to(&query(name), server)?;
    let mut question = [0; 512];
    let (bytes, asker) = answering.recv_from(&mut question)?;
    let mut answer = question.get(..bytes).unwrap_or_default().to_vec();
    // An answer, with one record: the name of the question, type A, for 300 seconds.
    if let Some(head) = answer.first_chunk_mut::<12>() {
        head[1] ^= u8::from(!asked);
        head[2] |= 0x80;
        head[7] = 1;
    }
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4]);
    answer.extend(address.ip().octets());
    answering.send_to(&answer, asker)?;
    let (bytes, _) = asking.recv_from(&mut question)?;
    if question.get(..bytes) != Some(answer.as_slice()) {
        return Err(io::Error::other("another answer came"));
    }
    TcpStream::connect(address).map(drop)
}

/// Sends queries over a stream; all of it must arrive at the other end.
fn look_ups(names: &[String], to: SocketAddr, cuts: &[usize]) -> io::Result<()> {
    let mut all = Vec::new();
    for name in names {
        let message = query(name);
        all.extend((message.len() as u16).to_be_bytes());
        all.extend(message);
    }
    let listener = TcpListener::bind(to)?;
    let mut asking = TcpStream::connect(to)?;
    let (mut server, _) = listener.accept()?;
    asking.set_nodelay(true)?;
    let mut heard = vec![0; all.len()];
    let mut start = 0;
    for end in cuts.iter().copied().chain([all.len()]) {
        let piece = all.get(start..end).ok_or_else(|| io::Error::other("a cut behind the end"))?;
        asking.write_all(piece)?;
        // A piece that arrived was a segment of its own.
        server.set_read_timeout(Some(LISTENING))?;
        match server.read_exact(&mut heard[start..end]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not arrive"));
            }
            other => other?,
        }
        start = end;
    }
    if heard == all { Ok(()) } else { Err(io::Error::other("something else arrived")) }
}

fn raw(protocol: u32) -> io::Result<OwnedFd> {
    let protocol = RawProtocol::new(protocol).map(Protocol::from_raw);
    Ok(socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?)
}

fn stream(protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, protocol)?)
}

/// Accepts a call from the far namespace and answers it; the caller must hear the answer.
fn answer(from: SocketAddrV4, to: SocketAddrV4) -> io::Result<()> {
    let listener = TcpListener::bind(to)?;
    let mut caller = Command::new("ip")
        .args(["netns", "exec", FAR, PERFORMER, CALL])
        .args([from.to_string(), to.to_string()])
        .stdin(Stdio::null())
        .spawn()?;
    let answered =
        accept_within(&listener, &mut caller).and_then(|mut stream| stream.write_all(b"answer"));
    if answered.is_err() {
        // Otherwise it waits for an answer that does not come.
        let _ = caller.kill();
    }
    let status = caller.wait()?;
    answered?;
    if status.success() { Ok(()) } else { Err(io::Error::other("the caller heard no answer")) }
}

fn accept_within(listener: &TcpListener, caller: &mut Child) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) if Instant::now() > deadline || caller.try_wait()?.is_some() => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody called"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Calls from an address of this namespace and hears the answer.
pub(super) fn call(from: &str, to: &str) -> Result<()> {
    let (from, to): (SocketAddrV4, SocketAddrV4) = (from.parse()?, to.parse()?);
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::bind(&socket, &from)?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let mut waiting = [PollFd::new(&socket, PollFlags::OUT)];
    if poll(&mut waiting, Some(&CALLING))? == 0 {
        bail!("nobody answered");
    }
    sockopt::socket_error(&socket)??;
    rustix::io::ioctl_fionbio(&socket, false)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
    let mut heard = [0; 6];
    let (bytes, _) = recv(&socket, &mut heard[..], RecvFlags::WAITALL)?;
    if heard.get(..bytes) != Some(b"answer") {
        bail!("heard nothing");
    }
    // The other side ends it, so that this one keeps nothing and may call again from the same port.
    let (more, _) = recv(&socket, &mut heard[..], RecvFlags::empty())?;
    if more == 0 { Ok(()) } else { bail!("heard more") }
}

/// A packet socket in the far namespace.
pub(super) struct Watcher {
    child: Child,
}

impl Watcher {
    /// Watches for packets to an address.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(address: Ipv4Addr) -> Result<Self> {
        let mut child = Command::new("ip")
            .args(["netns", "exec", FAR, PERFORMER, WATCH, &address.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let out = child.stdout.as_mut().context("its output")?;
        BufReader::new(out).read_line(&mut line)?;
        if line.trim() == "watching" {
            Ok(Self { child })
        } else {
            bail!("the watcher said `{line}`")
        }
    }

    /// How many packets came.
    ///
    /// # Errors
    /// Not even the last packet came.
    pub(super) fn count(mut self) -> Result<u64> {
        UdpSocket::bind("0.0.0.0:0")?.send_to(b"last", LAST)?;
        let mut line = String::new();
        let out = self.child.stdout.as_mut().context("its output")?;
        BufReader::new(out).read_line(&mut line)?;
        self.child.wait()?;
        line.trim().parse().with_context(|| format!("the watcher said `{line}`"))
    }
}

/// Counts the IPv4 packets to an address until one to [`LAST`] comes.
pub(super) fn watch(address: &str) -> Result<()> {
    let address: Ipv4Addr = address.parse()?;
    let every = RawProtocol::new(u32::from(3u16.to_be())).map(Protocol::from_raw);
    let socket =
        socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, every)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE * 3))?;
    println!("watching");
    io::stdout().flush()?;
    let mut count = 0u64;
    let mut packet = [0; 2048];
    loop {
        let (bytes, _) = recv(&socket, &mut packet[..], RecvFlags::empty())?;
        let Some(to) = packet.get(..bytes).and_then(destination) else { continue };
        if to == address {
            count += 1;
        } else if to == *LAST.ip() {
            println!("{count}");
            return Ok(());
        }
    }
}

fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let (first, to) = (packet.first()?, packet.get(16..20)?);
    let to: [u8; 4] = to.try_into().ok()?;
    (first >> 4 == 4).then(|| Ipv4Addr::from(to))
}
