//! From YAML rules to the policy image.
//!
//! ```text
//! files -parse-> ParsedPolicies -check-> Checked -normalise-> ir::Program -lower-> image::PolicyImage
//! ```
//! Each arrow is one function that returns either the next noun or every diagnostic at once. No kernel, no clock, no
//! network; runs on any OS. Same rules, same bytes.
#![forbid(unsafe_code)]

pub mod analyse;
pub mod check;
pub mod dfa;
pub mod diag;
pub mod field;
pub mod image;
pub mod ir;
pub mod live;
pub mod lower;
pub mod meta;
pub mod normalise;
pub mod oracle;
pub mod parse;
mod pipeline;
pub mod roots;
pub mod run;
pub mod schema;
pub mod suite;
pub mod told;

pub use pipeline::{Options, Outcome, compile};
