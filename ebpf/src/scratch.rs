//! Scratch memory that belongs to one invocation.
//!
//! LSM programs are preemptible, and interrupts run programs on top of them: memory shared by all programs of a CPU
//! could change between being filled and being judged. So each invocation claims one of a few areas of its CPU with an
//! atomic bit and gives it back at the end.

use core::{mem::MaybeUninit, sync::atomic::AtomicU64};

use interdict_abi::{
    event::Head,
    ids::Fault,
    limits::{ARGS_BYTES, COLUMN_PARTS, DNS_MESSAGE_BYTES, PATH_BYTES, WORK_AREAS},
    maps::{AddressName, ExecInFlight, KnownName, Subject},
};
use interdict_engine::{
    Bytes,
    args::Gathering,
    dfa::Cursor,
    dns::{self, KEY_BYTES, Room},
    facts::{Progress, SetFacts},
    names,
    tidy::Tidying,
    verdict::{Decision, Walk},
};

use crate::{
    atomic,
    cache::Remembered,
    emit,
    hooks::{called::FileCalled, object::Question, syscall::Called, system::Known, wire::Packet},
    kernel::{container::Ascent, cwd::Cwd, mounts::Search, path::Climb},
    maps::{SCRATCH, SCRATCH_TAKEN},
};

/// Bytes of [`Work::text`]: a path and arguments.
pub const TEXT_BYTES: usize = PATH_BYTES + ARGS_BYTES;

/// What each part of a column's automaton said of one string: the label plus one, 0 for unknown.
pub type Labels = [u32; COLUMN_PARTS];

/// Rows of labels: see `hooks::object`.
pub const LABEL_ROWS: usize = 4;

/// Room past the text, so that a bounded copy that starts anywhere inside stays inside.
pub const SLACK_BYTES: usize = 4096;

/// One scratch area. `head` and `text` are adjacent: a record is copied to the ring in one piece.
#[repr(C)]
pub struct Work {
    /// How far narrowing has come.
    pub progress: Progress,
    /// Sets.
    pub sets: SetFacts,
    /// What is to be remembered of the file whose path is built.
    pub kept: MaybeUninit<Remembered>,
    /// What is asked about an object.
    pub question: Question,
    /// Labels of its strings: see `hooks::object`.
    pub labels: [Labels; LABEL_ROWS],
    /// The strongest decision so far, of those on the names of one object.
    pub best: Decision,
    /// The labels of a program that is about to run.
    pub found: ExecInFlight,
    /// A name that is remembered.
    pub name: KnownName,
    /// How far building a path has come.
    pub climb: Climb,
    /// How far looking for a mount has come.
    pub search: Search,
    /// The working directory, and how far building it has come.
    pub cwd: Cwd,
    /// How far looking for the name of a container has come.
    pub ascent: Ascent,
    /// How far the walk over a path has come.
    pub cursor: Cursor,
    /// How far looking at arguments has come.
    pub gathering: Gathering,
    /// How far deciding has come.
    pub walk: Walk,
    /// What was decided.
    pub decision: Decision,
    /// What is known of an act on the system.
    pub system: Known,
    /// What is known of a system call.
    pub called: Called,
    /// What is known of one that is about files.
    pub file_called: FileCalled,
    /// How far tidying a path has come.
    pub tidying: Tidying,
    /// What was parsed of a packet.
    pub packet: Packet,
    /// What the decision is about.
    pub subject: Subject,
    /// How far reading the question of a message to a name server has come.
    pub lookup: dns::Question,
    /// How far reading the addresses of an answer has come.
    pub records: dns::Records,
    /// A name of an address, on its way to the table.
    pub given: AddressName,
    /// How far narrowing had come before the names of an address.
    pub saved: Progress,
    /// How far looking for its name in a table has come.
    pub names: names::Walk,
    /// A short string: a name, a comm, a socket address.
    pub short: Short,
    /// Head of the record being built.
    pub head: Head,
    /// The strings of the record.
    pub text: Text,
}

/// The strings of a record.
#[repr(C, align(8))]
pub struct Text(pub [u8; TEXT_BYTES + SLACK_BYTES], AtomicU64);

impl Bytes for Text {
    #[inline(always)]
    fn at(&self, index: u32) -> u8 {
        self.0[index as usize & (TEXT_BYTES - 1)]
    }

    #[inline(always)]
    fn forget(&self, index: u32) -> u32 {
        through_memory(&self.1, index)
    }
}

/// Where the message of a look-up is in the text: behind the key of its name.
pub const MESSAGE_AT: usize = KEY_BYTES as usize;

impl Room for Text {
    #[inline(always)]
    fn message(&self, index: u32) -> u8 {
        self.0[MESSAGE_AT + (index as usize & (DNS_MESSAGE_BYTES - 1))]
    }

    #[inline(always)]
    fn put(&mut self, index: u32, byte: u8) {
        self.0[index as usize & (KEY_BYTES as usize - 1)] = byte;
    }
}

/// A short string.
#[repr(C, align(8))]
pub struct Short(pub [u8; 512], AtomicU64);

impl Bytes for Short {
    #[inline(always)]
    fn at(&self, index: u32) -> u8 {
        self.0[index as usize & 511]
    }

    #[inline(always)]
    fn forget(&self, index: u32) -> u32 {
        through_memory(&self.1, index)
    }
}

/// `value`, written to map memory and read back: the verifier does not know what map memory holds.
#[inline(always)]
pub fn through_memory(cell: &AtomicU64, value: u32) -> u32 {
    // SAFETY: a live map value of an area that this invocation has claimed; volatile, so that both accesses stay.
    unsafe { cell.as_ptr().write_volatile(u64::from(value)) };
    // SAFETY: as above.
    unsafe { cell.as_ptr().read_volatile() as u32 }
}

/// A claimed area; [`Claim::release`] must be called on every path.
pub struct Claim {
    /// The area.
    pub area: Area,
    taken: *mut u64,
    bit: u64,
}

/// A claimed area, by number and by address. Hooks hand this around instead of `&mut Work`: the functions of
/// `hooks::judge` reach the same memory by its number, which a mutable reference in a parameter would rule out.
#[derive(Clone, Copy)]
pub struct Area {
    /// Its number on this CPU.
    pub number: u32,
    memory: *mut Work,
}

/// The area `number` of this CPU as hooks hand it around; it must have been claimed.
#[inline(always)]
pub fn numbered(number: u32) -> Option<Area> {
    Some(Area { number, memory: SCRATCH.get_ptr_mut(number)? })
}

impl Area {
    /// The memory. Must not be held across a call into `hooks::judge` that changes the same part.
    #[inline(always)]
    pub fn work(self) -> &'static mut Work {
        // SAFETY: claimed by this invocation alone, and live as long as the program runs.
        unsafe { &mut *self.memory }
    }
}

/// Claims an area of this CPU. `None`, counted, if all are taken.
#[inline(always)]
pub fn claim() -> Option<Claim> {
    let taken = SCRATCH_TAKEN.get_ptr_mut(0)?;
    let mut area = 0;
    while area < WORK_AREAS {
        let bit = 1u64 << area;
        // SAFETY: a live map value of eight bytes, only ever changed atomically.
        if unsafe { atomic::fetch_or(taken, bit) } & bit == 0 {
            // The bit makes this invocation the only user of the area until it is cleared.
            let memory = SCRATCH.get_ptr_mut(area)?;
            return Some(Claim { area: Area { number: area, memory }, taken, bit });
        }
        area += 1;
    }
    emit::count(Fault::Work);
    None
}

/// The area `area` of this CPU, for functions that are verified by themselves and so cannot be handed the memory.
///
/// # Safety
/// The invocation must have claimed it.
#[inline(always)]
pub unsafe fn claimed(area: u32) -> Option<&'static mut Work> {
    let work = SCRATCH.get_ptr_mut(area)?;
    // SAFETY: by the caller.
    Some(unsafe { &mut *work })
}

impl Claim {
    /// Gives the area back.
    #[inline(always)]
    pub fn release(self) {
        // SAFETY: as in `claim`.
        unsafe { atomic::and(self.taken, !self.bit) };
    }
}
