//! Tells what was decided of an object in question, and does it. What is let through again and again through a descriptor
//! is told once.

use interdict_abi::{
    event::flags,
    ids::{ACT_COMBINATIONS, Act, Generation, READ_AND_WRITE},
    limits::{NAMES_PER_OBJECT, PATH_BYTES},
    maps::ToldFile,
};

use super::{BY_NAMES, Question, family, how, known::remembered};
use crate::{
    bounds::masked,
    hooks::{
        climbing::{self, From},
        report::{self, Told},
    },
    kernel::{fields, path::Built, task},
    maps::TOLD_FILES,
    names, scratch, words,
};

/// Whether anything of an act through a descriptor that is let through is news, to be told once: the object was neither
/// opened nor reached so by this process under this policy with something to tell.
#[inline(always)]
pub(super) fn is_news(question: &Question) -> bool {
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

/// Tells what was decided, and does it: the record names the path the object was reached by, and behind it the other
/// end or the name that decided. Answers the errno of a refusal, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn interdict_tell(number: u32) -> u32 {
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
