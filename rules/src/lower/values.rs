//! The kinds of values that single-valued facts have, and the distinct predicates on them.

use std::collections::{BTreeMap, HashMap};

use interdict_abi::ids::{Fact, object_flags, process_flags};

use super::{
    column::Column,
    gather::{Place, Tested},
    parts::NAMES,
    space::Space,
};
use crate::{
    image::expected::{Expected, expected},
    ir::{Literal, Pattern, Test},
};

/// The predicates of a column.
#[derive(Debug)]
pub(super) enum Values<'p> {
    /// Masks of acts: clauses say themselves what they are about.
    Acts,
    /// Masks over so many bits.
    Flags(Vec<u32>, u32),
    /// Ranges of numbers.
    Numbers(Lists<'p, (u32, u32)>),
    /// Ranges of addresses, each predicate a number of both lists; `None` for one without such ranges.
    Addresses(Vec<AddressPredicate<'p>>, Lists<'p, (u32, u32)>, Lists<'p, (u128, u128)>),
    /// Strings, by an automaton of their own.
    Text(Space<'p>),
    /// Names that are listed in full, by a table.
    Names(Space<'p>),
    /// Programs: predicates of the space all families share.
    Programs,
}

/// The IPv4 and the IPv6 list of a predicate on addresses, and the lists with a feed that they are of.
pub(super) type AddressPredicate<'p> = (u32, u32, &'p [String]);

/// Distinct lists of ranges. Feeds are long and used by many rules: they are compared, not copied.
#[derive(Debug)]
pub(super) struct Lists<'p, T> {
    lists: Vec<&'p [T]>,
    alike: HashMap<(usize, Option<T>, Option<T>), Vec<u32>>,
}

impl<'p, T: Copy + Eq + std::hash::Hash> Lists<'p, T> {
    fn new() -> Self {
        Self { lists: Vec::new(), alike: HashMap::new() }
    }

    fn intern(&mut self, list: &'p [T]) -> u32 {
        let alike = self
            .alike
            .entry((list.len(), list.first().copied(), list.last().copied()))
            .or_default();
        for known in alike.iter() {
            if self.lists[*known as usize] == list {
                return *known;
            }
        }
        let number = self.lists.len() as u32;
        alike.push(number);
        self.lists.push(list);
        number
    }

    /// The list with this number.
    pub(super) fn list(&self, number: u32) -> &'p [T] {
        self.lists[number as usize]
    }

    /// All lists by number.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &'p [T])> {
        (0..).zip(self.lists.iter().copied())
    }
}

/// What is wrong with a literal.
pub(super) enum Wrong {
    /// The fact has no such test.
    Kind(&'static str),
    /// A range ends before it starts.
    Range,
}

fn position<T: PartialEq>(known: &mut Vec<T>, wanted: T) -> u32 {
    let at = known.iter().position(|item| *item == wanted).unwrap_or(known.len());
    if at == known.len() {
        known.push(wanted);
    }
    at as u32
}

/// Adds a literal of clause `number` of rule `rule` to the column of its fact. Literals on set facts have none.
pub(super) fn column_literal<'p>(
    columns: &mut BTreeMap<Place, Tested<'p>>,
    programs: &mut Space<'p>,
    (rule, number): (u32, u32),
    literal: &'p Literal,
    part: impl Fn(Fact, &[Pattern]) -> u8,
) -> Result<(), (Fact, Wrong)> {
    let (fact, empty) = match &literal.test {
        Test::Text { fact, .. } => (*fact, text_values(*fact).ok_or((*fact, Wrong::Kind("text")))?),
        Test::Number { fact, ranges } => {
            let known = is_number(*fact);
            let straight = ranges.iter().all(|(low, high)| low <= high);
            match (known, straight) {
                (true, true) => (*fact, Values::Numbers(Lists::new())),
                (true, false) => return Err((*fact, Wrong::Range)),
                (false, _) => return Err((*fact, Wrong::Kind("a number"))),
            }
        }
        Test::Flags { fact, .. } => {
            let bits = match fact {
                Fact::ObjectFlags => object_flags::BITS,
                Fact::ProcessFlags => process_flags::BITS,
                _ => return Err((*fact, Wrong::Kind("flags"))),
            };
            (*fact, Values::Flags(Vec::new(), bits))
        }
        Test::Address { fact, v4, v6, .. } => {
            let straight = v4.iter().all(|(low, high)| low <= high)
                && v6.iter().all(|(low, high)| low <= high);
            match (matches!(fact, Fact::RemoteIp | Fact::LocalIp), straight) {
                (true, true) => (*fact, Values::Addresses(Vec::new(), Lists::new(), Lists::new())),
                (true, false) => return Err((*fact, Wrong::Range)),
                (false, _) => return Err((*fact, Wrong::Kind("an address"))),
            }
        }
        Test::Ancestor { .. } | Test::Argument { .. } | Test::Capabilities { .. } => return Ok(()),
    };
    let part = match &literal.test {
        Test::Text { patterns, .. } => part(fact, patterns),
        Test::Number { .. }
        | Test::Flags { .. }
        | Test::Address { .. }
        | Test::Ancestor { .. }
        | Test::Argument { .. }
        | Test::Capabilities { .. } => 0,
    };
    let empty = if part == NAMES { Values::Names(Space::default()) } else { empty };
    let tested = columns
        .entry((fact, part))
        .or_insert_with(|| Tested { column: Column::default(), values: empty });
    let predicate = match (&mut tested.values, &literal.test) {
        (Values::Programs, Test::Text { patterns, .. }) => programs.predicate(patterns, rule),
        (Values::Text(space) | Values::Names(space), Test::Text { patterns, .. }) => {
            space.predicate(patterns, rule)
        }
        (Values::Numbers(lists), Test::Number { ranges, .. }) => lists.intern(ranges),
        (Values::Flags(masks, _), Test::Flags { mask, .. }) => position(masks, *mask),
        (Values::Addresses(known, lists_v4, lists_v6), Test::Address { v4, v6, from, .. }) => {
            position(known, (lists_v4.intern(v4), lists_v6.intern(v6), from.as_slice()))
        }
        // A fact has one kind of values, checked above.
        (
            Values::Acts
            | Values::Programs
            | Values::Text(_)
            | Values::Names(_)
            | Values::Numbers(_)
            | Values::Flags(..)
            | Values::Addresses(..),
            Test::Text { .. }
            | Test::Number { .. }
            | Test::Flags { .. }
            | Test::Address { .. }
            | Test::Ancestor { .. }
            | Test::Argument { .. }
            | Test::Capabilities { .. },
        ) => return Err((fact, Wrong::Kind("two things at once"))),
    };
    tested.column.add(number, predicate, literal.negated);
    Ok(())
}

fn text_values<'p>(fact: Fact) -> Option<Values<'p>> {
    match expected(fact) {
        Expected::Text => Some(Values::Text(Space::default())),
        Expected::Program => Some(Values::Programs),
        Expected::Direct | Expected::Ranges | Expected::Addresses => None,
    }
}

fn is_number(fact: Fact) -> bool {
    expected(fact) == Expected::Ranges
}
