//! Checks what an image says of packets by their sender alone, against what all of its tables say.

use interdict_abi::{
    ids::{Act, Fact},
    image::{
        CLAUSE_BYTES, COLUMN_BYTES, TableKind, clause, clause_flags, column, family, header,
        settled,
    },
    limits::{BLOCK_BITS, SETTLED_ROWS},
};
use interdict_engine::{Memory as _, sets, tables};

use super::{ImageError, table::Tables};

/// Adds the clauses that the base row at `row` does not hold.
pub(super) fn not_in(tables: &Tables<'_>, row: u32, clauses: &mut [u64]) -> Result<(), ImageError> {
    for (word, all) in (row + 8..).step_by(8).zip(clauses) {
        *all |= !tables.long(word)?;
    }
    Ok(())
}

/// Checks the table. `packets` is the directory of rules on packets, and their clauses that ask for more than act and
/// sender.
pub(super) fn verify(
    tables: &mut Tables<'_>,
    packets: Option<(u32, Vec<u64>)>,
) -> Result<(), ImageError> {
    let at = tables.word(header::SETTLED)?;
    if at == 0 {
        return Ok(());
    }
    let broken = |reason| ImageError::Broken { what: "settled packets", offset: at, reason };
    let (directory, tested) = packets.ok_or_else(|| broken("without rules on packets"))?;
    let count = tables.word(at + settled::COUNT)?;
    if count > SETTLED_ROWS {
        return Err(broken("more rows than are looked at"));
    }
    tables.part("settled packets", at, 1, settled::ENTRIES + count * settled::ENTRY_BYTES)?;
    let column = |fact: Fact| directory + family::COLUMNS + fact as u32 * COLUMN_BYTES;
    let (acts, senders) = (column(Fact::Act), column(Fact::RemoteIp));
    let clauses = tables.word(directory + family::CLAUSES)?;
    let enforcing = tables.word(directory + family::ENFORCING)?;
    let records = tables.word(directory + family::CLAUSE_RECORDS)?;
    if tables.word(senders + column::KIND)? != TableKind::Addresses as u32 {
        return Err(broken("without a table of senders"));
    }
    for place in
        (at + settled::ENTRIES..).step_by(settled::ENTRY_BYTES as usize).take(count as usize)
    {
        let (row, rule) = (tables.word(place)?, tables.word(place + 4)?);
        if row == 0 {
            return Err(broken("packets of senders that nothing lists"));
        }
        tables.delta_row(row, clauses)?;
        let image = tables.image();
        let arriving =
            tables::direct(image, image.word(acts + column::TABLE), Act::PacketIn.value());
        let agreed = |word: u32| {
            let (block, word) = (word >> 2, word & 3);
            let senders = sets::word(image, image.word(senders + column::BASE), row, block, word);
            senders & sets::word(image, image.word(acts + column::BASE), arriving, block, word)
        };
        let words = clauses.div_ceil(BLOCK_BITS as u32) * 4;
        let first = (0..words)
            .map(|word| (word, agreed(word)))
            .find(|(_, bits)| *bits != 0)
            .map(|(word, bits)| word * 64 + bits.trailing_zeros())
            .ok_or_else(|| broken("packets that no rule is about"))?;
        let record = records + first * CLAUSE_BYTES;
        let flags = tables.word(record + clause::ACTION)?.to_le_bytes()[2];
        let asks = tested.get(first as usize / 64).is_none_or(|word| word >> (first % 64) & 1 != 0);
        if tables.word(record + clause::RULE)? != rule
            || first >= enforcing
            || flags & clause_flags::EXCEPTION != 0
            || tables.long(record + clause::RESIDUAL)? != 0
            || asks
        {
            return Err(broken("packets that are judged by more than their sender"));
        }
    }
    Ok(())
}
