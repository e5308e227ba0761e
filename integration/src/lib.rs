//! Policy, act, verdict, alert: what tests on real kernels share.
//!
//! [`case`] lists what a policy promises, [`ground`] is the guest it is tried in, [`observe`] boots that guest once per
//! kernel and answers what happened. The tests in `tests/` compare promise and observation, one test per promise and
//! kernel, so that a failure has a name.
#![forbid(unsafe_code)]

pub mod alerts;
pub mod case;
pub mod cases;
pub mod disk;
pub mod evasions;
pub mod ground;
pub mod late;
pub mod observe;
pub mod receiver;
pub mod script;
pub mod tamper;
