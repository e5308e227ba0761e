//! Keys and values of the BPF maps, and their names.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::SET_WORDS;

/// Names of the maps, as in the object.
pub mod names {
    /// Array of [`super::Control`], one entry.
    pub const CONTROL: &str = "CONTROL";
    /// Array of image slots, two entries, memory-mapped by the agent.
    pub const IMAGE: &str = "IMAGE";
    /// Per-CPU array of readers per slot: u64, two entries.
    pub const READERS: &str = "READERS";
    /// Hash of tgid (u32) to [`super::Process`].
    pub const PROCESSES: &str = "PROCESSES";
    /// The event ring.
    pub const EVENTS: &str = "EVENTS";
    /// Per-CPU array of u64 fault counters, indexed by `Fault`.
    pub const FAULTS: &str = "FAULTS";
    /// Per-CPU array of u64 decision counters, indexed by `family * 4 + verdict`.
    pub const DECISIONS: &str = "DECISIONS";
}

/// What the agent tells the kernel programs. Each word is written atomically.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
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
}

/// What is known of a process under one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Labels {
    /// Generation these labels belong to; 0 when never computed.
    pub generation: u32,
    /// Executable label of the program it runs.
    pub exe: u32,
    /// Ancestor predicates that hold of any of its ancestors.
    pub ancestors: [u64; SET_WORDS],
}

/// The row of one live process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Process {
    /// When it was forked, ns on `CLOCK_BOOTTIME`; 0 for processes seeded from `/proc`.
    pub start_ns: u64,
    /// Thread group of its parent when it was forked.
    pub parent: u32,
    /// See [`crate::ids::process_flags`].
    pub flags: u32,
    /// Labels by image slot.
    pub labels: [Labels; 2],
}

/// An exec between its check and its success, keyed by thread id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExecInFlight {
    /// Executable label by image slot, of the file that was checked last: the one that will run.
    pub exe: [u32; 2],
    /// Generation by image slot.
    pub generation: [u32; 2],
}

const _: () = assert!(size_of::<Control>() == 32);
const _: () = assert!(size_of::<Labels>() == 40);
const _: () = assert!(size_of::<Process>() == 96);
const _: () = assert!(size_of::<ExecInFlight>() == 16);

#[cfg(feature = "user")]
mod user {
    // SAFETY: `zerocopy::IntoBytes` proves that there is no padding, and `FromBytes` that any bytes are valid.
    unsafe impl aya::Pod for super::Control {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Labels {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Process {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ExecInFlight {}
}
