//! Policy files that change while the agent runs. Whatever is wrong with them, what is in force stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use interdict_rules::meta::Severity;

use super::{App, AppError};
use crate::{
    alert::Notice,
    policy::{Policy, PolicyError, Stamps},
    trust::Trust,
};

impl App {
    /// Compiles the policies again and puts them in force. Whatever is wrong with them, the old ones stay.
    pub(super) fn reload(&mut self) {
        match self.try_reload() {
            Ok(digest) => tracing::info!(digest = &digest[..12], "another policy is in force"),
            Err(error) => {
                tracing::error!(%error, "the policy in force stays");
                self.pipeline.notice(Notice::PolicyRefused { reason: error.to_string() });
            }
        }
    }

    pub(super) fn try_reload(&mut self) -> Result<String, AppError> {
        if let Some(protection) = &self.protection {
            protection.in_place(&self.config)?;
        }
        let trust = Trust::of(&self.config).map_err(PolicyError::from)?;
        let mut policy = Policy::open_with_canaries(&self.config.policies, &trust, &self.places)?;
        policy.demand(self.loaded.deciding().lsm())?;
        let wanted = policy.wanted(policy.image.kernel().len(), self.config.protect.on);
        if self.loaded.can_serve(wanted) {
            self.enforce(&mut policy)?;
            // While the policy that they were counted under is known.
            self.look_at_repeats(true);
        } else {
            self.replace(&mut policy)?;
        }
        self.say_ready()?;
        Ok(policy.digest)
    }

    /// If nothing has changed but feeds of addresses: puts the difference in force. Answers whether that is all there is to
    /// do.
    pub(super) fn change_feeds(&mut self, before: &Stamps) -> bool {
        let differ = |file: &&PathBuf| before.get(*file) != self.seen.get(*file);
        let files: BTreeSet<PathBuf> =
            before.keys().chain(self.seen.keys()).filter(differ).cloned().collect();
        let in_place = self.protection.as_ref().map(|guard| guard.in_place(&self.config));
        if files.iter().any(|file| !self.seen.contains_key(file))
            || matches!(in_place, Some(Err(_)))
        {
            return false;
        }
        let changed = self.feeds.change(&files, &mut self.slots, &mut self.canaries.hold());
        match changed {
            Ok(changed) => {
                self.tell_feeds();
                for list in changed {
                    let difference = list.difference.unwrap_or_default();
                    tracing::info!(
                        list = list.name,
                        entries = list.entries,
                        ?difference,
                        "a feed changed"
                    );
                    self.pipeline.notice(Notice::Other {
                        name: "feed-changed",
                        severity: Severity::Info,
                        message: format!(
                            "the list {} is in force with {} entries: {} ranges came, {} went",
                            list.name, list.entries, difference.added, difference.removed
                        ),
                        detail: BTreeMap::from([
                            ("list".to_owned(), list.name),
                            ("file".to_owned(), list.file),
                            ("digest".to_owned(), list.digest),
                            ("entries".to_owned(), list.entries.to_string()),
                            ("added".to_owned(), difference.added.to_string()),
                            ("removed".to_owned(), difference.removed.to_string()),
                        ]),
                    });
                }
                true
            }
            Err(error) => {
                tracing::info!(%error, "policies are compiled again");
                false
            }
        }
    }
}
