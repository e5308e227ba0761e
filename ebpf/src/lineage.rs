//! Which programs a process descends from, whatever policy is in force.
//!
//! Labels mean something under one image only. When a new one is staged, a process whose parents have exited could not be
//! labelled from what runs: here is kept what they ran. A path of a program is kept once, under an id made of its bytes;
//! each process has the id of its own program and those of its ancestors. Whatever is lost on the way (a full table, more
//! ancestors than there is room for, two paths with one id) is marked, and then nothing is claimed about that process.

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_loop, macros::map, maps::HashMap};
use interdict_abi::{
    ids::Fault,
    limits::{LINEAGE, PATH_BYTES, PROCESSES, PROGRAMS as PROGRAM_COUNT},
    maps::{ExecInFlight, Lineage, ProgramPath, mixed},
};

use crate::{
    bounds::masked,
    emit,
    kernel::copy,
    scratch::{Area, Text},
};

const BPF_F_NO_PREALLOC: u32 = 1;

/// Paths of programs, by id. Written here and by the agent; rows that nobody refers to are removed by the agent.
#[map]
pub static PROGRAMS: HashMap<u64, ProgramPath> =
    HashMap::with_max_entries(PROGRAM_COUNT, BPF_F_NO_PREALLOC);

/// Lineages of live processes. Written here; rows of what ran before are added by the agent.
#[map]
pub static LINEAGES: HashMap<u32, Lineage> =
    HashMap::with_max_entries(PROCESSES, BPF_F_NO_PREALLOC);

/// A walk over the words of a path.
#[repr(C)]
pub struct Words<'a> {
    text: &'a Text,
    known: *const u64,
    bytes: u64,
    id: u64,
    /// Whether the words so far are those of `known`.
    same: u64,
}

/// Words of the longest path.
const WORDS: u32 = (PATH_BYTES / 8) as u32;

impl<'a> Words<'a> {
    /// Whether the first `bytes` of the text are those at `known`, a map value of `PATH_BYTES`, 8-aligned.
    #[inline(always)]
    pub fn same(text: &'a Text, known: *const u64, bytes: u64) -> bool {
        let mut words = Words { text, known, bytes, id: 0, same: 1 };
        // SAFETY: the callback is `compare`, and its context outlives the call.
        unsafe { bpf_loop(WORDS, compare as *mut c_void, (&raw mut words).cast(), 0) };
        words.same == 1
    }

    /// The word at `index`, with zeros behind the path's end.
    #[inline(always)]
    fn word(&self, index: u64) -> u64 {
        let at = masked::<{ PATH_BYTES as u64 / 8 - 1 }>(index) as usize * 8;
        let words: *const u64 = self.text.0.as_ptr().cast();
        // SAFETY: `at` is inside the text, which is 8-aligned.
        let word = unsafe { words.add(at / 8).read() };
        let left = self.bytes - index * 8;
        if left >= 8 { word } else { word & ((1u64 << (left * 8)) - 1) }
    }
}

/// One step for `bpf_loop`: mixes a word into the id.
///
/// # Safety
/// `words` must be live.
#[inline(never)]
unsafe extern "C" fn mix(index: u64, words: *mut Words<'_>) -> i64 {
    // SAFETY: by the caller.
    let words = unsafe { &mut *words };
    if index * 8 >= words.bytes {
        return 1;
    }
    words.id = mixed(words.id, words.word(index));
    0
}

/// One step for `bpf_loop`: compares a word.
///
/// # Safety
/// `words` must be live.
#[inline(never)]
unsafe extern "C" fn compare(index: u64, words: *mut Words<'_>) -> i64 {
    // SAFETY: by the caller.
    let words = unsafe { &mut *words };
    if index * 8 >= words.bytes {
        return 1;
    }
    let at = masked::<{ PATH_BYTES as u64 / 8 - 1 }>(index) as usize;
    // SAFETY: a live map value of PATH_BYTES, 8-aligned.
    let known = unsafe { words.known.add(at).read() };
    let left = words.bytes - index * 8;
    let known = if left >= 8 { known } else { known & ((1u64 << (left * 8)) - 1) };
    if known != words.word(index) {
        words.same = 0;
        return 1;
    }
    0
}

/// The id of the path at the start of an area's text, which is kept. 0: it could not be.
#[inline(never)]
pub fn program(area: Area, bytes: u64) -> u64 {
    let bytes = masked::<{ PATH_BYTES as u64 - 1 }>(bytes);
    if bytes == 0 {
        return 0;
    }
    let text = &area.work().text;
    let mut words = Words { text, known: core::ptr::null(), bytes, id: bytes, same: 1 };
    // SAFETY: the callback is `mix`, and its context outlives the call.
    unsafe { bpf_loop(WORDS, mix as *mut c_void, (&raw mut words).cast(), 0) };
    let id = words.id | 1;
    match PROGRAMS.get_ptr(&id) {
        Some(known) => {
            // SAFETY: live while the program runs; the terminator is compared by its own byte below.
            let end = unsafe { (*known).0[bytes as usize & (PATH_BYTES - 1)] };
            if Words::same(text, known.cast(), bytes) && end == 0 { id } else { lost() }
        }
        None => {
            // SAFETY: the text has more than PATH_BYTES, and its path is terminated.
            let path = unsafe { &*text.0.as_ptr().cast::<ProgramPath>() };
            if PROGRAMS.insert(&id, path, 0).is_ok() { id } else { lost() }
        }
    }
}

/// Copies the path of a program that was checked to the text of an area, without a terminator. Answers its bytes. `None`:
/// it is not the path that is asked for, or gone.
#[inline(always)]
pub fn recall(area: Area, found: &ExecInFlight) -> Option<u64> {
    let bytes = masked::<{ PATH_BYTES as u64 - 1 }>(found.path_bytes);
    if bytes == 0 || found.program <= Lineage::NAMELESS {
        return None;
    }
    let known = PROGRAMS.get_ptr(&found.program)?;
    let target = area.work().text.0.as_mut_ptr();
    // SAFETY: both have room for PATH_BYTES.
    if !unsafe { copy(target, bytes, known.cast()) } {
        return None;
    }
    // The agent removes what no process refers to, and the kernel may give the memory to another row at once.
    if PROGRAMS.get_ptr(&found.program)? == known { Some(bytes) } else { None }
}

#[inline(always)]
fn lost() -> u64 {
    emit::count(Fault::Lineage);
    0
}

/// A child descends from whom its parent descends from, and from its parent.
#[inline(never)]
pub fn forked(parent: u32, child: u32) {
    // SAFETY: the map is RCU-protected while a program runs.
    let Some(theirs) = (unsafe { LINEAGES.get(&parent) }) else {
        // Nothing is known; a row of an earlier process with this number must not stay.
        let _none = LINEAGES.remove(&child);
        return;
    };
    let program = theirs.program;
    if LINEAGES.insert(&child, theirs, 0).is_err() {
        emit::count(Fault::Lineage);
        return;
    }
    let Some(own) = LINEAGES.get_ptr_mut(&child) else { return };
    // SAFETY: live while the program runs; the child does not run yet, so nobody else writes it.
    let own = unsafe { &mut *own };
    if program == 0 {
        own.lost = 1;
        return;
    }
    let mut index = 0;
    while index < LINEAGE {
        // Rows end with zeros.
        let known = own.ancestors[index];
        if known == program {
            return;
        }
        if known == 0 {
            own.ancestors[index] = program;
            return;
        }
        index += 1;
    }
    own.lost = 1;
}

/// A process runs another program. 0: one that is not known.
#[inline(always)]
pub fn executed(process: u32, program: u64) {
    if let Some(own) = LINEAGES.get_ptr_mut(&process) {
        // SAFETY: live while the program runs; one word, and only the process itself executes.
        unsafe { (&raw mut (*own).program).write_volatile(program) };
    }
}

/// A process is gone.
#[inline(always)]
pub fn exited(process: u32) {
    let _none = LINEAGES.remove(&process);
}
