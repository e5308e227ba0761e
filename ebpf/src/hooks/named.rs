//! Names of addresses: learned from the answers that sockets get, asked when a flow to an address is decided.
//!
//! An answer counts only if a look-up that left the same socket asked for it: same server, ports, number and name. Then each
//! address in it has that name for as long as the answer says, within bounds. A rule on the name of a flow is decided once for
//! each name of its address; the strongest verdict counts.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_get_socket_cookie, bpf_loop},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use interdict_abi::{
    ids::{Fact, Family, Fault},
    limits::{DNS_LIFETIME_SECONDS, DNS_MESSAGES, DNS_PATIENCE_SECONDS, NAMES_PER_ADDRESS},
    maps::{AddressKey, DnsAsked},
};
use interdict_engine::{
    dns::{Expected, KEY_END, RECORD_STEPS, Read, Records, Step},
    facts,
};

use super::{
    dns::{self, UDP_HEADER_BYTES, interdict_question, load},
    judge,
    packet::interdict_socket_layer,
    wire::{PORTS, Parsed, Source as _, TCP, UDP, inside},
};
use crate::{
    emit,
    maps::{DNS_ASKED, DNS_NAMES},
    policy,
    scratch::{self, Area, MESSAGE_AT, Work},
    words,
};

const SECOND_NS: u64 = 1_000_000_000;

/// Whether rules ask for the names of addresses.
#[inline(always)]
pub fn wanted(policy: &policy::Policy) -> bool {
    facts::tests(&policy.image, Family::Net, Fact::DnsName)
}

/// The look-up in the area. `leaves`: whether it is the question, or the answer.
#[inline(always)]
fn asked(skb: *mut __sk_buff, area: Area, leaves: bool) -> DnsAsked {
    // SAFETY: the context is live for the whole program.
    let socket = unsafe { bpf_get_socket_cookie(skb.cast()) };
    let name = dns::digest(area);
    let Work { packet, text, .. } = area.work();
    let number = u32::from(text.0[MESSAGE_AT]) << 8 | u32::from(text.0[MESSAGE_AT + 1]);
    let number = number | u32::from(packet.protocol) << 16;
    let (server, server_port, port) = if leaves {
        (packet.destination, packet.destination_port, packet.source_port)
    } else {
        (packet.source, packet.source_port, packet.destination_port)
    };
    let ports = u32::from(server_port) | u32::from(port) << 16;
    DnsAsked { socket, name, server, ports, number }
}

/// Notes that the look-up in the area was let pass: its answer will be believed.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn interdict_asked(skb: *mut __sk_buff, area: u32) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 0 };
    let key = asked(skb, area, true);
    let until = emit::now() + DNS_PATIENCE_SECONDS * SECOND_NS;
    if DNS_ASKED.insert(&key, &until, 0).is_err() {
        emit::count(Fault::DnsAnswer);
    }
    0
}

/// A packet arrives at a socket. It always passes.
#[cgroup_skb(ingress)]
pub fn dns_in(context: SkBuffContext) -> i32 {
    if dns::with_name_server(&context, 0)
        && let Some(policy) = policy::active()
        && wanted(&policy)
        && let Some(claim) = scratch::claim()
    {
        learn(&context, claim.area);
        claim.release();
    }
    1
}

#[inline(always)]
fn learn(context: &SkBuffContext, area: Area) {
    let skb = context.skb.skb;
    let parsed = interdict_socket_layer(skb, area.number, inside::NOTHING as u32, 0);
    let packet = &area.work().packet;
    if parsed != Parsed::Packet as u64 || packet.ports != PORTS {
        return;
    }
    let (transport, protocol) = (packet.transport, packet.protocol);
    let length = u64::from(context.len());
    if protocol == UDP {
        let start = transport + UDP_HEADER_BYTES;
        interdict_dns_answer(skb, area.number, start as u32, length.saturating_sub(start) as u32);
        return;
    }
    if protocol != TCP {
        return;
    }
    let Some(shape) = context.at::<[u8; 2]>(transport + 12) else { return };
    let mut at = transport + u64::from(shape[0] >> 4) * 4;
    let mut count = 0;
    while count < DNS_MESSAGES {
        if at + 2 >= length {
            return;
        }
        let Some(bytes) = load::<[u8; 2]>(skb, at) else { return };
        at += 2;
        let here = u64::from(u16::from_be_bytes(bytes)).min(length - at);
        interdict_dns_answer(skb, area.number, at as u32, here as u32);
        at += here;
        count += 1;
    }
}

/// Learns the addresses in the message at `offset`, if somebody asked for them.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_dns_answer(
    skb: *mut __sk_buff,
    area: u32,
    offset: u32,
    length: u32,
) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 0 };
    let read = interdict_question(skb, area.number, offset, length, Expected::Answer as u32);
    if read != Read::Name as u64 {
        return 0;
    }
    let key = asked(skb, area, false);
    let Some(until) = DNS_ASKED.get_ptr(&key) else { return 0 };
    // SAFETY: a live map value of eight bytes.
    let late = unsafe { until.read_volatile() } < emit::now();
    let _gone = DNS_ASKED.remove(&key);
    if late {
        return 0;
    }
    let work = area.work();
    work.records = Records::start(&work.text, &work.lookup);
    work.given.digest = key.name;
    work.given.start = u64::from(work.lookup.start);
    let source: *const u64 = work.text.0.as_ptr().cast();
    let mut word = 0;
    while word < work.given.key.len() {
        // SAFETY: inside the text, which is aligned; volatile, so that the loop is not made a call.
        unsafe { (&raw mut work.given.key[word]).write_volatile(source.add(word).read()) };
        word += 1;
    }
    let mut learning = Learning { work, ended: 0 };
    // SAFETY: the callback is `record`, and its context outlives the call.
    unsafe { bpf_loop(RECORD_STEPS, record as *mut c_void, (&raw mut learning).cast(), 0) };
    if learning.ended == 0 {
        emit::count(Fault::DnsAnswer);
    }
    0
}

/// What [`record`] works on. The context of `bpf_loop` must be on the stack.
#[repr(C)]
struct Learning<'a> {
    work: &'a mut Work,
    ended: u64,
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `learning` must be live.
#[inline(never)]
unsafe extern "C" fn record(_index: u64, learning: *mut Learning<'_>) -> i64 {
    // SAFETY: by the caller.
    let learning = unsafe { &mut *learning };
    let work = &mut *learning.work;
    match work.records.step(&work.text) {
        Step::More => 0,
        Step::Address => {
            remember(work);
            0
        }
        Step::End => {
            learning.ended = 1;
            1
        }
        Step::Broken => 1,
    }
}

/// Remembers that the address just read has the name in `given`.
#[inline(always)]
fn remember(work: &mut Work) {
    let now = emit::now();
    let lifetime = u64::from(work.records.lifetime);
    let lifetime = lifetime.clamp(DNS_LIFETIME_SECONDS.0, DNS_LIFETIME_SECONDS.1);
    let mut until = now + lifetime * SECOND_NS;
    let digest = work.given.digest;
    let mut chosen = NAMES_PER_ADDRESS;
    let mut index = 0;
    while index < NAMES_PER_ADDRESS {
        let key = AddressKey { address: work.records.address, index, reserved: 0 };
        let Some(known) = DNS_NAMES.get_ptr(&key) else {
            chosen = index;
            break;
        };
        // SAFETY: a live map value, which is only replaced as a whole.
        let (its_until, its_digest) = unsafe { ((*known).until_ns, (*known).digest) };
        if its_digest == digest || its_until < now {
            if its_digest == digest && its_until > until {
                until = its_until;
            }
            chosen = index;
            break;
        }
        index += 1;
    }
    if chosen == NAMES_PER_ADDRESS {
        emit::count(Fault::DnsAnswer);
        chosen = digest as u32 & (NAMES_PER_ADDRESS - 1);
    }
    work.given.until_ns = until;
    let key = AddressKey { address: work.records.address, index: chosen, reserved: 0 };
    if DNS_NAMES.insert(&key, &work.given, 0).is_err() {
        emit::count(Fault::DnsAnswer);
    }
}

/// Puts the key of one of the names of an address into the area. Answers 0 if it has none there.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_name_of(area: u32, index: u32, upper: u64, lower: u64) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 0 };
    let key = AddressKey { address: [upper, lower], index, reserved: 0 };
    let Some(known) = DNS_NAMES.get_ptr(&key) else { return 0 };
    // SAFETY: a live map value, which is only replaced as a whole.
    let (until, start) = unsafe { ((*known).until_ns, (*known).start) };
    if until < emit::now() {
        return 0;
    }
    let work = area.work();
    let target: *mut u64 = work.text.0.as_mut_ptr().cast();
    let mut word = 0;
    while word < work.given.key.len() {
        // SAFETY: a live map value.
        let value = unsafe { (&raw const (*known).key[word]).read() };
        // SAFETY: inside the text, which is aligned; volatile, so that the loop is not made a call.
        unsafe { target.add(word).write_volatile(value) };
        word += 1;
    }
    work.lookup.start = start as u32;
    1
}

/// Decides the flow in the area for each name of its address. Answers 0 if there is nothing to tell; else the bytes of text
/// that the key of the name takes that decided, plus one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_by_names(area: u32, slot: u32, mode: u32, upper: u64, lower: u64) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 0 };
    let work = area.work();
    // SAFETY: plain numbers.
    unsafe { words::copy_value(&mut work.saved, &work.progress) };
    let (mut names, mut told, mut strongest) = (0u32, 0u32, 0u8);
    let mut index = 0;
    while index < NAMES_PER_ADDRESS {
        if interdict_name_of(area.number, index, upper, lower) != 0 {
            names += 1;
            let work = area.work();
            // SAFETY: plain numbers.
            unsafe { words::copy_value(&mut work.progress, &work.saved) };
            judge::by_name(area, slot, true);
            if judge::decided(area, slot, mode) {
                let work = area.work();
                let verdict = work.decision.verdict as u8;
                if told == 0 || verdict > strongest {
                    // SAFETY: a decision is plain numbers.
                    unsafe { words::copy_value(&mut work.best, &work.decision) };
                    (told, strongest) = (index + 1, verdict);
                }
            }
        }
        index += 1;
    }
    if names == 0 {
        judge::by_name(area, slot, false);
        return u64::from(judge::decided(area, slot, mode));
    }
    if told == 0 {
        return 0;
    }
    let work = area.work();
    // SAFETY: a decision is plain numbers.
    unsafe { words::copy_value(&mut work.decision, &work.best) };
    let there = interdict_name_of(area.number, told - 1, upper, lower);
    1 + if there != 0 { u64::from(KEY_END) } else { 0 }
}

/// Calls [`interdict_by_names`].
#[inline(always)]
pub fn decide(policy: &policy::Policy, area: Area, remote: (u64, u64)) -> u64 {
    let slot = policy.generation.slot();
    interdict_by_names(area.number, slot, policy.mode as u32, remote.0, remote.1)
}
