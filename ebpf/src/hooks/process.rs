//! Processes come, change and go: tracepoints keep their rows, and tell.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use interdict_abi::{
    event::{flags, kind},
    ids::{Act, Fact, Family, Fault, Generation, SetFact},
    image::header,
    limits::{NAMES_PER_OBJECT, PATH_BYTES, SET_WORDS},
    maps::{ExecInFlight, KnownName, LastProgram, Lineage, ProcessKey},
};
use interdict_engine::Memory;

use super::{
    arguments::{self, Read},
    climbing, close, faulted,
    judge::Case,
    report,
    report::Told,
    strings,
};
use crate::{
    bounds::masked,
    emit::{self, Weight},
    kernel::{
        fields, mounts,
        object::{Object, Probed, Reader, layer},
        path::{Built, Spot},
        probed, task,
    },
    lineage,
    maps::{ANCESTORS, EXECS, EXES, EXITING},
    names,
    policy::{self, Image, Policy},
    scratch::{self, Area, Work},
    words,
};

/// A task was made.
///
/// tracepoint: sched_process_fork(struct task_struct *parent, struct task_struct *child)
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_fork(context: RawTracePointContext) -> i32 {
    let Some((thread, process)) = task::ids_of(context.arg(1)) else { return 0 };
    if process != thread {
        return 0;
    }
    // The parent of the tracepoint is the task that forks.
    let (ancestor, _) = task::ids();
    let (active, staged) = policy::generations();
    lineage::forked(ancestor, process);
    inherit(active, ancestor, process);
    inherit(staged, ancestor, process);
    arguments::inherit(active, ancestor, process);
    arguments::inherit(staged, ancestor, process);
    if let Some(claim) = scratch::claim() {
        let work = claim.area.work();
        emit::begin(work, kind::FORK);
        work.head.pid = ancestor;
        work.head.target = process;
        work.head.start_ns = task::start_ns();
        emit::send(work, Weight::Lifecycle);
        claim.release();
    }
    0
}

/// The image of `generation`, if it asks what processes run: under others no process has a row.
#[inline(always)]
fn labelling(generation: Generation) -> Option<Image> {
    if generation.0 == 0 {
        return None;
    }
    policy::slot(generation.slot()).filter(|image| image.word(header::EXE_AUTOMATON) != 0)
}

/// Gives a child its parent's program, and its parent's ancestors with the parent among them.
#[inline(never)]
fn inherit(generation: Generation, parent: u32, child: u32) {
    let Some(image) = labelling(generation) else { return };
    let key = ProcessKey { generation: generation.0, process: child };
    let Some(exe) = task::exe(generation, parent) else {
        // Nothing is known; rows of an earlier process with this number must not stay.
        let _none = EXES.remove(&key);
        let _none = ANCESTORS.remove(&key);
        return;
    };
    if EXES.insert(&key, &exe, 0).is_err() {
        emit::count(Fault::ProcessTable);
    }
    let sets = image.word(header::ANCESTOR_SETS);
    if sets == 0 {
        return;
    }
    let Some(ancestors) = task::ancestors(generation, parent) else {
        let _none = ANCESTORS.remove(&key);
        return;
    };
    let mut ancestors = [ancestors[0], ancestors[1], ancestors[2], ancestors[3]];
    let row = sets.wrapping_add(exe.wrapping_mul(SET_WORDS as u32 * 8));
    let mut word = 0;
    while word < SET_WORDS {
        ancestors[word] |= image.long(row.wrapping_add(word as u32 * 8));
        word += 1;
    }
    if ANCESTORS.insert(&key, &ancestors, 0).is_err() {
        emit::count(Fault::ProcessTable);
    }
}

/// A new program runs; its arguments are in place and it has not executed an instruction.
///
/// tracepoint: sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(context: RawTracePointContext) -> i32 {
    let old_thread: u32 = context.arg(1);
    let bprm: *const u8 = context.arg(2);
    let Some(claim) = scratch::claim() else {
        // The new program's label cannot be found out: the old one's must not stay.
        let (process, _) = task::ids();
        renamed(
            process,
            &ExecInFlight { exe: [0; 2], generation: [0; 2], program: 0, path_bytes: 0 },
        );
        arguments::lost(process);
        return 0;
    };
    started(old_thread, bprm, claim.area);
    claim.release();
    0
}

#[inline(always)]
fn started(old_thread: u32, bprm: *const u8, area: Area) {
    let (process, _) = task::ids();
    let Some(file) = probed::<*const u8>(bprm, fields::bprm_file()) else {
        arguments::lost(process);
        return;
    };
    // SAFETY: copied at once; the entry is only ever changed by this thread.
    let checked = unsafe { EXECS.get(&old_thread) }.copied();
    let built = match checked.as_ref().and_then(|found| lineage::recall(area, found)) {
        Some(bytes) => Built { bytes, deleted: 0 },
        None => climbing::walked(area, file),
    };
    if checked.is_some() {
        let _gone = EXECS.remove(&old_thread);
    }
    let found = match checked {
        Some(found) => found,
        None => labelled(built.bytes, area),
    };
    renamed(process, &found);

    if !fields::lsm_decides()
        && let Some(policy) = policy::active()
    {
        exec_without_lsm(file, built, &policy, area);
    }

    let path_bytes = masked::<{ PATH_BYTES as u64 - 1 }>(built.bytes);
    let read = Read::behind(path_bytes, area);
    // Kept before it is judged: what the process does next is decided by it whatever becomes of this.
    read.keep(process, area);
    if let Some(policy) = policy::active() {
        judge_arguments(read, &policy, area);
    }

    let work = area.work();
    emit::begin(work, kind::EXEC);
    work.head.pid = process;
    work.head.tid = process;
    work.head.path_bytes = path_bytes as u16;
    work.head.extra_bytes = read.args_bytes as u16;
    if read.truncated {
        work.head.flags |= flags::ARGS_TRUNCATED;
    }
    if !built.known() {
        work.head.flags |= flags::PATH_UNKNOWN;
    }
    report::actor(area);
    emit::send(work, Weight::Lifecycle);
}

/// The executable label of a path under the generation in force and the one being staged, and the id it is kept by. No
/// bytes: the path is not known.
#[inline(never)]
pub fn labelled(path_bytes: u64, area: Area) -> ExecInFlight {
    let known = path_bytes != 0;
    let program = lineage::program(area, path_bytes);
    let (active, staged) = policy::generations();
    let (first, first_generation) = if known { label(active, area) } else { (0, 0) };
    let (second, second_generation) = if known { label(staged, area) } else { (0, 0) };
    ExecInFlight {
        exe: [first, second],
        generation: [first_generation, second_generation],
        program,
        path_bytes: 0,
    }
}

/// The label under `generation`, and `generation`, or zeros if there is none.
#[inline(always)]
fn label(generation: Generation, area: Area) -> (u32, u32) {
    let Some(image) = labelling(generation) else { return (0, 0) };
    let automaton = image.word(header::EXE_AUTOMATON);
    match strings::label(area, generation.slot(), automaton) {
        Some(label) => (label, generation.0),
        None => (0, 0),
    }
}

/// Corrects the labels of a program that was reached by a path nobody can vouch for, or that no pattern selects: by the
/// names that the file is remembered under, unless it is known to have none. The object in question must be the program,
/// `built` the path that it was labelled by.
#[inline(always)]
pub fn by_names(area: Area, built: Built, nameless: bool) {
    let vouched = if task::sees_true_paths() { mounts::voucher(area) } else { mounts::NOBODY };
    let found = &mut area.work().found;
    // From the root that the agent has: there is no way further up.
    if vouched == mounts::KNOWN && built.deleted == 0 {
        found.path_bytes = built.bytes;
    }
    if vouched == mounts::NOBODY {
        found.exe = [0; 2];
        found.program = Lineage::NAMELESS;
    } else if found.exe[0] | found.exe[1] != 0 {
        return;
    }
    if nameless {
        return;
    }
    let mut index = 0;
    while index < NAMES_PER_OBJECT {
        let object = &area.work().question.object;
        let bytes = names::recall(area, object.device, object.inode, index, 0);
        if bytes == names::NONE {
            return;
        }
        if bytes != names::UNKNOWN && area.work().name.last & KnownName::ARRANGED == 0 {
            let by = self::labelled(bytes, area);
            if by.exe[0] | by.exe[1] != 0 {
                area.work().found = by;
                return;
            }
        }
        index += 1;
    }
}

/// Gives the process the labels of its new program. What is not known under a generation in use is taken away: an old
/// program's label must not outlive it.
#[inline(never)]
fn renamed(process: u32, found: &ExecInFlight) {
    let (active, staged) = policy::generations();
    lineage::executed(process, found.program);
    rename(active, process, found);
    rename(staged, process, found);
}

#[inline(always)]
fn rename(generation: Generation, process: u32, found: &ExecInFlight) {
    if labelling(generation).is_none() {
        return;
    }
    let key = ProcessKey { generation: generation.0, process };
    let label = if found.generation[0] == generation.0 {
        found.exe[0]
    } else if found.generation[1] == generation.0 {
        found.exe[1]
    } else {
        let _none = EXES.remove(&key);
        return;
    };
    if EXES.insert(&key, &label, 0).is_err() {
        emit::count(Fault::ProcessTable);
    }
}

#[inline(always)]
fn judge_arguments(read: Read, policy: &Policy, area: Area) {
    let Read { path_bytes, args_bytes, truncated } = read;
    let Some(case) = Case::start(policy, area, Family::Started) else { return };
    let mut told =
        Told { acts: Act::ExecArgs.bit(), path_bytes, extra_bytes: args_bytes, ..Told::default() };
    if case.needs(Fact::Path) {
        // The arguments follow the path in place of its terminator: the automaton needs one.
        let start = path_bytes as usize & (PATH_BYTES - 1);
        let kept = area.work().text.0[start];
        area.work().text.0[start] = 0;
        if path_bytes == 0 {
            told.fault = faulted(Fault::Path);
        }
        case.path(path_bytes != 0);
        area.work().text.0[start] = kept;
        if !case.alive() {
            return;
        }
    }
    told.flags |= case.actor();
    if !case.alive() {
        return;
    }
    if case.needs_set(SetFact::Args) {
        read.gather(area, policy.generation.slot());
        let Work { gathering, sets, .. } = area.work();
        words::copy(&mut sets.args, &gathering.set);
        if read.partly() {
            told.fault = faulted(Fault::Args);
            sets.unknown |= 1 << SetFact::Args as u64;
        }
    }
    if truncated {
        told.flags |= flags::ARGS_TRUNCATED;
    }
    if case.decide() {
        report::begin(area, policy.generation, Family::Started, &told);
        report::actor(area);
        report::finish(area);
    }
}

/// Exec rules on a host without BPF LSM: too late to refuse, in time to kill before the first instruction.
#[inline(always)]
fn exec_without_lsm(file: *const u8, built: Built, policy: &Policy, area: Area) {
    let Some(case) = Case::start(policy, area, Family::Exec) else { return };
    let mut told = Told { acts: Act::Exec.bit(), ..Told::default() };
    let known = told.path(built);
    case.path(known);
    let spot = Spot::of_file(file).unwrap_or(Spot { dentry: 0, mount: 0 });
    if !case.alive() || !case.name(spot) {
        return;
    }
    let Some(inode) = Probed::read::<*const u8>(file, fields::file_inode()) else { return };
    let Some(object) = Object::of_inode::<Probed>(inode) else { return };
    let mut object = object.with_path(&area.work().text);
    object.flags |= layer(&object, inode);
    if !case.object(&object) {
        return;
    }
    told.flags |= case.actor();
    if !case.decide() {
        return;
    }
    report::happened(area);
    report::begin(area, policy.generation, Family::Exec, &told);
    report::actor(area);
    report::object(area, &object);
    report::finish(area);
}

/// A task exits; the last of its process takes the row with it.
///
/// tracepoint: sched_process_exit(struct task_struct *p, ...)
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_exit(_context: RawTracePointContext) -> i32 {
    let (process, thread) = task::ids();
    let _none = EXECS.remove(&thread);
    policy::seeder_exited(thread);
    // The task of the tracepoint is the one that exits.
    if task::threads_left().unwrap_or(0) != 0 {
        return 0;
    }
    // Whatever becomes of the record: the number may be another process's soon.
    let (active, staged) = policy::generations();
    forget(active, process);
    forget(staged, process);
    arguments::forget(active, process);
    arguments::forget(staged, process);
    lineage::exited(process);
    let Some(claim) = scratch::claim() else { return 0 };
    let work = claim.area.work();
    // Who it was is known from its start; the record says that it is over.
    emit::begin(work, kind::EXIT);
    work.head.pid = process;
    work.head.tid = thread;
    work.head.start_ns = task::start_ns();
    work.head.number = task::exit_code();
    emit::send(work, Weight::Lifecycle);
    claim.release();
    0
}

#[inline(always)]
fn forget(generation: Generation, process: u32) {
    let Some(image) = labelling(generation) else { return };
    let key = ProcessKey { generation: generation.0, process };
    if close::judged(&image)
        && let Some(exe) = task::exe(generation, process)
    {
        let last = LastProgram { start_ns: task::start_ns(), exe: u64::from(exe) };
        // Without a row its program is not known when its sockets are closed: `on_fault` decides.
        let _full = EXITING.insert(&key, &last, 0);
    }
    let _none = EXES.remove(&key);
    if image.word(header::ANCESTOR_SETS) != 0 {
        let _none = ANCESTORS.remove(&key);
    }
}
