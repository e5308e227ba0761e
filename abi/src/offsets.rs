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

fields! {
    "BPRM_BUF": "linux_binprm" . "buf",
    "BPRM_FILE": "linux_binprm" . "file",
    "CRED_EUID": "cred" . "euid",
    "DENTRY_HASHED": "dentry" . "d_hash.pprev",
    "DENTRY_NAME": "dentry" . "d_name",
    "DENTRY_PARENT": "dentry" . "d_parent",
    "FILE_INODE": "file" . "f_inode",
    "FILE_MODE": "file" . "f_mode",
    "FILE_PATH": "file" . "f_path",
    "FS_ROOT": "fs_struct" . "root",
    "INODE_MODE": "inode" . "i_mode",
    "INODE_NLINK": "inode" . "i_nlink",
    "INODE_NUMBER": "inode" . "i_ino",
    "INODE_SUPER": "inode" . "i_sb",
    "INODE_UID": "inode" . "i_uid",
    "MM_ARG_END": "mm_struct" . "arg_end",
    "MM_ARG_START": "mm_struct" . "arg_start",
    "MOUNT_MNT": "mount" . "mnt",
    "MOUNT_MOUNTPOINT": "mount" . "mnt_mountpoint",
    "MOUNT_PARENT": "mount" . "mnt_parent",
    "PATH_DENTRY": "path" . "dentry",
    "PATH_MNT": "path" . "mnt",
    "PID_LEVEL": "pid" . "level",
    "QSTR_NAME": "qstr" . "name",
    "QSTR_LEN": "qstr" . "len",
    "SIGNAL_LIVE": "signal_struct" . "live",
    "SOCK_PROTOCOL": "sock" . "sk_protocol",
    "SOCKET_SK": "socket" . "sk",
    "SOCKET_TYPE": "socket" . "type",
    "SUPER_DEVICE": "super_block" . "s_dev",
    "SUPER_MAGIC": "super_block" . "s_magic",
    "TASK_CRED": "task_struct" . "cred",
    "TASK_EXIT_CODE": "task_struct" . "exit_code",
    "TASK_FS": "task_struct" . "fs",
    "TASK_MM": "task_struct" . "mm",
    "TASK_PID": "task_struct" . "pid",
    "TASK_GROUP_LEADER": "task_struct" . "group_leader",
    "TASK_REAL_PARENT": "task_struct" . "real_parent",
    "TASK_SIGNAL": "task_struct" . "signal",
    "TASK_START": "task_struct" . "start_boottime",
    "TASK_TGID": "task_struct" . "tgid",
    "TASK_THREAD_PID": "task_struct" . "thread_pid",
    "VFSMOUNT_ROOT": "vfsmount" . "mnt_root",
}
