//! The working directory of the acting process, into memory that belongs to one invocation.
//!
//! Climbed from the directory to the root of its mount namespace, from the end of a buffer of its own to its start: the
//! path of the act's object may already lie in the area's text.

use core::sync::atomic::AtomicU64;

use interdict_abi::limits::PATH_BYTES;
use interdict_engine::Bytes;

use super::{copy, fields, probed, task};
use crate::{bounds::masked, scratch::through_memory};

/// Room past the path, so that a bounded copy that starts anywhere inside stays inside.
const SLACK: usize = 256;

const LAST: u64 = PATH_BYTES as u64 - 1;

/// How far the climb has come, and the path's end so far.
#[repr(C, align(8))]
pub struct Cwd {
    dentry: u64,
    mount: u64,
    position: u64,
    state: u64,
    text: [u8; PATH_BYTES + SLACK],
    cell: AtomicU64,
}

/// There is more to climb.
const CLIMBING: u64 = 0;
/// The root was reached.
const ARRIVED: u64 = 1;
/// Something could not be read, or the path is too long.
const LOST: u64 = 2;

impl Cwd {
    /// Goes to the working directory.
    #[inline(always)]
    pub fn start(&mut self) {
        self.text[PATH_BYTES - 1] = 0;
        self.position = LAST;
        self.state = LOST;
        let Some(fs) = probed::<*const u8>(task::current(), fields::task_fs()) else { return };
        let pwd = fields::fs_pwd();
        let Some(dentry) = probed(fs, pwd + fields::path_dentry()) else { return };
        let Some(mount) = probed(fs, pwd + fields::path_mnt()) else { return };
        self.dentry = dentry;
        self.mount = mount;
        self.state = CLIMBING;
    }

    /// One component up. Answers whether the climb is over. For `bpf_loop`, `path::DEPTH` times.
    #[inline(always)]
    pub fn up(&mut self) -> bool {
        if self.state == CLIMBING {
            self.state = self.component().unwrap_or(LOST);
        }
        self.state != CLIMBING
    }

    #[inline(always)]
    fn component(&mut self) -> Option<u64> {
        let dentry = self.dentry as *const u8;
        let mnt = self.mount as *const u8;
        let root: *const u8 = probed(mnt, fields::vfsmount_root())?;
        if dentry == root {
            let mount = mnt.wrapping_sub(fields::mount_mnt() as usize);
            let parent: *const u8 = probed(mount, fields::mount_parent())?;
            if parent == mount {
                return Some(ARRIVED);
            }
            self.dentry = probed(mount, fields::mount_mountpoint())?;
            self.mount = parent.wrapping_add(fields::mount_mnt() as usize) as u64;
            return Some(CLIMBING);
        }
        let parent: *const u8 = probed(dentry, fields::dentry_parent())?;
        let name: *const u8 = probed(dentry, fields::dentry_name() + fields::qstr_name())?;
        let length: u32 = probed(dentry, fields::dentry_name() + fields::qstr_len())?;
        if parent == dentry {
            return Some(ARRIVED);
        }
        let length = masked::<255>(u64::from(length));
        let position = masked::<LAST>(self.position);
        if position < length + 1 {
            return None;
        }
        let position = masked::<LAST>(position - length - 1);
        self.position = position;
        self.text[position as usize] = b'/';
        // SAFETY: position is below PATH_BYTES and length below 256; the text has as much slack behind.
        let target = unsafe { self.text.as_mut_ptr().add(position as usize + 1) };
        // SAFETY: as above.
        if !unsafe { copy(target, length, name) } {
            return None;
        }
        self.dentry = parent as u64;
        Some(CLIMBING)
    }

    /// Ends the climb. Answers whether there is a path.
    #[inline(always)]
    pub fn arrived(&mut self) -> bool {
        if self.state != ARRIVED {
            return false;
        }
        if self.position == LAST {
            self.position = LAST - 1;
            self.text[PATH_BYTES - 2] = b'/';
        }
        true
    }
}

impl Bytes for Cwd {
    #[inline(always)]
    fn at(&self, index: u32) -> u8 {
        self.text[(self.position + u64::from(index)) as usize & (PATH_BYTES - 1)]
    }

    #[inline(always)]
    fn forget(&self, index: u32) -> u32 {
        through_memory(&self.cell, index)
    }
}
