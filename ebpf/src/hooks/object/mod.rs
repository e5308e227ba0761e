//! Acts on files and directories: one question, whatever the hook.
//!
//! A hook writes down what is asked ([`Question`]) and calls [`answer`]. The object is judged by the path it is reached by,
//! by the other end of a rename or link, and by the names it is remembered under (`names`), and a new object by those of
//! the directory it is made in; the strongest verdict counts and is told once. All hooks share the one function that
//! does this, which the verifier checks by itself.

mod judged;
mod known;
mod labels;
mod tell;

use interdict_abi::{
    ids::{Action, Family, Generation, Mode},
    limits::NAMES_PER_OBJECT,
};

pub use self::{
    judged::by_path,
    known::{commit, last_slash},
    labels::{acting, all_labels, is_nothing, label_name, possible, row, tested, write_label},
};
use super::judge::Case;
use crate::{
    kernel::{object::Object, path::Spot},
    policy::{self, Policy},
    scratch::{self, Area},
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

/// What decided: the path the object is reached by.
const BY_PATH: u32 = 0;
/// The other end of a rename or link.
const BY_OTHER_END: u32 = 1;
/// One of its names: this and up.
const BY_NAMES: u32 = 2;

#[inline(always)]
pub fn policy_of(question: &Question) -> Option<Policy> {
    let image = policy::slot(question.slot)?;
    let generation = Generation(question.generation);
    let mode = if question.mode == Mode::Enforce as u32 { Mode::Enforce } else { Mode::Audit };
    Some(Policy { image, generation, mode })
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
            labels::interdict_label_other_end(number);
            judged::interdict_by_path(number, row::OTHER, BY_OTHER_END);
        }
        labels::interdict_label_seen(number);
        judged::interdict_by_path(number, row::SEEN, BY_PATH);
    }
    let mut at = 0;
    while at < known::SETS * NAMES_PER_OBJECT {
        if known::interdict_named(number, at) == 0 {
            at = (at / NAMES_PER_OBJECT + 1) * NAMES_PER_OBJECT;
            continue;
        }
        judged::interdict_by_path(number, row::OTHER, BY_NAMES + at);
        at += 1;
    }
    let work = area.work();
    if !work.best.tells() {
        return 0;
    }
    if (work.best.verdict as u8) < Action::Block as u8
        && work.question.family == Family::File as u32
    {
        let news = tell::is_news(&work.question);
        if work.question.how & how::QUIET != 0 && !news {
            return 0;
        }
    }
    u64::from(tell::interdict_tell(number))
}
