//! Names: nobody else makes, removes, renames or links what is the agent's; pins are names too.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::guard::{GuardAct, objects};

use super::{guarding, name_of, refuse, somebody_else};

/// Reasons for which an inode keeps its name.
const NAMED: u32 = objects::CODE | objects::FILE | objects::TREE;

#[inline(always)]
fn made(dentry: *const u8) -> i32 {
    judged(dentry, 0, GuardAct::Create)
}

#[inline(always)]
fn judged(dentry: *const u8, own: u32, act: GuardAct) -> i32 {
    if !somebody_else() {
        return 0;
    }
    match guarding(dentry, own) {
        Some(object) => refuse(act, 0, 0, object, name_of(dentry)),
        None => 0,
    }
}

/// A file is made.
///
/// hook-signature: int inode_create(struct inode *dir, struct dentry *dentry, umode_t mode)
#[lsm(hook = "inode_create")]
pub fn guard_create(context: LsmContext) -> i32 {
    made(context.arg(1))
}

/// A folder is made.
///
/// hook-signature: int inode_mkdir(struct inode *dir, struct dentry *dentry, umode_t mode)
#[lsm(hook = "inode_mkdir")]
pub fn guard_mkdir(context: LsmContext) -> i32 {
    made(context.arg(1))
}

/// A node is made.
///
/// hook-signature: int inode_mknod(struct inode *dir, struct dentry *dentry, umode_t mode, dev_t dev)
#[lsm(hook = "inode_mknod")]
pub fn guard_mknod(context: LsmContext) -> i32 {
    made(context.arg(1))
}

/// A symbolic link is made.
///
/// hook-signature: int inode_symlink(struct inode *dir, struct dentry *dentry, const char *old_name)
#[lsm(hook = "inode_symlink")]
pub fn guard_symlink(context: LsmContext) -> i32 {
    made(context.arg(1))
}

/// A name goes: a pinned program with it.
///
/// hook-signature: int inode_unlink(struct inode *dir, struct dentry *dentry)
#[lsm(hook = "inode_unlink")]
pub fn guard_unlink(context: LsmContext) -> i32 {
    judged(context.arg(1), NAMED, GuardAct::Remove)
}

/// A folder goes.
///
/// hook-signature: int inode_rmdir(struct inode *dir, struct dentry *dentry)
#[lsm(hook = "inode_rmdir")]
pub fn guard_rmdir(context: LsmContext) -> i32 {
    judged(context.arg(1), NAMED, GuardAct::Remove)
}

/// A name moves: away from what is guarded, or over it.
///
/// hook-signature: int inode_rename(struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir, struct dentry *new_dentry)
#[lsm(hook = "inode_rename")]
pub fn guard_rename(context: LsmContext) -> i32 {
    let away = judged(context.arg(1), NAMED, GuardAct::Rename);
    if away != 0 {
        return away;
    }
    judged(context.arg(3), NAMED, GuardAct::Rename)
}

/// An inode gets another name, or a guarded folder another entry.
///
/// hook-signature: int inode_link(struct dentry *old_dentry, struct inode *dir, struct dentry *new_dentry)
#[lsm(hook = "inode_link")]
pub fn guard_link(context: LsmContext) -> i32 {
    let from = judged(context.arg(0), NAMED, GuardAct::Link);
    if from != 0 {
        return from;
    }
    judged(context.arg(2), 0, GuardAct::Link)
}
