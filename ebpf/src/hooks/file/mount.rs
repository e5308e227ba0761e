//! File systems are mounted, moved and taken away.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::ids::Act;

use super::{NOWHERE, existing, inode_of, of_path};
use crate::kernel::{
    fields,
    object::{Reader, Typed},
    path::Spot,
};

/// Something is mounted on `path`: a file system, or by a bind mount another place.
///
/// hook-signature: int sb_mount(const char *dev_name, const struct path *path, const char *type, unsigned long flags, void *data)
#[lsm(hook = "sb_mount")]
pub fn sb_mount(context: LsmContext) -> i32 {
    let Some((spot, inode)) = of_path(context.arg(1)) else { return 0 };
    existing(Act::FileMount, spot, inode, NOWHERE)
}

/// A mount is moved, or a detached one put in place. Both places are judged.
///
/// hook-signature: int move_mount(const struct path *from_path, const struct path *to_path)
#[lsm(hook = "move_mount")]
pub fn move_mount(context: LsmContext) -> i32 {
    let Some((from, _)) = of_path(context.arg(0)) else { return 0 };
    let Some((to, inode)) = of_path(context.arg(1)) else { return 0 };
    existing(Act::FileMount, to, inode, from)
}

/// A mount is taken away.
///
/// hook-signature: int sb_umount(struct vfsmount *mnt, int flags)
#[lsm(hook = "sb_umount")]
pub fn sb_umount(context: LsmContext) -> i32 {
    let mount: *const u8 = context.arg(0);
    let Some(root) = Typed::read::<*const u8>(mount, fields::vfsmount_root()) else { return 0 };
    let Some(inode) = inode_of(root) else { return 0 };
    existing(Act::FileMount, Spot { dentry: root as u64, mount: mount as u64 }, inode, NOWHERE)
}
