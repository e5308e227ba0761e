//! Numbers that may not be mixed up.

/// Declares a `repr(u8)`-like set of named numbers with checked conversion and a stable name.
macro_rules! numbered {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $value:literal => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $value,)+ }

        impl $name {
            /// All of them, in numeric order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name users see.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl TryFrom<u8> for $name {
            type Error = u8;
            fn try_from(raw: u8) -> Result<Self, u8> {
                match raw { $($value => Ok(Self::$variant),)+ other => Err(other) }
            }
        }
    };
}

pub(crate) use numbered;

numbered! {
    /// A hook family: acts that are decided on the same facts, and whose clauses share one numbering.
    pub enum Family {
        /// A program is about to run: `bprm_check_security`.
        Exec = 0 => "exec",
        /// A new program has replaced the old one and its arguments are final: `sched_process_exec`. Kill only.
        Started = 1 => "started",
        /// A file is opened, changed, renamed, linked, removed or mapped.
        File = 2 => "file",
        /// A socket is made, connected, bound or sent through, with the process in hand.
        Net = 3 => "net",
        /// A packet came in at an interface (XDP), or passes a socket. No process.
        Packet = 4 => "packet",
        /// Acts on other tasks, credentials, namespaces, modules, BPF.
        System = 5 => "system",
        /// System calls by name, from tracepoints. Alert or kill only.
        Syscall = 6 => "syscall",
        /// A name is looked up.
        Dns = 7 => "dns",
    }
}

impl Family {
    /// Whether its acts are done by a process. Packets and look-ups belong to a socket: whose it is, is not asked.
    pub const fn has_process(self) -> bool {
        !matches!(self, Self::Packet | Self::Dns)
    }
}

/// Number of families an image has room for.
pub const FAMILIES: usize = 8;

numbered! {
    /// One act that rules can name in `on`. Within a family an act is one bit: see [`Act::bit`].
    pub enum Act {
        /// `exec`: a program, script or interpreter is about to run.
        Exec = 0 => "exec",
        /// The `exec` act again once arguments are final.
        ExecArgs = 1 => "exec.args",
        /// A file is opened for reading.
        FileRead = 16 => "file.read",
        /// A file is opened for writing.
        FileWrite = 17 => "file.write",
        /// A file is created.
        FileCreate = 18 => "file.create",
        /// A file is renamed, either end.
        FileRename = 19 => "file.rename",
        /// A hard link is made.
        FileLink = 20 => "file.link",
        /// A symbolic link is made.
        FileSymlink = 21 => "file.symlink",
        /// A name is removed.
        FileUnlink = 22 => "file.unlink",
        /// Owner, mode, times or extended attributes change.
        FileSetattr = 23 => "file.setattr",
        /// A directory is made.
        FileMkdir = 24 => "file.mkdir",
        /// A device node, socket or pipe is made.
        FileMknod = 25 => "file.mknod",
        /// A file is truncated.
        FileTruncate = 26 => "file.truncate",
        /// Something is mounted on it or moved there.
        FileMount = 27 => "file.mount",
        /// A file is mapped executable.
        MmapExec = 28 => "mmap.exec",
        /// A mapping becomes executable.
        MprotectExec = 29 => "mprotect.exec",
        /// An outbound connection, or the destination of a datagram socket.
        NetConnect = 32 => "net.connect",
        /// A message is sent, to an address of its own or to whom the socket is connected.
        NetSend = 33 => "net.send",
        /// A local address is taken.
        NetBind = 34 => "net.bind",
        /// A socket starts to listen.
        NetListen = 35 => "net.listen",
        /// A connection is about to be accepted.
        NetAccept = 36 => "net.accept",
        /// A socket is made.
        NetSocket = 37 => "net.socket",
        /// A flow is over: the last descriptor of its socket is closed.
        NetClose = 38 => "net.close",
        /// A packet arrives at an interface.
        PacketIn = 48 => "packet.in",
        /// A packet leaves a socket of this host, whoever sent it.
        PacketOut = 49 => "packet.out",
        /// A packet that leaves asks for a connection.
        PacketConnect = 50 => "packet.connect",
        /// A packet that arrives at a socket asks for a connection.
        PacketAccept = 51 => "packet.accept",
        /// Another task's memory or registers are reached for.
        Ptrace = 64 => "ptrace",
        /// A signal is sent to another process.
        Signal = 65 => "signal",
        /// A kernel module is loaded.
        ModuleLoad = 66 => "module.load",
        /// bpf(2) is used.
        Bpf = 67 => "bpf",
        /// A namespace is made or entered.
        NsCreate = 68 => "ns.create",
        /// A capability is used.
        CapUse = 69 => "cap.use",
        /// A user id changes.
        Setuid = 70 => "setuid",
        /// A new kernel is loaded.
        Kexec = 71 => "kexec",
        /// A performance event or probe is opened.
        PerfOpen = 72 => "perf.open",
        /// A group id changes.
        Setgid = 73 => "setgid",
        /// The supplementary groups change.
        Setgroups = 74 => "setgroups",
        /// A system call by name, as it begins.
        Syscall = 80 => "syscall",
        /// The `syscall` act again once its result is known.
        SyscallResult = 81 => "syscall.result",
        /// A name is looked up.
        NetDns = 96 => "net.dns",
        /// The answer comes, and its addresses are remembered: for rules on flows that test the name.
        NetDnsAnswer = 97 => "net.dns.answer",
    }
}

impl Act {
    /// The family whose clauses decide this act.
    pub const fn family(self) -> Family {
        match self {
            Self::Exec => Family::Exec,
            Self::ExecArgs => Family::Started,
            Self::FileRead
            | Self::FileWrite
            | Self::FileCreate
            | Self::FileRename
            | Self::FileLink
            | Self::FileSymlink
            | Self::FileUnlink
            | Self::FileSetattr
            | Self::FileMkdir
            | Self::FileMknod
            | Self::FileTruncate
            | Self::FileMount
            | Self::MmapExec
            | Self::MprotectExec => Family::File,
            Self::NetConnect
            | Self::NetSend
            | Self::NetBind
            | Self::NetListen
            | Self::NetAccept
            | Self::NetSocket
            | Self::NetClose => Family::Net,
            Self::PacketIn | Self::PacketOut | Self::PacketConnect | Self::PacketAccept => {
                Family::Packet
            }
            Self::Ptrace
            | Self::Signal
            | Self::ModuleLoad
            | Self::Bpf
            | Self::NsCreate
            | Self::CapUse
            | Self::Setuid
            | Self::Kexec
            | Self::PerfOpen
            | Self::Setgid
            | Self::Setgroups => Family::System,
            Self::Syscall | Self::SyscallResult => Family::Syscall,
            Self::NetDns | Self::NetDnsAnswer => Family::Dns,
        }
    }

    /// Whether rules name it. The others are what a named act becomes at a later stage, when more is known.
    pub const fn is_named(self) -> bool {
        !matches!(self, Self::ExecArgs | Self::SyscallResult | Self::NetDnsAnswer)
    }

    /// What the act becomes when more is known of it, if anything.
    pub const fn later(self) -> Option<Self> {
        match self {
            Self::Exec => Some(Self::ExecArgs),
            Self::Syscall => Some(Self::SyscallResult),
            _ => None,
        }
    }

    /// This act's bit in a mask of acts. One hook call can be several acts at once (an open for reading and writing).
    pub const fn bit(self) -> u32 {
        1 << (self as u8 & 15)
    }

    /// The value of [`Fact::Act`] when a hook call is this act alone; several at once: [`ACT_COMBINATIONS`].
    pub const fn value(self) -> u32 {
        (self as u8 & 15) as u32
    }
}

/// Masks of acts that one hook call can be, indexed by the value of [`Fact::Act`]: sixteen single acts, then the
/// combinations that hooks produce.
pub const ACT_COMBINATIONS: [u32; 18] = {
    let mut masks = [0; 18];
    let mut bit = 0;
    while bit < 16 {
        masks[bit] = 1 << bit;
        bit += 1;
    }
    masks[READ_AND_WRITE as usize] = Act::FileRead.bit() | Act::FileWrite.bit();
    masks[OUT_AND_CONNECT as usize] = Act::PacketOut.bit() | Act::PacketConnect.bit();
    masks
};

/// The value of [`Fact::Act`] for a file opened for reading and writing.
pub const READ_AND_WRITE: u32 = 16;

/// The value of [`Fact::Act`] for a message that asks for the connection it is sent over: the same two bits.
pub const CONNECT_AND_SEND: u32 = READ_AND_WRITE;

const _: () = assert!(
    ACT_COMBINATIONS[CONNECT_AND_SEND as usize] == Act::NetConnect.bit() | Act::NetSend.bit()
);

/// The value of [`Fact::Act`] for a packet that leaves and asks for a connection.
pub const OUT_AND_CONNECT: u32 = 17;

numbered! {
    /// One thing that is known about an act, and that rules can test. Also the index of its column in a family.
    pub enum Fact {
        /// Which acts this hook call is: an index into [`ACT_COMBINATIONS`]. Direct table.
        Act = 0 => "act",
        /// The path of the object. Automaton.
        Path = 1 => "path",
        /// The last component of that path. Automaton.
        Name = 2 => "name",
        /// Properties of the object: see [`object_flags`]. Direct table.
        ObjectFlags = 3 => "flags",
        /// Permission bits and type of the object (`i_mode`). Ranges.
        ObjectMode = 4 => "mode",
        /// Owner of the object. Ranges.
        ObjectOwner = 5 => "owner",
        /// The program of the acting process, as an executable label. Direct table.
        Exe = 6 => "process.exe",
        /// The program of its parent, as an executable label. Direct table.
        ParentExe = 7 => "process.parent.exe",
        /// `comm` of the acting task. Automaton.
        Comm = 8 => "process.name",
        /// Real user id. Ranges.
        Uid = 9 => "process.uid",
        /// Effective user id. Ranges.
        Euid = 10 => "process.euid",
        /// Real group id. Ranges.
        Gid = 11 => "process.gid",
        /// Properties of the acting process: see [`process_flags`]. Direct table.
        ProcessFlags = 12 => "process.flags",
        /// The remote address. Ranges over IPv4 and over IPv6; mapped IPv6 is looked up as IPv4.
        RemoteIp = 14 => "net.remote.ip",
        /// The local address. Ranges.
        LocalIp = 15 => "net.local.ip",
        /// The remote port. Ranges.
        RemotePort = 16 => "net.remote.port",
        /// The local port. Ranges.
        LocalPort = 17 => "net.local.port",
        /// The IP protocol number. Ranges.
        Protocol = 18 => "net.protocol",
        /// The address family. Ranges.
        AddressFamily = 19 => "net.family",
        /// The socket type. Ranges.
        SocketType = 20 => "net.type",
        /// A second path: the new name of a rename or link, the script's interpreter. Automaton.
        SecondPath = 21 => "second.path",
        /// The act's own number: signal, capability, system call, bpf command, new uid. Ranges.
        Number = 22 => "number",
        /// Argument count of a new program. Ranges.
        ArgCount = 23 => "exec.argc",
        /// Login user id (`loginuid`). Ranges.
        LoginUid = 24 => "process.loginuid",
        /// Magic of the object's file system (`s_magic`). Ranges.
        FsMagic = 25 => "fs",
        /// The program of the act's target process. Direct table over executable labels.
        TargetExe = 26 => "target.exe",
        /// The name looked up. Automaton over its labels, last first, in small letters, joined by `/`: `com/example/www`.
        DnsName = 27 => "dns.name",
        /// Not used: capabilities are [`SetFact::Caps`].
        Reserved = 28 => "reserved",
        /// Device of the object. Ranges.
        Device = 29 => "dev",
        /// Inode number of the object. Ranges.
        Inode = 30 => "ino",
        /// Process id of the acting process. Ranges.
        Pid = 31 => "process.pid",
        /// Working directory of the acting process. Automaton.
        Cwd = 32 => "process.cwd",
        /// Seconds since the acting process started. Ranges.
        StartAge = 33 => "process.start_age",
        /// Effective user id of the act's target process. Ranges.
        TargetUid = 34 => "target.uid",
        /// Process id of the act's target process. Ranges.
        TargetPid = 35 => "target.pid",
        /// First argument of a system call, its low 32 bits. Ranges.
        Argument0 = 36 => "syscall.arg0",
        /// Second argument. Ranges.
        Argument1 = 37 => "syscall.arg1",
        /// Third argument. Ranges.
        Argument2 = 38 => "syscall.arg2",
        /// Fourth argument. Ranges.
        Argument3 = 39 => "syscall.arg3",
        /// Fifth argument. Ranges.
        Argument4 = 40 => "syscall.arg4",
        /// Sixth argument. Ranges.
        Argument5 = 41 => "syscall.arg5",
        /// What a system call answered, its low 32 bits; none if it failed. Ranges.
        Result = 42 => "syscall.result",
        /// The error a system call failed with, 0 if it did not. Ranges.
        Error = 43 => "syscall.error",
        /// Id of the container that the acting process runs in. Automaton. From here on: see [`Fact::PLACES`].
        ContainerId = 44 => "container.id",
        /// The image it was made from, in full. Automaton.
        ContainerImage = 45 => "container.image",
        /// Its name. Automaton.
        ContainerName = 46 => "container.name",
        /// `yes` if it was started with all privileges, else `no`. Automaton.
        Privileged = 47 => "container.privileged",
        /// Namespace of its pod. Automaton.
        PodNamespace = 48 => "k8s.namespace",
        /// Name of its pod. Automaton.
        Pod = 49 => "k8s.pod",
        /// Labels of its pod, `key=value`, each between newlines. Automaton.
        PodLabels = 50 => "k8s.labels",
        /// Service account of its pod. Automaton.
        ServiceAccount = 51 => "k8s.serviceaccount",
        /// Bytes that a flow brought, as many as fit. Ranges.
        BytesIn = 52 => "net.bytes_in",
        /// Bytes that were sent over a flow, as many as fit. Ranges.
        BytesOut = 53 => "net.bytes_out",
        /// Whole seconds that a flow was open. Ranges.
        Duration = 54 => "net.duration",
    }
}

impl Fact {
    /// What is known of the container that a process runs in, in the order of `maps::Workload::fields`: consecutive
    /// numbers.
    pub const PLACES: [Self; 8] = [
        Self::ContainerId,
        Self::ContainerImage,
        Self::ContainerName,
        Self::Privileged,
        Self::PodNamespace,
        Self::Pod,
        Self::PodLabels,
        Self::ServiceAccount,
    ];

    /// All of [`Self::PLACES`], as a mask.
    pub const PLACES_MASK: u64 = ((1 << Self::PLACES.len()) - 1) << Self::PLACES[0] as u64;
}

const _: () = {
    let mut at = 0;
    while at < Fact::PLACES.len() {
        assert!(Fact::PLACES[at] as usize == Fact::PLACES[0] as usize + at);
        at += 1;
    }
};

/// Number of columns in a family directory; facts are numbered below it.
pub const FACTS: usize = 64;

numbered! {
    /// A fact with many values at once. Each distinct predicate on it is one bit of a set; clauses test those bits
    /// after the columns agreed (residual literals).
    pub enum SetFact {
        /// The programs of all ancestors of the acting process.
        Ancestors = 0 => "process.ancestor.exe",
        /// The arguments of the acting process's program, one by one; for [`Act::ExecArgs`] those of the new one.
        Args = 1 => "exec.args",
        /// The effective capabilities of the acting process, by number.
        Caps = 2 => "process.caps",
    }
}

numbered! {
    /// A way of calling the kernel: numbers of system calls mean something only together with it. The value of
    /// [`Fact::Number`] for a system call is its number with the way of calling in the bits from 16.
    pub enum Calling {
        /// 64-bit x86.
        X86_64 = 0 => "x86_64",
        /// 32-bit x86: `int 0x80`, from whatever program.
        I386 = 1 => "i386",
        /// 32-bit pointers on 64-bit x86.
        X32 = 2 => "x32",
        /// 64-bit ARM.
        Aarch64 = 3 => "aarch64",
        /// 32-bit ARM.
        Arm = 4 => "arm",
    }
}

impl Calling {
    /// Shift of the way of calling in [`Fact::Number`].
    pub const SHIFT: u32 = 16;
}

/// Bits of [`Fact::ObjectFlags`].
pub mod object_flags {
    /// A memfd: a shmem file with no name and no link.
    pub const MEMFD: u32 = 1;
    /// No link is left.
    pub const DELETED: u32 = 2;
    /// It lives in the upper layer of an overlay: added after the image was built.
    pub const UPPER_LAYER: u32 = 4;
    /// The set-user-id bit.
    pub const SETUID: u32 = 8;
    /// The set-group-id bit.
    pub const SETGID: u32 = 16;
    /// A script step: another program will interpret it.
    pub const SCRIPT: u32 = 32;
    /// A directory.
    pub const DIRECTORY: u32 = 64;
    /// A block or character device.
    pub const DEVICE: u32 = 128;
    /// Number of bits.
    pub const BITS: u32 = 8;
}

/// Bits of [`Fact::ObjectFlags`] for `ns.create`: the types of namespaces.
pub mod namespace_flags {
    /// Mounts.
    pub const MOUNT: u32 = 1;
    /// Cgroups.
    pub const CGROUP: u32 = 2;
    /// Host and domain name.
    pub const UTS: u32 = 4;
    /// System V and POSIX message queues.
    pub const IPC: u32 = 8;
    /// Users.
    pub const USER: u32 = 16;
    /// Processes.
    pub const PID: u32 = 32;
    /// Networks.
    pub const NET: u32 = 64;
    /// Clocks.
    pub const TIME: u32 = 128;
}

/// Bits of [`Fact::ProcessFlags`].
pub mod process_flags {
    /// One of descriptors 0 to 2 is a socket.
    pub const STDIO_SOCKET: u32 = 1;
    /// It has a controlling terminal.
    pub const TTY: u32 = 2;
    /// It runs in a container: its cgroup or its PID namespace is not the host's.
    pub const CONTAINER: u32 = 4;
    /// Number of bits.
    pub const BITS: u32 = 3;
}

numbered! {
    /// What a rule does, weakest first; also what is to be done about an act.
    pub enum Action {
        /// Nothing.
        Pass = 0 => "pass",
        /// Tell.
        Alert = 1 => "alert",
        /// Refuse and tell.
        Block = 2 => "block",
        /// Refuse where the hook can, kill the process and tell.
        Kill = 3 => "kill",
    }
}

numbered! {
    /// Whether a verdict is acted upon.
    pub enum Mode {
        /// Acted upon.
        Enforce = 0 => "enforce",
        /// Only told: the dry run.
        Audit = 1 => "audit",
    }
}

numbered! {
    /// What could not be known, and so had to be decided by `on_fault`.
    pub enum Fault {
        /// No fault.
        None = 0 => "none",
        /// The path is longer than [`crate::limits::PATH_BYTES`] or could not be built.
        Path = 1 => "path_unresolved",
        /// No scratch area was free on this CPU.
        Work = 2 => "work_exhausted",
        /// The acting process has no row, or one of another generation.
        Process = 3 => "process_unknown",
        /// More clauses matched than the decision loop has steps for.
        Steps = 4 => "steps_exhausted",
        /// Kernel memory could not be read.
        Read = 5 => "kernel_read",
        /// The process table is full.
        ProcessTable = 6 => "process_table_full",
        /// Arguments are longer than [`crate::limits::ARGS_BYTES`] or not readable.
        Args = 7 => "args_unresolved",
        /// The policy changed twice while this decision was being made.
        Generation = 8 => "generation_moved",
        /// The packet could not be parsed.
        Packet = 9 => "packet_malformed",
        /// The record did not fit into the ring: the agent is slow or dead.
        RingFull = 10 => "ring_full",
        /// A lifecycle record was left out to keep room for alerts.
        RingLifecycle = 11 => "ring_lifecycle",
        /// An alert on an act that was let through was left out to keep room for refused ones.
        RingAudit = 12 => "ring_audit",
        /// A decision like others before it was counted and not told: see `maps::Repeats`.
        Repeats = 29 => "repeats",
        /// The table of execs in flight is full.
        ExecTable = 13 => "exec_table_full",
        /// The table of names is full, or an object has more names than it keeps.
        Names = 14 => "names_full",
        /// A table of what packets did is full: they are judged, but not counted, or told again.
        PacketTable = 28 => "packet_table_full",
        /// A message to a name server could not be read: see `engine::dns::Read`.
        DnsMessage = 30 => "dns_malformed",
        /// An answer of a name server could not be read to its end, or an address has more names than are kept.
        DnsAnswer = 31 => "dns_answer_lost",
        /// The acting process runs in a container of which the agent has not told what it needs to be known.
        Workload = 27 => "workload_unknown",
        /// A program's path or a process's ancestors could not be kept: after the next policy nothing is claimed about it.
        Lineage = 26 => "lineage_lost",
        /// The guard's table of processes that run the agent's program is full: one more is not trusted.
        GuardTable = 24 => "guard_table_full",
        /// The guard refused a write to `kernel.ftrace_enabled` through a file that was opened before it came.
        GuardSysctl = 25 => "guard_ftrace_refused",
    }
}

/// Room for fault counters.
pub const FAULTS: usize = 32;

/// One loaded policy. The slot it lives in is its lowest bit. Zero: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

impl Generation {
    /// The image slot of this generation.
    pub const fn slot(self) -> u32 {
        self.0 & 1
    }
}
