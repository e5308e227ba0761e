//! What the agent and the programs that guard it tell each other.
//!
//! The guard does not depend on any policy: it has maps of its own, pinned beside the others, and goes on while no agent
//! runs. Whom it trusts is a process that runs the agent's own code and asked for it: see [`tasks`].

use crate::ids::numbered;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Names of the guard's maps, as in the object.
pub mod names {
    /// Array of [`super::GuardState`], one entry.
    pub const STATE: &str = "GUARD_STATE";
    /// Hash of [`super::GuardObject`] to a mask of [`super::objects`].
    pub const OBJECTS: &str = "GUARD_OBJECTS";
    /// Hash of thread group to a word: one of [`super::tasks`] in its lowest two bits, above it what the process gave when
    /// it asked for trust, so that it knows which guard has granted it.
    pub const TASKS: &str = "GUARD_TASKS";
    /// Hash of [`super::GuardId`] to 1: the maps, programs and links that are guarded.
    pub const IDS: &str = "GUARD_IDS";
    /// Hash of the nonce of a break-glass token (16 bytes) to when it was used, seconds of wall time.
    pub const USED: &str = "GUARD_USED";
}

/// What the guard is told, and what the next agent is told by the one before.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct GuardState {
    /// 1: refuse; 0: let everything pass, as before the agent armed it and after break-glass.
    pub armed: u64,
    /// Inode of the private key: not even read by others. 0: none.
    pub secret_inode: u64,
    /// Its device, kernel encoding.
    pub secret_device: u64,
    /// Device of the BPF file system with the pins: not unmounted by others. 0: none.
    pub pins_device: u64,
    /// Device of cgroupfs. 0: there is none.
    pub cgroups_device: u64,
    /// Number of the agent's mount namespace.
    pub mounts: u64,
    /// The latest wall time an agent has seen, seconds: a token does not come back when the clock is set back.
    pub seen_s: u64,
    /// 1: a break-glass token ended the guard, until an agent is told to arm it again.
    pub broken: u64,
    /// The agent attaches programs: links with this number and above count as its own until they are listed. 0: it does not.
    pub links_from: u64,
    /// SHA-256 of the configuration that was in force when the guard was armed.
    pub config: [u8; 32],
    /// Ed25519 key that break-glass tokens are signed with; all zero: there is none.
    pub key: [u8; 32],
}

/// An inode, across names.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct GuardObject {
    /// Its number.
    pub inode: u64,
    /// Its device, kernel encoding.
    pub device: u64,
}

/// Why an inode is guarded: bits.
pub mod objects {
    /// The agent's program: who runs it is the agent.
    pub const CODE: u32 = 1;
    /// A library of the agent: it may be mapped into it.
    pub const LIBRARY: u32 = 2;
    /// A file that nobody else changes, renames, links or removes.
    pub const FILE: u32 = 4;
    /// A folder in which, and up to four levels below which, nobody else changes anything.
    pub const TREE: u32 = 8;
    /// A cgroup the agent is in: not frozen and not killed by others.
    pub const CGROUP: u32 = 16;
    /// A folder on the way to something guarded: nobody else mounts over it.
    pub const WAY: u32 = 32;
}

/// What is known of a process.
pub mod tasks {
    /// It runs the agent's program, was not traced when it began to, and has mapped no other code.
    pub const GENUINE: u32 = 1;
    /// It has asked to be the agent as well.
    pub const TRUSTED: u32 = 2;
}

/// `prctl` option by which the agent's program asks to be trusted; no kernel knows it. The answer is an error number.
pub const ASK_TRUST: i32 = 0x1d7e_0001;
/// `prctl` option by which it gives that up.
pub const LEAVE_TRUST: i32 = 0x1d7e_0002;
/// The answer of a guard that grants: `EALREADY`, which `prctl` gives for nothing else.
pub const GRANTED: i32 = 114;

/// The bits of a word in `GUARD_TASKS` that are one of [`tasks`].
pub const STANDING: u64 = 3;

/// A BPF object.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct GuardId {
    /// One of the constants of this type.
    pub kind: u32,
    /// Its id.
    pub id: u32,
}

impl GuardId {
    /// A map.
    pub const MAP: u32 = 1;
    /// A program.
    pub const PROGRAM: u32 = 2;
    /// A link.
    pub const LINK: u32 = 3;
}

numbered! {
    /// What somebody tried to do to the agent.
    pub enum GuardAct {
        /// Send it a signal.
        Signal = 1 => "signal",
        /// Trace it, or reach into its memory.
        Attach = 2 => "attach",
        /// Change its limits, priority or processors.
        Limit = 3 => "limit",
        /// Open something of it for writing.
        Write = 4 => "write",
        /// Read its private key.
        Secret = 5 => "read-key",
        /// Make something in a folder of it.
        Create = 6 => "create",
        /// Remove something of it.
        Remove = 7 => "remove",
        /// Rename something of it, or something over it.
        Rename = 8 => "rename",
        /// Give something of it another name.
        Link = 9 => "link",
        /// Change owner, mode or attributes of something of it.
        Attributes = 10 => "attributes",
        /// Mount over something of it.
        Mount = 11 => "mount",
        /// Unmount what its pins are on.
        Unmount = 12 => "unmount",
        /// Reach a map of it.
        Map = 13 => "bpf-map",
        /// Reach a program of it.
        Program = 14 => "bpf-program",
        /// Reach a link of it.
        DetachLink = 15 => "bpf-link",
        /// Change `kernel.ftrace_enabled`.
        Sysctl = 16 => "ftrace",
        /// Freeze or kill its cgroup.
        Cgroup = 17 => "cgroup",
        /// Have its program run other code.
        Code = 18 => "code",
    }
}

const _: () = assert!(size_of::<GuardState>() == 136);
const _: () = assert!(size_of::<GuardObject>() == 16);
const _: () = assert!(size_of::<GuardId>() == 8);

#[cfg(feature = "user")]
mod user {
    // SAFETY: `zerocopy::IntoBytes` proves that there is no padding, and `FromBytes` that any bytes are valid.
    unsafe impl aya::Pod for super::GuardState {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::GuardObject {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::GuardId {}
}
