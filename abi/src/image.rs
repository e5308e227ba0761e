//! Layout of the policy image: the bytes the kernel reads.
//!
//! Flat, position-independent, little-endian; every offset is in bytes from the start of the image and a multiple of 8
//! unless said otherwise. Offset 0 (the magic) never names a table, so 0 means "none" everywhere.
//!
//! ```text
//! Header            64 bytes, then `families`: FAMILIES x u32, then padding to HEADER_BYTES
//! Family directory  FAMILY_BYTES: clause count, offset of clause records, then FACTS columns of COLUMN_BYTES
//! Column            kind, base row, table (value -> delta row), second table, automaton, fault row
//! Base row          { summary: u64, block: [u64; 4] x ceil(clauses / 256) }   dense
//! Delta row         { summary: u64, block: [u64; 4] x popcount(summary) }     sparse, what differs from the base row
//! Clause record     { rule: u32, action: u8, mode: u8, flags: u8, errno: u8, residual: [u16; 4] }
//! Automaton         { start: u32, states: u32, class: [u8; 256], rows of u32 by class }
//! ```
//!
//! For a value `v` of a fact the set of clauses that `v` satisfies is `base ^ delta(v)`: the base row is the set for
//! values that no pattern, range or flag mentions, and deltas are small. Delta offset 0 is the empty delta.

/// First word of an image: "IDCT".
pub const MAGIC: u32 = u32::from_le_bytes(*b"IDCT");

/// Version of this layout. Kernel programs and images of different versions refuse each other.
pub const VERSION: u32 = 7;

/// Bytes of the header.
pub const HEADER_BYTES: u32 = 128;

/// Offsets of the header's words.
pub mod header {
    /// [`super::MAGIC`].
    pub const MAGIC: u32 = 0;
    /// [`super::VERSION`].
    pub const VERSION: u32 = 4;
    /// Bytes of the whole image.
    pub const LENGTH: u32 = 8;
    /// CRC-32 (IEEE) of the image with this word zero.
    pub const CHECKSUM: u32 = 12;
    /// Automaton over executable paths; its labels are executable labels. 0 when no rule tests a program.
    pub const EXE_AUTOMATON: u32 = 16;
    /// Number of executable labels, label 0 ("matches nothing") included.
    pub const EXE_LABELS: u32 = 20;
    /// Table of executable label -> set of ancestor predicates, `SET_WORDS` u64 each. 0: no rule tests ancestors.
    pub const ANCESTOR_SETS: u32 = 24;
    /// Automaton over one argument; its labels index [`ARG_SETS`]. 0: no rule tests arguments.
    pub const ARG_AUTOMATON: u32 = 28;
    /// Table of argument label -> set of argument predicates, `SET_WORDS` u64 each.
    pub const ARG_SETS: u32 = 32;
    /// Masks of capabilities that rules test: `{ count: u32, pad: u32, mask: [u64; count] }`, at most
    /// `CAPABILITY_MASKS`. A process whose effective set meets mask `i` has predicate `i`. 0: no rule tests them.
    pub const CAP_MASKS: u32 = 36;
    /// Which system calls some rule is about: for each way of calling `SYSCALL_NUMBERS` bits for their beginning, then
    /// the same for their end. 0: none.
    pub const SYSCALLS: u32 = 40;
    /// Digest of the predicates on arguments, never 0, if some clause tests them of a process that acts: then programs
    /// keep which of them hold, for each process. Under two images with one digest the bits mean the same. 0: none does.
    pub const KEPT_ARGS: u32 = 44;
    /// What becomes of packets by their sender alone: see [`super::settled`]. 0: of none.
    pub const SETTLED: u32 = 48;
    /// Offsets of the family directories, `FAMILIES` x u32, 0 for a family without clauses.
    pub const FAMILIES: u32 = 64;
}

/// Offsets inside a family directory.
pub mod family {
    /// Number of clauses, u32.
    pub const CLAUSES: u32 = 0;
    /// Offset of the first clause record, u32.
    pub const CLAUSE_RECORDS: u32 = 4;
    /// Summary of all blocks that hold a clause, u64: where narrowing starts.
    pub const ALL: u32 = 8;
    /// Number of the first clauses that enforce block or kill, u32: past it the loop may run out harmlessly.
    pub const ENFORCING: u32 = 16;
    /// Mask of set facts (`1 << SetFact`) that some clause tests, u32.
    pub const NEEDS_SETS: u32 = 20;
    /// Mask of facts (`1 << Fact`) that some clause tests, u64.
    pub const NEEDS: u32 = 24;
    /// First column; columns are indexed by `Fact`.
    pub const COLUMNS: u32 = 32;
}

/// Bytes of one column.
pub const COLUMN_BYTES: u32 = 32;

/// Bytes of a family directory.
pub const FAMILY_BYTES: u32 = family::COLUMNS + COLUMN_BYTES * crate::ids::FACTS as u32;

/// Offsets inside a column.
pub mod column {
    /// [`super::TableKind`], u32; 0 when no clause tests the fact.
    pub const KIND: u32 = 0;
    /// Base row, u32.
    pub const BASE: u32 = 4;
    /// Table from value (or label) to delta row, u32.
    pub const TABLE: u32 = 8;
    /// Second table: IPv6 beside IPv4, u32.
    pub const TABLE_V6: u32 = 12;
    /// Automaton that turns the string into a label, u32; 0 for other kinds and for facts that arrive as labels.
    pub const AUTOMATON: u32 = 16;
    /// Delta row to use when the fact could not be learned: the clauses whose `on_fault` is block hold, u32.
    pub const FAULT_ROW: u32 = 20;
    /// The next part of a string column, u32: a column record of its own somewhere in the image, with another automaton
    /// over the same string. All parts narrow. 0: no more.
    pub const NEXT: u32 = 24;
    /// Of the last of several parts: base row of the clauses that are in the base rows of all parts, u32. No other clause
    /// can hold of a string that no part flips it for. 0: the column has one part.
    pub const UNFLIPPED: u32 = 28;
}

/// How a column's table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TableKind {
    /// `{ count: u32, pad: u32, delta: [u32; count] }`, indexed by the value; past the end: delta 0.
    Direct = 1,
    /// `{ count: u32, index: u32, keys: u32, deltas: u32 }`: `keys` names `count` ascending u32 range starts (the
    /// first is 0), `deltas` as many u32. `index`, if not 0, names 65,537 u32: entry `p` is the last range that starts
    /// at or before `p << 16`, and entry 65,536 is `count - 1`.
    Ranges = 2,
    /// [`pages`] of ranges of addresses, IPv4 in host order under `TABLE` and IPv6 under `TABLE_V6`, each with a [`front`].
    Addresses = 3,
    /// [`TableKind::Direct`], indexed by the label that a table of [`names`] under `AUTOMATON` gives.
    Names = 4,
}

/// Offsets inside a table of names, and how it is read: open addressing by the digest of a key.
pub mod names {
    /// Number of cells, a power of two, less one, u32.
    pub const MASK: u32 = 0;
    /// What digests start from, u32.
    pub const SEED: u32 = 4;
    /// The first cell.
    pub const CELLS: u32 = 8;
    /// Bytes of a cell: digest, u64, 0 for none; label of the name, u32; label of what is below it, u32. Labels have
    /// [`PRESENT`] set.
    pub const CELL_BYTES: u32 = 16;
    /// Bit of the labels in a cell that is taken.
    pub const PRESENT: u32 = 1 << 31;
    /// Cells that are looked at.
    pub const PROBES: u32 = 32;

    /// The state that digests start from.
    #[inline(always)]
    pub const fn digest_of(seed: u32) -> u64 {
        0xcbf2_9ce4_8422_2325 ^ (seed as u64) << 16
    }

    /// The next state.
    #[inline(always)]
    pub const fn mixed(state: u64, byte: u8) -> u64 {
        (state ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
    }

    /// The digest of what was mixed, never 0.
    #[inline(always)]
    pub const fn finished(state: u64) -> u64 {
        let state = (state ^ (state >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (state ^ (state >> 29)) | 1 << 63
    }
}

/// Bytes of the head of a ranges table.
pub const RANGES_BYTES: u32 = 16;

/// Bytes of the head of a table of addresses.
pub const ADDRESSES_BYTES: u32 = 32;

/// A table of addresses: ranges in pages, each of which can be replaced by itself while programs read, by one store of its
/// descriptor. `{ pages: u32, index: u32, fences: u32, descriptors: u32, front: u32, bits: u32,
/// share: u32, pad: u32 }`.
///
/// Page `p` answers for the addresses from fence `p` up to the next. For IPv4 there is one page, or there are
/// [`pages::V4`], one for each value of the top 16 bits, and `index` and `fences` are 0. For IPv6 `fences` names ascending
/// pairs of u64 (high, low half), the first of them 0; `index`, if not 0, is over them by the top 16 bits as in
/// [`TableKind::Ranges`].
///
/// A descriptor is a u64: the offset of the page, and in its upper half the number `count` of ranges in it. A page is
/// `count` ascending keys (u32 for IPv4, pairs of u64 for IPv6), the first of them the fence, then, at the next multiple of
/// 8, `count` u32 deltas.
///
/// Columns of several families may share fences, descriptors, pages and front. Each has a head of its own then, with another
/// `share`, and what stands in the pages instead of a delta is an offset, to which `share` is added to find the column's
/// delta. 0 there is delta 0 of every column.
pub mod pages {
    /// Number of pages, u32.
    pub const COUNT: u32 = 0;
    /// Index over the fences, u32.
    pub const INDEX: u32 = 4;
    /// The fences, u32.
    pub const FENCES: u32 = 8;
    /// The descriptors, u32.
    pub const DESCRIPTORS: u32 = 12;
    /// What leads from what stands in a page to the column's delta, u32, a multiple of 4. 0: it is the delta.
    pub const SHARE: u32 = 24;
    /// Pages of an IPv4 table that has more than one.
    pub const V4: u32 = 1 << 16;

    /// Where the deltas of a page of `count` keys of `bytes` bytes each begin, from the start of the page.
    #[inline(always)]
    pub const fn deltas(count: u32, bytes: u32) -> u32 {
        count.wrapping_mul(bytes).wrapping_add(7) & !7
    }

    /// A descriptor.
    #[inline(always)]
    pub const fn descriptor(offset: u32, count: u32) -> u64 {
        (count as u64) << 32 | offset as u64
    }
}

/// The front of a ranges table of addresses: a bitmap that answers for most addresses that are not listed, with one
/// read. Bit `b` is clear only if delta 0 holds of every address whose first `bits` bits (in the table's head, at
/// [`front::PREFIX`]) lead to `b`. For IPv4 those are 24 bits and lead to themselves, for IPv6 they are hashed.
pub mod front {
    /// Offset of the front in a table's head, u32; 0: none.
    pub const OFFSET: u32 = 16;
    /// Number of bits of the address that are looked at, u32, 1 to 64.
    pub const PREFIX: u32 = 20;
    /// Bits of a front: one for each /24 of IPv4.
    pub const BITS: u32 = 1 << 24;
    /// Bytes of a front.
    pub const BYTES: u32 = BITS / 8;

    /// The bit of an IPv4 address.
    #[inline(always)]
    pub const fn bit_v4(address: u32) -> u32 {
        address >> 8
    }

    /// The bit of an IPv6 address by the high half of it: a multiplication spreads its first `prefix` bits.
    #[inline(always)]
    pub const fn bit_v6(upper: u64, prefix: u32) -> u32 {
        let first = upper >> (64u32.wrapping_sub(prefix) & 63);
        (first.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u32
    }
}

/// Rules by which packets that arrive at an interface are dropped, whatever else is in them, by the delta row of their
/// sender: `{ count: u32, pad: u32, entry: [{ delta: u32, rule: u32 }; count] }`, at most `SETTLED_ROWS`.
///
/// An entry is there only if the first clause that agrees with act and sender enforces a refusal, excuses nothing, and
/// asks for nothing else; and if no rule with a rate can match.
pub mod settled {
    /// Number of entries, u32.
    pub const COUNT: u32 = 0;
    /// The first entry.
    pub const ENTRIES: u32 = 8;
    /// Bytes of an entry.
    pub const ENTRY_BYTES: u32 = 8;
}

/// Entries of a ranges index.
pub const RANGES_INDEX: u32 = 65_537;

/// Bytes of a clause record.
pub const CLAUSE_BYTES: u32 = 16;

/// Offsets inside a clause record.
pub mod clause {
    /// Index of the rule in the policy's metadata, u32.
    pub const RULE: u32 = 0;
    /// `Action`, u8.
    pub const ACTION: u32 = 4;
    /// `Mode`, u8.
    pub const MODE: u32 = 5;
    /// See [`super::clause_flags`], u8.
    pub const FLAGS: u32 = 6;
    /// What a refused act returns, a positive errno, u8.
    pub const ERRNO: u32 = 7;
    /// `RESIDUALS` x u16: see [`super::residual`].
    pub const RESIDUAL: u32 = 8;
}

/// Flags of a clause record.
pub mod clause_flags {
    /// This clause excuses its rule. The clauses of a rule are adjacent, exceptions first.
    pub const EXCEPTION: u8 = 1;
    /// A residual literal on a set fact that could not be learned holds (`on_fault: block`); without it, it does not.
    pub const FAULT_HOLDS: u8 = 2;
}

/// Encoding of a residual literal, u16: 0 is none, else `1 + bit | fact << 12 | negated << 15`.
pub mod residual {
    /// The bit plus one.
    pub const BIT_MASK: u16 = 0x0fff;
    /// Shift of the set fact.
    pub const FACT_SHIFT: u32 = 12;
    /// The literal holds when the bit is not in the set.
    pub const NEGATED: u16 = 0x8000;
}

/// Offsets inside an automaton.
///
/// A transition is a u32: with bit 0 clear it is the offset (in the image) of the next state's row, with bit 0 set the
/// string is decided and the label is `value >> 1`. Label 0 matches nothing. Every state decides on the class of byte
/// zero, so a walk ends at the terminator at the latest. A label with the bit [`automaton::TAIL`] is the place of a
/// [`tail`], in units of 8 bytes: it holds the label to answer if the string goes on and ends like the tail, else the
/// answer is 0. A transition with bit 0 and the bit [`automaton::SKIP`] is, without those, the offset of a [`skip`]: it
/// holds the transition to take if the string goes on like it, else the answer is 0. Labels are below `1 << 29`.
pub mod automaton {
    /// Offset of the start state's row, or a decided value, u32.
    pub const START: u32 = 0;
    /// Number of states, u32.
    pub const STATES: u32 = 4;
    /// Class of each byte, 256 x u8.
    pub const CLASSES: u32 = 8;
    /// First state's row.
    pub const ROWS: u32 = 264;
    /// This label names a tail.
    pub const TAIL: u32 = 1 << 30;
    /// This transition names a skip.
    pub const SKIP: u32 = 1 << 30;
}

/// Offsets inside a skip: bytes in the middle of strings that can only go on with them, compared in one go. Columns of
/// short strings and the automaton of arguments have none.
pub mod skip {
    /// The transition to take if they follow: to a row or to another skip, u32.
    pub const NEXT: u32 = 0;
    /// The bytes, `SKIP_BYTES` of them.
    pub const TEXT: u32 = 4;
    /// Bytes of a skip.
    pub const BYTES: u32 = 8;
}

/// Offsets inside a tail: the rest of one string, so that it needs no rows.
pub mod tail {
    /// The label, u32.
    pub const LABEL: u32 = 0;
    /// Number of bytes that must follow, u16; at most `TAIL_BYTES`.
    pub const LENGTH: u32 = 4;
    /// What must come then, u16: see [`End`].
    pub const END: u32 = 6;
    /// The bytes.
    pub const BYTES: u32 = 8;

    /// How a string must end after a tail.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[repr(u16)]
    pub enum End {
        /// With the terminating zero.
        End = 0,
        /// With the zero or a slash: a directory and what is below it.
        EndOrSlash = 1,
        /// With anything.
        Anything = 2,
    }
}
