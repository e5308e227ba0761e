//! Scratch memory that belongs to one invocation.
//!
//! LSM programs are preemptible, and interrupts run programs on top of them: memory shared by all programs of a CPU
//! could change between being filled and being judged. So each invocation claims one of a few areas of its CPU with an
//! atomic bit and gives it back at the end.

use interdict_abi::{
    event::Head,
    ids::Fault,
    limits::{ARGS_BYTES, PATH_BYTES, WORK_AREAS},
};
use interdict_engine::{
    Bytes,
    facts::{Columns, SetFacts},
    verdict::Decision,
};

use crate::{
    atomic, emit, hooks::packet::Packet,
    maps::{SCRATCH, SCRATCH_TAKEN},
};

/// Bytes of [`Work::text`]: a path and arguments.
pub const TEXT_BYTES: usize = PATH_BYTES + ARGS_BYTES;

/// Room past the text, so that a bounded copy that starts anywhere inside stays inside.
pub const SLACK_BYTES: usize = 4096;

/// One scratch area. `head` and `text` are adjacent: a record is copied to the ring in one piece.
#[repr(C)]
pub struct Work {
    /// Columns that narrowed.
    pub columns: Columns,
    /// Sets.
    pub sets: SetFacts,
    /// What was decided.
    pub decision: Decision,
    /// What was parsed of a packet.
    pub packet: Packet,
    /// A short string: a name, a comm, a socket address.
    pub short: Short,
    /// Head of the record being built.
    pub head: Head,
    /// The strings of the record.
    pub text: Text,
}

/// The strings of a record.
#[repr(C, align(8))]
pub struct Text(pub [u8; TEXT_BYTES + SLACK_BYTES]);

impl Bytes for Text {
    #[inline(always)]
    fn at(&self, index: u32) -> u8 {
        self.0[index as usize & (TEXT_BYTES - 1)]
    }
}

/// A short string.
#[repr(C, align(8))]
pub struct Short(pub [u8; 512]);

impl Bytes for Short {
    #[inline(always)]
    fn at(&self, index: u32) -> u8 {
        self.0[index as usize & 511]
    }
}

/// A claimed area; [`Claim::release`] must be called on every path.
pub struct Claim {
    taken: *mut u64,
    bit: u64,
}

/// Claims an area of this CPU. `None`, counted, if all are taken.
#[inline(always)]
pub fn claim() -> Option<(&'static mut Work, Claim)> {
    let taken = SCRATCH_TAKEN.get_ptr_mut(0)?;
    let mut area = 0;
    while area < WORK_AREAS {
        let bit = 1u64 << area;
        // SAFETY: a live map value of eight bytes, only ever changed atomically.
        if unsafe { atomic::fetch_or(taken, bit) } & bit == 0 {
            let work = SCRATCH.get_ptr_mut(area)?;
            // SAFETY: the bit makes this invocation the only user of the area until it is cleared.
            return Some((unsafe { &mut *work }, Claim { taken, bit }));
        }
        area += 1;
    }
    emit::count(Fault::Work);
    None
}

impl Claim {
    /// Gives the area back.
    #[inline(always)]
    pub fn release(self) {
        // SAFETY: as in `claim`.
        unsafe { atomic::and(self.taken, !self.bit) };
    }
}
