//! The bounded queue between whoever has something to tell and the worker.
//!
//! Records are copied one after another into one buffer, which the worker takes whole: no allocation per record, one
//! short lock. The last quarter of the room is for decisions alone, so that a storm of forks can't crowd them out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use interdict_abi::event::kind;

use super::repeats::Counted;
use crate::{
    alert::{Notice, build::PolicyView},
    canary::{self, Sightings},
    protect::Names,
};

/// Notices that may wait: far more than the agent can have a reason for.
const NOTICES: usize = 4_096;

#[derive(Debug)]
pub(super) struct Intake {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    capacity: usize,
    pub(super) canaries: Sightings,
}

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<u8>,
    count: usize,
    notices: Vec<Notice>,
    policies: Vec<Arc<PolicyView>>,
    losses: BTreeMap<String, u64>,
    counted: Vec<Counted>,
    guarded: Names,
    closed: bool,
}

/// What the worker takes at once.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Records, each behind its length in four bytes.
    pub(super) records: Vec<u8>,
    pub(super) notices: Vec<Notice>,
    pub(super) policies: Vec<Arc<PolicyView>>,
    pub(super) counted: Vec<Counted>,
    pub(super) closed: bool,
}

impl Taken {
    /// The records in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.records[..];
        std::iter::from_fn(move || {
            let (len, after) = rest.split_first_chunk::<4>()?;
            let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
            let (record, after) = after.split_at_checked(len)?;
            rest = after;
            Some(record)
        })
    }
}

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Records.
    pub records: usize,
    /// Their bytes.
    pub len_bytes: usize,
}

impl Intake {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            capacity,
            canaries: Sightings::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self, record: &[u8]) -> bool {
        let matters = [kind::DECISION.to_le_bytes(), kind::GUARD.to_le_bytes()];
        let is_decision =
            record.get(2..4).is_some_and(|found| matters.iter().any(|kind| kind == found));
        let room = if is_decision { self.capacity } else { self.capacity / 4 * 3 };
        let Ok(len) = u32::try_from(record.len()) else { return false };
        let mut waiting = self.lock();
        if waiting.closed || waiting.records.len() + 4 + record.len() > room {
            let reason = if is_decision { "queue_full" } else { "queue_full_lifecycle" };
            count(&mut waiting.losses, reason, 1);
            return false;
        }
        let was_empty = waiting.records.is_empty();
        waiting.records.extend_from_slice(&len.to_le_bytes());
        waiting.records.extend_from_slice(record);
        waiting.count += 1;
        drop(waiting);
        if was_empty {
            self.wake.notify_one();
        }
        true
    }

    pub(super) fn notice(&self, notice: Notice) {
        let mut waiting = self.lock();
        if waiting.notices.len() >= NOTICES {
            count(&mut waiting.losses, "notice_queue_full", 1);
            return;
        }
        waiting.notices.push(notice);
        drop(waiting);
        self.wake.notify_one();
    }

    pub(super) fn policy(&self, policy: Arc<PolicyView>) {
        let notice = Notice::PolicyChanged {
            generation: policy.generation,
            digest: policy.digest.clone(),
            rules: canary::acts::without(&policy.metadata.rules),
        };
        let mut waiting = self.lock();
        waiting.policies.push(policy);
        waiting.notices.push(notice);
        drop(waiting);
        self.wake.notify_one();
    }

    /// What the kernel counted instead of telling it. The kernel's table bounds how much that can be.
    pub(super) fn counted(&self, counted: Vec<Counted>) {
        if !counted.is_empty() {
            self.lock().counted.extend(counted);
            self.wake.notify_one();
        }
    }

    /// What guarded files are called from now on.
    pub(super) fn guard(&self, names: Names) {
        self.lock().guarded = names;
    }

    pub(super) fn guarded(&self) -> Names {
        Arc::clone(&self.lock().guarded)
    }

    pub(super) fn lost(&self, reason: &str, number: u64) {
        if number > 0 {
            count(&mut self.lock().losses, reason, number);
        }
    }

    pub(super) fn losses(&self) -> BTreeMap<String, u64> {
        self.lock().losses.clone()
    }

    pub(super) fn backlog(&self) -> Backlog {
        let waiting = self.lock();
        Backlog { records: waiting.count, len_bytes: waiting.records.len() }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Takes everything, after waiting for something up to `patience`. `spare` is used for what comes next.
    pub(super) fn take(&self, patience: Duration, mut spare: Vec<u8>) -> Taken {
        spare.clear();
        let waiting = self.lock();
        let idle = |waiting: &mut Waiting| {
            waiting.records.is_empty()
                && waiting.notices.is_empty()
                && waiting.policies.is_empty()
                && waiting.counted.is_empty()
                && !waiting.closed
        };
        let (mut waiting, _timeout) = self
            .wake
            .wait_timeout_while(waiting, patience, idle)
            .unwrap_or_else(PoisonError::into_inner);
        waiting.count = 0;
        Taken {
            records: std::mem::replace(&mut waiting.records, spare),
            notices: std::mem::take(&mut waiting.notices),
            policies: std::mem::take(&mut waiting.policies),
            counted: std::mem::take(&mut waiting.counted),
            closed: waiting.closed,
        }
    }
}

fn count(losses: &mut BTreeMap<String, u64>, reason: &str, number: u64) {
    if let Some(known) = losses.get_mut(reason) {
        *known = known.saturating_add(number);
    } else {
        losses.insert(reason.to_owned(), number);
    }
}
