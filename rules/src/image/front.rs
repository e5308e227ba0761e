//! The bitmap in front of a large table of addresses.
//!
//! It says of whole blocks of addresses that none of them is listed, so that an address that is not listed costs one
//! read instead of a search. Blocks are /24s of IPv4. For IPv6 they are as small as the number of listed blocks allows,
//! and are spread over the bitmap by a multiplication: two blocks may share a bit, which costs a search and nothing else.

use interdict_abi::image::front;

/// Ranges a table may have before it gets a front.
const WITHOUT: usize = 4_096;

/// Bits that may be set: with more, too many addresses would pass.
const SET_MAX: u128 = front::BITS as u128 / 4;

/// Sizes of IPv6 blocks, the smallest first.
const PREFIXES_V6: [u32; 5] = [56, 48, 40, 32, 24];

/// A front.
pub(crate) struct Front {
    /// Bits of the address that are looked at.
    pub(crate) prefix: u32,
    /// The bitmap.
    pub(crate) bytes: Vec<u8>,
}

/// Whose addresses the keys are. Those of IPv4 stand in the first 32 of 128 bits.
#[derive(Clone, Copy)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The front of a table, if it pays.
pub(crate) fn of(keys: &[u128], deltas: &[u32], family: Family) -> Option<Front> {
    if keys.len() <= WITHOUT {
        return None;
    }
    let listed = || {
        let ends = keys.iter().skip(1).map(|next| next - 1).chain([u128::MAX]);
        keys.iter().zip(ends).zip(deltas).filter(|(_, delta)| **delta != 0).map(|(range, _)| range)
    };
    let blocks = |prefix: u32| -> u128 {
        let block = |address: u128| address >> (128 - prefix);
        listed().map(|(low, high)| block(high) - block(*low) + 1).sum()
    };
    let prefix = match family {
        Family::V4 => Some(24).filter(|prefix| blocks(*prefix) <= SET_MAX),
        Family::V6 => PREFIXES_V6.into_iter().find(|prefix| blocks(*prefix) <= SET_MAX),
    }?;
    let mut bytes = vec![0; front::BYTES as usize];
    for (low, high) in listed() {
        let block = |address: u128| (address >> (128 - prefix)) as u64;
        for block in block(*low)..=block(high) {
            let bit = bit(block, prefix, family);
            bytes[bit as usize / 8] |= 1 << (bit % 8);
        }
    }
    Some(Front { prefix, bytes })
}

/// The bit of a block.
pub(crate) fn bit(block: u64, prefix: u32, family: Family) -> u32 {
    match family {
        Family::V4 => front::bit_v4((block << 8) as u32),
        Family::V6 => front::bit_v6(block << (64 - prefix), prefix),
    }
}

/// Blocks of listed addresses that a front is asked for. With more, every bit has to be set anyway.
pub(crate) const ASKED_MAX: u128 = SET_MAX * 2;

/// Whether a front lets every listed address pass. Nothing is asked of the others. `left` is [`ASKED_MAX`] less the blocks
/// that were asked for before.
pub(crate) fn covers(
    bytes: &[u8],
    prefix: u32,
    mut listed: impl Iterator<Item = (u128, u128)>,
    family: Family,
    left: &mut u128,
) -> bool {
    listed.all(|(low, high)| {
        let block = |address: u128| (address >> (128 - prefix)) as u64;
        let count = u128::from(block(high) - block(low)) + 1;
        if count > *left {
            return bytes.iter().all(|byte| *byte == u8::MAX);
        }
        *left -= count;
        (block(low)..=block(high)).all(|block| {
            let bit = bit(block, prefix, family);
            bytes[bit as usize / 8] >> (bit % 8) & 1 != 0
        })
    })
}
