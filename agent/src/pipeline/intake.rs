//! The bounded queue between whoever has something to tell and the worker.
//!
//! Records are copied one after another into the journal, from which the worker takes a piece at a time: no allocation
//! per record, one short lock. They stay there until what became of them is durable. The last quarter of the room is for
//! decisions alone, so that a storm of forks can't crowd them out.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use interdict_abi::maps::Subject;

use super::{
    accounts::Accounts,
    journal::{self, Journal, Known},
    repeats::{Counted, Rows, Subjects},
};
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
    /// Told when there is room again.
    room: Condvar,
    capacity: usize,
    pub(super) canaries: Sightings,
}

/// More than any record has, with what the journal needs beside it.
const RECORD_BYTES: usize = 64 << 10;

/// Bytes of records that the worker takes at once: they stay in the cache of a core.
const TAKEN_BYTES: usize = 1 << 20;

#[derive(Debug)]
struct Waiting {
    journal: Journal,
    accounts: Accounts,
    notices: Vec<Notice>,
    policies: Vec<Arc<PolicyView>>,
    counted: Vec<Counted>,
    subjects: Subjects,
    /// How often rows of repeats were handed over, up to which they are durable, and how often that failed.
    handed: u64,
    durable: u64,
    failed: u64,
    guarded: Names,
    closed: bool,
}

/// What the worker takes at once.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Records, each behind its place in the journal in eight bytes and its length in four.
    pub(super) records: Vec<u8>,
    /// Whether these are records that an agent before left.
    pub(super) found: bool,
    pub(super) notices: Vec<Notice>,
    pub(super) policies: Vec<Arc<PolicyView>>,
    pub(super) counted: Vec<Counted>,
    /// The number under which the last of these was handed over.
    pub(super) handed: u64,
    pub(super) closed: bool,
}

impl Taken {
    /// The records in their order, each with its place in the journal.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut rest = &self.records[..];
        std::iter::from_fn(move || {
            let (position, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            let (len, after) = rest.split_first_chunk::<4>()?;
            let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
            let (record, after) = after.split_at_checked(len)?;
            rest = after;
            Some((u64::from_le_bytes(*position), record))
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
    /// A queue of `capacity` bytes in the journal at `path`, with what an agent before left there.
    pub(super) fn open(path: &Path, capacity: usize, known: &Known<'_>) -> io::Result<Self> {
        let (journal, accounts) = Journal::open(path, capacity, known)?;
        let capacity = capacity.min(journal.room());
        let waiting = Waiting {
            journal,
            accounts,
            notices: Vec::new(),
            policies: Vec::new(),
            counted: Vec::new(),
            subjects: Subjects::default(),
            handed: 0,
            durable: 0,
            failed: 0,
            guarded: Names::default(),
            closed: false,
        };
        Ok(Self {
            waiting: Mutex::new(waiting),
            wake: Condvar::new(),
            room: Condvar::new(),
            capacity,
            canaries: Sightings::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self, record: &[u8]) -> bool {
        let is_decision = journal::is_decision(record);
        let room = if is_decision { self.capacity } else { self.capacity / 4 * 3 };
        let mut waiting = self.lock();
        if waiting.journal.has_already(record) {
            return true;
        }
        waiting.subjects.note(record);
        let was_empty = waiting.journal.all_taken();
        let closed = waiting.closed;
        if closed || waiting.journal.append(record, room).is_err() {
            let reason = if is_decision { "queue_full" } else { "queue_full_lifecycle" };
            waiting.count(reason, 1);
            return false;
        }
        drop(waiting);
        if was_empty {
            self.wake.notify_one();
        }
        true
    }

    /// Whether half of the room is taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.lock().journal.len_bytes() > self.capacity / 2
    }

    /// Waits up to `patience` until any record would be taken; returns whether it would.
    pub(super) fn has_room(&self, patience: Duration) -> bool {
        let full = |waiting: &mut Waiting| {
            waiting.journal.len_bytes() + RECORD_BYTES > self.capacity && !waiting.closed
        };
        let waited = self.room.wait_timeout_while(self.lock(), patience, full);
        let (_waiting, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
        !outcome.timed_out()
    }

    pub(super) fn notice(&self, notice: Notice) {
        let mut waiting = self.lock();
        if waiting.notices.len() >= NOTICES {
            waiting.count("notice_queue_full", 1);
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

    /// What the kernel counted instead of telling it. The kernel's table bounds how much that can be. Answers when that is
    /// durable: see [`Self::rows`].
    pub(super) fn counted(&self, counted: Vec<Counted>) -> u64 {
        let mut waiting = self.lock();
        if !counted.is_empty() {
            waiting.counted.extend(counted);
            waiting.handed += 1;
            self.wake.notify_one();
        }
        waiting.handed
    }

    /// Takes note of a record that an agent before left.
    pub(super) fn note(&self, record: &[u8]) {
        self.lock().subjects.note(record);
    }

    /// What the object of a subject is called, if a record said so.
    pub(super) fn name_of(&self, subject: &Subject) -> Option<String> {
        self.lock().subjects.name(subject)
    }

    /// Up to which number what was counted is durable, and how often it could not be made so.
    pub(super) fn rows(&self) -> Rows {
        let waiting = self.lock();
        Rows { durable: waiting.durable, failed: waiting.failed }
    }

    /// The notices about rows up to this number are durable, or are not and will not be.
    pub(super) fn rows_settled(&self, number: u64, durable: bool) {
        let mut waiting = self.lock();
        if durable {
            waiting.durable = waiting.durable.max(number);
        } else {
            waiting.failed += 1;
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
            self.lock().count(reason, number);
        }
    }

    /// Counters of the kernel side stand so: what they have gained is what is new.
    pub(super) fn stands(&self, instance: &str, totals: &BTreeMap<String, u64>) {
        let waiting = &mut *self.lock();
        sound(waiting.accounts.stands(waiting.journal.memory(), instance, totals));
    }

    /// What was counted so far, by reason.
    pub(super) fn losses(&self) -> BTreeMap<String, u64> {
        let waiting = &mut *self.lock();
        sound(waiting.accounts.counted(waiting.journal.memory()))
    }

    /// What of it is told, durably.
    pub(super) fn told(&self) -> BTreeMap<String, u64> {
        let waiting = &mut *self.lock();
        sound(waiting.accounts.told(waiting.journal.memory()))
    }

    /// A batch goes to the spool: which alerts its records have become (the first has the number `first`), and the counts
    /// that it tells.
    pub(super) fn assign(
        &self,
        sources: &[u64],
        first: u64,
        telling: Option<&BTreeMap<String, u64>>,
    ) {
        let waiting = &mut *self.lock();
        for (seq, position) in (first..).zip(sources) {
            sound(waiting.journal.assign(*position, seq));
        }
        if let Some(counts) = telling {
            let last = first + sources.len() as u64 - 1;
            sound(waiting.accounts.telling(waiting.journal.memory(), counts, last));
        }
    }

    /// That batch is durable, or its alerts have been counted as lost.
    pub(super) fn settle(&self, sources: &[u64], durable: bool) {
        let waiting = &mut *self.lock();
        sound(waiting.accounts.told_now(waiting.journal.memory(), durable));
        sound(waiting.journal.settle(sources));
        self.room.notify_one();
    }

    /// Nothing of these records is left to tell.
    pub(super) fn done(&self, sources: &[u64]) {
        sound(self.lock().journal.settle(sources));
        self.room.notify_one();
    }

    /// A record was counted, and is durable with the count of this number.
    pub(super) fn tally(&self, source: u64, number: u64) {
        sound(self.lock().journal.tally(source, number));
    }

    /// A record that an agent before left is worked on.
    pub(super) fn trying(&self, source: u64) {
        sound(self.lock().journal.trying(source));
    }

    /// See [`Journal::before`].
    pub(super) fn agent_before(&self) -> Option<u32> {
        self.lock().journal.before()
    }

    /// Gives back memory that a flood needed.
    pub(super) fn trim(&self) {
        if let Err(error) = self.lock().journal.trim() {
            tracing::debug!(%error, "the journal's memory stays");
        }
    }

    pub(super) fn backlog(&self) -> Backlog {
        let waiting = self.lock();
        Backlog { records: waiting.journal.waiting(), len_bytes: waiting.journal.len_bytes() }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Takes notices and a piece of the records, after waiting for something up to `patience`. `spare` is used for them.
    pub(super) fn take(&self, patience: Duration, mut spare: Vec<u8>) -> Taken {
        spare.clear();
        let waiting = self.lock();
        let idle = |waiting: &mut Waiting| {
            waiting.journal.all_taken()
                && waiting.notices.is_empty()
                && waiting.policies.is_empty()
                && waiting.counted.is_empty()
                && !waiting.closed
        };
        let (mut waiting, _timeout) = self
            .wake
            .wait_timeout_while(waiting, patience, idle)
            .unwrap_or_else(PoisonError::into_inner);
        let found = waiting.take(&mut spare);
        let all = waiting.journal.all_taken();
        // That the agent stops is told after all that it has read.
        let (later, notices) = std::mem::take(&mut waiting.notices)
            .into_iter()
            .partition(|notice| !all && matches!(notice, Notice::Stopped { .. }));
        waiting.notices = later;
        Taken {
            records: spare,
            found,
            notices,
            policies: std::mem::take(&mut waiting.policies),
            counted: std::mem::take(&mut waiting.counted),
            handed: waiting.handed,
            closed: waiting.closed && all,
        }
    }
}

impl Waiting {
    /// Takes records. If the journal makes no sense it begins anew, which is counted; or it would be tried for ever.
    fn take(&mut self, into: &mut Vec<u8>) -> bool {
        match self.journal.take(into, TAKEN_BYTES) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "the journal is begun anew");
                into.clear();
                for (reason, count) in sound(self.journal.forget()) {
                    self.count(reason, count);
                }
                false
            }
        }
    }

    fn count(&mut self, reason: &str, number: u64) {
        sound(self.accounts.add(self.journal.memory(), reason, number));
    }
}

/// Places in the journal's memory are computed from its size: none is outside. Should one be, it is said, and the agent goes
/// on without what it could not note.
fn sound<T: Default>(outcome: io::Result<T>) -> T {
    outcome.unwrap_or_else(|error| {
        tracing::error!(%error, "a place in the journal is outside of it");
        T::default()
    })
}
