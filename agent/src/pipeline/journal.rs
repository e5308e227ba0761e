//! What was read from the ring and is not yet durable in the spool: it outlives the agent.
//!
//! A queue in a shared mapping of a file in the runtime folder, which is memory: it lives as long as the kernel's ring
//! does, through any death of the agent, and costs no system call per record. The reader copies a record in before the
//! ring lets go of it, the worker takes it out, and an entry is given up only once what became of it is durable: an alert
//! in the spool, a count that a throttle keeps, or nothing. Which alert a record became is written beside it *before* the
//! batch goes to the spool. So the next agent compares that with where the stream was found to stand, works on exactly
//! what is missing, and tells nothing twice. Counts of losses are here too: see `accounts`.
//!
//! Without a folder to put it (or with another agent's there) the same queue is in memory of this process alone.

use std::{collections::BTreeMap, fs::File, io, path::Path};

use interdict_abi::event::kind;
use rustix::fs::{FallocateFlags, FlockOperation, MemfdFlags, fallocate, flock, ftruncate};

use super::accounts::{self, Accounts};
use crate::{lasting, sys::mapped::MappedArray};

/// Where entries begin; before it the header and the accounts.
const ENTRIES: usize = accounts::END;

const MAGIC: u64 = u64::from_le_bytes(*b"IDREAD01");
mod at {
    pub(super) const MAGIC: usize = 0;
    /// Bytes for entries.
    pub(super) const ROOM: usize = 8;
    /// Position of the oldest entry.
    pub(super) const HEAD: usize = 16;
    /// Position behind the newest.
    pub(super) const TAIL: usize = 24;
    /// Position of the entry that is worked on for another time, and how often it was before.
    pub(super) const TRIED: usize = 32;
    pub(super) const TRIES: usize = 40;
    /// SHA-256 of the boot id, the first half.
    pub(super) const BOOT: usize = 48;
    /// The stream that numbers in entries are of.
    pub(super) const STREAM: usize = 64;
    /// Process id of the agent.
    pub(super) const AGENT: usize = 96;
}
pub(super) const STREAM_AT: usize = at::STREAM;
pub(super) const STREAM_BYTES: usize = 32;

/// Before each entry's bytes: their length (4) and CRC-32 (4), then its state (8).
const ENTRY_HEAD: usize = 16;
/// Instead of a length: the rest up to the end of the room is unused.
const SKIP: u64 = u32::MAX as u64;

/// States of an entry. Beside these: `ASSIGNED | sequence number`, `TALLIED | number of the count`.
const OPEN: u64 = 0;
const DONE: u64 = 1 << 62;
const ASSIGNED: u64 = 2 << 62;
const TALLIED: u64 = 3 << 62;
const STATE: u64 = 3 << 62;

/// Memory is asked for in such steps, and this much is kept when the flood is over.
const STEP: usize = 256 << 10;
const KEPT: usize = 1 << 20;

/// A record that was being worked on when this many agents died is given up.
const TRIES: u64 = 3;

/// No entry: what an alert has that no record led to.
pub(super) const NO_ENTRY: u64 = u64::MAX;

/// What entries are compared with when a journal is opened.
pub(super) struct Known<'a> {
    pub(super) boot_id: &'a str,
    pub(super) stream: &'a str,
    /// The last durable alert.
    pub(super) seq: u64,
    /// The last count of what throttles hold back that is durable.
    pub(super) tally: u64,
}

#[derive(Debug)]
pub(super) struct Journal {
    memory: MappedArray,
    file: File,
    room: usize,
    backed: usize,
    head: u64,
    tail: u64,
    taken: u64,
    /// Position of the newest entry, if there is one: it stays, so that its twin in the ring is known.
    newest: Option<u64>,
    waiting: usize,
    /// Up to here entries are an earlier agent's.
    found_until: u64,
    /// The newest record of the agent before: the ring may hold it still.
    perhaps_again: Option<Vec<u8>>,
    /// Process id of the agent before.
    before: Option<u32>,
}

impl Journal {
    /// Opens the journal at `path`, or one that dies with this process.
    pub(super) fn open(
        path: &Path,
        room: usize,
        known: &Known<'_>,
    ) -> io::Result<(Self, Accounts)> {
        let room = room.next_multiple_of(STEP);
        let file = lasting(path).or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "what is read from the ring does not outlive this agent");
            Ok::<File, io::Error>(rustix::fs::memfd_create("interdict-journal", MemfdFlags::CLOEXEC)?.into())
        })?;
        let old = file.metadata()?.len();
        ftruncate(&file, old.max((ENTRIES + room) as u64))?;
        fallocate(&file, FallocateFlags::KEEP_SIZE, 0, ENTRIES as u64)?;
        let memory = MappedArray::new(&file, ENTRIES + room)?;
        let mut journal = Self {
            memory,
            file,
            room,
            backed: 0,
            head: 0,
            tail: 0,
            taken: 0,
            newest: None,
            waiting: 0,
            found_until: 0,
            perhaps_again: None,
            before: None,
        };
        let boot = boot(known.boot_id);
        let mut boot_found = Vec::new();
        journal.memory.append_to(at::BOOT, boot.len(), &mut boot_found)?;
        let found_room = usize::try_from(journal.memory.load(at::ROOM)?).unwrap_or(0);
        let same = journal.memory.load(at::MAGIC)? == MAGIC && boot_found == boot;
        if same && found_room != room && is_room(found_room, old) {
            // Another size is wanted than the agent before had: that of before stays while something is in it.
            journal.room = found_room;
            journal.memory = MappedArray::new(&journal.file, ENTRIES + found_room)?;
        }
        if same && found_room == journal.room {
            let mut accounts = Accounts::find(&mut journal.memory, known)?;
            let found = match journal.find(known) {
                Ok(found) => found,
                Err(_outside) => journal.forget()?,
            };
            if journal.room != room && journal.all_done()? {
                journal.resize(room)?;
            }
            journal.before = u32::try_from(journal.memory.load(at::AGENT)?).ok();
            journal.name_owner(known)?;
            for (reason, count) in found {
                accounts.add(&mut journal.memory, reason, count)?;
            }
            return Ok((journal, accounts));
        }
        if old > 0 {
            tracing::info!("the journal is of another boot: begun anew");
        }
        journal.room = room;
        // Not valid while it is being made.
        journal.memory.store(at::MAGIC, 0)?;
        for word in [at::HEAD, at::TAIL, at::TRIED, at::TRIES] {
            journal.memory.store(word, 0)?;
        }
        journal.memory.store(at::ROOM, room as u64)?;
        journal.memory.write(at::BOOT, &boot)?;
        journal.name_owner(known)?;
        let accounts = Accounts::begin(&mut journal.memory)?;
        journal.memory.store(at::MAGIC, MAGIC)?;
        Ok((journal, accounts))
    }

    fn name_owner(&mut self, known: &Known<'_>) -> io::Result<()> {
        self.memory.store(at::AGENT, std::process::id().into())?;
        let mut stream = known.stream.as_bytes().to_vec();
        stream.resize(STREAM_BYTES, 0);
        self.memory.write(at::STREAM, &stream)
    }

    /// Whether nothing of what was found is left to do.
    fn all_done(&self) -> io::Result<bool> {
        let mut position = self.head;
        while position < self.tail {
            match self.entry(position)? {
                None => position = self.lap_end(position),
                Some(_) if self.state(position)? != DONE => return Ok(false),
                Some((len, _crc)) => position += entry_bytes(len),
            }
        }
        Ok(true)
    }

    /// Begins at the front again with another size. The newest record stays known.
    fn resize(&mut self, room: usize) -> io::Result<()> {
        (self.head, self.tail, self.taken, self.found_until) = (0, 0, 0, 0);
        (self.newest, self.waiting, self.backed) = (None, 0, 0);
        self.memory.store(at::HEAD, 0)?;
        self.memory.store(at::TAIL, 0)?;
        self.memory.store(at::ROOM, room as u64)?;
        self.room = room;
        self.memory = MappedArray::new(&self.file, ENTRIES + room)?;
        Ok(())
    }

    /// Begins at the front again, past places that make no sense.
    pub(super) fn forget(&mut self) -> io::Result<BTreeMap<&'static str, u64>> {
        (self.head, self.tail, self.taken, self.found_until) = (0, 0, 0, 0);
        (self.newest, self.waiting, self.perhaps_again) = (None, 0, None);
        self.memory.store(at::HEAD, 0)?;
        self.memory.store(at::TAIL, 0)?;
        Ok(BTreeMap::from([("journal_damaged", 1)]))
    }

    /// Takes over what an agent before has left. Returns what of it is lost, by reason.
    fn find(&mut self, known: &Known<'_>) -> io::Result<BTreeMap<&'static str, u64>> {
        (self.head, self.tail) = (self.memory.load(at::HEAD)?, self.memory.load(at::TAIL)?);
        if self.head == self.lap_end(self.tail) {
            // It died as it began at the front again: there was no entry, and the record is in the ring.
            self.tail = self.head;
            self.memory.store(at::TAIL, self.tail)?;
        }
        let whole = self.head.is_multiple_of(8) && self.tail.is_multiple_of(8);
        if !whole
            || self.head > self.tail
            || self.tail - self.head > self.room as u64
            || self.tail >> 60 != 0
        {
            return self.forget();
        }
        // All that is in use was given memory by whoever used it.
        let one_lap = self.lap_end(self.head) == self.lap_end(self.tail);
        self.backed = if one_lap { self.place(self.tail) - ENTRIES } else { self.room };
        let mut stream = Vec::new();
        self.memory.append_to(at::STREAM, STREAM_BYTES, &mut stream)?;
        let same_stream = stream == known.stream.as_bytes();
        let mut lost = BTreeMap::new();
        let tried = self.memory.load(at::TRIED)?;
        let mut tried_is_open = false;
        let (mut position, mut record) = (self.head, Vec::new());
        while position < self.tail {
            let Some((len, crc)) = self.entry(position)? else {
                position = self.lap_end(position);
                continue;
            };
            record.clear();
            let fits = self.place(position) + ENTRY_HEAD + len <= ENTRIES + self.room;
            if fits {
                self.memory.append_to(self.place(position) + ENTRY_HEAD, len, &mut record)?;
            }
            if !fits || crc32fast::hash(&record) != crc {
                lost.insert("journal_damaged", 1);
                self.tail = position;
                self.memory.store(at::TAIL, position)?;
                break;
            }
            let state = self.memory.load(self.place(position) + 8)?;
            let number = state & !STATE;
            let done = match state & STATE {
                DONE => true,
                ASSIGNED => same_stream && number <= known.seq,
                TALLIED => number <= known.tally,
                _open => false,
            };
            let state = if done { DONE } else { OPEN };
            self.memory.store(self.place(position) + 8, state)?;
            tried_is_open |= position == tried && !done;
            self.newest = Some(position);
            self.waiting += 1;
            position += entry_bytes(len);
        }
        if position > self.tail {
            // What is unused up to the end of a lap is not an entry.
            self.tail = position;
            self.memory.store(at::TAIL, position)?;
        }
        if tried_is_open && self.memory.load(at::TRIES)? >= TRIES {
            self.memory.store(self.place(tried) + 8, DONE)?;
            lost.insert("record_unworkable", 1);
        }
        self.taken = self.head;
        self.found_until = self.tail;
        self.perhaps_again = self.newest.is_some().then_some(record);
        Ok(lost)
    }

    fn place(&self, position: u64) -> usize {
        ENTRIES + usize::try_from(position % self.room as u64).unwrap_or(0)
    }

    fn lap_end(&self, position: u64) -> u64 {
        (position / self.room as u64 + 1) * self.room as u64
    }

    /// Length and checksum of the entry at a position; `None`: nothing up to the end of this lap.
    fn entry(&self, position: u64) -> io::Result<Option<(usize, u32)>> {
        let word = self.memory.load(self.place(position))?;
        let (len, crc) = (word & 0xffff_ffff, (word >> 32) as u32);
        Ok((len != SKIP).then_some((usize::try_from(len).unwrap_or(0), crc)))
    }

    fn state(&self, position: u64) -> io::Result<u64> {
        Ok(self.memory.load(self.place(position) + 8)? & STATE)
    }

    /// Bytes that it has room for.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Bytes in use.
    pub(super) fn len_bytes(&self) -> usize {
        usize::try_from(self.tail - self.head).unwrap_or(self.room)
    }

    /// Process id of the agent before, which may have left records of its own canaries.
    pub(super) fn before(&self) -> Option<u32> {
        self.before
    }

    /// Records that wait to be taken.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The memory, for the accounts in it.
    pub(super) fn memory(&mut self) -> &mut MappedArray {
        &mut self.memory
    }

    /// Whether this is the newest record of the agent before, which died before the ring let go of it.
    pub(super) fn has_already(&mut self, record: &[u8]) -> bool {
        let again = self.perhaps_again.as_ref().is_some_and(|newest| newest == record);
        if again {
            self.perhaps_again = None;
        }
        again
    }

    /// Adds a record unless more than `limit` bytes would be in use, or there is no memory for it.
    pub(super) fn append(&mut self, record: &[u8], limit: usize) -> io::Result<()> {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let bytes = entry_bytes(record.len());
        let mut position = self.tail;
        let left = self.lap_end(position) - position;
        let skips = left < bytes;
        if skips {
            position += left;
        }
        // All is settled but the newest: begin at the front again, and leave the memory behind it alone.
        let newest_alone = self.newest.is_some_and(|newest| {
            newest == self.head
                && self.taken == self.tail
                && self.state(newest).is_ok_and(|state| state == DONE)
        });
        let front = newest_alone && (self.place(self.head) - ENTRIES) as u64 >= bytes && !skips;
        if front {
            position = self.lap_end(position);
        }
        let limit = limit.min(self.room) as u64;
        let used = if front { bytes } else { position + bytes - self.head };
        if used > limit {
            return Err(full());
        }
        let place = self.place(position);
        self.back(place + ENTRY_HEAD + record.len())?;
        if skips {
            self.back(self.place(self.tail) + 8)?;
            self.memory.store(self.place(self.tail), SKIP)?;
        }
        let crc = u64::from(crc32fast::hash(record));
        self.memory.store(place, record.len() as u64 | crc << 32)?;
        self.memory.store(place + 8, OPEN)?;
        self.memory.write(place + ENTRY_HEAD, record)?;
        if front {
            self.head = position;
            self.taken = position;
            // An agent that dies between the two leaves a journal without entries, and this record in the ring.
            self.memory.store(at::HEAD, position)?;
        }
        self.tail = position + bytes;
        self.memory.store(at::TAIL, self.tail)?;
        self.newest = Some(position);
        self.waiting += 1;
        Ok(())
    }

    /// Has the file hold memory up to `end`: writing to a mapping that finds none would kill the agent.
    fn back(&mut self, end: usize) -> io::Result<()> {
        let end = end - ENTRIES;
        if end > self.backed {
            let backed = end.next_multiple_of(STEP).min(self.room);
            let (from, bytes) = ((ENTRIES + self.backed) as u64, (backed - self.backed) as u64);
            fallocate(&self.file, FallocateFlags::KEEP_SIZE, from, bytes)?;
            self.backed = backed;
        }
        Ok(())
    }

    /// Whether there is nothing to take.
    pub(super) fn all_taken(&self) -> bool {
        self.taken == self.tail
    }

    /// Copies the next records to `into`, each behind its position (8) and length (4), up to about `bytes`. Records that
    /// an earlier agent left come alone: then this returns `true`.
    pub(super) fn take(&mut self, into: &mut Vec<u8>, bytes: usize) -> io::Result<bool> {
        let found = self.taken < self.found_until;
        let until = if found { self.found_until } else { self.tail };
        while self.taken < until && into.len() < bytes {
            let position = self.taken;
            let Some((len, _crc)) = self.entry(position)? else {
                self.taken = self.lap_end(position);
                continue;
            };
            self.taken = position + entry_bytes(len);
            self.waiting = self.waiting.saturating_sub(1);
            let before = into.len();
            into.extend_from_slice(&position.to_le_bytes());
            into.extend_from_slice(&(len as u32).to_le_bytes());
            self.memory.append_to(self.place(position) + ENTRY_HEAD, len, into)?;
            // What was told before is not told again; what processes did is the context of what is.
            if found && self.state(position)? == DONE && is_decision(&into[before + 12..]) {
                into.truncate(before);
            }
        }
        Ok(found)
    }

    /// Notes that an entry that an earlier agent left is worked on, or ([`NO_ENTRY`]) none: see [`TRIES`].
    pub(super) fn trying(&mut self, position: u64) -> io::Result<()> {
        let again = self.memory.load(at::TRIED)? == position;
        let tries = if again { self.memory.load(at::TRIES)? + 1 } else { 1 };
        self.memory.store(at::TRIED, position)?;
        self.memory.store(at::TRIES, tries)
    }

    /// The record led to the alert with this number, which is not durable yet.
    pub(super) fn assign(&mut self, position: u64, seq: u64) -> io::Result<()> {
        self.mark(position, ASSIGNED | seq)
    }

    /// The record was counted, and is durable with the count of this number.
    pub(super) fn tally(&mut self, position: u64, number: u64) -> io::Result<()> {
        self.mark(position, TALLIED | number)
    }

    /// What became of these records is durable.
    pub(super) fn settle(&mut self, positions: &[u64]) -> io::Result<()> {
        for position in positions {
            self.mark(*position, DONE)?;
        }
        let before = self.head;
        while self.head < self.taken && Some(self.head) != self.newest {
            match self.entry(self.head)? {
                None => self.head = self.lap_end(self.head),
                Some(_) if self.state(self.head)? != DONE => break,
                Some((len, _crc)) => self.head += entry_bytes(len),
            }
        }
        if self.head != before {
            self.memory.store(at::HEAD, self.head)?;
        }
        Ok(())
    }

    fn mark(&mut self, position: u64, state: u64) -> io::Result<()> {
        if position == NO_ENTRY || position < self.head || position >= self.tail {
            return Ok(());
        }
        self.memory.store(self.place(position) + 8, state)
    }

    /// Gives back memory that a flood needed, once nothing in use lies in it.
    pub(super) fn trim(&mut self) -> io::Result<()> {
        let first = self.place(self.head) - ENTRIES;
        let one_lap = self.lap_end(self.head) == self.lap_end(self.tail);
        let low = one_lap && first + self.len_bytes() <= KEPT;
        if self.backed <= KEPT || !low {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, flags, (ENTRIES + KEPT) as u64, (self.room - KEPT) as u64)?;
        self.backed = KEPT;
        Ok(())
    }
}

/// Whether a record is about an act, or about an attempt on the agent, rather than about a process's life.
pub(super) fn is_decision(record: &[u8]) -> bool {
    let matters = [kind::DECISION.to_le_bytes(), kind::GUARD.to_le_bytes()];
    record.get(2..4).is_some_and(|found| matters.iter().any(|kind| kind == found))
}

/// See [`super::read_as_journal`].
pub(super) fn read_any(path: &Path) {
    const ROOM: usize = STEP;
    let known =
        Known { boot_id: "b", stream: "00112233445566778899aabbccddeeff", seq: 1, tally: 1 };
    if let Ok(file) = lasting(path)
        && let Ok(()) = ftruncate(&file, (ENTRIES + ROOM) as u64)
        && let Ok(mut memory) = MappedArray::new(&file, ENTRIES + ROOM)
    {
        let _marked = memory.store(at::MAGIC, MAGIC);
        let _sized = memory.store(at::ROOM, ROOM as u64);
        let _of_boot = memory.write(at::BOOT, &boot(known.boot_id));
        // Checksums would stop nearly every input.
        let mut place = ENTRIES;
        while let Ok(word) = memory.load(place) {
            let len = usize::try_from(word & 0xffff).unwrap_or(0);
            let Ok(record) = memory.read(place + ENTRY_HEAD, len) else { break };
            if word & 0x3_0000 != 0 {
                let crc = u64::from(crc32fast::hash(&record));
                let _summed = memory.store(place, len as u64 | crc << 32);
            }
            place += (ENTRY_HEAD + len).next_multiple_of(8);
        }
    }
    let (mut journal, mut accounts) =
        Journal::open(path, ROOM, &known).expect("content never fails");
    let mut positions = Vec::new();
    while !journal.all_taken() {
        let mut bytes = Vec::new();
        let _found = journal.take(&mut bytes, ROOM).expect("places are inside");
        assert!(bytes.len() <= 2 * ROOM + 12);
        if let Some(position) = bytes.first_chunk::<8>() {
            positions.push(u64::from_le_bytes(*position));
        }
    }
    journal.settle(&positions).expect("places are inside");
    let _fits = journal.append(&[1; 300], ROOM);
    accounts.add(journal.memory(), "queue_full", 1).expect("places are inside");
    let _counted = accounts.counted(journal.memory()).expect("places are inside");
}

/// Whether a journal in a file of `len` bytes may have so much room.
fn is_room(room: usize, len: u64) -> bool {
    room > 0 && room.is_multiple_of(STEP) && (ENTRIES + room) as u64 <= len
}

fn entry_bytes(len: usize) -> u64 {
    (ENTRY_HEAD + len).next_multiple_of(8) as u64
}

fn boot(boot_id: &str) -> [u8; 16] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, boot_id.as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&digest.as_ref()[..16]);
    half
}

fn lasting(path: &Path) -> io::Result<File> {
    let file = lasting::open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
