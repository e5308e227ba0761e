//! Which clauses the tests have hit.

use std::collections::BTreeSet;

use interdict_abi::ids::Family;

use crate::{image::PolicyImage, meta::ClauseMeta};

/// Clauses of an image and which of them were hit.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    clauses: Vec<(Family, u32, ClauseMeta)>,
    hit: BTreeSet<(Family, u32)>,
}

/// Coverage of one exception that was not hit whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExceptionCoverage {
    /// Its index among those of the rule.
    pub index: u16,
    /// Clauses it has.
    pub clauses: usize,
    /// How many were hit.
    pub hit: usize,
}

/// Coverage of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCoverage {
    /// Its number.
    pub rule: u32,
    /// Clauses it has, exceptions not counted.
    pub clauses: usize,
    /// How many were hit.
    pub hit: usize,
    /// Exceptions with clauses that were not hit, how many, and of how many.
    pub exceptions: Vec<ExceptionCoverage>,
}

impl Coverage {
    /// Nothing was hit yet.
    pub fn of(image: &PolicyImage) -> Self {
        let mut clauses = Vec::new();
        for family in Family::ALL {
            let of_family = image.metadata().clauses.get(*family as usize);
            for (number, clause) in (0u32..).zip(of_family.into_iter().flatten()) {
                clauses.push((*family, number, clause.clone()));
            }
        }
        Self { clauses, hit: BTreeSet::new() }
    }

    /// These hold in some test.
    pub(super) fn hit(&mut self, clauses: &[(Family, u32)]) {
        self.hit.extend(clauses.iter().copied());
    }

    /// Clauses hit, and clauses there are.
    pub fn total(&self) -> (usize, usize) {
        (self.hit.len(), self.clauses.len())
    }

    /// Rule by rule.
    pub fn rules(&self) -> Vec<RuleCoverage> {
        let mut rules: Vec<RuleCoverage> = Vec::new();
        let mut sorted: Vec<&(Family, u32, ClauseMeta)> = self.clauses.iter().collect();
        sorted.sort_by_key(|(_, _, clause)| clause.rule);
        for (family, number, clause) in sorted {
            if rules.last().is_none_or(|last| last.rule != clause.rule) {
                rules.push(RuleCoverage {
                    rule: clause.rule,
                    clauses: 0,
                    hit: 0,
                    exceptions: Vec::new(),
                });
            }
            let Some(last) = rules.last_mut() else { continue };
            match clause.exception {
                None => {
                    last.clauses += 1;
                    last.hit += usize::from(self.hit.contains(&(*family, *number)));
                }
                Some(index) => {
                    let hit = usize::from(self.hit.contains(&(*family, *number)));
                    match last.exceptions.iter_mut().find(|one| one.index == index) {
                        Some(one) => {
                            one.clauses += 1;
                            one.hit += hit;
                        }
                        None => {
                            last.exceptions.push(ExceptionCoverage { index, clauses: 1, hit });
                        }
                    }
                }
            }
        }
        for rule in &mut rules {
            rule.exceptions.retain(|one| one.hit < one.clauses);
        }
        rules
    }
}
