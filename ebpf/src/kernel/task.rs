//! What is known of the acting task.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    generated::{
        bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_task,
        bpf_get_current_task_btf,
    },
};
use interdict_abi::{
    ids::{Generation, process_flags},
    limits::COMM_BYTES,
    maps::{AncestorSet, ProcessKey},
    offsets::MISSING,
};

use super::{
    fields,
    object::{Reader, Typed},
    path::Spot,
    probed,
};
use crate::maps::{ANCESTORS, EXES, EXITING};

/// `struct task_struct` of the acting task, for probe reads.
#[inline(always)]
pub fn current() -> *const u8 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_task() as *const u8 }
}

/// The same through a pointer whose type the verifier knows in programs of every kind: what is behind it is read by plain
/// loads. A probe read costs a hundred instructions.
#[inline(always)]
fn acting() -> *const u8 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_task_btf() as *const u8 }
}

/// What a field that is a pointer holds, unless it is null: newer kernels want that looked at before it is followed.
#[inline(always)]
fn followed(base: *const u8, offset: u64) -> Option<*const u8> {
    let pointer: *const u8 = Typed::read(base, offset)?;
    if pointer.is_null() { None } else { Some(pointer) }
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
    Typed::read(followed(acting(), fields::task_cred())?, fields::cred_euid())
}

/// Thread and thread group id of another task.
#[inline(always)]
pub fn ids_of(task: *const u8) -> Option<(u32, u32)> {
    // Neighbours in every kernel there is, so one read does; what is compared are constants.
    if fields::task_tgid() == fields::task_pid() + 4 {
        let both: u64 = probed(task, fields::task_pid())?;
        return Some((both as u32, (both >> 32) as u32));
    }
    Some((probed(task, fields::task_pid())?, probed(task, fields::task_tgid())?))
}

/// Threads of the acting process that have not begun to exit.
#[inline(always)]
pub fn threads_left() -> Option<u32> {
    Typed::read(followed(acting(), fields::task_signal())?, fields::signal_live())
}

/// The exit code of the acting task, once it exits.
#[inline(always)]
pub fn exit_code() -> u32 {
    Typed::read(acting(), fields::task_exit_code()).unwrap_or(0)
}

/// Where the arguments of the acting process begin and end in its memory.
#[inline(always)]
pub fn arguments() -> Option<(u64, u64)> {
    let memory = followed(acting(), fields::task_mm())?;
    Some((Typed::read(memory, fields::mm_arg_start())?, Typed::read(memory, fields::mm_arg_end())?))
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
    let level: u32 =
        Typed::read(followed(acting(), fields::task_thread_pid())?, fields::pid_level())?;
    let terminal: u64 =
        Typed::read(followed(acting(), fields::task_signal())?, fields::signal_tty())?;
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
    let age = crate::emit::now().saturating_sub(start_ns()) / 1_000_000_000;
    if age > u64::from(u32::MAX) { u32::MAX } else { age as u32 }
}

/// Where the acting task's root directory is; zeros if that cannot be read.
#[inline(always)]
pub fn root() -> Spot {
    match followed(acting(), fields::task_fs()) {
        Some(fs) => Spot {
            dentry: Typed::read(fs, fields::fs_root_dentry()).unwrap_or(0),
            mount: Typed::read(fs, fields::fs_root_mount()).unwrap_or(0),
        },
        None => Spot { dentry: 0, mount: 0 },
    }
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
    let task = acting();
    let own: u64 = Typed::read(followed(task, fields::task_cred())?, fields::cred_user_ns())?;
    let namespaces = followed(task, fields::task_nsproxy())?;
    let mounts = followed(namespaces, fields::nsproxy_mnt_ns())?;
    let owner: u64 = Typed::read(mounts, fields::mnt_ns_user())?;
    let fs = followed(task, fields::task_fs())?;
    let root: u64 = Typed::read(fs, fields::fs_root_dentry())?;
    let top: u64 = Typed::read(followed(fs, fields::fs_root_mount())?, fields::vfsmount_root())?;
    Some(initial != 0 && own == initial && owner == initial && top == root)
}

/// The mount namespace of the acting task and a number that changes with its mounts. `None`: it has none that says
/// anything.
#[inline(always)]
pub fn own_mounts() -> Option<(u64, u64)> {
    if fields::mnt_ns_event() == MISSING {
        return None;
    }
    let namespaces = followed(acting(), fields::task_nsproxy())?;
    let namespace = followed(namespaces, fields::nsproxy_mnt_ns())?;
    // Namespaces start with 0, so that one in the place of another could not be told from it.
    let event: u64 = Typed::read(namespace, fields::mnt_ns_event())?;
    if event == 0 { None } else { Some((namespace as u64, event)) }
}

/// When the acting process started, ns on `CLOCK_BOOTTIME`.
#[inline(always)]
pub fn start_ns() -> u64 {
    match followed(acting(), fields::task_group_leader()) {
        Some(leader) => Typed::read(leader, fields::task_start()).unwrap_or(0),
        None => 0,
    }
}

/// Thread group of the acting task's parent, and [`start_ns`].
#[inline(always)]
pub fn lineage() -> (u32, u64) {
    let parent = match followed(acting(), fields::task_real_parent()) {
        Some(parent) => Typed::read(parent, fields::task_tgid()).unwrap_or(0),
        None => 0,
    };
    (parent, start_ns())
}

/// The executable label of a process.
#[inline(always)]
pub fn exe(generation: Generation, process: u32) -> Option<u32> {
    // SAFETY: copied at once; entries are only replaced as a whole.
    unsafe { EXES.get(&ProcessKey { generation: generation.0, process }) }.copied()
}

/// [`exe`] of the acting process, also while it closes what it had open when it exited.
#[inline(always)]
pub fn own_exe(generation: Generation) -> Option<u32> {
    let (process, _) = ids();
    let label = exe(generation, process);
    if label.is_some() {
        return label;
    }
    // SAFETY: copied at once; entries are only replaced as a whole.
    let last =
        unsafe { EXITING.get(&ProcessKey { generation: generation.0, process }) }.copied()?;
    if last.start_ns == start_ns() { Some(last.exe as u32) } else { None }
}

/// The ancestor predicates that hold of a process.
#[inline(always)]
pub fn ancestors(generation: Generation, process: u32) -> Option<&'static AncestorSet> {
    // SAFETY: the map is RCU-protected while a program runs.
    unsafe { ANCESTORS.get(&ProcessKey { generation: generation.0, process }) }
}
