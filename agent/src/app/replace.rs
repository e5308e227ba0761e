//! From one instance of programs to another: loading anew what the loaded programs cannot serve, and the end of earlier
//! instances. Nothing that they counted is lost, and at no time does nobody enforce.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{App, AppError, load_options};
use crate::{
    kernel::{
        loader::{Loaded, remove_instance, remove_links},
        repeats::Rows,
        ring::{Faults, Reader, drain},
        slots::Slots,
    },
    pipeline::{Counted, boot_ns},
    policy::Policy,
};

/// How long what an instance counted may take to become durable before it is removed.
const LAST: Duration = Duration::from_secs(5);

/// Whose the instances are that are removed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// This agent's, which has told what they counted.
    Ours,
    /// Another agent's.
    Another,
}

impl App {
    /// Loads programs anew beside those that enforce, for a policy that they cannot serve, and then removes those.
    pub(super) fn replace(&mut self, policy: &mut Policy) -> Result<(), AppError> {
        let options = load_options(&self.config);
        let guarded = self.config.protect.on;
        self.expect_links()?;
        let mut loaded = Loaded::start_for(options, policy.wanted(policy.wanted_bytes(), guarded))?;
        loaded.attach_lifecycle()?;
        let mut slots = Slots::open(&loaded)?;
        slots.number_after(self.loaded.directory())?;
        let faults = Faults::of(loaded.directory())?;
        let repeats = Rows::of(loaded.directory())?;
        let reader = Reader::start(&loaded, self.pipeline.records())?;
        let old_slots = std::mem::replace(&mut self.slots, slots);
        let old_loaded = std::mem::replace(&mut self.loaded, loaded);
        // A guard that a token has ended stays so; the old instance's goes on guarding until it is removed.
        let guards = self.protection.as_ref().is_some_and(|old| old.is_armed().unwrap_or(true));
        let enforced = self.enforce(policy).and_then(|()| match guards {
            true => self.protect(),
            false => Ok(()),
        });
        if let Err(error) = enforced {
            reader.stop();
            remove_instance(self.loaded.directory());
            self.slots = old_slots;
            self.loaded = old_loaded;
            self.move_containers()?;
            self.guard_links()?;
            return Err(error);
        }
        if let Some(old) = self.reader.replace(reader) {
            old.stop();
        }
        for other in self.loaded.others() {
            remove_links(&other);
        }
        // What the old programs counted last. Their rows are all there: nothing counts as gone.
        self.look_at_faults();
        let settled = self.pipeline.rows();
        let last = self.repeats.news(boot_ns(), 0, settled, true);
        self.tell_last(last.counted);
        self.faults = faults;
        self.repeats = repeats;
        self.remove_others(Before::Ours);
        Ok(())
    }

    /// Removes the instances of earlier agents, now that this one enforces: programs first, then what they still had to
    /// tell is read, then the rest.
    pub(super) fn remove_others(&self, before: Before) {
        for other in self.loaded.others() {
            remove_links(&other);
            if let Err(error) = drain(&other, &self.pipeline.records()) {
                tracing::warn!(%error, instance = %other.display(), "its last records are lost");
                self.pipeline.lost("old_ring_unreadable", 1);
            }
            if before == Before::Another {
                self.tell_counts_of(&other);
            }
            remove_instance(&other);
        }
    }

    /// Tells what the programs of another agent's instance have counted and nobody has told. They no longer run.
    pub(super) fn tell_counts_of(&self, instance: &Path) {
        match Faults::of(instance) {
            Ok(faults) => self.tell_faults(&faults),
            Err(error) => {
                tracing::warn!(%error, instance = %instance.display(), "what it counted is not known");
                self.pipeline.lost("old_counters_unreadable", 1);
            }
        }
        // One of before there were rows has none.
        if let Ok(mut rows) = Rows::of(instance) {
            let settled = self.pipeline.rows();
            self.tell_last(rows.news(boot_ns(), 0, settled, true).counted);
        }
    }

    /// Tells what rows hold that are about to go, and waits until that is durable: nobody can tell it again.
    pub(super) fn tell_last(&self, counted: Vec<Counted>) {
        if counted.is_empty() {
            return;
        }
        let acts = counted.iter().map(|counted| counted.count).sum();
        let before = self.pipeline.rows();
        let number = self.pipeline.counted(counted);
        let deadline = Instant::now() + LAST;
        while self.pipeline.rows().durable < number {
            if self.pipeline.rows().failed > before.failed || Instant::now() > deadline {
                self.pipeline.lost("repeats_untold", acts);
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}
