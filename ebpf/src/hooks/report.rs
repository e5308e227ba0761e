//! Tells the agent what was decided, and does it.

use crate::{
    bounds,
    emit::{self, Weight},
    hooks::repeats,
    kernel::{object::Object, path::Built, task},
    policy,
    scratch::{Area, Work},
};
use aya_ebpf::helpers::generated::bpf_send_signal;
use interdict_abi::{
    event::{flags, kind},
    ids::{Action, Family, Fault, Generation},
};

const SIGKILL: u32 = 9;

/// What a hook has learned, beside the strings in its scratch area.
#[derive(Clone, Copy, Default)]
pub struct Told {
    /// Record flags.
    pub flags: u32,
    /// `Fault`.
    pub fault: u8,
    /// Mask of acts.
    pub acts: u32,
    /// Bytes of the path at the start of the text.
    pub path_bytes: u64,
    /// Bytes of the second string behind it.
    pub extra_bytes: u64,
    /// The act's own number.
    pub number: u32,
}

/// What was decided becomes what can be done where the act has happened: a refusal kills the process before it goes on,
/// and the caller is given no error.
#[inline(always)]
pub fn happened(area: Area) {
    let decision = &mut area.work().decision;
    decision.verdict = match decision.verdict {
        Action::Pass => Action::Pass,
        Action::Alert => Action::Alert,
        Action::Block | Action::Kill => Action::Kill,
    };
    decision.errno = 0;
}

impl Told {
    /// Takes note of the object's path. Answers whether there is one; that there is none is a fault.
    #[inline(always)]
    pub fn path(&mut self, built: Built) -> bool {
        if built.known() {
            self.path_bytes = built.bytes;
            if built.deleted != 0 {
                self.flags |= flags::PATH_DELETED;
            }
            return true;
        }
        self.fault = super::faulted(Fault::Path);
        self.flags |= flags::PATH_UNKNOWN;
        false
    }
}

/// Starts a decision record: everything that is known without the object.
#[inline(always)]
pub fn begin(area: Area, generation: Generation, family: Family, told: &Told) {
    let work = area.work();
    emit::begin(work, kind::DECISION);
    let Work { head, decision, .. } = work;
    head.flags = told.flags | if decision.more { flags::MORE_RULES } else { 0 };
    head.generation = generation.0;
    head.family = family as u8;
    head.verdict = decision.verdict as u8;
    head.would = decision.would as u8;
    head.fault = match told.fault {
        0 if told.flags & flags::PROCESS_UNKNOWN != 0 => Fault::Process as u8,
        0 if told.flags & flags::ARGS_UNKNOWN != 0 => Fault::Args as u8,
        0 if told.flags & flags::WORKLOAD_UNKNOWN != 0 => Fault::Workload as u8,
        fault => fault,
    };
    head.acts = told.acts;
    head.number = told.number;
    head.clauses = decision.clauses;
    head.clauses_told = decision.told as u16;
    head.path_bytes = told.path_bytes as u16;
    head.extra_bytes = told.extra_bytes as u16;
}

/// Adds the acting task.
#[inline(always)]
pub fn actor(area: Area) {
    let head = &mut area.work().head;
    let (process, thread) = task::ids();
    head.pid = process;
    head.tid = thread;
    let (user, group) = task::owner();
    head.uid = user;
    head.gid = group;
    head.euid = task::euid().unwrap_or(user);
    head.cgroup = task::cgroup();
    (head.parent, head.start_ns) = task::lineage();
    task::comm(&mut head.comm);
}

/// Writes an address as records have it, from its halves in host order.
#[inline(always)]
pub fn address(field: &mut [u8; 16], upper: u64, lower: u64) {
    let halves: *mut u64 = (&raw mut *field).cast();
    // SAFETY: the field has sixteen bytes.
    unsafe { halves.write_unaligned(upper.to_be()) };
    // SAFETY: as above.
    unsafe { halves.add(1).write_unaligned(lower.to_be()) };
}

/// Adds the object.
#[inline(always)]
pub fn object(area: Area, object: &Object) {
    let head = &mut area.work().head;
    head.inode = object.inode;
    head.device = object.device;
    head.mode = object.mode;
    head.object_flags = object.flags as u16;
}

/// Sends the record and does what was decided. Answers what an LSM program returns.
#[inline(always)]
pub fn finish(area: Area) -> i32 {
    let answer = tell(area);
    if area.work().decision.verdict as u8 == Action::Kill as u8 {
        // SAFETY: the helper has no preconditions; it aims at the current task.
        unsafe { bpf_send_signal(SIGKILL) };
    }
    answer
}

/// [`finish`] for programs that may not send signals (cgroup): a kill is told as the refusal it comes to.
#[inline(always)]
pub fn finish_without_kill(area: Area) -> i32 {
    if area.work().decision.verdict as u8 == Action::Kill as u8 {
        area.work().decision.verdict = Action::Block;
        area.work().head.verdict = Action::Block as u8;
    }
    tell(area)
}

#[inline(always)]
fn tell(area: Area) -> i32 {
    let work = area.work();
    // The agent looks for what rules select, also where they refuse everybody to look.
    if policy::is_seeder(work.head.tid) {
        work.decision.verdict = Action::Pass;
        return 0;
    }
    let verdict = work.decision.verdict;
    let errno = work.decision.errno;
    let refused = verdict as u8 >= Action::Block as u8;
    if refused {
        work.head.errno = u32::from(errno);
    }
    if !repeats::counted(area) {
        emit::send(area.work(), if refused { Weight::Refusal } else { Weight::Audit });
    }
    if refused { bounds::refusal(errno) } else { 0 }
}
