//! What crosses the boundary between the kernel programs and user space, and nothing else.
//!
//! In here: numbers that both sides must agree on (ids, limits), the layout of the policy image, of map keys and
//! values and of ring records, and the names of the kernel fields whose offsets the loader resolves.
//! Must not hold behaviour beyond reading and writing these layouts: decisions live in `interdict-engine`.
#![no_std]
#![forbid(unsafe_op_in_unsafe_fn)]

pub mod calls;
pub mod event;
pub mod guard;
pub mod ids;
pub mod image;
pub mod limits;
pub mod maps;
pub mod offsets;
