//! Reads ring records: the only place that trusts the kernel side's bytes, after reading them.
//!
//! In: one record as it lay in the ring. Out: a [`KernelEvent`] that borrows the record's strings, or a [`DecodeError`]
//! that says which number was not understood. Every number is checked here, so later stages only see meanings; what is
//! unknown is an error that the pipeline counts by [`DecodeError::reason`] and tells as a loss. Never panics.

mod decode;
#[cfg(test)]
mod tests;

pub use decode::{DecodeError, decode};

use std::net::Ipv6Addr;

use interdict_abi::{
    event::flags,
    guard::GuardAct,
    ids::{Act, Action, Family, Fault, Generation},
    limits::{COMM_BYTES, RULES_TOLD},
};

/// One decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent<'a> {
    /// At least one rule matched, or a fault was decided.
    Decision(Decision<'a>),
    /// A process was forked: the actor is the parent.
    Fork(Fork),
    /// A new program runs in the acting process.
    Exec(Exec<'a>),
    /// The last thread of the acting process exited.
    Exit(Exit),
    /// The guard refused something that was done to the agent.
    Guard(Attempt<'a>),
}

/// The process that acted, as the kernel saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Thread group id, initial PID namespace.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Thread group id of the parent.
    pub parent: u32,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Start, ns on `CLOCK_BOOTTIME`; 0 if the kernel side did not say.
    pub start_ns: u64,
    /// Cgroup id (v2).
    pub cgroup: u64,
    /// `comm`, padded with zeros.
    pub comm: [u8; COMM_BYTES],
}

impl Actor {
    /// `comm` up to its first zero.
    pub fn name(&self) -> &[u8] {
        let end = self.comm.iter().position(|&byte| byte == 0).unwrap_or(COMM_BYTES);
        &self.comm[..end]
    }
}

/// The acts of one hook call, all of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acts {
    family: Family,
    mask: u32,
}

impl Acts {
    /// The family.
    pub fn family(self) -> Family {
        self.family
    }

    /// The acts, in the order of their numbers. Bits that name no act of the family are in [`Acts::unknown`].
    pub fn iter(self) -> impl Iterator<Item = Act> {
        Act::ALL
            .iter()
            .copied()
            .filter(move |act| act.family() == self.family && act.bit() & self.mask != 0)
    }

    /// Whether `act` is among them.
    pub fn contains(self, act: Act) -> bool {
        act.family() == self.family && act.bit() & self.mask != 0
    }

    /// Bits of the mask that name no act this agent knows.
    pub fn unknown(self) -> u32 {
        self.mask & !self.iter().fold(0, |known, act| known | act.bit())
    }
}

/// Flags of a record, by meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordFlags(u32);

impl RecordFlags {
    /// Arguments did not fit into the record.
    pub fn args_truncated(self) -> bool {
        self.0 & flags::ARGS_TRUNCATED != 0
    }
    /// The path could not be built.
    pub fn path_unknown(self) -> bool {
        self.0 & flags::PATH_UNKNOWN != 0
    }
    /// The process had no row in the kernel.
    pub fn process_unknown(self) -> bool {
        self.0 & flags::PROCESS_UNKNOWN != 0
    }

    /// Arguments of the acting process's program were not known.
    pub fn args_unknown(self) -> bool {
        self.0 & flags::ARGS_UNKNOWN != 0
    }

    /// Something of the acting process's container was not known.
    pub fn workload_unknown(self) -> bool {
        self.0 & flags::WORKLOAD_UNKNOWN != 0
    }
    /// More rules matched than are named.
    pub fn more_rules(self) -> bool {
        self.0 & flags::MORE_RULES != 0
    }
    /// The object was judged by a name it is remembered under: the second string.
    pub fn by_name(self) -> bool {
        self.0 & flags::BY_NAME != 0
    }
    /// Paths are those that the caller wrote: nobody looked the objects up.
    pub fn spelled(self) -> bool {
        self.0 & flags::SPELLED != 0
    }
    /// The second string tells what a flow carried.
    pub fn totals(self) -> bool {
        self.0 & flags::TOTALS != 0
    }
    /// The file was already unlinked.
    pub fn path_deleted(self) -> bool {
        self.0 & flags::PATH_DELETED != 0
    }
}

/// The object of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    /// Inode number.
    pub inode: u64,
    /// Device, kernel encoding.
    pub device: u32,
    /// `i_mode`.
    pub mode: u32,
    /// Bits of `interdict_abi::ids::object_flags`.
    pub flags: u16,
    /// Path, without a terminating zero; empty if there is none or it is unknown.
    pub path: &'a [u8],
}

/// The two ends of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Remote address, IPv4 as mapped IPv6.
    pub remote_ip: Ipv6Addr,
    /// Remote port.
    pub remote_port: u16,
    /// Local address, IPv4 as mapped IPv6.
    pub local_ip: Ipv6Addr,
    /// Local port.
    pub local_port: u16,
    /// IP protocol number.
    pub protocol: u16,
    /// Address family number.
    pub address_family: u16,
}

/// A decision the kernel made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// When, ns on `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// Generation of the policy that decided.
    pub generation: Generation,
    /// What was done.
    pub verdict: Action,
    /// What enforcing every matched rule would do.
    pub would: Action,
    /// What could not be learned.
    pub fault: Fault,
    /// Which acts.
    pub acts: Acts,
    /// The errno the caller got, 0 if the act went on.
    pub errno: u32,
    /// Who acted. All zero for packets.
    pub actor: Actor,
    /// Thread group the act is aimed at, 0 if none.
    pub target: u32,
    /// The act's own number: signal, capability, system call.
    pub number: u32,
    /// On what.
    pub object: Object<'a>,
    /// Between which ends.
    pub flow: Flow,
    /// Arguments (zero-separated) for `exec.args`, the second path for renames and links.
    pub second: &'a [u8],
    /// Flags.
    pub flags: RecordFlags,
    pub(crate) clauses: [u16; RULES_TOLD],
    pub(crate) clauses_told: usize,
}

impl Decision<'_> {
    /// The first clause of each told rule, strongest first.
    pub fn clauses(&self) -> &[u16] {
        self.clauses.get(..self.clauses_told).unwrap_or(&[])
    }
}

/// A fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// When, ns on `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// The parent.
    pub actor: Actor,
    /// Thread group id of the child.
    pub child: u32,
}

/// A new program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exec<'a> {
    /// When, ns on `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// The process, after the exec.
    pub actor: Actor,
    /// The program file.
    pub path: &'a [u8],
    /// Its arguments, zero-separated.
    pub args: &'a [u8],
    /// Flags.
    pub flags: RecordFlags,
}

/// An exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// When, ns on `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// The process.
    pub actor: Actor,
    /// Exit code as the kernel keeps it.
    pub code: u32,
}

/// Something that was done to the agent, and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// When, ns on `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// Who tried.
    pub actor: Actor,
    /// What.
    pub act: GuardAct,
    /// The act's own number: signal, mode of access, id of a BPF object.
    pub number: u32,
    /// Thread group it was aimed at, 0 if none.
    pub target: u32,
    /// What is guarded, as device and inode; zeros if it is no file.
    pub guarded: (u32, u64),
    /// The last name it was reached by.
    pub name: &'a [u8],
}
