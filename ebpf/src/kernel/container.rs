//! Whether a cgroup belongs to a container, by the names that container runtimes give.
//!
//! In: the acting task's cgroup (v2) and those above it. A runtime names a container's cgroup by the container's id: 64
//! hexadecimal digits, behind a prefix or not, with `.scope` or without (Docker, containerd, CRI-O, Podman); LXC starts
//! the name with `lxc.payload.`. What watches a container from outside (`conmon-`) is not in it. A cgroup keeps its name
//! and its id is never used again, so what was found out once is remembered.

use super::{copy_string, fields, probed, task};
use crate::{bounds::opaque, maps::CGROUPS, scratch::Short};

/// How far a walk up the hierarchy has come.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ascent {
    cgroup: u64,
    /// See [`Ascent::found`].
    found: u64,
}

/// Digits of an id.
const DIGITS: u64 = 64;

impl Ascent {
    /// At the acting task's cgroup.
    #[inline(always)]
    pub fn start() -> Self {
        let cgroup = probed::<*const u8>(task::current(), fields::task_cgroups())
            .and_then(|set| probed(set, fields::css_set_cgroup()));
        Self { cgroup: cgroup.unwrap_or(0), found: 0 }
    }

    /// Looks at one cgroup and goes to the one above. Answers whether there is nothing more to look at. For `bpf_loop`,
    /// `CGROUP_LEVELS` times.
    #[inline(always)]
    pub fn up(&mut self, short: &mut Short) -> bool {
        if self.cgroup == 0 {
            return true;
        }
        let cgroup = self.cgroup as *const u8;
        if let Some(node) = probed::<*const u8>(cgroup, fields::cgroup_kernfs())
            && let Some(name) = probed::<*const u8>(node, fields::kernfs_name())
            && names_container(name, short)
        {
            self.found = 1;
            return true;
        }
        // `css.parent` is the `self` of the cgroup above.
        let above: u64 = probed(cgroup, fields::cgroup_parent()).unwrap_or(0);
        self.cgroup = if above == 0 { 0 } else { above.wrapping_sub(fields::cgroup_self()) };
        self.cgroup == 0
    }

    /// Whether a container was found.
    #[inline(always)]
    pub fn found(&self) -> bool {
        self.found != 0
    }
}

/// What is remembered of the acting task's cgroup.
#[inline(always)]
pub fn remembered() -> Option<bool> {
    // SAFETY: copied at once.
    unsafe { CGROUPS.get(&task::cgroup()) }.map(|found| *found != 0)
}

/// Remembers it.
#[inline(always)]
pub fn remember(found: bool) {
    // A full table forgets what was used least recently.
    let _kept = CGROUPS.insert(&task::cgroup(), &u32::from(found), 0);
}

#[inline(always)]
fn names_container(name: *const u8, short: &mut Short) -> bool {
    // SAFETY: the buffer has 512 bytes; a name has at most 255 and a terminator.
    let read = unsafe { copy_string(short.0.as_mut_ptr(), 256, name) };
    if read < 13 || read > 256 {
        return false;
    }
    if word(short, 0) == u64::from_ne_bytes(*b"lxc.payl") {
        return true;
    }
    let mut end = read as u64 - 1;
    const SCOPE: u64 = u64::from_ne_bytes(*b".scope\0\0");
    if word(short, end - 6) & 0x0000_ffff_ffff_ffff == SCOPE {
        end -= 6;
    }
    if end < DIGITS {
        return false;
    }
    let start = opaque(end - DIGITS);
    let mut strange = 0;
    let mut digit = 0;
    while digit < DIGITS {
        let byte = u64::from(short.0[(start + digit) as usize & 511]);
        strange |= outside(byte, b'0', b'9') & outside(byte, b'a', b'f');
        digit += 1;
    }
    let watcher = start >= 7
        && word(short, start - 7) & 0x00ff_ffff_ffff_ffff == u64::from_ne_bytes(*b"conmon-\0");
    strange == 0 && !watcher
}

/// 1 if `byte` is below `first` or above `last`, without a branch.
#[inline(always)]
fn outside(byte: u64, first: u8, last: u8) -> u64 {
    let above = byte.wrapping_sub(u64::from(first));
    let below = u64::from(last).wrapping_sub(byte);
    (above | below) >> 63
}

/// Eight bytes at `at`; the last one that the mask lets through is inside, too.
#[inline(always)]
fn word(short: &Short, at: u64) -> u64 {
    let mut word = 0;
    let mut byte = 0;
    while byte < 8 {
        word |= u64::from(short.0[(at + byte) as usize & 511]) << (byte * 8);
        byte += 1;
    }
    word
}
