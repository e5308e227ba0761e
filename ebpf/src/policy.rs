//! The policy in force, held still while one decision is made.
//!
//! The agent writes a new image to the idle slot and then changes one word. A program reads that word once and goes on
//! with what it read. The slot it reads is not written to while it runs: all programs here run inside an RCU read-side
//! section (none is sleepable), and the agent lets a grace period pass between leaving a slot and writing to it
//! (`membarrier(MEMBARRIER_CMD_GLOBAL)`). So no act ever sees half a policy, and none sees neither.

use interdict_abi::{
    ids::{Generation, Mode},
    maps::Control,
};
use interdict_engine::Memory;

use crate::{
    kernel::fields,
    maps::{CONTROL, IMAGE},
};

/// One image slot in kernel memory.
#[derive(Clone, Copy)]
pub struct Image {
    base: *const u8,
    /// Bytes of the slot less one, a power of two less one. Known to the verifier: a read-only global.
    mask: u64,
}

impl Memory for Image {
    #[inline(always)]
    fn byte(&self, offset: u32) -> u8 {
        // SAFETY: the offset is masked to the slot, which is `mask + 1` bytes.
        unsafe { self.base.add((u64::from(offset) & self.mask) as usize).read() }
    }

    #[inline(always)]
    fn word(&self, offset: u32) -> u32 {
        // SAFETY: the offset is masked to the slot and to a multiple of 4.
        unsafe { self.base.add((u64::from(offset) & self.mask & !3) as usize).cast::<u32>().read() }
    }

    #[inline(always)]
    fn long(&self, offset: u32) -> u64 {
        // SAFETY: the offset is masked to the slot and to a multiple of 8.
        unsafe { self.base.add((u64::from(offset) & self.mask & !7) as usize).cast::<u64>().read() }
    }
}

/// The policy in force, as this program read it.
pub struct Policy {
    /// Its image.
    pub image: Image,
    /// Its number.
    pub generation: Generation,
    /// The agent-wide mode.
    pub mode: Mode,
}

/// The slot `slot` whatever it holds.
#[inline(always)]
pub fn slot(slot: u32) -> Option<Image> {
    let base = IMAGE.get_ptr(slot & 1)?;
    Some(Image { base: base.cast(), mask: fields::slot_mask() })
}

/// A policy from its numbers, for functions that are verified by themselves.
#[inline(always)]
pub fn numbered(number: u32, generation: u32, mode: u32) -> Option<Policy> {
    let mode = if mode == Mode::Enforce as u32 { Mode::Enforce } else { Mode::Audit };
    Some(Policy { image: slot(number)?, generation: Generation(generation), mode })
}

/// The policy in force. `None`: there is none.
#[inline(always)]
pub fn active() -> Option<Policy> {
    let (control, generation) = in_force()?;
    of(control, generation)
}

/// What the agent tells, and the generation in force. `None`: there is none.
#[inline(always)]
pub fn in_force() -> Option<(&'static Control, Generation)> {
    let control = CONTROL.get_ptr(0)?;
    // SAFETY: the pointer is to a live map value; the agent writes each word atomically.
    let active = unsafe { (&raw const (*control).active).read_volatile() };
    // SAFETY: as above.
    if active == 0 { None } else { Some((unsafe { &*control }, Generation(active as u32))) }
}

/// The policy of the generation that was in force.
#[inline(always)]
pub fn of(control: &Control, generation: Generation) -> Option<Policy> {
    // SAFETY: as above.
    let mode = unsafe { (&raw const control.mode).read_volatile() };
    Some(Policy {
        image: slot(generation.slot())?,
        generation,
        mode: if mode == 0 { Mode::Enforce } else { Mode::Audit },
    })
}

/// Whether a thread is the one of the agent that looks for what rules select.
#[inline(always)]
pub fn is_seeder(thread: u32) -> bool {
    let Some(control) = CONTROL.get_ptr(0) else { return false };
    // SAFETY: as in `active`.
    thread != 0 && unsafe { (&raw const (*control).seeder).read_volatile() } as u32 == thread
}

/// A thread exits: should it be the agent's, its number is nobody's until the next one says that it looks.
#[inline(always)]
pub fn seeder_exited(thread: u32) {
    let Some(control) = CONTROL.get_ptr_mut(0) else { return };
    if is_seeder(thread) {
        // SAFETY: as in `active`; in one piece, and the agent that wrote it has ended.
        unsafe { (&raw mut (*control).seeder).write_volatile(0) };
    }
}

/// Whether packets inside packets are judged too.
#[inline(always)]
pub fn looks_inside() -> bool {
    let Some(control) = CONTROL.get_ptr(0) else { return false };
    // SAFETY: as in `active`.
    unsafe { (&raw const (*control).inside).read_volatile() != 0 }
}

/// Whether some rule of the policy in force has a rate.
#[inline(always)]
pub fn has_rates() -> bool {
    let Some(control) = CONTROL.get_ptr(0) else { return false };
    // SAFETY: as in `active`.
    unsafe { (&raw const (*control).rates).read_volatile() != 0 }
}

/// The generation in force and the one being staged, 0 for none.
#[inline(always)]
pub fn generations() -> (Generation, Generation) {
    let Some(control) = CONTROL.get_ptr(0) else { return (Generation(0), Generation(0)) };
    // SAFETY: as in `active`.
    let active = unsafe { (&raw const (*control).active).read_volatile() };
    // SAFETY: as in `active`.
    let staged = unsafe { (&raw const (*control).staged).read_volatile() };
    (Generation(active as u32), Generation(staged as u32))
}
