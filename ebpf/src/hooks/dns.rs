//! Look-ups of names: what goes to a name server from the sockets of a cgroup.
//!
//! A message is judged before it leaves, whole packets at a time: datagrams, those of one send that the kernel cuts up later,
//! and the messages in a stream. A name that cannot be read is not known, and then `on_fault` decides. Look-ups that are
//! encrypted have no name that can be seen here: for them only rules on the server and its port hold.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_get_socket_cookie, bpf_loop, bpf_skb_cgroup_id, bpf_skb_load_bytes},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use interdict_abi::{
    ids::{Act, Action, Fact, Family, Fault, Mode},
    limits::{DNS_MESSAGE_BYTES, DNS_MESSAGES},
    maps::{DnsStream, mixed},
};
use interdict_engine::{
    dns::{Expected, KEY_BYTES, KEY_END, QUESTION_STEPS, Question, Read},
    facts,
};

use super::{
    acting, enforces,
    judge::Case,
    named::{self, interdict_asked},
    packet::{self, interdict_socket_layer},
    report,
    report::Told,
    wire::{PORTS, Parsed, Source as _, TCP, UDP, inside},
};
use crate::{
    bounds::masked,
    emit,
    maps::DNS_STREAMS,
    policy::{self, Policy},
    scratch::{self, Area, MESSAGE_AT, Work},
};

/// The port of name servers.
const PLAIN: u16 = 53;
/// The port of those that are asked over TLS or QUIC.
const ENCRYPTED: u16 = 853;

/// Bytes of the header of UDP.
pub const UDP_HEADER_BYTES: u64 = 8;

/// What is known of the name of a look-up, where it is not a [`Read`]: it is encrypted.
const HIDDEN: u64 = 64;

/// A packet leaves a socket. Answers 1 to let it pass, 0 to drop it (the sender of a datagram sees `EPERM`).
#[cgroup_skb(egress)]
pub fn dns_out(context: SkBuffContext) -> i32 {
    if !with_name_server(&context, 2) {
        return 1;
    }
    let Some(policy) = policy::active() else { return 1 };
    let directory = facts::directory(&policy.image, Family::Dns);
    if directory == 0 && !named::wanted(&policy) {
        return 1;
    }
    let unjudged = !enforces(&policy, directory);
    let Some(claim) = scratch::claim() else { return i32::from(unjudged) };
    let pass = judged(&context, &policy, claim.area, unjudged);
    claim.release();
    i32::from(pass)
}

/// Whether a packet may be one of or to a name server, by a glance: most are not. `place`: where the port is in the header
/// behind that of IP.
#[inline(always)]
pub fn with_name_server(context: &SkBuffContext, place: u64) -> bool {
    let Some(start) = context.at::<[u8; 10]>(0) else { return false };
    let (protocol, ports) = match start[0] >> 4 {
        4 => (start[9], u64::from(start[0] & 15) * 4),
        6 => (start[6], 40),
        _ => return false,
    };
    match u16::from(protocol) {
        TCP | UDP => {
            let Some(port) = context.at::<[u8; 2]>(ports + place) else { return true };
            matches!(u16::from_be_bytes(port), PLAIN | ENCRYPTED)
        }
        // Extension headers of IPv6 are looked behind.
        0 | 43 | 44 | 51 | 60 | 135 | 139 | 140 => start[0] >> 4 == 6,
        _ => false,
    }
}

#[inline(always)]
fn judged(context: &SkBuffContext, policy: &Policy, area: Area, unjudged: bool) -> bool {
    let skb = context.skb.skb;
    let parsed = interdict_socket_layer(skb, area.number, inside::NOTHING as u32, 0);
    if parsed == Parsed::Other as u64 {
        return true;
    }
    if parsed != Parsed::Packet as u64 {
        emit::count(Fault::Packet);
        return unjudged;
    }
    let length = u64::from(context.len());
    let packet = &mut area.work().packet;
    // A later piece of a datagram: its first one was judged.
    if packet.ports != PORTS {
        return true;
    }
    packet.bytes = length;
    // SAFETY: the context is live for the whole program.
    packet.cgroup = unsafe { bpf_skb_cgroup_id(skb) };
    let (port, protocol, asks) = (packet.destination_port, packet.protocol, packet.asks);
    let transport = packet.transport;
    match (port, protocol) {
        (ENCRYPTED, UDP) => lookup(policy, area, HIDDEN),
        (ENCRYPTED, TCP) => asks == 0 || lookup(policy, area, HIDDEN),
        (PLAIN, UDP) => {
            let start = transport + UDP_HEADER_BYTES;
            // SAFETY: a field of the context.
            let piece = unsafe { (*skb).gso_size };
            datagrams(skb, policy, area, start, length.saturating_sub(start), u64::from(piece))
        }
        (PLAIN, TCP) => stream(context, policy, area, transport, length),
        _ => true,
    }
}

/// Judges the message at `offset`. Answers whether it passes.
#[inline(always)]
fn message(skb: *mut __sk_buff, policy: &Policy, area: Area, offset: u64, length: u64) -> bool {
    let (offset, length) = (offset as u32, length as u32);
    let read = interdict_question(skb, area.number, offset, length, Expected::Query as u32);
    if read == Read::OtherWay as u64 {
        return true;
    }
    if !lookup(policy, area, read) {
        return false;
    }
    if read == NAME && named::wanted(policy) {
        interdict_asked(skb, area.number);
    }
    true
}

/// Judges a datagram, or those that the kernel will make of it, of `piece` bytes each.
#[inline(always)]
fn datagrams(
    skb: *mut __sk_buff,
    policy: &Policy,
    area: Area,
    start: u64,
    bytes: u64,
    piece: u64,
) -> bool {
    if piece == 0 || bytes <= piece {
        return message(skb, policy, area, start, bytes);
    }
    let (mut at, mut rest) = (start, bytes);
    let mut count = 0;
    while count < DNS_MESSAGES {
        if rest == 0 {
            return true;
        }
        let length = rest.min(piece);
        if !message(skb, policy, area, at, length) {
            return false;
        }
        at += length;
        rest -= length;
        count += 1;
    }
    rest == 0 || lookup(policy, area, Read::Malformed as u64)
}

/// Judges the messages that a segment of a stream brings. What is sent again was judged when it was sent first.
#[inline(always)]
fn stream(
    context: &SkBuffContext,
    policy: &Policy,
    area: Area,
    transport: u64,
    length: u64,
) -> bool {
    let skb = context.skb.skb;
    let (Some(sequence), Some(shape)) =
        (context.at::<[u8; 4]>(transport + 4), context.at::<[u8; 2]>(transport + 12))
    else {
        return lookup(policy, area, Read::Cut as u64);
    };
    let begins = u32::from(shape[1] >> 1 & 1);
    let mut sequence = u32::from_be_bytes(sequence).wrapping_add(begins);
    let mut at = transport + u64::from(shape[0] >> 4) * 4;
    let mut rest = length.saturating_sub(at);
    // SAFETY: the context is live for the whole program.
    let cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    let mut pending = 0;
    if begins == 0
        && let Some(known) = DNS_STREAMS.get_ptr(&cookie)
    {
        // SAFETY: a live map value that is only replaced as a whole.
        let (next, length) = unsafe { ((*known).next, (*known).length) };
        let again = next.wrapping_sub(sequence);
        if again >> 31 == 0 {
            let again = u64::from(again);
            if again >= rest {
                return true;
            }
            at += again;
            rest -= again;
            sequence = next;
            pending = length;
        }
    }
    if rest == 0 && begins == 0 {
        return true;
    }
    let mut count = 0;
    while count < DNS_MESSAGES {
        if rest == 0 {
            break;
        }
        if pending == 0 {
            let Some(bytes) = load::<[u8; 2]>(skb, at) else {
                return lookup(policy, area, Read::Cut as u64);
            };
            pending = u32::from(u16::from_be_bytes(bytes));
            at += 2;
            rest -= 2;
            sequence = sequence.wrapping_add(2);
            // Some programs send the length by itself.
            if rest == 0 {
                break;
            }
        }
        let here = rest.min(u64::from(pending));
        if !message(skb, policy, area, at, here) {
            return false;
        }
        at += here;
        rest -= here;
        // If its question is in this segment, the rest of a message is no matter.
        sequence = sequence.wrapping_add(pending);
        pending = 0;
        count += 1;
    }
    if rest != 0 && !lookup(policy, area, Read::Malformed as u64) {
        return false;
    }
    let value = DnsStream { next: sequence.wrapping_add(rest as u32), length: pending };
    if DNS_STREAMS.insert(&cookie, &value, 0).is_err() {
        emit::count(Fault::PacketTable);
    }
    true
}

/// A value at `offset` of a packet, wherever that is.
#[inline(always)]
pub fn load<T: Copy>(skb: *mut __sk_buff, offset: u64) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the destination is `T`-sized; the helper checks the packet's end.
    let read = unsafe {
        bpf_skb_load_bytes(
            skb.cast(),
            offset as u32,
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
        )
    };
    // SAFETY: the helper filled all of it.
    if read == 0 { Some(unsafe { value.assume_init() }) } else { None }
}

/// Reads the question of the message at `offset` into the area: the key of its name is at the start of the text, zeros in
/// front of it. Answers a [`Read`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn interdict_question(
    skb: *mut __sk_buff,
    area: u32,
    offset: u32,
    length: u32,
    expected: u32,
) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return Read::Malformed as u64 };
    let words: *mut u64 = work.text.0.as_mut_ptr().cast();
    let mut word = 0;
    while word < KEY_BYTES as usize / 8 {
        // SAFETY: inside the text, which is aligned; volatile, so that the loop is not made a call.
        unsafe { words.add(word).write_volatile(0) };
        word += 1;
    }
    if length == 0 {
        return Read::Cut as u64;
    }
    const LAST: u64 = DNS_MESSAGE_BYTES as u64 - 1;
    let bytes = masked::<LAST>((u64::from(length) - 1).min(LAST)) + 1;
    // SAFETY: inside the text.
    let target = unsafe { work.text.0.as_mut_ptr().add(MESSAGE_AT) };
    // SAFETY: the text has room for as many bytes; the helper checks the packet's end.
    let loaded = unsafe { bpf_skb_load_bytes(skb.cast(), offset, target.cast(), bytes as u32) };
    if loaded != 0 {
        return Read::Cut as u64;
    }
    let expected =
        if expected == Expected::Answer as u32 { Expected::Answer } else { Expected::Query };
    work.lookup = Question::start(&mut work.text, bytes as u32, expected);
    let mut asking = Asking { work };
    // SAFETY: the callback is `ask`, and its context outlives the call.
    unsafe { bpf_loop(QUESTION_STEPS, ask as *mut c_void, (&raw mut asking).cast(), 0) };
    asking.work.lookup.read as u64
}

/// What [`ask`] works on. The context of `bpf_loop` must be on the stack.
#[repr(C)]
struct Asking<'a> {
    work: &'a mut Work,
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `asking` must be live.
#[inline(never)]
unsafe extern "C" fn ask(_index: u64, asking: *mut Asking<'_>) -> i64 {
    // SAFETY: by the caller.
    let work = unsafe { &mut *(*asking).work };
    i64::from(work.lookup.step(&mut work.text))
}

/// Judges the look-up in the area. Answers whether it passes.
#[inline(always)]
fn lookup(policy: &Policy, area: Area, read: u64) -> bool {
    let (generation, mode) = (policy.generation.0, policy.mode as u32);
    let slot = policy.generation.slot();
    interdict_lookup(area.number, slot, generation, mode, read as u32) != 0
        || interdict_lookup_finish(area.number, slot, generation, read as u32) != 0
}

/// Decides the look-up in the area. Answers 1 if it passes and nothing is to be told, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_lookup(area: u32, slot: u32, generation: u32, mode: u32, read: u32) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 1 };
    let Some(policy) = policy::numbered(slot, generation, mode) else { return 1 };
    let Some(case) = Case::start(&policy, area, Family::Dns) else { return 1 };
    if !case.number(Fact::Act, Act::NetDns.value()) {
        return 1;
    }
    match u64::from(read) {
        NAME => case.looked_up(true),
        NO_QUESTION | HIDDEN => case.absent(Fact::DnsName),
        _ => {
            emit::count(Fault::DnsMessage);
            case.looked_up(false);
        }
    }
    let packet = &area.work().packet;
    let (remote, local) = (packet.destination, packet.source);
    let (remote_port, local_port) = (packet.destination_port, packet.source_port);
    let (protocol, version) = (packet.protocol, packet.version);
    if !case.alive()
        || !case.address(Fact::RemoteIp, remote[0], remote[1])
        || !case.address(Fact::LocalIp, local[0], local[1])
        || !case.number(Fact::Protocol, u32::from(protocol))
        || !case.number(Fact::AddressFamily, u32::from(version))
        || !case.number(Fact::RemotePort, u32::from(remote_port))
        || !case.number(Fact::LocalPort, u32::from(local_port))
    {
        return 1;
    }
    acting::clear(&mut area.work().sets);
    u64::from(!case.decide())
}

const NAME: u64 = Read::Name as u64;
const NO_QUESTION: u64 = Read::NoQuestion as u64;

/// Does and tells what [`interdict_lookup`] decided. Answers 1 if the look-up passes, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_lookup_finish(area: u32, slot: u32, generation: u32, read: u32) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 1 };
    // What is done is decided already: the mode has no more to say, and an argument that is not read would be cut away.
    let Some(policy) = policy::numbered(slot, generation, Mode::Enforce as u32) else { return 1 };
    let verdict = packet::refusal(area.work().decision.verdict);
    area.work().decision.verdict = verdict;
    let pass = u64::from((verdict as u8) < Action::Block as u8);
    let rule = packet::first_rule(&policy, area, Family::Dns);
    let bytes = area.work().packet.bytes;
    if !packet::tally(&policy, rule, bytes) {
        return pass;
    }
    let remote = area.work().packet.destination;
    let named = u64::from(read) == NAME;
    let about = if named { [digest(area), 0] } else { remote };
    let suppressed = packet::recently_told(&policy, rule, about);
    if suppressed == u64::MAX {
        return pass;
    }
    let known = named || matches!(u64::from(read), NO_QUESTION | HIDDEN);
    let told = Told {
        acts: Act::NetDns.bit(),
        number: suppressed as u32,
        fault: if known { Fault::None as u8 } else { Fault::DnsMessage as u8 },
        path_bytes: if named { u64::from(KEY_END) } else { 0 },
        ..Told::default()
    };
    report::begin(area, policy.generation, Family::Dns, &told);
    let Work { head, packet, .. } = area.work();
    report::address(&mut head.remote_ip, remote[0], remote[1]);
    report::address(&mut head.local_ip, packet.source[0], packet.source[1]);
    head.protocol = packet.protocol;
    head.address_family = packet.version;
    head.cgroup = packet.cgroup;
    (head.remote_port, head.local_port) = (packet.destination_port, packet.source_port);
    // Packets can be made in any number: they do not take the room kept for refused acts of processes.
    emit::send(area.work(), emit::Weight::Audit);
    pass
}

/// A number for the key in the area: rules tell of a name once a second.
#[inline(always)]
pub fn digest(area: Area) -> u64 {
    let words: *const u64 = area.work().text.0.as_ptr().cast();
    let mut state = 0;
    let mut word = 0;
    while word < KEY_BYTES as usize / 8 {
        // SAFETY: inside the text, which is aligned.
        state = mixed(state, unsafe { words.add(word).read() });
        word += 1;
    }
    state
}
