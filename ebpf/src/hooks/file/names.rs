//! The names that objects are remembered under: taught by the agent, forgotten with the object.

use aya_ebpf::{bindings::path, helpers::generated::bpf_d_path, macros::lsm, programs::LsmContext};
use interdict_abi::limits::PATH_BYTES;

use super::inode_of;
use crate::{
    cache,
    hooks::object,
    kernel::{
        fields,
        object::{Object, Reader, Typed},
        task,
    },
    maps::CONTROL,
    names,
    scratch::{self, Area},
};

/// The attributes of a file are asked for. Attached only while the agent teaches, and then of interest only from the
/// thread that does: what it asks about is remembered under the path it asked by.
///
/// hook-signature: int inode_getattr(const struct path *path)
#[lsm(hook = "inode_getattr")]
pub fn inode_getattr(context: LsmContext) -> i32 {
    let Some(control) = CONTROL.get_ptr(0) else { return 0 };
    // SAFETY: the pointer is to a live map value; the agent writes each word atomically.
    let seeder = unsafe { (&raw const (*control).seeder).read_volatile() };
    let (_, thread) = task::ids();
    if seeder == 0 || seeder != u64::from(thread) {
        return 0;
    }
    let Some(claim) = scratch::claim() else { return 0 };
    learn(context.arg(0), claim.area);
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
