//! Ring records: one fixed head, then the strings it announces.
//!
//! A record is `Head`, then `path_bytes` of the object's path (no terminating zero), then `extra_bytes` of a second
//! string: the arguments (zero-separated) of a new program, or the second path of a rename or link.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::{COMM_BYTES, RULES_TOLD};

/// Version of the record layout, in every head.
pub const VERSION: u16 = 1;

/// What a record is about.
pub mod kind {
    /// At least one rule matched, or a fault was decided.
    pub const DECISION: u16 = 1;
    /// A process was forked: `pid` is the parent, `target` the child.
    pub const FORK: u16 = 2;
    /// A new program runs: path and arguments follow.
    pub const EXEC: u16 = 3;
    /// The last thread of a process exited.
    pub const EXIT: u16 = 4;
    /// The guard refused something that was done to the agent: `acts` is a `GuardAct`, `number` its own number (signal,
    /// mode, command), `target` the process aimed at, `inode` and `device` what is guarded, the path the name used.
    pub const GUARD: u16 = 5;
}

/// Flags of a record.
pub mod flags {
    /// Arguments did not fit into the record.
    pub const ARGS_TRUNCATED: u32 = 1;
    /// The path could not be built; `path` is empty.
    pub const PATH_UNKNOWN: u32 = 2;
    /// The process had no row: process facts were unknown.
    pub const PROCESS_UNKNOWN: u32 = 4;
    /// More rules matched than `rules` names.
    pub const MORE_RULES: u32 = 8;
    /// The file was already unlinked; the kernel's " (deleted)" has been cut off.
    pub const PATH_DELETED: u32 = 16;
    /// The object was judged by a name it is remembered under, which follows the path: it was reached by another.
    pub const BY_NAME: u32 = 32;
    /// The other end of a rename or link follows the path.
    pub const SECOND_PATH: u32 = 64;
    /// The agent is behind: further ones of the same `maps::Subject` may only be counted.
    pub const COUNTED: u32 = 128;
    /// Paths are those that the caller wrote, not those of objects: hosts without BPF LSM.
    pub const SPELLED: u32 = 256;
    /// Rules ask for something of the process's container that was not known: their `on_fault` decided.
    pub const WORKLOAD_UNKNOWN: u32 = 512;
    /// The second string is a [`super::FlowTotals`].
    pub const TOTALS: u32 = 1024;
    /// Rules ask for arguments of the acting process's program that were not known: their `on_fault` decided.
    pub const ARGS_UNKNOWN: u32 = 2048;
}

/// The fixed head of every record. 176 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Head {
    /// [`VERSION`].
    pub version: u16,
    /// See [`kind`].
    pub kind: u16,
    /// See [`flags`].
    pub flags: u32,
    /// When, ns on `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// Generation of the policy that decided.
    pub generation: u32,
    /// `Family`.
    pub family: u8,
    /// `Action` that was taken: what the mode let happen.
    pub verdict: u8,
    /// `Action` that enforcing every matched rule would take.
    pub would: u8,
    /// `Fault`.
    pub fault: u8,
    /// Mask of acts: `Act::bit`.
    pub acts: u32,
    /// The errno given to the caller, 0 if the act went on.
    pub errno: u32,
    /// Thread group id, initial PID namespace.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Thread group of the parent.
    pub parent: u32,
    /// Thread group this act is aimed at, or the child of a fork.
    pub target: u32,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective user id.
    pub euid: u32,
    /// The act's own number: signal, capability, exit code.
    pub number: u32,
    /// Start of the acting process, ns on `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    /// Cgroup id (cgroup v2) of the acting task.
    pub cgroup: u64,
    /// Inode of the object.
    pub inode: u64,
    /// Device of the object, kernel encoding.
    pub device: u32,
    /// `i_mode` of the object.
    pub mode: u32,
    /// Remote address, IPv4 as mapped IPv6.
    pub remote_ip: [u8; 16],
    /// Local address, IPv4 as mapped IPv6.
    pub local_ip: [u8; 16],
    /// Remote port, host order.
    pub remote_port: u16,
    /// Local port, host order.
    pub local_port: u16,
    /// IP protocol.
    pub protocol: u16,
    /// Address family.
    pub address_family: u16,
    /// `comm` of the acting task.
    pub comm: [u8; COMM_BYTES],
    /// The clauses that matched, strongest first.
    pub clauses: [u16; RULES_TOLD],
    /// How many entries of `clauses` are filled.
    pub clauses_told: u16,
    /// Bytes of the path that follows.
    pub path_bytes: u16,
    /// Bytes of the second string that follows the path.
    pub extra_bytes: u16,
    /// See `object_flags`.
    pub object_flags: u16,
}

const _: () = assert!(size_of::<Head>() == 176);

/// What is known of a flow when it is over: the second string of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowTotals {
    /// Bytes that came, without headers; [`Self::UNKNOWN`] if nobody counted.
    pub bytes_in: u64,
    /// Bytes that were sent, as `bytes_in`.
    pub bytes_out: u64,
    /// How long it was open, ns; [`Self::UNKNOWN`] if nobody saw it begin.
    pub duration_ns: u64,
}

impl FlowTotals {
    /// What is not known.
    pub const UNKNOWN: u64 = u64::MAX;
}

impl Head {
    /// A head with every field zero.
    pub const ZERO: Self = zerocopy::transmute!([0u8; 176]);

    /// Splits a record into its head, path and second string. `None` if it is shorter than it says.
    pub fn split(record: &[u8]) -> Option<(Self, &[u8], &[u8])> {
        let (head, rest) = Self::read_from_prefix(record).ok()?;
        let path = rest.get(..usize::from(head.path_bytes))?;
        let extra = rest.get(path.len()..)?.get(..usize::from(head.extra_bytes))?;
        Some((head, path, extra))
    }
}
