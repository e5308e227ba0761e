//! Says what happened, once, and makes it provable.
//!
//! In: a decoded decision with its context ([`build`]), or something the agent itself has to tell ([`Notice`]). Out: an
//! [`Alert`](model::Alert), the one model behind every format. [`seal::Sealer`] then gives it its place in the
//! stream (sequence number, hash chain) and its proof (a Merkle path to a signed root), and renders the one JSON line
//! that is spooled. [`verify`] checks lines with the public key alone. The format is written down in `docs/alerts.md`.

pub mod build;
pub mod canonical;
pub mod fields;
pub mod hash;
pub mod key;
pub mod merkle;
pub mod message;
pub mod model;
pub mod notice;
pub mod redact;
pub mod render;
pub mod seal;
pub mod shared;
pub mod text;
pub mod verify;
mod write;

pub use build::{attempted, build};
pub use model::Alert;
pub use notice::Notice;
