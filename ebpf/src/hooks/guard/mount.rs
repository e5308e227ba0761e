//! Mounts: nobody else covers what is the agent's, or takes its pins away with their file system.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::guard::{GuardAct, GuardObject, GuardState, objects};

use super::{armed, guarding, inode_of, key, name_of, reasons, refuse, trusted};
use crate::kernel::{
    fields,
    object::{Reader, Typed},
    probed, task,
};

/// Flags of `mount(2)` that change a mount instead of making one: remount, and how mounts propagate.
const CHANGES: u64 = 0x20 | 0x1e_0000;

const OWN: u32 = objects::CODE | objects::FILE | objects::TREE;

/// Whether the acting process is in the agent's mount namespace; what cannot be read counts as yes.
#[inline(always)]
fn same_namespace(state: &GuardState) -> bool {
    let number: Option<u32> = probed::<*const u8>(task::current(), fields::guard_task_nsproxy())
        .and_then(|proxy| probed::<*const u8>(proxy, fields::guard_nsproxy_mounts()))
        .and_then(|namespace| probed(namespace, fields::guard_namespace()));
    number.is_none_or(|number| u64::from(number) == state.mounts)
}

#[inline(always)]
fn covered(path: *const u8) -> i32 {
    let Some(state) = armed() else { return 0 };
    if trusted() {
        return 0;
    }
    let Some(dentry) = Typed::read::<*const u8>(path, fields::path_dentry()) else { return 0 };
    if let Some(object) = guarding(dentry, OWN) {
        return refuse(GuardAct::Mount, 0, 0, object, name_of(dentry));
    }
    if let Some(object) = on_the_way(dentry, state) {
        return refuse(GuardAct::Mount, 0, 0, object, name_of(dentry));
    }
    0
}

#[inline(always)]
fn on_the_way(dentry: *const u8, state: &GuardState) -> Option<GuardObject> {
    let key = key::<Typed>(inode_of(dentry))?;
    if reasons(&key) & objects::WAY != 0 && same_namespace(state) { Some(key) } else { None }
}

/// Something is mounted.
///
/// hook-signature: int sb_mount(const char *dev_name, const struct path *path, const char *type, unsigned long flags, void *data)
#[lsm(hook = "sb_mount")]
pub fn guard_mount(context: LsmContext) -> i32 {
    let flags: u64 = context.arg(3);
    if flags & CHANGES != 0 {
        return 0;
    }
    covered(context.arg(1))
}

/// A mount moves.
///
/// hook-signature: int move_mount(const struct path *from_path, const struct path *to_path)
#[lsm(hook = "move_mount")]
pub fn guard_move(context: LsmContext) -> i32 {
    covered(context.arg(1))
}

/// Something is unmounted.
///
/// hook-signature: int sb_umount(struct vfsmount *mnt, int flags)
#[lsm(hook = "sb_umount")]
pub fn guard_umount(context: LsmContext) -> i32 {
    let Some(state) = armed() else { return 0 };
    if trusted() {
        return 0;
    }
    let mount: *const u8 = context.arg(0);
    let Some(root) = Typed::read::<*const u8>(mount, fields::vfsmount_root()) else { return 0 };
    let device: u32 = Typed::read::<*const u8>(mount, fields::guard_mount_super())
        .and_then(|super_block| Typed::read(super_block, fields::super_device()))
        .unwrap_or(0);
    if u64::from(device) == state.pins_device {
        let object = GuardObject { inode: 0, device: state.pins_device };
        return refuse(GuardAct::Unmount, 0, 0, object, name_of(root));
    }
    match on_the_way(root, state) {
        Some(object) => refuse(GuardAct::Unmount, 0, 0, object, name_of(root)),
        None => 0,
    }
}

/// The root changes for a whole mount namespace.
///
/// hook-signature: int sb_pivotroot(const struct path *old_path, const struct path *new_path)
#[lsm(hook = "sb_pivotroot")]
pub fn guard_pivot(_context: LsmContext) -> i32 {
    let Some(state) = armed() else { return 0 };
    if trusted() || !same_namespace(state) {
        return 0;
    }
    refuse(GuardAct::Mount, 0, 0, GuardObject { inode: 0, device: 0 }, 0)
}
