//! Directories move: the paths of all that is below them change.
//!
//! The kernel gives a directory another name or parent in one function alone, whoever asks for it and whatever the file
//! system, and under one lock. What is counted here is believed by `cache`, together with each file's own counter.

use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};

use super::inode_of;
use crate::{
    kernel::{
        fields,
        object::{Reader, Typed},
    },
    maps::CONTROL,
};

const S_IFMT: u16 = 0o170_000;
const S_IFDIR: u16 = 0o040_000;

/// A name is about to change.
///
/// function: void __d_move(struct dentry *dentry, struct dentry *target, bool exchange)
#[fentry(function = "__d_move")]
pub fn move_begins(context: FEntryContext) -> i32 {
    if is_directory(context.arg(0)) || is_directory(context.arg(1)) {
        count(|moves| moves.wrapping_add(1) | 1);
    }
    0
}

/// A name has changed. Also ends a move whose beginning was not seen.
///
/// function: void __d_move(struct dentry *dentry, struct dentry *target, bool exchange)
#[fexit(function = "__d_move")]
pub fn move_ends(context: FExitContext) -> i32 {
    if is_directory(context.arg(0)) || is_directory(context.arg(1)) {
        count(|moves| (moves | 1).wrapping_add(1));
    }
    0
}

#[inline(always)]
fn is_directory(dentry: *const u8) -> bool {
    match inode_of(dentry) {
        Some(inode) => {
            Typed::read::<u16>(inode, fields::inode_mode()).unwrap_or(S_IFDIR) & S_IFMT == S_IFDIR
        }
        None => false,
    }
}

/// Nobody else writes this word: the kernel holds its `rename_lock`.
#[inline(always)]
fn count(next: impl FnOnce(u64) -> u64) {
    let Some(control) = CONTROL.get_ptr_mut(0) else { return };
    // SAFETY: the pointer is to a live map value.
    let word = unsafe { &raw mut (*control).moves };
    // SAFETY: as above; only programs under the kernel's lock write it.
    unsafe { word.write_volatile(next(word.read_volatile())) };
}
