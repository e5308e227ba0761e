//! Offsets of kernel fields, filled in by the loader from the running kernel's BTF before the object is loaded.
//!
//! One read-only global per entry of `interdict_abi::offsets::FIELDS`, under the same name. The verifier sees constants.

macro_rules! fields {
    ($($function:ident $global:ident,)+) => {
        $(
            #[unsafe(no_mangle)]
            static $global: u64 = 0;

            /// Offset in bytes.
            #[inline(always)]
            pub fn $function() -> u64 {
                // SAFETY: a live global; volatile, because the value in the object is not the one that runs.
                unsafe { (&raw const $global).read_volatile() }
            }
        )+
    };
}

fields! {
    bpf_kernel_argument BPF_KERNEL_ARGUMENT,
    bprm_buf BPRM_BUF,
    bprm_file BPRM_FILE,
    cgroup_kernfs CGROUP_KERNFS,
    cgroup_parent CGROUP_PARENT,
    cgroup_self CGROUP_SELF,
    compat_0 COMPAT_0,
    compat_1 COMPAT_1,
    compat_2 COMPAT_2,
    compat_3 COMPAT_3,
    compat_4 COMPAT_4,
    compat_5 COMPAT_5,
    cred_caps CRED_CAPS,
    cred_egid CRED_EGID,
    cred_euid CRED_EUID,
    cred_fsgid CRED_FSGID,
    cred_fsuid CRED_FSUID,
    cred_uid CRED_UID,
    css_set_cgroup CSS_SET_CGROUP,
    cred_user_ns CRED_USER_NS,
    dentry_hashed DENTRY_HASHED,
    dentry_inode DENTRY_INODE,
    dentry_name DENTRY_NAME,
    dentry_parent DENTRY_PARENT,
    dentry_sequence DENTRY_SEQUENCE,
    fdtable_files FDTABLE_FILES,
    files_table FILES_TABLE,
    file_dentry FILE_DENTRY,
    file_inode FILE_INODE,
    file_mode FILE_MODE,
    file_mount FILE_MOUNT,
    file_path FILE_PATH,
    fs_pwd FS_PWD,
    fs_root_dentry FS_ROOT_DENTRY,
    fs_root_mount FS_ROOT_MOUNT,
    guard_aux_id GUARD_AUX_ID,
    guard_dentry_inode GUARD_DENTRY_INODE,
    guard_fdtable_fd GUARD_FDTABLE_FD,
    guard_fdtable_max GUARD_FDTABLE_MAX,
    guard_files_fdt GUARD_FILES_FDT,
    guard_file_flags GUARD_FILE_FLAGS,
    guard_file_private GUARD_FILE_PRIVATE,
    guard_link_id GUARD_LINK_ID,
    guard_map_id GUARD_MAP_ID,
    guard_mount_super GUARD_MOUNT_SUPER,
    guard_namespace GUARD_NAMESPACE,
    guard_nsproxy_mounts GUARD_NSPROXY_MOUNTS,
    guard_prog_aux GUARD_PROG_AUX,
    guard_task_files GUARD_TASK_FILES,
    guard_task_nsproxy GUARD_TASK_NSPROXY,
    guard_task_ptrace GUARD_TASK_PTRACE,
    inode_mode INODE_MODE,
    inode_nlink INODE_NLINK,
    inode_number INODE_NUMBER,
    inode_super INODE_SUPER,
    inode_uid INODE_UID,
    kernfs_id KERNFS_ID,
    kernfs_name KERNFS_NAME,
    iattr_valid IATTR_VALID,
    loading_kexec_image LOADING_KEXEC_IMAGE,
    loading_kexec_initramfs LOADING_KEXEC_INITRAMFS,
    loading_module LOADING_MODULE,
    message_flags MESSAGE_FLAGS,
    message_name MESSAGE_NAME,
    mm_arg_end MM_ARG_END,
    mm_arg_start MM_ARG_START,
    mnt_ns_event MNT_NS_EVENT,
    mnt_ns_user MNT_NS_USER,
    mount_instance MOUNT_INSTANCE,
    mount_mnt MOUNT_MNT,
    mount_namespace MOUNT_NAMESPACE,
    mount_next MOUNT_NEXT,
    mount_mountpoint MOUNT_MOUNTPOINT,
    mount_parent MOUNT_PARENT,
    nsproxy_mnt_ns NSPROXY_MNT_NS,
    overlay_upper OVERLAY_UPPER,
    path_dentry PATH_DENTRY,
    path_mnt PATH_MNT,
    perf_kind_argument PERF_KIND_ARGUMENT,
    pid_level PID_LEVEL,
    pid_tasks PID_TASKS,
    proc_inode_pid PROC_INODE_PID,
    proc_inode_vfs PROC_INODE_VFS,
    qstr_name QSTR_NAME,
    qstr_len QSTR_LEN,
    reading_kexec_image READING_KEXEC_IMAGE,
    reading_kexec_initramfs READING_KEXEC_INITRAMFS,
    reading_module READING_MODULE,
    reading_module_compressed READING_MODULE_COMPRESSED,
    registers_0 REGISTERS_0,
    registers_1 REGISTERS_1,
    registers_2 REGISTERS_2,
    registers_3 REGISTERS_3,
    registers_4 REGISTERS_4,
    registers_5 REGISTERS_5,
    registers_number REGISTERS_NUMBER,
    signal_live SIGNAL_LIVE,
    signal_tty SIGNAL_TTY,
    sock_flags SOCK_FLAGS,
    sock_state SOCK_STATE,
    tcp_bytes_received TCP_BYTES_RECEIVED,
    tcp_bytes_retransmitted TCP_BYTES_RETRANSMITTED,
    tcp_bytes_sent TCP_BYTES_SENT,
    tcp_next TCP_NEXT,
    tcp_written TCP_WRITTEN,
    sock_family SOCK_FAMILY,
    sock_local_port SOCK_LOCAL_PORT,
    sock_local_v4 SOCK_LOCAL_V4,
    sock_local_v6 SOCK_LOCAL_V6,
    sock_protocol SOCK_PROTOCOL,
    sock_remote_port SOCK_REMOTE_PORT,
    sock_remote_v4 SOCK_REMOTE_V4,
    sock_remote_v6 SOCK_REMOTE_V6,
    socket_sk SOCKET_SK,
    socket_type SOCKET_TYPE,
    setattr_dentry_argument SETATTR_DENTRY_ARGUMENT,
    super_device SUPER_DEVICE,
    super_magic SUPER_MAGIC,
    super_mounts SUPER_MOUNTS,
    super_root SUPER_ROOT,
    task_cgroups TASK_CGROUPS,
    task_cred TASK_CRED,
    task_exit_code TASK_EXIT_CODE,
    task_files TASK_FILES,
    task_fs TASK_FS,
    task_loginuid TASK_LOGINUID,
    task_mm TASK_MM,
    task_nsproxy TASK_NSPROXY,
    task_pid TASK_PID,
    task_pid_links TASK_PID_LINKS,
    task_group_leader TASK_GROUP_LEADER,
    task_real_parent TASK_REAL_PARENT,
    task_signal TASK_SIGNAL,
    task_start TASK_START,
    task_tgid TASK_TGID,
    task_thread_pid TASK_THREAD_PID,
    thread_flags THREAD_FLAGS,
    thread_status THREAD_STATUS,
    vma_file VMA_FILE,
    vfsmount_root VFSMOUNT_ROOT,
}

/// Bytes of an image slot less one.
#[unsafe(no_mangle)]
static SLOT_MASK: u64 = 0;

/// Bytes of an image slot less one.
#[inline(always)]
pub fn slot_mask() -> u64 {
    // SAFETY: as above.
    unsafe { (&raw const SLOT_MASK).read_volatile() }
}

/// Address of the kernel's `rename_lock`, 0 if it is not known.
#[unsafe(no_mangle)]
static RENAME_LOCK: u64 = 0;

/// Address of the kernel's `rename_lock`, 0 if it is not known.
#[inline(always)]
pub fn rename_lock() -> u64 {
    // SAFETY: as above.
    unsafe { (&raw const RENAME_LOCK).read_volatile() }
}

/// Address of the kernel's `mount_lock`, 0 if it is not known.
#[unsafe(no_mangle)]
static MOUNT_LOCK: u64 = 0;

/// Address of the kernel's `mount_lock`, 0 if it is not known.
#[inline(always)]
pub fn mount_lock() -> u64 {
    // SAFETY: as above.
    unsafe { (&raw const MOUNT_LOCK).read_volatile() }
}

/// Address of the kernel's `init_user_ns`, 0 if it is not known.
#[unsafe(no_mangle)]
static INIT_USER_NS: u64 = 0;

/// Address of the kernel's `init_user_ns`, 0 if it is not known.
#[inline(always)]
pub fn init_user_ns() -> u64 {
    // SAFETY: as above.
    unsafe { (&raw const INIT_USER_NS).read_volatile() }
}

/// 1 when LSM programs decide: then the tracepoints and cgroup programs only keep processes up to date.
#[unsafe(no_mangle)]
static LSM_DECIDES: u64 = 0;

/// Whether LSM programs decide on this host.
#[inline(always)]
pub fn lsm_decides() -> bool {
    // SAFETY: as above.
    unsafe { (&raw const LSM_DECIDES).read_volatile() != 0 }
}

/// The number of `ids::Calling` that system calls of this machine are, and of its 32-bit ones.
#[unsafe(no_mangle)]
static CALLINGS: u64 = 0;

/// The way 64-bit programs call the kernel, as `ids::Calling`.
#[inline(always)]
pub fn native_calling() -> u32 {
    // SAFETY: as above.
    unsafe { (&raw const CALLINGS).read_volatile() as u32 & 0xff }
}

/// The way 32-bit programs call the kernel, as `ids::Calling`.
#[inline(always)]
pub fn compat_calling() -> u32 {
    // SAFETY: as above.
    unsafe { ((&raw const CALLINGS).read_volatile() >> 8) as u32 & 0xff }
}
