//! The interdict agent: the daemon and its command line.
//!
//! `cli` parses arguments and prints; `app` wires the stages of `interdict run`; everything else is one stage each:
//! `kernel` loads and swaps, `events` reads records, `enrich` adds context, `alert` builds, signs and chains, `spool`
//! keeps, `sinks` deliver, `health` answers. Unsafe code lives in `sys` alone.
#![deny(unsafe_code)]

pub mod alert;
pub mod app;
pub mod bundle;
pub mod canary;
pub mod cli;
pub mod config;
pub mod enrich;
pub mod events;
pub mod feeds;
pub mod kernel;
mod lasting;
pub mod pipeline;
pub mod policy;
pub mod protect;
pub mod sinks;
pub mod spool;
pub mod sys;
pub mod trust;
pub mod wall;
pub mod workloads;
