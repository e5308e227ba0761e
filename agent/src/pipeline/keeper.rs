//! The thread that writes: while one batch is on its way to the disk, the worker builds and seals the next.
//!
//! One batch is in flight at a time. If it can't be kept (and segments that every sink is past made no room), the
//! worker is told so when it hands over the next, takes back the places of both, and counts both as lost: the second
//! was chained to the first.

use std::{
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{Builder, JoinHandle},
};

use crate::{
    alert::seal::{ChainHead, SealedAlert},
    sinks::Status,
    spool::{Spool, SpoolError},
};

enum Job {
    Keep(Vec<SealedAlert>),
    EnforceLimits,
}

/// The worker's end.
pub(super) struct Keeper {
    jobs: Option<SyncSender<Job>>,
    outcomes: Receiver<Result<(), SpoolError>>,
    thread: Option<JoinHandle<()>>,
    in_flight: Option<InFlight>,
}

/// A batch that was handed over.
struct InFlight {
    before: ChainHead,
    count: usize,
}

/// A batch that could not be kept.
pub(super) struct Lost {
    /// Where the stream stood before it.
    pub(super) before: ChainHead,
    /// How many alerts it had.
    pub(super) count: usize,
    /// The reason they are counted under.
    pub(super) reason: &'static str,
}

impl Keeper {
    /// Starts the thread.
    pub(super) fn start(spool: Spool, sinks: Vec<Arc<Status>>) -> std::io::Result<Self> {
        let (jobs, next) = sync_channel(1);
        let (done, outcomes) = sync_channel(1);
        let thread = Builder::new()
            .name("interdict-spool".to_owned())
            .spawn(move || keep(spool, &sinks, &next, &done))?;
        Ok(Self { jobs: Some(jobs), outcomes, thread: Some(thread), in_flight: None })
    }

    /// Hands over a batch that starts where the stream stood at `before`. Nothing may be in flight: see
    /// [`Keeper::settle`].
    pub(super) fn hand_over(&mut self, sealed: Vec<SealedAlert>, before: ChainHead) {
        let count = sealed.len();
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Job::Keep(sealed)).is_ok());
        debug_assert!(sent, "the thread runs until the keeper is dropped");
        self.in_flight = Some(InFlight { before, count });
    }

    /// Where the stream stood before the batch in flight, if there is one.
    pub(super) fn before(&self) -> Option<&ChainHead> {
        self.in_flight.as_ref().map(|batch| &batch.before)
    }

    /// Waits for the batch in flight, if there is one.
    pub(super) fn settle(&mut self) -> Result<(), Lost> {
        let Some(InFlight { before, count }) = self.in_flight.take() else { return Ok(()) };
        match self.outcomes.recv() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::error!(%error, alerts = count, "alerts lost");
                Err(Lost { before, count, reason: error.reason() })
            }
            // The thread is gone: it panicked, which tests would have shown. Count, and go on counting.
            Err(_gone) => Err(Lost { before, count, reason: "spool_thread_gone" }),
        }
    }

    /// Has segments past the bounds dropped.
    pub(super) fn enforce_limits(&self) {
        if let Some(jobs) = &self.jobs {
            let _queued = jobs.send(Job::EnforceLimits);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _joined = thread.join();
        }
    }
}

fn keep(
    mut spool: Spool,
    sinks: &[Arc<Status>],
    jobs: &Receiver<Job>,
    done: &SyncSender<Result<(), SpoolError>>,
) {
    for job in jobs {
        match job {
            Job::EnforceLimits => {
                spool.enforce_limits(taken(sinks));
            }
            Job::Keep(sealed) => {
                let mut outcome = spool.append(&sealed);
                while outcome.is_err() && spool.make_room(acknowledged(&spool, sinks)) {
                    outcome = spool.append(&sealed);
                }
                // Not only by the second: a flood fills more than its bounds in one.
                spool.enforce_limits(taken(sinks));
                if done.send(outcome).is_err() {
                    return;
                }
            }
        }
    }
}

/// Every sink is past what is below this. Without a sink nobody has anything: what is in the spool is all there is.
fn taken(sinks: &[Arc<Status>]) -> u64 {
    sinks.iter().map(|sink| sink.next.load(Ordering::Relaxed)).min().unwrap_or(0)
}

/// The same; without a sink nobody waits for anything either.
fn acknowledged(spool: &Spool, sinks: &[Arc<Status>]) -> u64 {
    if sinks.is_empty() { spool.head().seq + 1 } else { taken(sinks) }
}
