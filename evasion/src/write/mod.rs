//! Ways to change a protected file, or what is found under its name.

pub mod content;
mod metadata;
mod names;

use crate::technique::Technique;

/// All of them.
pub const ALL: &[&[Technique]] = &[content::ALL, metadata::ALL, names::ALL];
