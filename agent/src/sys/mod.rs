//! System calls that have no safe wrapper elsewhere: the agent's only unsafe code.
#![allow(unsafe_code)]

pub mod attempt;
pub mod barrier;
pub mod code;
pub mod heap;
pub mod link;
pub mod mapped;
pub mod signals;
pub mod trust;
