//! Refusals spare the thread of the agent that looks for what rules select; not whoever gets its number. For root.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that goes wrong should stop")]

use std::{
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use interdict_agent::kernel::{
    loader::{Loaded, Options, remove_instance},
    slots::Slots,
};

/// Starts a thread, and ends it after `meanwhile` was called with its number.
fn with_thread(meanwhile: impl FnOnce(u64)) {
    let (number, told) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        number.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        let _hung_up = ended.recv();
    });
    meanwhile(u64::try_from(told.recv().unwrap()).unwrap());
    drop(end);
    thread.join().unwrap();
}

#[test]
fn a_thread_that_exits_is_spared_no_longer() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("not tried: this needs root");
        return;
    }
    let folder =
        tempfile::Builder::new().prefix("interdict-test").tempdir_in("/sys/fs/bpf").unwrap();
    let options = Options {
        pins: folder.path().join("interdict"),
        cgroup: PathBuf::from("/sys/fs/cgroup"),
        interfaces: Vec::new(),
        without_lsm: true,
    };
    let mut loaded = Loaded::start(options, 0, &[]).unwrap();
    loaded.attach_lifecycle().unwrap();
    let mut slots = Slots::open(&loaded).unwrap();
    let seeder = |slots: &Slots| slots.control().unwrap().seeder;

    with_thread(|own| {
        slots.set_seeder(own).unwrap();
        // Others come and go, threads and processes.
        with_thread(|_| ());
        assert!(Command::new("true").status().unwrap().success());
        assert_eq!(seeder(&slots), own);
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while seeder(&slots) != 0 {
        assert!(Instant::now() < deadline, "a thread that is gone is spared");
        thread::sleep(Duration::from_millis(5));
    }
    remove_instance(loaded.directory());
}
