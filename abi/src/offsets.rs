//! Kernel fields whose offsets the loader resolves from the running kernel's BTF.
//!
//! The kernel object has one read-only global per entry, named as [`Field::global`]; the loader overwrites each before
//! the object is loaded, so the verifier sees constants. A field that is missing stops the load, by name.

/// One kernel field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name of the read-only global in the object.
    pub global: &'static str,
    /// The struct, as BTF names it.
    pub structure: &'static str,
    /// Path of members, dots between; anonymous structs and unions are passed through.
    pub member: &'static str,
}

macro_rules! fields {
    ($($global:literal: $structure:literal . $member:literal,)+) => {
        /// All fields, in the order of their globals' names.
        pub const FIELDS: &[Field] = &[$(Field { global: $global, structure: $structure, member: $member },)+];
    };
}

/// One kernel field that not every kernel or machine has, or that has moved: the first of `places` that is found counts.
/// Without any the global holds [`MISSING`], and what depends on it is told as not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Name of the read-only global in the object.
    pub global: &'static str,
    /// Where it may be: struct, member, bytes past the member's start.
    pub places: &'static [(&'static str, &'static str, u64)],
}

/// The offset of a field that is nowhere.
pub const MISSING: u64 = u64::MAX;

/// Fields that programs can do without.
pub const CHOICES: &[Choice] = &[
    Choice { global: "TASK_LOGINUID", places: &[("task_struct", "loginuid", 0)] },
    // Mounts of one file system: since 6.18 each leads to the next, before that there are links in between.
    Choice { global: "MOUNT_INSTANCE", places: &[("mount", "mnt_instance", 0)] },
    // Changes with the mounts of a namespace.
    Choice { global: "MNT_NS_EVENT", places: &[("mnt_namespace", "event", 0)] },
    Choice { global: "MOUNT_NEXT", places: &[("mount", "mnt_next_for_sb", 0)] },
    // Set while a 32-bit system call is being made (x86).
    Choice { global: "THREAD_STATUS", places: &[("task_struct", "thread_info.status", 0)] },
    Choice { global: "THREAD_FLAGS", places: &[("task_struct", "thread_info.flags", 0)] },
    Choice {
        global: "REGISTERS_NUMBER",
        places: &[("pt_regs", "orig_ax", 0), ("pt_regs", "syscallno", 0)],
    },
    Choice { global: "REGISTERS_0", places: &[("pt_regs", "di", 0), ("pt_regs", "orig_x0", 0)] },
    Choice { global: "REGISTERS_1", places: &[("pt_regs", "si", 0), ("pt_regs", "regs", 8)] },
    Choice { global: "REGISTERS_2", places: &[("pt_regs", "dx", 0), ("pt_regs", "regs", 16)] },
    Choice { global: "REGISTERS_3", places: &[("pt_regs", "r10", 0), ("pt_regs", "regs", 24)] },
    Choice { global: "REGISTERS_4", places: &[("pt_regs", "r8", 0), ("pt_regs", "regs", 32)] },
    Choice { global: "REGISTERS_5", places: &[("pt_regs", "r9", 0), ("pt_regs", "regs", 40)] },
    Choice { global: "COMPAT_0", places: &[("pt_regs", "bx", 0), ("pt_regs", "orig_x0", 0)] },
    Choice { global: "COMPAT_1", places: &[("pt_regs", "cx", 0), ("pt_regs", "regs", 8)] },
    Choice { global: "COMPAT_2", places: &[("pt_regs", "dx", 0), ("pt_regs", "regs", 16)] },
    Choice { global: "COMPAT_3", places: &[("pt_regs", "si", 0), ("pt_regs", "regs", 24)] },
    Choice { global: "COMPAT_4", places: &[("pt_regs", "di", 0), ("pt_regs", "regs", 32)] },
    Choice { global: "COMPAT_5", places: &[("pt_regs", "bp", 0), ("pt_regs", "regs", 40)] },
];

/// Kernel constants by name, and the globals that hold them; [`MISSING`] where the kernel has no such constant.
pub const CONSTANTS: &[(&str, &str)] = &[
    ("READING_MODULE", "READING_MODULE"),
    ("READING_MODULE_COMPRESSED", "READING_MODULE_COMPRESSED"),
    ("READING_KEXEC_IMAGE", "READING_KEXEC_IMAGE"),
    ("READING_KEXEC_INITRAMFS", "READING_KEXEC_INITRAMFS"),
    ("LOADING_MODULE", "LOADING_MODULE"),
    ("LOADING_KEXEC_IMAGE", "LOADING_KEXEC_IMAGE"),
    ("LOADING_KEXEC_INITRAMFS", "LOADING_KEXEC_INITRAMFS"),
];

/// The global with the distance from an overlay's inode to its entry in the upper layer: [`MISSING`] where this kernel's
/// overlays are made otherwise, so that nothing is known of their layers.
pub const OVERLAY_UPPER: &str = "OVERLAY_UPPER";

/// Parameters of kernel functions that are not everywhere in the same place: global, function, parameter. The global
/// holds the parameter's place, [`MISSING`] if there is none.
pub const PARAMETERS: &[(&str, &str, &str)] = &[
    ("PERF_KIND_ARGUMENT", "bpf_lsm_perf_event_open", "type"),
    ("BPF_KERNEL_ARGUMENT", "bpf_lsm_bpf", "kernel"),
    ("SETATTR_DENTRY_ARGUMENT", "bpf_lsm_inode_setattr", "dentry"),
];

fields! {
    "BPRM_BUF": "linux_binprm" . "buf",
    "BPRM_FILE": "linux_binprm" . "file",
    "CGROUP_KERNFS": "cgroup" . "kn",
    "CGROUP_PARENT": "cgroup" . "self.parent",
    "CGROUP_SELF": "cgroup" . "self",
    "CRED_CAPS": "cred" . "cap_effective",
    "CRED_EGID": "cred" . "egid",
    "CRED_EUID": "cred" . "euid",
    "CRED_FSGID": "cred" . "fsgid",
    "CRED_FSUID": "cred" . "fsuid",
    "CRED_UID": "cred" . "uid",
    "CSS_SET_CGROUP": "css_set" . "dfl_cgrp",
    "CRED_USER_NS": "cred" . "user_ns",
    "DENTRY_HASHED": "dentry" . "d_hash.pprev",
    "DENTRY_INODE": "dentry" . "d_inode",
    "DENTRY_NAME": "dentry" . "d_name",
    "DENTRY_PARENT": "dentry" . "d_parent",
    "DENTRY_SEQUENCE": "dentry" . "d_seq.seqcount.sequence",
    "FDTABLE_FILES": "fdtable" . "fd",
    "FILES_TABLE": "files_struct" . "fdt",
    "FILE_DENTRY": "file" . "f_path.dentry",
    "FILE_INODE": "file" . "f_inode",
    "FILE_MODE": "file" . "f_mode",
    "FILE_MOUNT": "file" . "f_path.mnt",
    "FILE_PATH": "file" . "f_path",
    "FS_PWD": "fs_struct" . "pwd",
    "FS_ROOT_DENTRY": "fs_struct" . "root.dentry",
    "FS_ROOT_MOUNT": "fs_struct" . "root.mnt",
    "GUARD_AUX_ID": "bpf_prog_aux" . "id",
    "GUARD_DENTRY_INODE": "dentry" . "d_inode",
    "GUARD_FDTABLE_FD": "fdtable" . "fd",
    "GUARD_FDTABLE_MAX": "fdtable" . "max_fds",
    "GUARD_FILES_FDT": "files_struct" . "fdt",
    "GUARD_FILE_FLAGS": "file" . "f_flags",
    "GUARD_FILE_PRIVATE": "file" . "private_data",
    "GUARD_LINK_ID": "bpf_link" . "id",
    "GUARD_MAP_ID": "bpf_map" . "id",
    "GUARD_MOUNT_SUPER": "vfsmount" . "mnt_sb",
    "GUARD_NAMESPACE": "mnt_namespace" . "ns.inum",
    "GUARD_NSPROXY_MOUNTS": "nsproxy" . "mnt_ns",
    "GUARD_PROG_AUX": "bpf_prog" . "aux",
    "GUARD_TASK_FILES": "task_struct" . "files",
    "GUARD_TASK_NSPROXY": "task_struct" . "nsproxy",
    "GUARD_TASK_PTRACE": "task_struct" . "ptrace",
    "IATTR_VALID": "iattr" . "ia_valid",
    "INODE_MODE": "inode" . "i_mode",
    "INODE_NLINK": "inode" . "i_nlink",
    "INODE_NUMBER": "inode" . "i_ino",
    "INODE_SUPER": "inode" . "i_sb",
    "INODE_UID": "inode" . "i_uid",
    "KERNFS_ID": "kernfs_node" . "id",
    "KERNFS_NAME": "kernfs_node" . "name",
    "MESSAGE_FLAGS": "msghdr" . "msg_flags",
    "MESSAGE_NAME": "msghdr" . "msg_name",
    "MM_ARG_END": "mm_struct" . "arg_end",
    "MM_ARG_START": "mm_struct" . "arg_start",
    "MNT_NS_USER": "mnt_namespace" . "user_ns",
    "MOUNT_MNT": "mount" . "mnt",
    "MOUNT_MOUNTPOINT": "mount" . "mnt_mountpoint",
    "MOUNT_NAMESPACE": "mount" . "mnt_ns",
    "MOUNT_PARENT": "mount" . "mnt_parent",
    "NSPROXY_MNT_NS": "nsproxy" . "mnt_ns",
    "PATH_DENTRY": "path" . "dentry",
    "PATH_MNT": "path" . "mnt",
    "PID_LEVEL": "pid" . "level",
    "PID_TASKS": "pid" . "tasks",
    "PROC_INODE_PID": "proc_inode" . "pid",
    "PROC_INODE_VFS": "proc_inode" . "vfs_inode",
    "QSTR_NAME": "qstr" . "name",
    "QSTR_LEN": "qstr" . "len",
    "SIGNAL_LIVE": "signal_struct" . "live",
    "SIGNAL_TTY": "signal_struct" . "tty",
    "SOCK_FLAGS": "sock" . "__sk_common.skc_flags",
    "SOCK_STATE": "sock" . "__sk_common.skc_state",
    "SOCK_FAMILY": "sock" . "__sk_common.skc_family",
    "SOCK_LOCAL_PORT": "sock" . "__sk_common.skc_num",
    "SOCK_LOCAL_V4": "sock" . "__sk_common.skc_rcv_saddr",
    "SOCK_LOCAL_V6": "sock" . "__sk_common.skc_v6_rcv_saddr",
    "SOCK_PROTOCOL": "sock" . "sk_protocol",
    "SOCK_REMOTE_PORT": "sock" . "__sk_common.skc_dport",
    "SOCK_REMOTE_V4": "sock" . "__sk_common.skc_daddr",
    "SOCK_REMOTE_V6": "sock" . "__sk_common.skc_v6_daddr",
    "SOCKET_SK": "socket" . "sk",
    "SOCKET_TYPE": "socket" . "type",
    "SUPER_DEVICE": "super_block" . "s_dev",
    "SUPER_MAGIC": "super_block" . "s_magic",
    "SUPER_MOUNTS": "super_block" . "s_mounts",
    "SUPER_ROOT": "super_block" . "s_root",
    "TCP_BYTES_RECEIVED": "tcp_sock" . "bytes_received",
    "TCP_BYTES_RETRANSMITTED": "tcp_sock" . "bytes_retrans",
    "TCP_BYTES_SENT": "tcp_sock" . "bytes_sent",
    "TCP_NEXT": "tcp_sock" . "snd_nxt",
    "TCP_WRITTEN": "tcp_sock" . "write_seq",
    "TASK_CGROUPS": "task_struct" . "cgroups",
    "TASK_CRED": "task_struct" . "cred",
    "TASK_EXIT_CODE": "task_struct" . "exit_code",
    "TASK_FILES": "task_struct" . "files",
    "TASK_FS": "task_struct" . "fs",
    "TASK_MM": "task_struct" . "mm",
    "TASK_NSPROXY": "task_struct" . "nsproxy",
    "TASK_PID": "task_struct" . "pid",
    "TASK_PID_LINKS": "task_struct" . "pid_links",
    "TASK_GROUP_LEADER": "task_struct" . "group_leader",
    "TASK_REAL_PARENT": "task_struct" . "real_parent",
    "TASK_SIGNAL": "task_struct" . "signal",
    "TASK_START": "task_struct" . "start_boottime",
    "TASK_TGID": "task_struct" . "tgid",
    "TASK_THREAD_PID": "task_struct" . "thread_pid",
    "VMA_FILE": "vm_area_struct" . "vm_file",
    "VFSMOUNT_ROOT": "vfsmount" . "mnt_root",
}
