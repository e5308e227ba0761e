//! What the agent has told of the container that the acting task runs in.
//!
//! In: the cgroups (v2) above the acting task, from the root down. The first one that has a row is the container: what
//! runs in it may make cgroups of its own, and name them like containers, but only below. Ids of cgroups are never used
//! again, so a row can never be read for another container.

use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;
use interdict_abi::{
    limits::{CGROUP_LEVELS, WORKLOAD_BYTES},
    maps::Workload,
};
use interdict_engine::Bytes;

use crate::{maps::WORKLOADS, scratch::Short};

/// The row of a cgroup.
#[inline(always)]
pub fn of(cgroup: u64) -> Option<&'static Workload> {
    // SAFETY: the map is RCU-protected while a program runs; the agent replaces rows as a whole.
    unsafe { WORKLOADS.get(&cgroup) }
}

/// The id of the cgroup of the acting task's container, [`Workload::HOST`] if none has a row.
#[inline(always)]
pub fn holder() -> u64 {
    let mut level = 1;
    while level < CGROUP_LEVELS as i32 {
        // SAFETY: the helper has no preconditions.
        let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if cgroup == 0 {
            return Workload::HOST;
        }
        if of(cgroup).is_some() {
            return cgroup;
        }
        level += 1;
    }
    Workload::HOST
}

/// The texts of a row, and memory to forget a counter in.
pub struct Texts<'a> {
    /// The row.
    pub row: &'a Workload,
    /// A string of the same invocation.
    pub short: &'a Short,
}

impl Bytes for Texts<'_> {
    #[inline(always)]
    fn at(&self, index: u32) -> u8 {
        self.row.text[index as usize & (WORKLOAD_BYTES - 1)]
    }

    #[inline(always)]
    fn forget(&self, index: u32) -> u32 {
        self.short.forget(index)
    }
}
