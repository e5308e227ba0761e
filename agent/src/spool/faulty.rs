//! A disk that fails where a test says, for tests.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::disk::{Disk, DiskFile, LocalDisk};

/// A disk on which the operation number `fails_at` fails, or after which nothing works any more.
#[derive(Debug)]
pub(crate) struct FaultyDisk {
    calls: Arc<AtomicU64>,
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Operation number so much fails, leaving half of a write behind; later ones work.
    Once(u64),
    /// From that operation on everything fails: the process has been killed, or the disk is full.
    From(u64),
    /// Operations from the first to before the second fail: the disk was full for a while.
    Between(u64, u64),
}

#[derive(Debug)]
struct FaultyFile {
    inner: Box<dyn DiskFile>,
    calls: Arc<AtomicU64>,
    fault: Fault,
}

fn faulty(calls: &AtomicU64, fault: Fault) -> io::Result<()> {
    let call = calls.fetch_add(1, Ordering::Relaxed);
    let fails = match fault {
        Fault::Once(at) => call == at,
        Fault::From(at) => call >= at,
        Fault::Between(from, to) => (from..to).contains(&call),
    };
    if fails { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
}

impl FaultyDisk {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { calls: Arc::default(), fault }
    }

    /// Operations so far.
    pub(crate) fn calls(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.calls)
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        faulty(&self.calls, self.fault)?;
        let inner = LocalDisk.create(path)?;
        Ok(Box::new(FaultyFile { inner, calls: Arc::clone(&self.calls), fault: self.fault }))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        faulty(&self.calls, self.fault)?;
        LocalDisk.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        faulty(&self.calls, self.fault)?;
        LocalDisk.rename(from, to)
    }
    fn truncate(&self, path: &Path, len_bytes: u64) -> io::Result<()> {
        faulty(&self.calls, self.fault)?;
        LocalDisk.truncate(path, len_bytes)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        faulty(&self.calls, self.fault)?;
        LocalDisk.sync_folder(path)
    }
}

impl DiskFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = faulty(&self.calls, self.fault) {
            self.inner.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.inner.append(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        faulty(&self.calls, self.fault)?;
        self.inner.sync()
    }
}
