//! Flows that are over: what they carried, and how long they were open.
//!
//! A flow is judged once, when the last descriptor of its socket is closed, by the process that closes it. What it carried
//! is summed up until then: the kernel itself counts for TCP, and for UDP the programs here do, in memory that belongs to
//! the socket. So a busy server costs one decision for each connection, and nothing for each packet of it.

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    btf_maps::SkStorage,
    helpers::generated::{bpf_sk_storage_get, bpf_skc_to_tcp_sock},
    macros::{btf_map, fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use interdict_abi::{
    event::{FlowTotals, flags},
    ids::{Act, Fact, Family, Fault},
};
use interdict_engine::facts;

use super::{
    judge::Case,
    net::{self, AF_INET, End, Kind, TCP, UDP},
    packet, report,
    report::Told,
    with_area,
};
use crate::{
    atomic, emit,
    kernel::{
        fields,
        object::{Reader, Typed},
    },
    policy::{self, Image, Policy},
    scratch::Area,
};

const ESTABLISHED: i32 = 1;
const SYN_SENT: u8 = 2;
const LISTEN: u8 = 10;
/// Bit of a socket's flags: the peer has sent all it will.
const SOCK_DONE: u64 = 1 << 1;
const UDP_LITE: u16 = 136;
const MSG_PEEK: u32 = 2;
const MSG_ERRQUEUE: u32 = 0x2000;

/// What is summed up of a socket. Programs only.
#[repr(C)]
#[derive(Clone, Copy)]
struct Sums {
    /// When its flow began, ns on `CLOCK_BOOTTIME`.
    since_ns: u64,
    /// Bytes that came, where the kernel does not count.
    bytes_in: u64,
    /// Bytes that were sent, as `bytes_in`.
    bytes_out: u64,
}

#[btf_map]
static FLOWS: SkStorage<Sums> = SkStorage::new();

/// Whether some clause of the image may be about flows that end.
#[inline(always)]
pub fn judged(image: &Image) -> bool {
    let directory = facts::directory(image, Family::Net);
    directory != 0 && facts::possible(image, directory, Fact::Act, Act::NetClose.value()) != 0
}

/// The sums of a socket; null if there are none and none are to be begun.
#[inline(always)]
fn sums(sock: *const u8, begin: bool) -> *mut Sums {
    let mut first = Sums { since_ns: 0, bytes_in: 0, bytes_out: 0 };
    let (value, flags) = if begin {
        first.since_ns = emit::now();
        ((&raw mut first).cast(), u64::from(BPF_SK_STORAGE_GET_F_CREATE))
    } else {
        (core::ptr::null_mut(), 0)
    };
    let map = (&raw const FLOWS).cast_mut().cast();
    // SAFETY: the verifier refuses the program if `sock` is not a socket; the value is one of the map.
    unsafe { bpf_sk_storage_get(map, sock.cast_mut().cast(), value, flags).cast() }
}

/// The sums of a socket, begun if there are none. That there is no memory for them is a fault: nothing is known of the
/// flow then but what the kernel counts.
#[inline(always)]
fn begun(sock: *const u8) -> *mut Sums {
    let sums = sums(sock, true);
    if sums.is_null() {
        emit::count(Fault::PacketTable);
    }
    sums
}

/// The state of a TCP stream changes: one that is established begins to be a flow.
///
/// function: void tcp_set_state(struct sock *sk, int state)
#[fentry(function = "tcp_set_state")]
pub fn flow_begins(context: FEntryContext) -> i32 {
    let (sock, state): (*const u8, i32) = (context.arg(0), context.arg(1));
    if state == ESTABLISHED {
        begun(sock);
    }
    0
}

/// A datagram was sent. Also what IPv6 sockets send to IPv4, which `udp_sent_v6` counts.
///
/// function: int udp_sendmsg(struct sock *sk, struct msghdr *msg, size_t len)
#[fexit(function = "udp_sendmsg")]
pub fn udp_sent(context: FExitContext) -> i32 {
    let sock: *const u8 = context.arg(0);
    if Typed::read::<u16>(sock, fields::sock_family()) == Some(AF_INET) {
        carried(sock, answered(&context), true);
    }
    0
}

/// As [`udp_sent`].
///
/// function: int udpv6_sendmsg(struct sock *sk, struct msghdr *msg, size_t len)
#[fexit(function = "udpv6_sendmsg")]
pub fn udp_sent_v6(context: FExitContext) -> i32 {
    carried(context.arg(0), answered(&context), true);
    0
}

/// A datagram was received, unless it was only looked at.
///
/// function: int udp_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags, ...)
#[fexit(function = "udp_recvmsg")]
pub fn udp_received(context: FExitContext) -> i32 {
    if context.arg::<u32>(3) & (MSG_PEEK | MSG_ERRQUEUE) == 0 {
        carried(context.arg(0), answered(&context), false);
    }
    0
}

/// As [`udp_received`].
///
/// function: int udpv6_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags, ...)
#[fexit(function = "udpv6_recvmsg")]
pub fn udp_received_v6(context: FExitContext) -> i32 {
    if context.arg::<u32>(3) & (MSG_PEEK | MSG_ERRQUEUE) == 0 {
        carried(context.arg(0), answered(&context), false);
    }
    0
}

/// What the function answered.
#[inline(always)]
fn answered(context: &FExitContext) -> i32 {
    context.ret::<i32>().unwrap_or(-1)
}

/// Adds what a call answered, if that is a number of bytes.
#[inline(always)]
fn carried(sock: *const u8, answer: i32, out: bool) {
    if answer < 0 {
        return;
    }
    let sums = begun(sock);
    if sums.is_null() {
        return;
    }
    // SAFETY: a live value of the map, eight bytes each.
    unsafe {
        let sum = if out { &raw mut (*sums).bytes_out } else { &raw mut (*sums).bytes_in };
        atomic::add(sum, u64::from(answer as u32));
    }
}

/// The last descriptor of a socket of the Internet is closed.
///
/// function: int inet_release(struct socket *sock)
#[fentry(function = "inet_release")]
pub fn socket_close(context: FEntryContext) -> i32 {
    let Some(policy) = policy::active() else { return 0 };
    if !judged(&policy.image) {
        return 0;
    }
    let socket: *const u8 = context.arg(0);
    let directory = facts::directory(&policy.image, Family::Net);
    with_area(&policy, directory, |area| {
        closed(socket, &policy, area);
        0
    });
    0
}

/// What is known of the flow of a socket. `None`: it never was one.
#[inline(always)]
fn totals(kind: &Kind, peer: &End) -> Option<FlowTotals> {
    let state = Typed::read::<u8>(kind.sock, fields::sock_state()).unwrap_or(0);
    let mut totals = FlowTotals {
        bytes_in: FlowTotals::UNKNOWN,
        bytes_out: FlowTotals::UNKNOWN,
        duration_ns: FlowTotals::UNKNOWN,
    };
    let sums = sums(kind.sock, false);
    if sums.is_null() {
        // One of before the policy is one if it has a peer, and no call to it is waited for.
        let streams = kind.protocol != UDP && kind.protocol != UDP_LITE;
        if peer.present == 0 || streams && (state == SYN_SENT || state == LISTEN) {
            return None;
        }
    } else {
        // SAFETY: a live value of the map.
        let since = unsafe { (*sums).since_ns };
        totals.duration_ns = emit::now().saturating_sub(since);
        if kind.protocol == UDP || kind.protocol == UDP_LITE {
            // SAFETY: as above.
            unsafe {
                totals.bytes_in = (&raw const (*sums).bytes_in).read_volatile();
                totals.bytes_out = (&raw const (*sums).bytes_out).read_volatile();
            }
        }
    }
    if kind.protocol == TCP {
        of_stream(kind.sock, &mut totals);
    }
    Some(totals)
}

/// What the kernel has counted of a TCP stream.
#[inline(always)]
fn of_stream(sock: *const u8, totals: &mut FlowTotals) {
    // SAFETY: the verifier refuses the program if this is no socket.
    let stream = unsafe { bpf_skc_to_tcp_sock(sock.cast_mut().cast()) }.cast::<u8>().cast_const();
    if stream.is_null() {
        return;
    }
    let long = |offset| Typed::read::<u64>(stream, offset).unwrap_or(0);
    let word = |offset| Typed::read::<u32>(stream, offset).unwrap_or(0);
    // The end of what the peer sends takes a number as if it were a byte.
    let ended = Typed::read::<u64>(sock, fields::sock_flags()).unwrap_or(0) & SOCK_DONE != 0;
    totals.bytes_in = long(fields::tcp_bytes_received()).saturating_sub(u64::from(ended));
    // What waits to be sent still will be.
    let waiting = word(fields::tcp_written()).wrapping_sub(word(fields::tcp_next()));
    totals.bytes_out = long(fields::tcp_bytes_sent())
        .saturating_sub(long(fields::tcp_bytes_retransmitted()))
        .saturating_add(u64::from(waiting));
}

/// Narrows by one of the totals: as much of it as a fact can hold.
#[inline(always)]
fn narrow(case: &Case<'_>, fact: Fact, value: u64, unit: u64) {
    if !case.needs(fact) {
        return;
    }
    if value == FlowTotals::UNKNOWN {
        case.unknown(fact);
        return;
    }
    let value = value / unit;
    let most = u64::from(u32::MAX);
    case.number(fact, if value > most { u32::MAX } else { value as u32 });
}

#[inline(always)]
fn closed(socket: *const u8, policy: &Policy, area: Area) {
    let Some(kind) = Kind::of(socket) else { return };
    if !kind.internet() {
        return;
    }
    let (peer, own) = (kind.peer(), kind.own());
    let Some(totals) = totals(&kind, &peer) else { return };
    // The totals are the record's second string.
    let target: *mut FlowTotals = area.work().text.0.as_mut_ptr().cast();
    // SAFETY: the text is larger, and 8-aligned.
    unsafe { target.write(totals) };
    let flow = kind.flow(Act::NetClose, peer, own);
    let Some(case) = Case::start(policy, area, Family::Net) else { return };
    if !case.number(Fact::Act, flow.act)
        || !net::narrow(&case, &flow.remote, Fact::RemoteIp, Fact::RemotePort)
        || !net::narrow(&case, &flow.local, Fact::LocalIp, Fact::LocalPort)
        || !case.number(Fact::Protocol, u32::from(flow.protocol))
        || !case.number(Fact::AddressFamily, u32::from(flow.family))
        || !case.number(Fact::SocketType, u32::from(flow.kind))
    {
        return;
    }
    narrow(&case, Fact::BytesIn, totals.bytes_in, 1);
    narrow(&case, Fact::BytesOut, totals.bytes_out, 1);
    narrow(&case, Fact::Duration, totals.duration_ns, 1_000_000_000);
    if !case.alive() {
        return;
    }
    let mut told = Told {
        acts: flow.acts,
        extra_bytes: size_of::<FlowTotals>() as u64,
        flags: flags::TOTALS,
        ..Told::default()
    };
    told.flags |= case.actor();
    if !case.decide() {
        return;
    }
    net::describe(&flow, &told, policy, area);
    // Counted for the rule; its packets are told or not as they were.
    packet::flow_told(policy, area, (0, 0));
    report::finish(area);
}
