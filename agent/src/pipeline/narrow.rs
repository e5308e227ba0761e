//! Which rules of a decision are told, given what only user space knows.
//!
//! In: a decision, its context and its policy. Out: the clauses that are told, or that none is. Owned, so that it can be
//! asked again when the names of a container have come.

use std::collections::BTreeMap;

use interdict_abi::ids::{Family, Fault};
use interdict_rules::told::Known;

use crate::{
    alert::build::{PolicyView, Scene},
    enrich::{Context, Enricher, container::Container, told},
    events::Decision,
};

/// The rules that matched, and what is known of what they ask for.
#[derive(Debug)]
pub(super) struct Narrowed {
    pub(super) family: Family,
    clauses: Vec<u16>,
    known: BTreeMap<String, Known>,
    /// Everything that matched is among the clauses, and it matched for certain.
    whole: bool,
}

impl Narrowed {
    pub(super) fn of(
        decision: &Decision<'_>,
        context: &Context,
        policy: Option<&PolicyView>,
        enricher: &mut Enricher,
        scene: &Scene,
    ) -> Self {
        let (family, clauses) = (decision.acts.family(), decision.clauses());
        let mut known = BTreeMap::new();
        for field in policy.into_iter().flat_map(|view| view.narrowing_fields(family, clauses)) {
            if !known.contains_key(field) {
                let value = enricher.told(field, decision, context, &scene.host.name);
                known.insert(field.to_owned(), value);
            }
        }
        Self {
            family,
            clauses: clauses.to_vec(),
            known,
            // Rules that hold because a container or the process is not known are among those that matched, and never narrowed.
            whole: !decision.flags.more_rules()
                && matches!(
                    decision.fault,
                    Fault::None | Fault::Workload | Fault::Process | Fault::Args
                ),
        }
    }

    /// The clauses that are told. `None`: every rule that matched says that it is not about this.
    pub(super) fn told(&self, policy: Option<&PolicyView>) -> Option<Vec<u16>> {
        let Some(policy) = policy.filter(|_| !self.known.is_empty()) else {
            return Some(self.clauses.clone());
        };
        let told = policy.narrow(self.family, &self.clauses, &self.known);
        (!told.is_empty() || !self.whole).then_some(told)
    }

    /// Whether the names of the container can change what is told.
    pub(super) fn may_change(&self) -> bool {
        self.known.iter().any(|(field, known)| told::of_place(field) && *known == Known::Unknown)
    }

    /// The names have come.
    pub(super) fn name(&mut self, container: &Container) {
        for (field, known) in &mut self.known {
            if told::of_place(field) {
                *known = told::place(field, false, Some(container));
            }
        }
    }
}
