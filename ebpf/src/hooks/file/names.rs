//! The names that objects are remembered under: taught by the agent, forgotten with the object.

use aya_ebpf::{bindings::path, helpers::generated::bpf_d_path, macros::lsm, programs::LsmContext};
use interdict_abi::{ids::Family, limits::PATH_BYTES, maps::Control};
use interdict_engine::facts;

use super::{ask, inode_of, of_path};
use crate::{
    cache,
    hooks::object::{self, how},
    kernel::{
        fields, mounts,
        object::{Object, Reader, Typed},
        path::Spot,
        task,
    },
    maps::CONTROL,
    names, policy,
    scratch::{self, Area},
};

/// The attributes of a file are asked for. Attached only while the agent teaches, and then of interest only from the
/// thread that does: what it asks about is remembered under the path it asked by, or the mounts on the way to it are.
///
/// hook-signature: int inode_getattr(const struct path *path)
#[lsm(hook = "inode_getattr")]
pub fn inode_getattr(context: LsmContext) -> i32 {
    let Some(control) = CONTROL.get_ptr(0) else { return 0 };
    // SAFETY: the pointer is to a live map value; the agent writes each word atomically.
    let seeder = unsafe { (&raw const (*control).seeder).read_volatile() };
    let (_, thread) = task::ids();
    if seeder == 0 || seeder as u32 != thread {
        return 0;
    }
    let Some(claim) = scratch::claim() else { return 0 };
    if seeder & Control::MOUNTS != 0 {
        if let Some((spot, _)) = of_path(context.arg(0)) {
            claim.area.work().question.spot = spot;
            mounts::vouch(claim.area);
        }
    } else {
        learn(context.arg(0), claim.area);
    }
    claim.release();
    0
}

#[inline(always)]
fn learn(path: *const u8, area: Area) {
    let text = &mut area.work().text;
    // SAFETY: the path is the hook's argument; the buffer has PATH_BYTES.
    let built = unsafe {
        let path = path.cast_mut().cast::<path>();
        bpf_d_path(path, text.0.as_mut_ptr().cast(), PATH_BYTES as u32)
    } as i64;
    if built < 2 || built > PATH_BYTES as i64 {
        return;
    }
    let Some(dentry) = Typed::read::<*const u8>(path, fields::path_dentry()) else { return };
    let Some(inode) = inode_of(dentry) else { return };
    let Some((device, number)) = Object::identity::<Typed>(inode) else { return };
    let bytes = built as u64 - 1;
    let last = object::last_slash(area, bytes);
    if names::learn(area, device, number, bytes, last + 1) {
        cache::forget(inode.cast_mut().cast());
    }
}

/// A rename is about to happen: nothing that can refuse it comes after. What is renamed goes by its new name from here on.
///
/// hook-signature: int inode_rename(struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir, struct dentry *new_dentry)
#[lsm(hook = "inode_rename")]
pub fn inode_rename(context: LsmContext) -> i32 {
    commit(context.arg(1), context.arg(3));
    0
}

/// A hard link is about to be made: as for [`inode_rename`].
///
/// hook-signature: int inode_link(struct dentry *old_dentry, struct inode *dir, struct dentry *new_dentry)
#[lsm(hook = "inode_link")]
pub fn inode_link(context: LsmContext) -> i32 {
    commit(context.arg(0), context.arg(2));
    0
}

/// Remembers what is at `old` under the path of `new`, if that is selected.
#[inline(always)]
fn commit(old: *const u8, new: *const u8) {
    let Some(policy) = policy::active() else { return };
    let by_path = facts::directory(&policy.image, Family::File)
        | facts::directory(&policy.image, Family::Exec);
    if by_path == 0 || !task::sees_true_paths() {
        return;
    }
    let Some(inode) = inode_of(old) else { return };
    let Some(super_block) = Typed::read::<*const u8>(inode, fields::inode_super()) else { return };
    let Some(claim) = scratch::claim() else { return };
    let mount = mounts::of(claim.area, new, super_block);
    let question = ask(&policy, claim.area, 0, how::EXISTS);
    question.spot = Spot { dentry: new as u64, mount };
    if question.object.fill::<Typed>(inode) && object::commit(claim.area) {
        cache::forget(inode.cast_mut().cast());
    }
    claim.release();
}

/// An inode leaves memory. If its last name is gone so is the object, and its number may be given to another.
///
/// hook-signature: void inode_free_security(struct inode *inode)
#[lsm(hook = "inode_free_security")]
pub fn inode_free_security(context: LsmContext) -> i32 {
    let inode: *const u8 = context.arg(0);
    let links: u32 = Typed::read(inode, fields::inode_nlink()).unwrap_or(1);
    if links == 0
        && let Some((device, number)) = Object::identity::<Typed>(inode)
    {
        names::forget(device, number);
    }
    0
}
