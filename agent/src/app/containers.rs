//! Containers are told to the kernel programs before a policy that asks for them is in force, and as long as it is.

use std::path::PathBuf;

use interdict_abi::ids::{Fact, Family};
use interdict_engine::facts;

use super::{App, AppError};
use crate::{
    enrich::metadata::RuntimeFiles,
    kernel::{features::Features, workloads::WorkloadRows},
    policy::Policy,
    workloads::Workloads,
};

/// Whether some rule of a policy asks what container a process runs in.
pub(super) fn asks(policy: &Policy) -> bool {
    let image = policy.image.kernel();
    let tested =
        |family: &Family| Fact::PLACES.iter().any(|fact| facts::tests(image, *family, *fact));
    Family::ALL.iter().any(tested)
}

impl App {
    /// Writes the rows of all containers where the programs look that are to enforce now, if the policy asks for them.
    pub(super) fn tell_of_containers(&mut self, policy: &Policy) -> Result<(), AppError> {
        if !asks(policy) {
            return Ok(());
        }
        if self.workloads.is_some() {
            return self.move_containers();
        }
        let rows = WorkloadRows::open(&self.loaded)?;
        let files = RuntimeFiles::new(self.config.containers.root.clone());
        let root = Features::find(&self.config.pins).cgroup2;
        let root = root.unwrap_or_else(|| PathBuf::from("/sys/fs/cgroup"));
        let started = Workloads::start(root, files, rows).map_err(AppError::Threads)?;
        self.workloads = Some(started);
        Ok(())
    }

    /// Writes them for other programs, from now on.
    pub(super) fn move_containers(&self) -> Result<(), AppError> {
        if let Some(workloads) = &self.workloads {
            workloads.move_to(WorkloadRows::open(&self.loaded)?);
        }
        Ok(())
    }
}
