//! bpf(2): nobody else gets hold of the agent's maps, programs and links.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use interdict_abi::guard::{GuardAct, GuardId, GuardObject, GuardState};

use super::{GUARD_IDS, armed, refuse, somebody_else, trusted};
use crate::kernel::{
    fields,
    object::{Reader, Typed},
    probed, task,
};

const LINK_UPDATE: u32 = 29;
const LINK_GET_FD_BY_ID: u32 = 30;
const LINK_DETACH: u32 = 34;

#[inline(always)]
fn guarded(kind: u32, id: u32) -> bool {
    // SAFETY: only whether there is one counts.
    unsafe { GUARD_IDS.get(&GuardId { kind, id }) }.is_some()
}

#[inline(always)]
fn told(act: GuardAct, id: u32) -> i32 {
    refuse(act, id, 0, GuardObject { inode: 0, device: 0 }, 0)
}

/// A command of bpf(2). Links have no hook of their own: they are known by the id that is asked for, or by the file.
///
/// hook-signature: int bpf(int cmd, union bpf_attr *attr, unsigned int size)
#[lsm(hook = "bpf")]
pub fn guard_bpf(context: LsmContext) -> i32 {
    let command: u32 = context.arg(0);
    if command != LINK_GET_FD_BY_ID && command != LINK_DETACH && command != LINK_UPDATE {
        return 0;
    }
    let Some(state) = armed() else { return 0 };
    if trusted() {
        return 0;
    }
    // Both the id and the file descriptor are first in their part of the union.
    let attributes: *const u8 = context.arg(1);
    let Some(word) = probed::<u32>(attributes, 0) else { return 0 };
    if command == LINK_GET_FD_BY_ID {
        let is_guarded = guarded(GuardId::LINK, word) || is_being_made(state, word);
        return if is_guarded { told(GuardAct::DetachLink, word) } else { 0 };
    }
    let id = link_behind(word).unwrap_or(0);
    if guarded(GuardId::LINK, id) { told(GuardAct::DetachLink, id) } else { 0 }
}

/// Whether a link may be one that the agent attaches just now and has not listed yet.
#[inline(always)]
fn is_being_made(state: &GuardState, id: u32) -> bool {
    // SAFETY: a live map value; the agent may write it.
    let from = unsafe { (&raw const state.links_from).read_volatile() };
    from != 0 && u64::from(id) >= from
}

/// The id of the link behind a file descriptor, if it is one.
#[inline(always)]
fn link_behind(descriptor: u32) -> Option<u32> {
    let files: *const u8 = probed(task::current(), fields::guard_task_files())?;
    let table: *const u8 = probed(files, fields::guard_files_fdt())?;
    let most: u32 = probed(table, fields::guard_fdtable_max())?;
    if descriptor >= most {
        return None;
    }
    let entries: *const u8 = probed(table, fields::guard_fdtable_fd())?;
    let file: *const u8 = probed(entries, u64::from(descriptor) * 8)?;
    // Of another kind of file this is some other number; the kernel will refuse the command then anyway.
    let link: *const u8 = probed(file, fields::guard_file_private())?;
    probed(link, fields::guard_link_id())
}

/// Somebody gets a descriptor of a map: by id, from a pin, or because they made it.
///
/// hook-signature: int bpf_map(struct bpf_map *map, fmode_t fmode)
#[lsm(hook = "bpf_map")]
pub fn guard_map(context: LsmContext) -> i32 {
    let map: *const u8 = context.arg(0);
    let Some(id) = Typed::read::<u32>(map, fields::guard_map_id()) else { return 0 };
    if guarded(GuardId::MAP, id) && somebody_else() { told(GuardAct::Map, id) } else { 0 }
}

/// Somebody gets a descriptor of a program.
///
/// hook-signature: int bpf_prog(struct bpf_prog *prog)
#[lsm(hook = "bpf_prog")]
pub fn guard_program(context: LsmContext) -> i32 {
    let program: *const u8 = context.arg(0);
    let Some(auxiliary) = Typed::read::<*const u8>(program, fields::guard_prog_aux()) else {
        return 0;
    };
    let Some(id) = Typed::read::<u32>(auxiliary, fields::guard_aux_id()) else { return 0 };
    if guarded(GuardId::PROGRAM, id) && somebody_else() { told(GuardAct::Program, id) } else { 0 }
}
