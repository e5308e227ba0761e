//! Kernel programs that are loaded and attached to nothing, for tests and measurements that run them on packets of their
//! own. For root. They go with the value, also when a test fails.

use std::{
    fs,
    ops::{Deref, DerefMut},
    path::PathBuf,
};

use interdict_abi::ids::Act;
use interdict_agent::kernel::loader::{Loaded, Options, remove_instance};

/// Loaded programs.
pub(crate) struct Unattached {
    loaded: Loaded,
    pins: PathBuf,
}

impl Unattached {
    /// Loads those for `acts`, with slots for images of `wanted_bytes`, pinned below a folder for `name` and this process.
    pub(crate) fn load(name: &str, wanted_bytes: usize, acts: &[Act]) -> Self {
        let pins = PathBuf::from(format!("/sys/fs/bpf/interdict-{name}-{}", std::process::id()));
        let options = Options {
            pins: pins.clone(),
            cgroup: PathBuf::from("/sys/fs/cgroup"),
            // So that programs on interfaces are loaded.
            interfaces: vec!["lo".to_owned()],
            without_lsm: true,
        };
        Self { loaded: Loaded::start(options, wanted_bytes, acts).unwrap(), pins }
    }
}

impl Deref for Unattached {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        &self.loaded
    }
}

impl DerefMut for Unattached {
    fn deref_mut(&mut self) -> &mut Loaded {
        &mut self.loaded
    }
}

impl Drop for Unattached {
    fn drop(&mut self) {
        remove_instance(self.loaded.directory());
        let _gone = fs::remove_dir(&self.pins);
    }
}
