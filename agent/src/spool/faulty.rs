//! A disk that fails where a test says, for tests.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Signal, getpid, kill_process},
};

use super::{
    Limits, Spool, SpoolError,
    disk::{Disk, DiskFile, LocalDisk},
    recover::Recovered,
};

/// A disk on which the operation number `fails_at` fails, or after which nothing works any more.
#[derive(Debug)]
pub(crate) struct FaultyDisk {
    calls: Arc<AtomicU64>,
    fault: Fault,
    error: Errno,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Operation number so much fails, leaving half of a write behind; later ones work.
    Once(u64),
    /// From that operation on everything fails: the process has been killed, or the disk is full.
    From(u64),
    /// Operations from the first to before the second fail: the disk was full for a while.
    Between(u64, u64),
    /// The process is killed in the middle of that operation, a write half done: this thread panics with [`Killed`].
    KilledIn(u64),
    /// The same once the operation is done, before anybody learns of it.
    KilledAfter(u64),
    /// As [`Self::KilledIn`], but the whole process is killed.
    EndsIn(u64),
    /// As [`Self::KilledAfter`], but the whole process is killed.
    EndsAfter(u64),
}

/// What a killed thread panics with.
#[derive(Debug)]
pub(crate) struct Killed;

#[derive(Debug)]
struct FaultyFile {
    inner: Box<dyn DiskFile>,
    calls: Arc<AtomicU64>,
    fault: Fault,
    error: Errno,
}

fn faulty(calls: &AtomicU64, fault: Fault, error: Errno) -> io::Result<()> {
    let call = calls.fetch_add(1, Ordering::Relaxed);
    let fails = match fault {
        Fault::Once(at) => call == at,
        Fault::From(at) => call >= at,
        Fault::Between(from, to) => (from..to).contains(&call),
        Fault::KilledIn(at) | Fault::KilledAfter(at) | Fault::EndsIn(at) | Fault::EndsAfter(at) => {
            call == at
        }
    };
    if fails { Err(error.into()) } else { Ok(()) }
}

/// Does an operation, or fails or dies at it as the fault says. `part` is what is left of it when it doesn't succeed.
fn with_fault<T>(
    calls: &AtomicU64,
    (fault, error): (Fault, Errno),
    part: impl FnOnce() -> io::Result<()>,
    whole: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let Err(error) = faulty(calls, fault, error) else { return whole() };
    match fault {
        Fault::Once(_) | Fault::From(_) | Fault::Between(..) => part().and(Err(error)),
        Fault::KilledIn(_) => {
            let _torn = part();
            std::panic::panic_any(Killed)
        }
        Fault::KilledAfter(_) => {
            let _done = whole();
            std::panic::panic_any(Killed)
        }
        Fault::EndsIn(_) => {
            let _torn = part();
            end()
        }
        Fault::EndsAfter(_) => {
            let _done = whole();
            end()
        }
    }
}

/// Kills this process: nothing of it runs on, and nothing is put in order.
fn end() -> ! {
    let _killed = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

impl FaultyDisk {
    pub(crate) fn new(fault: Fault) -> Self {
        Self::failing_with(fault, Errno::NOSPC)
    }

    /// A disk that fails with another error than that it is full.
    pub(crate) fn failing_with(fault: Fault, error: Errno) -> Self {
        Self { calls: Arc::default(), fault, error }
    }

    /// Operations so far.
    pub(crate) fn calls(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.calls)
    }
}

impl FaultyDisk {
    fn fault<T>(&self, whole: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        with_fault(&self.calls, (self.fault, self.error), || Ok(()), whole)
    }

    fn wrap(&self, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FaultyFile {
            inner,
            calls: Arc::clone(&self.calls),
            fault: self.fault,
            error: self.error,
        })
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.fault(|| LocalDisk.create(path)).map(|inner| self.wrap(inner))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.fault(|| LocalDisk.open(path)).map(|inner| self.wrap(inner))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fault(|| LocalDisk.remove(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fault(|| LocalDisk.rename(from, to))
    }
    fn truncate(&self, path: &Path, len_bytes: u64) -> io::Result<()> {
        self.fault(|| LocalDisk.truncate(path, len_bytes))
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.fault(|| LocalDisk.sync_folder(path))
    }
}

impl DiskFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (calls, fault) = (Arc::clone(&self.calls), (self.fault, self.error));
        let inner = std::cell::RefCell::new(&mut self.inner);
        let half = || inner.borrow_mut().append(&bytes[..bytes.len() / 2]);
        with_fault(&calls, fault, half, || inner.borrow_mut().append(bytes))
    }
    fn sync(&mut self) -> io::Result<()> {
        with_fault(&self.calls, (self.fault, self.error), || Ok(()), || self.inner.sync())
    }
}

/// Opens a spool that nobody has open. A process that another test starts right now holds the lock of whoever had it before,
/// until it is a program of its own.
pub(crate) fn open_freed(
    folder: &Path,
    limits: Limits,
    disk: &Arc<dyn Disk>,
    floor: &dyn Fn(&str) -> u64,
    stream: &str,
) -> (Spool, Recovered) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Spool::open(folder, limits.clone(), Arc::clone(disk), floor, stream.to_owned()) {
            Err(SpoolError::InUse { .. }) if Instant::now() < deadline => std::thread::yield_now(),
            outcome => return outcome.unwrap(),
        }
    }
}
