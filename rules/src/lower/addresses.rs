//! Writes the tables of addresses: one for each column, or one for the columns of several families.
//!
//! A rule that refuses flows to the addresses of a feed is one on packets too, and a feed may have a million prefixes. So
//! families that ask for the same long list on one fact share the pages of one table of all their lists. What stands
//! in the pages leads to the delta of each. Families without such a list keep tables of their own, which stay small.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use interdict_abi::ids::{Fact, Family};

use super::{
    column::{Column, FeedColumn, FeedPredicate, Sharers},
    gather::{Place, Tested},
    settle::Row,
    sweep::Ranges,
    values::{AddressPredicate, Lists, Values},
};
use crate::image::arena::Arena;

/// Ranges of a list that are worth sharing.
const LONG: usize = 4_096;

/// What one family asks of a fact that is an address.
pub(super) struct Asked<'a, 'p> {
    family: Family,
    column: &'a Column,
    predicates: &'a [AddressPredicate<'p>],
    v4: &'a Lists<'p, (u32, u32)>,
    v6: &'a Lists<'p, (u128, u128)>,
}

impl<'a, 'p> Asked<'a, 'p> {
    /// What a column asks, if it is one of addresses.
    pub(super) fn of(family: Family, tested: &'a Tested<'p>) -> Option<Self> {
        match &tested.values {
            Values::Addresses(predicates, v4, v6) => {
                Some(Self { family, column: &tested.column, predicates, v4, v6 })
            }
            Values::Acts
            | Values::Flags(..)
            | Values::Numbers(_)
            | Values::Text(_)
            | Values::Names(_)
            | Values::Programs => None,
        }
    }

    /// Whose it is.
    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// Whether a long list of this one is one of another's.
    fn has_in_common(&self, other: &Self) -> bool {
        common(self.v4, other.v4) || common(self.v6, other.v6)
    }
}

fn common<T: Copy + Eq + Hash>(one: &Lists<'_, T>, other: &Lists<'_, T>) -> bool {
    let mut long = one.all().filter(|(_, list)| list.len() > LONG);
    long.any(|(_, list)| other.all().any(|(_, known)| known == list))
}

/// The tables of one column: of IPv4 and of IPv6.
pub(super) type Tables = (u32, u32);

/// What was written.
pub(super) struct Written {
    /// The tables, in the order of the columns that asked.
    pub(super) tables: Vec<Tables>,
    /// What is needed to change them.
    pub(super) feeds: Option<FeedColumn>,
    /// The rows of those who send packets, if a column is of these.
    pub(super) senders: Vec<Row>,
}

/// Writes the tables of a fact.
pub(super) fn write(arena: &mut Arena, fact: Fact, asked: &[Asked<'_, '_>]) -> Written {
    let mut union = Union::default();
    let mut sharers = Sharers::default();
    for one in asked {
        let own = (0u32..).zip(one.predicates).map(|(number, (v4, v6, from))| {
            (union.number((one.v4.list(*v4), one.v6.list(*v6), from)), number)
        });
        let own = own.collect();
        sharers.add(one.column.clone(), own);
    }
    let mut ranges_v4 = Ranges::default();
    let mut ranges_v6 = Ranges::default();
    for (number, (v4, v6, _)) in (0u32..).zip(&union.predicates) {
        ranges_v4.add(number, v4);
        ranges_v6.add(number, v6);
    }
    let mut rows = HashMap::new();
    let mut row = |truths: &[u32]| {
        let deltas: Vec<u32> = sharers.flips(truths).map(|flips| arena.delta_row(&flips)).collect();
        let row = arena.entry(&deltas);
        rows.insert(truths.to_vec(), row);
        row
    };
    let (keys, found) = ranges_v4.sweep(&mut row);
    let (keys_v6, found_v6) = ranges_v6.sweep(&mut row);
    let columns = asked.len() as u32;
    let tables = arena.addresses_v4(&keys, &found, columns);
    let tables_v6 = arena.addresses_v6(&keys_v6, &found_v6, columns);
    let tables = tables.into_iter().zip(tables_v6).collect();
    let mut ranges: HashMap<u32, usize> = HashMap::new();
    for entry in found.iter().chain(&found_v6) {
        *ranges.entry(*entry).or_default() += 1;
    }
    let of_packets = asked.iter().position(|one| one.family == Family::Packet);
    let senders = of_packets.filter(|_| fact == Fact::RemoteIp).map(|column| {
        // What differs for another column may be one for this.
        let mut rows_of: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
        for (truths, entry) in &rows {
            let flips = sharers.flips(truths).nth(column).unwrap_or_default();
            *rows_of.entry(flips).or_default() += ranges.get(entry).copied().unwrap_or(0);
        }
        let row =
            |(flips, ranges): (Vec<u32>, usize)| Row { at: arena.delta_row(&flips), flips, ranges };
        rows_of.into_iter().map(row).collect()
    });
    let live = union.predicates.iter().any(|(.., from)| !from.is_empty());
    let feeds = asked.first().filter(|_| live).map(|first| {
        let predicates = union.predicates.iter().map(|(v4, v6, from)| {
            // Those of a feed are kept once, with the feed.
            let (v4, v6) = match from.len() {
                1 => (Vec::new(), Vec::new()),
                _ => (v4.to_vec(), v6.to_vec()),
            };
            FeedPredicate { from: from.to_vec(), v4, v6 }
        });
        let predicates = predicates.collect();
        FeedColumn { family: first.family, fact, sharers, predicates, rows }
    });
    Written { tables, feeds, senders: senders.unwrap_or_default() }
}

/// For each fact the columns that share a table, by family.
pub(super) fn shared<'a, 'p>(
    families: impl Iterator<Item = Family>,
    columns: &'a [BTreeMap<Place, Tested<'p>>],
) -> BTreeMap<Fact, Vec<Asked<'a, 'p>>> {
    let mut by_fact: BTreeMap<Fact, Vec<Asked<'a, 'p>>> = BTreeMap::new();
    for (family, columns) in families.zip(columns) {
        for ((fact, _), tested) in columns {
            if let Some(asked) = Asked::of(family, tested) {
                by_fact.entry(*fact).or_default().push(asked);
            }
        }
    }
    for all in by_fact.values_mut() {
        let with_another = |one: &Asked<'_, '_>| {
            all.iter().any(|other| one.family != other.family && one.has_in_common(other))
        };
        let mut shares = all.iter().map(with_another).collect::<Vec<_>>().into_iter();
        all.retain(|_| shares.next() == Some(true));
    }
    by_fact.retain(|_, all| !all.is_empty());
    by_fact
}

/// A predicate by what it holds of: IPv4 and IPv6 ranges, and the lists with a feed that they are of.
type Predicate<'p> = (&'p [(u32, u32)], &'p [(u128, u128)], &'p [String]);

/// Few words of a list that tell most lists apart.
type Digest<T> = (usize, Option<T>, Option<T>);

type Digests = (Digest<(u32, u32)>, Digest<(u128, u128)>);

fn digest<T: Copy + Eq + Hash>(list: &[T]) -> Digest<T> {
    (list.len(), list.first().copied(), list.last().copied())
}

/// The predicates of several columns, equal ones once.
#[derive(Default)]
struct Union<'p> {
    predicates: Vec<Predicate<'p>>,
    alike: HashMap<Digests, Vec<u32>>,
}

impl<'p> Union<'p> {
    fn number(&mut self, wanted: Predicate<'p>) -> u32 {
        let alike = self.alike.entry((digest(wanted.0), digest(wanted.1))).or_default();
        let known = alike.iter().find(|known| self.predicates[**known as usize] == wanted);
        if let Some(known) = known {
            return *known;
        }
        let number = self.predicates.len() as u32;
        alike.push(number);
        self.predicates.push(wanted);
        number
    }
}
