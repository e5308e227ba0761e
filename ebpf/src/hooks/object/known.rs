//! Names that objects in question are remembered under: learned when a rule selects the path an object is reached by,
//! recalled when it is judged. A new object goes by the names of the directory it is made in.

use interdict_abi::{
    ids::{Fact, Family, Fault},
    image::header,
    limits::{NAMES_PER_OBJECT, PATH_BYTES},
    maps::KnownName,
};
use interdict_engine::Memory;

use super::{
    Question, all_labels, how, label_name, labels::interdict_labels, policy_of, row, tested,
};
use crate::{
    bounds::masked,
    emit,
    hooks::{
        climbing::{self, From},
        judge::Case,
        strings,
    },
    kernel::{copy_string, fields, mounts, path},
    names,
    scratch::{self, Area},
};

/// Remembers the object in question under the path of its spot, if a rule on files or programs selects that. Answers
/// whether it is news.
#[inline(always)]
pub fn commit(area: Area) -> bool {
    interdict_commit(area.number) != 0
}

/// See [`commit`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_commit(number: u32) -> u64 {
    let Some(area) = scratch::numbered(number) else { return 0 };
    let Some(policy) = policy_of(&area.work().question) else { return 0 };
    let built = climbing::climbed(area, 0, area.work().question.spot, From::Process);
    if !built.known() {
        return 0;
    }
    area.work().question.bytes = built.bytes;
    let automaton = policy.image.word(header::EXE_AUTOMATON);
    let mut selected = 0;
    if automaton != 0 && strings::label_of(number, policy.generation.slot(), automaton) > 1 {
        selected = 1;
    }
    if Case::start(&policy, area, Family::File).is_some() {
        selected |= interdict_labels(number, Fact::Path as u32, row::SEEN, 1);
    }
    if Case::start(&policy, area, Family::Exec).is_some() {
        selected |= interdict_labels(number, Fact::Path as u32, row::SEEN, 1);
    }
    if selected & 1 != 0 {
        learn(area);
    }
    u64::from(area.work().question.how & how::LEARNED)
}

/// Labels the name numbered `at` (set by set, [`NAMES_PER_OBJECT`] each). Answers 0 if the set has no such name.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn interdict_named(number: u32, at: u32) -> u64 {
    let Some(area) = scratch::numbered(number) else { return 0 };
    let (device, inode) = remembered(&area.work().question, at / NAMES_PER_OBJECT);
    if inode == 0 {
        return 0;
    }
    let bytes = names::recall(area, device, inode, at % NAMES_PER_OBJECT, 0);
    if bytes == names::NONE {
        return 0;
    }
    let question = &mut area.work().question;
    question.how &= !how::BUILT;
    if at < NAMES_PER_OBJECT {
        question.how |= how::NAMED;
    }
    let known = if bytes == names::UNKNOWN {
        all_labels(area.work(), row::OTHER, 0);
        false
    } else if at / NAMES_PER_OBJECT == MADE_IN {
        below(area, bytes)
    } else {
        last_component(area)
    };
    if tested(area, Fact::Name) {
        label_name(area, known);
    }
    if bytes != names::UNKNOWN {
        interdict_labels(number, Fact::Path as u32, row::OTHER, 1);
    }
    1
}

/// Sets of names that count.
pub(super) const SETS: u32 = 3;
/// Those of the object.
const OWN: u32 = 0;
/// Those of the directory a new name is made in.
const MADE_IN: u32 = 1;

/// The object whose names are the set `set`; inode 0 if there is none. The third set are those of what is replaced.
#[inline(always)]
pub(super) fn remembered(question: &Question, set: u32) -> (u32, u64) {
    if set == OWN {
        if question.how & how::EXISTS != 0 {
            (question.object.device, question.object.inode)
        } else {
            (0, 0)
        }
    } else if set == MADE_IN {
        (question.parent_device, question.parent_inode)
    } else {
        (question.replaced_device, question.replaced_inode)
    }
}

/// Remembers the object, or for a new one the directory it is made in, under the path in the text. Not without BPF LSM:
/// nothing would end it.
#[inline(always)]
pub(super) fn learn(area: Area) {
    if !fields::lsm_decides() {
        return;
    }
    let question = &area.work().question;
    let bytes = question.bytes;
    let last = last_slash(area, bytes);
    let arranged = if mounts::vouched(area) { 0 } else { u64::from(KnownName::ARRANGED) };
    let question = &area.work().question;
    let learned = if question.how & how::EXISTS != 0 {
        let (device, inode) = (question.object.device, question.object.inode);
        names::learn(area, device, inode, bytes, last + 1 | arranged)
    } else if question.parent_inode != 0 && last > 0 {
        let (device, inode) = (question.parent_device, question.parent_inode);
        let above = last_slash(area, last);
        names::learn(area, device, inode, last, above + 1 | arranged)
    } else {
        false
    };
    if learned {
        area.work().question.how |= how::LEARNED;
    }
}

/// Where the last slash before `bytes` of the text is.
#[inline(always)]
pub fn last_slash(area: Area, bytes: u64) -> u64 {
    interdict_last_slash(area.number, bytes as u32)
}

/// See [`last_slash`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_last_slash(area: u32, bytes: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let mut at = u64::from(bytes);
    let mut step = 0;
    while step < 256 {
        if at == 0 {
            return 0;
        }
        at -= 1;
        if work.text.0[masked::<{ PATH_BYTES as u64 - 1 }>(at) as usize] == b'/' {
            return at;
        }
        step += 1;
    }
    0
}

/// Copies the last component of the remembered name in the text to the short string.
#[inline(always)]
fn last_component(area: Area) -> bool {
    let work = area.work();
    let last = masked::<{ PATH_BYTES as u64 - 1 }>(u64::from(work.name.last));
    let source = work.text.0.as_ptr();
    // SAFETY: inside the text, which ends with a zero; the short string has 512 bytes.
    unsafe { copy_string(work.short.0.as_mut_ptr(), 257, source.add(last as usize)) > 0 }
}

/// Puts the new name behind the directory's name in the text. False if it could not be read.
#[inline(always)]
fn below(area: Area, bytes: u64) -> bool {
    let work = area.work();
    let question = &work.question;
    let spot = if question.second.dentry == 0 { question.spot } else { question.second };
    let known = path::name(spot, &mut work.short);
    let at = masked::<{ PATH_BYTES as u64 - 1 }>(bytes);
    work.text.0[at as usize] = b'/';
    let source = if known { work.short.0.as_ptr() } else { core::ptr::null() };
    // SAFETY: far inside the text.
    let target = unsafe { work.text.0.as_mut_ptr().add(at as usize + 1) };
    // SAFETY: as above.
    if !known || unsafe { copy_string(target, 257, source) } <= 0 {
        work.text.0[at as usize + 1] = 0;
        emit::count(Fault::Path);
    }
    known
}
