//! Remembers the label of a file's path on its inode.
//!
//! Building a path and walking it costs three times what looking a label up does, and most files are opened again and
//! again. A remembered label is believed only while the string that was walked cannot have changed:
//!
//! - the same generation decides;
//! - the file was reached through the same dentry (address, parent's address, and hash and length of its name), the same
//!   mount, and by a process with the same root: hard links, bind mounts, chroots and mount namespaces each differ in one;
//! - the inode has one link, so that no other name can take over a freed dentry's address;
//! - nothing was renamed and no mount changed since, anywhere: the kernel's own `rename_lock` and `mount_lock` are
//!   sequence counters that every `d_move` and every change of the mount tree advances.
//!
//! What is remembered is the label (the set of patterns that match), not the verdict: the process is looked at each time.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::inode,
    btf_maps::InodeStorage,
    helpers::generated::bpf_get_current_task_btf,
    macros::btf_map,
};
use interdict_abi::ids::Generation;

use crate::kernel::{
    fields,
    object::{Reader, Typed},
    probed,
};

/// What is remembered of a path.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Remembered {
    generation: u32,
    label: u32,
    place: Place,
}

/// Everything a path's spelling depends on.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place {
    dentry: u64,
    parent: u64,
    name: u64,
    mount: u64,
    root: u64,
    root_mount: u64,
    renames: u32,
    mounts: u32,
}

/// Labels by inode. Programs only.
#[btf_map]
static LABELS: InodeStorage<Remembered> = InodeStorage::new();

/// Where `file` is, if what is remembered of it can be believed at all.
#[inline(always)]
pub fn place<'a>(file: *const u8, links: u32, room: &'a mut MaybeUninit<Place>) -> Option<&'a Place> {
    if links != 1 || !fill(file, room) {
        return None;
    }
    // SAFETY: `fill` has filled it.
    Some(unsafe { room.assume_init_ref() })
}

/// A function of its own: its caller has no stack to spare.
#[inline(never)]
fn fill(file: *const u8, room: &mut MaybeUninit<Place>) -> bool {
    match placed(file) {
        Some(place) => {
            room.write(place);
            true
        }
        None => false,
    }
}

#[inline(always)]
fn placed(file: *const u8) -> Option<Place> {
    let renames = sequence(fields::rename_lock())?;
    let mounts = sequence(fields::mount_lock())?;
    let dentry: *const u8 = Typed::read(file, fields::file_path() + fields::path_dentry())?;
    let mount: u64 = Typed::read(file, fields::file_path() + fields::path_mnt())?;
    let parent: u64 = Typed::read(dentry, fields::dentry_parent())?;
    // Hash and length of the name: `qstr` keeps them in an anonymous struct, each of which 6.1 wants read by itself.
    let hash: u32 = Typed::read(dentry, fields::dentry_name())?;
    let length: u32 = Typed::read(dentry, fields::dentry_name() + fields::qstr_len())?;
    let name = u64::from(hash) << 32 | u64::from(length);
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task_btf() } as *const u8;
    let fs: *const u8 = Typed::read(task, fields::task_fs())?;
    if fs.is_null() {
        return None;
    }
    let root: u64 = Typed::read(fs, fields::fs_root() + fields::path_dentry())?;
    let root_mount: u64 = Typed::read(fs, fields::fs_root() + fields::path_mnt())?;
    Some(Place { dentry: dentry as u64, parent, name, mount, root, root_mount, renames, mounts })
}

/// The sequence counter of a kernel seqlock, if nobody is writing under it. The loader looks its address up.
#[inline(always)]
fn sequence(address: u64) -> Option<u32> {
    if address == 0 {
        return None;
    }
    let sequence: u32 = probed(address as *const u8, 0)?;
    if sequence & 1 == 0 { Some(sequence) } else { None }
}

/// The inode of `file`.
#[inline(always)]
pub fn inode_of(file: *const u8) -> Option<*mut inode> {
    Typed::read(file, fields::file_inode())
}

/// The label of the path of a file at `place`, if it is remembered and can be believed.
#[inline(always)]
pub fn find(inode: *mut inode, place: &Place, generation: Generation) -> Option<u32> {
    // SAFETY: the inode came from a hook's argument.
    let remembered = unsafe { LABELS.get_ptr_mut(inode) };
    if remembered.is_null() {
        return None;
    }
    // SAFETY: live while the program runs; a torn read is caught by the comparison of every part but the label, which
    // is a word of its own and changes only together with one of them.
    let remembered = unsafe { &*remembered };
    if remembered.generation != generation.0 || remembered.place != *place {
        return None;
    }
    Some(remembered.label)
}

/// Remembers a label. `place` was taken before the path was built: if anything moved since, it will not be believed.
#[inline(always)]
pub fn keep(inode: *mut inode, place: &Place, generation: Generation, label: u32) {
    // SAFETY: the inode came from a hook's argument.
    let remembered = unsafe { LABELS.get_or_insert_ptr_mut(inode, None) };
    if remembered.is_null() {
        return;
    }
    // SAFETY: live while the program runs. The generation is taken away first and given back last, so that a reader on
    // another processor sees either all of it or a generation that is never in force.
    unsafe { (&raw mut (*remembered).generation).write_volatile(0) };
    // SAFETY: as above.
    unsafe { (&raw mut (*remembered).place).write_volatile(*place) };
    // SAFETY: as above.
    unsafe { (&raw mut (*remembered).label).write_volatile(label) };
    // SAFETY: as above.
    unsafe { (&raw mut (*remembered).generation).write_volatile(generation.0) };
}
