//! Ways to run a program, or code, that must not run.

pub mod code;
mod kernel;
pub mod programs;

use crate::technique::Technique;

/// All of them.
pub const ALL: &[&[Technique]] = &[programs::ALL, code::ALL, kernel::ALL];
