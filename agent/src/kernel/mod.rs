//! The agent's side of the kernel programs: what this kernel can do, loading, swapping policies, process labels.

pub mod arguments;
pub mod btf;
pub mod features;
pub mod guard;
pub mod hooks;
pub mod labels;
pub mod lineage;
pub mod loader;
pub mod object;
pub mod repeats;
pub mod ring;
pub mod slots;
pub mod tallies;
pub mod teach;
pub mod workloads;
