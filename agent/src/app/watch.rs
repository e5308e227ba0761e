//! What is looked at every second: what the kernel side counted, its switches, the guard, interfaces, policy files.

use std::{collections::BTreeMap, fs};

use interdict_abi::ids::Fault;
use interdict_rules::meta::Severity;

use super::App;
use crate::{
    alert::Notice,
    kernel::ring::{Faults, is_loss},
    pipeline::boot_ns,
    policy::stamps,
};

impl App {
    pub(super) fn look(&mut self) {
        let _told = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        self.look_at_faults();
        self.look_at_repeats(false);
        self.look_at_ftrace();
        self.look_at_protection();
        self.look_at_interfaces();
        let seen = stamps(&self.config.policies);
        if seen != self.seen {
            let before = std::mem::replace(&mut self.seen, seen);
            if !self.change_feeds(&before) {
                self.reload();
            }
        }
    }

    pub(super) fn look_at_faults(&self) {
        self.tell_faults(&self.faults);
    }

    pub(super) fn tell_faults(&self, of: &Faults) {
        let (mut losses, mut faults) = (BTreeMap::new(), BTreeMap::new());
        for (fault, total) in of.totals() {
            // Told by subject.
            if fault == Fault::Repeats {
                continue;
            }
            let counts = if is_loss(fault) { &mut losses } else { &mut faults };
            counts.insert(fault.name().to_owned(), total);
        }
        self.pipeline.kernel_counters(of.instance(), &losses, &faults);
    }

    /// Tells what the kernel counted instead of telling it. `all`: nothing will follow.
    pub(super) fn look_at_repeats(&mut self, all: bool) {
        let gone = self.slots.control().map_or(0, |control| control.repeats_gone);
        let news = self.repeats.news(boot_ns(), gone, self.pipeline.rows(), all);
        if news.gone > 0
            && let Err(error) = self.slots.repeats_gone(news.gone)
        {
            tracing::error!(%error, "what the kernel counted cannot be held against what is told");
        }
        let handed = self.pipeline.counted(news.counted);
        self.repeats.handed(handed);
        self.pipeline.lost("repeats_unattributed", news.unattributed);
    }

    pub(super) fn look_at_protection(&mut self) {
        let Some(protection) = &mut self.protection else { return };
        match protection.look() {
            Ok(true) => {
                tracing::warn!("a break-glass token has ended self-protection");
                self.pipeline.notice(Notice::Other {
                    name: "break-glass",
                    severity: Severity::High,
                    message:
                        "a break-glass token has ended self-protection until the agent starts \
                              again"
                            .to_owned(),
                    detail: BTreeMap::new(),
                });
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the guard cannot be looked at"),
        }
    }

    /// With `kernel.ftrace_enabled` at 0 the kernel calls no LSM program and says nothing.
    pub(super) fn look_at_ftrace(&mut self) {
        if !self.loaded.deciding().lsm() {
            return;
        }
        let value = fs::read_to_string("/proc/sys/kernel/ftrace_enabled").unwrap_or_default();
        let off = value.trim() == "0";
        if off && !self.ftrace_off {
            tracing::error!("kernel.ftrace_enabled is 0: the kernel calls no LSM program");
            self.pipeline.notice(Notice::CanaryFailed {
                canary: "ftrace_enabled".to_owned(),
                detail: "kernel.ftrace_enabled is 0: the kernel calls no LSM program, nothing is \
                         refused; set it to 1"
                    .to_owned(),
            });
        } else if !off && self.ftrace_off {
            // Directories may have moved meanwhile, and nobody saw it.
            self.loaded.forget_paths();
            self.pipeline.notice(Notice::CanaryRecovered { canary: "ftrace_enabled".to_owned() });
        }
        self.ftrace_off = off;
    }
}
