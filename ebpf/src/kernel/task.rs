//! What is known of the acting task.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    generated::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_task},
};
use interdict_abi::{
    ids::{Generation, process_flags},
    limits::COMM_BYTES,
    maps::{AncestorSet, ProcessKey},
    offsets::MISSING,
};

use super::{fields, path::Spot, probed};
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

/// See `process_flags`: those that do not follow from the cgroup.
#[inline(always)]
pub fn flags() -> Option<u32> {
    let task = current();
    let pid: *const u8 = probed(task, fields::task_thread_pid())?;
    let level: u32 = probed(pid, fields::pid_level())?;
    let signal: *const u8 = probed(task, fields::task_signal())?;
    let terminal: u64 = probed(signal, fields::signal_tty())?;
    let mut flags = if level > 0 { process_flags::CONTAINER } else { 0 };
    if terminal != 0 {
        flags |= process_flags::TTY;
    }
    if speaks_to_socket(task) {
        flags |= process_flags::STDIO_SOCKET;
    }
    Some(flags)
}

/// Whether one of descriptors 0 to 2 is a socket. A process without descriptors (it is exiting) speaks to none.
#[inline(always)]
fn speaks_to_socket(task: *const u8) -> bool {
    const S_IFMT: u16 = 0o170_000;
    const S_IFSOCK: u16 = 0o140_000;
    let Some(files) = probed::<*const u8>(task, fields::task_files()) else { return false };
    let Some(table) = probed::<*const u8>(files, fields::files_table()) else { return false };
    let Some(array) = probed::<*const u8>(table, fields::fdtable_files()) else { return false };
    // The smallest table has room for 64 descriptors.
    let mut descriptor = 0;
    while descriptor < 3 {
        if let Some(file) = probed::<*const u8>(array, descriptor * 8)
            && let Some(inode) = probed::<*const u8>(file, fields::file_inode())
            && let Some(mode) = probed::<u16>(inode, fields::inode_mode())
            && mode & S_IFMT == S_IFSOCK
        {
            return true;
        }
        descriptor += 1;
    }
    false
}

/// Login user id. `None` on kernels without audit.
#[inline(always)]
pub fn login_user() -> Option<u32> {
    let offset = fields::task_loginuid();
    if offset == MISSING {
        return None;
    }
    probed(current(), offset)
}

/// Effective capabilities, by number as bits.
#[inline(always)]
pub fn capabilities() -> Option<u64> {
    let credentials: *const u8 = probed(current(), fields::task_cred())?;
    probed(credentials, fields::cred_caps())
}

/// Whole seconds since the acting process started.
#[inline(always)]
pub fn age_seconds() -> u32 {
    let (_, start) = lineage();
    let age = crate::emit::now().saturating_sub(start) / 1_000_000_000;
    if age > u64::from(u32::MAX) { u32::MAX } else { age as u32 }
}

/// Where the acting task's root directory is; zeros if that cannot be read.
#[inline(always)]
pub fn root() -> Spot {
    const NOWHERE: Spot = Spot { dentry: 0, mount: 0 };
    let Some(fs) = probed::<*const u8>(current(), fields::task_fs()) else { return NOWHERE };
    Spot::of_path(fs.wrapping_add(fields::fs_root() as usize)).unwrap_or(NOWHERE)
}

/// Whether the paths the acting task sees are those that the host's administrator arranged: its user namespace and the
/// one that owns its mount namespace are the initial one, and its root is the root of a mount, not a directory it chose.
#[inline(always)]
pub fn sees_true_paths() -> bool {
    looks_at_host_namespaces().unwrap_or(false)
}

#[inline(always)]
fn looks_at_host_namespaces() -> Option<bool> {
    let initial = fields::init_user_ns();
    let task = current();
    let credentials: *const u8 = probed(task, fields::task_cred())?;
    let own: u64 = probed(credentials, fields::cred_user_ns())?;
    let namespaces: *const u8 = probed(task, fields::task_nsproxy())?;
    let mounts: *const u8 = probed(namespaces, fields::nsproxy_mnt_ns())?;
    let owner: u64 = probed(mounts, fields::mnt_ns_user())?;
    let root = root();
    let top: u64 = probed(root.mount as *const u8, fields::vfsmount_root())?;
    Some(initial != 0 && own == initial && owner == initial && top == root.dentry)
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
