//! Patterns on strings to one automaton that answers them all.
//!
//! In: the distinct patterns of a fact, and what each set of matching patterns amounts to. Out: an [`Automaton`] whose
//! every string ends in a small label. [`glob`] and [`pattern`] say what patterns mean, [`build`] makes all of them
//! deterministic together ([`determine`]), [`reduce`] drops what cannot change the answer,
//! [`tails`] and [`skips`] take out chains of states with one way on.
//! Must not know rules, columns or the image.

pub mod build;
mod determine;
mod distinct;
pub mod glob;
mod longest;
pub mod pattern;
mod reduce;
mod skips;
mod tails;

pub use build::{Automaton, BuildError, Chains, Limits, Next, Skip, Tail, TailEnd, build};
pub use longest::longest;
