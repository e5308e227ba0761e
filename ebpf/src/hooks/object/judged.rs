//! Judges the object in question by one path, whose labels are in a row, and keeps the strongest decision so far.

use interdict_abi::ids::Fact;

use super::{BY_PATH, family, how, labels::interdict_by_labels, policy_of, row};
use crate::{
    hooks::judge::Case,
    kernel::fields,
    scratch::{self, Area},
    words,
};

/// Judges the object in question by the path whose labels are in row `row`, and keeps the decision if it is the
/// strongest so far. Answers 1 if it is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn interdict_by_path(number: u32, row: u32, by: u32) -> u64 {
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

/// Judges the object in question by the path whose labels are in `row`: see [`interdict_by_path`].
#[inline(always)]
pub fn by_path(area: Area, row: u32) {
    interdict_by_path(area.number, row, BY_PATH);
}
