//! Opens: nobody else writes what is the agent's or what /proc has of it, reads its key, switches programs off, or freezes
//! its cgroup.

use aya_ebpf::{
    helpers::generated::bpf_sysctl_get_name,
    macros::{cgroup_sysctl, lsm},
    programs::{LsmContext, SysctlContext},
};
use interdict_abi::{
    guard::{GuardAct, GuardObject, objects, tasks},
    ids::Fault,
};

use super::{armed, guarding, inode_of, key, name_of, named, reasons, refuse, standing, trusted};
use crate::{
    emit,
    kernel::{
        fields,
        object::{Reader, Typed},
        probed,
    },
};

const MAY_WRITE: i32 = 2;
const FMODE_WRITE: u32 = 2;
const O_TRUNC: u32 = 0o1000;
const PROC_MAGIC: u64 = 0x9fa0;
const CGROUP2_MAGIC: u64 = 0x6367_7270;
const SYSCTL_BASE_NAME: u64 = 1;

/// A file is opened.
///
/// hook-signature: int file_open(struct file *file)
#[lsm(hook = "file_open")]
pub fn guard_open(context: LsmContext) -> i32 {
    let Some(state) = armed() else { return 0 };
    let file: *const u8 = context.arg(0);
    let Some(inode) = Typed::read::<*const u8>(file, fields::file_inode()) else { return 0 };
    let mode: u32 = Typed::read(file, fields::file_mode()).unwrap_or(FMODE_WRITE);
    let flags: u32 = Typed::read(file, fields::guard_file_flags()).unwrap_or(O_TRUNC);
    let writes = mode & FMODE_WRITE != 0 || flags & O_TRUNC != 0;
    let number: u64 = Typed::read(inode, fields::inode_number()).unwrap_or(0);
    if !writes && number != state.secret_inode {
        return 0;
    }
    let Some(object) = key::<Typed>(inode) else { return 0 };
    let Some(dentry) = Typed::read::<*const u8>(file, fields::file_path() + fields::path_dentry())
    else {
        return 0;
    };
    if trusted() {
        return 0;
    }
    if !writes {
        if object.device == state.secret_device {
            return refuse(GuardAct::Secret, 0, 0, object, name_of(dentry));
        }
        return 0;
    }
    if let Some(guarded) = guarding(dentry, objects::CODE | objects::LIBRARY | objects::FILE) {
        return refuse(GuardAct::Write, 0, 0, guarded, name_of(dentry));
    }
    let Some(super_block) = Typed::read::<*const u8>(inode, fields::inode_super()) else {
        return 0;
    };
    let magic: u64 = Typed::read(super_block, fields::super_magic()).unwrap_or(0);
    if magic == PROC_MAGIC {
        let refused = sysctl(dentry, object);
        return if refused != 0 { refused } else { of_process(inode, dentry, object) };
    }
    if magic == CGROUP2_MAGIC {
        return cgroup(dentry);
    }
    0
}

const fn word(text: &[u8; 8]) -> u64 {
    u64::from_ne_bytes(*text)
}

/// With `kernel.ftrace_enabled` at 0 the kernel calls no LSM program.
#[inline(always)]
fn sysctl(dentry: *const u8, object: GuardObject) -> i32 {
    let name = name_of(dentry);
    if named(name, word(b"ftrace_e"), word(b"nabled\0\0"), 7) {
        return refuse(GuardAct::Sysctl, 0, 0, object, name);
    }
    0
}

/// What `/proc` lets others write of the agent: how soon it is ended when memory runs out, and whatever comes.
#[inline(always)]
fn of_process(inode: *const u8, dentry: *const u8, object: GuardObject) -> i32 {
    match owner(inode) {
        Some(process) if standing(process) == tasks::TRUSTED => {
            refuse(GuardAct::Limit, 0, process, object, name_of(dentry))
        }
        Some(_) | None => 0,
    }
}

/// The thread group that an inode of procfs is about.
#[inline(always)]
fn owner(inode: *const u8) -> Option<u32> {
    let own = inode.wrapping_sub(fields::proc_inode_vfs() as usize);
    let number: *const u8 = probed(own, fields::proc_inode_pid())?;
    let first: *const u8 = probed(number, fields::pid_tasks())?;
    if number.is_null() || first.is_null() {
        return None;
    }
    probed(first.wrapping_sub(fields::task_pid_links() as usize), fields::task_tgid())
}

/// A file of cgroupfs is written through a descriptor: it may be older than the agent's being in its group.
///
/// hook-signature: int file_permission(struct file *file, int mask)
#[lsm(hook = "file_permission")]
pub fn guard_write(context: LsmContext) -> i32 {
    let mask: i32 = context.arg(1);
    if mask & MAY_WRITE == 0 {
        return 0;
    }
    let file: *const u8 = context.arg(0);
    let Some(inode) = Typed::read::<*const u8>(file, fields::file_inode()) else { return 0 };
    let Some(super_block) = Typed::read::<*const u8>(inode, fields::inode_super()) else {
        return 0;
    };
    let magic: u64 = Typed::read(super_block, fields::super_magic()).unwrap_or(0);
    if magic != CGROUP2_MAGIC || armed().is_none() || trusted() {
        return 0;
    }
    match Typed::read::<*const u8>(file, fields::file_path() + fields::path_dentry()) {
        Some(dentry) => cgroup(dentry),
        None => 0,
    }
}

/// `cgroup.kill` asks nobody, and `cgroup.freeze` stops whoever is in it.
#[inline(always)]
fn cgroup(dentry: *const u8) -> i32 {
    let Some(parent) = Typed::read::<*const u8>(dentry, fields::dentry_parent()) else { return 0 };
    let Some(object) = key::<Typed>(inode_of(parent)) else { return 0 };
    if reasons(&object) & objects::CGROUP == 0 {
        return 0;
    }
    let name = name_of(dentry);
    if named(name, word(b"cgroup.k"), word(b"ill\0\0\0\0\0"), 4)
        || named(name, word(b"cgroup.f"), word(b"reeze\0\0\0"), 6)
    {
        return refuse(GuardAct::Cgroup, 0, 0, object, name);
    }
    0
}

/// A file is truncated by its path.
///
/// hook-signature: int path_truncate(const struct path *path)
#[lsm(hook = "path_truncate")]
pub fn guard_truncate(context: LsmContext) -> i32 {
    changed(context.arg(0), GuardAct::Write)
}

/// A file's mode changes.
///
/// hook-signature: int path_chmod(const struct path *path, umode_t mode)
#[lsm(hook = "path_chmod")]
pub fn guard_chmod(context: LsmContext) -> i32 {
    changed(context.arg(0), GuardAct::Attributes)
}

/// A file's owner changes.
///
/// hook-signature: int path_chown(const struct path *path, kuid_t uid, kgid_t gid)
#[lsm(hook = "path_chown")]
pub fn guard_chown(context: LsmContext) -> i32 {
    changed(context.arg(0), GuardAct::Attributes)
}

#[inline(always)]
fn changed(path: *const u8, act: GuardAct) -> i32 {
    if armed().is_none() || trusted() {
        return 0;
    }
    let Some(dentry) = Typed::read::<*const u8>(path, fields::path_dentry()) else { return 0 };
    let own = objects::CODE | objects::LIBRARY | objects::FILE | objects::TREE;
    match guarding(dentry, own) {
        Some(object) => refuse(act, 0, 0, object, name_of(dentry)),
        None => 0,
    }
}

/// A sysctl is read or written, whenever its file was opened. Refused to everybody: the agent never writes it.
#[cgroup_sysctl]
pub fn guard_sysctl(context: SysctlContext) -> i32 {
    let mut name = [0u64; 2];
    // SAFETY: the context is the kernel's.
    let writes = unsafe { (*context.sysctl).write };
    if writes == 0 || armed().is_none() {
        return 1;
    }
    // SAFETY: the buffer has sixteen bytes.
    let bytes = unsafe {
        bpf_sysctl_get_name(context.sysctl, (&raw mut name).cast(), 16, SYSCTL_BASE_NAME)
    } as i64;
    if bytes == 14
        && name[0] == word(b"ftrace_e")
        && name[1] & 0x00ff_ffff_ffff_ffff == word(b"nabled\0\0")
    {
        emit::count(Fault::GuardSysctl);
        return 0;
    }
    1
}
