//! What the tables of an instance have room for. The kernel allocates tables that give way to what is newer whole when they
//! are made; those that a policy has no use for are made as small as they can be.
//!
//! In: what a policy needs. Out: sizes for the loader, and a word for the instance's name: a policy that needs more room than
//! an instance has is one that the instance cannot serve.

use interdict_abi::ids::{Act, Family};

/// Entries of a table that nothing needs.
const UNUSED: u32 = 64;

/// What there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rooms {
    /// Look-ups of names, and the names of addresses.
    names: bool,
    /// Peers of rules that have a rate.
    rates: bool,
    /// Rules and peers that flows and packets were told of.
    flows: bool,
    /// Reads and writes that were told.
    files: bool,
    /// Processes that are exiting.
    exits: bool,
}

impl Rooms {
    /// What rules about these acts need, and whether some have rates.
    pub(super) fn of(acts: &[Act], rates: bool) -> Self {
        let about = |family| acts.iter().any(|act| act.family() == family);
        Self {
            names: about(Family::Dns),
            rates,
            flows: about(Family::Net) || about(Family::Packet) || about(Family::Dns),
            files: about(Family::File),
            exits: acts.contains(&Act::NetClose),
        }
    }

    fn parts(self) -> [(bool, char, &'static [&'static str]); 5] {
        [
            (self.names, 'n', &["DNS_ASKED", "DNS_NAMES", "DNS_STREAMS"]),
            (self.rates, 'r', &["RATED", "RATES"]),
            (self.flows, 'f', &["RULE_TALLIES", "TOLD"]),
            (self.files, 'o', &["TOLD_FILES"]),
            (self.exits, 'x', &["EXITING"]),
        ]
    }

    /// Tables that are made small, with their size.
    pub(super) fn unused(self) -> impl Iterator<Item = (&'static str, u32)> {
        let parts = self.parts().into_iter().filter(|(used, ..)| !used);
        parts.flat_map(|(.., tables)| tables.iter().map(|table| (*table, UNUSED)))
    }

    /// The word in the name of an instance: a letter for each.
    pub(super) fn word(self) -> String {
        let letters = self.parts().into_iter().filter(|(used, ..)| *used);
        std::iter::once('t').chain(letters.map(|(_, letter, _)| letter)).collect()
    }

    /// Whether an instance with this word in its name has as much room.
    pub(super) fn are_in(self, word: &str) -> bool {
        word.starts_with('t')
            && self.parts().into_iter().all(|(used, letter, _)| !used || word[1..].contains(letter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::object;

    #[test]
    fn an_instance_holds_what_needs_no_more_than_it_was_made_for() {
        let (little, much) = (Rooms::of(&[Act::FileRead], false), Rooms::of(Act::ALL, true));
        assert!(little.are_in(&much.word()) && little.are_in(&little.word()));
        assert!(!much.are_in(&little.word()));
        assert!(!Rooms::of(&[Act::FileRead], true).are_in(&little.word()));
        assert!(!little.are_in("lsm"));
        assert_eq!(much.unused().count(), 0);
    }

    #[test]
    fn every_table_that_is_made_small_is_in_the_object() {
        for (table, _) in Rooms::of(&[], false).unused() {
            object::with_value_size(object::PREBUILT, table, 8).unwrap();
        }
    }
}
