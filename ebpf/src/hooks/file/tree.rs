//! Names come and go: files, directories, links and device nodes are made, renamed and removed.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::ids::Act;

use super::{NOWHERE, ask, below, concerned, existing, inode_of, made_in, new, refusal};
use crate::{
    cache,
    hooks::{
        object::{self, Question, how},
        with_area,
    },
    kernel::object::{Object, Typed},
};

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;

/// A file, device node, socket or pipe is made; also by an open that creates.
///
/// hook-signature: int path_mknod(const struct path *dir, struct dentry *dentry, umode_t mode, unsigned int dev)
#[lsm(hook = "path_mknod")]
pub fn path_mknod(context: LsmContext) -> i32 {
    let mode: u32 = context.arg::<u64>(2) as u32 & 0xffff;
    let kind = mode & S_IFMT;
    let act = if kind == 0 || kind == S_IFREG { Act::FileCreate } else { Act::FileMknod };
    new(act, context.arg(0), context.arg(1), mode)
}

/// A directory is made.
///
/// hook-signature: int path_mkdir(const struct path *dir, struct dentry *dentry, umode_t mode)
#[lsm(hook = "path_mkdir")]
pub fn path_mkdir(context: LsmContext) -> i32 {
    let mode: u32 = context.arg::<u64>(2) as u32 & 0xffff;
    new(Act::FileMkdir, context.arg(0), context.arg(1), mode)
}

/// A symbolic link is made.
///
/// hook-signature: int path_symlink(const struct path *dir, struct dentry *dentry, const char *old_name)
#[lsm(hook = "path_symlink")]
pub fn path_symlink(context: LsmContext) -> i32 {
    new(Act::FileSymlink, context.arg(0), context.arg(1), 0)
}

/// A file's name is removed.
///
/// hook-signature: int path_unlink(const struct path *dir, struct dentry *dentry)
#[lsm(hook = "path_unlink")]
pub fn path_unlink(context: LsmContext) -> i32 {
    removed(context.arg(0), context.arg(1))
}

/// A directory is removed.
///
/// hook-signature: int path_rmdir(const struct path *dir, struct dentry *dentry)
#[lsm(hook = "path_rmdir")]
pub fn path_rmdir(context: LsmContext) -> i32 {
    removed(context.arg(0), context.arg(1))
}

#[inline(always)]
fn removed(parent: *const u8, dentry: *const u8) -> i32 {
    let Some(inode) = inode_of(dentry) else { return 0 };
    existing(Act::FileUnlink, below(parent, dentry), inode, NOWHERE)
}

/// A hard link is made: the file gets a second name. Both are judged.
///
/// hook-signature: int path_link(struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry)
#[lsm(hook = "path_link")]
pub fn path_link(context: LsmContext) -> i32 {
    let (old, parent, dentry): (*const u8, *const u8, *const u8) =
        (context.arg(0), context.arg(1), context.arg(2));
    // Both ends are on one mount, or the kernel would have refused.
    moved(Act::FileLink, old, parent, dentry, parent)
}

/// Something is renamed. Both names are judged; what was there before under the new one is replaced.
///
/// hook-signature: int path_rename(const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry, unsigned int flags)
#[lsm(hook = "path_rename")]
pub fn path_rename(context: LsmContext) -> i32 {
    let (old_parent, old): (*const u8, *const u8) = (context.arg(0), context.arg(1));
    let (parent, dentry): (*const u8, *const u8) = (context.arg(2), context.arg(3));
    moved(Act::FileRename, old, parent, dentry, old_parent)
}

#[inline(always)]
fn moved(
    act: Act,
    old: *const u8,
    parent: *const u8,
    dentry: *const u8,
    old_parent: *const u8,
) -> i32 {
    let Some((policy, directory, _)) = concerned(act.value()) else { return 0 };
    let Some(inode) = inode_of(old) else { return 0 };
    with_area(&policy, directory, |area| {
        let question = ask(&policy, area, act.value(), how::EXISTS);
        question.spot = below(old_parent, old);
        question.second = below(parent, dentry);
        made_in(question, parent);
        replaces(question, dentry);
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

/// Writes down what a new name takes away from another object: what is replaced may be remembered under names of its own.
#[inline(always)]
fn replaces(question: &mut Question, dentry: *const u8) {
    let Some(inode) = inode_of(dentry) else { return };
    let Some((device, number)) = Object::identity::<Typed>(inode) else { return };
    question.replaced_device = device;
    question.replaced_inode = number;
}
