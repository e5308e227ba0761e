//! Records to the agent, and counters of what could not be sent.
//!
//! A full ring never changes a verdict. Shares of the ring are kept for what matters more: lifecycle records may fill
//! half, alerts on acts that were let through a little more, refused acts all of it. Every record left out is counted.

use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_ringbuf_output, bpf_ringbuf_query};
use interdict_abi::{
    event::{self, Head},
    ids::Fault,
    limits::{
        RING_AUDIT_SHARE, RING_BYTES, RING_LIFECYCLE_SHARE, RING_PROCESS_SHARE, RING_REPEAT_SHARE,
    },
};

use crate::{
    atomic,
    bounds::masked,
    maps::{EVENTS, FAULTS},
    scratch::{TEXT_BYTES, Work},
    words,
};

const BPF_RB_NO_WAKEUP: u64 = 1;
/// Without it the kernel wakes the reader only if it had read all before: an alert behind an unread lifecycle record, which
/// wakes nobody, would lie until the reader's wait ends.
const BPF_RB_FORCE_WAKEUP: u64 = 2;
const BPF_RB_AVAIL_DATA: u64 = 0;

/// Counts one fault.
#[inline(always)]
pub fn count(fault: Fault) {
    if let Some(counter) = FAULTS.get_ptr_mut(fault as u32) {
        // SAFETY: a live map value of eight bytes. Atomic, because a program may be preempted by another on its CPU.
        unsafe { atomic::add(counter, 1) };
    }
}

/// Nanoseconds on `CLOCK_BOOTTIME`.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// How much a record matters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// A process came, changed or went.
    Lifecycle,
    /// An act that was let through is told.
    Audit,
    /// The guard refused something. A flood of that may not take the reserve.
    Guard,
    /// An act was refused, or a fault decided.
    Refusal,
}

/// How far the agent is behind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// It keeps up.
    None,
    /// Repeats of one subject are counted.
    Subjects,
    /// So is all that one process does against one rule.
    Processes,
    /// Only the reserve for refusals is left: one process tells one refusal by a rule, and then they are counted.
    Reserve,
}

/// How far the agent is behind, from how much of the ring waits.
#[inline(always)]
pub fn pressure() -> Pressure {
    let waiting = waiting();
    if waiting <= RING_BYTES as u64 / 256 * RING_REPEAT_SHARE {
        Pressure::None
    } else if waiting <= RING_BYTES as u64 / 256 * RING_PROCESS_SHARE {
        Pressure::Subjects
    } else if waiting <= RING_BYTES as u64 / 256 * RING_AUDIT_SHARE {
        Pressure::Processes
    } else {
        Pressure::Reserve
    }
}

/// Bytes of the ring that wait for the agent.
#[inline(always)]
fn waiting() -> u64 {
    // SAFETY: the ring is a live map.
    unsafe { bpf_ringbuf_query((&raw const EVENTS).cast_mut().cast(), BPF_RB_AVAIL_DATA) }
}

/// Sends `work.head` and the text it announces.
#[inline(always)]
pub fn send(work: &mut Work, weight: Weight) {
    let ring = (&raw const EVENTS).cast_mut().cast();
    let waiting = waiting();
    let (share, fault, wake) = match weight {
        Weight::Lifecycle => (RING_LIFECYCLE_SHARE, Fault::RingLifecycle, BPF_RB_NO_WAKEUP),
        Weight::Audit => (RING_AUDIT_SHARE, Fault::RingAudit, BPF_RB_FORCE_WAKEUP),
        Weight::Guard => (RING_AUDIT_SHARE, Fault::RingFull, BPF_RB_FORCE_WAKEUP),
        Weight::Refusal => (256, Fault::RingFull, BPF_RB_FORCE_WAKEUP),
    };
    if waiting > RING_BYTES as u64 / 256 * share {
        count(fault);
        return;
    }
    work.head.version = event::VERSION;
    let text = u64::from(work.head.path_bytes) + u64::from(work.head.extra_bytes);
    let bytes = size_of::<Head>() as u64
        + masked::<{ 2 * TEXT_BYTES as u64 - 1 }>(text).min(TEXT_BYTES as u64);
    // SAFETY: head and text are adjacent, and `bytes` is at most the size of both.
    let sent = unsafe { bpf_ringbuf_output(ring, (&raw mut work.head).cast(), bytes, wake) };
    if sent != 0 {
        count(fault);
    }
}

/// Starts a record of `kind` in `work.head`.
#[inline(always)]
pub fn begin(work: &mut Work, record: u16) {
    // SAFETY: a head of zeros is `Head::ZERO`.
    unsafe { words::zero(&mut work.head) };
    work.head.kind = record;
    work.head.time_ns = now();
}
