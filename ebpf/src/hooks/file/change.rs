//! Files are cut off; owners, modes and attributes change.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::ids::Act;

use super::{NOWHERE, ask, concerned, existing, inode_of, of_path, refusal};
use crate::{
    cache,
    hooks::{
        object::{self, how},
        with_area,
    },
    kernel::{
        fields, mounts,
        object::{Reader, Typed},
        path::Spot,
    },
};

/// Bits of `iattr.ia_valid`: what is to change.
const ATTR_MODE: u32 = 1;
const ATTR_UID: u32 = 2;
const ATTR_GID: u32 = 4;
const ATTR_SIZE: u32 = 8;
const ATTR_ATIME: u32 = 16;
const ATTR_MTIME: u32 = 32;

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

/// Attributes change; of interest are times that change by themselves: modes, owners and sizes have hooks that know the
/// path. Linux 6.9 put a parameter in front.
///
/// hook-signature: int inode_setattr(struct dentry *dentry, struct iattr *attr)
#[lsm(hook = "inode_setattr")]
pub fn inode_setattr(context: LsmContext) -> i32 {
    let (dentry, changes) = if fields::setattr_dentry_argument() == 0 {
        (context.arg(0), context.arg(1))
    } else {
        (second(&context), third(&context))
    };
    times(dentry, changes)
}

/// Functions of their own: as branches, LLVM would choose between addresses in the context, which the verifier does not
/// follow. They read and no more: what is judged behind them would have their stack on top of its own.
#[inline(never)]
fn second(context: &LsmContext) -> *const u8 {
    context.arg(1)
}

#[inline(never)]
fn third(context: &LsmContext) -> *const u8 {
    context.arg(2)
}

#[inline(always)]
fn times(dentry: *const u8, changes: *const u8) -> i32 {
    let Some(valid) = Typed::read::<u32>(changes, fields::iattr_valid()) else { return 0 };
    let others = valid & (ATTR_MODE | ATTR_UID | ATTR_GID | ATTR_SIZE);
    if others != 0 || valid & (ATTR_ATIME | ATTR_MTIME) == 0 {
        return 0;
    }
    of_dentry(dentry)
}

/// An extended attribute is set; before 6.2 also a list of access.
///
/// hook-signature: int inode_setxattr(struct user_namespace *mnt_userns, struct dentry *dentry, const char *name, const void *value, size_t size, int flags)
#[lsm(hook = "inode_setxattr")]
pub fn inode_setxattr(context: LsmContext) -> i32 {
    of_dentry(context.arg(1))
}

/// An extended attribute is removed; before 6.2 also a list of access.
///
/// hook-signature: int inode_removexattr(struct user_namespace *mnt_userns, struct dentry *dentry, const char *name)
#[lsm(hook = "inode_removexattr")]
pub fn inode_removexattr(context: LsmContext) -> i32 {
    of_dentry(context.arg(1))
}

/// A list of access is set (6.2 and later).
///
/// hook-signature: int inode_set_acl(struct mnt_idmap *idmap, struct dentry *dentry, const char *acl_name, struct posix_acl *kacl)
#[lsm(hook = "inode_set_acl")]
pub fn inode_set_acl(context: LsmContext) -> i32 {
    of_dentry(context.arg(1))
}

/// A list of access is removed (6.2 and later).
///
/// hook-signature: int inode_remove_acl(struct mnt_idmap *idmap, struct dentry *dentry, const char *acl_name)
#[lsm(hook = "inode_remove_acl")]
pub fn inode_remove_acl(context: LsmContext) -> i32 {
    of_dentry(context.arg(1))
}

/// What is at `dentry` changes; by which mount it was reached the hook does not say.
#[inline(always)]
fn of_dentry(dentry: *const u8) -> i32 {
    let Some((policy, directory, _)) = concerned(Act::FileSetattr.value()) else { return 0 };
    let Some(inode) = inode_of(dentry) else { return 0 };
    let Some(super_block) = Typed::read::<*const u8>(inode, fields::inode_super()) else {
        return 0;
    };
    with_area(&policy, directory, |area| {
        let mount = mounts::of(area, dentry, super_block);
        let question = ask(&policy, area, Act::FileSetattr.value(), how::EXISTS);
        question.spot = Spot { dentry: dentry as u64, mount };
        if !question.object.fill::<Typed>(inode) {
            question.how = 0;
        }
        let answer = object::answer(area);
        if area.work().question.how & how::LEARNED != 0 {
            cache::forget(inode.cast_mut().cast());
        }
        refusal(answer)
    })
}
