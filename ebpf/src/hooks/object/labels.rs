//! Labels of the strings of an object in question: of the path it is reached by, of the other end of a rename or link, of
//! its last component. A string is walked once for each part of its column; what came of it is kept in rows, so that
//! judging by another name, or remembering the path, walks nothing again.

use interdict_abi::{
    ids::{Fact, Family},
    limits::{COLUMN_PARTS, REMEMBERED_PARTS},
};
use interdict_engine::{
    Memory,
    facts::{self, Narrowing},
};

use super::{how, known::learn};
use crate::{
    hooks::{
        climbing::{self, From},
        judge::Case,
        strings,
    },
    kernel::{path, task},
    names,
    policy::{self, Policy},
    scratch::{self, Area, LABEL_ROWS},
};

/// Rows of labels.
pub mod row {
    /// Of the path the object is reached by.
    pub const SEEN: u32 = 0;
    /// Of the other end, as `Fact::SecondPath`.
    pub const SECOND: u32 = 1;
    /// Of the last component.
    pub const NAME: u32 = 2;
    /// Of the name that is judged now, and of the other end as a path.
    pub const OTHER: u32 = 3;
}

const _: () = assert!(row::OTHER as usize == LABEL_ROWS - 1);

/// Walks the string in the area through all parts of a fact's column and writes the labels down. Answers 1 if any
/// pattern matches, and 2 if a label is unknown.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn interdict_labels(area: u32, fact: u32, row: u32, long: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let slot = work.question.slot;
    let Some(image) = policy::slot(slot) else { return 0 };
    let mut part = Narrowing::resume(&image, &mut work.progress).first_part_of(fact);
    let mut found = 0;
    let mut step = 0;
    while step < COLUMN_PARTS && part != 0 {
        let narrowing = Narrowing::resume(&image, &mut work.progress);
        let automaton = narrowing.part_automaton(part);
        part = narrowing.next_part(part);
        let label = if long != 0 {
            strings::label_of(area, slot, automaton)
        } else {
            strings::short_label_of(area, slot, automaton)
        };
        if label > 1 {
            found |= 1;
        } else if label == 0 {
            found |= 2;
        }
        write_label(work, row, step, label as u32);
        step += 1;
    }
    found
}

/// Whether a clause among `acting` may hold of a path with these labels.
#[inline(always)]
pub fn possible(
    policy: &Policy,
    directory: u32,
    acting: u64,
    labels: &[u32; REMEMBERED_PARTS],
) -> bool {
    let image = &policy.image;
    let mut left = acting;
    let mut flipped = 0;
    let mut part = facts::first_part(image, directory, Fact::Path);
    let mut step = 0;
    while step < REMEMBERED_PARTS {
        if part == 0 {
            break;
        }
        left &= facts::part_possible(image, part, labels[step], &mut flipped);
        part = facts::next_part(image, part);
        step += 1;
    }
    left != 0
}

/// The blocks of clauses that are about `act`.
#[inline(always)]
pub fn acting(policy: &Policy, directory: u32, act: u32) -> u64 {
    facts::possible(&policy.image, directory, Fact::Act, act)
        & policy.image.long(directory.wrapping_add(interdict_abi::image::family::ALL))
}

/// Whether no pattern matches the path in the area, no clause among `acting` can hold of such a path, and the object,
/// of this device and number, has no other names: what is true of nearly all there are. The labels are in their row then.
#[inline(always)]
pub fn is_nothing(
    policy: &Policy,
    area: Area,
    family: Family,
    acting: u64,
    (device, inode): (u32, u64),
) -> bool {
    if Case::start(policy, area, family).is_none() {
        return false;
    }
    area.work().question.slot = policy.generation.slot();
    let directory = facts::directory(&policy.image, family);
    interdict_labels(area.number, Fact::Path as u32, row::SEEN, 1) == 0
        && !possible(policy, directory, acting, &[0; REMEMBERED_PARTS])
        && !names::has_any(device, inode)
}

#[inline(always)]
pub fn write_label(work: &mut scratch::Work, row: u32, step: usize, label: u32) {
    work.labels[row as usize & (LABEL_ROWS - 1)][step & (COLUMN_PARTS - 1)] = label;
}

/// Says of all labels of a row that they are `label`: 0 for unknown, 1 for a string that no pattern matches.
#[inline(always)]
pub fn all_labels(work: &mut scratch::Work, row: u32, label: u32) {
    let mut step = 0;
    while step < COLUMN_PARTS {
        // SAFETY: inside the row; volatile, so that the loop is not made a call.
        unsafe {
            (&raw mut work.labels[row as usize & (LABEL_ROWS - 1)][step]).write_volatile(label);
        }
        step += 1;
    }
}

/// Narrows by the labels of a row. Answers whether a clause is left.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn interdict_by_labels(area: u32, fact: u32, row: u32) -> u64 {
    let Some(area) = scratch::numbered(area) else { return 0 };
    let Some(image) = policy::slot(area.work().question.slot) else { return 0 };
    strings::by_parts(area, &image, fact, |_, step| {
        u64::from(area.work().labels[row as usize & (LABEL_ROWS - 1)][step & (COLUMN_PARTS - 1)])
    });
    u64::from(Narrowing::resume(&image, &mut area.work().progress).alive())
}

/// Whether some clause of the family in question tests `fact`.
#[inline(always)]
pub fn tested(area: Area, fact: Fact) -> bool {
    match policy::slot(area.work().question.slot) {
        Some(image) => Narrowing::resume(&image, &mut area.work().progress).needs(fact),
        None => false,
    }
}

/// Labels the other end of a rename or link.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn interdict_label_other_end(number: u32) -> u64 {
    let Some(area) = scratch::numbered(number) else { return 0 };
    let other = climbing::climbed(area, 0, area.work().question.second, From::Process);
    if other.known() {
        interdict_labels(number, Fact::SecondPath as u32, row::SECOND, 1);
        interdict_labels(number, Fact::Path as u32, row::OTHER, 1);
    } else {
        all_labels(area.work(), row::SECOND, 0);
        all_labels(area.work(), row::OTHER, 0);
    }
    if tested(area, Fact::Name) {
        let known = path::name(area.work().question.second, &mut area.work().short);
        label_name(area, known);
    }
    0
}

/// Labels the path that the object is reached by, and remembers it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn interdict_label_seen(number: u32) -> u64 {
    let Some(area) = scratch::numbered(number) else { return 0 };
    if area.work().question.how & how::PATHLESS != 0 {
        all_labels(area.work(), row::SEEN, 1);
        all_labels(area.work(), row::NAME, 1);
        return 0;
    }
    if area.work().question.how & how::LABELLED == 0 {
        let question = &mut area.work().question;
        if question.how & how::BUILT == 0 && tested(area, Fact::Path) {
            let built = climbing::climbed(area, 0, question.spot, From::Process);
            let question = &mut area.work().question;
            question.bytes = built.bytes;
            question.how |= how::BUILT | if built.deleted == 0 { 0 } else { how::DELETED };
        }
        let mut selected = 2;
        if area.work().question.bytes != 0 {
            selected = interdict_labels(number, Fact::Path as u32, row::SEEN, 1);
        } else {
            all_labels(area.work(), row::SEEN, 0);
        }
        let question = &mut area.work().question;
        if selected & 2 != 0 {
            question.how |= how::UNKNOWN;
        }
        if selected & 1 != 0 && question.how & how::DELETED == 0 && task::sees_true_paths() {
            learn(area);
        }
    }
    if tested(area, Fact::Name) {
        let known = path::name(area.work().question.spot, &mut area.work().short);
        label_name(area, known);
    }
    0
}

/// Labels the short string in the area as the object's last component.
#[inline(always)]
pub fn label_name(area: Area, known: bool) {
    if known {
        interdict_labels(area.number, Fact::Name as u32, row::NAME, 0);
    } else {
        all_labels(area.work(), row::NAME, 0);
    }
}
