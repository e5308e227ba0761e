//! Every kernel program, where it is attached and which acts it decides: the one table to extend for a new hook.

use interdict_abi::ids::{Act, Action, Family};

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// A BPF LSM hook, by the name in `lsm_hook_defs.h`.
    Lsm(&'static str),
    /// Where a kernel function begins.
    Entry(&'static str),
    /// Where a kernel function ends.
    Exit(&'static str),
    /// A raw tracepoint.
    Tracepoint(&'static str),
    /// The cgroup given in the configuration, the root one by default: calls that name an address.
    Cgroup,
    /// The same cgroup: packets that leave its sockets.
    CgroupOut,
    /// The same cgroup: packets that arrive at its sockets.
    CgroupIn,
    /// The network interfaces given in the configuration.
    Xdp,
    /// Sysctls of the processes in the cgroup given in the configuration, the root one by default.
    Sysctl,
}

/// When a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always: it keeps processes up to date.
    Always,
    /// When a loaded rule is about one of its acts and the host has BPF LSM.
    WithLsm,
    /// When a loaded rule is about one of its acts and the host has no BPF LSM.
    WithoutLsm,
    /// When a loaded rule is about one of its acts.
    OnDemand,
    /// While the agent teaches names, on a host with BPF LSM.
    Teaching,
    /// When the agent guards itself, whatever the rules; needs BPF LSM.
    Guard,
}

/// One kernel program.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Its name in the object.
    pub program: &'static str,
    /// Where it goes.
    pub attach: Attach,
    /// When it goes there.
    pub when: When,
    /// The acts it decides.
    pub acts: &'static [Act],
    /// The strongest it can do.
    pub strongest: Strongest,
}

/// The strongest a hook can do about an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strongest {
    /// Refuse it before it happens.
    Refuse,
    /// Kill the process before its next instruction.
    Kill,
    /// Nothing: it only keeps facts.
    Facts,
}

/// Acts that are judged by paths: objects are remembered under them.
const BY_PATH: &[Act] = &[
    Act::Exec,
    Act::MmapExec,
    Act::MprotectExec,
    Act::FileRead,
    Act::FileWrite,
    Act::FileCreate,
    Act::FileRename,
    Act::FileLink,
    Act::FileSymlink,
    Act::FileUnlink,
    Act::FileSetattr,
    Act::FileMkdir,
    Act::FileMknod,
    Act::FileTruncate,
    Act::FileMount,
];

/// Acts on files that system calls are judged for where there is no BPF LSM: those of [`BY_PATH`] but the ways in which a
/// file is executed, which are its first three.
const CALLED: &[Act] = BY_PATH.split_at(3).1;

/// The hook that sees the same acts on kernels that lack the hook of `program`; `None` if there is no such kernel among
/// those that are supported.
pub fn twin(program: &str) -> Option<&'static str> {
    // Linux 6.2 split truncation through a descriptor off, and lists of access.
    match program {
        "file_truncate" => Some("path_truncate"),
        "inode_set_acl" => Some("inode_setxattr"),
        "inode_remove_acl" => Some("inode_removexattr"),
        _ => None,
    }
}

/// All kernel programs.
pub const HOOKS: &[Hook] = &[
    Hook {
        program: "process_fork",
        attach: Attach::Tracepoint("sched_process_fork"),
        when: When::Always,
        acts: &[],
        strongest: Strongest::Facts,
    },
    Hook {
        program: "process_exec",
        attach: Attach::Tracepoint("sched_process_exec"),
        when: When::Always,
        acts: &[Act::ExecArgs],
        strongest: Strongest::Kill,
    },
    Hook {
        program: "process_exit",
        attach: Attach::Tracepoint("sched_process_exit"),
        when: When::Always,
        acts: &[],
        strongest: Strongest::Facts,
    },
    Hook {
        program: "bprm_check_security",
        attach: Attach::Lsm("bprm_check_security"),
        when: When::WithLsm,
        acts: &[Act::Exec],
        strongest: Strongest::Refuse,
    },
    // Before whatever believes in labels because nothing was moved.
    moves("move_begins", Attach::Entry("__d_move")),
    moves("move_ends", Attach::Exit("__d_move")),
    Hook {
        program: "file_open",
        attach: Attach::Lsm("file_open"),
        when: When::WithLsm,
        acts: &[Act::FileRead, Act::FileWrite],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "file_receive",
        attach: Attach::Lsm("file_receive"),
        when: When::WithLsm,
        acts: &[Act::FileRead, Act::FileWrite],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "file_permission",
        attach: Attach::Lsm("file_permission"),
        when: When::WithLsm,
        acts: &[Act::FileRead, Act::FileWrite],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "mmap_file",
        attach: Attach::Lsm("mmap_file"),
        when: When::WithLsm,
        acts: &[Act::FileRead, Act::FileWrite, Act::MmapExec],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "file_mprotect",
        attach: Attach::Lsm("file_mprotect"),
        when: When::WithLsm,
        acts: &[Act::MprotectExec],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "path_mknod",
        attach: Attach::Lsm("path_mknod"),
        when: When::WithLsm,
        acts: &[Act::FileCreate, Act::FileMknod],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "path_mkdir",
        attach: Attach::Lsm("path_mkdir"),
        when: When::WithLsm,
        acts: &[Act::FileMkdir],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "path_symlink",
        attach: Attach::Lsm("path_symlink"),
        when: When::WithLsm,
        acts: &[Act::FileSymlink],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "path_unlink",
        attach: Attach::Lsm("path_unlink"),
        when: When::WithLsm,
        acts: &[Act::FileUnlink],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "path_rmdir",
        attach: Attach::Lsm("path_rmdir"),
        when: When::WithLsm,
        acts: &[Act::FileUnlink],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "path_link",
        attach: Attach::Lsm("path_link"),
        when: When::WithLsm,
        acts: &[Act::FileLink],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "path_rename",
        attach: Attach::Lsm("path_rename"),
        when: When::WithLsm,
        acts: &[Act::FileRename],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "path_truncate",
        attach: Attach::Lsm("path_truncate"),
        when: When::WithLsm,
        acts: &[Act::FileTruncate],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "file_truncate",
        attach: Attach::Lsm("file_truncate"),
        when: When::WithLsm,
        acts: &[Act::FileTruncate],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "path_chmod",
        attach: Attach::Lsm("path_chmod"),
        when: When::WithLsm,
        acts: &[Act::FileSetattr],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "path_chown",
        attach: Attach::Lsm("path_chown"),
        when: When::WithLsm,
        acts: &[Act::FileSetattr],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "sb_mount",
        attach: Attach::Lsm("sb_mount"),
        when: When::WithLsm,
        acts: &[Act::FileMount],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "move_mount",
        attach: Attach::Lsm("move_mount"),
        when: When::WithLsm,
        acts: &[Act::FileMount],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "sb_umount",
        attach: Attach::Lsm("sb_umount"),
        when: When::WithLsm,
        acts: &[Act::FileMount],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "inode_free_security",
        attach: Attach::Lsm("inode_free_security"),
        when: When::WithLsm,
        acts: BY_PATH,
        strongest: Strongest::Facts,
    },
    Hook {
        program: "inode_rename",
        attach: Attach::Lsm("inode_rename"),
        when: When::WithLsm,
        acts: BY_PATH,
        strongest: Strongest::Facts,
    },
    Hook {
        program: "inode_link",
        attach: Attach::Lsm("inode_link"),
        when: When::WithLsm,
        acts: BY_PATH,
        strongest: Strongest::Facts,
    },
    Hook {
        program: "inode_getattr",
        attach: Attach::Lsm("inode_getattr"),
        when: When::Teaching,
        acts: BY_PATH,
        strongest: Strongest::Facts,
    },
    Hook {
        program: "socket_connect",
        attach: Attach::Lsm("socket_connect"),
        when: When::WithLsm,
        acts: &[Act::NetConnect],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "syscall_begins",
        attach: Attach::Tracepoint("sys_enter"),
        when: When::OnDemand,
        acts: &[Act::Syscall],
        strongest: Strongest::Kill,
    },
    Hook {
        program: "syscall_ends",
        attach: Attach::Tracepoint("sys_exit"),
        when: When::OnDemand,
        acts: &[Act::SyscallResult],
        strongest: Strongest::Kill,
    },
    lsm("inode_setattr", "inode_setattr", &[Act::FileSetattr]),
    lsm("inode_setxattr", "inode_setxattr", &[Act::FileSetattr]),
    lsm("inode_removexattr", "inode_removexattr", &[Act::FileSetattr]),
    lsm("inode_set_acl", "inode_set_acl", &[Act::FileSetattr]),
    lsm("inode_remove_acl", "inode_remove_acl", &[Act::FileSetattr]),
    lsm("ptrace_access_check", "ptrace_access_check", &[Act::Ptrace]),
    lsm("ptrace_traceme", "ptrace_traceme", &[Act::Ptrace]),
    lsm("task_kill", "task_kill", &[Act::Signal]),
    lsm("file_send_sigiotask", "file_send_sigiotask", &[Act::Signal]),
    lsm("kernel_read_file", "kernel_read_file", &[Act::ModuleLoad, Act::Kexec]),
    lsm("kernel_load_data", "kernel_load_data", &[Act::ModuleLoad, Act::Kexec]),
    lsm("system_bpf", "bpf", &[Act::Bpf]),
    lsm("perf_event_open", "perf_event_open", &[Act::PerfOpen]),
    lsm("task_alloc", "task_alloc", &[Act::NsCreate]),
    lsm("userns_create", "userns_create", &[Act::NsCreate]),
    lsm("capable", "capable", &[Act::CapUse, Act::NsCreate]),
    lsm("task_fix_setuid", "task_fix_setuid", &[Act::Setuid]),
    lsm("task_fix_setgid", "task_fix_setgid", &[Act::Setgid]),
    lsm("task_fix_setgroups", "task_fix_setgroups", &[Act::Setgroups]),
    Hook {
        program: "socket_sendmsg",
        attach: Attach::Lsm("socket_sendmsg"),
        when: When::WithLsm,
        // Fast open connects by sending.
        acts: &[Act::NetSend, Act::NetConnect],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "socket_create",
        attach: Attach::Lsm("socket_create"),
        when: When::WithLsm,
        acts: &[Act::NetSocket],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "socket_bind",
        attach: Attach::Lsm("socket_bind"),
        when: When::WithLsm,
        acts: &[Act::NetBind],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "socket_listen",
        attach: Attach::Lsm("socket_listen"),
        when: When::WithLsm,
        acts: &[Act::NetListen],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "socket_accept",
        attach: Attach::Lsm("socket_accept"),
        when: When::WithLsm,
        acts: &[Act::NetAccept],
        strongest: Strongest::Refuse,
    },
    counts("flow_begins", Attach::Entry("tcp_set_state")),
    counts("udp_sent", Attach::Exit("udp_sendmsg")),
    counts("udp_sent_v6", Attach::Exit("udpv6_sendmsg")),
    counts("udp_received", Attach::Exit("udp_recvmsg")),
    counts("udp_received_v6", Attach::Exit("udpv6_recvmsg")),
    // Behind those that count. Kernels that refuse LSM programs refuse these too.
    Hook {
        program: "socket_close",
        attach: Attach::Entry("inet_release"),
        when: When::WithLsm,
        acts: &[Act::NetClose],
        strongest: Strongest::Kill,
    },
    Hook {
        program: "file_called",
        attach: Attach::Tracepoint("sys_exit"),
        when: When::WithoutLsm,
        acts: CALLED,
        strongest: Strongest::Kill,
    },
    Hook {
        program: "connect4",
        attach: Attach::Cgroup,
        when: When::WithoutLsm,
        acts: &[Act::NetConnect],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "connect6",
        attach: Attach::Cgroup,
        when: When::WithoutLsm,
        acts: &[Act::NetConnect],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "sendmsg4",
        attach: Attach::Cgroup,
        when: When::WithoutLsm,
        acts: &[Act::NetSend],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "sendmsg6",
        attach: Attach::Cgroup,
        when: When::WithoutLsm,
        acts: &[Act::NetSend],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "bind4",
        attach: Attach::Cgroup,
        when: When::WithoutLsm,
        acts: &[Act::NetBind],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "bind6",
        attach: Attach::Cgroup,
        when: When::WithoutLsm,
        acts: &[Act::NetBind],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "packet_out",
        attach: Attach::CgroupOut,
        when: When::OnDemand,
        acts: &[Act::PacketOut, Act::PacketConnect],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "packet_accept",
        attach: Attach::CgroupIn,
        when: When::OnDemand,
        acts: &[Act::PacketAccept],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "dns_out",
        attach: Attach::CgroupOut,
        when: When::OnDemand,
        acts: &[Act::NetDns, Act::NetDnsAnswer],
        strongest: Strongest::Refuse,
    },
    Hook {
        program: "dns_in",
        attach: Attach::CgroupIn,
        when: When::OnDemand,
        acts: &[Act::NetDnsAnswer],
        strongest: Strongest::Facts,
    },
    Hook {
        program: "packet_in",
        attach: Attach::Xdp,
        when: When::OnDemand,
        acts: &[Act::PacketIn],
        strongest: Strongest::Refuse,
    },
    guard("guard_exit", Attach::Tracepoint("sched_process_exit")),
    guard("guard_sysctl", Attach::Sysctl),
    guard("guard_exec", Attach::Lsm("bprm_committed_creds")),
    guard("guard_mmap", Attach::Lsm("mmap_file")),
    guard("guard_ask", Attach::Lsm("task_prctl")),
    guard("guard_signal", Attach::Lsm("task_kill")),
    guard("guard_attach", Attach::Lsm("ptrace_access_check")),
    guard("guard_limit", Attach::Lsm("task_setrlimit")),
    guard("guard_schedule", Attach::Lsm("task_setscheduler")),
    guard("guard_nice", Attach::Lsm("task_setnice")),
    guard("guard_open", Attach::Lsm("file_open")),
    guard("guard_truncate", Attach::Lsm("path_truncate")),
    guard("guard_chmod", Attach::Lsm("path_chmod")),
    guard("guard_chown", Attach::Lsm("path_chown")),
    guard("guard_create", Attach::Lsm("inode_create")),
    guard("guard_mkdir", Attach::Lsm("inode_mkdir")),
    guard("guard_mknod", Attach::Lsm("inode_mknod")),
    guard("guard_symlink", Attach::Lsm("inode_symlink")),
    guard("guard_unlink", Attach::Lsm("inode_unlink")),
    guard("guard_rmdir", Attach::Lsm("inode_rmdir")),
    guard("guard_rename", Attach::Lsm("inode_rename")),
    guard("guard_link", Attach::Lsm("inode_link")),
    guard("guard_mount", Attach::Lsm("sb_mount")),
    guard("guard_move", Attach::Lsm("move_mount")),
    guard("guard_umount", Attach::Lsm("sb_umount")),
    guard("guard_pivot", Attach::Lsm("sb_pivotroot")),
    guard("guard_write", Attach::Lsm("file_permission")),
    guard("guard_moved", Attach::Tracepoint("cgroup_attach_task")),
    guard("guard_bpf", Attach::Lsm("bpf")),
    guard("guard_map", Attach::Lsm("bpf_map")),
    guard("guard_program", Attach::Lsm("bpf_prog")),
];

/// A program on an LSM hook that refuses acts.
const fn lsm(program: &'static str, hook: &'static str, acts: &'static [Act]) -> Hook {
    Hook {
        program,
        attach: Attach::Lsm(hook),
        when: When::WithLsm,
        acts,
        strongest: Strongest::Refuse,
    }
}

/// A program that tells `file_open` of directories that move: see `ebpf/src/hooks/file/moves.rs`.
const fn moves(program: &'static str, attach: Attach) -> Hook {
    Hook {
        program,
        attach,
        when: When::WithLsm,
        acts: &[Act::FileRead, Act::FileWrite],
        strongest: Strongest::Facts,
    }
}

/// A program that sums up what flows carry, for those that end.
const fn counts(program: &'static str, attach: Attach) -> Hook {
    Hook {
        program,
        attach,
        when: When::WithLsm,
        acts: &[Act::NetClose],
        strongest: Strongest::Facts,
    }
}

/// A program that guards the agent: see `ebpf/src/hooks/guard`.
const fn guard(program: &'static str, attach: Attach) -> Hook {
    Hook { program, attach, when: When::Guard, acts: &[], strongest: Strongest::Refuse }
}

/// What really happens on a host when a rule with this action matches this act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The act is refused before it happens.
    Refused,
    /// The process is killed: the act may have begun, the program has not run on.
    Killed,
    /// The process is killed once the act has happened, and it is told by the file that was opened or the path that the
    /// caller wrote.
    KilledAfter,
    /// It is told, by the file that was opened or the path that the caller wrote.
    ToldAfter,
    /// Only in some of the ways there are: the rest is not seen on this host.
    Partly,
    /// It is told.
    Told,
    /// Nothing: no hook on this host sees the act.
    Unseen,
}

/// What `action` on `act` comes to on a host with or without BPF LSM.
pub fn effect(act: Act, action: Action, lsm: bool) -> Effect {
    let refusing = HOOKS.iter().any(|hook| {
        hook.acts.contains(&act) && usable(hook.when, lsm) && hook.strongest == Strongest::Refuse
    });
    let killing = usable_kill(act, lsm);
    if !lsm && CALLED.contains(&act) {
        return match action {
            Action::Pass | Action::Alert => Effect::ToldAfter,
            Action::Block | Action::Kill => Effect::KilledAfter,
        };
    }
    match (action, refusing, killing) {
        (Action::Pass, ..) => Effect::Told,
        (Action::Alert, false, false) => Effect::Unseen,
        (Action::Alert, ..) => Effect::Told,
        (Action::Block, true, _) => Effect::Refused,
        (Action::Kill, true, _) => Effect::Killed,
        (Action::Block | Action::Kill, false, true) => Effect::Killed,
        (Action::Block | Action::Kill, false, false) => Effect::Unseen,
    }
}

/// Whether a hook of this kind is used on such a host.
pub const fn usable(when: When, lsm: bool) -> bool {
    match when {
        When::Always | When::OnDemand => true,
        When::WithLsm | When::Guard | When::Teaching => lsm,
        When::WithoutLsm => !lsm,
    }
}

/// Without LSM, execs are judged again once they happened.
fn usable_kill(act: Act, lsm: bool) -> bool {
    matches!(act, Act::ExecArgs | Act::Syscall | Act::SyscallResult)
        || (act == Act::NetClose && lsm)
        || (act == Act::Exec && !lsm)
}

/// The families that a hook decides.
pub fn families(hook: &Hook) -> impl Iterator<Item = Family> + use<'_> {
    hook.acts.iter().map(|act| act.family())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_on_files_come_to_less_without_bpf_lsm_and_are_called_so() {
        for act in CALLED {
            assert_eq!(effect(*act, Action::Block, true), Effect::Refused, "{act:?}");
            assert_eq!(effect(*act, Action::Block, false), Effect::KilledAfter, "{act:?}");
            assert_eq!(effect(*act, Action::Alert, false), Effect::ToldAfter, "{act:?}");
        }
        for act in [Act::MmapExec, Act::MprotectExec] {
            assert_eq!(effect(act, Action::Block, false), Effect::Unseen, "{act:?}");
        }
    }
}
