//! Writes the tables that answer what was gathered.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use interdict_abi::{
    ids::{ACT_COMBINATIONS, Act, Calling, Fact, Family, SetFact},
    image::{
        CLAUSE_BYTES, COLUMN_BYTES, FAMILY_BYTES, TableKind, clause, clause_flags, column, family,
        header, settled,
    },
    limits::{CALLINGS, SET_WORDS, SYSCALL_NUMBERS},
};

use super::{
    Budget,
    addresses::{self, Asked},
    automata::{self, Built, Owner},
    column::{Column, FeedColumn},
    error::Problem,
    gather::{Gathered, Place, Tested, acts_of, gather},
    names,
    number::{FamilyClauses, Numbered},
    parts::Parts,
    settle::{self, Known, Row},
    space::Space,
    stats::{AutomatonStats, PartStats, Stats},
    sweep::Ranges,
    values::{Lists, Values},
};
use crate::{
    dfa::longest,
    image::arena::Arena,
    ir::{Program, Test},
};

/// Writes the image. `None` when something is wrong; then there are problems.
pub(super) fn assemble(
    program: &Program,
    families: &[FamilyClauses<'_>],
    parts: &Parts<'_>,
    budget: &Budget,
    rated: &BTreeSet<u32>,
    problems: &mut Vec<Problem>,
) -> Option<(Vec<u8>, Stats, Vec<FeedColumn>)> {
    let gathered = gather(program, families, parts, problems);
    let built = automata::build(program, &gathered, budget, problems);
    if !problems.is_empty() {
        return None;
    }
    let mut writer = Writer {
        arena: Arena::new(),
        stats: Stats { rules: program.rules.len(), ..Stats::default() },
        feeds: Vec::new(),
        shared: BTreeMap::new(),
        senders: Vec::new(),
        program,
        rated,
        problems,
    };
    writer.write(families, gathered, built);
    let Writer { arena, mut stats, feeds, problems, .. } = writer;
    if !problems.is_empty() {
        return None;
    }
    let bytes = arena.finish();
    stats.image_bytes = bytes.len();
    if bytes.len() > budget.image_bytes {
        let largest = stats.parts.iter().max_by_key(|part| part.bytes);
        problems.push(Problem::ImageTooLarge {
            bytes: bytes.len(),
            budget: budget.image_bytes,
            largest: largest.map(|part| part.name.clone()).unwrap_or_default(),
            largest_bytes: largest.map_or(0, |part| part.bytes),
        });
        return None;
    }
    Some((bytes, stats, feeds))
}

struct Writer<'w> {
    arena: Arena,
    stats: Stats,
    feeds: Vec<FeedColumn>,
    /// Tables of addresses that several families share.
    shared: BTreeMap<(Family, Fact), addresses::Tables>,
    /// Rows of the table of those who send packets.
    senders: Vec<Row>,
    program: &'w Program,
    rated: &'w BTreeSet<u32>,
    problems: &'w mut Vec<Problem>,
}

/// What a column's words are to hold.
struct Table {
    kind: TableKind,
    table: u32,
    table_v6: u32,
    automaton: u32,
}

impl Table {
    fn direct(table: u32) -> Self {
        Self { kind: TableKind::Direct, table, table_v6: 0, automaton: 0 }
    }
}

impl Writer<'_> {
    fn note(&mut self, name: String, before: usize) {
        self.stats.parts.push(PartStats { name, bytes: self.arena.len() - before });
    }

    fn write(
        &mut self,
        families: &[FamilyClauses<'_>],
        gathered: Gathered<'_>,
        mut built: BTreeMap<Owner, Built>,
    ) {
        let Gathered { columns, residuals, sets, programs, arguments, ancestors, capabilities } =
            gathered;
        let directories: Vec<u32> =
            families.iter().map(|_| self.arena.reserve(FAMILY_BYTES)).collect();
        let mut labels = vec![Vec::new()];
        if let Some(built) = built.remove(&Owner::Programs) {
            self.programs(&programs, &built, &ancestors);
            labels = built.labels;
        }
        if let Some(built) = built.remove(&Owner::Arguments) {
            self.arguments(&arguments, &built);
            let asks = |(each, sets): (&FamilyClauses<'_>, &u32)| {
                each.family != Family::Started && sets & (1 << SetFact::Args as u32) != 0
            };
            if families.iter().zip(&sets).any(asks) {
                self.arena.put(header::KEPT_ARGS, arguments.digest());
            }
        }
        if !capabilities.is_empty() {
            let at = self.arena.reserve(8 + capabilities.len() as u32 * 8);
            self.arena.put(at, capabilities.len() as u32);
            for (place, mask) in (at + 8..).step_by(8).zip(&capabilities) {
                self.arena.put_bytes(place, &mask.to_le_bytes());
            }
            self.arena.put(header::CAP_MASKS, at);
        }
        if let Some(of_calls) = families.iter().find(|each| each.family == Family::Syscall) {
            let bits = system_calls(of_calls);
            let at = self.arena.reserve(bits.len() as u32);
            self.arena.put_bytes(at, &bits);
            self.arena.put(header::SYSCALLS, at);
        }
        self.shared_addresses(families, &columns);
        for (at, family) in families.iter().enumerate() {
            let directory = directories[at];
            self.arena.put(header::FAMILIES + family.family as u32 * 4, directory);
            self.clauses(directory, family, &residuals[at], sets[at]);
            let mut needs = 0u64;
            let mut last: Option<(Fact, u32)> = None;
            // Of the column at hand: its parts, and the clauses in the base rows of all of them.
            let (mut parts, mut unflipped) = (0, Vec::new());
            let mut senders = Vec::new();
            for (place, tested) in &columns[at] {
                let fact = place.0;
                needs |= 1 << fact as u64;
                if last.is_none_or(|(earlier, _)| earlier != fact) {
                    self.together(last, parts, &unflipped);
                    (parts, unflipped) = (0, vec![true; family.clauses.len()]);
                }
                let record = match last {
                    Some((earlier, record)) if earlier == fact => {
                        let next = self.arena.reserve(COLUMN_BYTES);
                        self.arena.put(record + column::NEXT, next);
                        next
                    }
                    Some(_) | None => directory + family::COLUMNS + fact as u32 * COLUMN_BYTES,
                };
                last = Some((fact, record));
                let built = built.remove(&Owner::Column(at, *place));
                let base = self.column(record, family, fact, tested, built.as_ref(), &labels);
                unflipped.iter_mut().zip(&base).for_each(|(all, this)| *all &= this);
                parts += 1;
                if fact == Fact::RemoteIp {
                    senders = base;
                }
            }
            self.together(last, parts, &unflipped);
            if family.family == Family::Packet && !senders.is_empty() {
                self.settle(family, &columns[at], &residuals[at], &senders);
            }
            self.arena.put_bytes(directory + family::NEEDS, &needs.to_le_bytes());
        }
    }

    /// Writes the tables of addresses that several families share.
    fn shared_addresses(
        &mut self,
        families: &[FamilyClauses<'_>],
        columns: &[BTreeMap<Place, Tested<'_>>],
    ) {
        let names = families.iter().map(|each| each.family);
        for (fact, asked) in addresses::shared(names, columns) {
            let before = self.arena.len();
            let written = addresses::write(&mut self.arena, fact, &asked);
            self.feeds.extend(written.feeds);
            self.senders.extend(written.senders);
            let tables = written.tables;
            let sharing = asked.iter().map(Asked::family);
            let names: Vec<_> = sharing.clone().map(Family::name).collect();
            self.shared.extend(sharing.map(|family| (family, fact)).zip(tables));
            self.note(format!("{} {}", names.join(" and "), fact.name()), before);
        }
    }

    /// Writes what becomes of packets by their sender alone. `senders` is the base set of their column.
    fn settle(
        &mut self,
        family: &FamilyClauses<'_>,
        columns: &BTreeMap<Place, Tested<'_>>,
        residuals: &BTreeMap<u32, Vec<u16>>,
        senders: &[bool],
    ) {
        let asks_more = |number: u32| {
            residuals.contains_key(&number)
                || columns.iter().any(|((fact, _), tested)| {
                    !matches!(fact, Fact::Act | Fact::RemoteIp) && tested.column.tested_by(number)
                })
        };
        let clauses: Vec<Known> = (0u32..)
            .zip(family.clauses.iter().zip(senders))
            .map(|(number, (numbered, in_base))| Known {
                rule: numbered.rule,
                arrives: is_about(numbered, Act::PacketIn.bit()),
                exception: numbered.exception,
                asks_more: asks_more(number),
                in_base: *in_base,
            })
            .collect();
        let rows = std::mem::take(&mut self.senders);
        let entries = settle::settled(self.program, &clauses, rows, self.rated);
        if entries.is_empty() {
            return;
        }
        let count = entries.len() as u32;
        let at = self.arena.reserve(settled::ENTRIES + count * settled::ENTRY_BYTES);
        self.arena.put(at + settled::COUNT, count);
        let places = (at + settled::ENTRIES..).step_by(settled::ENTRY_BYTES as usize);
        for (place, (row, rule)) in places.zip(entries) {
            self.arena.put(place, row);
            self.arena.put(place + 4, rule);
        }
        self.arena.put(header::SETTLED, at);
    }

    /// Writes at the last of several parts which clauses no part has to flip.
    fn together(&mut self, last: Option<(Fact, u32)>, parts: usize, unflipped: &[bool]) {
        if let Some((_, record)) = last
            && parts > 1
        {
            let row = self.arena.base_row(unflipped);
            self.arena.put(record + column::UNFLIPPED, row);
        }
    }

    /// Writes an automaton.
    fn automaton(
        &mut self,
        family: Option<Family>,
        fact: Option<Fact>,
        space: &Space<'_>,
        built: &Built,
    ) -> u32 {
        let before = self.arena.len();
        let at = self.arena.automaton(&built.automaton);
        self.stats.automata.push(AutomatonStats {
            family,
            fact,
            patterns: space.patterns(),
            states: built.automaton.states(),
            tails: built.automaton.tails.len(),
            skips: built.automaton.skips.len(),
            classes: built.automaton.class_count,
            labels: built.labels.len(),
            bytes: self.arena.len() - before,
            steps: longest(&built.automaton),
        });
        at
    }

    /// The automaton over programs and the sets of ancestors.
    fn programs(&mut self, programs: &Space<'_>, built: &Built, ancestors: &[u32]) {
        let before = self.arena.len();
        let at = self.automaton(None, Some(Fact::Exe), programs, built);
        self.arena.put(header::EXE_AUTOMATON, at);
        self.arena.put(header::EXE_LABELS, built.labels.len() as u32);
        if !ancestors.is_empty() {
            let bits: HashMap<u32, u32> = ancestors.iter().copied().zip(0..).collect();
            let set =
                |held: &Vec<u32>| bit_set(held.iter().filter_map(|one| bits.get(one).copied()));
            let sets: Vec<_> = built.labels.iter().map(set).collect();
            let at = self.arena.sets(&sets);
            self.arena.put(header::ANCESTOR_SETS, at);
        }
        self.note("programs".to_owned(), before);
    }

    /// The automaton over arguments and the sets of arguments.
    fn arguments(&mut self, arguments: &Space<'_>, built: &Built) {
        let before = self.arena.len();
        let at = self.automaton(None, None, arguments, built);
        let sets: Vec<_> = built.labels.iter().map(|held| bit_set(held.iter().copied())).collect();
        let sets = self.arena.sets(&sets);
        self.arena.put(header::ARG_AUTOMATON, at);
        self.arena.put(header::ARG_SETS, sets);
        self.note("arguments".to_owned(), before);
    }

    /// Clause records and the words of the directory.
    fn clauses(
        &mut self,
        directory: u32,
        family: &FamilyClauses<'_>,
        residuals: &BTreeMap<u32, Vec<u16>>,
        sets: u32,
    ) {
        let count = family.clauses.len();
        let before = self.arena.len();
        let records = self.arena.reserve(count as u32 * CLAUSE_BYTES);
        for (number, numbered) in (0u32..).zip(&family.clauses) {
            let rule = &self.program.rules[numbered.rule as usize];
            let at = records + number * CLAUSE_BYTES;
            let exception = if numbered.exception { clause_flags::EXCEPTION } else { 0 };
            let fault = if numbered.holds_on_fault { clause_flags::FAULT_HOLDS } else { 0 };
            self.arena.put(at + clause::RULE, numbered.rule);
            // A refusal with errno 0 would be no refusal.
            let packed = [rule.action as u8, rule.mode as u8, exception | fault, rule.errno.max(1)];
            self.arena.put_bytes(at + clause::ACTION, &packed);
            for (index, literal) in residuals.get(&number).into_iter().flatten().enumerate() {
                self.arena
                    .put_bytes(at + clause::RESIDUAL + index as u32 * 2, &literal.to_le_bytes());
            }
        }
        let all = count.div_ceil(interdict_abi::limits::BLOCK_BITS);
        let summary = if all >= 64 { u64::MAX } else { (1 << all) - 1 };
        self.arena.put(directory + family::CLAUSES, count as u32);
        self.arena.put(directory + family::CLAUSE_RECORDS, records);
        self.arena.put_bytes(directory + family::ALL, &summary.to_le_bytes());
        self.arena.put(directory + family::ENFORCING, family.enforcing as u32);
        self.arena.put(directory + family::NEEDS_SETS, sets);
        self.stats.clauses.push((family.family, count));
        self.note(format!("{} clauses", family.family.name()), before);
    }

    /// One column: base row, table, fault row. Answers the base set.
    fn column(
        &mut self,
        record: u32,
        family: &FamilyClauses<'_>,
        fact: Fact,
        tested: &Tested<'_>,
        built: Option<&Built>,
        labels: &[Vec<u32>],
    ) -> Vec<bool> {
        let before = self.arena.len();
        let count = family.clauses.len();
        let column = &tested.column;
        let mut base = column.base(count);
        let mut fault = column.fault_flips(&family.clauses);
        let table = match &tested.values {
            Values::Acts => {
                base = covering(family);
                fault = Vec::new();
                Some(self.acts(family, &base))
            }
            Values::Flags(masks, bits) => {
                let deltas: Vec<u32> = (0..1u32 << bits)
                    .map(|value| {
                        let truths: Vec<u32> = (0u32..)
                            .zip(masks)
                            .filter(|(_, mask)| value & **mask != 0)
                            .map(|(predicate, _)| predicate)
                            .collect();
                        self.arena.delta_row(&column.flips(&truths))
                    })
                    .collect();
                Some(Table::direct(self.arena.direct(&deltas)))
            }
            Values::Programs => {
                let deltas: Vec<u32> = labels
                    .iter()
                    .map(|truths| self.arena.delta_row(&column.flips(truths)))
                    .collect();
                Some(Table::direct(self.arena.direct(&deltas)))
            }
            // Without one there is a problem that has been told.
            Values::Text(space) => built.map(|built| {
                let automaton = self.automaton(Some(family.family), Some(fact), space, built);
                let deltas: Vec<u32> =
                    built.labels.iter().map(|flips| self.arena.delta_row(flips)).collect();
                Table { automaton, ..Table::direct(self.arena.direct(&deltas)) }
            }),
            Values::Names(space) => {
                let built = names::build(space, column);
                let at = self.arena.names(built.seed, &built.cells);
                let deltas: Vec<u32> =
                    built.labels.iter().map(|flips| self.arena.delta_row(flips)).collect();
                let table = Table::direct(self.arena.direct(&deltas));
                Some(Table { kind: TableKind::Names, automaton: at, ..table })
            }
            Values::Numbers(lists) => Some(self.numbers(&tested.column, lists)),
            Values::Addresses(..) => {
                let place = (family.family, fact);
                let tables = match self.shared.get(&place) {
                    Some(tables) => Some(*tables),
                    None => {
                        let asked = Asked::of(family.family, tested);
                        let written = addresses::write(&mut self.arena, fact, asked.as_slice());
                        self.feeds.extend(written.feeds);
                        self.senders.extend(written.senders);
                        written.tables.first().copied()
                    }
                };
                tables.map(|(table, table_v6)| Table {
                    kind: TableKind::Addresses,
                    table,
                    table_v6,
                    automaton: 0,
                })
            }
        };
        let Some(table) = table else { return base };
        let words = [
            (column::KIND, table.kind as u32),
            (column::BASE, self.arena.base_row(&base)),
            (column::TABLE, table.table),
            (column::TABLE_V6, table.table_v6),
            (column::AUTOMATON, table.automaton),
            (column::FAULT_ROW, self.arena.delta_row(&fault)),
        ];
        for (offset, word) in words {
            self.arena.put(record + offset, word);
        }
        self.note(format!("{} {}", family.family.name(), fact.name()), before);
        base
    }

    fn numbers(&mut self, column: &Column, lists: &Lists<'_, (u32, u32)>) -> Table {
        let arena = &mut self.arena;
        let mut ranges = Ranges::default();
        for (number, list) in lists.all() {
            ranges.add(number, list);
        }
        let (keys, deltas) = ranges.sweep(&mut |truths| arena.delta_row(&column.flips(truths)));
        let table = arena.ranges(&keys, &deltas);
        Table { kind: TableKind::Ranges, ..Table::direct(table) }
    }

    /// The column of acts: by what one hook call can be.
    fn acts(&mut self, family: &FamilyClauses<'_>, base: &[bool]) -> Table {
        let deltas: Vec<u32> = ACT_COMBINATIONS
            .iter()
            .map(|mask| {
                let flips: Vec<u32> = (0u32..)
                    .zip(&family.clauses)
                    .filter(|(number, numbered)| {
                        is_about(numbered, *mask) != base[*number as usize]
                    })
                    .map(|(number, _)| number)
                    .collect();
                self.arena.delta_row(&flips)
            })
            .collect();
        Table::direct(self.arena.direct(&deltas))
    }
}

/// Whether a clause is about a hook call that is all acts of `mask` at once. A match is if it is about any of them. An
/// exception must be about all of them that its rule is about: what excuses reading must not excuse an open for reading
/// and writing.
fn is_about(numbered: &Numbered<'_>, mask: u32) -> bool {
    let acts = numbered.clause.acts;
    let wanted = mask & numbered.rule_acts;
    acts & mask != 0 && (!numbered.exception || wanted & !acts == 0)
}

/// The clauses that are about every act of the family.
fn covering(family: &FamilyClauses<'_>) -> Vec<bool> {
    let all = acts_of(family.family);
    family.clauses.iter().map(|numbered| all & !numbered.clause.acts == 0).collect()
}

/// Which system calls some clause can be about, as their beginning and their end: see `header::SYSCALLS`.
fn system_calls(family: &FamilyClauses<'_>) -> Vec<u8> {
    let mut bits = vec![0u8; (2 * CALLINGS * SYSCALL_NUMBERS / 8) as usize];
    let matches = family.clauses.iter().filter(|numbered| !numbered.exception);
    for numbered in matches {
        let clause = numbered.clause;
        let of_number = clause.literals.iter().filter_map(|literal| match &literal.test {
            Test::Number { fact: Fact::Number, ranges } => Some((literal.negated, ranges)),
            Test::Text { .. }
            | Test::Number { .. }
            | Test::Flags { .. }
            | Test::Address { .. }
            | Test::Ancestor { .. }
            | Test::Argument { .. }
            | Test::Capabilities { .. } => None,
        });
        let tests: Vec<_> = of_number.collect();
        for place in 0..CALLINGS * SYSCALL_NUMBERS {
            let value = ((place / SYSCALL_NUMBERS) << Calling::SHIFT) | (place % SYSCALL_NUMBERS);
            let may_hold = tests.iter().all(|(negated, ranges)| {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&value)) != *negated
            });
            for (stage, act) in (0..).zip([Act::Syscall, Act::SyscallResult]) {
                if may_hold && clause.acts & act.bit() != 0 {
                    let bit = stage * CALLINGS * SYSCALL_NUMBERS + place;
                    bits[(bit / 8) as usize] |= 1 << (bit % 8);
                }
            }
        }
    }
    bits
}

fn bit_set(bits: impl Iterator<Item = u32>) -> [u64; SET_WORDS] {
    let mut set = [0; SET_WORDS];
    for bit in bits {
        if let Some(word) = set.get_mut(bit as usize / 64) {
            *word |= 1 << (bit % 64);
        }
    }
    set
}
