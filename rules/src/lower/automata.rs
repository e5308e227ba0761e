//! Builds all automata of an image, several at a time: they know nothing of each other.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use interdict_abi::ids::{Fact, SetFact};

use super::{
    Budget,
    column::Column,
    error::Problem,
    gather::{Gathered, Place},
    space::Space,
    values::Values,
};
use crate::{
    dfa::{Automaton, Chains},
    image::expected,
    ir::Program,
};

/// Patterns below which starting a thread takes longer than it saves.
const WORTH_THREADS: usize = 200;

/// Whose automaton it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// Programs, of all families.
    Programs,
    /// Arguments.
    Arguments,
    /// A fact of the family with this place among those that have rules.
    Column(usize, Place),
}

/// An automaton and what its labels stand for.
pub(super) struct Built {
    /// The automaton.
    pub(super) automaton: Automaton,
    /// By label: the clauses to flip for a column, the predicates that are true for what families share.
    pub(super) labels: Vec<Vec<u32>>,
}

struct Job<'g, 'p> {
    owner: Owner,
    name: &'static str,
    chains: Chains,
    space: &'g Space<'p>,
    column: Option<&'g Column>,
}

/// Builds the automata that `gathered` asks for. Those that can't be built are missing, and told.
pub(super) fn build(
    program: &Program,
    gathered: &Gathered<'_>,
    budget: &Budget,
    problems: &mut Vec<Problem>,
) -> BTreeMap<Owner, Built> {
    let mut jobs = vec![
        Job {
            owner: Owner::Programs,
            name: Fact::Exe.name(),
            chains: expected::chains(Fact::Exe),
            space: &gathered.programs,
            column: None,
        },
        Job {
            owner: Owner::Arguments,
            name: SetFact::Args.name(),
            chains: Chains::Rows,
            space: &gathered.arguments,
            column: None,
        },
    ];
    for (family, columns) in gathered.columns.iter().enumerate() {
        for (place, tested) in columns {
            if let Values::Text(space) = &tested.values {
                let owner = Owner::Column(family, *place);
                jobs.push(Job {
                    owner,
                    name: place.0.name(),
                    chains: expected::chains(place.0),
                    space,
                    column: Some(&tested.column),
                });
            }
        }
    }
    jobs.retain(|job| job.space.predicates() > 0);
    // The largest first: it decides how long all take.
    jobs.sort_by_key(|job| (usize::MAX - job.space.patterns(), job.owner));
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = run(job, program, budget);
            if let Ok(mut done) = done.lock() {
                done.push((job.owner, outcome));
            }
        }
    };
    let patterns: usize = jobs.iter().map(|job| job.space.patterns()).sum();
    let threads = if patterns < WORTH_THREADS {
        1
    } else {
        std::thread::available_parallelism().map_or(1, |count| count.get())
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(jobs.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(owner, _)| *owner);
    let mut built = BTreeMap::new();
    for (owner, outcome) in done {
        match outcome {
            Ok(automaton) => drop(built.insert(owner, automaton)),
            Err(found) => problems.extend(found),
        }
    }
    built
}

fn run(job: &Job<'_, '_>, program: &Program, budget: &Budget) -> Result<Built, Vec<Problem>> {
    let mut labels: Vec<Vec<u32>> = vec![Vec::new()];
    let mut known: HashMap<Vec<u32>, u32> = HashMap::from([(Vec::new(), 0)]);
    let automaton =
        job.space.automaton((job.name, job.chains), program, budget, &mut |truths| {
            // For a column strings that flip the same clauses are the same: fewer labels, fewer states.
            let meaning = match job.column {
                Some(column) => column.flips(truths),
                None => truths.to_vec(),
            };
            if let Some(label) = known.get(&meaning) {
                return *label;
            }
            let label = labels.len() as u32;
            labels.push(meaning.clone());
            known.insert(meaning, label);
            label
        })?;
    Ok(Built { automaton, labels })
}
