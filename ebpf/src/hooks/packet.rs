//! Packets: at an interface (XDP) and at the sockets of a cgroup (`cgroup_skb`), which no process is asked about.
//!
//! A packet is judged by its own addresses and, where the agent is configured to look inside, by those of the packets in
//! it, up to [`LEVELS`]. What cannot be parsed is dropped if any rule on packets is enforced, and counted.

use core::mem;

use aya_ebpf::{
    bindings::{__sk_buff, xdp_action, xdp_md},
    helpers::generated::{bpf_jiffies64, bpf_skb_cgroup_id, bpf_skb_load_bytes},
    macros::{cgroup_skb, xdp},
    programs::{SkBuffContext, XdpContext},
};
use interdict_abi::{
    ids::{Act, Action, Fact, Family, Fault, OUT_AND_CONNECT},
    limits::{self, PACKET_ALERTS},
    maps::{RuleKey, RuleTally, ToldKey},
};
use interdict_engine::facts;

use super::{
    acting, enforces, gate,
    judge::{self, Case},
    rate, report,
    report::Told,
    wire::{self, NO_PORTS, PORTS, Parsed, REACH, Source, inside},
};
use crate::{
    atomic,
    bounds::masked,
    emit,
    maps::{RULE_TALLIES, SETTLED_TALLIES, TOLD},
    policy::{self, Policy},
    scratch::{self, Area, Work},
};

/// Packets in packets that are judged, the outermost included.
const LEVELS: u32 = 3;

/// How often one rule tells of one peer: see [`recently_told`].
const TOLD_EVERY_NS: u64 = 1_000_000_000;

/// Where a packet was met.
pub mod place {
    /// At an interface, coming in.
    pub const INTERFACE: u32 = 0;
    /// At a socket, going out.
    pub const OUT: u32 = 1;
    /// At a socket, coming in.
    pub const IN: u32 = 2;
}

/// A packet arrives at an interface.
#[xdp]
pub fn packet_in(context: XdpContext) -> u32 {
    judged_at_interface(&context)
}

/// A packet arrives at an interface whose packets have nothing before their IP header: of a tunnel, of a TUN device.
#[xdp]
pub fn packet_in_bare(context: XdpContext) -> u32 {
    judged_whole(&context, inside::NOTHING)
}

/// What [`packet_in`] does, for `measure` too.
#[inline(always)]
pub fn judged_at_interface(context: &XdpContext) -> u32 {
    match gate::known(context) {
        gate::Known::Passes => return xdp_action::XDP_PASS,
        gate::Known::Dropped => return xdp_action::XDP_DROP,
        gate::Known::Nothing => {}
    }
    judged_whole(context, inside::FRAME)
}

#[inline(always)]
fn judged_whole(context: &XdpContext, kind: u64) -> u32 {
    let Some(policy) = policy::active() else { return xdp_action::XDP_PASS };
    let directory = facts::directory(&policy.image, Family::Packet);
    if directory == 0 {
        return xdp_action::XDP_PASS;
    }
    let length = (context.data_end() - context.data()) as u64;
    let taken_apart = |area, kind, offset| interdict_frame_layer(context.ctx, area, kind, offset);
    let meeting = Meeting { place: place::INTERFACE, kind, length, cgroup: 0 };
    if passes(&meeting, &policy, directory, taken_apart) {
        xdp_action::XDP_PASS
    } else {
        xdp_action::XDP_DROP
    }
}

/// A packet leaves a socket: of a connection made before the policy, accepted, raw, or the kernel's own. Answers 1 to
/// let it pass, 0 to drop it (the sender sees `EPERM`).
#[cgroup_skb(egress)]
pub fn packet_out(context: SkBuffContext) -> i32 {
    if gate::leaves(&context) {
        return 1;
    }
    at_socket(&context, place::OUT)
}

/// A packet arrives at a socket. As [`packet_out`].
#[cgroup_skb(ingress)]
pub fn packet_accept(context: SkBuffContext) -> i32 {
    if gate::arrives(&context) {
        return 1;
    }
    at_socket(&context, place::IN)
}

#[inline(always)]
fn at_socket(context: &SkBuffContext, place: u32) -> i32 {
    let Some(policy) = policy::active() else { return 1 };
    let directory = facts::directory(&policy.image, Family::Packet);
    if directory == 0 {
        return 1;
    }
    // SAFETY: the context is live for the whole program.
    let cgroup = unsafe { bpf_skb_cgroup_id(context.skb.skb) };
    let length = u64::from(context.len());
    let taken_apart =
        |area, kind, offset| interdict_socket_layer(context.skb.skb, area, kind, offset);
    let meeting = Meeting { place, kind: inside::NOTHING, length, cgroup };
    i32::from(passes(&meeting, &policy, directory, taken_apart))
}

/// A packet and where it was met.
struct Meeting {
    place: u32,
    /// What it starts with, [`inside::NOTHING`] for an IP header of either version.
    kind: u64,
    length: u64,
    cgroup: u64,
}

/// Takes apart the layer of a frame that starts at `offset` with `kind`, into the area. Answers a [`Parsed`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_frame_layer(
    context: *mut xdp_md,
    area: u32,
    kind: u32,
    offset: u32,
) -> u64 {
    layer(&XdpContext::new(context), area, kind, offset)
}

/// [`interdict_frame_layer`] for packets at sockets.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn interdict_socket_layer(
    context: *mut __sk_buff,
    area: u32,
    kind: u32,
    offset: u32,
) -> u64 {
    layer(&SkBuffContext::new(context), area, kind, offset)
}

#[inline(always)]
fn layer<S: Source>(source: &S, area: u32, kind: u32, offset: u32) -> u64 {
    let Some(area) = scratch::numbered(area) else { return Parsed::Malformed as u64 };
    let packet = &mut area.work().packet;
    let offset = u64::from(offset);
    let parsed = match u64::from(kind) {
        inside::FRAME => wire::frame(source, offset, packet),
        inside::V4 => wire::v4(source, offset, packet),
        inside::V6 => wire::v6(source, offset, packet),
        inside::NOTHING => wire::internet(source, offset, packet),
        _ => Parsed::Malformed,
    };
    parsed as u64
}

/// Whether a packet passes.
#[inline(always)]
fn passes(
    meeting: &Meeting,
    policy: &Policy,
    directory: u32,
    taken_apart: impl Fn(u32, u32, u32) -> u64,
) -> bool {
    let unjudged = !enforces(policy, directory);
    let Some(claim) = scratch::claim() else { return unjudged };
    let mut pass = true;
    let mut kind = meeting.kind;
    let mut offset = 0;
    let mut level = 0;
    while level < LEVELS {
        let packet = &mut claim.area.work().packet;
        packet.bytes = meeting.length;
        packet.cgroup = meeting.cgroup;
        let parsed = taken_apart(claim.area.number, kind as u32, offset as u32);
        if parsed == Parsed::Other as u64 {
            break;
        }
        if parsed != Parsed::Packet as u64 {
            emit::count(Fault::Packet);
            pass = unjudged;
            break;
        }
        let packet = &claim.area.work().packet;
        (kind, offset) = (packet.inner, packet.inner_offset);
        if judge::packet(claim.area, policy, meeting.place) == 0
            && judge::packet_finish(claim.area, policy, meeting.place) == 0
        {
            pass = false;
            break;
        }
        if kind == inside::NOTHING || !policy::looks_inside() {
            break;
        }
        level += 1;
    }
    if level == LEVELS {
        emit::count(Fault::Packet);
        pass = unjudged;
    }
    claim.release();
    pass
}

impl Source for XdpContext {
    #[inline(always)]
    fn at<T: Copy>(&self, offset: u64) -> Option<T> {
        let offset = masked::<0x3fff>(offset);
        if offset >= REACH {
            return None;
        }
        let start = self.data() as u64 + offset;
        if start + mem::size_of::<T>() as u64 > self.data_end() as u64 {
            return None;
        }
        // SAFETY: checked against the end of the packet; packets have no alignment.
        Some(unsafe { (start as *const T).read_unaligned() })
    }
}

impl Source for SkBuffContext {
    #[inline(always)]
    fn at<T: Copy>(&self, offset: u64) -> Option<T> {
        let offset = masked::<0x3fff>(offset);
        if offset >= REACH {
            return None;
        }
        let mut value = mem::MaybeUninit::<T>::uninit();
        // SAFETY: the destination is `T`-sized; the helper checks the packet's end.
        let read = unsafe {
            bpf_skb_load_bytes(
                self.skb.skb.cast(),
                offset as u32,
                value.as_mut_ptr().cast(),
                mem::size_of::<T>() as u32,
            )
        };
        // SAFETY: the helper filled all of it.
        if read == 0 { Some(unsafe { value.assume_init() }) } else { None }
    }
}

/// Decides the packet in the area, met at `place`. Answers whether it passes, and nothing is to be told.
#[inline(always)]
pub fn decide(policy: &Policy, area: Area, place: u32) -> bool {
    let Some(case) = Case::start(policy, area, Family::Packet) else { return true };
    let packet = &area.work().packet;
    // A rule on everything but some networks is not meant to take the host off its link.
    if place == place::OUT && packet.link != 0 {
        return true;
    }
    let asks = packet.asks != 0;
    if place == place::IN && !asks {
        return true;
    }
    let (act, _) = acts_at(place, asks);
    let (remote, local) = if place == place::OUT {
        (&packet.destination, &packet.source)
    } else {
        (&packet.source, &packet.destination)
    };
    if !case.number(Fact::Act, act)
        || !case.address(Fact::RemoteIp, remote[0], remote[1])
        || !case.address(Fact::LocalIp, local[0], local[1])
        || !case.number(Fact::Protocol, u32::from(packet.protocol))
        || !case.number(Fact::AddressFamily, u32::from(packet.version))
    {
        return true;
    }
    let (remote_port, local_port) = if place == place::OUT {
        (packet.destination_port, packet.source_port)
    } else {
        (packet.source_port, packet.destination_port)
    };
    match packet.ports {
        PORTS => {
            case.number(Fact::RemotePort, u32::from(remote_port));
            case.number(Fact::LocalPort, u32::from(local_port));
        }
        NO_PORTS => {
            case.absent(Fact::RemotePort);
            case.absent(Fact::LocalPort);
        }
        _ => {
            case.unknown(Fact::RemotePort);
            case.unknown(Fact::LocalPort);
        }
    }
    acting::clear(&mut area.work().sets);
    !case.decide()
}

/// The acts that a packet met at `place` is: the value of `Fact::Act`, and their mask.
#[inline(always)]
fn acts_at(place: u32, asks: bool) -> (u32, u32) {
    match place {
        place::OUT if asks => (OUT_AND_CONNECT, Act::PacketOut.bit() | Act::PacketConnect.bit()),
        place::OUT => (Act::PacketOut.value(), Act::PacketOut.bit()),
        place::IN => (Act::PacketAccept.value(), Act::PacketAccept.bit()),
        _ => (Act::PacketIn.value(), Act::PacketIn.bit()),
    }
}

/// Does what was decided about the packet in the area, and tells it. Answers whether it passes. Apart from [`decide`],
/// because the stack has not room for both.
#[inline(always)]
pub fn finish(policy: &Policy, area: Area, place: u32) -> bool {
    let packet = &area.work().packet;
    let (_, acts) = acts_at(place, packet.asks != 0);
    let remote = if place == place::OUT { &packet.destination } else { &packet.source };
    rate::within(policy, area, [remote[0], remote[1]]);
    if !area.work().decision.tells() {
        return true;
    }
    let verdict = refusal(area.work().decision.verdict);
    area.work().decision.verdict = verdict;
    let pass = (verdict as u8) < Action::Block as u8;
    let rule = first_rule(policy, area, Family::Packet);
    let bytes = packet.bytes;
    if !tally(policy, rule, bytes) {
        if place == place::INTERFACE {
            quiet(policy.generation.0, rule);
        }
        return pass;
    }
    let halves = [remote[0], remote[1]];
    let suppressed = recently_told(policy, rule, halves);
    if suppressed == u64::MAX {
        return pass;
    }
    let told = Told { acts, number: suppressed as u32, ..Told::default() };
    report::begin(area, policy.generation, Family::Packet, &told);
    let Work { head, packet, .. } = area.work();
    report::address(&mut head.remote_ip, halves[0], halves[1]);
    let local = if place == place::OUT { &packet.source } else { &packet.destination };
    report::address(&mut head.local_ip, local[0], local[1]);
    head.protocol = packet.protocol;
    head.address_family = packet.version;
    head.cgroup = packet.cgroup;
    if packet.ports == PORTS {
        (head.remote_port, head.local_port) = if place == place::OUT {
            (packet.destination_port, packet.source_port)
        } else {
            (packet.source_port, packet.destination_port)
        };
    }
    // Floods of packets must not take the room kept for refused acts of processes.
    emit::send(area.work(), emit::Weight::Audit);
    pass
}

/// A packet has no process to kill: the rule's other half, refusing, is what is left.
#[inline(always)]
pub(super) fn refusal(verdict: Action) -> Action {
    match verdict {
        Action::Pass => Action::Pass,
        Action::Alert => Action::Alert,
        Action::Block | Action::Kill => Action::Block,
    }
}

/// The rule of the first clause of `family` that matched.
#[inline(always)]
pub(super) fn first_rule(policy: &Policy, area: Area, family: Family) -> u32 {
    facts::rule(&policy.image, family, u32::from(area.work().decision.clauses[0]))
}

/// Counts a packet for the strongest rule that matched. Answers whether the rule has alerts left in this second.
#[inline(always)]
pub(super) fn tally(policy: &Policy, rule: u32, bytes: u64) -> bool {
    let key = RuleKey { generation: policy.generation.0, rule };
    if let Some(tally) = RULE_TALLIES.get_ptr_mut(&key) {
        // SAFETY: live map values of eight bytes each.
        unsafe {
            atomic::add(&raw mut (*tally).hits, 1);
            atomic::add(&raw mut (*tally).bytes, bytes);
        }
        // SAFETY: as above. Two programs of one CPU that begin a second at once tell a few alerts more.
        unsafe {
            if (*tally).told < PACKET_ALERTS {
                atomic::add(&raw mut (*tally).told, 1);
                return true;
            }
            let now = emit::now();
            if now.wrapping_sub((*tally).since_ns) < TOLD_EVERY_NS {
                return false;
            }
            (*tally).since_ns = now;
            (*tally).told = 1;
        }
        return true;
    }
    let first = RuleTally { hits: 1, bytes, since_ns: emit::now(), told: 1 };
    if RULE_TALLIES.insert(&key, &first, 0).is_err() {
        emit::count(Fault::PacketTable);
    }
    true
}

/// Counts a packet that its sender alone has a rule drop, at an interface. Answers whether that is all there is to do: the
/// rule has no alert left in this second, as was seen in this very tick.
#[inline(always)]
pub(super) fn counted_alone(generation: u32, rule: u32, bytes: u64) -> bool {
    let Some(tally) = SETTLED_TALLIES.get_ptr_mut(rule & (limits::SETTLED_TALLIES - 1)) else {
        return false;
    };
    // SAFETY: a live map value of this CPU's. Programs at interfaces do not interrupt each other, and nobody else writes
    // it: no atomic addition is needed, which would hold up what is read for the next packet.
    unsafe {
        if (*tally).key.rule != rule
            || (*tally).key.generation != generation
            || (*tally).tick != tick()
        {
            return false;
        }
        (*tally).packets += 1;
        (*tally).bytes += bytes;
    }
    true
}

/// Notes that a rule has no alert left in this second: until the next tick its packets need only be counted. What was
/// counted there for another rule goes to that one's tally.
#[inline(always)]
fn quiet(generation: u32, rule: u32) {
    let Some(settled) = SETTLED_TALLIES.get_ptr_mut(rule & (limits::SETTLED_TALLIES - 1)) else {
        return;
    };
    // SAFETY: as in `counted_alone`.
    unsafe {
        if (*settled).key.rule != rule || (*settled).key.generation != generation {
            let key = RuleKey { generation: (*settled).key.generation, rule: (*settled).key.rule };
            if let Some(tally) = RULE_TALLIES.get_ptr_mut(&key) {
                atomic::add(&raw mut (*tally).hits, (*settled).packets);
                atomic::add(&raw mut (*tally).bytes, (*settled).bytes);
            }
            (*settled).packets = 0;
            (*settled).bytes = 0;
            (*settled).key.generation = generation;
            (*settled).key.rule = rule;
        }
        (*settled).tick = tick();
    }
}

/// The kernel's tick: as cheap as reading memory, and between two of them there is no time.
#[inline(always)]
fn tick() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_jiffies64() }
}

/// Whether this rule has told of this peer within the last second: then `u64::MAX`, else how many packets were not told
/// since. Floods would fill the ring with what one alert says.
#[inline(always)]
pub(super) fn recently_told(policy: &Policy, rule: u32, remote: [u64; 2]) -> u64 {
    let key = ToldKey { remote, generation: policy.generation.0, rule };
    let now = emit::now();
    let Some(told) = TOLD.get_ptr_mut(&key) else {
        mark(&key, now);
        return 0;
    };
    // SAFETY: live map values of eight bytes each.
    unsafe {
        if now.wrapping_sub((*told).at_ns) < TOLD_EVERY_NS {
            atomic::add(&raw mut (*told).silent, 1);
            return u64::MAX;
        }
        let silent = (*told).silent;
        (*told).at_ns = now;
        (*told).silent = 0;
        silent
    }
}

/// Notes that a rule has told of a peer.
#[inline(always)]
fn mark(key: &ToldKey, now: u64) {
    let value = interdict_abi::maps::ToldAt { at_ns: now, silent: 0 };
    if TOLD.insert(key, &value, 0).is_err() {
        emit::count(Fault::PacketTable);
    }
}

/// Notes that the flow in the area is told with its process: counts it, and its packets are not told again. A function of
/// its own, because the stack of its callers is needed below them.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_flow_told(
    area: u32,
    slot: u32,
    generation: u32,
    upper: u64,
    lower: u64,
) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    let clause = u32::from(area.work().decision.clauses[0]);
    let rule = facts::rule(&image, Family::Net, clause);
    let now = emit::now();
    if upper | lower != 0 {
        mark(&ToldKey { remote: [upper, lower], generation, rule }, now);
    }
    let key = RuleKey { generation, rule };
    if let Some(tally) = RULE_TALLIES.get_ptr_mut(&key) {
        // SAFETY: a live map value of eight bytes.
        unsafe { atomic::add(&raw mut (*tally).hits, 1) };
        return 1;
    }
    let first = RuleTally { hits: 1, bytes: 0, since_ns: now, told: 0 };
    if RULE_TALLIES.insert(&key, &first, 0).is_err() {
        emit::count(Fault::PacketTable);
    }
    1
}

/// Calls [`interdict_flow_told`].
#[inline(always)]
pub fn flow_told(policy: &Policy, area: Area, remote: (u64, u64)) {
    let generation = policy.generation;
    interdict_flow_told(area.number, generation.slot(), generation.0, remote.0, remote.1);
}
