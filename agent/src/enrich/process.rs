//! The process table: who runs what, and who started it.
//!
//! An entry is a live process, or one of the last [`EXITED`] that exited less than [`KEPT_NS`] ago. Its ancestry is a list of [`Lineage`]
//! nodes, frozen at the fork: what the parent was when it forked, which later execs, exits and reparenting don't
//! change. A pid means its newest process; the start time tells a reused pid apart. At most [`CAPACITY`] entries and
//! [`DEPTH`] ancestors are kept.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, OnceLock},
};

use crate::{
    alert::{model::AncestorInfo, redact::Redaction, shared::Shared, text::Text},
    enrich::seed,
    events::{Actor, Exec, Exit, Fork},
};

/// Entries kept: twice what the kernel side keeps, so that exited ones have room.
pub const CAPACITY: usize = 2 * interdict_abi::limits::PROCESSES as usize;

/// Ancestors kept per process.
pub const DEPTH: usize = 32;

/// How long an exited process is remembered, ns of boot time.
pub const KEPT_NS: u64 = 30_000_000_000;

/// How many exited processes are remembered at most: records come nearly in order, and a storm of short processes must not
/// fill the agent's memory for half a minute after each.
pub const EXITED: usize = 8_192;

/// Nanoseconds in one tick of `/proc/PID/stat` (`USER_HZ` is 100 on every Linux architecture we build for).
const TICK_NS: u64 = 10_000_000;

/// A program and its arguments, as far as known. Shared by everything forked from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Path of the file; empty if unknown.
    pub exe: Text,
    /// Arguments.
    pub args: Arguments,
}

/// Arguments, ready to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// What is shown, `argv[0]` first.
    pub shown: Vec<String>,
    /// Indices that are in escaped form.
    pub escaped: Vec<u16>,
    /// Indices in which a secret was hidden.
    pub redacted: Vec<u16>,
    /// There were more.
    pub truncated: bool,
}

/// Most arguments kept of one process: the rest sets `truncated`.
const ARGUMENTS: usize = 256;

impl Arguments {
    /// Reads zero-separated arguments.
    pub fn from_bytes(bytes: &[u8], truncated: bool, redaction: &Redaction) -> Self {
        let mut arguments = Self { truncated, ..Self::default() };
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        if bytes.is_empty() {
            return arguments;
        }
        for (index, arg) in bytes.split(|&byte| byte == 0).enumerate() {
            if index == ARGUMENTS {
                arguments.truncated = true;
                break;
            }
            let text = Text::from_bytes(arg);
            if text.escaped {
                arguments.escaped.push(u16::try_from(index).unwrap_or(u16::MAX));
            }
            arguments.shown.push(text.shown);
        }
        arguments.redacted = redaction.apply(&mut arguments.shown);
        arguments.escaped.retain(|index| !arguments.redacted.contains(index));
        arguments
    }
}

/// One ancestor.
#[derive(Debug, PartialEq, Eq)]
pub struct Lineage {
    /// Its pid.
    pub pid: u32,
    /// Its start, ns on `CLOCK_BOOTTIME`; 0 if unknown.
    pub start_ns: u64,
    /// What it ran when it forked.
    pub program: Arc<Program>,
    /// Its own parent.
    pub parent: Option<Arc<Lineage>>,
    /// How alerts tell it, once one has.
    pub(crate) told: Told,
    depth: usize,
}

/// What an ancestor was rendered as. It follows from the rest, so it has no part in what is equal.
#[derive(Debug, Default)]
pub(crate) struct Told(OnceLock<Shared<AncestorInfo>>);

impl Told {
    pub(crate) fn get_or_init(
        &self,
        render: impl FnOnce() -> Shared<AncestorInfo>,
    ) -> &Shared<AncestorInfo> {
        self.0.get_or_init(render)
    }
}

impl PartialEq for Told {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Told {}

/// What the table knows of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Thread group id.
    pub pid: u32,
    /// Start, ns on `CLOCK_BOOTTIME`; 0 if unknown.
    pub start_ns: u64,
    /// What it runs.
    pub program: Arc<Program>,
    /// Who forked it.
    pub parent: Option<Arc<Lineage>>,
    /// Where this comes from.
    pub source: Source,
    exited_ns: Option<u64>,
}

/// Where knowledge about a process comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Kernel records.
    Records,
    /// `/proc`.
    Proc,
    /// Nothing but the decision's own record.
    None,
}

impl Source {
    /// The name alerts use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "kernel",
            Self::Proc => "proc",
            Self::None => "none",
        }
    }
}

/// The table.
#[derive(Debug)]
pub struct Processes {
    by_pid: HashMap<u32, Process>,
    exits: VecDeque<(u64, u32)>,
    unknown: Arc<Program>,
    redaction: Redaction,
    evicted: u64,
    capacity: usize,
}

impl Processes {
    /// An empty table.
    pub fn new(redaction: Redaction) -> Self {
        Self {
            by_pid: HashMap::new(),
            exits: VecDeque::new(),
            unknown: Arc::new(Program::default()),
            redaction,
            evicted: 0,
            capacity: CAPACITY,
        }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.by_pid.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.by_pid.is_empty()
    }

    /// Entries of live processes that were dropped because the table was full.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Reads `/proc`. Returns how many processes were added.
    pub fn seed_from_proc(&mut self) -> usize {
        let found = seed::all();
        let by_pid: HashMap<u32, &seed::Found> =
            found.iter().map(|process| (process.pid, process)).collect();
        let mut lineages = HashMap::new();
        for process in &found {
            let parent = self.lineage_of(process.parent, &by_pid, &mut lineages, 0);
            let program = self.program_of(process);
            self.insert(Process {
                pid: process.pid,
                start_ns: process.start_ticks * TICK_NS,
                program,
                parent,
                source: Source::Proc,
                exited_ns: None,
            });
        }
        found.len()
    }

    fn program_of(&self, found: &seed::Found) -> Arc<Program> {
        Arc::new(Program {
            exe: Text::from_bytes(&found.exe),
            args: Arguments::from_bytes(&found.args, false, &self.redaction),
        })
    }

    fn lineage_of(
        &self,
        pid: u32,
        by_pid: &HashMap<u32, &seed::Found>,
        lineages: &mut HashMap<u32, Arc<Lineage>>,
        depth: usize,
    ) -> Option<Arc<Lineage>> {
        if let Some(known) = lineages.get(&pid) {
            return Some(Arc::clone(known));
        }
        let found = by_pid.get(&pid)?;
        // A listing of /proc is not a snapshot: pids that were reused meanwhile could form a ring.
        if depth >= DEPTH {
            return None;
        }
        let parent = self.lineage_of(found.parent, by_pid, lineages, depth + 1);
        let node = lineage(found.pid, found.start_ticks * TICK_NS, self.program_of(found), parent);
        lineages.insert(pid, Arc::clone(&node));
        Some(node)
    }

    /// A process was forked.
    pub fn forked(&mut self, fork: &Fork) {
        self.forget_old(fork.time_ns);
        let parent = self.find(&fork.actor);
        let program = Arc::clone(&parent.program);
        let source = parent.source;
        self.insert(Process {
            pid: fork.child,
            // Filled by the child's first own record.
            start_ns: 0,
            program,
            parent: Some(lineage(parent.pid, parent.start_ns, parent.program, parent.parent)),
            source,
            exited_ns: None,
        });
    }

    /// A new program runs in a process.
    pub fn executed(&mut self, exec: &Exec<'_>) {
        let program = Arc::new(Program {
            exe: Text::from_bytes(exec.path),
            args: Arguments::from_bytes(exec.args, exec.flags.args_truncated(), &self.redaction),
        });
        let mut process = self.find(&exec.actor);
        process.program = program;
        process.source = Source::Records;
        self.insert(process);
    }

    /// A process exited.
    pub fn exited(&mut self, exit: &Exit) {
        if let Some(process) = self.by_pid.get_mut(&exit.actor.pid)
            && same_start(process.start_ns, exit.actor.start_ns)
        {
            process.exited_ns = Some(exit.time_ns);
            self.exits.push_back((exit.time_ns, exit.actor.pid));
        }
        self.forget_old(exit.time_ns);
    }

    /// What is known of an actor; asks `/proc` once for one that is not in the table.
    pub fn find(&mut self, actor: &Actor) -> Process {
        if let Some(process) = self.by_pid.get_mut(&actor.pid)
            && same_start(process.start_ns, actor.start_ns)
        {
            if actor.start_ns != 0 {
                process.start_ns = actor.start_ns;
            }
            return process.clone();
        }
        let process = self.read_proc(actor).unwrap_or_else(|| Process {
            pid: actor.pid,
            start_ns: actor.start_ns,
            program: Arc::clone(&self.unknown),
            parent: self.parent_lineage(actor.parent),
            source: Source::None,
            exited_ns: None,
        });
        if actor.pid != 0 {
            self.insert(process.clone());
        }
        process
    }

    fn read_proc(&self, actor: &Actor) -> Option<Process> {
        let found = seed::one(actor.pid)?;
        // Another process may have the pid by now: then /proc says nothing about this actor.
        if !same_start(found.start_ticks * TICK_NS, actor.start_ns) {
            return None;
        }
        Some(Process {
            pid: actor.pid,
            start_ns: if actor.start_ns != 0 {
                actor.start_ns
            } else {
                found.start_ticks * TICK_NS
            },
            program: self.program_of(&found),
            parent: self.parent_lineage(found.parent),
            source: Source::Proc,
            exited_ns: None,
        })
    }

    fn parent_lineage(&self, pid: u32) -> Option<Arc<Lineage>> {
        let parent = self.by_pid.get(&pid)?;
        Some(lineage(
            parent.pid,
            parent.start_ns,
            Arc::clone(&parent.program),
            parent.parent.clone(),
        ))
    }

    fn insert(&mut self, process: Process) {
        if !self.by_pid.contains_key(&process.pid) && self.by_pid.len() >= self.capacity {
            self.make_room();
        }
        self.by_pid.insert(process.pid, process);
    }

    /// Exited processes go first. Without any, whichever comes to hand goes and is counted: it can be read from `/proc`
    /// again when it acts.
    fn make_room(&mut self) {
        while let Some((_, pid)) = self.exits.pop_front() {
            if self.by_pid.get(&pid).is_some_and(|process| process.exited_ns.is_some()) {
                self.by_pid.remove(&pid);
                return;
            }
        }
        if let Some(&pid) = self.by_pid.keys().next() {
            self.by_pid.remove(&pid);
            self.evicted += 1;
        }
    }

    fn forget_old(&mut self, now_ns: u64) {
        while let Some(&(exited_ns, pid)) = self.exits.front() {
            if self.exits.len() <= EXITED && exited_ns.saturating_add(KEPT_NS) > now_ns {
                break;
            }
            self.exits.pop_front();
            // The pid may belong to a newer process, or to one that exited later.
            if self.by_pid.get(&pid).is_some_and(|process| process.exited_ns == Some(exited_ns)) {
                self.by_pid.remove(&pid);
            }
        }
    }
}

/// Whether two start times can be of one process. `/proc` rounds down to ticks; 0 is unknown.
fn same_start(left_ns: u64, right_ns: u64) -> bool {
    left_ns == 0 || right_ns == 0 || left_ns / TICK_NS == right_ns / TICK_NS
}

fn lineage(
    pid: u32,
    start_ns: u64,
    program: Arc<Program>,
    parent: Option<Arc<Lineage>>,
) -> Arc<Lineage> {
    let depth = parent.as_ref().map_or(0, |parent| parent.depth) + 1;
    // A chain that forks and exits for ever would grow for ever: at twice the depth it is cut to the nearest.
    let (parent, depth) = if depth > 2 * DEPTH {
        let parent = parent.and_then(|parent| nearest(&parent, DEPTH - 1));
        (parent, DEPTH)
    } else {
        (parent, depth)
    };
    Arc::new(Lineage { pid, start_ns, program, parent, told: Told::default(), depth })
}

fn nearest(node: &Arc<Lineage>, count: usize) -> Option<Arc<Lineage>> {
    let nodes: Vec<&Lineage> =
        std::iter::successors(Some(&**node), |node| node.parent.as_deref()).take(count).collect();
    nodes.into_iter().rev().fold(None, |parent, node| {
        let depth = parent.as_ref().map_or(0, |parent: &Arc<Lineage>| parent.depth) + 1;
        Some(Arc::new(Lineage {
            pid: node.pid,
            start_ns: node.start_ns,
            program: Arc::clone(&node.program),
            parent,
            told: Told::default(),
            depth,
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::RecordFlags;

    fn actor(pid: u32, start_ns: u64) -> Actor {
        Actor {
            pid,
            tid: pid,
            parent: 1,
            uid: 0,
            gid: 0,
            euid: 0,
            start_ns,
            cgroup: 1,
            comm: [0; 16],
        }
    }

    /// Pids above `pid_max` exist in no `/proc`.
    const BASE: u32 = 0x4000_0000;

    fn fork(table: &mut Processes, parent: u32, child: u32, time_ns: u64) {
        table.forked(&Fork { time_ns, actor: actor(parent, 0), child });
    }

    fn exec(table: &mut Processes, pid: u32, path: &str, args: &[u8], time_ns: u64) {
        let flags = RecordFlags::default();
        table.executed(&Exec { time_ns, actor: actor(pid, 0), path: path.as_bytes(), args, flags });
    }

    fn ancestors(process: &Process) -> Vec<String> {
        std::iter::successors(process.parent.as_deref(), |node| node.parent.as_deref())
            .map(|node| node.program.exe.shown.clone())
            .collect()
    }

    #[test]
    fn a_child_keeps_what_its_parent_was_when_it_forked() {
        let mut table = Processes::new(Redaction::default());
        exec(&mut table, BASE, "/usr/bin/sshd", b"sshd\0-D\0", 1);
        fork(&mut table, BASE, BASE + 1, 2);
        exec(&mut table, BASE + 1, "/bin/sh", b"sh\0", 3);
        fork(&mut table, BASE + 1, BASE + 2, 4);
        exec(&mut table, BASE + 1, "/bin/other", b"other\0", 5);
        table.exited(&Exit { time_ns: 6, actor: actor(BASE + 1, 0), code: 0 });
        exec(&mut table, BASE + 2, "/bin/cat", b"cat\0--token=x\0/etc/shadow\0", 7);
        let process = table.find(&actor(BASE + 2, 99));
        assert_eq!(process.program.args.shown, ["cat", "--token=[redacted]", "/etc/shadow"]);
        assert_eq!(process.program.args.redacted, [1]);
        assert_eq!(ancestors(&process), ["/bin/sh", "/usr/bin/sshd"]);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut table = Processes::new(Redaction::default());
        exec(&mut table, BASE, "/bin/old", b"old\0", 1);
        assert_eq!(table.find(&actor(BASE, 5 * TICK_NS)).program.exe.shown, "/bin/old");
        let newer = table.find(&actor(BASE, 900 * TICK_NS));
        assert_eq!(newer.program.exe.shown, "");
        assert_eq!(newer.source, Source::None);
    }

    #[test]
    fn an_exited_process_is_remembered_for_a_while() {
        let mut table = Processes::new(Redaction::default());
        exec(&mut table, BASE, "/bin/short", b"short\0", 1);
        table.exited(&Exit { time_ns: 2, actor: actor(BASE, 0), code: 0 });
        assert_eq!(table.find(&actor(BASE, 0)).program.exe.shown, "/bin/short");
        fork(&mut table, BASE + 5, BASE + 6, 3 + KEPT_NS);
        assert!(!table.by_pid.contains_key(&BASE));
    }

    #[test]
    fn a_storm_of_short_processes_is_not_remembered_longer_than_there_is_room_for() {
        let mut table = Processes::new(Redaction::default());
        let storm = 2 * EXITED as u32;
        for pid in 0..storm {
            exec(&mut table, BASE + pid, "/bin/x", b"x\0", 1);
            table.exited(&Exit { time_ns: 2, actor: actor(BASE + pid, 0), code: 0 });
        }
        assert!((EXITED..EXITED + 2).contains(&table.len()), "{}", table.len());
        assert_eq!(table.find(&actor(BASE + storm - 1, 0)).program.exe.shown, "/bin/x");
    }

    #[test]
    fn the_table_is_bounded_and_counts_what_it_drops() {
        let mut table = Processes::new(Redaction::default());
        table.capacity = 16;
        for pid in 0..100 {
            exec(&mut table, BASE + pid, "/bin/x", b"x\0", 1);
        }
        assert_eq!(table.len(), 16);
        assert_eq!(table.evicted(), 84);
    }

    #[test]
    fn an_endless_chain_of_forks_keeps_a_bounded_ancestry() {
        let mut table = Processes::new(Redaction::default());
        exec(&mut table, BASE, "/bin/daemon", b"d\0", 1);
        for generation in 0..10_000 {
            fork(&mut table, BASE + generation, BASE + generation + 1, 1);
        }
        let last = table.find(&actor(BASE + 10_000, 0));
        let kept = ancestors(&last).len();
        assert!((DEPTH..=2 * DEPTH).contains(&kept), "{kept}");
    }

    #[test]
    fn this_process_is_found_in_proc() {
        let mut table = Processes::new(Redaction::default());
        assert!(table.seed_from_proc() > 0);
        let own = table.find(&actor(std::process::id(), 0));
        assert_eq!(own.source, Source::Proc);
        assert_eq!(own.program.exe.shown, std::env::current_exe().unwrap().to_str().unwrap());
        assert!(own.parent.is_some());
    }
}
