//! Counts of what was lost, that outlive the agent: counted so far, told so far, and what the alert says that is on its way.
//!
//! They are words in the journal's memory. A loss is counted before anything else happens, and counts as told once the
//! alert that tells it is durable: a number that an agent which is killed had counted is told by the next one, once.
//! Counters of the kernel side stand in pinned maps and only grow: their rows hold where such a counter stood, and what
//! it has gained since is what is new, whoever reads it.

use std::{collections::BTreeMap, io};

use super::journal::Known;
use crate::sys::mapped::MappedArray;

/// Where the rows begin, and end: below are the journal's own words, above its entries.
const ROWS: usize = 256;
pub(super) const END: usize = 16 << 10;

/// A row: the reason's name, zero-padded, then four words.
const NAME_BYTES: usize = 64;
const ROW_BYTES: usize = NAME_BYTES + 4 * 8;
const COUNTED: usize = NAME_BYTES;
const TOLD: usize = NAME_BYTES + 8;
/// What will have been told once the alert of the number at [`TELLING_SEQ`] is durable.
const TELLING: usize = NAME_BYTES + 16;
/// What had been counted when the kernel side's counter stood at 0.
const BASE: usize = NAME_BYTES + 24;

/// Number of the last alert of the batch that tells; 0: none is on its way.
const TELLING_SEQ: usize = 128;
/// The instance of the kernel side whose counters the bases are for.
const INSTANCE: usize = 136;
const INSTANCE_BYTES: usize = 64;

#[derive(Debug)]
pub(super) struct Accounts {
    /// Place of each row.
    rows: BTreeMap<String, usize>,
    next: usize,
}

impl Accounts {
    /// An empty table.
    pub(super) fn begin(memory: &mut MappedArray) -> io::Result<Self> {
        memory.write(TELLING_SEQ, &vec![0; END - TELLING_SEQ])?;
        Ok(Self { rows: BTreeMap::new(), next: ROWS })
    }

    /// The table that an agent before has left.
    pub(super) fn find(memory: &mut MappedArray, known: &Known<'_>) -> io::Result<Self> {
        let mut accounts = Self { rows: BTreeMap::new(), next: ROWS };
        let telling = memory.load(TELLING_SEQ)?;
        let stream = memory.read(super::journal::STREAM_AT, super::journal::STREAM_BYTES)?;
        let told = telling != 0 && telling <= known.seq && stream == known.stream.as_bytes();
        while accounts.next + ROW_BYTES <= END {
            let at = accounts.next;
            let name = memory.read(at, NAME_BYTES)?;
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            if name.is_empty() {
                break;
            }
            if told {
                let telling = memory.load(at + TELLING)?;
                memory.store(at + TOLD, telling)?;
            }
            accounts.rows.insert(String::from_utf8_lossy(name).into_owned(), at);
            accounts.next += ROW_BYTES;
        }
        memory.store(TELLING_SEQ, 0)?;
        Ok(accounts)
    }

    /// The row of a reason. With the table full (it has room for many times the reasons there are) the last one.
    fn row(&mut self, memory: &mut MappedArray, reason: &str) -> io::Result<usize> {
        if let Some(row) = self.rows.get(reason) {
            return Ok(*row);
        }
        if self.next + ROW_BYTES > END {
            return Ok(self.next - ROW_BYTES);
        }
        let row = self.next;
        let mut name = reason.as_bytes().to_vec();
        name.truncate(NAME_BYTES);
        memory.write(row, &name)?;
        self.next += ROW_BYTES;
        self.rows.insert(reason.to_owned(), row);
        Ok(row)
    }

    /// Counts a loss.
    pub(super) fn add(
        &mut self,
        memory: &mut MappedArray,
        reason: &str,
        count: u64,
    ) -> io::Result<()> {
        let row = self.row(memory, reason)?;
        let counted = memory.load(row + COUNTED)?;
        memory.store(row + COUNTED, counted.saturating_add(count))
    }

    /// A counter of the kernel side stands at `total`. One of another instance, or one that went back, begins anew.
    pub(super) fn stands(
        &mut self,
        memory: &mut MappedArray,
        instance: &str,
        totals: &BTreeMap<String, u64>,
    ) -> io::Result<()> {
        let mut name = instance.as_bytes().to_vec();
        name.resize(INSTANCE_BYTES, 0);
        if memory.read(INSTANCE, INSTANCE_BYTES)? != name {
            // First the bases: an agent that dies in between finds the old name, and does it again.
            for row in self.rows.values() {
                let counted = memory.load(row + COUNTED)?;
                memory.store(row + BASE, counted)?;
            }
            memory.write(INSTANCE, &name)?;
        }
        for (reason, total) in totals {
            let known = self.rows.contains_key(reason.as_str());
            if *total == 0 && !known {
                continue;
            }
            let row = self.row(memory, reason)?;
            let (counted, base) = (memory.load(row + COUNTED)?, memory.load(row + BASE)?);
            let now = base.saturating_add(*total);
            if now >= counted {
                memory.store(row + COUNTED, now)?;
            } else {
                memory.store(row + BASE, counted)?;
                memory.store(row + COUNTED, counted.saturating_add(*total))?;
            }
        }
        Ok(())
    }

    fn all(&self, memory: &MappedArray, word: usize) -> io::Result<BTreeMap<String, u64>> {
        let rows = self.rows.iter();
        rows.map(|(reason, row)| Ok((reason.clone(), memory.load(row + word)?))).collect()
    }

    /// What was counted, by reason.
    pub(super) fn counted(&self, memory: &MappedArray) -> io::Result<BTreeMap<String, u64>> {
        self.all(memory, COUNTED)
    }

    /// What was told, by reason.
    pub(super) fn told(&self, memory: &MappedArray) -> io::Result<BTreeMap<String, u64>> {
        self.all(memory, TOLD)
    }

    /// A batch that ends with alert `seq` tells these counts.
    pub(super) fn telling(
        &mut self,
        memory: &mut MappedArray,
        counts: &BTreeMap<String, u64>,
        seq: u64,
    ) -> io::Result<()> {
        memory.store(TELLING_SEQ, 0)?;
        for (reason, count) in counts {
            let row = self.row(memory, reason)?;
            memory.store(row + TELLING, *count)?;
        }
        memory.store(TELLING_SEQ, seq)
    }

    /// That batch is durable, or (`false`) lost.
    pub(super) fn told_now(&mut self, memory: &mut MappedArray, durable: bool) -> io::Result<()> {
        if memory.load(TELLING_SEQ)? == 0 {
            return Ok(());
        }
        if durable {
            for row in self.rows.values() {
                let telling = memory.load(row + TELLING)?;
                memory.store(row + TOLD, telling)?;
            }
        }
        memory.store(TELLING_SEQ, 0)
    }
}
