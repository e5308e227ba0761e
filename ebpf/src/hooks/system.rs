//! Acts on other tasks, credentials, namespaces, modules and BPF itself.
//!
//! Each program reads its arguments, writes what they say into the scratch area and calls [`interdict_system`], which
//! narrows, decides and reports for all of them: one function that the verifier checks once. What an act does not have
//! is absent.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::{
    event::flags,
    ids::{Act, Action, Fact, Family, Generation, Mode, namespace_flags},
    image,
};
use interdict_engine::{Memory, facts};

use super::{judge::Case, report, report::Told, with_area};
use crate::{
    bounds,
    kernel::{
        call::Call,
        fields, is_null_argument,
        object::{Object, Typed},
        path, probed, task,
    },
    policy::{self, Policy},
    scratch::{self, Area},
    words,
};

/// What a hook knows of an act of this family.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Known {
    /// `Act`.
    act: u64,
    /// See [`GIVEN_NUMBER`] and its neighbours.
    given: u64,
    /// The act's own number.
    number: u64,
    /// Types of namespaces.
    namespaces: u64,
    /// `struct task_struct` of the target, 0 for none.
    target: u64,
    /// Bytes of the path in the area, and what was found out about it.
    path_bytes: u64,
    told_flags: u64,
    told_fault: u64,
    /// The object's particulars.
    object: Object,
}

/// [`Known::given`]: there is a number.
const GIVEN_NUMBER: u64 = 1;
/// [`Known::given`]: there are types of namespaces.
const GIVEN_NAMESPACES: u64 = 2;
/// [`Known::given`]: there should be types of namespaces, and they could not be learned.
const UNKNOWN_NAMESPACES: u64 = 4;
/// [`Known::given`]: there is a file.
const GIVEN_FILE: u64 = 8;

/// Whether the policy has a rule that may be about `act`, and where the family is.
#[inline(always)]
fn concerns(policy: &Policy, act: Act) -> Option<u32> {
    let directory = facts::directory(&policy.image, Family::System);
    if directory == 0 {
        return None;
    }
    let acting = facts::possible(&policy.image, directory, Fact::Act, act.value())
        & policy.image.long(directory.wrapping_add(image::family::ALL));
    if acting == 0 { None } else { Some(directory) }
}

/// Decides `act`. `fill` adds what the hook knows.
#[inline(always)]
fn decide(act: Act, fill: impl FnOnce(&mut Known, Area)) -> i32 {
    let Some(policy) = policy::active() else { return 0 };
    let Some(directory) = concerns(&policy, act) else { return 0 };
    with_area(&policy, directory, |area| {
        let known = &mut area.work().system;
        // SAFETY: all zero is an act of which nothing is known.
        unsafe { words::zero(known) };
        known.act = act as u64;
        fill(known, area);
        let mode = policy.mode as u32;
        match interdict_system(area.number, policy.generation.0, mode) {
            0 => 0,
            errno => bounds::refusal(errno as u8),
        }
    })
}

/// An act with a number of its own.
#[inline(always)]
fn numbered(act: Act, number: u32) -> i32 {
    decide(act, |known, _| {
        known.number = u64::from(number);
        known.given = GIVEN_NUMBER;
    })
}

/// An act with a number of its own that is aimed at another process. Acts of a process on itself are its own affair.
#[inline(always)]
fn aimed(act: Act, number: u32, target: *const u8) -> i32 {
    let (process, _) = task::ids();
    if probed::<u32>(target, fields::task_tgid()) == Some(process) {
        return 0;
    }
    decide(act, |known, _| {
        known.number = u64::from(number);
        known.given = GIVEN_NUMBER;
        known.target = target as u64;
    })
}

/// Namespaces are made or entered.
#[inline(always)]
fn namespaces(call: u32, types: Option<u32>) -> i32 {
    decide(Act::NsCreate, |known, _| {
        known.number = u64::from(call);
        known.given = GIVEN_NUMBER;
        match types {
            Some(types) => {
                known.namespaces = u64::from(types);
                known.given |= GIVEN_NAMESPACES;
            }
            None => known.given |= UNKNOWN_NAMESPACES,
        }
    })
}

/// Narrows by what is known of the act in the area and of the acting process, decides and reports. Answers the errno of
/// a refusal, 0 for none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_system(area: u32, generation: u32, mode: u32) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 0 };
    let generation = Generation(generation);
    let Some(image) = policy::slot(generation.slot()) else { return 0 };
    let mode = if mode == Mode::Enforce as u32 { Mode::Enforce } else { Mode::Audit };
    let policy = Policy { image, generation, mode };
    u64::from(judge(&policy, area))
}

#[inline(always)]
fn judge(policy: &Policy, area: Area) -> u8 {
    let Some(case) = Case::start(policy, area, Family::System) else { return 0 };
    let known = &area.work().system;
    let given = known.given;
    let act = known.act as u32 & 15;
    if !case.number(Fact::Act, act) {
        return 0;
    }
    if given & GIVEN_NUMBER != 0 {
        if !case.number(Fact::Number, known.number as u32) {
            return 0;
        }
    } else {
        case.absent(Fact::Number);
    }
    if given & GIVEN_NAMESPACES != 0 {
        case.number(Fact::ObjectFlags, known.namespaces as u32);
    } else if given & UNKNOWN_NAMESPACES != 0 {
        case.unknown(Fact::ObjectFlags);
    }
    // A file has been narrowed by already, by the hook that has it.
    if given & GIVEN_FILE == 0 {
        case.absent(Fact::Path);
        case.absent(Fact::Name);
        case.absent(Fact::ObjectMode);
        case.absent(Fact::ObjectOwner);
        case.absent(Fact::FsMagic);
        if given & (GIVEN_NAMESPACES | UNKNOWN_NAMESPACES) == 0 {
            case.absent(Fact::ObjectFlags);
        }
    } else {
        let named = known.told_fault == 0;
        let object = known.object;
        case.path(named);
        if !case.alive() || !case.object(&object) {
            return 0;
        }
    }
    let target = aim(&case, policy, known.target as *const u8);
    if !case.alive() {
        return 0;
    }
    let mut told = Told {
        acts: 1 << act,
        number: known.number as u32,
        flags: known.told_flags as u32,
        fault: known.told_fault as u8,
        path_bytes: known.path_bytes,
        ..Told::default()
    };
    told.flags |= case.actor();
    if !case.decide() {
        return 0;
    }
    report::begin(area, policy.generation, Family::System, &told);
    report::actor(area);
    if given & GIVEN_FILE != 0 {
        let object = area.work().system.object;
        report::object(area, &object);
    }
    let head = &mut area.work().head;
    head.target = target;
    if given & GIVEN_NAMESPACES != 0 {
        head.object_flags = area.work().system.namespaces as u16;
    }
    report::finish(area);
    let decision = &area.work().decision;
    if decision.verdict as u8 >= Action::Block as u8 { decision.errno.max(1) } else { 0 }
}

/// Narrows by the target. Answers its process id.
#[inline(always)]
fn aim(case: &Case<'_>, policy: &Policy, target: *const u8) -> u32 {
    if target.is_null() {
        case.absent(Fact::TargetExe);
        case.absent(Fact::TargetUid);
        case.absent(Fact::TargetPid);
        return 0;
    }
    let process: u32 = probed(target, fields::task_tgid()).unwrap_or(0);
    if case.needs(Fact::TargetExe) {
        match task::exe(policy.generation, process) {
            Some(label) => {
                case.number(Fact::TargetExe, label);
            }
            None => case.unknown(Fact::TargetExe),
        }
    }
    if case.needs(Fact::TargetUid) {
        let credentials: Option<*const u8> = probed(target, fields::task_cred());
        match credentials.and_then(|credentials| probed(credentials, fields::cred_uid())) {
            Some(user) => {
                case.number(Fact::TargetUid, user);
            }
            None => case.unknown(Fact::TargetUid),
        }
    }
    case.number(Fact::TargetPid, process);
    process
}

/// `PTRACE_MODE_ATTACH` and `PTRACE_MODE_NOAUDIT` of Linux.
const MODE_ATTACH: u32 = 2;
const MODE_NOAUDIT: u32 = 4;

/// Another process's memory is reached for, or what /proc shows of it. What the kernel asks only to know how much of a
/// line to show (`PTRACE_MODE_NOAUDIT`) is no act.
///
/// hook-signature: int ptrace_access_check(struct task_struct *child, unsigned int mode)
#[lsm(hook = "ptrace_access_check")]
pub fn ptrace_access_check(context: LsmContext) -> i32 {
    let mode: u32 = context.arg(1);
    if mode & MODE_NOAUDIT != 0 {
        return 0;
    }
    aimed(Act::Ptrace, if mode & MODE_ATTACH != 0 { 2 } else { 1 }, context.arg(0))
}

/// A process asks to be traced by its parent.
///
/// hook-signature: int ptrace_traceme(struct task_struct *parent)
#[lsm(hook = "ptrace_traceme")]
pub fn ptrace_traceme(context: LsmContext) -> i32 {
    aimed(Act::Ptrace, 3, context.arg(0))
}

/// A signal is sent. With credentials of its own it is sent on behalf of somebody who is not running now (USB), and not
/// decided here.
///
/// hook-signature: int task_kill(struct task_struct *p, struct kernel_siginfo *info, int sig, const struct cred *cred)
#[lsm(hook = "task_kill")]
pub fn task_kill(context: LsmContext) -> i32 {
    if !is_null_argument(&context, 3) {
        return 0;
    }
    aimed(Act::Signal, context.arg::<i32>(2) as u32, context.arg(0))
}

/// A file's owner (`F_SETOWN`) is sent the signal that was asked for (`F_SETSIG`). The acting process is the one that
/// made the file ready.
///
/// hook-signature: int file_send_sigiotask(struct task_struct *tsk, struct fown_struct *fown, int sig)
#[lsm(hook = "file_send_sigiotask")]
pub fn file_send_sigiotask(context: LsmContext) -> i32 {
    const SIGIO: u32 = 29;
    let number = context.arg::<i32>(2) as u32;
    aimed(Act::Signal, if number == 0 { SIGIO } else { number }, context.arg(0))
}

/// The kernel reads a file that it will run or load.
///
/// hook-signature: int kernel_read_file(struct file *file, enum kernel_read_file_id id, bool contents)
#[lsm(hook = "kernel_read_file")]
pub fn kernel_read_file(context: LsmContext) -> i32 {
    let kind = u64::from(context.arg::<u32>(1));
    let act = if kind == fields::reading_module() || kind == fields::reading_module_compressed() {
        Act::ModuleLoad
    } else if kind == fields::reading_kexec_image() || kind == fields::reading_kexec_initramfs() {
        Act::Kexec
    } else {
        return 0;
    };
    let file: *const u8 = context.arg(0);
    if is_null_argument(&context, 0) || file.is_null() {
        return decide(act, |_, _| {});
    }
    decide(act, |known, area| {
        let mut told = Told::default();
        told.path(path::seen::<Typed>(file, &mut area.work().text));
        known.path_bytes = told.path_bytes;
        known.told_flags = u64::from(told.flags);
        known.told_fault = u64::from(told.fault);
        if let Some(object) = Object::of_file::<Typed>(file) {
            known.object = object;
            known.given = GIVEN_FILE;
        }
    })
}

/// The kernel is handed a module or another kernel in memory.
///
/// hook-signature: int kernel_load_data(enum kernel_load_data_id id, bool contents)
#[lsm(hook = "kernel_load_data")]
pub fn kernel_load_data(context: LsmContext) -> i32 {
    let kind = u64::from(context.arg::<u32>(0));
    if kind == fields::loading_module() {
        decide(Act::ModuleLoad, |_, _| {})
    } else if kind == fields::loading_kexec_image() || kind == fields::loading_kexec_initramfs() {
        decide(Act::Kexec, |_, _| {})
    } else {
        0
    }
}

/// bpf(2). From 6.16 the kernel says whether it calls itself.
///
/// hook-signature: int bpf(int cmd, union bpf_attr *attr, unsigned int size)
#[lsm(hook = "bpf")]
pub fn system_bpf(context: LsmContext) -> i32 {
    if fields::bpf_kernel_argument() == 3 && context.arg::<u64>(3) & 0xff != 0 {
        return 0;
    }
    numbered(Act::Bpf, context.arg::<i32>(0) as u32)
}

/// perf_event_open(2). The kind is the second parameter, from 6.14 the only one.
///
/// hook-signature: int perf_event_open(struct perf_event_attr *attr, int type)
#[lsm(hook = "perf_event_open")]
pub fn perf_event_open(context: LsmContext) -> i32 {
    let kind = if fields::perf_kind_argument() == 0 {
        context.arg::<i32>(0) as u32
    } else {
        second_argument(&context)
    };
    numbered(Act::PerfOpen, kind)
}

/// The second argument. A function of its own: as a branch, LLVM would choose between addresses in the context, which
/// the verifier does not follow.
#[inline(never)]
fn second_argument(context: &LsmContext) -> u32 {
    context.arg::<i32>(1) as u32
}

/// Flags of clone(2) and `namespace_flags`.
const TYPES: [(u64, u32); 8] = [
    (0x0002_0000, namespace_flags::MOUNT),
    (0x0200_0000, namespace_flags::CGROUP),
    (0x0400_0000, namespace_flags::UTS),
    (0x0800_0000, namespace_flags::IPC),
    (CLONE_NEWUSER, namespace_flags::USER),
    (0x2000_0000, namespace_flags::PID),
    (0x4000_0000, namespace_flags::NET),
    (0x0000_0080, namespace_flags::TIME),
];
const CLONE_NEWUSER: u64 = 0x1000_0000;
const ALL_TYPES: u64 = 0x7e02_0080;

#[inline(always)]
fn types(clone_flags: u64) -> u32 {
    let mut types = 0;
    let mut at = 0;
    while at < TYPES.len() {
        if clone_flags & TYPES[at].0 != 0 {
            types |= TYPES[at].1;
        }
        at += 1;
    }
    types
}

/// Numbers in `ns.call`.
const BY_CLONE: u32 = 1;
const BY_UNSHARE: u32 = 2;
const BY_SETNS: u32 = 3;

/// A task is being made, maybe with namespaces of its own. The flags are the kernel's copy.
///
/// hook-signature: int task_alloc(struct task_struct *task, unsigned long clone_flags)
#[lsm(hook = "task_alloc")]
pub fn task_alloc(context: LsmContext) -> i32 {
    let flags: u64 = context.arg(1);
    if flags & ALL_TYPES == 0 {
        return 0;
    }
    namespaces(BY_CLONE, Some(types(flags)))
}

/// A user namespace is being made. For a new task `task_alloc` decides.
///
/// hook-signature: int userns_create(const struct cred *cred)
#[lsm(hook = "userns_create")]
pub fn userns_create(_context: LsmContext) -> i32 {
    let Some(call) = Call::current() else { return namespaces(BY_UNSHARE, None) };
    if call.is(Call::UNSHARE) {
        let flags = call.argument(0).unwrap_or(CLONE_NEWUSER);
        return namespaces(BY_UNSHARE, Some(types(flags)));
    }
    0
}

/// `CAP_OPT_NOAUDIT` and `CAP_SYS_ADMIN` of Linux.
const NOAUDIT: u32 = 2;
const CAP_SYS_ADMIN: u32 = 21;

/// A capability that the process has is about to be used: the kernel's own check has said yes. What it asks only to know
/// how much to show (`CAP_OPT_NOAUDIT`) is no use. unshare(2) and setns(2) ask for `CAP_SYS_ADMIN` before they do
/// anything, and have no other hook.
///
/// hook-signature: int capable(const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)
#[lsm(hook = "capable")]
pub fn capable(context: LsmContext) -> i32 {
    let capability = context.arg::<i32>(2) as u32;
    let options: u32 = context.arg(3);
    if options & NOAUDIT != 0 {
        return 0;
    }
    let used = numbered(Act::CapUse, capability);
    if used != 0 || capability != CAP_SYS_ADMIN {
        return used;
    }
    let Some(call) = Call::current() else { return 0 };
    if call.is(Call::UNSHARE) {
        let flags = call.argument(0).unwrap_or(0);
        // With a user namespace among them `userns_create` has decided on all.
        if flags & ALL_TYPES == 0 || flags & CLONE_NEWUSER != 0 {
            return 0;
        }
        return namespaces(BY_UNSHARE, Some(types(flags)));
    }
    if call.is(Call::SETNS) {
        let flags = call.argument(1).unwrap_or(0) & ALL_TYPES;
        return namespaces(BY_SETNS, if flags == 0 { None } else { Some(types(flags)) });
    }
    0
}

/// The flag of `setfsuid(2)` and `setfsgid(2)`, `LSM_SETID_FS`.
const SETID_FS: u32 = 8;

/// A process changes its user ids.
///
/// hook-signature: int task_fix_setuid(struct cred *new, const struct cred *old, int flags)
#[lsm(hook = "task_fix_setuid")]
pub fn task_fix_setuid(context: LsmContext) -> i32 {
    let new: *const u8 = context.arg(0);
    let fs = context.arg::<u32>(2) == SETID_FS;
    let field = if fs { fields::cred_fsuid() } else { fields::cred_euid() };
    changed(Act::Setuid, probed(new, field))
}

/// A process changes its group ids.
///
/// hook-signature: int task_fix_setgid(struct cred *new, const struct cred *old, int flags)
#[lsm(hook = "task_fix_setgid")]
pub fn task_fix_setgid(context: LsmContext) -> i32 {
    let new: *const u8 = context.arg(0);
    let fs = context.arg::<u32>(2) == SETID_FS;
    let field = if fs { fields::cred_fsgid() } else { fields::cred_egid() };
    changed(Act::Setgid, probed(new, field))
}

/// A process changes its supplementary groups.
///
/// hook-signature: int task_fix_setgroups(struct cred *new, const struct cred *old)
#[lsm(hook = "task_fix_setgroups")]
pub fn task_fix_setgroups(_context: LsmContext) -> i32 {
    decide(Act::Setgroups, |_, _| {})
}

#[inline(always)]
fn changed(act: Act, id: Option<u32>) -> i32 {
    match id {
        Some(id) => numbered(act, id),
        // Cannot be: the memory is the kernel's own, just filled.
        None => decide(act, |known, _| known.told_flags = u64::from(flags::PROCESS_UNKNOWN)),
    }
}
