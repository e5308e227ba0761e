//! Acts on files and directories: one question, whatever the hook.
//!
//! A hook writes down what is asked ([`Question`]) and calls [`answer`]. The object is judged by the path it is reached by,
//! by the other end of a rename or link, and by the names it is remembered under (`names`), and a new object by those of
//! the directory it is made in; the strongest verdict counts and is told once. All hooks share the one function that
//! does this, which the verifier checks by itself.

use interdict_abi::{
    event::flags,
    ids::{ACT_COMBINATIONS, Act, Action, Fact, Family, Fault, Generation, Mode, READ_AND_WRITE},
    image::header,
    limits::{COLUMN_PARTS, NAMES_PER_OBJECT, PATH_BYTES, REMEMBERED_PARTS},
    maps::{KnownName, ToldFile},
};
use interdict_engine::{
    Memory,
    facts::{self, Narrowing},
};

use super::{
    climbing::{self, From},
    judge::Case,
    report::{self, Told},
    strings,
};
use crate::{
    bounds::masked,
    emit,
    kernel::{
        copy_string, fields, mounts,
        object::Object,
        path::{self, Built, Spot},
        task,
    },
    maps::TOLD_FILES,
    names,
    policy::{self, Policy},
    scratch::{self, Area, LABEL_ROWS},
    words,
};

/// What is asked about an object.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Question {
    /// What it is, for facts and the record. All zero for what does not exist yet.
    pub object: Object,
    /// Where it is.
    pub spot: Spot,
    /// The other end of a rename or link; zeros if there is none.
    pub second: Spot,
    /// The directory that a new name is made in: device and inode. Zero if none is made.
    pub parent_inode: u64,
    /// What a new name takes away from another object: device and inode of that. Zero if nothing.
    pub replaced_inode: u64,
    /// See above.
    pub parent_device: u32,
    /// See above.
    pub replaced_device: u32,
    /// Image slot, generation and agent-wide mode of the policy that decides.
    pub slot: u32,
    /// See above.
    pub generation: u32,
    /// See above.
    pub mode: u32,
    /// What has decided so far: see [`BY_PATH`].
    pub by: u32,
    /// `Family`.
    pub family: u32,
    /// Value of `Fact::Act`.
    pub act: u32,
    /// See [`how`].
    pub how: u32,
    /// Bytes of the path that is already in the text: with [`how::BUILT`] or [`how::SPELLED`].
    pub bytes: u64,
    /// Where its last component starts, with [`how::SPELLED`].
    pub last: u64,
    /// Bytes of the other path, behind the first and its terminator, with [`how::SPELLED_BOTH`].
    pub second_bytes: u64,
    /// Where its last component starts.
    pub second_last: u64,
    /// The act's own number, for the record.
    pub number: u32,
    /// Record flags that came up while judging.
    pub flags: u32,
}

/// Flags of a question, and of what came of it.
pub mod how {
    /// The object exists: it may go by other names, and its facts are known.
    pub const EXISTS: u32 = 1;
    /// Only by the names it is remembered under: the path was judged when it was opened.
    pub const NAMES_ONLY: u32 = 2;
    /// What is let through is told once for each process and object, if the open was not told.
    pub const QUIET: u32 = 4;
    /// The path is in the text.
    pub const BUILT: u32 = 8;
    /// It has no path: an anonymous mapping.
    pub const PATHLESS: u32 = 16;
    /// The labels of the path are in their row already; the path is not in the text.
    pub const LABELLED: u32 = 32;
    /// The path that was built is deleted.
    pub const DELETED: u32 = 64;
    /// Answer: the object goes by names; nothing may be remembered of its path.
    pub const NAMED: u32 = 128;
    /// Answer: its path is not known; nothing may be remembered of it.
    pub const UNKNOWN: u32 = 512;
    /// Answer: it got a name by this question.
    pub const LEARNED: u32 = 256;
    /// Nothing is known of the object but the path that the caller wrote: see `spelled`.
    pub const SPELLED: u32 = 1024;
    /// So is the other end's.
    pub const SPELLED_BOTH: u32 = 2048;
}

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
extern "C" fn interdict_labels(area: u32, fact: u32, row: u32, long: u32) -> u64 {
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
extern "C" fn interdict_by_labels(area: u32, fact: u32, row: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    let Some(image) = policy::slot(work.question.slot) else { return 0 };
    let mut part = Narrowing::resume(&image, &mut work.progress).first_part_of(fact);
    let mut step = 0;
    while step < COLUMN_PARTS && part != 0 {
        let label = work.labels[row as usize & (LABEL_ROWS - 1)][step];
        let known = if label == 0 { None } else { Some(label - 1) };
        let mut narrowing = Narrowing::resume(&image, &mut work.progress);
        narrowing.part(part, known);
        part = narrowing.next_part(part);
        step += 1;
    }
    u64::from(Narrowing::resume(&image, &mut work.progress).alive())
}

/// Judges the object in question by the path whose labels are in row `row`, and keeps the decision if it is the
/// strongest so far. Answers 1 if it is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_by_path(number: u32, row: u32, by: u32) -> u64 {
    let Some(area) = scratch::numbered(number) else { return 0 };
    let Some(policy) = policy_of(&area.work().question) else { return 0 };
    let Some(family) = family(area.work().question.family) else { return 0 };
    let Some(case) = Case::start(&policy, area, family) else { return 0 };
    let act = area.work().question.act;
    if !case.number(Fact::Act, act) || interdict_by_labels(number, Fact::Path as u32, row) == 0 {
        return 0;
    }
    if case.needs(Fact::SecondPath) {
        let question = &area.work().question;
        if question.second.dentry == 0 && question.how & how::SPELLED_BOTH == 0 {
            case.absent(Fact::SecondPath);
        } else {
            interdict_by_labels(number, Fact::SecondPath as u32, row::SECOND);
        }
    }
    if case.needs(Fact::Name) {
        interdict_by_labels(number, Fact::Name as u32, row::NAME);
    }
    if !case.alive() {
        return 0;
    }
    if area.work().question.how & how::EXISTS != 0 {
        let object = area.work().question.object;
        if !case.object(&object) {
            return 0;
        }
    } else if area.work().question.how & how::PATHLESS != 0 {
        case.absent(Fact::ObjectFlags);
        case.absent(Fact::ObjectMode);
        case.absent(Fact::ObjectOwner);
        case.absent(Fact::FsMagic);
    } else if !fields::lsm_decides() && area.work().question.how & how::SPELLED != 0 {
        case.unknown(Fact::ObjectFlags);
        case.unknown(Fact::ObjectMode);
        case.unknown(Fact::ObjectOwner);
        case.unknown(Fact::FsMagic);
    }
    area.work().question.flags |= case.actor();
    if !case.decide() {
        return 0;
    }
    let work = area.work();
    let better = !work.best.tells()
        || work.decision.verdict as u8 > work.best.verdict as u8
        || (work.decision.verdict as u8 == work.best.verdict as u8
            && work.decision.would as u8 > work.best.would as u8);
    if better {
        // SAFETY: a decision is eight-aligned words.
        unsafe { words::copy_value(&mut work.best, &work.decision) };
        work.question.by = by;
    }
    0
}

#[inline(always)]
pub fn policy_of(question: &Question) -> Option<Policy> {
    let image = policy::slot(question.slot)?;
    let generation = Generation(question.generation);
    let mode = if question.mode == Mode::Enforce as u32 { Mode::Enforce } else { Mode::Audit };
    Some(Policy { image, generation, mode })
}

/// Judges the object in question by the path whose labels are in `row`: see [`interdict_by_path`].
#[inline(always)]
pub fn by_path(area: Area, row: u32) {
    interdict_by_path(area.number, row, BY_PATH);
}

#[inline(always)]
fn family(number: u32) -> Option<Family> {
    if number == Family::Exec as u32 {
        Some(Family::Exec)
    } else if number == Family::File as u32 {
        Some(Family::File)
    } else {
        None
    }
}

/// Answers the question in the area: 0 to let the act go on, else the errno it is refused with.
#[inline(always)]
pub fn answer(area: Area) -> u32 {
    interdict_answer(area.number) as u32
}

/// See [`answer`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_answer(number: u32) -> u64 {
    let Some(area) = scratch::numbered(number) else { return 0 };
    let Some(policy) = policy_of(&area.work().question) else { return 0 };
    let Some(family) = family(area.work().question.family) else { return 0 };
    if Case::start(&policy, area, family).is_none() {
        return 0;
    }
    // SAFETY: a decision of zeros is `Decision::PASS`.
    unsafe { words::zero(&mut area.work().best) };
    if area.work().question.how & how::NAMES_ONLY == 0 {
        if area.work().question.second.dentry != 0 {
            interdict_label_other_end(number);
            interdict_by_path(number, row::OTHER, BY_OTHER_END);
        }
        interdict_label_seen(number);
        interdict_by_path(number, row::SEEN, BY_PATH);
    }
    let mut at = 0;
    while at < SETS * NAMES_PER_OBJECT {
        if interdict_named(number, at) == 0 {
            at = (at / NAMES_PER_OBJECT + 1) * NAMES_PER_OBJECT;
            continue;
        }
        interdict_by_path(number, row::OTHER, BY_NAMES + at);
        at += 1;
    }
    let work = area.work();
    if !work.best.tells() {
        return 0;
    }
    if (work.best.verdict as u8) < Action::Block as u8
        && work.question.family == Family::File as u32
    {
        let news = is_news(&work.question);
        if work.question.how & how::QUIET != 0 && !news {
            return 0;
        }
    }
    u64::from(interdict_tell(number))
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
extern "C" fn interdict_label_other_end(number: u32) -> u64 {
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
extern "C" fn interdict_label_seen(number: u32) -> u64 {
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

/// Whether anything of an act through a descriptor that is let through is news, to be told once: the object was neither
/// opened nor reached so by this process under this policy with something to tell.
#[inline(always)]
fn is_news(question: &Question) -> bool {
    let (process, _) = task::ids();
    let mut news = false;
    let mut way = 0;
    while way < 2 {
        let act = if way == 0 { Act::FileRead.value() } else { Act::FileWrite.value() };
        if question.act == act || question.act == READ_AND_WRITE {
            let key = ToldFile {
                generation: question.generation,
                process,
                inode: question.object.inode,
                device: question.object.device,
                act,
            };
            // SAFETY: only whether it is there is asked.
            if unsafe { TOLD_FILES.get(&key) }.is_none() {
                let _kept = TOLD_FILES.insert(&key, &1, 0);
                news = true;
            }
        }
        way += 1;
    }
    news
}

/// Labels the name numbered `at` (set by set, [`NAMES_PER_OBJECT`] each). Answers 0 if the set has no such name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_named(number: u32, at: u32) -> u64 {
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

/// Tells what was decided, and does it: the record names the path the object was reached by, and behind it the other
/// end or the name that decided. Answers the errno of a refusal, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_tell(number: u32) -> u32 {
    let Some(area) = scratch::numbered(number) else { return 0 };
    let question = &area.work().question;
    let by = question.by;
    let Some(family) = family(question.family) else { return 0 };
    let mut told = Told { number: question.number, flags: question.flags, ..Told::default() };
    if question.how & how::PATHLESS == 0 {
        let built = if question.how & how::BUILT != 0 {
            Built { bytes: question.bytes, deleted: u64::from(question.how & how::DELETED) }
        } else {
            climbing::climbed(area, 0, question.spot, From::Process)
        };
        told.path(built);
    }
    if by >= BY_NAMES {
        let at = by - BY_NAMES;
        let (device, inode) = remembered(question, at / NAMES_PER_OBJECT);
        let index = at % NAMES_PER_OBJECT;
        let bytes = names::recall(area, device, inode, index, told.path_bytes);
        if bytes != names::UNKNOWN {
            told.extra_bytes = masked::<{ PATH_BYTES as u64 - 1 }>(bytes);
        }
        told.flags |= flags::BY_NAME;
    } else if question.second.dentry != 0 {
        let other = climbing::climbed(area, told.path_bytes, question.second, From::Process);
        told.extra_bytes = other.bytes;
        told.flags |= flags::SECOND_PATH;
    }
    told.acts = if question.act < 16 {
        1 << question.act
    } else {
        ACT_COMBINATIONS[READ_AND_WRITE as usize]
    };
    let work = area.work();
    // SAFETY: a decision is eight-aligned words.
    unsafe { words::copy_value(&mut work.decision, &work.best) };
    if !fields::lsm_decides() {
        report::happened(area);
    }
    report::begin(area, Generation(area.work().question.generation), family, &told);
    report::actor(area);
    report::object(area, &area.work().question.object);
    if report::finish(area) == 0 { 0 } else { u32::from(area.work().decision.errno) }
}

/// Sets of names that count.
const SETS: u32 = 3;
/// Those of the object.
const OWN: u32 = 0;
/// Those of the directory a new name is made in.
const MADE_IN: u32 = 1;

/// The object whose names are the set `set`; inode 0 if there is none. The third set are those of what is replaced.
#[inline(always)]
fn remembered(question: &Question, set: u32) -> (u32, u64) {
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

/// What decided: the path the object is reached by.
const BY_PATH: u32 = 0;
/// The other end of a rename or link.
const BY_OTHER_END: u32 = 1;
/// One of its names: this and up.
const BY_NAMES: u32 = 2;

/// Labels the short string in the area as the object's last component.
#[inline(always)]
pub fn label_name(area: Area, known: bool) {
    if known {
        interdict_labels(area.number, Fact::Name as u32, row::NAME, 0);
    } else {
        all_labels(area.work(), row::NAME, 0);
    }
}

/// Remembers the object, or for a new one the directory it is made in, under the path in the text. Not without BPF LSM:
/// nothing would end it.
#[inline(always)]
fn learn(area: Area) {
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
