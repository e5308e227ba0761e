//! Mounts: where a file system is mounted for the acting process, and which mounts can be vouched for.
//!
//! Some hooks are handed a dentry and no mount, so there is no path to climb. The kernel keeps a list of each file system's
//! mounts; the one looked for is in the acting process's mount namespace, and shows the dentry: preferably all of the file
//! system, else a part of it. Where the file system is not mounted there, nothing is answered.
//!
//! A path leads to another file once something is mounted over it. The mounts that were there when the agent taught are
//! kept by what they are (file system, topmost object, and the object they are mounted on); a path that leads over any
//! other one, in mount namespaces that show the agent's own root, is not what a program can be known by.

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_loop, macros::map, maps::LruHashMap};
use interdict_abi::{ids::Fault, limits, maps::Crossing, offsets::MISSING};

use super::{fields, path::Mounted, probed, task};
use crate::{
    cache, emit,
    maps::CROSSINGS,
    scratch::{self, Area},
};

/// Mounts of one file system that are looked at.
const MOUNTS: u32 = 4_096;

/// Directories between an object and the root of a mount that shows a part of its file system.
const LEVELS: u32 = 64;

/// How far a search has come.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Search {
    /// What is looked for, and its file system (`struct super_block`): written down here because functions that the
    /// verifier checks by themselves are handed numbers, not addresses.
    dentry: u64,
    super_block: u64,
    /// The next link of the list, and the one it ends with.
    link: u64,
    end: u64,
    namespace: u64,
    /// The topmost dentry of the file system.
    top: u64,
    found: u64,
}

impl Search {
    #[inline(always)]
    fn start(&mut self) -> Option<()> {
        let super_block = self.super_block as *const u8;
        let namespaces: *const u8 = probed(task::current(), fields::task_nsproxy())?;
        self.namespace = probed(namespaces, fields::nsproxy_mnt_ns())?;
        self.top = probed(super_block, fields::super_root())?;
        self.link = probed(super_block, fields::super_mounts())?;
        self.end = if fields::mount_next() == MISSING {
            self.super_block + fields::super_mounts()
        } else {
            0
        };
        self.found = 0;
        Some(())
    }

    /// Looks at one mount. Answers whether the search is over.
    #[inline(always)]
    fn next(&mut self) -> Option<bool> {
        if self.link == self.end || self.link == 0 {
            return Some(true);
        }
        // Since 6.18 the list leads from mount to mount, before that from link to link.
        let direct = fields::mount_next() != MISSING;
        let within = if direct { 0 } else { fields::mount_instance() };
        let mount = (self.link as *const u8).wrapping_sub(within as usize);
        let namespace: u64 = probed(mount, fields::mount_namespace())?;
        let root: u64 = probed(mount, fields::mount_mnt() + fields::vfsmount_root())?;
        if namespace == self.namespace {
            let place = mount as u64 + fields::mount_mnt();
            if root == self.top {
                self.found = place;
                return Some(true);
            }
            if self.found == 0 && is_below(self.dentry, root) {
                self.found = place;
            }
        }
        let next = if direct { fields::mount_next() } else { within };
        self.link = probed(mount, next)?;
        Some(false)
    }
}

#[inline(always)]
fn is_below(dentry: u64, root: u64) -> bool {
    let mut at = dentry;
    let mut level = 0;
    while level < LEVELS {
        if at == root {
            return true;
        }
        let Some(parent) = probed::<u64>(at as *const u8, fields::dentry_parent()) else {
            return false;
        };
        if parent == at {
            return false;
        }
        at = parent;
        level += 1;
    }
    false
}

/// What [`search`] works on. The context of `bpf_loop` must be on the stack.
#[repr(C)]
struct Searching<'a> {
    work: &'a mut scratch::Work,
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `searching` must be live.
#[inline(never)]
unsafe extern "C" fn search(_index: u64, searching: *mut Searching<'_>) -> i64 {
    // SAFETY: by the caller.
    let work = unsafe { &mut *(*searching).work };
    i64::from(work.search.next().unwrap_or(true))
}

/// The `struct vfsmount` by which the acting process has what the area's search is for; 0 if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_mounted(area: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    if work.search.start().is_none() {
        return 0;
    }
    let mut searching = Searching { work };
    // SAFETY: the callback is `search`, and its context outlives the call.
    unsafe { bpf_loop(MOUNTS, search as *mut c_void, (&raw mut searching).cast(), 0) };
    searching.work.search.found
}

/// The `struct vfsmount` by which the acting process has what is at `dentry`, of the file system `super_block`; 0 if
/// there is none.
#[inline(always)]
pub fn of(area: Area, dentry: *const u8, super_block: *const u8) -> u64 {
    let search = &mut area.work().search;
    search.dentry = dentry as u64;
    search.super_block = super_block as u64;
    interdict_mounted(area.number)
}

/// Mounts between a file and the root of the process.
const CROSSED: u32 = 32;

/// A way that was found to be vouched for.
#[repr(C)]
#[derive(Clone, Copy)]
struct Way {
    mount: u64,
    top: u64,
    namespace: u64,
    /// Changes with the mounts of the namespace.
    event: u64,
}

/// Ways that were found to be vouched for. Programs only.
#[map]
static VOUCHED: LruHashMap<Way, u32> = LruHashMap::with_max_entries(limits::VOUCHED, 0);

/// What is to be done with the mounts on the way to the object in question.
const LOOK: u32 = 0;
const KEEP: u32 = 1;

/// Something on the way is not known.
pub const NOBODY: u64 = 0;
/// All mounts on the way are known, up to the root that the agent has.
pub const KNOWN: u64 = 1;
/// The root of the process is not one that is known: what is mounted there is its own affair.
const UNASKED: u64 = 2;

/// Goes from the mount of the object in question to the root of the acting process. Answers [`KNOWN`], [`UNASKED`] or
/// [`NOBODY`]; with [`KEEP`] the mounts on the way become known.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_crossed(area: u32, what: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let top = task::root().mount;
    let mut at = work.question.spot.mount;
    let mut unknown = 0;
    let mut step = 0;
    while step < CROSSED {
        let Some(mounted) =
            Mounted::read((at as *const u8).wrapping_sub(fields::mount_mnt() as usize))
        else {
            return 0;
        };
        let Some(mut crossing) = crossing(&mounted) else { return 0 };
        if at == top {
            crossing.place = 0;
            crossing.place_device = 0;
            if what == KEEP {
                return keep(&crossing);
            }
            // SAFETY: only whether it is there is asked.
            let ours = unsafe { CROSSINGS.get(&crossing) }.is_some();
            return if !ours {
                UNASKED
            } else if unknown == 0 {
                KNOWN
            } else {
                NOBODY
            };
        }
        if mounted.is_outermost() {
            return 0;
        }
        // Mounted on itself it changes no path.
        if !mounted.is_on_itself() {
            if what == KEEP {
                keep(&crossing);
            // SAFETY: only whether it is there is asked.
            } else if unsafe { CROSSINGS.get(&crossing) }.is_none() {
                unknown = 1;
            }
        }
        at = mounted.parent() + fields::mount_mnt();
        step += 1;
    }
    0
}

#[inline(always)]
fn keep(crossing: &Crossing) -> u64 {
    if CROSSINGS.insert(crossing, &1, 0).is_err() {
        emit::count(Fault::Names);
        return 0;
    }
    1
}

#[inline(always)]
fn crossing(mounted: &Mounted) -> Option<Crossing> {
    let (root, device) = identity(mounted.root())?;
    let (place, place_device) = identity(mounted.mountpoint())?;
    Some(Crossing { device, place_device, root, place })
}

/// Inode number and device of what is at a dentry.
#[inline(always)]
fn identity(dentry: u64) -> Option<(u64, u32)> {
    let inode: *const u8 = probed(dentry as *const u8, fields::dentry_inode())?;
    let super_block: *const u8 = probed(inode, fields::inode_super())?;
    Some((probed(inode, fields::inode_number())?, probed(super_block, fields::super_device())?))
}

/// Whether nothing was mounted on the way to the object in question since the agent taught; so that its path is that of
/// the object it belongs to.
#[inline(always)]
pub fn vouched(area: Area) -> bool {
    voucher(area) != NOBODY
}

/// Who vouches for the way to the object in question: [`NOBODY`], whoever knows it ([`KNOWN`]), or nobody has to.
#[inline(always)]
pub fn voucher(area: Area) -> u64 {
    interdict_vouched(area.number)
}

/// See [`vouched`]. Mounts that became known stay so, and while nobody mounts anything in their namespace the way is the
/// same: then what was found is kept.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_vouched(number: u32) -> u64 {
    let Some(area) = scratch::numbered(number) else { return 0 };
    let mount = area.work().question.spot.mount;
    let Some(way) = way(mount) else {
        return interdict_crossed(number, LOOK);
    };
    // SAFETY: only whether it is there is asked.
    if unsafe { VOUCHED.get(&way) }.is_some() {
        return KNOWN;
    }
    // While somebody mounts, the number may have changed already and the way not yet.
    let quiet = cache::sequence_of(fields::mount_lock()).is_some();
    let answer = interdict_crossed(number, LOOK);
    if quiet && answer == KNOWN {
        // One that is not kept is found again.
        let _kept = VOUCHED.insert(&way, &1, 0);
    }
    answer
}

/// The way from a mount to the root of the acting process, if both are in its own mount namespace.
#[inline(always)]
fn way(mount: u64) -> Option<Way> {
    let (namespace, event) = task::own_mounts()?;
    let top = task::root().mount;
    for end in [mount, top] {
        let holder = end.wrapping_sub(fields::mount_mnt()) as *const u8;
        if probed::<u64>(holder, fields::mount_namespace())? != namespace {
            return None;
        }
    }
    Some(Way { mount, top, namespace, event })
}

/// The mounts on the way to the object in question can be vouched for.
#[inline(always)]
pub fn vouch(area: Area) {
    interdict_crossed(area.number, KEEP);
}
