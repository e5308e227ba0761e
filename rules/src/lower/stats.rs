//! What an image is made of, for people who must make it smaller.

use interdict_abi::ids::{Fact, Family};

/// Sizes of one image and its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rules compiled.
    pub rules: usize,
    /// Clauses of each family that has any.
    pub clauses: Vec<(Family, usize)>,
    /// The automata.
    pub automata: Vec<AutomatonStats>,
    /// Every part with its size, in the order written.
    pub parts: Vec<PartStats>,
    /// Bytes of the kernel's half.
    pub image_bytes: usize,
}

/// One automaton.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutomatonStats {
    /// The family it belongs to; `None` for those all families share.
    pub family: Option<Family>,
    /// The fact it reads. `Exe` stands for all programs, `None` for arguments.
    pub fact: Option<Fact>,
    /// Distinct patterns.
    pub patterns: usize,
    /// States after reduction.
    pub states: usize,
    /// Rests of single strings that need no states.
    pub tails: usize,
    /// Middles of strings that need no states.
    pub skips: usize,
    /// Byte classes.
    pub classes: usize,
    /// Labels, "matches nothing" included.
    pub labels: usize,
    /// Bytes in the image.
    pub bytes: usize,
    /// Most steps of a walk; `None`: as many as the string has bytes.
    pub steps: Option<usize>,
}

/// One part of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartStats {
    /// What it is.
    pub name: String,
    /// Bytes it added.
    pub bytes: usize,
}
