//! Keys and values of the BPF maps, and their names.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::event::Head;
use crate::ids::Fact;
use crate::limits::{LINEAGE, NAME_BYTES, PATH_BYTES, SET_WORDS, WORKLOAD_BYTES};

/// Names of the maps, as in the object.
pub mod names {
    /// Array of [`super::Control`], one entry.
    pub const CONTROL: &str = "CONTROL";
    /// Array of image slots, two entries, memory-mapped by the agent.
    pub const IMAGE: &str = "IMAGE";
    /// Hash of [`super::ProcessKey`] to the executable label (u32) of the program it runs.
    pub const EXES: &str = "EXES";
    /// Hash of [`super::ProcessKey`] to the ancestor predicates (`[u64; SET_WORDS]`) that hold of it.
    pub const ANCESTORS: &str = "ANCESTORS";
    /// Hash of [`super::ProcessKey`] to [`super::KeptArgs`].
    pub const ARGUMENTS: &str = "ARGUMENTS";
    /// Hash of [`super::NameKey`] to [`super::KnownName`].
    pub const NAMES: &str = "NAMES";
    /// Hash of [`super::NameKey`] to [`super::LongName`].
    pub const LONG_NAMES: &str = "LONG_NAMES";
    /// Hash of [`super::Crossing`]: the mounts that can be vouched for.
    pub const CROSSINGS: &str = "CROSSINGS";
    /// Hash of [`super::ToldFile`]: what was told.
    pub const TOLD_FILES: &str = "TOLD_FILES";
    /// Hash of the id of a program to its path ([`super::ProgramPath`]).
    pub const PROGRAMS: &str = "PROGRAMS";
    /// Hash of thread group to [`super::Lineage`].
    pub const LINEAGES: &str = "LINEAGES";
    /// Hash of the id of a container's cgroup to [`super::Workload`].
    pub const WORKLOADS: &str = "WORKLOADS";
    /// The event ring.
    pub const EVENTS: &str = "EVENTS";
    /// Per-CPU array of u64 fault counters, indexed by `Fault`.
    pub const FAULTS: &str = "FAULTS";
    /// Per-CPU array of [`super::SettledTally`], `limits::SETTLED_TALLIES` entries.
    pub const SETTLED_TALLIES: &str = "SETTLED_TALLIES";
    /// Per-CPU hash of [`super::RuleKey`] to [`super::RuleTally`].
    pub const RULE_TALLIES: &str = "RULE_TALLIES";
    /// Hash of [`super::RuleKey`] to [`super::Rate`].
    pub const RATES: &str = "RATES";
    /// Hash of [`super::Subject`] to [`super::Repeats`].
    pub const REPEATS: &str = "REPEATS";
}

/// What the agent tells the kernel programs. Each word is written atomically.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Control {
    /// The generation in force; its lowest bit is the slot. 0: none.
    pub active: u64,
    /// The generation being staged in the other slot, so that new processes are labelled for it too. 0: none.
    pub staged: u64,
    /// Agent-wide mode: 0 enforce, 1 audit. Can only weaken what rules say.
    pub mode: u64,
    /// Thread group of the agent, in the initial PID namespace.
    pub agent: u64,
    /// Thread that is telling the kernel which objects go by which names: what it asks the attributes of is remembered
    /// under the path it asked by. With [`Control::MOUNTS`] instead the mounts on the way there are. 0: none.
    pub seeder: u64,
    /// Whether packets inside packets are judged too: 0 or 1.
    pub inside: u64,
    /// Whether some rule of the policy in force has a rate: 0 or 1.
    pub rates: u64,
    /// How acts may pass without being judged.
    pub gates: Gates,
    /// Sum of [`Repeats::silent`] over rows that the agent has removed.
    pub repeats_gone: u64,
    /// Moves of directories: odd while one is under way. 0: none was seen yet, or this kernel shows none. Written by
    /// programs.
    pub moves: u64,
}

impl Control {
    /// In [`Self::seeder`]: the mounts on the way to what is asked about can be vouched for.
    pub const MOUNTS: u64 = 1 << 32;
}

/// The short ways past the rules of one policy.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Gates {
    /// Of packets that come in at an interface.
    pub interface: Gate,
    /// Of packets that leave a socket and ask for no connection.
    pub out: Gate,
    /// Of packets that leave a socket and ask, or may ask, for one.
    pub asking: Gate,
    /// Of packets that arrive at a socket and ask, or may ask, for a connection.
    pub accept: Gate,
    /// Of connections.
    pub connect: Gate,
    /// Of messages.
    pub send: Gate,
}

/// Fronts of address tables that answer for most acts by address: see `engine::facts::gate`. Each word is [`Gate::word`], so that
/// one read tells both a front and the policy it belongs to. A word of another generation says nothing.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Gate {
    /// Of remote IPv4 addresses.
    pub remote_v4: u64,
    /// Of remote IPv6 addresses.
    pub remote_v6: u64,
    /// Of local IPv4 addresses.
    pub local_v4: u64,
    /// Of local IPv6 addresses.
    pub local_v6: u64,
    /// The generation, and in the lower half a bit for each of the 32 blocks (by the first five bits) of remote IPv4
    /// addresses of which some are listed. Of another generation: all may be.
    pub near_v4: u64,
    /// The same for the bits that the first sixteen bits of remote IPv4 addresses come to: see [`Gate::spread`].
    pub spread_v4: u64,
    /// The same by other bits, so that blocks which fall together there fall apart here: see [`Gate::scattered`].
    pub scattered_v4: u64,
}

impl Gate {
    /// For a number of bits, with offset 0: there is no front, and the table is searched.
    pub const SEARCH: u32 = 0x7f;

    /// A front at `offset` (a multiple of 8; 0: no clause asks for this address) that looks at `prefix` bits.
    pub const fn word(generation: u32, offset: u32, prefix: u32) -> u64 {
        (generation as u64) << 32 | (offset as u64 >> 3) << 7 | prefix as u64 & 0x7f
    }

    /// The bit in [`Self::near_v4`] of an IPv4 address.
    pub const fn near(address: u32) -> u32 {
        address >> 27
    }

    /// The bit in [`Self::spread_v4`] of an IPv4 address: neighbours have others.
    pub const fn spread(address: u32) -> u32 {
        (address >> 16).wrapping_mul(0x9e37_79b1) >> 27
    }

    /// The bit in [`Self::scattered_v4`] of an IPv4 address.
    pub const fn scattered(address: u32) -> u32 {
        (address >> 16).wrapping_mul(0x85eb_ca6b) >> 27
    }

    /// The generation of a word.
    pub const fn generation(word: u64) -> u64 {
        word >> 32
    }

    /// The offset and the number of bits in a word.
    pub const fn front(word: u64) -> (u32, u32) {
        (((word as u32) >> 7) << 3, word as u32 & 0x7f)
    }
}

/// A live process under one generation. Rows of several generations live side by side: the kernel keeps those of the
/// generation in force and of the one being staged, the agent removes the rest. Kernel programs overwrite, the agent
/// only adds rows that are missing, so what the agent read from `/proc` can never replace what the kernel saw happen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ProcessKey {
    /// Generation of the policy whose labels these are.
    pub generation: u32,
    /// Thread group id, initial PID namespace.
    pub process: u32,
}

/// What a process that is exiting ran: its rows are gone before its sockets are closed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LastProgram {
    /// Start of the process, ns on `CLOCK_BOOTTIME`: its number may be another's by now.
    pub start_ns: u64,
    /// The executable label.
    pub exe: u64,
}

/// The set of ancestor predicates that hold of a process.
pub type AncestorSet = [u64; SET_WORDS];

/// The argument predicates that hold of the program a process runs: of the arguments that it was started with.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct KeptArgs {
    /// Those that are known to hold.
    pub set: [u64; SET_WORDS],
    /// Not 0: further ones may hold. There were more arguments than are read, or they could not be read.
    pub unknown: u64,
}

/// One of the names that an object (a file or directory) is remembered under.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct NameKey {
    /// `s_dev` of the object's file system.
    pub device: u32,
    /// Which of its names, from 0.
    pub index: u32,
    /// `i_ino`.
    pub inode: u64,
}

/// A path that some rule selects, and under which an object is or once was to be found: the object stays what it is
/// under every other name. Of a path longer than the room the text is a [`LongName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct KnownName {
    /// Bytes of the path without a terminator.
    pub bytes: u32,
    /// Where its last component starts.
    pub last: u32,
    /// The path, zeros behind. All zeros for one that does not fit with a terminator.
    pub text: [u8; NAME_BYTES],
}

impl KnownName {
    /// In [`Self::last`]: learned where something had been mounted since the agent taught. Such a name adds judgements, but
    /// no program is known by it.
    pub const ARRANGED: u32 = 1 << 31;

    /// [`Self::bytes`] of a path that neither fits here nor found room among the long ones.
    pub const TOO_LONG: u32 = u32::MAX;
}

/// The text of a [`KnownName`] of [`NAME_BYTES`] and more, under the same key. What is behind its bytes means nothing.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct LongName(pub [u8; PATH_BYTES]);

/// A mount by what it is: what it shows, and what it is mounted on. For a root directory the latter is zero.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Crossing {
    /// `s_dev` of what it shows.
    pub device: u32,
    /// `s_dev` of what it is mounted on.
    pub place_device: u32,
    /// `i_ino` of its topmost object.
    pub root: u64,
    /// `i_ino` of what it is mounted on.
    pub place: u64,
}

/// That something was told of a process and an object, to be told once: see `hooks::object` of the kernel programs.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ToldFile {
    /// Generation of the policy that tells.
    pub generation: u32,
    /// Thread group.
    pub process: u32,
    /// `i_ino`.
    pub inode: u64,
    /// `s_dev`.
    pub device: u32,
    /// Value of `Fact::Act`.
    pub act: u32,
}

/// What the agent has learned of a container, by the id of its cgroup (v2). Nothing in here belongs to a policy: the
/// programs read these texts with the automata of whatever image is in force, so a swap needs no other rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Workload {
    /// By place in [`Fact::PLACES`]: [`Self::UNKNOWN`], [`Self::ABSENT`], or [`Self::TEXT`] and where its text starts.
    pub fields: [u32; Fact::PLACES.len()],
    /// Texts, each with a terminating zero, then zeros. The last byte is zero.
    pub text: [u8; WORKLOAD_BYTES],
}

impl Workload {
    /// It could not be learned: `on_fault` decides.
    pub const UNKNOWN: u32 = 0;
    /// There is no such thing: the container belongs to no pod.
    pub const ABSENT: u32 = 1;
    /// There is a text; where it starts is in the other bits.
    pub const TEXT: u32 = 1 << 31;
    /// The key of the row of what runs in no container. No cgroup has it.
    pub const HOST: u64 = 0;
    /// A container of which nothing is known.
    pub const NOTHING: Self =
        Self { fields: [Self::UNKNOWN; Fact::PLACES.len()], text: [0; WORKLOAD_BYTES] };
}

/// An exec between its check and its success, keyed by thread id.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct ExecInFlight {
    /// Executable labels of the file that was checked last, the one that will run, under the generations below.
    pub exe: [u32; 2],
    /// The generation that was in force and the one that was being staged, 0 for none.
    pub generation: [u32; 2],
    /// The id of that file's path among the programs that are kept, 0 for none.
    pub program: u64,
    /// Bytes of that path, if it is the one from the root of the mount namespace; else 0.
    pub path_bytes: u64,
}

/// The path of a program, with a terminating zero; what is behind that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct ProgramPath(pub [u8; PATH_BYTES]);

/// What a process runs and descends from, by ids of programs. It outlives the ancestors, and policies.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Lineage {
    /// The program it runs, 0 if that could not be kept.
    pub program: u64,
    /// 1: an ancestor is missing.
    pub lost: u64,
    /// Distinct programs of its ancestors, then zeros.
    pub ancestors: [u64; LINEAGE],
}

impl Lineage {
    /// [`Self::program`] of a process whose program goes by no name: it was started by a path that nobody can vouch for.
    /// No path has this id.
    pub const NAMELESS: u64 = 2;
}

/// The next state of an id, from the one before and eight bytes of the path (little-endian, zeros behind its end). It
/// starts with the path's length; the id is the last state with its lowest bit set. Collisions are looked for where paths
/// are kept, so this need not be hard to collide.
pub const fn mixed(state: u64, word: u64) -> u64 {
    let state = (state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state ^ (state >> 29)
}

/// The id of a path.
pub fn program_id(path: &[u8]) -> u64 {
    let mut state = path.len() as u64;
    for part in path.chunks(8) {
        let mut word = [0; 8];
        for (byte, from) in word.iter_mut().zip(part) {
            *byte = *from;
        }
        state = mixed(state, u64::from_le_bytes(word));
    }
    state | 1
}

/// A rule of one generation.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RuleKey {
    /// Generation of the policy.
    pub generation: u32,
    /// Number of the rule in it.
    pub rule: u32,
}

/// Flows and packets that a rule matched as the strongest.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RuleTally {
    /// How many.
    pub hits: u64,
    /// Bytes of the packets among them.
    pub bytes: u64,
    /// When the second began that `told` is about, ns on `CLOCK_BOOTTIME`.
    pub since_ns: u64,
    /// Alerts on packets in that second.
    pub told: u64,
}

/// Packets that were dropped by their sender alone, by one processor at its interfaces, and are not among those of a
/// [`RuleTally`]. Nobody else writes it, and no two programs at once.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SettledTally {
    /// Whose packets these are.
    pub key: RuleKey,
    /// The kernel's tick in which the rule was last seen to have no alert left. While it lasts, no clock need be read.
    pub tick: u64,
    /// How many.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The packets of one peer that a rule lets be: one every `interval_ns`, and as many ahead of time as fit `burst_ns`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Rate {
    /// Time that one packet takes.
    pub interval_ns: u64,
    /// Time by which packets may be ahead.
    pub burst_ns: u64,
}

/// A peer that a rule has told of.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ToldKey {
    /// Halves of its address, host order, IPv4 as mapped IPv6.
    pub remote: [u64; 2],
    /// Generation of the policy.
    pub generation: u32,
    /// Number of the rule in it.
    pub rule: u32,
}

/// When a rule last told of a peer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ToldAt {
    /// Ns on `CLOCK_BOOTTIME`.
    pub at_ns: u64,
    /// Packets that were not told since.
    pub silent: u64,
}

/// What decisions have in common that are told once and then counted while the agent is behind: one rule, one process,
/// one object. The coarser subject of all that a process does against a rule has zeros from `inode` on, but for the rule.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Subject {
    /// Start of the acting process, ns on `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    /// Its thread group.
    pub process: u32,
    /// Generation of the policy.
    pub generation: u32,
    /// The strongest clause that matched.
    pub clause: u16,
    /// `Family`.
    pub family: u8,
    /// `Action` taken.
    pub verdict: u8,
    /// Device of the object.
    pub device: u32,
    /// Its inode.
    pub inode: u64,
    /// Remote address as records have it.
    pub remote: [u64; 2],
    /// Mask of acts.
    pub acts: u32,
    /// The act's own number.
    pub number: u32,
    /// [`mixed`] from the length, the remote port, and the end of the record's strings: see [`Subject::tail`].
    pub strings: u64,
}

impl Subject {
    /// Bytes at the end of a record's strings that tell subjects apart, at most.
    pub const TAIL: usize = 128;

    /// Where the end starts that tells strings of `len_bytes` apart: a multiple of 8.
    pub const fn tail(len_bytes: usize) -> usize {
        len_bytes.saturating_sub(Self::TAIL).next_multiple_of(8)
    }

    /// The state that [`mixed`] starts from.
    pub const fn start(len_bytes: usize, remote_port: u16) -> u64 {
        (len_bytes as u64) << 16 | remote_port as u64
    }

    /// The last word of the strings, of which `left` bytes (1 to 8) count.
    pub const fn last(word: u64, left: usize) -> u64 {
        if left >= 8 { word } else { word & ((1 << (left * 8)) - 1) }
    }

    /// What a record is about, as the kernel programs see it. `strings`: path and second string, one behind the other.
    pub fn of(head: &Head, strings: &[u8]) -> Self {
        let mut state = Self::start(strings.len(), head.remote_port);
        for part in strings.get(Self::tail(strings.len())..).unwrap_or_default().chunks(8) {
            let mut word = [0; 8];
            for (byte, from) in word.iter_mut().zip(part) {
                *byte = *from;
            }
            state = mixed(state, u64::from_le_bytes(word));
        }
        Self {
            start_ns: head.start_ns,
            process: head.pid,
            generation: head.generation,
            clause: head.clauses[0],
            family: head.family,
            verdict: head.verdict,
            device: head.device,
            inode: head.inode,
            remote: zerocopy::transmute!(head.remote_ip),
            acts: head.acts,
            number: head.number,
            strings: state,
        }
    }

    /// Whether it is about one object, not about all that a process does against a rule.
    pub const fn has_object(&self) -> bool {
        self.acts != 0
    }
}

/// Decisions on one subject that were only counted.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Repeats {
    /// When the second began that `told` is about, ns on `CLOCK_BOOTTIME`.
    pub since_ns: u64,
    /// Decisions told in that second.
    pub told: u64,
    /// Decisions that were counted instead, ever.
    pub silent: u64,
    /// When the first of those was, ns on `CLOCK_BOOTTIME`.
    pub first_ns: u64,
    /// When the last of those was.
    pub last_ns: u64,
}

/// A look-up that waits for its answer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DnsAsked {
    /// Cookie of the socket.
    pub socket: u64,
    /// Digest of the name.
    pub name: u64,
    /// Halves of the server's address, host order, IPv4 as mapped IPv6.
    pub server: [u64; 2],
    /// Port of the server, and above it that of the socket.
    pub ports: u32,
    /// Number of the message, and above it the protocol.
    pub number: u32,
}

/// One of the names of an address.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct AddressKey {
    /// Halves of the address, host order, IPv4 as mapped IPv6.
    pub address: [u64; 2],
    /// Which of its names, below `limits::NAMES_PER_ADDRESS`.
    pub index: u32,
    /// Zero.
    pub reserved: u32,
}

/// A name that an answer gave an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddressName {
    /// Until when, ns on `CLOCK_BOOTTIME`.
    pub until_ns: u64,
    /// Digest of the name.
    pub digest: u64,
    /// Where the key starts.
    pub start: u64,
    /// The key as the engine writes it: see `engine::dns`.
    pub key: [u64; 32],
}

/// How far the messages in a stream to a name server have been judged.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DnsStream {
    /// Sequence number of the first byte that was not judged.
    pub next: u32,
    /// Length of the message that starts there, if its length was sent already; else 0.
    pub length: u32,
}

const _: () = assert!(size_of::<Subject>() == 64);
const _: () = assert!(size_of::<Repeats>() == 40);
const _: () = assert!(size_of::<Control>() == 408);
const _: () = assert!(size_of::<ToldKey>() == 24);
const _: () = assert!(size_of::<ProcessKey>() == 8);
const _: () = assert!(size_of::<NameKey>() == 16);
const _: () = assert!(size_of::<KnownName>() == 256);
const _: () = assert!(size_of::<Crossing>() == 24);
const _: () = assert!(size_of::<ToldFile>() == 24);
const _: () = assert!(size_of::<ExecInFlight>() == 32);
const _: () = assert!(size_of::<Lineage>() == 272);
const _: () = assert!(size_of::<KeptArgs>() == 40);

#[cfg(feature = "user")]
mod user {
    // SAFETY: `zerocopy::IntoBytes` proves that there is no padding, and `FromBytes` that any bytes are valid.
    unsafe impl aya::Pod for super::Control {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ProcessKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ExecInFlight {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::KeptArgs {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::NameKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::KnownName {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::LongName {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ProgramPath {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Lineage {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::RuleKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::RuleTally {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::SettledTally {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Rate {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Subject {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Repeats {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Workload {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(process: u32) -> Head {
        Head { pid: process, clauses: [7; 8], acts: 1, inode: 5, ..Head::ZERO }
    }

    #[test]
    fn subjects_differ_by_the_end_of_their_strings_and_by_their_length() {
        let long = [b'a'; 500];
        let mut other = long;
        other[499] = b'b';
        let of = |strings: &[u8]| Subject::of(&head(1), strings);
        assert_eq!(of(&long), of(&long));
        assert_ne!(of(&long), of(&other));
        assert_ne!(of(&long), of(&long[..499]));
        assert_ne!(of(b"/srv/a"), of(b"/srv/b"));
        assert_ne!(of(b""), of(b"\0"));
        assert_ne!(of(b"x"), Subject::of(&head(2), b"x"));
    }

    #[test]
    fn what_follows_the_strings_in_their_last_word_does_not_count() {
        assert_eq!(Subject::last(u64::MAX, 3), 0xff_ffff);
        assert_eq!(Subject::last(u64::MAX, 8), u64::MAX);
        assert_eq!(Subject::last(u64::MAX, 100), u64::MAX);
        assert_eq!(Subject::tail(128), 0);
        assert_eq!(Subject::tail(129), 8);
    }

    #[test]
    fn a_subject_without_acts_is_all_that_a_process_does_against_a_rule() {
        let one = Subject::of(&head(1), b"x");
        assert!(one.has_object());
        assert!(!Subject { acts: 0, ..one }.has_object());
    }
}
