//! Paths of files, into memory that belongs to one invocation.

use aya_ebpf::{bindings::path, helpers::generated::bpf_d_path};
use interdict_abi::limits::PATH_BYTES;

use super::{copy, copy_string, fields, object::Reader, probed};
use crate::{
    bounds::masked,
    scratch::{Short, Text},
};

/// A path that was built at the start of a [`Text`], with a terminating zero; or the word that it could not be. A plain
/// struct rather than an `Option`: it crosses function boundaries, and the kernel refuses the BTF of Rust's enums.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Built {
    /// Bytes without the terminator; 0 if the path could not be built.
    pub bytes: u64,
    /// 1 if the name is gone: the kernel's " (deleted)" has been cut off.
    pub deleted: u64,
}

impl Built {
    /// The path could not be built.
    pub const UNKNOWN: Self = Self { bytes: 0, deleted: 0 };

    /// Whether there is a path.
    #[inline(always)]
    pub fn known(self) -> bool {
        self.bytes != 0
    }
}

/// `" (deleted)"`, which `d_path` appends to unlinked names.
const DELETED_BYTES: u64 = 10;

/// The path of `file` as the acting process sees it: `d_path`. For LSM programs on hooks that may use it (the list
/// `sleepable_lsm_hooks` of kernel/bpf/bpf_lsm.c). Unknown: longer than `PATH_BYTES`, or not to be had.
#[inline(never)]
pub fn seen<R: Reader>(file: *const u8, text: &mut Text) -> Built {
    let object = file.wrapping_add(fields::file_path() as usize);
    // SAFETY: `f_path` is inside the file that the hook was given; the buffer has PATH_BYTES.
    let built = unsafe {
        bpf_d_path(object.cast_mut().cast::<path>(), text.0.as_mut_ptr().cast(), PATH_BYTES as u32)
    } as i64;
    if built < 2 || built > PATH_BYTES as i64 {
        return Built::UNKNOWN;
    }
    let bytes = built as u64 - 1;
    match R::read(file, fields::file_path() + fields::path_dentry()) {
        Some(dentry) => without_suffix::<R>(dentry, text, bytes),
        None => Built { bytes, deleted: 0 },
    }
}

/// Cuts " (deleted)" off if, and only if, the kernel put it there: the dentry is unhashed.
#[inline(always)]
fn without_suffix<R: Reader>(dentry: *const u8, text: &mut Text, bytes: u64) -> Built {
    let hashed: u64 = R::read(dentry, fields::dentry_hashed()).unwrap_or(1);
    let start = masked::<{ PATH_BYTES as u64 - 1 }>(bytes.wrapping_sub(DELETED_BYTES));
    if hashed == 0
        && bytes > DELETED_BYTES
        && text.0[start as usize] == b' '
        && text.0[start as usize + 1] == b'('
        && text.0[start as usize + 9] == b')'
    {
        text.0[start as usize] = 0;
        Built { bytes: start, deleted: 1 }
    } else {
        Built { bytes, deleted: 0 }
    }
}

/// Steps of the deepest climb: components and mounts. A path of 4,095 bytes has at most 2,048 components.
pub const DEPTH: u32 = 2048 + 64;

/// Where [`Climb`] builds: the second half of the text, from its end.
const REGION: usize = PATH_BYTES;

/// A file as dentries and mounts: what a path is built from. Addresses, because functions that the verifier checks by
/// themselves are handed numbers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Spot {
    /// `struct dentry`.
    pub dentry: u64,
    /// `struct vfsmount`.
    pub mount: u64,
}

impl Spot {
    /// Of an open file.
    #[inline(always)]
    pub fn of_file(file: *const u8) -> Option<Self> {
        Self::of_path(file.wrapping_add(fields::file_path() as usize))
    }

    /// Of a `struct path`.
    #[inline(always)]
    pub fn of_path(path: *const u8) -> Option<Self> {
        let dentry = probed(path, fields::path_dentry())?;
        let mount = probed(path, fields::path_mnt())?;
        Some(Self { dentry, mount })
    }
}

/// How far a walk from a file to the root has come.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Climb {
    dentry: u64,
    /// Where the process's root is, as `d_path` takes it: zeros to walk to the root of the mount namespace.
    root: Spot,
    mounted: Mounted,
    /// Where in the region the path starts so far.
    position: u64,
    state: u64,
}

/// There is more to climb.
const CLIMBING: u64 = 0;
/// The root was reached.
const ARRIVED: u64 = 1;
/// Something could not be read, or the path is too long.
const LOST: u64 = 2;

/// What is asked of a mount, in the order the kernel has it: see [`Mounted::read`].
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Mounted {
    /// The mount it is mounted on; itself if none.
    parent: u64,
    /// The dentry there.
    mountpoint: u64,
    /// Its topmost dentry.
    root: u64,
    /// `struct mount` itself.
    mount: u64,
}

impl Mounted {
    const NONE: Self = Self { parent: 0, mountpoint: 0, root: 0, mount: 0 };

    /// The `struct mount` it is mounted on; itself if none.
    #[inline(always)]
    pub fn parent(&self) -> u64 {
        self.parent
    }

    /// The dentry it is mounted on.
    #[inline(always)]
    pub fn mountpoint(&self) -> u64 {
        self.mountpoint
    }

    /// Its topmost dentry.
    #[inline(always)]
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Whether it is mounted on nothing.
    #[inline(always)]
    pub fn is_outermost(&self) -> bool {
        self.parent == self.mount
    }

    /// Whether it shows what it is mounted on.
    #[inline(always)]
    pub fn is_on_itself(&self) -> bool {
        self.root == self.mountpoint
    }

    /// One probe where the kernel keeps the three side by side, as all do so far; what is compared are constants.
    #[inline(always)]
    pub fn read(mount: *const u8) -> Option<Self> {
        let beside = fields::mount_mountpoint() == fields::mount_parent() + 8
            && fields::mount_mnt() == fields::mount_parent() + 16
            && fields::vfsmount_root() == 0;
        let [parent, mountpoint, root] = if beside {
            probed::<[u64; 3]>(mount, fields::mount_parent())?
        } else {
            [
                probed(mount, fields::mount_parent())?,
                probed(mount, fields::mount_mountpoint())?,
                probed(mount, fields::mount_mnt() + fields::vfsmount_root())?,
            ]
        };
        Some(Self { parent, mountpoint, root, mount: mount as u64 })
    }
}

/// A dentry's parent, and length and address of its name.
#[inline(always)]
fn named(dentry: *const u8) -> Option<(u64, u32, u64)> {
    let beside = fields::dentry_name() == fields::dentry_parent() + 8
        && fields::qstr_len() == 4
        && fields::qstr_name() == 8;
    if beside {
        let [parent, hash_and_length, name] = probed::<[u64; 3]>(dentry, fields::dentry_parent())?;
        return Some((parent, (hash_and_length >> 32) as u32, name));
    }
    Some((
        probed(dentry, fields::dentry_parent())?,
        probed(dentry, fields::dentry_name() + fields::qstr_len())?,
        probed(dentry, fields::dentry_name() + fields::qstr_name())?,
    ))
}

impl Climb {
    /// At `spot`, on the way to `root`.
    #[inline(always)]
    pub fn start(spot: Spot, root: Spot, text: &mut Text) -> Self {
        text.0[REGION + PATH_BYTES - 1] = 0;
        let position = PATH_BYTES as u64 - 1;
        if spot.dentry != 0
            && spot.mount != 0
            && let Some(mounted) =
                Mounted::read((spot.mount as *const u8).wrapping_sub(fields::mount_mnt() as usize))
        {
            return Self { dentry: spot.dentry, mounted, root, position, state: CLIMBING };
        }
        Self { dentry: 0, mounted: Mounted::NONE, root, position, state: LOST }
    }

    /// One component up. Answers whether the climb is over. For `bpf_loop`, `DEPTH` times.
    #[inline(always)]
    pub fn up(&mut self, text: &mut Text) -> bool {
        if self.state == CLIMBING {
            self.state = self.component(text).unwrap_or(LOST);
        }
        self.state != CLIMBING
    }

    #[inline(always)]
    fn component(&mut self, text: &mut Text) -> Option<u64> {
        if self.dentry == self.root.dentry
            && self.mounted.mount + fields::mount_mnt() == self.root.mount
        {
            return Some(ARRIVED);
        }
        if self.dentry == self.mounted.root {
            if self.mounted.parent == self.mounted.mount {
                return Some(ARRIVED);
            }
            self.dentry = self.mounted.mountpoint;
            self.mounted = Mounted::read(self.mounted.parent as *const u8)?;
            return Some(CLIMBING);
        }
        let (parent, length, name) = named(self.dentry as *const u8)?;
        let length = masked::<255>(u64::from(length));
        let position = masked::<{ PATH_BYTES as u64 - 1 }>(self.position);
        if position < length + 1 {
            return None;
        }
        let position = masked::<{ PATH_BYTES as u64 - 1 }>(position - length - 1);
        self.position = position;
        text.0[REGION + position as usize] = b'/';
        // SAFETY: position is below PATH_BYTES and length below 256; the text has 4096 bytes of slack behind.
        let target = unsafe { text.0.as_mut_ptr().add(REGION + position as usize + 1) };
        // SAFETY: as above.
        if !unsafe { copy(target, length, name as *const u8) } {
            return None;
        }
        let top = parent == self.dentry;
        self.dentry = parent;
        Some(if top { ARRIVED } else { CLIMBING })
    }

    /// Bytes of the path with its terminator, moved to `at` in the text; 0: deeper than `DEPTH`, longer than `PATH_BYTES`,
    /// or not readable.
    #[inline(always)]
    pub fn built(&self, at: u64, text: &mut Text) -> u64 {
        if self.state != ARRIVED {
            return 0;
        }
        let mut position = masked::<{ PATH_BYTES as u64 - 1 }>(self.position);
        if position == PATH_BYTES as u64 - 1 {
            position -= 1;
            text.0[REGION + PATH_BYTES - 2] = b'/';
        }
        let bytes = masked::<{ 2 * PATH_BYTES as u64 - 1 }>(PATH_BYTES as u64 - position);
        // SAFETY: `position` is below PATH_BYTES, `bytes` below twice that, and the text is larger than both together.
        let start = unsafe {
            text.0.as_ptr().add(REGION + masked::<{ PATH_BYTES as u64 - 1 }>(position) as usize)
        };
        let at = masked::<{ PATH_BYTES as u64 - 1 }>(at);
        // SAFETY: as above. The kernel copies upwards, and what is copied lies above where it goes.
        if !unsafe { copy(text.0.as_mut_ptr().add(at as usize), bytes, start) } {
            return 0;
        }
        bytes
    }
}

/// Whether a dentry's name is gone: it is not in the hash of names.
#[inline(always)]
pub fn gone(dentry: u64) -> bool {
    probed::<u64>(dentry as *const u8, fields::dentry_hashed()) == Some(0)
}

/// Mounts on top of each other that [`name`] looks through.
const STACKED: u32 = 4;

/// The last component of the path of what is at `spot`. Where something is mounted that is the name of the place, not of
/// the file. False if it could not be read.
#[inline(always)]
pub fn name(spot: Spot, short: &mut Short) -> bool {
    let Some(dentry) = place(spot.dentry as *const u8, spot.mount as *const u8) else {
        return false;
    };
    let Some(name) = probed::<*const u8>(dentry, fields::dentry_name() + fields::qstr_name())
    else {
        return false;
    };
    // SAFETY: the buffer has 512 bytes; a name has at most 255 and a terminator.
    unsafe { copy_string(short.0.as_mut_ptr(), 257, name) > 0 }
}

/// The dentry whose name a path ends with: that of the mount point if `dentry` is the root of a mount.
#[inline(always)]
fn place(mut dentry: *const u8, mut mnt: *const u8) -> Option<*const u8> {
    let mut step = 0;
    while step < STACKED {
        let root: *const u8 = probed(mnt, fields::vfsmount_root())?;
        let mount = mnt.wrapping_sub(fields::mount_mnt() as usize);
        let parent: *const u8 = probed(mount, fields::mount_parent())?;
        if dentry != root || parent == mount {
            return Some(dentry);
        }
        dentry = probed(mount, fields::mount_mountpoint())?;
        mnt = parent.wrapping_add(fields::mount_mnt() as usize);
        step += 1;
    }
    Some(dentry)
}
