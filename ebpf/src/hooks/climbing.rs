//! Paths of what hooks hand over as dentries and mounts. Functions that the verifier checks by themselves: see `judge`.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;

use crate::{
    kernel::{
        path::{self, Climb, Spot},
        task,
    },
    scratch::{self, Area},
};

/// Builds the path of what is at a spot by walking dentries and mounts, at `at` of the text in the area. Answers its
/// bytes, with bit 32 set if its name is gone; 0 if it cannot be built.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_climbed(area: u32, at: u32, dentry: u64, mount: u64, root: u64) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let root = if root == 0 { Spot { dentry: 0, mount: 0 } } else { task::root() };
    work.climb = Climb::start(Spot { dentry, mount }, root, &mut work.text);
    let mut climbing = Climbing { work };
    // SAFETY: the callback is `climb`, and its context outlives the call.
    unsafe { bpf_loop(path::DEPTH, climb as *mut c_void, (&raw mut climbing).cast(), 0) };
    let work = climbing.work;
    let bytes = work.climb.built(u64::from(at), &mut work.text);
    if bytes < 2 {
        return 0;
    }
    bytes - 1 | u64::from(path::gone(dentry)) << 32
}

/// What [`climb`] works on. The context of `bpf_loop` must be on the stack.
#[repr(C)]
pub struct Climbing<'a> {
    /// The area.
    pub work: &'a mut scratch::Work,
}

/// One step for `bpf_loop`. Answers 1 to stop.
///
/// # Safety
/// `climbing` must be live.
#[inline(never)]
unsafe extern "C" fn climb(_index: u64, climbing: *mut Climbing<'_>) -> i64 {
    // SAFETY: by the caller.
    let work = unsafe { &mut *(*climbing).work };
    i64::from(work.climb.up(&mut work.text))
}

/// Where the path that is built starts.
#[derive(Clone, Copy)]
pub enum From {
    /// The acting process's root: as `d_path`.
    Process,
    /// The root of the mount namespace.
    Namespace,
}

/// The path of what is at `spot`, built at `at` of the text in the area.
#[inline(always)]
pub fn climbed(area: Area, at: u64, spot: Spot, from: From) -> path::Built {
    let root = match from {
        From::Process => 1,
        From::Namespace => 0,
    };
    let both = interdict_climbed(area.number, at as u32, spot.dentry, spot.mount, root);
    path::Built { bytes: both & 0xffff_ffff, deleted: both >> 32 }
}

/// The path of `file` from the root of its mount namespace, in the area.
#[inline(always)]
pub fn walked(area: Area, file: *const u8) -> path::Built {
    let spot = Spot::of_file(file).unwrap_or(Spot { dentry: 0, mount: 0 });
    climbed(area, 0, spot, From::Namespace)
}
