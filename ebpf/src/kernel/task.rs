//! What is known of the acting task.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    generated::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_task},
};
use interdict_abi::{
    ids::{Generation, process_flags},
    limits::COMM_BYTES,
    maps::{AncestorSet, ProcessKey},
};

use super::{fields, probed};
use crate::maps::{ANCESTORS, EXES};

/// `struct task_struct` of the acting task.
#[inline(always)]
pub fn current() -> *const u8 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_task() as *const u8 }
}

/// Thread group and thread id of the acting task, initial PID namespace.
#[inline(always)]
pub fn ids() -> (u32, u32) {
    let both = bpf_get_current_pid_tgid();
    ((both >> 32) as u32, both as u32)
}

/// Real user and group id.
#[inline(always)]
pub fn owner() -> (u32, u32) {
    let both = bpf_get_current_uid_gid();
    (both as u32, (both >> 32) as u32)
}

/// Effective user id.
#[inline(always)]
pub fn euid() -> Option<u32> {
    let credentials: *const u8 = probed(current(), fields::task_cred())?;
    probed(credentials, fields::cred_euid())
}

/// Cgroup id, cgroup v2.
#[inline(always)]
pub fn cgroup() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_cgroup_id() }
}

/// Copies `comm`.
#[inline(always)]
pub fn comm(buffer: &mut [u8; COMM_BYTES]) -> bool {
    // SAFETY: the buffer has the size given.
    unsafe { bpf_get_current_comm(buffer.as_mut_ptr().cast(), COMM_BYTES as u32) == 0 }
}

/// See `process_flags`.
#[inline(always)]
pub fn flags() -> Option<u32> {
    let pid: *const u8 = probed(current(), fields::task_thread_pid())?;
    let level: u32 = probed(pid, fields::pid_level())?;
    Some(if level > 0 { process_flags::CONTAINER } else { 0 })
}

/// Thread group of the acting task's parent, and when the acting process started, ns on `CLOCK_BOOTTIME`.
#[inline(always)]
pub fn lineage() -> (u32, u64) {
    let task = current();
    let parent = probed::<*const u8>(task, fields::task_real_parent())
        .and_then(|parent| probed(parent, fields::task_tgid()))
        .unwrap_or(0);
    let leader: *const u8 = probed(task, fields::task_group_leader()).unwrap_or(task);
    (parent, probed(leader, fields::task_start()).unwrap_or(0))
}

/// The executable label of a process.
#[inline(always)]
pub fn exe(generation: Generation, process: u32) -> Option<u32> {
    // SAFETY: copied at once; entries are only replaced as a whole.
    unsafe { EXES.get(&ProcessKey { generation: generation.0, process }) }.copied()
}

/// The ancestor predicates that hold of a process.
#[inline(always)]
pub fn ancestors(generation: Generation, process: u32) -> Option<&'static AncestorSet> {
    // SAFETY: the map is RCU-protected while a program runs.
    unsafe { ANCESTORS.get(&ProcessKey { generation: generation.0, process }) }
}
