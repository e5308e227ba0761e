//! Overlapping ranges of many predicates to disjoint ranges, each with the predicates that are true in it.

use std::collections::HashMap;

/// A number a range can end at: ports and IPv4 addresses, IPv6 addresses.
pub(crate) trait Point: Copy + Ord + std::hash::Hash {
    /// The smallest.
    const FIRST: Self;
    /// The next one, unless this is the largest.
    fn next(self) -> Option<Self>;
}

impl Point for u32 {
    const FIRST: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Point for u128 {
    const FIRST: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// Inclusive ranges, each with the predicate that is true in it.
#[derive(Clone, Debug)]
pub(crate) struct Ranges<P> {
    /// Where a predicate begins (true) or ceases (false) to be true.
    edges: Vec<(P, u32, bool)>,
}

impl<P> Default for Ranges<P> {
    fn default() -> Self {
        Self { edges: Vec::new() }
    }
}

impl<P: Point> Ranges<P> {
    /// Adds the ranges of a predicate.
    pub(crate) fn add(&mut self, predicate: u32, ranges: &[(P, P)]) {
        self.edges.reserve(ranges.len() * 2);
        for (low, high) in ranges {
            self.edges.push((*low, predicate, true));
            if let Some(past) = high.next() {
                self.edges.push((past, predicate, false));
            }
        }
    }

    /// The starts of the disjoint ranges, ascending, the first of them [`Point::FIRST`], each with what `value` answers
    /// for the predicates (ascending) that are true in it. Neighbours differ.
    pub(crate) fn sweep(self, value: &mut dyn FnMut(&[u32]) -> u32) -> (Vec<P>, Vec<u32>) {
        self.sweep_from(P::FIRST, value)
    }

    /// [`Self::sweep`] from `first` on, before which no range begins.
    pub(crate) fn sweep_from(
        mut self,
        first: P,
        value: &mut dyn FnMut(&[u32]) -> u32,
    ) -> (Vec<P>, Vec<u32>) {
        self.edges.sort_unstable();
        let mut keys = vec![first];
        let mut values = vec![value(&[])];
        // Predicates true at the point reached, ascending, with the number of their ranges that hold it.
        let mut active: Vec<(u32, u32)> = Vec::new();
        let mut truths: Vec<u32> = Vec::new();
        let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut edges = self.edges.iter().peekable();
        while let Some((point, predicate, begins)) = edges.next() {
            let place = active.binary_search_by_key(predicate, |(active, _)| *active);
            match (place, begins) {
                (Ok(at), true) => active[at].1 += 1,
                (Err(at), true) => active.insert(at, (*predicate, 1)),
                (Ok(at), false) => {
                    active[at].1 -= 1;
                    if active[at].1 == 0 {
                        active.remove(at);
                    }
                }
                // Ends sort before beginnings at one point, but never before their own beginning.
                (Err(_), false) => {}
            }
            if edges.peek().is_some_and(|(next, _, _)| next == point) {
                continue;
            }
            truths.clear();
            truths.extend(active.iter().map(|(predicate, _)| *predicate));
            let found = match known.get(&truths) {
                Some(found) => *found,
                None => {
                    let found = value(&truths);
                    known.insert(truths.clone(), found);
                    found
                }
            };
            if *point == first {
                values[0] = found;
            } else if values.last() != Some(&found) {
                keys.push(*point);
                values.push(found);
            }
        }
        (keys, values)
    }
}
