//! What a hook knows of an act, narrowed fact by fact.
//!
//! A hook starts a [`Narrowing`] for its family, adds the facts that the family needs, cheapest and most telling first,
//! and may stop as soon as [`Narrowing::alive`] says that no clause is left. Facts no clause tests need not be gathered:
//! [`Narrowing::needs`].

use interdict_abi::{
    ids::{FACTS, FAMILIES, Fact, Family, SetFact},
    image::{
        CLAUSE_BYTES, COLUMN_BYTES, TableKind, clause, column, family, front, header, pages,
        settled,
    },
    limits::{
        BLOCK_BITS, BLOCK_WORDS, CAPABILITY_MASKS, COLUMN_PARTS, COLUMNS_USED, COMM_BYTES,
        PATH_BYTES, SET_WORDS, SETTLED_ROWS,
    },
    maps::Gate,
};

use crate::{
    Bytes, Memory, dfa, names, sets,
    tables::{self, Address},
};

/// How far a narrowing has come: the blocks of clauses that may still hold, and the base and delta row of each column
/// that narrowed. In the kernel this lives in the scratch area, so that a decision can be made in pieces.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Progress {
    /// Blocks in which a clause may still hold.
    pub(crate) alive: u64,
    /// Blocks that a part of the column at hand flips.
    flipped: u64,
    /// Offset of the family's directory.
    pub(crate) directory: u32,
    reserved: u32,
    base: [u32; COLUMNS_USED],
    delta: [u32; COLUMNS_USED],
    count: usize,
}

impl Progress {
    /// Before the first fact.
    pub const EMPTY: Self = Self {
        alive: 0,
        flipped: 0,
        directory: 0,
        reserved: 0,
        base: [0; COLUMNS_USED],
        delta: [0; COLUMNS_USED],
        count: 0,
    };

    /// Adds a column. One that is `telling` goes first: words that are empty by it are looked at no further.
    #[inline(always)]
    fn push(&mut self, base: u32, delta: u32, telling: bool) -> bool {
        let at = self.count;
        if at >= COLUMNS_USED {
            return false;
        }
        if telling {
            self.base[at] = self.base[0];
            self.delta[at] = self.delta[0];
            self.base[0] = base;
            self.delta[0] = delta;
        } else {
            self.base[at] = base;
            self.delta[at] = delta;
        }
        self.count = at + 1;
        true
    }

    #[inline(always)]
    fn is_unnarrowed(&self) -> bool {
        self.count == 0
    }

    /// The words of block `block` in which a clause may hold, as bits by their number: by the first column alone.
    #[inline(always)]
    pub(crate) fn words<M: Memory + ?Sized>(&self, image: &M, block: u32) -> u32 {
        if self.count == 0 {
            return (1 << BLOCK_WORDS) - 1;
        }
        sets::words(image, self.base[0], self.delta[0], block)
    }

    /// Word `word` of block `block` of what all columns agree on.
    #[inline(always)]
    pub(crate) fn word<M: Memory + ?Sized>(&self, image: &M, block: u32, word: u32) -> u64 {
        let mut left = !0;
        let mut at = 0;
        while at < COLUMNS_USED {
            if at >= self.count || left == 0 {
                break;
            }
            left &= sets::word(image, self.base[at], self.delta[at], block, word);
            at += 1;
        }
        left
    }
}

/// Sets of predicates that hold of facts with many values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetFacts {
    /// Ancestor predicates that hold.
    pub ancestors: [u64; SET_WORDS],
    /// Argument predicates that hold.
    pub args: [u64; SET_WORDS],
    /// Masks of capabilities (by number in the image) that the process has one of.
    pub caps: u64,
    /// Mask (`1 << SetFact`) of the sets that could not be learned.
    pub unknown: u64,
}

/// The offset of a family's directory, 0 when no rule is about the family.
#[inline(always)]
pub fn directory<M: Memory + ?Sized>(image: &M, family: Family) -> u32 {
    const { assert!(FAMILIES <= 16) };
    image.word(header::FAMILIES + family as u32 * 4)
}

/// Whether some clause of a family tests `fact`.
#[inline(always)]
pub fn tests<M: Memory + ?Sized>(image: &M, family: Family, fact: Fact) -> bool {
    let directory = directory(image, family);
    directory != 0 && image.long(directory + family::NEEDS) & (1 << fact as u64) != 0
}

/// The rule that a clause of a family belongs to.
#[inline(always)]
pub fn rule<M: Memory + ?Sized>(image: &M, family: Family, number: u32) -> u32 {
    let records = image.word(directory(image, family) + family::CLAUSE_RECORDS);
    image.word(records.wrapping_add(number.wrapping_mul(CLAUSE_BYTES)) + clause::RULE)
}

/// The blocks of the family at `directory` in which a clause may hold when `fact` has the label or small number `value`.
/// For a first look without any memory to work in: what is ruled out here need not be narrowed.
#[inline(always)]
pub fn possible<M: Memory + ?Sized>(image: &M, directory: u32, fact: Fact, value: u32) -> u64 {
    let column = directory + family::COLUMNS + fact as u32 * COLUMN_BYTES;
    if image.word(column + column::KIND) != TableKind::Direct as u32 {
        return !0;
    }
    let delta = tables::direct(image, image.word(column + column::TABLE), value);
    sets::summary(image, image.word(column + column::BASE), delta)
}

/// Which of the masks of capabilities at `masks` meet the set `held`: mask `i` is bit `i` of the answer.
#[inline(always)]
pub fn capabilities<M: Memory + ?Sized>(image: &M, masks: u32, held: u64) -> u64 {
    let count = image.word(masks);
    let mut met = 0;
    let mut at = 0;
    while at < CAPABILITY_MASKS as u32 && at < count {
        if image.long(masks + 8 + at * 8) & held != 0 {
            met |= 1 << at;
        }
        at += 1;
    }
    met
}

/// The first part of a string fact's column in the family at `directory`, 0 if no clause tests it.
#[inline(always)]
pub fn first_part<M: Memory + ?Sized>(image: &M, directory: u32, fact: Fact) -> u32 {
    let column = directory + family::COLUMNS + fact as u32 * COLUMN_BYTES;
    if image.word(column + column::KIND) == 0 { 0 } else { column }
}

/// [`possible`] for one part of a string fact's column: see [`first_part`]. `flipped` is 0 for the first part, and goes
/// from part to part.
#[inline(always)]
pub fn part_possible<M: Memory + ?Sized>(
    image: &M,
    part: u32,
    label: u32,
    flipped: &mut u64,
) -> u64 {
    let delta = tables::direct(image, image.word(part + column::TABLE), label);
    sets::summary(image, image.word(part + column::BASE), delta)
        & unless_flipped(image, part, delta, flipped)
}

/// The blocks in which a clause may hold by what all parts of a column say together: asked of each part in turn, the last
/// one answers. Each part alone leaves the clauses alive that only another part tests. But a clause that does not hold
/// of a string that no pattern matches holds of this one only if some part flips it.
#[inline(always)]
fn unless_flipped<M: Memory + ?Sized>(image: &M, part: u32, delta: u32, flipped: &mut u64) -> u64 {
    let unflipped = image.word(part + column::UNFLIPPED);
    if unflipped == 0 && image.word(part + column::NEXT) == 0 {
        return !0;
    }
    if delta != 0 {
        *flipped |= image.long(delta);
    }
    if unflipped == 0 {
        return !0;
    }
    let blocks = image.long(unflipped) | *flipped;
    *flipped = 0;
    blocks
}

/// The part after `part`, 0 if that is the last.
#[inline(always)]
pub fn next_part<M: Memory + ?Sized>(image: &M, part: u32) -> u32 {
    image.word(part + column::NEXT)
}

/// What has to be asked of an address before it is known that delta 0 holds of it. Nothing: no clause asks for the address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fronts {
    /// Offset of the front for IPv4, 0 if there is none.
    pub v4: u32,
    /// Offset of the front for IPv6, 0 if there is none.
    pub v6: u32,
    /// Bits of an IPv6 address that looks at.
    pub prefix: u32,
    /// Whether the table has to be asked where there is no front.
    pub asked: bool,
}

/// What together answers for an act of `family` by its remote and its local address: where neither is listed no clause can
/// hold. `None` if there is no such short cut, because a clause may hold of addresses no table lists.
pub fn gate<M: Memory + ?Sized>(image: &M, family: Family, act: u32) -> Option<(Fronts, Fronts)> {
    let directory = directory(image, family);
    if directory == 0 {
        return None;
    }
    let mut alive =
        image.long(directory + family::ALL) & possible(image, directory, Fact::Act, act);
    let mut fronts = [Fronts::default(); 2];
    for (fact, fronts) in [Fact::RemoteIp, Fact::LocalIp].into_iter().zip(&mut fronts) {
        let column = directory + family::COLUMNS + fact as u32 * COLUMN_BYTES;
        // Once nothing is left, what else an address is does not matter.
        if alive == 0 || image.word(column + column::KIND) != TableKind::Addresses as u32 {
            continue;
        }
        let (v4, v6) = (image.word(column + column::TABLE), image.word(column + column::TABLE_V6));
        *fronts = Fronts {
            v4: image.word(v4 + front::OFFSET),
            v6: image.word(v6 + front::OFFSET),
            prefix: image.word(v6 + front::PREFIX),
            asked: true,
        };
        alive &= sets::summary(image, image.word(column + column::BASE), 0);
    }
    (alive == 0).then_some((fronts[0], fronts[1]))
}

/// Blocks of addresses of which a table may list some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Bits by [`Gate::near`].
    pub near: u32,
    /// Bits by [`Gate::spread`].
    pub spread: u32,
    /// Bits by [`Gate::scattered`].
    pub scattered: u32,
}

/// The blocks of IPv4 addresses of which the table of a fact of `family` may list some: all, unless it is small enough to
/// have neither pages nor a front.
pub fn blocks_v4<M: Memory + ?Sized>(image: &M, family: Family, fact: Fact) -> Blocks {
    let column = directory(image, family) + family::COLUMNS + fact as u32 * COLUMN_BYTES;
    let table = image.word(column + column::TABLE);
    if image.word(column + column::KIND) != TableKind::Addresses as u32
        || image.word(table + front::OFFSET) != 0
        || image.word(table + pages::COUNT) > 1
    {
        return Blocks { near: u32::MAX, spread: u32::MAX, scattered: u32::MAX };
    }
    let descriptor = image.long(image.word(table + pages::DESCRIPTORS));
    let (keys, count) = (descriptor as u32, (descriptor >> 32) as u32);
    let mut blocks = Blocks { near: 0, spread: 0, scattered: 0 };
    for range in 0..count {
        let found = image.word(keys + pages::deltas(count, 4) + range * 4);
        if tables::shared(image, table, found) == 0 {
            continue;
        }
        let first = image.word(keys + range * 4);
        let next = if range + 1 < count { image.word(keys + (range + 1) * 4) } else { 0 };
        let last = next.wrapping_sub(1);
        for near in Gate::near(first)..=Gate::near(last) {
            blocks.near |= 1 << near;
        }
        for sixteenth in first >> 16..=last >> 16 {
            blocks.spread |= 1 << Gate::spread(sixteenth << 16);
            blocks.scattered |= 1 << Gate::scattered(sixteenth << 16);
        }
    }
    blocks
}

/// Whether no range of a family's table holds an address: the fact's delta is 0, as it is behind a clear bit of its front.
/// For whoever knows by [`gate`] that this is what matters.
#[inline(always)]
pub fn unlisted<M: Memory + ?Sized>(
    image: &M,
    family: Family,
    fact: Fact,
    address: Address,
) -> bool {
    listed(image, family, fact, address) == 0
}

/// Where no table of addresses is: no row starts there.
pub const NO_TABLE: u32 = u32::MAX;

/// The delta row of an address in a family's table, 0 if no range holds it.
#[inline(always)]
pub fn listed<M: Memory + ?Sized>(image: &M, family: Family, fact: Fact, address: Address) -> u32 {
    let directory = directory(image, family);
    let column = directory + family::COLUMNS + fact as u32 * COLUMN_BYTES;
    if directory == 0 || image.word(column + column::KIND) != TableKind::Addresses as u32 {
        return NO_TABLE;
    }
    match address {
        Address::V4(value) => tables::address_v4(image, image.word(column + column::TABLE), value),
        Address::V6(upper, lower) => {
            tables::address_v6(image, image.word(column + column::TABLE_V6), upper, lower)
        }
    }
}

/// The rule by which every packet that arrives at an interface is dropped whose sender has this row (see [`listed`]), if
/// nothing else in the packet matters: where rules enforce. It is the first rule that the full decision would tell.
#[inline(always)]
pub fn settled<M: Memory + ?Sized>(image: &M, row: u32) -> Option<u32> {
    let table = image.word(header::SETTLED);
    if table == 0 || row == 0 {
        return None;
    }
    let count = image.word(table + settled::COUNT);
    let mut at = 0;
    while at < SETTLED_ROWS && at < count {
        let entry = image.long(table + settled::ENTRIES + at * settled::ENTRY_BYTES);
        if entry as u32 == row {
            return Some((entry >> 32) as u32);
        }
        at += 1;
    }
    None
}

/// The narrowing of one act: which clauses can still hold.
pub struct Narrowing<'a, M: Memory + ?Sized> {
    pub(crate) image: &'a M,
    pub(crate) progress: &'a mut Progress,
}

impl<'a, M: Memory + ?Sized> Narrowing<'a, M> {
    /// Starts with all clauses of `family`. `None` when there are none.
    #[inline(always)]
    pub fn start(image: &'a M, family: Family, progress: &'a mut Progress) -> Option<Self> {
        let directory = directory(image, family);
        if directory == 0 {
            return None;
        }
        progress.directory = directory;
        progress.alive = image.long(directory + family::ALL);
        progress.flipped = 0;
        progress.count = 0;
        Some(Self { image, progress })
    }

    /// Goes on where an earlier narrowing on the same image stopped.
    #[inline(always)]
    pub fn resume(image: &'a M, progress: &'a mut Progress) -> Self {
        Self { image, progress }
    }

    /// Whether it is a narrowing of this family's clauses.
    #[inline(always)]
    pub fn is_of(&self, family: Family) -> bool {
        self.progress.directory == directory(self.image, family)
    }

    /// Whether some clause may still hold.
    #[inline(always)]
    pub fn alive(&self) -> bool {
        self.progress.alive != 0
    }

    /// Whether some clause of the family tests `fact`.
    #[inline(always)]
    pub fn needs(&self, fact: Fact) -> bool {
        self.image.long(self.progress.directory + family::NEEDS) & (1 << fact as u64) != 0
    }

    /// Whether some clause of the family tests one of these facts, given as a mask.
    #[inline(always)]
    pub fn needs_any(&self, facts: u64) -> bool {
        self.image.long(self.progress.directory + family::NEEDS) & facts != 0
    }

    /// Whether some clause of the family tests `fact`.
    #[inline(always)]
    pub fn needs_set(&self, fact: SetFact) -> bool {
        self.image.word(self.progress.directory + family::NEEDS_SETS) & (1 << fact as u32) != 0
    }

    #[inline(always)]
    fn column(&self, fact: Fact) -> u32 {
        self.column_of(fact as u32)
    }

    #[inline(always)]
    fn column_of(&self, fact: u32) -> u32 {
        self.progress.directory + family::COLUMNS + (fact % FACTS as u32) * COLUMN_BYTES
    }

    #[inline(always)]
    fn narrow(&mut self, column: u32, delta: u32) {
        let base = self.image.word(column + column::BASE);
        let before = self.progress.alive;
        self.progress.alive = before & sets::summary(self.image, base, delta);
        // More columns than fit cannot come from the compiler; from a bad image they leave more alive, never less.
        let _kept = self.progress.push(base, delta, self.progress.alive != before);
    }

    /// Narrows by one part of a column; all its parts follow one another.
    #[inline(always)]
    fn narrow_part(&mut self, part: u32, delta: u32) {
        self.narrow(part, delta);
        let blocks = unless_flipped(self.image, part, delta, &mut self.progress.flipped);
        self.progress.alive &= blocks;
    }

    /// Narrows by a number or a label. Returns whether some clause may still hold.
    #[inline(always)]
    pub fn number(&mut self, fact: Fact, value: u32) -> bool {
        self.number_of(fact as u32, value)
    }

    /// [`Self::number`] for a fact by its number.
    #[inline(always)]
    pub fn number_of(&mut self, fact: u32, value: u32) -> bool {
        let column = self.column_of(fact);
        let kind = self.image.word(column + column::KIND);
        if kind != 0 {
            let table = self.image.word(column + column::TABLE);
            let delta = tables::number(self.image, kind, table, value);
            self.narrow(column, delta);
        }
        self.alive()
    }

    /// Narrows by a label or small number whose table is known to be direct: cheaper than [`Self::number`].
    #[inline(always)]
    pub fn label(&mut self, fact: Fact, label: u32) -> bool {
        let column = self.column(fact);
        if self.image.word(column + column::KIND) == TableKind::Direct as u32 {
            let delta = tables::direct(self.image, self.image.word(column + column::TABLE), label);
            self.narrow(column, delta);
        }
        self.alive()
    }

    /// Narrows by an address.
    #[inline(always)]
    pub fn address(&mut self, fact: Fact, address: Address) -> bool {
        self.address_of(fact as u32, address)
    }

    /// [`Self::address`] for a fact by its number.
    #[inline(always)]
    pub fn address_of(&mut self, fact: u32, address: Address) -> bool {
        let column = self.column_of(fact);
        if self.image.word(column + column::KIND) == TableKind::Addresses as u32 {
            let delta = match address {
                Address::V4(value) => {
                    tables::address_v4(self.image, self.image.word(column + column::TABLE), value)
                }
                Address::V6(upper, lower) => tables::address_v6(
                    self.image,
                    self.image.word(column + column::TABLE_V6),
                    upper,
                    lower,
                ),
            };
            self.narrow(column, delta);
        }
        self.alive()
    }

    /// The automaton of a string fact, 0 if no clause tests it. The first of several if the column has parts.
    #[inline(always)]
    pub fn automaton(&self, fact: Fact) -> u32 {
        let part = self.first_part(fact);
        if part == 0 { 0 } else { self.part_automaton(part) }
    }

    /// The first part of the column of `fact`, 0 if no clause tests it. A string has to be read by all parts.
    #[inline(always)]
    pub fn first_part(&self, fact: Fact) -> u32 {
        self.first_part_of(fact as u32)
    }

    /// [`Self::first_part`] for a fact by its number.
    #[inline(always)]
    pub fn first_part_of(&self, fact: u32) -> u32 {
        let column = self.column_of(fact);
        if self.image.word(column + column::KIND) == 0 { 0 } else { column }
    }

    /// The part after `part`, 0 if that is the last.
    #[inline(always)]
    pub fn next_part(&self, part: u32) -> u32 {
        self.image.word(part + column::NEXT)
    }

    /// The automaton of a part.
    #[inline(always)]
    pub fn part_automaton(&self, part: u32) -> u32 {
        self.image.word(part + column::AUTOMATON)
    }

    /// Whether a part has a table of names instead of an automaton, under the same word.
    #[inline(always)]
    pub fn part_has_names(&self, part: u32) -> bool {
        self.image.word(part + column::KIND) == TableKind::Names as u32
    }

    /// Narrows by the label that a part's automaton gave, `None` if it gave none.
    #[inline(always)]
    pub fn part(&mut self, part: u32, label: Option<u32>) -> bool {
        let delta = match label {
            Some(label) => tables::direct(self.image, self.image.word(part + column::TABLE), label),
            None => self.image.word(part + column::FAULT_ROW),
        };
        self.narrow_part(part, delta);
        self.alive()
    }

    #[inline(always)]
    fn text<B: Bytes + ?Sized, const LIMIT: u32>(&mut self, fact: Fact, text: &B) -> bool {
        let mut part = self.first_part(fact);
        let mut step = 0;
        while step < COLUMN_PARTS && part != 0 {
            let automaton = self.part_automaton(part);
            if automaton != 0 {
                let label = if self.part_has_names(part) {
                    names::label(self.image, automaton, text)
                } else if LIMIT < PATH_BYTES as u32 {
                    dfa::walk_bounded::<M, B, LIMIT>(self.image, automaton, text)
                } else {
                    dfa::walk(self.image, automaton, text)
                };
                self.part(part, label);
            }
            part = self.next_part(part);
            step += 1;
        }
        self.alive()
    }

    /// Narrows by a string of up to `PATH_BYTES`.
    #[inline(always)]
    pub fn string<B: Bytes + ?Sized>(&mut self, fact: Fact, text: &B) -> bool {
        self.text::<B, { PATH_BYTES as u32 }>(fact, text)
    }

    /// Narrows by a string of up to 256 bytes, such as the last component of a path (`NAME_MAX`).
    #[inline(always)]
    pub fn short_string<B: Bytes + ?Sized>(&mut self, fact: Fact, text: &B) -> bool {
        self.text::<B, 257>(fact, text)
    }

    /// Narrows by a string of up to 16 bytes, such as `comm`.
    #[inline(always)]
    pub fn comm<B: Bytes + ?Sized>(&mut self, fact: Fact, text: &B) -> bool {
        self.text::<B, { COMM_BYTES as u32 + 1 }>(fact, text)
    }

    /// Narrows by a fact that could not be learned: clauses that test it hold if their `on_fault` is block, and do not
    /// if it is pass.
    #[inline(always)]
    pub fn unknown(&mut self, fact: Fact) -> bool {
        let mut part = self.first_part(fact);
        let mut step = 0;
        while step < COLUMN_PARTS && part != 0 {
            self.part(part, None);
            part = self.next_part(part);
            step += 1;
        }
        self.alive()
    }

    /// Narrows by a fact that the act does not have, such as the remote address of a socket without one: no pattern,
    /// range or flag is true of it.
    #[inline(always)]
    pub fn absent(&mut self, fact: Fact) -> bool {
        self.absent_of(fact as u32)
    }

    /// [`Self::absent`] for a fact by its number.
    #[inline(always)]
    pub fn absent_of(&mut self, fact: u32) -> bool {
        let mut part = self.first_part_of(fact);
        let mut step = 0;
        while step < COLUMN_PARTS && part != 0 {
            self.narrow_part(part, 0);
            part = self.next_part(part);
            step += 1;
        }
        self.alive()
    }

    /// Number of clauses of the family.
    #[inline(always)]
    pub fn clauses(&self) -> u32 {
        self.image.word(self.progress.directory + family::CLAUSES)
    }

    /// Word `word` of block `block` of the clauses that all columns agree on.
    #[inline(always)]
    pub(crate) fn agreed(&self, block: u32, word: u32) -> u64 {
        if !self.progress.is_unnarrowed() {
            return self.progress.word(self.image, block, word);
        }
        // Without a column nothing else says which clauses there are.
        let first = block * BLOCK_BITS as u32 + word * 64;
        let count = self.clauses().saturating_sub(first);
        if count >= 64 { !0 } else { (1u64 << (count & 63)) - 1 }
    }

    /// The words of block `block` that have to be looked at, as bits by their number.
    #[inline(always)]
    pub(crate) fn words(&self, block: u32) -> u32 {
        self.progress.words(self.image, block)
    }
}
