//! The table of the names that rules list in full: see `interdict_engine::names`.
//!
//! In: patterns that are a name, or a name and everything below it. Out: the cells, and what the labels stand for. A cell
//! says it all: what is true of a name that is listed under another includes what is true under that one.

use std::collections::HashMap;

use interdict_abi::image::names;

use super::{column::Column, space::Space};
use crate::ir::Pattern;

/// A name, or a name and everything below it, as keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain<'p> {
    Name(&'p [u8]),
    Below(&'p [u8]),
}

/// What a pattern is, if the table can hold it.
pub(super) fn plain(pattern: &Pattern) -> Option<Plain<'_>> {
    match pattern {
        Pattern::Exact(name) => Some(Plain::Name(name)),
        Pattern::Glob(glob) => {
            let name = glob.strip_suffix("/**")?;
            let special =
                |byte: u8| matches!(byte, b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'\\');
            (!name.is_empty() && !name.bytes().any(special))
                .then_some(Plain::Below(name.as_bytes()))
        }
        Pattern::Prefix(_) | Pattern::Suffix(_) | Pattern::Contains(_) | Pattern::Regex(_) => None,
    }
}

/// A table of names.
pub(super) struct Table {
    /// What digests start from.
    pub(super) seed: u32,
    /// Digest, label of the name, label of what is below it. A power of two of them.
    pub(super) cells: Vec<(u64, u32, u32)>,
    /// By label: the clauses to flip.
    pub(super) labels: Vec<Vec<u32>>,
}

#[derive(Default)]
struct Listed {
    name: Vec<u32>,
    below: Vec<u32>,
}

/// Builds the table of all patterns in `space`, which must be plain.
pub(super) fn build(space: &Space<'_>, column: &Column) -> Table {
    let mut listed: HashMap<&[u8], Listed> = HashMap::new();
    for (number, pattern) in (0u32..).zip(space.all()) {
        match plain(pattern) {
            Some(Plain::Name(name)) => listed.entry(name).or_default().name.push(number),
            Some(Plain::Below(name)) => listed.entry(name).or_default().below.push(number),
            None => {}
        }
    }
    let mut keys: Vec<&[u8]> = listed.keys().copied().collect();
    keys.sort_unstable();
    let mut labels: Vec<Vec<u32>> = vec![Vec::new()];
    let mut known: HashMap<Vec<u32>, u32> = HashMap::from([(Vec::new(), 0)]);
    let mut label = |matched: &[u32]| {
        let flips = column.flips(&space.truths(matched));
        let next = labels.len() as u32;
        *known.entry(flips).or_insert_with_key(|flips| {
            labels.push(flips.clone());
            next
        })
    };
    let mut entries = Vec::with_capacity(keys.len());
    for key in keys {
        let ends = key.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let above = ends.chain([key.len()]).filter_map(|end| listed.get(&key[..end]));
        let mut matched: Vec<u32> = above.flat_map(|listed| listed.below.iter().copied()).collect();
        let below = label(&matched);
        matched.extend(&listed[key].name);
        entries.push((key, label(&matched), below));
    }
    let (seed, cells) = place(&entries);
    Table { seed, cells, labels }
}

/// Puts names into cells so that none is further from its place than is looked, with a seed under which no two are alike.
fn place(entries: &[(&[u8], u32, u32)]) -> (u32, Vec<(u64, u32, u32)>) {
    let mut seed = 0;
    let mut size = (entries.len() * 2).next_power_of_two().max(2);
    loop {
        if let Some(cells) = placed(entries, seed, size) {
            return (seed, cells);
        }
        seed += 1;
        // With half of the cells free a seed or two are enough; this ends whatever is listed.
        if seed % 8 == 0 {
            size *= 2;
        }
    }
}

fn placed(entries: &[(&[u8], u32, u32)], seed: u32, size: usize) -> Option<Vec<(u64, u32, u32)>> {
    let mut cells = vec![(0u64, 0u32, 0u32); size];
    for (key, name, below) in entries {
        let digest = digest(key, seed);
        let start = digest as u32 as usize;
        let free = (0..names::PROBES as usize)
            .map(|probe| (start + probe) & (size - 1))
            .map(|at| (at, cells[at].0))
            .find(|(_, there)| *there == 0 || *there == digest);
        match free {
            Some((at, 0)) => {
                cells[at] = (digest, name | names::PRESENT, below | names::PRESENT);
            }
            Some(_) | None => return None,
        }
    }
    Some(cells)
}

fn digest(key: &[u8], seed: u32) -> u64 {
    let state = key.iter().fold(names::digest_of(seed), |state, byte| names::mixed(state, *byte));
    names::finished(state)
}
