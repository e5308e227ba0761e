//! Remembers the label of a file's path on its inode.
//!
//! Building a path and walking it costs three times what looking a label up does, and most files are opened again and
//! again. A remembered label is believed only while the string that was walked cannot have changed:
//!
//! - the same generation decides;
//! - the file was reached through the same dentry (address, parent's address, and hash and length of its name), the same
//!   mount, and by a process with the same root: hard links, bind mounts, chroots and mount namespaces each differ in one;
//! - the inode has one link, so that no other name can take over a freed dentry's address;
//! - nothing was renamed since, anywhere: the kernel's own `rename_lock` is a sequence counter that every `d_move` advances;
//! - no mount changed since, by the same kind of counter in `mount_lock`. That is asked only where mounts matter: not on the
//!   mount whose root is the root of the process, because the path ends there without crossing one.
//!
//! What is remembered are labels (the set of patterns that match), not the verdict: the process is looked at each time.
//! Objects that go by names of their own (`names`) are not remembered: each of their names is looked at each time.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::inode, btf_maps::InodeStorage, helpers::generated::bpf_get_current_task_btf,
    macros::btf_map,
};
use interdict_abi::{ids::Generation, limits::REMEMBERED_PARTS};

use crate::{
    kernel::{
        fields,
        object::{Reader, Typed},
        probed,
    },
    scratch::Labels,
};

/// What is remembered of a path.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Remembered {
    place: Place,
    /// The label that each part of the path's column gave.
    labels: [u32; REMEMBERED_PARTS],
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
    generation: u64,
}

/// Labels by inode. Programs only. A row is never changed: it is taken away and another one published, so that whoever
/// reads it reads one row.
#[btf_map]
static LABELS: InodeStorage<Remembered> = InodeStorage::new();

/// Where `file` is, if what is remembered of it can be believed at all.
#[inline(always)]
pub fn place<'a>(
    file: *const u8,
    links: u32,
    generation: Generation,
    room: &'a mut MaybeUninit<Remembered>,
) -> Option<&'a Place> {
    if links != 1 || !fill(file, generation.0, room) {
        return None;
    }
    // SAFETY: `fill` has filled it.
    Some(unsafe { &(*room.as_ptr()).place })
}

/// A function of its own: its caller has no stack to spare.
#[inline(never)]
fn fill(file: *const u8, generation: u32, room: &mut MaybeUninit<Remembered>) -> bool {
    match placed(file, Generation(generation)) {
        Some(place) => {
            // SAFETY: inside the room.
            unsafe { (&raw mut (*room.as_mut_ptr()).place).write(place) };
            true
        }
        None => false,
    }
}

#[inline(always)]
fn placed(file: *const u8, generation: Generation) -> Option<Place> {
    let renames = sequence(fields::rename_lock())?;
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
    let root_mount: *const u8 = Typed::read(fs, fields::fs_root() + fields::path_mnt())?;
    let mounts = if mount == root_mount as u64 && is_whole(root_mount, root) {
        WITHIN_ROOT
    } else {
        sequence(fields::mount_lock())?
    };
    let (dentry, root_mount) = (dentry as u64, root_mount as u64);
    let generation = u64::from(generation.0);
    Some(Place { dentry, parent, name, mount, root, root_mount, renames, mounts, generation })
}

/// In place of the counter of `mount_lock`, which is never odd while it is believed: mounts do not matter.
const WITHIN_ROOT: u32 = 1;

/// Whether the root of the mount is `root`.
#[inline(always)]
fn is_whole(mount: *const u8, root: u64) -> bool {
    Typed::read::<u64>(mount, fields::vfsmount_root()) == Some(root)
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

/// The labels of the path of a file at `place`, if they are remembered and can be believed.
#[inline(always)]
pub fn find(inode: *mut inode, place: &Place) -> Option<&'static [u32; REMEMBERED_PARTS]> {
    // SAFETY: the inode came from a hook's argument.
    let remembered = unsafe { LABELS.get_ptr_mut(inode) };
    if remembered.is_null() {
        return None;
    }
    // SAFETY: live while the program runs.
    let remembered = unsafe { &*remembered };
    if remembered.place == *place { Some(&remembered.labels) } else { None }
}

/// What is remembered of an inode under `generation`, wherever it was reached.
#[inline(always)]
pub fn anywhere(
    inode: *mut inode,
    generation: Generation,
) -> Option<&'static [u32; REMEMBERED_PARTS]> {
    // SAFETY: the inode came from a hook's argument.
    let remembered = unsafe { LABELS.get_ptr_mut(inode) };
    if remembered.is_null() {
        return None;
    }
    // SAFETY: live while the program runs.
    let remembered = unsafe { &*remembered };
    if remembered.place.generation == u64::from(generation.0) {
        Some(&remembered.labels)
    } else {
        None
    }
}

/// Remembers the labels in `row` of an object that goes by no other name. The place was taken before the path was
/// built: if anything moved since, it will not be believed.
#[inline(always)]
pub fn keep(inode: *mut inode, kept: &mut MaybeUninit<Remembered>, row: &Labels) {
    let place: *mut Remembered = kept.as_mut_ptr();
    let mut part = 0;
    while part < REMEMBERED_PARTS {
        let label = row[part];
        // SAFETY: inside the row; volatile, so that the loop is not made a call.
        unsafe { (&raw mut (*place).labels[part]).write_volatile(label.wrapping_sub(1)) };
        part += 1;
    }
    // SAFETY: the place was filled before, the labels just now.
    let remembered = unsafe { kept.assume_init_mut() };
    forget(inode);
    // SAFETY: the inode came from a hook's argument.
    let _published = unsafe { LABELS.get_or_insert_ptr_mut(inode, Some(remembered)) };
}

/// Forgets what is remembered of an inode.
#[inline(always)]
pub fn forget(inode: *mut inode) {
    // SAFETY: the inode came from a hook's argument.
    let _none = unsafe { LABELS.delete(inode) };
}
