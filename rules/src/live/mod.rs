//! Feeds of addresses that change while they are in force: what has to be written where, so that only what changes is.
//!
//! In: the new values of one list. Out: [`Patch`]es for the image that programs are reading. The tables of addresses are
//! in pages (`abi::image::pages`): a page in which something changes is written anew to memory that nobody reads, and one
//! store of its descriptor puts it in the place of the old one. So each address is decided as before or as after, never
//! as neither, and one that stays listed is never missing. The room of old pages is used again only when the caller says
//! that no program reads them any more ([`Feeds::settled`]).
//!
//! What cannot be done so is refused ([`Refused`]): then the policies have to be compiled again.

mod patch;
mod room;
mod table;

use std::path::PathBuf;

use interdict_abi::{
    ids::{Fact, Family},
    image::{COLUMN_BYTES, HEADER_BYTES, column, family, header},
};
use interdict_engine::Memory as _;

pub use self::patch::{Patch, Step};
use self::{
    patch::Writing,
    room::Room,
    table::{Changed, Table},
};
use crate::{
    analyse,
    image::verify,
    lower::{FeedColumn, Point},
    parse::feed::Addresses,
};

/// A list of addresses with a feed.
#[derive(Clone, Debug)]
pub struct Source {
    /// The list.
    pub list: String,
    /// Its feed.
    pub file: PathBuf,
    /// Entries the feed may have.
    pub max: u32,
    /// What the list holds beside the feed.
    pub items: Addresses,
    /// Entries of that.
    pub own_entries: u64,
    /// All it holds.
    pub values: Addresses,
}

/// Why a list cannot be changed by difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not known, or rules join it with other addresses.
    #[error("the list is joined with other addresses in a rule, or is none")]
    Joined,
    /// Whole networks that stand for the world come or go: that rules do not lock anybody out has to be looked at again.
    #[error("it changes what becomes of addresses that stand for the whole world")]
    World,
    /// So much changes that a new image costs less.
    #[error("it changes too wide ranges")]
    Wide,
    /// There is no room in the image for the pages.
    #[error("there is no room left beside the image")]
    NoRoom,
}

/// Blocks of the fronts that may have to be looked at for one change.
const BLOCKS: u64 = 1 << 22;

/// Bytes after which a patch is handed out: as much is copied twice and kept until it is settled.
const PATCH_BYTES: usize = 4 << 20;

/// The feeds of an image, and its tables that they are in.
#[derive(Clone, Debug)]
pub struct Feeds {
    sources: Vec<Source>,
    /// Whether no rule joins a list with other addresses.
    changeable: Vec<bool>,
    columns: Vec<Column>,
    room: Room,
    length: u32,
}

#[derive(Clone, Debug)]
struct Column {
    from: FeedColumn,
    /// For each predicate the feed whose values it has.
    feeds: Vec<Option<usize>>,
    v4: Table<u32>,
    v6: Table<u128>,
}

/// A change that is being made.
#[derive(Clone, Debug)]
pub struct Change {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    /// Pages to be written: column, whether of IPv6, page.
    pages: Vec<(usize, bool, usize)>,
    blocks: u64,
    /// Ranges that were not there before.
    pub added: usize,
    /// Ranges that are there no longer.
    pub removed: usize,
}

impl Change {
    /// Pages that are still to be written.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }
}

impl Feeds {
    /// The feeds of an image. `None` if none of them can be changed by difference.
    pub(crate) fn of(
        image: &[u8],
        columns: Vec<FeedColumn>,
        mut sources: Vec<Source>,
    ) -> Option<Self> {
        let predicates = || columns.iter().flat_map(|column| &column.predicates);
        sources.retain(|source| predicates().any(|one| one.from.contains(&source.list)));
        let alone = |source: &Source| {
            predicates().all(|one| one.from.len() == 1 || !one.from.contains(&source.list))
        };
        let changeable: Vec<bool> = sources.iter().map(alone).collect();
        let columns = columns.iter().cloned().map(|from| {
            let feed = |list: &String| sources.iter().position(|source| source.list == *list);
            let feeds = from.predicates.iter().map(|one| match one.from.as_slice() {
                [list] => feed(list),
                _ => None,
            });
            let feeds = feeds.collect();
            let table = |word| table_of(image, from.family, from.fact, word);
            let v4 = Table::<u32>::read(image, table(column::TABLE));
            let v6 = Table::<u128>::read(image, table(column::TABLE_V6));
            Column { from, feeds, v4, v6 }
        });
        let columns = columns.collect();
        let length = image.len() as u32;
        let usable = changeable.contains(&true);
        usable.then(|| Self { sources, changeable, columns, room: Room::new(length), length })
    }

    /// The lists that can be changed.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().zip(&self.changeable).filter(|(_, can)| **can).map(|(source, _)| source)
    }

    /// Bytes that should be free beside the image, so that changes find room.
    pub fn spare(&self) -> usize {
        let ranges = |source: &Source| source.values.v4.len() * 16 + source.values.v6.len() * 40;
        (64 << 10) + self.sources().map(ranges).sum::<usize>() / 16
    }

    /// Lets the image grow up to `bytes`.
    pub fn grow_to(&mut self, bytes: usize) {
        self.room.end = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Starts changing a list to `values`: those of its feed, what it holds beside them is added.
    ///
    /// # Errors
    /// It cannot be done by difference. After an error of this or of [`Self::next`] the feeds must not be used any more.
    pub fn begin(&mut self, list: &str, mut values: Addresses) -> Result<Change, Refused> {
        let found = self.sources.iter().position(|source| source.list == list);
        let feed = found.filter(|at| self.changeable[*at]).ok_or(Refused::Joined)?;
        let source = &mut self.sources[feed];
        values.v4.extend_from_slice(&source.items.v4);
        values.v6.extend_from_slice(&source.items.v6);
        if !source.items.is_empty() {
            values.normalise();
        }
        values.from.clone_from(&source.values.from);
        if analyse::world().any(|address| source.values.holds(address) != values.holds(address)) {
            return Err(Refused::World);
        }
        let v4 = difference(&source.values.v4, &values.v4);
        let v6 = difference(&source.values.v6, &values.v6);
        source.values = values;
        let mut change = Change {
            v4: v4.changed,
            v6: v6.changed,
            pages: Vec::new(),
            blocks: BLOCKS,
            added: v4.added + v6.added,
            removed: v4.removed + v6.removed,
        };
        for (number, column) in self.columns.iter().enumerate() {
            if column.feeds.contains(&Some(feed)) {
                let v4 = column.v4.pages_of(&change.v4).into_iter();
                let v6 = column.v6.pages_of(&change.v6).into_iter();
                change.pages.extend(v4.map(|page| (number, false, page)));
                change.pages.extend(v6.map(|page| (number, true, page)));
            }
        }
        Ok(change)
    }

    /// The next patch of a change, `None` if it is complete. Each must be [settled](Self::settled) before the next.
    ///
    /// # Errors
    /// As of [`Self::begin`].
    pub fn next(&mut self, change: &mut Change) -> Result<Option<Patch>, Refused> {
        let mut patch = Patch::default();
        while let Some((number, wide, page)) = change.pages.last().copied() {
            if patch.bytes() >= PATCH_BYTES {
                break;
            }
            let Column { from, feeds, v4, v6 } = &mut self.columns[number];
            let mut writing = Writing {
                patch: &mut patch,
                room: &mut self.room,
                rows: &mut from.rows,
                sharers: &from.sharers,
                blocks: &mut change.blocks,
            };
            let predicates = from.predicates.iter().zip(feeds.iter());
            let sources = &self.sources;
            let written = if wide {
                let ranges = predicates.map(|(one, feed)| match feed {
                    Some(feed) => &*sources[*feed].values.v6,
                    None => &*one.v6,
                });
                v6.write(page, ranges, &Changed(&change.v6), &mut writing)
            } else {
                let ranges = predicates.map(|(one, feed)| match feed {
                    Some(feed) => &*sources[*feed].values.v4,
                    None => &*one.v4,
                });
                v4.write(page, ranges, &Changed(&change.v4), &mut writing)
            };
            match written {
                Ok(()) => change.pages.truncate(change.pages.len() - 1),
                // What is written so far makes room, once it is settled.
                Err(Refused::NoRoom) if patch.frees() => break,
                Err(refused) => return Err(refused),
            }
        }
        self.length = self.length.max(self.room.used());
        Ok((!patch.is_empty()).then_some(patch))
    }

    /// No program reads any more what this patch replaced.
    pub fn settled(&mut self, patch: &Patch) {
        patch.freed.iter().for_each(|(at, bytes)| self.room.free(*at, *bytes));
    }

    /// Bytes of the image as it is now.
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// The word at [`header::LENGTH`] that makes a patched image a whole one again: its length and checksum.
    pub fn sealed(image: &mut [u8]) -> u64 {
        let place = header::LENGTH as usize;
        const { assert!(header::CHECKSUM == header::LENGTH + 4 && header::LENGTH.is_multiple_of(8)) };
        let length = image.len() as u32;
        image[place..place + 4].copy_from_slice(&length.to_le_bytes());
        let checksum = verify::crc(image);
        image[place + 4..place + 8].copy_from_slice(&checksum.to_le_bytes());
        u64::from(checksum) << 32 | u64::from(length)
    }
}

/// A table of a column.
fn table_of(image: &[u8], family: Family, fact: Fact, word: u32) -> u32 {
    debug_assert!(image.len() > HEADER_BYTES as usize);
    let directory = image.word(header::FAMILIES + family as u32 * 4);
    image.word(directory + family::COLUMNS + fact as u32 * COLUMN_BYTES + word)
}

struct Difference<P> {
    /// Where they differ, and perhaps some of what lies beside: ascending, apart.
    changed: Vec<(P, P)>,
    added: usize,
    removed: usize,
}

/// What differs between ascending ranges.
fn difference<P: Point>(old: &[(P, P)], new: &[(P, P)]) -> Difference<P> {
    let mut found = Difference { changed: Vec::new(), added: 0, removed: 0 };
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let note = |changed: &mut Vec<(P, P)>, range: (P, P)| match changed.last_mut() {
        Some(last) if range.0 <= last.1 => last.1 = last.1.max(range.1),
        Some(_) | None => changed.push(range),
    };
    loop {
        match (old.peek(), new.peek()) {
            (Some(one), Some(other)) if one == other => {
                old.next();
                new.next();
            }
            (Some(one), other) if other.is_none_or(|other| one < other) => {
                note(&mut found.changed, **one);
                found.removed += 1;
                old.next();
            }
            (_, Some(other)) => {
                note(&mut found.changed, **other);
                found.added += 1;
                new.next();
            }
            (_, None) => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn a_difference_is_what_only_one_of_both_has() {
        let found = difference(&[(1u32, 2), (5, 6), (9, 9)], &[(1, 2), (5, 7), (20, 30)]);
        assert_eq!(found.changed, [(5, 7), (9, 9), (20, 30)]);
        assert_eq!((found.added, found.removed), (2, 2));
        assert!(difference(&[(1u32, 2)], &[(1, 2)]).changed.is_empty());
        assert_eq!(difference::<u32>(&[], &[(3, 4)]).changed, [(3, 4)]);
        assert_eq!(difference::<u32>(&[(3, 4)], &[]).removed, 1);
    }
}
