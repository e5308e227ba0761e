//! Flows on hosts whose kernel has no BPF LSM: programs of the cgroup, with the process in hand.
//!
//! They see sockets of the Internet families only, and no stream after it is connected: packets are for `skb`.

use aya_ebpf::{bindings::bpf_sock_addr, macros::cgroup_sock_addr, programs::SockAddrContext};
use interdict_abi::ids::{Act, Action, Family};

use super::{
    net::{self, AF_INET, AF_INET6, End, Flow},
    report, with_policy,
};

/// The IPv4 end a call names, with what is known of its socket.
#[inline(always)]
fn v4(act: Act, address: *const bpf_sock_addr) -> i32 {
    // SAFETY: the context is valid for the whole program; the verifier turns these into checked context reads.
    let (ip, port) = unsafe { ((*address).user_ip4, (*address).user_port) };
    judge(act, AF_INET, address, End::v4(u32::from_be(ip), u16::from_be(port as u16)))
}

/// The IPv6 end a call names, as [`v4`].
#[inline(always)]
fn v6(act: Act, address: *const bpf_sock_addr) -> i32 {
    let mut words = [0u32; 4];
    // SAFETY: as in `v4`; each word is read by itself, as the verifier wants.
    unsafe {
        words[0] = (&raw const (*address).user_ip6[0]).read_volatile();
        words[1] = (&raw const (*address).user_ip6[1]).read_volatile();
        words[2] = (&raw const (*address).user_ip6[2]).read_volatile();
        words[3] = (&raw const (*address).user_ip6[3]).read_volatile();
    }
    // SAFETY: as above.
    let port = unsafe { (*address).user_port };
    let upper = u64::from(u32::from_be(words[0])) << 32 | u64::from(u32::from_be(words[1]));
    let lower = u64::from(u32::from_be(words[2])) << 32 | u64::from(u32::from_be(words[3]));
    judge(act, AF_INET6, address, End::v6(upper, lower, u16::from_be(port as u16)))
}

#[inline(always)]
fn judge(act: Act, family: u16, address: *const bpf_sock_addr, end: End) -> i32 {
    // SAFETY: as in `v4`.
    let (kind, protocol) = unsafe { ((*address).type_, (*address).protocol) };
    let (remote, local) = if act as u8 == Act::NetBind as u8 {
        (End::NONE, end)
    } else {
        (end.reached((0, 0)), End::NONE)
    };
    let (act, acts) = (act.value(), act.bit());
    let flow =
        Flow { act, acts, family, protocol: protocol as u16, kind: kind as u16, remote, local };
    allowed(with_policy(Family::Net, |policy, area| {
        if net::decide(&flow, policy, area) { report::finish_without_kill(area) } else { 0 }
    }))
}

/// What a cgroup program answers: 1 lets the call go on, 0 makes it fail with `EPERM`.
#[inline(always)]
fn allowed(answer: i32) -> i32 {
    const { assert!(Action::Pass as u8 == 0) };
    if answer == 0 { 1 } else { 0 }
}

/// `connect` to an IPv4 address.
#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    v4(Act::NetConnect, context.sock_addr)
}

/// `connect` to an IPv6 address.
#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    v6(Act::NetConnect, context.sock_addr)
}

/// A datagram to an IPv4 address of its own.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(context: SockAddrContext) -> i32 {
    v4(Act::NetSend, context.sock_addr)
}

/// A datagram to an IPv6 address of its own.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(context: SockAddrContext) -> i32 {
    v6(Act::NetSend, context.sock_addr)
}

/// `bind` to an IPv4 address.
#[cgroup_sock_addr(bind4)]
pub fn bind4(context: SockAddrContext) -> i32 {
    v4(Act::NetBind, context.sock_addr)
}

/// `bind` to an IPv6 address.
#[cgroup_sock_addr(bind6)]
pub fn bind6(context: SockAddrContext) -> i32 {
    v6(Act::NetBind, context.sock_addr)
}
