//! Directories that are made and removed below those that are watched.
//!
//! Where the kernel grants no more watches, nothing is told of a directory: whoever asks also walks now and then.

use std::{
    collections::HashMap,
    ffi::OsStr,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
};

/// Directories that are watched at most.
const WATCHES: usize = 8_192;

/// What happened to a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It was made.
    Made(PathBuf),
    /// It was removed.
    Gone(PathBuf),
    /// More happened than the kernel remembers.
    Missed,
}

/// The watched directories.
pub(super) struct Watch {
    events: Option<Arc<OwnedFd>>,
    folders: HashMap<i32, PathBuf>,
}

impl Watch {
    /// None yet.
    pub(super) fn new() -> Self {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        if let Err(error) = &events {
            tracing::warn!(%error, "new containers are found by walking over cgroups only");
        }
        Self { events: events.ok().map(Arc::new), folders: HashMap::new() }
    }

    /// What to wait for, if anything.
    pub(super) fn ready(&self) -> Option<Arc<OwnedFd>> {
        self.events.clone()
    }

    /// Watches a directory, too. Again is as good as once.
    pub(super) fn add(&mut self, folder: &Path) {
        let Some(events) = &self.events else { return };
        if self.folders.len() >= WATCHES {
            return;
        }
        let wanted = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ONLYDIR;
        if let Ok(number) = inotify::add_watch(events, folder, wanted) {
            self.folders.insert(number, folder.to_owned());
        }
    }

    /// What happened since the last call.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let Some(events) = &self.events else { return Vec::new() };
        let mut changes = Vec::new();
        let mut room = [MaybeUninit::uninit(); 16_384];
        let mut reader = Reader::new(events.as_fd(), &mut room);
        while let Ok(event) = reader.next() {
            let what = event.events();
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                changes.push(Change::Missed);
            }
            if what.contains(ReadFlags::IGNORED) {
                self.folders.remove(&event.wd());
            }
            let (Some(folder), Some(name)) = (self.folders.get(&event.wd()), event.file_name())
            else {
                continue;
            };
            let path = folder.join(OsStr::from_bytes(name.to_bytes()));
            if what.contains(ReadFlags::ISDIR | ReadFlags::CREATE) {
                changes.push(Change::Made(path));
            } else if what.contains(ReadFlags::ISDIR | ReadFlags::DELETE) {
                changes.push(Change::Gone(path));
            }
        }
        changes
    }
}

/// Waits until something happened, no longer than `pause`.
pub(super) fn wait(events: &OwnedFd, pause: Duration) {
    let seconds = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX);
    let timeout = Timespec { tv_sec: seconds, tv_nsec: i64::from(pause.subsec_nanos()) };
    // A signal ends it early, which costs a look.
    let _ready = poll(&mut [PollFd::new(events, PollFlags::IN)], Some(&timeout));
}
