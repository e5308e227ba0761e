//! Files are cut off; owners, modes and attributes change.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::ids::Act;

use super::{NOWHERE, existing, of_path};
use crate::kernel::{
    fields,
    object::{Reader, Typed},
    path::Spot,
};

/// A file is truncated by its path; before 6.2 also through a descriptor.
///
/// hook-signature: int path_truncate(const struct path *path)
#[lsm(hook = "path_truncate")]
pub fn path_truncate(context: LsmContext) -> i32 {
    at(Act::FileTruncate, context.arg(0))
}

/// A file is truncated through a descriptor (6.2 and later).
///
/// hook-signature: int file_truncate(struct file *file)
#[lsm(hook = "file_truncate")]
pub fn file_truncate(context: LsmContext) -> i32 {
    let file: *const u8 = context.arg(0);
    let at = fields::file_path();
    let Some(dentry) = Typed::read::<u64>(file, at + fields::path_dentry()) else { return 0 };
    let Some(mount) = Typed::read::<u64>(file, at + fields::path_mnt()) else { return 0 };
    let Some(inode) = Typed::read::<*const u8>(file, fields::file_inode()) else { return 0 };
    existing(Act::FileTruncate, Spot { dentry, mount }, inode, NOWHERE)
}

/// Permission bits change.
///
/// hook-signature: int path_chmod(const struct path *path, umode_t mode)
#[lsm(hook = "path_chmod")]
pub fn path_chmod(context: LsmContext) -> i32 {
    at(Act::FileSetattr, context.arg(0))
}

/// The owner changes.
///
/// hook-signature: int path_chown(const struct path *path, kuid_t uid, kgid_t gid)
#[lsm(hook = "path_chown")]
pub fn path_chown(context: LsmContext) -> i32 {
    at(Act::FileSetattr, context.arg(0))
}

#[inline(always)]
fn at(act: Act, path: *const u8) -> i32 {
    let Some((spot, inode)) = of_path(path) else { return 0 };
    existing(act, spot, inode, NOWHERE)
}
