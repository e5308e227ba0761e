//! Adds what the kernel's record doesn't carry: the process's program, arguments and ancestry, names of users, container.
//!
//! In: lifecycle events in their order, and the actor of a decision. Out: a [`Context`]. Sources, best first: the
//! process table that FORK, EXEC and EXIT records keep; `/proc`, read once at the start and when a process is not in
//! the table; the record itself. Everything may fail softly: an unknown fact is absent, never invented, and an event is
//! never dropped or kept waiting. All state is bounded, and evictions are counted.

mod account;
pub mod container;
mod digest;
pub mod metadata;
pub mod process;
mod seed;
pub mod told;
pub mod user;

use std::{path::PathBuf, sync::Arc, time::Duration};

use interdict_abi::limits::COMM_BYTES;

use crate::{
    alert::redact::Redaction,
    events::{Actor, Decision, Exec, Exit, Fork},
};
use container::{Container, Containers};
use digest::Digests;
use interdict_rules::told::Known;
use metadata::RuntimeFiles;
use process::{Lineage, Process, Processes};
use user::Users;

/// What is known about the actor of a decision.
#[derive(Clone, Debug)]
pub struct Context {
    /// The process.
    pub process: Process,
    /// Name of its real user.
    pub user: Option<Arc<str>>,
    /// Name of its effective user, if that is another.
    pub effective_user: Option<Arc<str>>,
    /// Name of its real group.
    pub group: Option<Arc<str>>,
    /// The container it runs in; `None`: the host, or not known.
    pub container: Option<Arc<Container>>,
    /// The process the act is aimed at, if it is aimed at one.
    pub target: Option<Process>,
}

impl Context {
    /// The ancestors, nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = &Lineage> {
        std::iter::successors(self.process.parent.as_deref(), |node| node.parent.as_deref())
    }
}

/// How long the names of a new container are waited for, unless the configuration says otherwise.
pub const CONTAINER_WAIT: Duration = Duration::from_millis(200);

/// All enrichment state.
#[derive(Debug)]
pub struct Enricher {
    processes: Processes,
    users: Users,
    containers: Containers,
    digests: Digests,
}

impl Enricher {
    /// Empty tables; nothing is read yet.
    pub fn new(redaction: Redaction) -> Self {
        let files = RuntimeFiles::new("/".into());
        Self::with_runtimes(redaction, files, CONTAINER_WAIT, "/sys/fs/cgroup".into())
    }

    /// The same, with names of containers from these files, waited for so long, and cgroups below this folder.
    pub fn with_runtimes(
        redaction: Redaction,
        files: RuntimeFiles,
        wait: Duration,
        cgroups: PathBuf,
    ) -> Self {
        Self {
            processes: Processes::new(redaction),
            users: Users::from_files("/etc/passwd".into(), "/etc/group".into()),
            containers: Containers::new(cgroups, files, wait),
            digests: Digests::new("/proc".into()),
        }
    }

    /// Reads the processes that run already. Returns how many.
    pub fn seed(&mut self) -> usize {
        self.processes.seed_from_proc()
    }

    /// A process was forked.
    pub fn forked(&mut self, fork: &Fork) {
        self.processes.forked(fork);
    }

    /// A new program runs.
    pub fn executed(&mut self, exec: &Exec<'_>) {
        self.processes.executed(exec);
    }

    /// A process exited. It is remembered for a while.
    pub fn exited(&mut self, exit: &Exit) {
        self.processes.exited(exit);
    }

    /// What is known about an actor.
    pub fn context(&mut self, actor: &Actor) -> Context {
        let process = self.processes.find(actor);
        let container = self.containers.find(actor.cgroup, actor.pid);
        let effective_user =
            (actor.euid != actor.uid).then(|| self.users.user(actor.euid)).flatten();
        Context {
            process,
            user: self.users.user(actor.uid),
            effective_user,
            group: self.users.group(actor.gid),
            container,
            target: None,
        }
    }

    /// What is known of a field of class U of a decision.
    pub fn told(
        &mut self,
        field: &str,
        decision: &Decision<'_>,
        context: &Context,
        host: &str,
    ) -> Known {
        if told::of_place(field) {
            let on_host = self.containers.is_host(decision.actor.cgroup);
            return told::place(field, on_host, context.container.as_deref());
        }
        told::known(&mut self.digests, field, decision, context, host)
    }

    /// The container of a cgroup that was met before.
    pub fn container(&mut self, cgroup: u64, pid: u32) -> Option<Arc<Container>> {
        self.containers.find(cgroup, pid)
    }

    /// Whether the names of this cgroup's container are still waited for.
    pub fn awaits_names(&self, cgroup: u64) -> bool {
        self.containers.is_awaited(cgroup)
    }

    /// Containers whose names turned up after alerts had gone without them.
    pub fn named_late(&mut self) -> Vec<Arc<Container>> {
        self.containers.named_late()
    }

    /// The process with this id, if it is known or still runs.
    pub fn process(&mut self, pid: u32) -> Process {
        self.processes.find(&Actor {
            pid,
            tid: pid,
            parent: 0,
            uid: 0,
            gid: 0,
            euid: 0,
            start_ns: 0,
            cgroup: 0,
            comm: [0; COMM_BYTES],
        })
    }

    /// Looks again at what may have changed on disk. Cheap; called once a second.
    pub fn refresh(&mut self) {
        self.users.refresh();
    }

    /// Processes in the table, and entries evicted because it was full.
    pub fn occupancy(&self) -> (usize, u64) {
        (self.processes.len(), self.processes.evicted())
    }
}
