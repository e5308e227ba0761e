//! Remembers the label of a file's path on its inode.
//!
//! Building a path and walking it costs several times what looking a label up does, and most files are opened again and
//! again. A remembered label is believed only while the string that was walked cannot have changed:
//!
//! - the same generation decides;
//! - the file was reached through the same dentry (address, parent's address, hash of its name, and the kernel's counter
//!   of changes to it), the same mount, and by a process with the same root: renames of the file itself, hard links, bind
//!   mounts, chroots and mount namespaces each differ in one;
//! - the inode has one link, so that no other name can take over a freed dentry's address;
//! - no directory was moved since, anywhere: `hooks::file::moves` counts. Until it has counted anything, nothing must have
//!   been renamed, by the kernel's own `rename_lock`, a sequence counter that every `d_move` advances;
//! - no mount changed since. That is asked only where mounts matter: not on the mount whose root is the root of the process,
//!   because the path ends there without crossing one. Mounts of the process's own namespace change with a number of that;
//!   for those of others nothing must have been mounted anywhere, by the same kind of counter in `mount_lock`.
//!
//! What is remembered are labels (the set of patterns that match), not the verdict: the process is looked at each time.
//! Where the labels leave no clause alive, whoever acts, that is remembered too, by the mode a file is opened in.
//! Objects that go by names of their own (`names`) are not remembered: each of their names is looked at each time.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::inode, btf_maps::InodeStorage, helpers::generated::bpf_get_current_task_btf,
    macros::btf_map,
};
use interdict_abi::{limits::REMEMBERED_PARTS, maps::Control};

use crate::{
    kernel::{
        fields,
        object::{Reader, Typed},
        probed, task,
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
    /// Modes, as bits by their number, in which no clause can hold of an open. Grows while the row is there.
    unconcerned: u64,
}

/// Everything a path's spelling depends on.
#[repr(C)]
#[derive(Clone, Copy)]
struct Place {
    dentry: u64,
    parent: u64,
    mount: u64,
    root: u64,
    root_mount: u64,
    moves: u64,
    mounts: u64,
    namespace: u64,
    sequence: u32,
    name: u32,
    generation: u32,
}

impl Remembered {
    /// The labels.
    #[inline(always)]
    pub fn labels(&self) -> &[u32; REMEMBERED_PARTS] {
        &self.labels
    }

    /// Whether no clause can hold of an open in `mode`, whoever acts.
    #[inline(always)]
    pub fn is_unconcerned(&self, mode: u32) -> bool {
        self.unconcerned >> (mode & 3) & 1 != 0
    }
}

/// Labels by inode. Programs only. A row is never changed, but for what follows from it: it is taken away and another one
/// published, so that whoever reads it reads one row.
#[btf_map]
static LABELS: InodeStorage<Remembered> = InodeStorage::new();

/// Writes down where `file` is. False if what is remembered of it could not be believed.
#[inline(never)]
pub fn placed(
    file: *const u8,
    control: &Control,
    generation: u32,
    kept: &mut MaybeUninit<Remembered>,
) -> bool {
    match place(file, control, generation) {
        Some(place) => {
            // SAFETY: inside the room.
            unsafe { (&raw mut (*kept.as_mut_ptr()).place).write(place) };
            true
        }
        None => false,
    }
}

#[inline(always)]
fn place(file: *const u8, control: &Control, generation: u32) -> Option<Place> {
    // First of all: what moves from here on is not believed.
    let moves = moves(control)?;
    let dentry: *const u8 = Typed::read(file, fields::file_dentry())?;
    let sequence: u32 = Typed::read(dentry, fields::dentry_sequence())?;
    if sequence & 1 != 0 {
        return None;
    }
    let parent: u64 = Typed::read(dentry, fields::dentry_parent())?;
    let name: u32 = Typed::read(dentry, fields::dentry_name())?;
    let mount: u64 = Typed::read(file, fields::file_mount())?;
    // SAFETY: the helper has no preconditions.
    let acting = unsafe { bpf_get_current_task_btf() } as *const u8;
    let fs: *const u8 = Typed::read(acting, fields::task_fs())?;
    if fs.is_null() {
        return None;
    }
    let root: u64 = Typed::read(fs, fields::fs_root_dentry())?;
    let root_mount: *const u8 = Typed::read(fs, fields::fs_root_mount())?;
    let whole = Typed::read::<u64>(root_mount, fields::vfsmount_root()) == Some(root);
    let mut mounts = WITHIN_ROOT;
    let mut namespace = 0;
    if mount != root_mount as u64 || !whole {
        let own = task::own_mounts();
        // While somebody mounts, the number may have changed already and the path not yet.
        mounts = u64::from(sequence_of(fields::mount_lock())?);
        let holder = mount.wrapping_sub(fields::mount_mnt()) as *const u8;
        if let Some((holding, event)) = own
            && Some(holding) == probed::<u64>(holder, fields::mount_namespace())
        {
            (mounts, namespace) = (event | OWN, holding);
        }
    }
    let (dentry, root_mount) = (dentry as u64, root_mount as u64);
    Some(Place {
        dentry,
        parent,
        mount,
        root,
        root_mount,
        moves,
        mounts,
        namespace,
        sequence,
        name,
        generation,
    })
}

/// In [`Place::mounts`], where counters of `mount_lock` are even: mounts do not matter. They never will for the same mount
/// and root: a mount shows the same directory as long as it lives.
const WITHIN_ROOT: u64 = 1;

/// In [`Place::mounts`]: the number of the process's own namespace.
const OWN: u64 = 1 << 63;

/// In [`Place::moves`]: counted by our own programs.
const COUNTED: u64 = 1 << 63;

/// A number that changes when a directory is moved. `None`: one is moving, or it cannot be known.
#[inline(always)]
fn moves(control: &Control) -> Option<u64> {
    // SAFETY: a live map value.
    let moves = unsafe { (&raw const control.moves).read_volatile() };
    if moves == 0 {
        return sequence_of(fields::rename_lock()).map(u64::from);
    }
    if moves & 1 == 0 { Some(moves | COUNTED) } else { None }
}

/// The sequence counter of a kernel seqlock, if nobody is writing under it. The loader looks its address up. A function of
/// its own: it is asked rarely.
#[inline(always)]
pub fn sequence_of(address: u64) -> Option<u32> {
    if address == 0 {
        return None;
    }
    let sequence: u32 = probed(address as *const u8, 0)?;
    if sequence & 1 == 0 { Some(sequence) } else { None }
}

/// What is remembered of `file`, whose inode is `inode`, if it can be believed.
#[inline(always)]
pub fn find(
    file: *const u8,
    inode: *const u8,
    control: &Control,
    generation: u32,
) -> Option<&'static mut Remembered> {
    let row = row(inode.cast_mut().cast())?;
    let place = &row.place;
    if place.generation != generation || Some(place.moves) != moves(control) {
        return None;
    }
    let dentry: *const u8 = Typed::read(file, fields::file_dentry())?;
    if place.dentry != dentry as u64
        || Some(place.sequence) != Typed::read(dentry, fields::dentry_sequence())
        || Some(place.name) != Typed::read(dentry, fields::dentry_name())
        || Some(place.parent) != Typed::read(dentry, fields::dentry_parent())
        || Some(place.mount) != Typed::read(file, fields::file_mount())
        || Some(1u32) != Typed::read(inode, fields::inode_nlink())
    {
        return None;
    }
    // SAFETY: the helper has no preconditions.
    let acting = unsafe { bpf_get_current_task_btf() } as *const u8;
    let fs: *const u8 = Typed::read(acting, fields::task_fs())?;
    if fs.is_null()
        || Some(place.root) != Typed::read(fs, fields::fs_root_dentry())
        || Some(place.root_mount) != Typed::read(fs, fields::fs_root_mount())
    {
        return None;
    }
    if place.mounts == WITHIN_ROOT {
        return Some(row);
    }
    let unchanged = if place.mounts & OWN != 0 {
        task::own_mounts() == Some((place.namespace, place.mounts & !OWN))
    } else {
        sequence_of(fields::mount_lock()).map(u64::from) == Some(place.mounts)
    };
    if unchanged { Some(row) } else { None }
}

/// Remembers of a row that was found that no clause can hold of an open in `mode`, whoever acts. If another CPU does the
/// same for another mode, one of the two may be lost, and is found out again.
#[inline(always)]
pub fn unconcerned(row: &mut Remembered, mode: u32) {
    let word = &raw mut row.unconcerned;
    // SAFETY: a live map value.
    unsafe { word.write_volatile(word.read_volatile() | 1 << (mode & 3)) };
}

#[inline(always)]
fn row(inode: *mut inode) -> Option<&'static mut Remembered> {
    // SAFETY: the inode came from a hook's argument.
    let remembered = unsafe { LABELS.get_ptr_mut(inode) };
    if remembered.is_null() {
        return None;
    }
    // SAFETY: live while the program runs.
    Some(unsafe { &mut *remembered })
}

/// Whether anything is remembered of an inode under `generation`, wherever it was reached.
#[inline(always)]
pub fn anywhere(inode: *mut inode, generation: u32) -> bool {
    row(inode).is_some_and(|remembered| remembered.place.generation == generation)
}

/// Remembers the labels in `row` of an object that goes by no other name. The place was taken before the path was
/// built: if anything moved since, it will not be believed. No clause can hold of an open in the mode `unconcerned`, 0 if
/// that is not known of any.
#[inline(always)]
pub fn keep(inode: *mut inode, kept: &mut MaybeUninit<Remembered>, row: &Labels, unconcerned: u32) {
    let place: *mut Remembered = kept.as_mut_ptr();
    let mut part = 0;
    while part < REMEMBERED_PARTS {
        let label = row[part];
        // SAFETY: inside the row; volatile, so that the loop is not made a call.
        unsafe { (&raw mut (*place).labels[part]).write_volatile(label.wrapping_sub(1)) };
        part += 1;
    }
    // SAFETY: inside the row.
    unsafe { (&raw mut (*place).unconcerned).write(1 << (unconcerned & 3)) };
    // SAFETY: the place was filled before, the rest just now.
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
