//! Every map, with who writes it and who reads it.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, LruPerCpuHashMap, PerCpuArray, RingBuf},
};
use interdict_abi::{
    ids::FAULTS as FAULT_COUNT,
    limits::{
        self, CGROUPS_KNOWN, DNS_STREAMS as DNS_STREAMS_MAX, EXECS_IN_FLIGHT, PROCESSES,
        RATED_PEERS, RATES as RATES_MAX, RING_BYTES, RULE_TALLIES as RULE_TALLIES_MAX,
        SLOT_BYTES_MIN, TOLD_PEERS, WORK_AREAS,
    },
    maps::{
        AddressKey, AddressName, AncestorSet, Control, Crossing, DnsAsked, DnsStream, ExecInFlight,
        KeptArgs, KnownName, LastProgram, LongName, NameKey, ProcessKey, Rate, Repeats, RuleKey,
        RuleTally, SettledTally, Subject, ToldAt, ToldFile, ToldKey, Workload,
    },
};

use crate::scratch::Work;

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Bytes of one image slot. The loader enlarges the map's value in the object before it is loaded, and sets
/// `policy::SLOT_BYTES` to the same number: this size is the smallest.
#[repr(C, align(8))]
pub struct Slot {
    bytes: [u8; SLOT_BYTES_MIN],
}

/// Written by the agent through a memory mapping, word by word; read by every program.
#[map]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The two image slots. Written by the agent through a memory mapping while idle, read by every program.
#[map]
pub static IMAGE: Array<Slot> = Array::with_max_entries(2, BPF_F_MMAPABLE);

/// Programs of live processes, as executable labels. Written by the lifecycle programs; rows of what ran before are
/// added by the agent.
#[map]
pub static EXES: HashMap<ProcessKey, u32> =
    HashMap::with_max_entries(2 * PROCESSES, BPF_F_NO_PREALLOC);

/// Ancestor predicates of live processes. Written as `EXES`, but never by an exec: ancestors stay.
#[map]
pub static ANCESTORS: HashMap<ProcessKey, AncestorSet> =
    HashMap::with_max_entries(2 * PROCESSES, BPF_F_NO_PREALLOC);

/// Argument predicates of live processes, under images that ask for them. Written as `EXES`: see `hooks::arguments`.
#[map]
pub static ARGUMENTS: HashMap<ProcessKey, KeptArgs> =
    HashMap::with_max_entries(2 * PROCESSES, BPF_F_NO_PREALLOC);

/// What processes ran that are exiting. Written by the lifecycle programs while a rule is about flows that end.
#[map]
pub static EXITING: LruHashMap<ProcessKey, LastProgram> =
    LruHashMap::with_max_entries(limits::EXITING, 0);

/// Names that objects are remembered under. Written by programs; see `names`.
#[map]
pub static NAMES: HashMap<NameKey, KnownName> =
    HashMap::with_max_entries(limits::NAMES, BPF_F_NO_PREALLOC);

/// Texts of those that do not fit there. Written before their rows in `NAMES`, by programs; see `names`.
#[map]
pub static LONG_NAMES: HashMap<NameKey, LongName> =
    HashMap::with_max_entries(limits::LONG_NAMES, BPF_F_NO_PREALLOC);

/// Mounts that were there when the agent taught: see `kernel::mounts`. Programs only.
#[map]
pub static CROSSINGS: HashMap<Crossing, u32> =
    HashMap::with_max_entries(limits::CROSSINGS, BPF_F_NO_PREALLOC);

/// What was told of reads and writes through descriptors, and of opens. Programs only.
#[map]
pub static TOLD_FILES: LruHashMap<ToldFile, u32> =
    LruHashMap::with_max_entries(limits::TOLD_FILES, 0);

/// Execs between their check and their success, by thread id. Written and read by the exec programs.
#[map]
pub static EXECS: HashMap<u32, ExecInFlight> =
    HashMap::with_max_entries(EXECS_IN_FLIGHT, BPF_F_NO_PREALLOC);

/// Whether a cgroup (v2, by id) belongs to a container: see `kernel::container`. Programs only.
#[map]
pub static CGROUPS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(CGROUPS_KNOWN, 0);

/// What is known of containers, by the id of their cgroup. Written by the agent, read by programs.
#[map]
pub static WORKLOADS: HashMap<u64, Workload> =
    HashMap::with_max_entries(limits::WORKLOADS, BPF_F_NO_PREALLOC);

/// Records for the agent.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Faults by number. Written by programs, read by the agent.
#[map]
pub static FAULTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(FAULT_COUNT as u32, 0);

/// Packets by rule. Written by programs, read by the agent; generations that are gone give way to new ones.
#[map]
pub static RULE_TALLIES: LruPerCpuHashMap<RuleKey, RuleTally> =
    LruPerCpuHashMap::with_max_entries(RULE_TALLIES_MAX, 0);

/// Packets by rule that were dropped by their sender alone. Written by programs at interfaces, read by the agent.
#[map]
pub static SETTLED_TALLIES: PerCpuArray<SettledTally> =
    PerCpuArray::with_max_entries(limits::SETTLED_TALLIES, 0);

/// Rates of rules that have one. Written by the agent before their policy comes into force.
#[map]
pub static RATES: HashMap<RuleKey, Rate> = HashMap::with_max_entries(RATES_MAX, 0);

/// When the packets of a peer so far would be over at the rate of a rule, ns on `CLOCK_BOOTTIME`. Programs only.
#[map]
pub static RATED: LruHashMap<ToldKey, u64> = LruHashMap::with_max_entries(RATED_PEERS, 0);

/// Peers that rules have told of. Programs only.
#[map]
pub static TOLD: LruHashMap<ToldKey, ToldAt> = LruHashMap::with_max_entries(TOLD_PEERS, 0);

/// Decisions that were counted instead of told. Written by programs; read by the agent, which removes rows that rest.
#[map]
pub static REPEATS: HashMap<Subject, Repeats> =
    HashMap::with_max_entries(limits::SUBJECTS, BPF_F_NO_PREALLOC);

/// Look-ups that wait for their answer, and until when, ns on `CLOCK_BOOTTIME`. Programs only.
#[map]
pub static DNS_ASKED: LruHashMap<DnsAsked, u64> =
    LruHashMap::with_max_entries(limits::DNS_ASKED, 0);

/// Names of addresses. Programs only.
#[map]
pub static DNS_NAMES: LruHashMap<AddressKey, AddressName> =
    LruHashMap::with_max_entries(limits::DNS_NAMES, 0);

/// Streams to name servers, by the cookie of their socket. Programs only.
#[map]
pub static DNS_STREAMS: LruHashMap<u64, DnsStream> =
    LruHashMap::with_max_entries(DNS_STREAMS_MAX, 0);

/// Scratch areas; which are taken is in `SCRATCH_TAKEN`. Programs only.
#[map]
pub static SCRATCH: PerCpuArray<Work> = PerCpuArray::with_max_entries(WORK_AREAS, 0);

/// One bit per scratch area that is taken. Programs only.
#[map]
pub static SCRATCH_TAKEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
