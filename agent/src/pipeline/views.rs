//! The policies that described the last alerts, kept across restarts of the agent.
//!
//! Programs go on deciding while no agent runs, and the ring keeps what they tell: the next agent reads alerts of a
//! generation that it never loaded. So the newest views are written to the state folder before they are in force, and
//! read again at the start, if this is still the same boot. Without them an alert would have no rule.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use interdict_rules::meta::Metadata;
use serde::{Deserialize, Serialize};

use crate::alert::build::PolicyView;

/// Views kept in memory, and on disk for the next agent: as many policies may have come into force between an act and the
/// moment at which it is told, when the agent is far behind or was killed meanwhile.
pub(super) const KNOWN: usize = 64;

/// Rules in all views that are kept, from the third on.
const RULES: usize = 20_000;

/// Lets the oldest views go until at most `most` are left, with no more rules than there is room for. The one in force and
/// the one before it always stay.
pub(super) fn trim(views: &mut VecDeque<Arc<PolicyView>>, most: usize) {
    let rules = |views: &VecDeque<Arc<PolicyView>>| -> usize {
        views.iter().map(|view| view.metadata.rules.len()).sum()
    };
    while views.len() > 2 && (views.len() > most || rules(views) > RULES) {
        views.pop_front();
    }
}

#[derive(Deserialize)]
struct Stored {
    boot_id: String,
    views: Vec<StoredView>,
}

#[derive(Deserialize)]
struct StoredView {
    generation: u32,
    digest: String,
    metadata: Metadata,
}

#[derive(Serialize)]
struct Storing<'a> {
    boot_id: &'a str,
    views: Vec<StoringView<'a>>,
}

#[derive(Serialize)]
struct StoringView<'a> {
    generation: u32,
    digest: &'a str,
    metadata: &'a Metadata,
}

/// Where they are kept.
#[derive(Debug)]
pub(super) struct Views {
    path: PathBuf,
    boot_id: String,
}

impl Views {
    pub(super) fn new(state: &Path, boot_id: &str) -> Self {
        Self { path: state.join("policy-views.json"), boot_id: boot_id.to_owned() }
    }

    /// Reads what the last agent of this boot knew. What can't be read is not known.
    pub(super) fn read(&self) -> VecDeque<Arc<PolicyView>> {
        let stored: Option<Stored> =
            fs::read(&self.path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let views =
            stored.filter(|stored| stored.boot_id == self.boot_id).map(|stored| stored.views);
        let view = |view: StoredView| {
            Arc::new(PolicyView::new(view.generation, view.digest, view.metadata))
        };
        views.into_iter().flatten().map(view).collect()
    }

    /// Writes `views`.
    pub(super) fn write(&self, views: &VecDeque<Arc<PolicyView>>) -> io::Result<()> {
        let views = views
            .iter()
            .map(|view| StoringView {
                generation: view.generation,
                digest: &view.digest,
                metadata: &view.metadata,
            })
            .collect();
        let text = serde_json::to_vec(&Storing { boot_id: &self.boot_id, views })
            .map_err(io::Error::other)?;
        let draft = self.path.with_extension("new");
        fs::write(&draft, text)?;
        fs::File::open(&draft)?.sync_all()?;
        fs::rename(&draft, &self.path)
    }
}
