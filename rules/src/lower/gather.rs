//! Gathers what all clauses ask of each fact, so that every table can be written once and whole.
//!
//! Tests on single-valued facts become predicates of a column; tests on ancestors and arguments become bits that
//! clauses carry as residual literals. Tests that a fact has no table for are told, not dropped.

use std::collections::{BTreeMap, HashMap};

use interdict_abi::{
    ids::{Act, Fact, Family, SetFact},
    image::residual,
    limits::{CAPABILITY_MASKS, COLUMNS_USED, RESIDUALS, SET_BITS},
};

use super::{
    column::Column,
    error::Problem,
    number::FamilyClauses,
    parts::Parts,
    space::Space,
    values::{Values, Wrong, column_literal},
};
use crate::ir::{Literal, Pattern, Program, Test};

/// Where a column stands: its fact and, of a string fact, its part.
pub(super) type Place = (Fact, u8);

/// One column of one family.
pub(super) struct Tested<'p> {
    pub(super) column: Column,
    pub(super) values: Values<'p>,
}

/// All that is asked, gathered.
pub(super) struct Gathered<'p> {
    /// By family in order, by fact.
    pub(super) columns: Vec<BTreeMap<Place, Tested<'p>>>,
    /// Residual literals by family and clause.
    pub(super) residuals: Vec<BTreeMap<u32, Vec<u16>>>,
    /// Mask of set facts by family.
    pub(super) sets: Vec<u32>,
    /// Patterns on programs, of all families.
    pub(super) programs: Space<'p>,
    /// Patterns on arguments, of all families.
    pub(super) arguments: Space<'p>,
    /// Predicates of `programs` that are tested on ancestors, by bit.
    pub(super) ancestors: Vec<u32>,
    /// Masks of capabilities that are tested, by bit.
    pub(super) capabilities: Vec<u64>,
}

/// Gathers everything, and tells what can't be gathered.
pub(super) fn gather<'p>(
    program: &Program,
    families: &[FamilyClauses<'p>],
    parts: &Parts<'_>,
    problems: &mut Vec<Problem>,
) -> Gathered<'p> {
    let mut gathered = Gathered {
        columns: Vec::new(),
        residuals: Vec::new(),
        sets: Vec::new(),
        programs: Space::default(),
        arguments: Space::default(),
        ancestors: Vec::new(),
        capabilities: Vec::new(),
    };
    let mut bits: HashMap<u32, u32> = HashMap::new();
    for family in families {
        let mut columns = BTreeMap::new();
        let mut residuals = BTreeMap::new();
        let mut sets = 0;
        let all_acts = acts_of(family.family);
        for (number, numbered) in family.clauses.iter().enumerate() {
            let number = number as u32;
            let id = || program.rules[numbered.rule as usize].id.clone();
            if numbered.clause.acts & all_acts == 0 {
                problems.push(Problem::NoActs { rule: id(), family: family.family.name() });
            }
            for literal in &numbered.clause.literals {
                if let Err((fact, kind)) = column_literal(
                    &mut columns,
                    &mut gathered.programs,
                    (numbered.rule, number),
                    literal,
                    |fact, patterns| parts.of(family.family, fact, patterns),
                ) {
                    problems.push(match kind {
                        Wrong::Kind(kind) => {
                            Problem::Unsupported { rule: id(), fact: fact.name(), kind }
                        }
                        Wrong::Range => Problem::EmptyRange { rule: id(), fact: fact.name() },
                    });
                }
            }
            let mut carried = Vec::new();
            for (fact, negated, patterns) in set_literals(&numbered.clause.literals) {
                sets |= 1 << fact as u32;
                let (bit, count) = match fact {
                    SetFact::Ancestors => {
                        let predicate = gathered.programs.predicate(patterns, numbered.rule);
                        let next = bits.len() as u32;
                        let bit = *bits.entry(predicate).or_insert(next);
                        if bit == next {
                            gathered.ancestors.push(predicate);
                        }
                        (bit, gathered.ancestors.len())
                    }
                    SetFact::Args => {
                        let bit = gathered.arguments.predicate(patterns, numbered.rule);
                        (bit, gathered.arguments.predicates())
                    }
                    // Gathered below: they are no patterns.
                    SetFact::Caps => continue,
                };
                if bit as usize >= SET_BITS {
                    note_set_overflow(problems, fact, count, id());
                }
                let negation = if negated { residual::NEGATED } else { 0 };
                let at = (bit as u16 + 1) & residual::BIT_MASK;
                carried.push(at | (fact as u16) << residual::FACT_SHIFT | negation);
            }
            for (negated, mask) in capability_literals(&numbered.clause.literals) {
                sets |= 1 << SetFact::Caps as u32;
                let masks = &mut gathered.capabilities;
                let bit = masks.iter().position(|known| *known == mask).unwrap_or(masks.len());
                if bit == masks.len() {
                    masks.push(mask);
                }
                if bit >= CAPABILITY_MASKS {
                    note_set_overflow(problems, SetFact::Caps, masks.len(), id());
                }
                let negation = if negated { residual::NEGATED } else { 0 };
                let at = (bit as u16 + 1) & residual::BIT_MASK;
                carried.push(at | (SetFact::Caps as u16) << residual::FACT_SHIFT | negation);
            }
            if carried.len() > RESIDUALS {
                problems.push(Problem::TooManyResiduals {
                    rule: id(),
                    count: carried.len(),
                    limit: RESIDUALS,
                });
            }
            if !carried.is_empty() {
                residuals.insert(number, carried);
            }
        }
        if all_acts.count_ones() > 1 {
            columns
                .insert((Fact::Act, 0), Tested { column: Column::default(), values: Values::Acts });
        }
        check_columns(program, family, &columns, problems);
        gathered.columns.push(columns);
        gathered.residuals.push(residuals);
        gathered.sets.push(sets);
    }
    gathered
}

/// Mask of all acts of a family.
pub(super) fn acts_of(family: Family) -> u32 {
    Act::ALL.iter().filter(|act| act.family() == family).fold(0, |mask, act| mask | act.bit())
}

/// Tells once for each set fact that there are too many predicates, with the final count.
fn note_set_overflow(problems: &mut Vec<Problem>, fact: SetFact, now: usize, id: String) {
    for problem in problems.iter_mut() {
        if let Problem::TooManySetPredicates { fact: told, count, .. } = problem
            && *told == fact.name()
        {
            *count = (*count).max(now);
            return;
        }
    }
    problems.push(Problem::TooManySetPredicates {
        rule: id,
        fact: fact.name(),
        count: now,
        limit: if fact == SetFact::Caps { CAPABILITY_MASKS } else { SET_BITS },
    });
}

/// The tests of a clause on capabilities. Negated ones are joined: none of these and none of those.
fn capability_literals(literals: &[Literal]) -> Vec<(bool, u64)> {
    let mut found: Vec<(bool, u64)> = Vec::new();
    for literal in literals {
        let Test::Capabilities { mask } = literal.test else { continue };
        match found.iter_mut().find(|(negated, _)| *negated && literal.negated) {
            Some((_, all)) => *all |= mask,
            None => found.push((literal.negated, mask)),
        }
    }
    found
}

/// The literals of a clause on facts with many values. Negated ones on the same fact are joined: no ancestor is any of
/// these and none is any of those, so none is any of them all.
fn set_literals(literals: &[Literal]) -> Vec<(SetFact, bool, Vec<&Pattern>)> {
    let mut found: Vec<(SetFact, bool, Vec<&Pattern>)> = Vec::new();
    for literal in literals {
        let (fact, patterns) = match &literal.test {
            Test::Ancestor { patterns } => (SetFact::Ancestors, patterns),
            Test::Argument { patterns } => (SetFact::Args, patterns),
            Test::Text { .. }
            | Test::Number { .. }
            | Test::Flags { .. }
            | Test::Address { .. }
            | Test::Capabilities { .. } => continue,
        };
        let joined = found
            .iter_mut()
            .find(|(earlier, negated, _)| *earlier == fact && *negated && literal.negated);
        match joined {
            Some((_, _, list)) => list.extend(patterns),
            None => found.push((fact, literal.negated, patterns.iter().collect())),
        }
    }
    found
}

/// Refuses a family whose rules test more facts than one decision can narrow by.
fn check_columns(
    program: &Program,
    family: &FamilyClauses<'_>,
    columns: &BTreeMap<Place, Tested<'_>>,
    problems: &mut Vec<Problem>,
) {
    if columns.len() <= COLUMNS_USED {
        return;
    }
    let least = columns
        .iter()
        .filter_map(|((fact, _), tested)| {
            Some((tested.column.uses(), fact, tested.column.last_clause()?))
        })
        .min();
    if let Some((_, fact, clause)) = least {
        let rule = family.clauses[clause as usize].rule;
        problems.push(Problem::TooManyColumns {
            rule: program.rules[rule as usize].id.clone(),
            family: family.family.name(),
            fact: fact.name(),
            count: columns.len(),
            limit: COLUMNS_USED,
        });
    }
}
