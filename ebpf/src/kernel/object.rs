//! What is known of the file an act is about.

use interdict_abi::{ids::object_flags, offsets::MISSING};

use super::{fields, probed, typed};
use crate::scratch::Text;

/// How fields are read: by typed loads where the verifier knows the pointers, by probing elsewhere.
pub trait Reader {
    /// The value at `base + offset`.
    fn read<T: Copy>(base: *const u8, offset: u64) -> Option<T>;
}

/// For LSM programs, on pointers that came from hook arguments.
pub struct Typed;

impl Reader for Typed {
    #[inline(always)]
    fn read<T: Copy>(base: *const u8, offset: u64) -> Option<T> {
        // SAFETY: the verifier refuses the program if base and offset do not name a field of this size.
        Some(unsafe { typed(base, offset) })
    }
}

/// For tracepoint programs, on any pointer.
pub struct Probed;

impl Reader for Probed {
    #[inline(always)]
    fn read<T: Copy>(base: *const u8, offset: u64) -> Option<T> {
        probed(base, offset)
    }
}

/// Among the flags of an object: one of them could not be learned, so none of them is decided on. Not told.
pub const FLAGS_UNKNOWN: u32 = 1 << 31;

const TMPFS_MAGIC: u32 = 0x0102_1994;
const OVERLAY_MAGIC: u32 = 0x794c_7630;
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFCHR: u32 = 0o020_000;
const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;

/// The inode behind a file.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Object {
    /// `i_mode`.
    pub mode: u32,
    /// `i_uid`.
    pub owner: u32,
    /// `i_ino`.
    pub inode: u64,
    /// `s_dev`.
    pub device: u32,
    /// `s_magic`.
    pub magic: u32,
    /// See `object_flags`; the memfd flag still needs the path's word for it: [`memfd`].
    pub flags: u32,
}

impl Object {
    /// Of the file at `file` (`struct file`).
    #[inline(always)]
    pub fn of_file<R: Reader>(file: *const u8) -> Option<Self> {
        let inode: *const u8 = R::read(file, fields::file_inode())?;
        Self::of_inode::<R>(inode)
    }

    /// Of the inode at `inode` (`struct inode`).
    #[inline(always)]
    pub fn of_inode<R: Reader>(inode: *const u8) -> Option<Self> {
        let mode = u32::from(R::read::<u16>(inode, fields::inode_mode())?);
        let owner = R::read(inode, fields::inode_uid())?;
        let links: u32 = R::read(inode, fields::inode_nlink())?;
        let number = R::read(inode, fields::inode_number())?;
        let super_block: *const u8 = R::read(inode, fields::inode_super())?;
        let device = R::read(super_block, fields::super_device())?;
        let magic = R::read::<u64>(super_block, fields::super_magic())? as u32;
        let mut flags = 0;
        if links == 0 {
            flags |= object_flags::DELETED;
        }
        if mode & S_ISUID != 0 {
            flags |= object_flags::SETUID;
        }
        if mode & S_ISGID != 0 {
            flags |= object_flags::SETGID;
        }
        let kind = mode & S_IFMT;
        if kind == S_IFDIR {
            flags |= object_flags::DIRECTORY;
        }
        if kind == S_IFBLK || kind == S_IFCHR {
            flags |= object_flags::DEVICE;
        }
        Some(Self { mode, owner, inode: number, device, magic, flags })
    }

    /// Device and inode number of the inode at `inode`.
    #[inline(always)]
    pub fn identity<R: Reader>(inode: *const u8) -> Option<(u32, u64)> {
        let number = R::read(inode, fields::inode_number())?;
        let super_block: *const u8 = R::read(inode, fields::inode_super())?;
        Some((R::read(super_block, fields::super_device())?, number))
    }

    /// Becomes what is known of the inode at `inode`. False if that cannot be read.
    #[inline(always)]
    pub fn fill<R: Reader>(&mut self, inode: *const u8) -> bool {
        match Self::of_inode::<R>(inode) {
            Some(object) => {
                *self = object;
                true
            }
            None => false,
        }
    }

    /// With [`memfd`].
    #[inline(always)]
    pub fn with_path(mut self, text: &Text) -> Self {
        self.flags |= memfd(&self, text);
        self
    }
}

/// The memfd flag, for which the kernel's name of the file is needed too: a memfd is an unlinked shmem file whose name
/// the kernel made up, and its path starts with `/memfd:`.
#[inline(always)]
pub fn memfd(object: &Object, text: &Text) -> u32 {
    let Some(start) = text.0.first_chunk::<8>() else { return 0 };
    if object.magic == TMPFS_MAGIC
        && object.flags & object_flags::DELETED != 0
        && u64::from_ne_bytes(*start) & 0x00ff_ffff_ffff_ffff == u64::from_ne_bytes(*b"/memfd:\0")
    {
        object_flags::MEMFD
    } else {
        0
    }
}

/// The upper layer flag of the object, whose inode is at `inode`: an overlay's inode knows the upper layer's entry behind
/// what every file system has, and has none while the file is the image's own.
#[inline(always)]
pub fn layer(object: &Object, inode: *const u8) -> u32 {
    if object.magic != OVERLAY_MAGIC {
        return 0;
    }
    let upper = fields::overlay_upper();
    if upper == MISSING {
        return FLAGS_UNKNOWN;
    }
    match probed::<u64>(inode, upper) {
        Some(0) => 0,
        Some(_) => object_flags::UPPER_LAYER,
        None => FLAGS_UNKNOWN,
    }
}
