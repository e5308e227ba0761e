//! Ways to have the content of a protected file.

pub mod calls;
pub mod mounts;
pub mod names;
pub mod processes;

use crate::technique::Technique;
pub use calls::{Handle, racing};

/// All of them.
pub const ALL: &[&[Technique]] = &[names::ALL, mounts::ALL, calls::ALL, processes::ALL];
