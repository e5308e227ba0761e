//! Every bound both sides share, each with the reason it has that value.

/// Longest path a decision is made on, in bytes with the terminating zero. `PATH_MAX` of Linux: `bpf_d_path` refuses
/// longer ones (`-ENAMETOOLONG`), which is a fault with a stated outcome, never a truncation.
pub const PATH_BYTES: usize = 4096;

/// `TASK_COMM_LEN` of Linux.
pub const COMM_BYTES: usize = 16;

/// Bytes of argv that are matched and told. Larger costs scratch memory per CPU; arguments past it set
/// [`crate::event::flags::ARGS_TRUNCATED`] and make the arguments column a fault.
pub const ARGS_BYTES: usize = 4096;

/// Longest rest of a string that an automaton compares in one go: see `image::tail`. A longer loop would bring the walk
/// closer to the verifier's limit of 8,192 branches; the rows before a tail take over what does not fit.
pub const TAIL_BYTES: usize = 256;

/// Bytes that an automaton compares at once in the middle of a walk: see `image::skip`. Always as many, so that how far
/// the string has been read does not wait for the skip to be read.
pub const SKIP_BYTES: usize = 4;

/// Clauses of one family: 64 blocks of 256 bits, so that one 64-bit word summarises all of a family.
pub const CLAUSES_PER_FAMILY: usize = 64 * BLOCK_BITS;

/// Bits of a block of clauses: four words, read together when the summary says that something is left.
pub const BLOCK_BITS: usize = 256;

/// Words of a block.
pub const BLOCK_WORDS: usize = BLOCK_BITS / 64;

/// Automata that one string fact can be read by, each a part of its column: patterns that would multiply each other are
/// kept apart. Every part costs a walk over the string.
pub const COLUMN_PARTS: usize = 8;

/// Columns (facts, and parts of facts) that can narrow one decision.
pub const COLUMNS_USED: usize = 32;

/// Steps of the loop that turns surviving words into clauses: at most 64 blocks of 4 words, and 256 matching clauses.
/// Running out while enforcing clauses are left is a fault that blocks: see `engine::verdict`.
pub const DECIDE_STEPS: usize = 512;

/// Rules named in one record. All are counted; the agent recomputes the rest from the facts.
pub const RULES_TOLD: usize = 8;

/// Bits of a set fact (ancestors, arguments): each distinct predicate on such a fact takes one.
pub const SET_BITS: usize = 256;

/// Words of a set fact.
pub const SET_WORDS: usize = SET_BITS / 64;

/// Residual literals a clause may carry: tests on set facts, made after the columns agreed.
pub const RESIDUALS: usize = 4;

/// Distinct masks of capabilities that rules may test.
pub const CAPABILITY_MASKS: usize = 32;

/// Numbers of system calls that rules can be about, for each way of calling.
pub const SYSCALL_NUMBERS: u32 = 1024;

/// Ways of calling (see `ids::Calling`) there is room for.
pub const CALLINGS: u32 = 8;

/// Cgroups above a task's that are looked at for the name of a container.
pub const CGROUP_LEVELS: u32 = 16;

/// Cgroups of which it is remembered whether they belong to a container.
pub const CGROUPS_KNOWN: u32 = 8_192;

/// Containers of which the agent can tell something. 4 KiB each, taken only when used; what runs in further ones is not
/// known.
pub const WORKLOADS: u32 = 8_192;

/// Room for what is told of one container; labels that do not fit are not known.
pub const WORKLOAD_BYTES: usize = 4_096;

/// Delta rows of senders of which it is known what becomes of their packets: see `image::settled`. All are looked at.
pub const SETTLED_ROWS: u32 = 8;

/// Steps of a binary search over ranges: tables of up to 4,194,304 ranges (a feed of a million prefixes makes at most
/// two million).
pub const SEARCH_STEPS: usize = 22;

/// Scratch areas per CPU. LSM programs are preemptible: each invocation claims one for itself. Fewer: faults under
/// preemption; more: 9 KiB each per CPU.
pub const WORK_AREAS: u32 = 8;

/// Live processes the kernel keeps a row for: the default of `kernel.pid_max`.
pub const PROCESSES: u32 = 32_768;

/// Names of objects that are remembered: see `maps::KnownName`. 256 bytes each, taken only when used.
pub const NAMES: u32 = 262_144;

/// Names of one object that are remembered; further ones still count while the object is reached by them.
pub const NAMES_PER_OBJECT: u32 = 4;

/// Room for a remembered name. With its lengths a row has 256 bytes, a size the kernel's allocator has.
pub const NAME_BYTES: usize = 248;

/// Remembered names that do not fit there: see `maps::LongName`. 8 KiB each, taken only when used; further ones count as
/// names that are not known.
pub const LONG_NAMES: u32 = 4_096;

/// Mounts that can be vouched for.
pub const CROSSINGS: u32 = 16_384;

/// Ways from a mount to a root that were found to be vouched for; those not asked about for longest give way.
pub const VOUCHED: u32 = 1_024;

/// Pairs of process and object of which it is remembered that something was told; those not heard of for longest give way.
pub const TOLD_FILES: u32 = 16_384;

/// Parts of a path column whose labels are remembered on an inode. Paths of policies with more are walked every time.
pub const REMEMBERED_PARTS: usize = 4;

/// Distinct programs among a process's ancestors that are remembered past the ancestors' exit. More: what is not known of
/// them is a fault.
pub const LINEAGE: usize = 32;

/// Paths of programs that are kept for lineages. The agent removes those that nobody refers to.
pub const PROGRAMS: u32 = 8_192;

/// Processes that are exiting, whose sockets may still have to be closed; those that began to longest ago give way.
pub const EXITING: u32 = 4_096;

/// Execs that may be between `bprm_check_security` and `sched_process_exec` at one time.
pub const EXECS_IN_FLIGHT: u32 = 4_096;

/// Rules whose packets are counted, over all generations.
pub const RULE_TALLIES: u32 = 8_192;

/// Rules whose packets can be counted at one time without being looked for, a power of two: the last bits of their number
/// say where. Two of the same bits take turns.
pub const SETTLED_TALLIES: u32 = 64;

/// Rules with a rate, over the generation in force and the one being staged.
pub const RATES: u32 = 2_048;

/// Pairs of rule and peer whose rate is watched; those not heard from for longest give way.
pub const RATED_PEERS: u32 = 131_072;

/// Alerts on packets a second, for each rule and CPU; what is more is counted.
pub const PACKET_ALERTS: u64 = 64;

/// Pairs of rule and peer that are remembered, so that floods are not told packet by packet.
pub const TOLD_PEERS: u32 = 16_384;

/// Bytes of a message to or from a name server that are looked at: a question is in the first 271, and answers seldom take
/// more than 1,232.
pub const DNS_MESSAGE_BYTES: usize = 4096;

/// Messages to a name server in one packet: several over TCP, or in one send that the kernel cuts into datagrams. What
/// comes behind them is not known.
pub const DNS_MESSAGES: u32 = 8;

/// Streams to name servers that are followed; those not heard from for longest give way.
pub const DNS_STREAMS: u32 = 8_192;

/// Look-ups that wait for their answer; those asked longest ago give way.
pub const DNS_ASKED: u32 = 16_384;

/// Seconds for which an answer is waited for.
pub const DNS_PATIENCE_SECONDS: u64 = 30;

/// Names of addresses, from answers; those used longest ago give way.
pub const DNS_NAMES: u32 = 16_384;

/// Names of one address that are remembered. More: the next takes the place of one.
pub const NAMES_PER_ADDRESS: u32 = 4;

/// Seconds for which an address counts as that of a name, whatever its answer says: at least what programs keep it for
/// anyway, and at most a day.
pub const DNS_LIFETIME_SECONDS: (u64, u64) = (60, 86_400);

/// Bytes of the event ring. At 300 bytes an alert: 7,000 alerts of slack while the agent is busy.
pub const RING_BYTES: u32 = 2 << 20;

/// Share of the ring (in 1/256) that process lifecycle records may fill: the rest is for alerts.
pub const RING_LIFECYCLE_SHARE: u64 = 128;

/// Share of the ring (in 1/256) that alerts about acts that were let through may fill: the rest is for refused acts.
pub const RING_AUDIT_SHARE: u64 = 208;

/// Share of the ring (in 1/256) that may wait before repeats of one subject (a rule, a process, an object) are counted.
pub const RING_REPEAT_SHARE: u64 = 48;

/// Share of the ring (in 1/256) that may wait before all that one process does against one rule counts as repeats.
pub const RING_PROCESS_SHARE: u64 = 112;

/// Decisions on one subject that are told in a second while repeats are counted.
pub const SUBJECT_ALERTS: u64 = 4;

/// Decisions on all that one process does against one rule that are told in a second while those are counted.
pub const PROCESS_ALERTS: u64 = 32;

/// Subjects whose repeats are counted at one time. Those that find no room are told as long as the ring has some.
pub const SUBJECTS: u32 = 16_384;

/// Smallest image slot, bytes. Slots are a power of two so that a masked offset stays inside.
pub const SLOT_BYTES_MIN: usize = 1 << 16;

/// Largest image slot, bytes: a feed of a million prefixes takes 30 MiB, for flows and packets together.
pub const SLOT_BYTES_MAX: usize = 128 << 20;
