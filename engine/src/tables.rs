//! From a fact's value to the delta row of its column.

use interdict_abi::{
    image::{RANGES_INDEX, TableKind, front, pages},
    limits::SEARCH_STEPS,
};

use crate::Memory;

/// Looks `value` up in the direct table at `table`: a label, a small number, a set of flags.
#[inline(always)]
pub fn direct<M: Memory + ?Sized>(image: &M, table: u32, value: u32) -> u32 {
    if value < image.word(table) { image.word(table + 8 + value * 4) } else { 0 }
}

/// Where the search for `value` may start and must end, from the index over its top 16 bits.
#[inline(always)]
fn bounds<M: Memory + ?Sized>(image: &M, table: u32, top: u32) -> (u32, u32) {
    let index = image.word(table + 4);
    if index != 0 && top + 1 < RANGES_INDEX {
        (image.word(index + top * 4), image.word(index + top * 4 + 4))
    } else {
        (0, image.word(table).wrapping_sub(1))
    }
}

/// The last of the keys `low..=high` at `keys` that is at or before `value`; `low` if none is.
#[inline(always)]
fn last<M: Memory + ?Sized>(
    image: &M,
    keys: u32,
    (mut low, mut high): (u32, u32),
    value: u32,
) -> u32 {
    let mut step = 0;
    while step < SEARCH_STEPS && low < high {
        let middle = low + (high - low).div_ceil(2);
        if image.word(keys + middle * 4) <= value {
            low = middle;
        } else {
            high = middle - 1;
        }
        step += 1;
    }
    low
}

/// Looks `value` up in the ranges table at `table`: the delta of the last range that starts at or before it.
#[inline(always)]
pub fn ranges<M: Memory + ?Sized>(image: &M, table: u32, value: u32) -> u32 {
    let at = last(image, image.word(table + 8), bounds(image, table, value >> 16), value);
    image.word(image.word(table + 12) + at * 4)
}

/// The last of the keys `low..=high` of IPv6 addresses at `keys` that is at or before an address; `low` if none is.
#[inline(always)]
fn last_v6<M: Memory + ?Sized>(
    image: &M,
    keys: u32,
    (mut low, mut high): (u32, u32),
    upper: u64,
    lower: u64,
) -> u32 {
    let mut step = 0;
    while step < SEARCH_STEPS && low < high {
        let middle = low + (high - low).div_ceil(2);
        let key = image.long(keys + middle * 16);
        let at_or_before =
            if key == upper { image.long(keys + middle * 16 + 8) <= lower } else { key < upper };
        if at_or_before {
            low = middle;
        } else {
            high = middle - 1;
        }
        step += 1;
    }
    low
}

/// Whether the front of the table at `table` says that delta 0 holds. Most addresses are not listed, and this is the one
/// read it takes to know.
#[inline(always)]
pub fn unlisted<M: Memory + ?Sized>(image: &M, front: u32, bit: u32) -> bool {
    front != 0 && (image.byte(front + (bit >> 3)) >> (bit & 7)) & 1 == 0
}

/// The delta of a column for a range of its table at `table` in whose page `found` stands.
#[inline(always)]
pub fn shared<M: Memory + ?Sized>(image: &M, table: u32, found: u32) -> u32 {
    let share = image.word(table + pages::SHARE);
    if share == 0 || found == 0 { found } else { image.word(found + share) }
}

/// Looks an IPv4 address up in the table of addresses at `table`.
#[inline(always)]
pub fn address_v4<M: Memory + ?Sized>(image: &M, table: u32, value: u32) -> u32 {
    if unlisted(image, image.word(table + front::OFFSET), front::bit_v4(value)) {
        return 0;
    }
    let page = if image.word(table + pages::COUNT) > 1 { value >> 16 } else { 0 };
    // In one piece: the agent may replace the page meanwhile, and leaves this one alone until nobody reads it.
    let descriptor = image.long(image.word(table + pages::DESCRIPTORS) + page * 8);
    let (keys, count) = (descriptor as u32, (descriptor >> 32) as u32);
    let at = last(image, keys, (0, count.wrapping_sub(1)), value);
    shared(image, table, image.word(keys + pages::deltas(count, 4) + at * 4))
}

/// Looks an IPv6 address (high and low half, host order) up in the table of addresses at `table`.
#[inline(always)]
pub fn address_v6<M: Memory + ?Sized>(image: &M, table: u32, upper: u64, lower: u64) -> u32 {
    let prefix = image.word(table + front::PREFIX);
    if unlisted(image, image.word(table + front::OFFSET), front::bit_v6(upper, prefix)) {
        return 0;
    }
    let within = bounds(image, table, (upper >> 48) as u32);
    let page = last_v6(image, image.word(table + pages::FENCES), within, upper, lower);
    let descriptor = image.long(image.word(table + pages::DESCRIPTORS) + page * 8);
    let (keys, count) = (descriptor as u32, (descriptor >> 32) as u32);
    let low = last_v6(image, keys, (0, count.wrapping_sub(1)), upper, lower);
    shared(image, table, image.word(keys + pages::deltas(count, 16) + low * 4))
}

/// An address as facts carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// IPv4, host order.
    V4(u32),
    /// IPv6, high and low half in host order. Build with [`Address::v6`], which folds mapped IPv4.
    V6(u64, u64),
}

impl Address {
    /// An IPv6 address from its halves; `::ffff:a.b.c.d` becomes IPv4, because that is who gets the packet.
    #[inline(always)]
    pub const fn v6(upper: u64, lower: u64) -> Self {
        if upper == 0 && lower >> 32 == 0xffff {
            Self::V4(lower as u32)
        } else {
            Self::V6(upper, lower)
        }
    }
}

/// Looks a number up in a column's table, by the table's kind. Kinds this version does not know answer 0.
#[inline(always)]
pub fn number<M: Memory + ?Sized>(image: &M, kind: u32, table: u32, value: u32) -> u32 {
    if kind == TableKind::Direct as u32 {
        direct(image, table, value)
    } else {
        ranges(image, table, value)
    }
}
