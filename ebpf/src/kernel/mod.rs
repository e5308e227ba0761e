//! The only readers of kernel memory.

pub mod call;
pub mod container;
pub mod cwd;
pub mod fields;
pub mod mounts;
pub mod object;
pub mod path;
pub mod task;
pub mod workload;

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user,
};
use aya_ebpf::{EbpfContext as _, programs::LsmContext};

/// A value at `base + offset` in a program whose pointers carry BTF types (LSM): a plain load, which the verifier
/// checks against the type and the kernel makes safe.
///
/// # Safety
/// `base` must be a typed pointer and `offset` that of a field of type `T`.
#[inline(always)]
pub unsafe fn typed<T: Copy>(base: *const u8, offset: u64) -> T {
    let field = base.wrapping_add(offset as usize);
    // SAFETY: by the caller.
    unsafe { field.cast::<T>().read() }
}

/// A value at `base + offset`, wherever that is. `None` if it cannot be read.
#[inline(always)]
pub fn probed<T: Copy>(base: *const u8, offset: u64) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    let source = base.wrapping_add(offset as usize);
    // SAFETY: the destination is `T`-sized; the helper checks the source.
    let read = unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, source.cast())
    };
    // SAFETY: the helper filled all of it.
    if read == 0 { Some(unsafe { value.assume_init() }) } else { None }
}

/// Whether argument `index` of an LSM hook is null. New kernels take hook arguments for pointers that are never null and
/// cut away what a program does about it, even where the hook's caller passes null: so the argument is read as a number.
#[inline(always)]
pub fn is_null_argument(context: &LsmContext, index: usize) -> bool {
    probed::<u64>(context.as_ptr().cast_const().cast(), index as u64 * 8) == Some(0)
}

/// Copies `bytes` from kernel memory. False if it cannot be read.
///
/// # Safety
/// `destination` must have room for `bytes`.
#[inline(always)]
pub unsafe fn copy(destination: *mut u8, bytes: u64, source: *const u8) -> bool {
    // SAFETY: by the caller; the helper checks the source.
    unsafe { bpf_probe_read_kernel(destination.cast(), bytes as u32, source.cast()) == 0 }
}

/// Copies `bytes` from user memory of the current task. False if it cannot be read.
///
/// # Safety
/// `destination` must have room for `bytes`.
#[inline(always)]
pub unsafe fn copy_user(destination: *mut u8, bytes: u64, source: u64) -> bool {
    // SAFETY: by the caller; the helper checks the source.
    unsafe { bpf_probe_read_user(destination.cast(), bytes as u32, source as *const _) == 0 }
}

/// Copies a string of at most `bytes` with its terminator. Answers its length with the terminator, or a negative errno.
///
/// # Safety
/// `destination` must have room for `bytes`.
#[inline(always)]
pub unsafe fn copy_string(destination: *mut u8, bytes: u32, source: *const u8) -> i64 {
    // SAFETY: by the caller; the helper checks the source.
    unsafe { bpf_probe_read_kernel_str(destination.cast(), bytes, source.cast()) as i64 }
}
