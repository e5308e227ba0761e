//! Guards the agent against everybody else, root included: its process, its files, its pins, its maps.
//!
//! Nothing here depends on a policy. The agent says what is guarded (`interdict_abi::guard`); the programs stay attached
//! and go on while no agent runs. Trusted is who runs the agent's own program, was not traced when it began to, has
//! mapped no code but the agent's, and has asked for it. Nothing a program cannot read leads to trust; what cannot be told
//! does not change a verdict.

pub mod bpf;
pub mod file;
pub mod mount;
pub mod name;
pub mod task;

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap},
};
use interdict_abi::{
    event::kind,
    guard::{GuardAct, GuardId, GuardObject, GuardState, STANDING, objects, tasks},
};

use super::report;
use crate::{
    bounds::{self, masked},
    emit::{self, Weight},
    kernel::{
        copy_string, fields,
        object::{Reader, Typed},
        probed, task as acting,
    },
    scratch,
};

const BPF_F_NO_PREALLOC: u32 = 1;

/// Written by the agent.
#[map]
pub static GUARD_STATE: Array<GuardState> = Array::with_max_entries(1, 0);

/// Guarded inodes. Written by the agent.
#[map]
pub static GUARD_OBJECTS: HashMap<GuardObject, u32> =
    HashMap::with_max_entries(8192, BPF_F_NO_PREALLOC);

/// Processes that run the agent's program. Written by `task`, and by the agent for itself when it has just loaded this.
#[map]
pub static GUARD_TASKS: HashMap<u32, u64> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// Guarded BPF objects. Written by the agent.
#[map]
pub static GUARD_IDS: HashMap<GuardId, u32> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// Break-glass tokens that were used. Written by the agent's program.
#[map]
pub static GUARD_USED: HashMap<[u8; 16], u64> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// The longest name there is.
const NAME_BYTES: u32 = 256;

/// What the guard was told, if it is armed.
#[inline(always)]
fn armed() -> Option<&'static GuardState> {
    let state = GUARD_STATE.get_ptr(0)?;
    // SAFETY: a live map value; the agent writes it as a whole before it sets the first word.
    let state = unsafe { &*state };
    // SAFETY: as above; volatile, because the agent may write it.
    if unsafe { (&raw const state.armed).read_volatile() } == 1 { Some(state) } else { None }
}

/// What is known of a process: one of `tasks`, 0 for nothing.
#[inline(always)]
fn standing(process: u32) -> u32 {
    // SAFETY: copied at once.
    (unsafe { GUARD_TASKS.get(&process) }.copied().unwrap_or(0) & STANDING) as u32
}

/// Whether the acting process is the agent.
#[inline(always)]
fn trusted() -> bool {
    standing(acting::ids().0) == tasks::TRUSTED
}

/// Whether the guard is armed and somebody else acts.
#[inline(always)]
fn somebody_else() -> bool {
    armed().is_some() && !trusted()
}

/// The key of an inode.
#[inline(always)]
fn key<R: Reader>(inode: *const u8) -> Option<GuardObject> {
    if inode.is_null() {
        return None;
    }
    let number = R::read(inode, fields::inode_number())?;
    let super_block: *const u8 = R::read(inode, fields::inode_super())?;
    let device = u64::from(R::read::<u32>(super_block, fields::super_device())?);
    Some(GuardObject { inode: number, device })
}

/// Why an inode is guarded: `objects`, 0 if it is not.
#[inline(always)]
fn reasons(key: &GuardObject) -> u32 {
    // SAFETY: copied at once.
    unsafe { GUARD_OBJECTS.get(key) }.copied().unwrap_or(0)
}

/// The inode of a dentry, null if it has none.
#[inline(always)]
fn inode_of(dentry: *const u8) -> *const u8 {
    Typed::read(dentry, fields::guard_dentry_inode()).unwrap_or(core::ptr::null())
}

/// What guards the file at `dentry`, for acts that `own` reasons of its inode guard against: itself, or a folder of up to
/// four levels above that is guarded with all in it.
#[inline(always)]
fn guarding(dentry: *const u8, own: u32) -> Option<GuardObject> {
    if let Some(key) = key::<Typed>(inode_of(dentry))
        && reasons(&key) & own != 0
    {
        return Some(key);
    }
    let mut at = dentry;
    let mut level = 0;
    while level < 4 {
        at = Typed::read(at, fields::dentry_parent())?;
        let key = key::<Typed>(inode_of(at))?;
        if reasons(&key) & objects::TREE != 0 {
            return Some(key);
        }
        level += 1;
    }
    None
}

/// The address of a dentry's name. Probed: newer verifiers take a typed pointer for no number, and a number is what the
/// function that tells is handed.
#[inline(always)]
fn name_of(dentry: *const u8) -> u64 {
    probed(dentry, fields::dentry_name() + fields::qstr_name()).unwrap_or(0)
}

/// Whether the eight-byte words of a name, terminator included, are these; `last` tells how many bytes of the second
/// word count.
#[inline(always)]
fn named(name: u64, first: u64, second: u64, last: u32) -> bool {
    let name = name as *const u8;
    let keep = u64::MAX >> (64 - 8 * last);
    probed::<u64>(name, 0) == Some(first)
        && probed::<u64>(name, 8).is_some_and(|word| word & keep == second & keep)
}

/// Refuses, and tells.
#[inline(always)]
fn refuse(act: GuardAct, number: u32, target: u32, object: GuardObject, name: u64) -> i32 {
    let what = u64::from(number) << 32 | act as u64;
    let object_device = object.device | u64::from(target) << 32;
    interdict_guard_tell(what, object.inode, object_device, name);
    bounds::refusal(1)
}

/// Tells of a refused act: `what` is the act and above it its number, `device` the device and above it the target.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interdict_guard_tell(what: u64, inode: u64, device: u64, name: u64) -> u32 {
    let Some(claim) = scratch::claim() else { return 0 };
    let work = claim.area.work();
    emit::begin(work, kind::GUARD);
    work.head.acts = what as u32;
    work.head.number = (what >> 32) as u32;
    work.head.target = (device >> 32) as u32;
    work.head.inode = inode;
    work.head.device = device as u32;
    if name != 0 {
        // SAFETY: the text has room for much more.
        let bytes = unsafe { copy_string(work.text.0.as_mut_ptr(), NAME_BYTES, name as *const u8) };
        if bytes > 1 {
            work.head.path_bytes = masked::<255>(bytes as u64 - 1) as u16;
        }
    }
    report::actor(claim.area);
    emit::send(claim.area.work(), Weight::Guard);
    claim.release();
    1
}
