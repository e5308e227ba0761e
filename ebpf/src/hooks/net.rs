//! Flows, with the process in hand: the LSM hooks of sockets.
//!
//! Addresses have been copied into the kernel when these run: user memory cannot change them any more. What has no
//! process (packets the kernel sends by itself, of sockets that were there before) is for `skb`.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::ids::{Act, CONNECT_AND_SEND, Fact, Family, Fault};
use interdict_engine::facts;

use super::{
    gate::{self, Deed},
    judge::Case,
    named, packet, report,
    report::Told,
    with_area, with_policy,
};
use crate::{
    emit,
    kernel::{
        copy, fields,
        object::{Reader, Typed},
        probed,
    },
    policy::{self, Policy},
    scratch::{Area, Short},
};

const AF_UNSPEC: u16 = 0;
/// IPv4.
pub const AF_INET: u16 = 2;
/// IPv6.
pub const AF_INET6: u16 = 10;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
pub(super) const TCP: u16 = 6;
pub(super) const UDP: u16 = 17;
const MPTCP: u16 = 262;
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// One end of a flow: an address (high and low half in host order, IPv4 as mapped IPv6) and a port.
#[derive(Clone, Copy)]
pub struct End {
    /// The halves of the address.
    pub ip: (u64, u64),
    /// The port, host order.
    pub port: u16,
    /// 0: there is no such end.
    pub present: u16,
}

impl End {
    /// No end.
    pub const NONE: Self = Self { ip: (0, 0), port: 0, present: 0 };

    /// An IPv4 end from numbers in host order.
    #[inline(always)]
    pub fn v4(address: u32, port: u16) -> Self {
        Self { ip: (0, mapped(address)), port, present: 1 }
    }

    /// An IPv6 end from halves in host order.
    #[inline(always)]
    pub fn v6(upper: u64, lower: u64, port: u16) -> Self {
        Self { ip: (upper, lower), port, present: 1 }
    }

    /// The end that is reached when this one is asked for, from a socket that has taken the address `own`: who names none
    /// reaches this host, by the socket's own IPv4 address or the loopback (kernel functions
    /// `ip_route_output_key_hash_rcu`, `tcp_v6_connect`, `udpv6_sendmsg`).
    #[inline(always)]
    pub fn reached(self, own: (u64, u64)) -> Self {
        let (upper, lower) = self.ip;
        let names_none = upper == 0 && (lower == 0 || lower == mapped(0));
        if self.present == 0 || !names_none {
            return self;
        }
        let is_own_v4 = own.0 == 0 && own.1 >> 32 == 0xffff;
        let lower = if lower == 0 && !is_own_v4 {
            1
        } else if lower == 0 || !is_own_v4 || own.1 == mapped(0) {
            mapped(LOOPBACK)
        } else {
            own.1
        };
        Self { ip: (0, lower), ..self }
    }
}

/// 127.0.0.1.
const LOOPBACK: u32 = 0x7f00_0001;

/// A socket and what is done with it.
#[derive(Clone, Copy)]
pub struct Flow {
    /// The value of `Fact::Act`.
    pub act: u32,
    /// Mask of acts.
    pub acts: u32,
    /// Address family.
    pub family: u16,
    /// IP protocol.
    pub protocol: u16,
    /// Socket type.
    pub kind: u16,
    /// The other side.
    pub remote: End,
    /// This side.
    pub local: End,
}

/// What a socket is.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) sock: *const u8,
    family: u16,
    pub(super) protocol: u16,
    kind: u16,
}

impl Kind {
    /// Of a `struct socket`. `None` without a `struct sock`: nothing can be sent through it.
    #[inline(always)]
    pub(super) fn of(socket: *const u8) -> Option<Self> {
        let kind = Typed::read::<u16>(socket, fields::socket_type())?;
        let sock = Typed::read::<*const u8>(socket, fields::socket_sk())?;
        // From 6.12 on the verifier wants to see that `sk` is not null.
        if sock.is_null() {
            return None;
        }
        let protocol = Typed::read::<u16>(sock, fields::sock_protocol())?;
        // What is called multipath above is TCP on the wire.
        let protocol = if protocol == MPTCP { TCP } else { protocol };
        let family = Typed::read::<u16>(sock, fields::sock_family())?;
        Some(Self { sock, family, protocol, kind })
    }

    #[inline(always)]
    pub(super) fn internet(&self) -> bool {
        self.family == AF_INET || self.family == AF_INET6
    }

    #[inline(always)]
    pub(super) fn flow(&self, act: Act, remote: End, local: End) -> Flow {
        let Self { family, protocol, kind, .. } = *self;
        Flow { act: act.value(), acts: act.bit(), family, protocol, kind, remote, local }
    }

    /// Whom it is connected to; [`End::NONE`] if it is not.
    #[inline(always)]
    pub(super) fn peer(&self) -> End {
        let port =
            u16::from_be(Typed::read::<u16>(self.sock, fields::sock_remote_port()).unwrap_or(0));
        if port == 0 {
            return End::NONE;
        }
        if self.family == AF_INET {
            let address = Typed::read::<u32>(self.sock, fields::sock_remote_v4()).unwrap_or(0);
            return End::v4(u32::from_be(address), port);
        }
        let (upper, lower) = halves(self.sock, fields::sock_remote_v6());
        End::v6(upper, lower, port)
    }

    /// The address it has taken here.
    #[inline(always)]
    pub(super) fn own(&self) -> End {
        let port = Typed::read::<u16>(self.sock, fields::sock_local_port()).unwrap_or(0);
        if self.family == AF_INET {
            let address = Typed::read::<u32>(self.sock, fields::sock_local_v4()).unwrap_or(0);
            return End::v4(u32::from_be(address), port);
        }
        let (upper, lower) = halves(self.sock, fields::sock_local_v6());
        End::v6(upper, lower, port)
    }
}

/// The halves of an IPv6 address in a typed structure, host order.
#[inline(always)]
fn halves(base: *const u8, offset: u64) -> (u64, u64) {
    let upper = Typed::read::<u64>(base, offset).unwrap_or(0);
    let lower = Typed::read::<u64>(base, offset + 8).unwrap_or(0);
    (u64::from_be(upper), u64::from_be(lower))
}

/// The low half of an IPv4 address as mapped IPv6; the high half is zero.
#[inline(always)]
pub fn mapped(address: u32) -> u64 {
    0xffff_0000_0000 | address as u64
}

/// Bytes of a `sockaddr_in6`. The kernel keeps user addresses in a `sockaddr_storage`, which is longer.
const ADDRESS_BYTES: u64 = 28;

/// Copies a socket address into the area. False, and counted, if it cannot be read.
#[inline(always)]
fn address(area: Area, source: *const u8) -> bool {
    // SAFETY: `short` has 512 bytes.
    if unsafe { copy(area.work().short.0.as_mut_ptr(), ADDRESS_BYTES, source) } {
        return true;
    }
    emit::count(Fault::Read);
    false
}

/// The family and the end that the `sockaddr_in` or `sockaddr_in6` in the area names. Families that are not of the
/// Internet have no end.
#[inline(always)]
fn named(short: &Short) -> (u16, End) {
    let bytes = &short.0;
    let family = u16::from_ne_bytes([bytes[0], bytes[1]]);
    (family, end(family, short))
}

/// The end in the area, read as of this family.
#[inline(always)]
fn end(family: u16, short: &Short) -> End {
    let bytes = &short.0;
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    if family == AF_INET {
        return End::v4(u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]), port);
    }
    if family == AF_INET6 {
        let halves: *const u64 = (&raw const bytes[8]).cast();
        // SAFETY: inside the 512 bytes.
        let upper = u64::from_be(unsafe { halves.read_unaligned() });
        // SAFETY: as above.
        let lower = u64::from_be(unsafe { halves.add(1).read_unaligned() });
        return End::v6(upper, lower, port);
    }
    End::NONE
}

/// An outbound connection, or the destination of a datagram socket.
///
/// hook-signature: int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)
#[lsm(hook = "socket_connect")]
pub fn socket_connect(context: LsmContext) -> i32 {
    if free(Deed::Connect, context.arg(1)) {
        return 0;
    }
    with_policy(Family::Net, |policy, area| connect(context.arg(0), context.arg(1), policy, area))
}

/// Bytes before the address of a `sockaddr_in6`, behind those before that of a `sockaddr_in`.
const V6_AT: u64 = 8;

/// Whether no rule can be about what is done with this address, by itself.
#[inline(always)]
fn free(deed: Deed, to: *const u8) -> bool {
    // A `struct sockaddr` is long enough for an IPv4 address, and the kernel's copy for any.
    match Typed::read::<u16>(to, 0) {
        Some(AF_INET) => {
            let address = Typed::read::<u32>(to, 4).unwrap_or(0);
            gate::free_v4(deed, u32::from_be(address))
        }
        Some(AF_INET6) => match probed::<[u64; 2]>(to, V6_AT) {
            Some([upper, lower]) => gate::free_v6(deed, u64::from_be(upper), u64::from_be(lower)),
            None => false,
        },
        Some(_) | None => false,
    }
}

#[inline(always)]
fn connect(socket: *const u8, to: *const u8, policy: &Policy, area: Area) -> i32 {
    let Some(kind) = Kind::of(socket) else { return 0 };
    if !address(area, to) {
        return 0;
    }
    let (family, remote) = named(&area.work().short);
    if remote.present == 0 {
        return 0;
    }
    let remote = remote.reached(kind.own().ip);
    let flow = Flow { family, ..kind.flow(Act::NetConnect, remote, End::NONE) };
    judge(&flow, policy, area)
}

/// A message: to an address of its own, or to whom the socket is connected. Also of sockets that were accepted, passed
/// on, or connected before the policy came.
///
/// hook-signature: int socket_sendmsg(struct socket *sock, struct msghdr *msg, int size)
#[lsm(hook = "socket_sendmsg")]
pub fn socket_sendmsg(context: LsmContext) -> i32 {
    let (socket, message): (*const u8, *const u8) = (context.arg(0), context.arg(1));
    let flags = Typed::read::<u32>(message, fields::message_flags()).unwrap_or(0);
    let opens = flags & MSG_FASTOPEN != 0;
    let Some(policy) = policy::active() else { return 0 };
    let directory = facts::directory(&policy.image, Family::Net);
    // Rules on connections alone need this hook for what connects by sending; most messages end here then.
    if directory == 0
        || !opens && facts::possible(&policy.image, directory, Fact::Act, Act::NetSend.value()) == 0
    {
        return 0;
    }
    with_area(&policy, directory, |area| sent(socket, message, opens, &policy, area))
}

#[inline(always)]
fn sent(socket: *const u8, message: *const u8, opens: bool, policy: &Policy, area: Area) -> i32 {
    let Some(kind) = Kind::of(socket) else { return 0 };
    if !kind.internet() {
        return 0;
    }
    let peer = kind.peer();
    let to: *const u8 = Typed::read(message, fields::message_name()).unwrap_or(core::ptr::null());
    let mut family = kind.family;
    let mut remote = peer;
    // A connected stream goes to its peer whatever address is given with the message.
    if !to.is_null() && (kind.kind != SOCK_STREAM || peer.present == 0) {
        if !address(area, to) {
            return 0;
        }
        let (said, end_said) = named(&area.work().short);
        if said == AF_UNSPEC && kind.family == AF_INET {
            // IPv4 sockets take an address without a family for one of theirs; IPv6 sockets go to their peer.
            remote = end(AF_INET, &area.work().short);
        } else if said != AF_UNSPEC {
            family = said;
            remote = end_said;
        }
    }
    if remote.present == 0 {
        return 0;
    }
    let remote = remote.reached(kind.own().ip);
    let (upper, lower) = remote.ip;
    if !opens && family == AF_INET && gate::free_v4(Deed::Send, lower as u32)
        || !opens && family == AF_INET6 && gate::free_v6(Deed::Send, upper, lower)
    {
        return 0;
    }
    let mut flow = Flow { family, ..kind.flow(Act::NetSend, remote, End::NONE) };
    if opens && peer.present == 0 {
        flow.act = CONNECT_AND_SEND;
        flow.acts |= Act::NetConnect.bit();
    }
    judge(&flow, policy, area)
}

/// A socket is made, of any family.
///
/// hook-signature: int socket_create(int family, int type, int protocol, int kern)
#[lsm(hook = "socket_create")]
pub fn socket_create(context: LsmContext) -> i32 {
    let (family, kind): (i32, i32) = (context.arg(0), context.arg(1));
    let (protocol, of_kernel): (i32, i32) = (context.arg(2), context.arg(3));
    if of_kernel != 0 {
        return 0;
    }
    with_policy(Family::Net, |policy, area| {
        let internet = family as u16 == AF_INET || family as u16 == AF_INET6;
        let protocol = match (protocol as u16, kind as u16) {
            (0, SOCK_STREAM) if internet => TCP,
            (0, SOCK_DGRAM) if internet => UDP,
            (protocol, _) => protocol,
        };
        let flow = Flow {
            act: Act::NetSocket.value(),
            acts: Act::NetSocket.bit(),
            family: family as u16,
            protocol,
            kind: kind as u16,
            remote: End::NONE,
            local: End::NONE,
        };
        judge(&flow, policy, area)
    })
}

/// A local address is taken.
///
/// hook-signature: int socket_bind(struct socket *sock, struct sockaddr *address, int addrlen)
#[lsm(hook = "socket_bind")]
pub fn socket_bind(context: LsmContext) -> i32 {
    with_policy(Family::Net, |policy, area| bind(context.arg(0), context.arg(1), policy, area))
}

#[inline(always)]
fn bind(socket: *const u8, to: *const u8, policy: &Policy, area: Area) -> i32 {
    let Some(kind) = Kind::of(socket) else { return 0 };
    if !kind.internet() || !address(area, to) {
        return 0;
    }
    let (said, local) = named(&area.work().short);
    // IPv4 sockets may be bound to any address without saying the family.
    let local = if said == AF_UNSPEC { end(kind.family, &area.work().short) } else { local };
    if local.present == 0 {
        return 0;
    }
    judge(&kind.flow(Act::NetBind, End::NONE, local), policy, area)
}

/// A socket starts to listen.
///
/// hook-signature: int socket_listen(struct socket *sock, int backlog)
#[lsm(hook = "socket_listen")]
pub fn socket_listen(context: LsmContext) -> i32 {
    with_policy(Family::Net, |policy, area| own(Act::NetListen, context.arg(0), policy, area))
}

/// A connection is about to be accepted. Whose it is is not known yet: addresses of peers are for `packet.accept`.
///
/// hook-signature: int socket_accept(struct socket *sock, struct socket *newsock)
#[lsm(hook = "socket_accept")]
pub fn socket_accept(context: LsmContext) -> i32 {
    with_policy(Family::Net, |policy, area| own(Act::NetAccept, context.arg(0), policy, area))
}

#[inline(always)]
fn own(act: Act, socket: *const u8, policy: &Policy, area: Area) -> i32 {
    let Some(kind) = Kind::of(socket) else { return 0 };
    if !kind.internet() {
        return 0;
    }
    judge(&kind.flow(act, End::NONE, kind.own()), policy, area)
}

/// Decides a flow, tells and does what was decided. Answers what an LSM program returns.
#[inline(always)]
fn judge(flow: &Flow, policy: &Policy, area: Area) -> i32 {
    if decide(flow, policy, area) { report::finish(area) } else { 0 }
}

/// Narrows by one end of a flow.
#[inline(always)]
pub(super) fn narrow(case: &Case<'_>, end: &End, ip: Fact, port: Fact) -> bool {
    if end.present == 0 {
        if case.needs(ip) {
            case.absent(ip);
        }
        if case.needs(port) {
            case.absent(port);
        }
        return case.alive();
    }
    case.address(ip, end.ip.0, end.ip.1) && case.number(port, u32::from(end.port))
}

/// Decides a flow. Answers whether there is something to tell; the record is begun.
#[inline(always)]
pub fn decide(flow: &Flow, policy: &Policy, area: Area) -> bool {
    let Some(case) = Case::start(policy, area, Family::Net) else { return false };
    if !case.number(Fact::Act, flow.act)
        || !narrow(&case, &flow.remote, Fact::RemoteIp, Fact::RemotePort)
        || !narrow(&case, &flow.local, Fact::LocalIp, Fact::LocalPort)
        || !case.number(Fact::Protocol, u32::from(flow.protocol))
        || !case.number(Fact::AddressFamily, u32::from(flow.family))
        || !case.number(Fact::SocketType, u32::from(flow.kind))
    {
        return false;
    }
    let mut told = Told { acts: flow.acts, ..Told::default() };
    told.flags = case.actor();
    if !case.alive() {
        return false;
    }
    let by_name = case.needs(Fact::DnsName);
    if by_name && flow.remote.present != 0 {
        let decided = named::decide(policy, area, flow.remote.ip);
        if decided == 0 {
            return false;
        }
        told.path_bytes = decided - 1;
    } else {
        if by_name {
            case.absent(Fact::DnsName);
        }
        if !case.decide() {
            return false;
        }
    }
    describe(flow, &told, policy, area);
    packet::flow_told(policy, area, flow.remote.ip);
    true
}

/// Begins the record of a flow that is told.
#[inline(always)]
pub(super) fn describe(flow: &Flow, told: &Told, policy: &Policy, area: Area) {
    report::begin(area, policy.generation, Family::Net, told);
    report::actor(area);
    let head = &mut area.work().head;
    report::address(&mut head.remote_ip, flow.remote.ip.0, flow.remote.ip.1);
    report::address(&mut head.local_ip, flow.local.ip.0, flow.local.ip.1);
    head.remote_port = flow.remote.port;
    head.local_port = flow.local.port;
    head.protocol = flow.protocol;
    head.address_family = flow.family;
}
