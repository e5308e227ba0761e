//! Arguments of programs: read when the kernel has copied them, judged, and kept as the set of predicates that hold.
//!
//! A process has a row in `ARGUMENTS` under each generation whose image asks for it (`header::KEPT_ARGS`). A child inherits
//! it, an exec replaces it, the last thread's exit removes it. What could not be read is marked in the row and not left
//! out: the agent adds rows that are missing from `/proc`, and must not answer for what the kernel could not know.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use interdict_abi::{
    event::flags,
    ids::{Fault, Generation, SetFact},
    image::header,
    limits::{ARGS_BYTES, PATH_BYTES},
    maps::{KeptArgs, ProcessKey},
};
use interdict_engine::{Bytes, Memory, args::Gathering, facts::SetFacts};

use crate::{
    bounds::masked,
    emit,
    kernel::{copy_user, task},
    maps::ARGUMENTS,
    policy::{self, Image},
    scratch::{self, Area, TEXT_BYTES, Text, Work},
    words,
};

/// What was read of a new program, in the text of an area: the path, and behind it the arguments.
#[derive(Clone, Copy)]
pub struct Read {
    /// Bytes of the path; 0 if it is not known.
    pub path_bytes: u64,
    /// Bytes of the arguments; 0 if they could not be read.
    pub args_bytes: u64,
    /// Whether there were more.
    pub truncated: bool,
}

impl Read {
    /// Reads the arguments of the acting process behind a path.
    #[inline(always)]
    pub fn behind(path_bytes: u64, area: Area) -> Self {
        let (args_bytes, truncated) = arguments(path_bytes, &mut area.work().text);
        Self { path_bytes, args_bytes, truncated }
    }

    /// Whether further arguments than those in the text may be there.
    #[inline(always)]
    pub fn partly(self) -> bool {
        self.truncated || self.args_bytes == 0
    }

    /// Gathers the predicates of the image in `slot` that hold, into the area.
    #[inline(always)]
    pub fn gather(self, area: Area, slot: u32) {
        interdict_arguments(area.number, slot, self.path_bytes, self.args_bytes);
    }

    /// Keeps which predicates hold of the acting process from now on, under each image in use that asks for it.
    #[inline(always)]
    pub fn keep(self, process: u32, area: Area) {
        let (active, staged) = policy::generations();
        self.keep_for(active, process, area);
        self.keep_for(staged, process, area);
    }

    #[inline(always)]
    fn keep_for(self, generation: Generation, process: u32, area: Area) {
        if !kept(generation) {
            return;
        }
        self.gather(area, generation.slot());
        let mut row = KeptArgs { set: [0; 4], unknown: u64::from(self.partly()) };
        words::copy(&mut row.set, &area.work().gathering.set);
        put(generation, process, &row);
    }
}

/// Whether processes have rows under `generation`.
#[inline(always)]
fn kept(generation: Generation) -> bool {
    generation.0 != 0
        && policy::slot(generation.slot()).is_some_and(|image| image.word(header::KEPT_ARGS) != 0)
}

#[inline(always)]
fn put(generation: Generation, process: u32, row: &KeptArgs) {
    let key = ProcessKey { generation: generation.0, process };
    if ARGUMENTS.insert(&key, row, 0).is_err() {
        emit::count(Fault::ProcessTable);
    }
}

/// Nothing can be said of the arguments of the process's new program: what was known of the old one must not stay.
#[inline(never)]
pub fn lost(process: u32) {
    let row = KeptArgs { set: [0; 4], unknown: 1 };
    let (active, staged) = policy::generations();
    if kept(active) {
        put(active, process, &row);
    }
    if kept(staged) {
        put(staged, process, &row);
    }
}

/// A child runs what its parent runs.
#[inline(never)]
pub fn inherit(generation: Generation, parent: u32, child: u32) {
    if !kept(generation) {
        return;
    }
    // SAFETY: the map is RCU-protected while a program runs.
    let row = unsafe { ARGUMENTS.get(&ProcessKey { generation: generation.0, process: parent }) };
    let Some(row) = row else {
        // Nothing is known; a row of an earlier process with this number must not stay.
        let _none = ARGUMENTS.remove(&ProcessKey { generation: generation.0, process: child });
        return;
    };
    put(generation, child, row);
}

/// A process is gone.
#[inline(always)]
pub fn forget(generation: Generation, process: u32) {
    if kept(generation) {
        let _none = ARGUMENTS.remove(&ProcessKey { generation: generation.0, process });
    }
}

/// What is known of the arguments of the acting process, into the sets. Answers record flags.
#[inline(always)]
pub fn learn(sets: &mut SetFacts, generation: Generation) -> u32 {
    let (process, _) = task::ids();
    // SAFETY: the map is RCU-protected while a program runs.
    let row = unsafe { ARGUMENTS.get(&ProcessKey { generation: generation.0, process }) };
    let (fault, flag) = match row {
        Some(row) => {
            words::copy(&mut sets.args, &row.set);
            if row.unknown == 0 {
                return 0;
            }
            (Fault::Args, flags::ARGS_UNKNOWN)
        }
        None => (Fault::Process, flags::PROCESS_UNKNOWN),
    };
    emit::count(fault);
    sets.unknown |= 1 << SetFact::Args as u64;
    flag
}

/// Reads the arguments behind the path. Answers their bytes, and whether there were more.
#[inline(always)]
fn arguments(path_bytes: u64, text: &mut Text) -> (u64, bool) {
    let Some((start, end)) = task::arguments() else { return (0, false) };
    if end <= start {
        return (0, false);
    }
    let all = end - start;
    let most = ARGS_BYTES as u64 - 1;
    let bytes = masked::<{ ARGS_BYTES as u64 - 1 }>(if all > most { most } else { all });
    // SAFETY: path and arguments are below PATH_BYTES and ARGS_BYTES, and the text has room for both.
    let target = unsafe { text.0.as_mut_ptr().add(path_bytes as usize) };
    // SAFETY: as above.
    if unsafe { copy_user(target, bytes, start) } { (bytes, all > most) } else { (0, false) }
}

/// Gathers into the area which argument predicates of the image in `slot` hold of the arguments in its text.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_arguments(area: u32, slot: u32, path_bytes: u64, args_bytes: u64) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(slot) else { return 0 };
    let Work { gathering, text, .. } = work;
    let automaton = image.word(header::ARG_AUTOMATON);
    let table = image.word(header::ARG_SETS);
    // SAFETY: all zero is no state at all.
    unsafe { words::zero(gathering) };
    gathering.restart(&image, automaton, table, args_bytes as u32);
    let start = masked::<{ PATH_BYTES as u64 - 1 }>(path_bytes);
    let mut arguments = Arguments { image: &image, gathering, text, start };
    // SAFETY: the callback is `look`, and its context outlives the call.
    unsafe { bpf_loop(ARGS_BYTES as u32, look as *mut c_void, (&raw mut arguments).cast(), 0) };
    0
}

/// The arguments as the engine reads them.
#[repr(C)]
struct Arguments<'a> {
    image: &'a Image,
    gathering: &'a mut Gathering,
    text: &'a Text,
    start: u64,
}

struct Behind<'a> {
    text: &'a Text,
    start: u64,
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `arguments` must be live.
#[inline(never)]
unsafe extern "C" fn look(_index: u64, arguments: *mut Arguments<'_>) -> i64 {
    // SAFETY: by the caller.
    let arguments = unsafe { &mut *arguments };
    let behind = Behind { text: arguments.text, start: arguments.start };
    i64::from(arguments.gathering.step(arguments.image, &behind))
}

impl Bytes for Behind<'_> {
    #[inline(always)]
    fn at(&self, index: u32) -> u8 {
        self.text.0[(self.start + u64::from(index)) as usize & (TEXT_BYTES - 1)]
    }
}
