//! Reads the event ring and the counters beside it.
//!
//! The ring stays pinned: what an agent did not read before it died, the next one finds. Alerts wake the reader at
//! once, lifecycle records do not: they are read along, or when the wait ends. While the pipeline has no room nothing is
//! read: the kernel side sees the ring fill, and counts repeats by subject instead of telling each.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use interdict_abi::{ids::Fault, limits::RING_BYTES, maps::names};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    loader::{Loaded, open_map},
    slots::SwapError,
};
use crate::pipeline::Records;

/// Longest wait for records that wake nobody.
const WAIT: Duration = Duration::from_millis(50);

/// How often room is waited for so long while the ring of another instance is read.
const DRAIN_WAITS: u32 = 100;

/// Records that come this soon after others are a stream of them.
const STREAM: Duration = Duration::from_millis(2);

/// Wakes in a stream after which records are let gather, and for how long: signing, syncing and sending cost the same for
/// one alert and for many. A single act is told at once.
const STREAM_WAKES: u32 = 4;
const GATHER: Duration = Duration::from_millis(4);

/// The thread that reads the ring.
#[derive(Debug)]
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts reading into `records`.
    ///
    /// # Errors
    /// The ring is gone, or no thread can be had.
    pub fn start(loaded: &Loaded, records: Records) -> Result<Self, SwapError> {
        let ring = RingBuf::try_from(loaded.map(names::EVENTS)?)
            .map_err(|source| SwapError::Map { map: names::EVENTS, source })?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("ring".to_owned())
            .spawn(move || read(ring, &records, &stopped))
            .map_err(SwapError::Slot)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Reads what is there, as far as there is room for it, and stops.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the ring's reader ended badly");
        }
    }
}

/// Reads what is left in the ring of another instance, before it is removed.
///
/// # Errors
/// It has no ring, or it cannot be opened.
pub fn drain(instance: &Path, records: &Records) -> Result<(), SwapError> {
    let map = open_map(&instance.join("maps").join(names::EVENTS))?;
    let map =
        Map::from_map_data(map).map_err(|source| SwapError::Map { map: names::EVENTS, source })?;
    let mut ring =
        RingBuf::try_from(map).map_err(|source| SwapError::Map { map: names::EVENTS, source })?;
    // Nobody writes to it any more. What finds no room in all that time is counted.
    let mut patience = DRAIN_WAITS;
    while let Some(record) = ring.next() {
        while patience > 0 && !records.has_room(WAIT) {
            patience -= 1;
        }
        let _kept = records.record(&record);
    }
    Ok(())
}

fn read(mut ring: RingBuf<MapData>, records: &Records, stop: &AtomicBool) {
    let (mut before, mut wakes) = (Instant::now(), 0);
    loop {
        wakes = if before.elapsed() < STREAM { wakes + 1 } else { 0 };
        if wakes >= STREAM_WAKES {
            thread::sleep(GATHER);
        }
        // Before draining: what came until now is read even if this was the last round. What comes faster than it is read
        // must not keep the agent from ending: the rest waits in the ring, for the next one.
        let last = stop.load(Ordering::Acquire);
        let mut left_bytes = if last { RING_BYTES as usize } else { usize::MAX };
        while left_bytes > 0
            && records.has_room(WAIT)
            && let Some(record) = ring.next()
        {
            left_bytes = left_bytes.saturating_sub(record.len());
            // Whatever finds no room is counted by the pipeline, which tells.
            let _kept = records.record(&record);
        }
        if last {
            return;
        }
        before = Instant::now();
        wait(ring.as_fd());
    }
}

fn wait(ring: BorrowedFd<'_>) {
    debug_assert!(ring.as_raw_fd() >= 0);
    let mut one = [PollFd::new(&ring, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: WAIT.subsec_nanos().into() };
    // An interrupted wait is a short one.
    let _ready = poll(&mut one, Some(&timeout));
}

/// The kernel's fault counters.
pub struct Faults {
    counters: PerCpuArray<MapData, u64>,
    instance: String,
}

impl Faults {
    /// Opens those of the instance in `directory`.
    ///
    /// # Errors
    /// The map is gone.
    pub fn of(directory: &Path) -> Result<Self, SwapError> {
        let data = open_map(&directory.join("maps").join(names::FAULTS))?;
        let refused = |source| SwapError::Map { map: names::FAULTS, source };
        // A directory's name is given again after `unload`, a map's number is not.
        let number = data.info().map_err(refused)?.id();
        let map = Map::from_map_data(data).map_err(refused)?;
        let counters = PerCpuArray::try_from(map).map_err(refused)?;
        let name = directory.file_name().unwrap_or_default();
        Ok(Self { counters, instance: format!("{} {number}", name.to_string_lossy()) })
    }

    /// Whose counters they are.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// What was counted since the programs were loaded.
    pub fn totals(&self) -> BTreeMap<Fault, u64> {
        let mut totals = BTreeMap::new();
        for fault in Fault::ALL {
            let Ok(values) = self.counters.get(&u32::from(*fault as u8), 0) else { continue };
            totals.insert(*fault, values.iter().sum());
        }
        totals
    }
}

/// Whether a fault means that a record did not reach the ring.
pub fn is_loss(fault: Fault) -> bool {
    matches!(fault, Fault::RingFull | Fault::RingLifecycle | Fault::RingAudit)
}
