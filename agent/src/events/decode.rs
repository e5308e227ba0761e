//! From record bytes to a [`KernelEvent`].

use std::net::Ipv6Addr;

use interdict_abi::{
    event::{Head, VERSION, kind},
    guard::GuardAct,
    ids::{Action, Family, Fault, Generation},
    limits::RULES_TOLD,
};

use super::{
    Actor, Acts, Attempt, Decision, Exec, Exit, Flow, Fork, KernelEvent, Object, RecordFlags,
};

/// Why a record was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its head, or than its head says.
    #[error("record of {len_bytes} bytes is shorter than it says")]
    Short {
        /// Bytes there are.
        len_bytes: usize,
    },
    /// Another layout.
    #[error("record layout version {raw}, this agent reads {VERSION}")]
    UnknownVersion {
        /// The version.
        raw: u16,
    },
    /// A kind this agent does not know.
    #[error("unknown record kind {raw}")]
    UnknownKind {
        /// The kind.
        raw: u16,
    },
    /// A hook family this agent does not know.
    #[error("unknown hook family {raw}")]
    UnknownFamily {
        /// The family.
        raw: u8,
    },
    /// A verdict this agent does not know.
    #[error("unknown verdict {raw}")]
    UnknownVerdict {
        /// The verdict.
        raw: u8,
    },
    /// A fault this agent does not know.
    #[error("unknown fault {raw}")]
    UnknownFault {
        /// The fault.
        raw: u8,
    },
    /// A guarded act this agent does not know.
    #[error("unknown guarded act {raw}")]
    UnknownGuardAct {
        /// The act.
        raw: u32,
    },
    /// More rules than a record can name.
    #[error("record names {told} rules, there is room for {RULES_TOLD}")]
    TooManyRules {
        /// How many it says.
        told: u16,
    },
}

impl DecodeError {
    /// The reason under which it is counted.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Short { .. } => "record_short",
            Self::UnknownVersion { .. } => "record_version_unknown",
            Self::UnknownKind { .. } => "record_kind_unknown",
            Self::UnknownFamily { .. } => "record_family_unknown",
            Self::UnknownVerdict { .. } => "record_verdict_unknown",
            Self::UnknownFault { .. } => "record_fault_unknown",
            Self::UnknownGuardAct { .. } => "record_guard_act_unknown",
            Self::TooManyRules { .. } => "record_rules_overflow",
        }
    }
}

/// Decodes one record. Bytes past what the head announces are ignored: ring reservations may be larger.
pub fn decode(record: &[u8]) -> Result<KernelEvent<'_>, DecodeError> {
    let (head, path, extra) =
        Head::split(record).ok_or(DecodeError::Short { len_bytes: record.len() })?;
    if head.version != VERSION {
        return Err(DecodeError::UnknownVersion { raw: head.version });
    }
    let time_ns = head.time_ns;
    let actor = actor(&head);
    let flags = RecordFlags(head.flags);
    match head.kind {
        kind::DECISION => decision(&head, path, extra).map(KernelEvent::Decision),
        kind::FORK => Ok(KernelEvent::Fork(Fork { time_ns, actor, child: head.target })),
        kind::EXEC => Ok(KernelEvent::Exec(Exec { time_ns, actor, path, args: extra, flags })),
        kind::EXIT => Ok(KernelEvent::Exit(Exit { time_ns, actor, code: head.number })),
        kind::GUARD => attempt(&head, path).map(KernelEvent::Guard),
        raw => Err(DecodeError::UnknownKind { raw }),
    }
}

fn actor(head: &Head) -> Actor {
    Actor {
        pid: head.pid,
        tid: head.tid,
        parent: head.parent,
        uid: head.uid,
        gid: head.gid,
        euid: head.euid,
        start_ns: head.start_ns,
        cgroup: head.cgroup,
        comm: head.comm,
    }
}

fn decision<'a>(head: &Head, path: &'a [u8], extra: &'a [u8]) -> Result<Decision<'a>, DecodeError> {
    let family = Family::try_from(head.family).map_err(|raw| DecodeError::UnknownFamily { raw })?;
    let verdict = |raw| Action::try_from(raw).map_err(|raw| DecodeError::UnknownVerdict { raw });
    let told = usize::from(head.clauses_told);
    if told > RULES_TOLD {
        return Err(DecodeError::TooManyRules { told: head.clauses_told });
    }
    Ok(Decision {
        time_ns: head.time_ns,
        generation: Generation(head.generation),
        verdict: verdict(head.verdict)?,
        would: verdict(head.would)?,
        fault: Fault::try_from(head.fault).map_err(|raw| DecodeError::UnknownFault { raw })?,
        acts: Acts { family, mask: head.acts },
        errno: head.errno,
        actor: actor(head),
        target: head.target,
        number: head.number,
        object: Object {
            inode: head.inode,
            device: head.device,
            mode: head.mode,
            flags: head.object_flags,
            path,
        },
        flow: Flow {
            remote_ip: Ipv6Addr::from(head.remote_ip),
            remote_port: head.remote_port,
            local_ip: Ipv6Addr::from(head.local_ip),
            local_port: head.local_port,
            protocol: head.protocol,
            address_family: head.address_family,
        },
        second: extra,
        flags: RecordFlags(head.flags),
        clauses: head.clauses,
        clauses_told: told,
    })
}

fn attempt<'a>(head: &Head, name: &'a [u8]) -> Result<Attempt<'a>, DecodeError> {
    let unknown = DecodeError::UnknownGuardAct { raw: head.acts };
    let act = u8::try_from(head.acts).map_err(|_large| unknown)?;
    Ok(Attempt {
        time_ns: head.time_ns,
        actor: actor(head),
        act: GuardAct::try_from(act).map_err(|_unnamed| unknown)?,
        number: head.number,
        target: head.target,
        guarded: (head.device, head.inode),
        name,
    })
}
