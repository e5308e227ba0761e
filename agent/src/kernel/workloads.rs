//! The rows that tell the kernel programs of containers: see `interdict_abi::maps::Workload`.

use aya::maps::{HashMap, MapData, MapError};
use interdict_abi::maps::{Workload, names};

use super::{loader::Loaded, slots::SwapError};
use crate::workloads::Rows;

/// The rows of an instance.
pub struct WorkloadRows(HashMap<MapData, u64, Workload>);

impl WorkloadRows {
    /// Opens those of `loaded`.
    ///
    /// # Errors
    /// The map is gone.
    pub fn open(loaded: &Loaded) -> Result<Self, SwapError> {
        let map = names::WORKLOADS;
        let rows = HashMap::try_from(loaded.map(map)?);
        Ok(Self(rows.map_err(|source| SwapError::Map { map, source })?))
    }
}

impl Rows for WorkloadRows {
    type Error = MapError;

    fn put(&mut self, cgroup: u64, row: &Workload) -> Result<(), MapError> {
        self.0.insert(cgroup, row, 0)
    }

    fn remove(&mut self, cgroup: u64) {
        // A row that is not there is what was asked for.
        let _gone = self.0.remove(&cgroup);
    }

    fn cgroups(&self) -> Vec<u64> {
        self.0.keys().filter_map(Result::ok).collect()
    }
}
