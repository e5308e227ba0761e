//! What the kernel programs of this version decide: the one table to edit when a hook or a fact lands.
//!
//! A rule on anything that is not here is refused with a diagnostic, because a rule that is accepted and does nothing
//! is worse than one that is refused.

use interdict_abi::ids::{Act, Fact, SetFact, object_flags, process_flags};

/// One act that is decided in the kernel, and the facts that are known for it there.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    /// The act.
    pub act: Act,
    /// Whether the act can still be refused (or, for a packet, dropped).
    pub refusable: bool,
    /// Whether there is a process to kill.
    pub killable: bool,
    /// Facts with one value.
    pub facts: &'static [Fact],
    /// Facts with many values.
    pub sets: &'static [SetFact],
    /// Known bits of `ObjectFlags`.
    pub object_flags: u32,
    /// Known bits of `ProcessFlags`.
    pub process_flags: u32,
    /// Values `AddressFamily` has when the act is decided: acts of other families are not looked at. Empty: any.
    pub address_families: &'static [u32],
}

/// Several lists of facts as one.
macro_rules! facts {
    ($first:expr, $second:expr) => {
        &joined::<{ $first.len() + $second.len() }>(&$first, &$second)
    };
}

/// What is known of a process until it is gone: also while it exits, when its sockets are closed.
const LASTING: [Fact; 10] = [
    Fact::Exe,
    Fact::ParentExe,
    Fact::Comm,
    Fact::Uid,
    Fact::Euid,
    Fact::Gid,
    Fact::ProcessFlags,
    Fact::LoginUid,
    Fact::Pid,
    Fact::StartAge,
];

/// What every other act of a process knows of it.
const PROCESS: [Fact; 19] = *facts!(*facts!(LASTING, [Fact::Cwd]), Fact::PLACES);

/// Facts with many values that every act of a process knows of it.
const PROCESS_SETS: [SetFact; 3] = [SetFact::Ancestors, SetFact::Args, SetFact::Caps];

/// The bits of `ProcessFlags` that every act of a process knows.
const PROCESS_FLAGS: u32 =
    process_flags::CONTAINER | process_flags::TTY | process_flags::STDIO_SOCKET;

const OBJECT: [Fact; 6] =
    [Fact::Path, Fact::Name, Fact::ObjectFlags, Fact::ObjectMode, Fact::ObjectOwner, Fact::FsMagic];

/// What is known of an act with a number of its own.
const NUMBERED: [Fact; 1] = [Fact::Number];

/// What is known of an act with a number of its own on another process.
const AIMED: [Fact; 4] = [Fact::Number, Fact::TargetExe, Fact::TargetUid, Fact::TargetPid];

/// What is known of a file that the kernel loads.
const LOADED: [Fact; 5] =
    [Fact::Path, Fact::ObjectFlags, Fact::ObjectMode, Fact::ObjectOwner, Fact::FsMagic];

/// What gets another name.
const MOVED: [Fact; 7] = [
    Fact::Path,
    Fact::SecondPath,
    Fact::Name,
    Fact::ObjectFlags,
    Fact::ObjectMode,
    Fact::ObjectOwner,
    Fact::FsMagic,
];

/// What does not exist yet.
const NEW: [Fact; 2] = [Fact::Path, Fact::Name];

/// What is known of a system call as it begins.
const CALL: [Fact; 7] = [
    Fact::Number,
    Fact::Argument0,
    Fact::Argument1,
    Fact::Argument2,
    Fact::Argument3,
    Fact::Argument4,
    Fact::Argument5,
];

/// What is known of a system call when it is over.
const ANSWERED: [Fact; 9] = [
    Fact::Number,
    Fact::Argument0,
    Fact::Argument1,
    Fact::Argument2,
    Fact::Argument3,
    Fact::Argument4,
    Fact::Argument5,
    Fact::Result,
    Fact::Error,
];

const NAMED_SOCKET: [Fact; 6] = [
    Fact::RemoteIp,
    Fact::RemotePort,
    Fact::Protocol,
    Fact::AddressFamily,
    Fact::SocketType,
    Fact::DnsName,
];

const OWN: [Fact; 5] =
    [Fact::LocalIp, Fact::LocalPort, Fact::Protocol, Fact::AddressFamily, Fact::SocketType];

/// What is known of a flow that is over.
const CLOSED: [Fact; 10] = [
    Fact::RemoteIp,
    Fact::RemotePort,
    Fact::LocalIp,
    Fact::LocalPort,
    Fact::Protocol,
    Fact::AddressFamily,
    Fact::SocketType,
    Fact::BytesIn,
    Fact::BytesOut,
    Fact::Duration,
];

const MADE: [Fact; 3] = [Fact::Protocol, Fact::AddressFamily, Fact::SocketType];

const PACKET: [Fact; 5] =
    [Fact::RemoteIp, Fact::LocalIp, Fact::RemotePort, Fact::LocalPort, Fact::Protocol];

const fn joined<const N: usize>(first: &[Fact], second: &[Fact]) -> [Fact; N] {
    assert!(first.len() + second.len() == N);
    let mut all = [Fact::Act; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}

const EXEC_FLAGS: u32 = object_flags::MEMFD
    | object_flags::DELETED
    | object_flags::UPPER_LAYER
    | object_flags::SETUID
    | object_flags::SETGID
    | object_flags::SCRIPT;

const FILE_FLAGS: u32 = object_flags::SETUID | object_flags::SETGID;

/// The acts decided by this version.
pub const DECIDED: &[Decided] = &[
    done_by_process(Act::Exec, facts!(OBJECT, PROCESS), EXEC_FLAGS),
    // By now the process is the new program: its own name, program and effective user are those of what was started,
    // not of who started it, so they are not offered. Parent and ancestors are the same before and after.
    Decided {
        act: Act::ExecArgs,
        refusable: false,
        killable: true,
        facts: facts!(
            [
                Fact::Path,
                Fact::ParentExe,
                Fact::Uid,
                Fact::Gid,
                Fact::ProcessFlags,
                Fact::LoginUid,
                Fact::Pid,
                Fact::Cwd,
                Fact::StartAge,
            ],
            Fact::PLACES
        ),
        sets: &[SetFact::Ancestors, SetFact::Args],
        object_flags: 0,
        process_flags: PROCESS_FLAGS,
        address_families: &[],
    },
    done_by_process(Act::FileRead, facts!(OBJECT, PROCESS), FILE_FLAGS),
    done_by_process(Act::FileWrite, facts!(OBJECT, PROCESS), FILE_FLAGS),
    done_by_process(Act::FileCreate, facts!(NEW, PROCESS), 0),
    done_by_process(Act::FileRename, facts!(MOVED, PROCESS), FILE_FLAGS),
    done_by_process(Act::FileLink, facts!(MOVED, PROCESS), FILE_FLAGS),
    done_by_process(Act::FileSymlink, facts!(NEW, PROCESS), 0),
    done_by_process(Act::FileUnlink, facts!(OBJECT, PROCESS), FILE_FLAGS),
    done_by_process(Act::FileSetattr, facts!(OBJECT, PROCESS), FILE_FLAGS),
    done_by_process(Act::FileMkdir, facts!(NEW, PROCESS), 0),
    done_by_process(Act::FileMknod, facts!(NEW, PROCESS), 0),
    done_by_process(Act::FileTruncate, facts!(OBJECT, PROCESS), FILE_FLAGS),
    done_by_process(Act::FileMount, facts!(OBJECT, PROCESS), FILE_FLAGS),
    done_by_process(Act::MmapExec, facts!(OBJECT, PROCESS), FILE_FLAGS),
    done_by_process(Act::MprotectExec, facts!(OBJECT, PROCESS), FILE_FLAGS),
    socket(Act::NetConnect, facts!(NAMED_SOCKET, PROCESS), &[2, 10]),
    socket(Act::NetSend, facts!(NAMED_SOCKET, PROCESS), &[2, 10]),
    socket(Act::NetBind, facts!(OWN, PROCESS), &[2, 10]),
    socket(Act::NetListen, facts!(OWN, PROCESS), &[2, 10]),
    // Whose connection it is, is not known yet: that is for `packet.accept`.
    socket(Act::NetAccept, facts!(OWN, PROCESS), &[2, 10]),
    // It has happened. A process that exits has no folder, terminal or descriptors any more when its sockets are closed, and
    // its ancestors are forgotten.
    Decided {
        refusable: false,
        facts: facts!(CLOSED, LASTING),
        sets: &[SetFact::Caps],
        process_flags: process_flags::CONTAINER,
        ..socket(Act::NetClose, &[], &[2, 10])
    },
    socket(Act::NetSocket, facts!(MADE, PROCESS), &[]),
    packet(Act::PacketIn),
    packet(Act::PacketOut),
    packet(Act::PacketConnect),
    packet(Act::PacketAccept),
    Decided { facts: facts!([Fact::DnsName], PACKET), ..packet(Act::NetDns) },
    // Tracepoints see a call and cannot stop it.
    Decided {
        act: Act::Syscall,
        refusable: false,
        killable: true,
        facts: facts!(CALL, PROCESS),
        sets: &PROCESS_SETS,
        object_flags: 0,
        process_flags: PROCESS_FLAGS,
        address_families: &[],
    },
    Decided {
        act: Act::SyscallResult,
        refusable: false,
        killable: true,
        facts: facts!(ANSWERED, PROCESS),
        sets: &PROCESS_SETS,
        object_flags: 0,
        process_flags: PROCESS_FLAGS,
        address_families: &[],
    },
    done_by_process(Act::Ptrace, facts!(AIMED, PROCESS), 0),
    done_by_process(Act::Signal, facts!(AIMED, PROCESS), 0),
    done_by_process(Act::ModuleLoad, facts!(LOADED, PROCESS), FILE_FLAGS),
    done_by_process(Act::Kexec, facts!(LOADED, PROCESS), FILE_FLAGS),
    done_by_process(Act::Bpf, facts!(NUMBERED, PROCESS), 0),
    done_by_process(Act::PerfOpen, facts!(NUMBERED, PROCESS), 0),
    done_by_process(Act::NsCreate, facts!([Fact::Number, Fact::ObjectFlags], PROCESS), 0),
    done_by_process(Act::CapUse, facts!(NUMBERED, PROCESS), 0),
    done_by_process(Act::Setuid, facts!(NUMBERED, PROCESS), 0),
    done_by_process(Act::Setgid, facts!(NUMBERED, PROCESS), 0),
    done_by_process(Act::Setgroups, &PROCESS, 0),
];

/// An act that can be refused, done by a process of which everything is known.
const fn done_by_process(act: Act, facts: &'static [Fact], object_flags: u32) -> Decided {
    Decided {
        act,
        refusable: true,
        killable: true,
        facts,
        sets: &PROCESS_SETS,
        object_flags,
        process_flags: PROCESS_FLAGS,
        address_families: &[],
    }
}

const fn socket(act: Act, facts: &'static [Fact], address_families: &'static [u32]) -> Decided {
    Decided { address_families, ..done_by_process(act, facts, 0) }
}

const fn packet(act: Act) -> Decided {
    Decided {
        act,
        refusable: true,
        killable: false,
        facts: &PACKET,
        sets: &[],
        object_flags: 0,
        process_flags: 0,
        address_families: &[],
    }
}

/// The row of an act, if the kernel decides it.
pub fn decided(act: Act) -> Option<&'static Decided> {
    DECIDED.iter().find(|row| row.act == act)
}

impl Decided {
    /// Whether a fact is known for the act.
    pub fn knows(&self, fact: Fact) -> bool {
        self.facts.contains(&fact)
    }

    /// Whether a fact with many values is known for the act.
    pub fn knows_set(&self, fact: SetFact) -> bool {
        self.sets.contains(&fact)
    }
}
