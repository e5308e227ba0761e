//! Everything that is done to this repository: build the kernel object, boot guests, test, demonstrate, measure.
//!
//! The command line is in `main.rs`; what lies here is also used by the guest tests of `integration`, which boot the
//! same guests as `cargo xtask vm` does. Nothing here may need more than a Debian-like machine offers: what is
//! missing is installed by `tools`, after saying so.
#![forbid(unsafe_code)]

pub mod act;
pub mod bench;
pub mod budget;
pub mod demo;
pub mod deploy;
pub mod ebpf;
pub mod fuzz;
pub mod paths;
pub mod receivers;
pub mod run;
pub mod step;
pub mod test;
pub mod tools;
pub mod vm;
