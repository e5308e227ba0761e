//! Flows, with the process in hand.

use aya_ebpf::{
    bindings::bpf_sock_addr,
    macros::{cgroup_sock_addr, lsm},
    programs::{LsmContext, SockAddrContext},
};
use interdict_abi::ids::{Act, Action, Fact, Family, Fault};

use super::{judge::Case, report, report::Told, with_policy};
use crate::{
    emit,
    kernel::{
        copy, fields,
        object::{Reader, Typed},
    },
    policy::Policy,
    scratch::{Area, Short},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Where a flow goes.
#[derive(Clone, Copy)]
struct Flow {
    act: Act,
    family: u16,
    protocol: u16,
    kind: u16,
    /// The remote address, high and low half in host order, IPv4 as mapped IPv6.
    remote: (u64, u64),
    remote_port: u16,
}

/// An outbound connection, or the destination of a datagram socket. The address has been copied into the kernel: user
/// memory cannot change it any more.
///
/// hook-signature: int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)
#[lsm(hook = "socket_connect")]
pub fn socket_connect(context: LsmContext) -> i32 {
    with_policy(Family::Net, |policy, area| connect(context.arg(0), context.arg(1), policy, area))
}

#[inline(always)]
fn connect(socket: *const u8, address: *const u8, policy: &Policy, area: Area) -> i32 {
    // SAFETY: `short` has 512 bytes. The kernel keeps user addresses in a `sockaddr_storage`, which is longer than 28.
    if !unsafe { copy(area.work().short.0.as_mut_ptr(), 28, address) } {
        emit::count(Fault::Read);
        return 0;
    }
    let kind = Typed::read::<u16>(socket, fields::socket_type()).unwrap_or(0);
    // From 6.12 on the verifier wants to see that `sk` is not null.
    let protocol = Typed::read::<*const u8>(socket, fields::socket_sk())
        .filter(|sock| !sock.is_null())
        .and_then(|sock| Typed::read::<u16>(sock, fields::sock_protocol()))
        .unwrap_or(0);
    match flow(Act::NetConnect, kind, protocol, &area.work().short) {
        Some(flow) if decide(&flow, policy, area) => report::finish(area),
        Some(_) | None => 0,
    }
}

/// Reads a `sockaddr_in` or `sockaddr_in6`.
#[inline(always)]
fn flow(act: Act, kind: u16, protocol: u16, short: &Short) -> Option<Flow> {
    let bytes = &short.0;
    let family = u16::from_ne_bytes([bytes[0], bytes[1]]);
    let remote_port = u16::from_be_bytes([bytes[2], bytes[3]]);
    if family == AF_INET {
        let address = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let remote = (0, mapped(address));
        Some(Flow { act, family, protocol, kind, remote, remote_port })
    } else if family == AF_INET6 {
        let halves: *const u64 = (&raw const bytes[8]).cast();
        // SAFETY: inside the 512 bytes.
        let upper = u64::from_be(unsafe { halves.read_unaligned() });
        // SAFETY: as above.
        let lower = u64::from_be(unsafe { halves.add(1).read_unaligned() });
        let remote = (upper, lower);
        Some(Flow { act, family, protocol, kind, remote, remote_port })
    } else {
        None
    }
}

/// The low half of an IPv4 address as mapped IPv6; the high half is zero.
#[inline(always)]
pub fn mapped(address: u32) -> u64 {
    0xffff_0000_0000 | address as u64
}

/// Decides a flow. Answers whether there is something to tell; the record is begun.
#[inline(always)]
fn decide(flow: &Flow, policy: &Policy, area: Area) -> bool {
    let Some(case) = Case::start(policy, area, Family::Net) else { return false };
    if !case.number(Fact::Act, flow.act.value())
        || !case.address(Fact::RemoteIp, flow.remote.0, flow.remote.1)
        || !case.number(Fact::RemotePort, u32::from(flow.remote_port))
        || !case.number(Fact::Protocol, u32::from(flow.protocol))
        || !case.number(Fact::AddressFamily, u32::from(flow.family))
        || !case.number(Fact::SocketType, u32::from(flow.kind))
    {
        return false;
    }
    let mut told = Told { acts: flow.act.bit(), ..Told::default() };
    told.flags = case.actor();
    if !case.decide() {
        return false;
    }
    report::begin(area, policy.generation, Family::Net, &told);
    report::actor(area);
    let head = &mut area.work().head;
    report::address(&mut head.remote_ip, flow.remote.0, flow.remote.1);
    head.remote_port = flow.remote_port;
    head.protocol = flow.protocol;
    head.address_family = flow.family;
    true
}

/// `connect` to an IPv4 address on hosts whose kernel has no BPF LSM. Answers 1 to let it pass, 0 for `EPERM`.
#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    let address = context.sock_addr;
    // SAFETY: the context is valid for the whole program; the verifier turns these into checked context reads.
    let (ip, port, kind, protocol) = unsafe {
        ((*address).user_ip4, (*address).user_port, (*address).type_, (*address).protocol)
    };
    let address = u32::from_be(ip);
    let flow = Flow {
        act: Act::NetConnect,
        family: AF_INET,
        protocol: protocol as u16,
        kind: kind as u16,
        remote: (0, mapped(address)),
        remote_port: u16::from_be(port as u16),
    };
    allowed(with_policy(Family::Net, |policy, area| {
        if decide(&flow, policy, area) { report::finish_without_kill(area) } else { 0 }
    }))
}

/// `connect` to an IPv6 address, as [`connect4`].
#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    let address: *const bpf_sock_addr = context.sock_addr;
    let mut words = [0u32; 4];
    // SAFETY: as in `connect4`; each word is read by itself, as the verifier wants.
    unsafe {
        words[0] = (&raw const (*address).user_ip6[0]).read_volatile();
        words[1] = (&raw const (*address).user_ip6[1]).read_volatile();
        words[2] = (&raw const (*address).user_ip6[2]).read_volatile();
        words[3] = (&raw const (*address).user_ip6[3]).read_volatile();
    }
    // SAFETY: as above.
    let (port, kind, protocol) =
        unsafe { ((*address).user_port, (*address).type_, (*address).protocol) };
    let upper = u64::from(u32::from_be(words[0])) << 32 | u64::from(u32::from_be(words[1]));
    let lower = u64::from(u32::from_be(words[2])) << 32 | u64::from(u32::from_be(words[3]));
    let flow = Flow {
        act: Act::NetConnect,
        family: AF_INET6,
        protocol: protocol as u16,
        kind: kind as u16,
        remote: (upper, lower),
        remote_port: u16::from_be(port as u16),
    };
    allowed(with_policy(Family::Net, |policy, area| {
        if decide(&flow, policy, area) { report::finish_without_kill(area) } else { 0 }
    }))
}

/// What a cgroup program answers: 1 lets the call go on.
#[inline(always)]
fn allowed(answer: i32) -> i32 {
    const { assert!(Action::Pass as u8 == 0) };
    if answer == 0 { 1 } else { 0 }
}
