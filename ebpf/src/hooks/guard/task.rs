//! Who is the agent, and nobody else signals, traces or starves it.

use aya_ebpf::{
    macros::{lsm, raw_tracepoint},
    programs::{LsmContext, RawTracePointContext},
};
use interdict_abi::{
    guard::{ASK_TRUST, GuardAct, GuardObject, LEAVE_TRUST, STANDING, objects, tasks},
    ids::Fault,
};

use super::{GUARD_OBJECTS, GUARD_TASKS, armed, key, name_of, reasons, refuse, standing, trusted};
use crate::{
    bounds, emit,
    kernel::{
        fields, is_null_argument,
        object::{Probed, Reader, Typed},
        probed, task,
    },
};

const NOTHING: GuardObject = GuardObject { inode: 0, device: 0 };
const SIGCHLD: u32 = 17;
const PTRACE_MODE_ATTACH: u32 = 2;
const PROT_EXEC: u64 = 4;

/// Whether the acting task is traced; what cannot be read counts as traced.
#[inline(always)]
fn traced() -> bool {
    probed::<u32>(task::current(), fields::guard_task_ptrace()) != Some(0)
}

/// A process gets a new program, and no way back: before anything of it is mapped.
///
/// hook-signature: void bprm_committed_creds(struct linux_binprm *bprm)
#[lsm(hook = "bprm_committed_creds")]
pub fn guard_exec(context: LsmContext) -> i32 {
    let bprm: *const u8 = context.arg(0);
    let (process, _) = task::ids();
    let own = Typed::read::<*const u8>(bprm, fields::bprm_file())
        .and_then(|file| Typed::read::<*const u8>(file, fields::file_inode()))
        .and_then(key::<Typed>)
        .is_some_and(|key| reasons(&key) & objects::CODE != 0);
    if own && !traced() {
        if GUARD_TASKS.insert(&process, &u64::from(tasks::GENUINE), 0).is_err() {
            emit::count(Fault::GuardTable);
        }
    } else if standing(process) != 0 {
        let _gone = GUARD_TASKS.remove(&process);
    }
    0
}

/// The last thread of a process is gone, and what was known of it.
///
/// tracepoint: sched_process_exit(struct task_struct *p, ...)
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn guard_exit(context: RawTracePointContext) -> i32 {
    let (process, _) = task::ids();
    if standing(process) == 0 {
        return 0;
    }
    let exiting: *const u8 = context.arg(0);
    let live: Option<u32> = probed::<*const u8>(exiting, fields::task_signal())
        .and_then(|signal| probed(signal, fields::signal_live()));
    if live == Some(0) {
        let _gone = GUARD_TASKS.remove(&process);
    }
    0
}

/// Groups above one that are guarded with it.
const LEVELS: u32 = 16;

/// A process is in another cgroup now. Nobody can be kept from moving the agent; but from here on nobody else freezes or
/// kills the group it is in, nor those above.
///
/// tracepoint: cgroup_attach_task(struct cgroup *dst_cgrp, const char *path, struct task_struct *task, bool threadgroup)
#[raw_tracepoint(tracepoint = "cgroup_attach_task")]
pub fn guard_moved(context: RawTracePointContext) -> i32 {
    let moved: *const u8 = context.arg(2);
    let Some(process) = probed::<u32>(moved, fields::task_tgid()) else { return 0 };
    if standing(process) == 0 {
        return 0;
    }
    let Some(state) = armed() else { return 0 };
    let device = state.cgroups_device;
    let mut group: *const u8 = context.arg(0);
    let mut level = 0;
    while level < LEVELS {
        let inode = probed::<*const u8>(group, fields::cgroup_kernfs())
            .and_then(|node| probed::<u64>(node, fields::kernfs_id()));
        let Some(inode) = inode else { return 0 };
        let object = GuardObject { inode, device };
        if reasons(&object) == 0 && GUARD_OBJECTS.insert(&object, &objects::CGROUP, 0).is_err() {
            emit::count(Fault::GuardTable);
        }
        // A group's parent is that of the state it begins with.
        let above: Option<*const u8> = probed(group, fields::cgroup_parent());
        match above {
            Some(above) if !above.is_null() => {
                group = above.wrapping_sub(fields::cgroup_self() as usize);
            }
            Some(_) | None => return 0,
        }
        level += 1;
    }
    0
}

/// The agent's program maps code: other code than its own ends the trust in it.
///
/// hook-signature: int mmap_file(struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
#[lsm(hook = "mmap_file")]
pub fn guard_mmap(context: LsmContext) -> i32 {
    let protection: u64 = context.arg(2);
    let file: *const u8 = context.arg(0);
    if protection & PROT_EXEC == 0 || file.is_null() || is_null_argument(&context, 0) {
        return 0;
    }
    let (process, _) = task::ids();
    if standing(process) == 0 {
        return 0;
    }
    let key = Typed::read::<*const u8>(file, fields::file_inode()).and_then(key::<Typed>);
    if key.is_some_and(|key| reasons(&key) & (objects::CODE | objects::LIBRARY) != 0) {
        return 0;
    }
    let was = standing(process);
    let _gone = GUARD_TASKS.remove(&process);
    if armed().is_some() {
        let name = Typed::read::<*const u8>(file, fields::file_path() + fields::path_dentry())
            .map(name_of)
            .unwrap_or(0);
        let refused = refuse(GuardAct::Code, was, process, key.unwrap_or(NOTHING), name);
        // Whoever has been trusted maps nothing else; a command of the agent's program may.
        return if was == tasks::TRUSTED { refused } else { 0 };
    }
    0
}

/// The agent's program asks to be trusted, or gives trust up.
///
/// hook-signature: int task_prctl(int option, unsigned long arg2, unsigned long arg3, unsigned long arg4, unsigned long arg5)
#[lsm(hook = "task_prctl")]
pub fn guard_ask(context: LsmContext) -> i32 {
    let option: i32 = context.arg(0);
    if option != ASK_TRUST && option != LEAVE_TRUST {
        return 0;
    }
    let (process, _) = task::ids();
    if standing(process) == 0 || traced() {
        return bounds::refusal(1);
    }
    let given: u64 = context.arg(1);
    let wanted = if option == ASK_TRUST { tasks::TRUSTED } else { tasks::GENUINE };
    let wanted = u64::from(wanted) | given & !STANDING;
    if GUARD_TASKS.insert(&process, &wanted, 0).is_err() {
        emit::count(Fault::GuardTable);
        return bounds::refusal(1);
    }
    bounds::granted()
}

/// Somebody sends a signal.
///
/// hook-signature: int task_kill(struct task_struct *p, struct kernel_siginfo *info, int sig, const struct cred *cred)
#[lsm(hook = "task_kill")]
pub fn guard_signal(context: LsmContext) -> i32 {
    let signal: u32 = context.arg(2);
    if signal == 0 || signal == SIGCHLD {
        return 0;
    }
    aimed(context.arg(0), GuardAct::Signal, signal, tasks::TRUSTED)
}

/// Somebody reaches for another process.
///
/// hook-signature: int ptrace_access_check(struct task_struct *child, unsigned int mode)
#[lsm(hook = "ptrace_access_check")]
pub fn guard_attach(context: LsmContext) -> i32 {
    let mode: u32 = context.arg(1);
    if mode & PTRACE_MODE_ATTACH == 0 {
        return 0;
    }
    aimed(context.arg(0), GuardAct::Attach, mode, tasks::GENUINE)
}

/// Somebody changes a limit.
///
/// hook-signature: int task_setrlimit(struct task_struct *p, unsigned int resource, struct rlimit *new_rlim)
#[lsm(hook = "task_setrlimit")]
pub fn guard_limit(context: LsmContext) -> i32 {
    aimed(context.arg(0), GuardAct::Limit, context.arg(1), tasks::TRUSTED)
}

/// Somebody changes the way a process is scheduled.
///
/// hook-signature: int task_setscheduler(struct task_struct *p)
#[lsm(hook = "task_setscheduler")]
pub fn guard_schedule(context: LsmContext) -> i32 {
    aimed(context.arg(0), GuardAct::Limit, 0, tasks::TRUSTED)
}

/// Somebody makes a process less important.
///
/// hook-signature: int task_setnice(struct task_struct *p, int nice)
#[lsm(hook = "task_setnice")]
pub fn guard_nice(context: LsmContext) -> i32 {
    aimed(context.arg(0), GuardAct::Limit, 0, tasks::TRUSTED)
}

/// Refuses what is aimed at the agent by others. `least`: from which standing on a process is guarded.
#[inline(always)]
fn aimed(target: *const u8, act: GuardAct, number: u32, least: u32) -> i32 {
    let Some(aim) = Probed::read::<u32>(target, fields::task_tgid()) else { return 0 };
    let (process, _) = task::ids();
    if standing(aim) < least || aim == process || armed().is_none() || trusted() {
        return 0;
    }
    refuse(act, number, aim, NOTHING, 0)
}
