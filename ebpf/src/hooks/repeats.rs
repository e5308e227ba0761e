//! Repeats, while the agent is behind: told a few times a second, then counted.
//!
//! A flood must not fill the ring with what is known already, so that an alert on something else finds room. As long as
//! the agent keeps up everything is told. When part of the ring waits, decisions on one subject (the same rule, process
//! and object) are told a few times a second and then counted in its row; when more waits, so is all that one process
//! does against one rule; in the reserve for refusals each process has one by each rule. So whatever is refused to a
//! process that was not heard of yet finds room, and every decision is either sent, or counted here, or counted as lost.

use interdict_abi::{
    ids::Fault,
    limits::{PROCESS_ALERTS, SUBJECT_ALERTS},
    maps::{Repeats, Subject, mixed},
};

use crate::{
    atomic, emit,
    emit::Pressure,
    maps::REPEATS,
    scratch::{self, Area, TEXT_BYTES, Work},
};

/// Time in which so many are told.
const SECOND_NS: u64 = 1_000_000_000;

/// Whether the decision in the area is counted and need not be told.
#[inline(always)]
pub fn counted(area: Area) -> bool {
    match emit::pressure() {
        Pressure::None => false,
        Pressure::Subjects => interdict_repeated(area.number, 0) != 0,
        Pressure::Processes => interdict_repeated(area.number, 1) != 0,
        Pressure::Reserve => interdict_repeated(area.number, 2) != 0,
    }
}

/// 1 if the decision in area `number` was counted. `level`: 1 if all that a process does counts together, 2 if it has one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_repeated(number: u32, level: u32) -> u64 {
    // SAFETY: the caller's invocation has claimed it.
    let Some(work) = (unsafe { scratch::claimed(number) }) else { return 0 };
    work.head.flags |= interdict_abi::event::flags::COUNTED;
    describe(work);
    let now = work.head.time_ns;
    if level < 2 && over(&work.subject, now, SUBJECT_ALERTS, level == 0) {
        return 1;
    }
    if level > 0 {
        let subject = &mut work.subject;
        subject.device = 0;
        subject.inode = 0;
        subject.remote[0] = 0;
        subject.remote[1] = 0;
        subject.acts = 0;
        subject.number = 0;
        subject.strings = 0;
        let allowed = if level == 1 { PROCESS_ALERTS } else { 0 };
        if over(&work.subject, now, allowed, true) {
            return 1;
        }
    }
    0
}

/// Whether as many decisions on a subject as are `allowed` have been told in this second; this one is counted then.
/// Subjects without a row are told, and get one if they are to be `noted`.
#[inline(always)]
fn over(subject: &Subject, now: u64, allowed: u64, noted: bool) -> bool {
    let Some(row) = REPEATS.get_ptr_mut(subject) else {
        if noted {
            let row = Repeats { since_ns: now, told: 1, silent: 0, first_ns: 0, last_ns: 0 };
            // Without room it is told as long as the ring has some.
            let _full = REPEATS.insert(subject, &row, 1);
        }
        return false;
    };
    // SAFETY: a live map value of five words. Two processors may tell one more each; what is counted is exact.
    unsafe {
        let since = (&raw mut (*row).since_ns).read_volatile();
        if allowed > 0 && now.wrapping_sub(since) >= SECOND_NS {
            (&raw mut (*row).since_ns).write_volatile(now);
            (&raw mut (*row).told).write_volatile(1);
            return false;
        }
        let told = (&raw mut (*row).told).read_volatile();
        if told < allowed {
            (&raw mut (*row).told).write_volatile(told + 1);
            return false;
        }
        if (&raw mut (*row).silent).read_volatile() == 0 {
            (&raw mut (*row).first_ns).write_volatile(now);
        }
        (&raw mut (*row).last_ns).write_volatile(now);
        atomic::add(&raw mut (*row).silent, 1);
    }
    emit::count(Fault::Repeats);
    true
}

/// Fills in what the decision is about: see [`Subject::of`].
#[inline(always)]
fn describe(work: &mut Work) {
    let head = &work.head;
    let len = usize::from(head.path_bytes) + usize::from(head.extra_bytes);
    let len = if len > TEXT_BYTES { TEXT_BYTES } else { len };
    let mut state = Subject::start(len, head.remote_port);
    let start = Subject::tail(len);
    let words: *const u64 = work.text.0.as_ptr().cast();
    let mut word = 0;
    while word < Subject::TAIL / 8 {
        let at = start + word * 8;
        if at >= len {
            break;
        }
        // SAFETY: masked into the text; volatile, so that the loop is not made a call.
        let found = unsafe { words.add((at & (TEXT_BYTES - 1)) / 8).read_volatile() };
        state = mixed(state, Subject::last(found, len - at));
        word += 1;
    }
    let remote: *const u64 = head.remote_ip.as_ptr().cast();
    let subject = &mut work.subject;
    subject.start_ns = head.start_ns;
    subject.process = head.pid;
    subject.generation = head.generation;
    subject.clause = head.clauses[0];
    subject.family = head.family;
    subject.verdict = head.verdict;
    subject.device = head.device;
    subject.inode = head.inode;
    // SAFETY: sixteen bytes at an offset of the head that is a multiple of eight.
    subject.remote[0] = unsafe { remote.read() };
    // SAFETY: as above.
    subject.remote[1] = unsafe { remote.add(1).read() };
    subject.acts = head.acts;
    subject.number = head.number;
    subject.strings = state;
}
