//! Checks every offset and every promise of an image before anybody relies on it.
//!
//! The kernel masks offsets, so a bad image could not make it read outside the slot, but it could make it decide
//! wrongly: what is promised of the layout (tables ascend, strongest clauses come first, every state decides at the end
//! of the string) is checked here, in time and memory that grow with the image and nothing else.

mod settled;
mod table;

use std::collections::HashSet;

use interdict_abi::{
    ids::{Action, FAMILIES, Fact, Family, Mode, SetFact},
    image::{
        CLAUSE_BYTES, COLUMN_BYTES, FAMILY_BYTES, HEADER_BYTES, MAGIC, VERSION, clause,
        clause_flags, column, family, header, residual,
    },
    limits::{
        BLOCK_BITS, BLOCK_WORDS, CALLINGS, CAPABILITY_MASKS, CLAUSES_PER_FAMILY, COLUMNS_USED,
        RESIDUALS, SET_BITS, SET_WORDS, SLOT_BYTES_MAX, SYSCALL_NUMBERS,
    },
};

use self::table::Tables;
use super::expected;
use crate::{dfa::Chains, meta::Metadata};

/// Why bytes are not an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Too short, too long, or no multiple of 8.
    #[error("{length_bytes} bytes can't be an image")]
    Size {
        /// Bytes there are.
        length_bytes: usize,
    },
    /// Something else.
    #[error("it does not start with the magic word")]
    Magic,
    /// Another version.
    #[error("layout version {found}, this program reads version {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The header names another length.
    #[error("the header names {named} bytes, there are {length_bytes}")]
    Length {
        /// Bytes named.
        named: u32,
        /// Bytes there are.
        length_bytes: usize,
    },
    /// Damaged.
    #[error("the checksum is {found:#010x}, the bytes make {computed:#010x}")]
    Checksum {
        /// In the header.
        found: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// An offset that leads outside or is not aligned.
    #[error("{what} at offset {offset} does not lie inside the image")]
    Offset {
        /// What should be there.
        what: &'static str,
        /// Where.
        offset: u64,
    },
    /// A promise of the layout that is not kept.
    #[error("{what} at offset {offset}: {reason}")]
    Broken {
        /// What is there.
        what: &'static str,
        /// Where.
        offset: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Tables are shared so often that checking them would take long.
    #[error("the parts of the image overlap so much that it can't be checked")]
    Work,
}

/// Checks the kernel's half.
pub fn verify(bytes: &[u8]) -> Result<(), ImageError> {
    let length_bytes = bytes.len();
    let sized = (HEADER_BYTES as usize..=SLOT_BYTES_MAX).contains(&length_bytes);
    if !sized || !length_bytes.is_multiple_of(8) {
        return Err(ImageError::Size { length_bytes });
    }
    let mut tables = Tables::new(bytes);
    if tables.word(header::MAGIC)? != MAGIC {
        return Err(ImageError::Magic);
    }
    let found = tables.word(header::VERSION)?;
    if found != VERSION {
        return Err(ImageError::Version { found });
    }
    let named = tables.word(header::LENGTH)?;
    if named as usize != length_bytes {
        return Err(ImageError::Length { named, length_bytes });
    }
    let found = tables.word(header::CHECKSUM)?;
    let computed = crc(bytes);
    if found != computed {
        return Err(ImageError::Checksum { found, computed });
    }
    let shared = Shared::verify(&mut tables)?;
    let mut args_asked = false;
    let mut packets = None;
    for family in Family::ALL {
        const { assert!(FAMILIES >= Family::ALL.len()) };
        let directory = tables.word(header::FAMILIES + *family as u32 * 4)?;
        if directory != 0 {
            let tested = verify_family(&mut tables, directory, &shared)?;
            if *family == Family::Packet {
                packets = Some((directory, tested));
            }
            let sets = tables.word(directory + family::NEEDS_SETS)?;
            args_asked |= *family != Family::Started && sets & (1 << SetFact::Args as u32) != 0;
        }
    }
    if args_asked != (tables.word(header::KEPT_ARGS)? != 0) {
        return Err(ImageError::Broken {
            what: "header",
            offset: header::KEPT_ARGS,
            reason: "arguments kept that no rule asks for, or asked for and not kept",
        });
    }
    settled::verify(&mut tables, packets)
}

/// CRC of an image with the checksum's own word zero: what that word must be. The image must have a header.
pub fn crc(bytes: &[u8]) -> u32 {
    let (before, rest) = bytes.split_at(bytes.len().min(header::CHECKSUM as usize));
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(before);
    hasher.update(&[0; 4]);
    hasher.update(rest.get(4..).unwrap_or_default());
    hasher.finalize()
}

/// What families share.
struct Shared {
    exe_labels: Option<u32>,
    sets: u32,
}

impl Shared {
    fn verify(tables: &mut Tables<'_>) -> Result<Self, ImageError> {
        let broken = |offset, reason| ImageError::Broken { what: "header", offset, reason };
        let exe = tables.word(header::EXE_AUTOMATON)?;
        let labels = tables.word(header::EXE_LABELS)?;
        let ancestors = tables.word(header::ANCESTOR_SETS)?;
        let arg = tables.word(header::ARG_AUTOMATON)?;
        let args = tables.word(header::ARG_SETS)?;
        let mut sets = 0;
        if exe == 0 {
            if labels != 0 || ancestors != 0 {
                let reason = "labels of programs without an automaton";
                return Err(broken(header::EXE_AUTOMATON, reason));
            }
        } else {
            tables.automaton(exe, labels, expected::chains(Fact::Exe))?;
            if ancestors != 0 {
                tables.part("ancestor sets", ancestors, labels, SET_WORDS as u32 * 8)?;
                sets |= 1 << SetFact::Ancestors as u32;
            }
        }
        if (arg == 0) != (args == 0) {
            return Err(broken(header::ARG_AUTOMATON, "arguments without sets or sets without"));
        }
        if arg != 0 {
            let highest = tables.automaton(arg, u32::MAX, Chains::Rows)?;
            tables.part("argument sets", args, highest.saturating_add(1), SET_WORDS as u32 * 8)?;
            sets |= 1 << SetFact::Args as u32;
        }
        let masks = tables.word(header::CAP_MASKS)?;
        if masks != 0 {
            let count = tables.word(masks)?;
            if count as usize > CAPABILITY_MASKS {
                return Err(broken(
                    header::CAP_MASKS,
                    "more masks of capabilities than there can be",
                ));
            }
            tables.part("masks of capabilities", masks, 1, 8 + count * 8)?;
            sets |= 1 << SetFact::Caps as u32;
        }
        let calls = tables.word(header::SYSCALLS)?;
        let family = header::FAMILIES + Family::Syscall as u32 * 4;
        if (calls == 0) != (tables.word(family)? == 0) {
            return Err(broken(header::SYSCALLS, "system calls without rules or rules without"));
        }
        if calls != 0 {
            tables.part("system calls", calls, 1, 2 * CALLINGS * SYSCALL_NUMBERS / 8)?;
        }
        Ok(Self { exe_labels: (exe != 0).then_some(labels), sets })
    }
}

/// Answers the clauses that ask for more than act and remote address, by words.
fn verify_family(
    tables: &mut Tables<'_>,
    directory: u32,
    shared: &Shared,
) -> Result<Vec<u64>, ImageError> {
    let broken = |reason| ImageError::Broken { what: "family", offset: directory, reason };
    tables.part("family directory", directory, 1, FAMILY_BYTES)?;
    let count = tables.word(directory + family::CLAUSES)?;
    if count == 0 || count as usize > CLAUSES_PER_FAMILY {
        return Err(broken("a number of clauses no family has"));
    }
    let blocks = (count as usize).div_ceil(BLOCK_BITS);
    let all = u64::MAX >> (64 - blocks);
    if tables.long(directory + family::ALL)? != all {
        return Err(broken("the summary does not cover its clauses"));
    }
    let sets = tables.word(directory + family::NEEDS_SETS)?;
    if sets & !shared.sets != 0 {
        return Err(broken("it needs sets that the image does not have"));
    }
    verify_clauses(tables, directory, count, sets)?;
    let mut needs = 0u64;
    let mut columns = 0;
    let mut tested = vec![0; blocks * BLOCK_WORDS];
    for fact in Fact::ALL {
        let at = directory + family::COLUMNS + *fact as u32 * COLUMN_BYTES;
        if tables.word(at + column::KIND)? != 0 {
            needs |= 1 << *fact as u64;
            let mut part = at;
            let mut bases = Vec::new();
            let mut unflipped = 0;
            while part != 0 {
                columns += 1;
                if columns > COLUMNS_USED {
                    return Err(broken("more columns than one decision can narrow by"));
                }
                if unflipped != 0 {
                    return Err(broken("a part after the one that speaks for all"));
                }
                unflipped = tables.word(part + column::UNFLIPPED)?;
                bases.push(tables.word(part + column::BASE)?);
                part = tables.column(part, *fact, count, shared.exe_labels)?;
            }
            let flipped = tables.take_flipped();
            if !matches!(fact, Fact::Act | Fact::RemoteIp) {
                tested.iter_mut().zip(flipped).for_each(|(all, these)| *all |= these);
                for base in &bases {
                    settled::not_in(tables, *base, &mut tested)?;
                }
            }
            if (unflipped == 0) != (bases.len() == 1) {
                return Err(broken("parts of a column that nothing speaks for together"));
            }
            if unflipped != 0 {
                tables.common(unflipped, &bases, count)?;
            }
        }
    }
    if tables.long(directory + family::NEEDS)? != needs {
        return Err(broken("the facts it needs are not those it has columns for"));
    }
    Ok(tested)
}

fn verify_clauses(
    tables: &mut Tables<'_>,
    directory: u32,
    count: u32,
    sets: u32,
) -> Result<(), ImageError> {
    let records = tables.word(directory + family::CLAUSE_RECORDS)?;
    let enforcing = tables.word(directory + family::ENFORCING)?;
    tables.part("clause records", records, count, CLAUSE_BYTES)?;
    let mut finished = HashSet::new();
    let mut current: Option<(u32, bool)> = None;
    for number in 0..count {
        let offset = records + number * CLAUSE_BYTES;
        let broken = |reason| ImageError::Broken { what: "clause", offset, reason };
        let rule = tables.word(offset + clause::RULE)?;
        let [action, mode, flags, errno] = tables.word(offset + clause::ACTION)?.to_le_bytes();
        let action = Action::try_from(action).map_err(|_| broken("an unknown action"))?;
        let mode = Mode::try_from(mode).map_err(|_| broken("an unknown mode"))?;
        if flags & !(clause_flags::EXCEPTION | clause_flags::FAULT_HOLDS) != 0 {
            return Err(broken("unknown flags"));
        }
        if errno == 0 {
            return Err(broken("a refusal without an errno"));
        }
        let exception = flags & clause_flags::EXCEPTION != 0;
        match current {
            Some((same, excepted)) if same == rule => {
                if exception && !excepted {
                    return Err(broken("an exception after a match of its rule"));
                }
            }
            Some(_) | None => {
                if !finished.insert(rule) {
                    return Err(broken("clauses of one rule that are not adjacent"));
                }
            }
        }
        current = Some((rule, exception));
        let enforces = mode == Mode::Enforce && action >= Action::Block;
        if enforces != (number < enforcing) {
            return Err(broken("enforcing clauses are not the first ones, or miscounted"));
        }
        let residuals = tables.long(offset + clause::RESIDUAL)?;
        for index in 0..RESIDUALS {
            let encoded = (residuals >> (index * 16)) as u16;
            if encoded == 0 {
                continue;
            }
            let bit = encoded & residual::BIT_MASK;
            let fact = (encoded & !residual::NEGATED) >> residual::FACT_SHIFT;
            let bits = if fact == SetFact::Caps as u16 { CAPABILITY_MASKS } else { SET_BITS };
            if bit == 0 || usize::from(bit) > bits || sets >> fact & 1 == 0 {
                return Err(broken("a literal on a set that does not exist"));
            }
        }
    }
    if enforcing > count {
        return Err(ImageError::Broken {
            what: "family",
            offset: directory,
            reason: "more enforcing clauses than clauses",
        });
    }
    Ok(())
}

/// Checks that metadata describes the clauses of a verified image.
pub(super) fn verify_metadata(bytes: &[u8], metadata: &Metadata) -> Result<(), &'static str> {
    let tables = Tables::new(bytes);
    let word = |at| tables.word(at).map_err(|_| "the image is cut short");
    if metadata.clauses.len() != Family::ALL.len() {
        return Err("not one table for each family");
    }
    for (family, described) in Family::ALL.iter().zip(&metadata.clauses) {
        let directory = word(header::FAMILIES + *family as u32 * 4)?;
        let count = if directory == 0 { 0 } else { word(directory + family::CLAUSES)? };
        if count as usize != described.len() {
            return Err("another number of clauses");
        }
        for (number, meta) in (0..count).zip(described) {
            let record = word(directory + family::CLAUSE_RECORDS)? + number * CLAUSE_BYTES;
            let [_, _, flags, _] = word(record + clause::ACTION)?.to_le_bytes();
            let exception = flags & clause_flags::EXCEPTION != 0;
            let Some(rule) = metadata.rules.get(meta.rule as usize) else {
                return Err("a rule that is not described");
            };
            if word(record + clause::RULE)? != meta.rule || exception != meta.exception.is_some() {
                return Err("another clause");
            }
            if meta.exception.is_some_and(|at| usize::from(at) >= rule.exceptions.len()) {
                return Err("an exception that is not described");
            }
        }
    }
    Ok(())
}
