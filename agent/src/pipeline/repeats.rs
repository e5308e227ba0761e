//! Tells what the kernel programs counted instead of telling it: `repeated` notices with exact numbers.
//!
//! The records that were told before, of the same subjects, say what the objects are called; after a restart of the
//! agent only their numbers are known.

use std::collections::HashMap;

use interdict_abi::{
    event::{Head, flags},
    ids::Family,
    limits::SUBJECTS,
    maps::Subject,
};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::{
    alert::{
        Notice,
        build::{PolicyView, Scene},
        text::Text,
    },
    enrich::Enricher,
};

/// Decisions on one subject that the kernel counted and did not tell.
#[derive(Clone, Debug)]
pub struct Counted {
    /// What they have in common.
    pub subject: Subject,
    /// How many since the last time.
    pub count: u64,
    /// How many ever.
    pub total: u64,
    /// When the first was, ns on `CLOCK_BOOTTIME`.
    pub first_ns: u64,
    /// When the last was.
    pub last_ns: u64,
}

/// How far what was counted has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// What was handed over up to this number is durable.
    pub durable: u64,
    /// How often what was handed over could not be made durable, and has to be told again.
    pub failed: u64,
}

/// What the objects of subjects are called.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    names: HashMap<Subject, String>,
}

impl Subjects {
    /// Takes note of a record whose like may only be counted from now on.
    pub(super) fn note(&mut self, record: &[u8]) {
        let Ok((head, strings)) = Head::read_from_prefix(record) else { return };
        if head.flags & flags::COUNTED == 0 || head.path_bytes == 0 {
            return;
        }
        let len = usize::from(head.path_bytes) + usize::from(head.extra_bytes);
        let (Some(path), Some(strings)) =
            (strings.get(..usize::from(head.path_bytes)), strings.get(..len))
        else {
            return;
        };
        if self.names.len() >= SUBJECTS as usize {
            self.names.clear();
        }
        self.names
            .entry(Subject::of(&head, strings))
            .or_insert_with(|| Text::from_bytes(path).shown);
    }

    /// What the object of a subject is called.
    pub(super) fn name(&self, subject: &Subject) -> Option<String> {
        self.names.get(subject).cloned()
    }
}

/// The notice about so many; `name` is what the object is called.
pub(super) fn notice(
    counted: &Counted,
    name: Option<String>,
    policy: Option<&PolicyView>,
    enricher: &mut Enricher,
    scene: &Scene,
) -> Notice {
    let subject = &counted.subject;
    let family = Family::ALL.iter().copied().find(|family| *family as u8 == subject.family);
    let rule =
        family.zip(policy).and_then(|(family, policy)| policy.rule_id(family, subject.clause));
    let process = enricher.process(subject.process);
    let program = if process.start_ns == subject.start_ns || process.start_ns == 0 {
        process.program.exe.shown.clone()
    } else {
        String::new()
    };
    let program = if program.is_empty() { "a process that is gone" } else { &program };
    let mut what = format!("{program} (pid {})", subject.process);
    if let Some(name) = name {
        what.push_str(&format!(" on {name}"));
    } else if subject.inode != 0 {
        what.push_str(&format!(" on inode {} of device {}", subject.inode, subject.device));
    } else if !subject.has_object() {
        what.push_str(" on many objects");
    }
    Notice::Repeated {
        rule: rule.unwrap_or_default().to_owned(),
        subject: what,
        count: counted.count,
        first: scene.wall_time(counted.first_ns),
        last: scene.wall_time(counted.last_ns),
        interrupted: false,
        row: Some((row(subject), counted.total)),
    }
}

/// An id of the subject: the same whenever it is told again.
fn row(subject: &Subject) -> String {
    let mut state = 0;
    for word in subject.as_bytes().chunks(8) {
        let word = word.iter().rev().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
        state = interdict_abi::maps::mixed(state, word);
    }
    format!("{state:016x}")
}
