//! Many acts that are told, at a given rate or as fast as can be. Prints how many there were in how many nanoseconds.

use crate::{places, sys};

/// What is done.
#[derive(Clone, Copy)]
pub enum Act {
    Open,
    Exec,
}

impl Act {
    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "open" => Some(Self::Open),
            "exec" => Some(Self::Exec),
            _ => None,
        }
    }
}

/// The shortest time that is slept for rather than passed over.
const SHORTEST: i64 = 50_000;

/// Raises one. A rate of 0: as fast as can be.
pub fn raise(act: Act, times: u32, per_second: u32) -> Result<(), String> {
    let began = sys::clock(sys::MONOTONIC);
    for number in 0..times {
        if per_second != 0 {
            let due = began + i64::from(number) * 1_000_000_000 / i64::from(per_second);
            let early = due - sys::clock(sys::MONOTONIC);
            if early > SHORTEST {
                sys::sleep(early);
            }
        }
        let done = match act {
            Act::Open => sys::open(places::TOLD).map(sys::close).is_ok(),
            Act::Exec => sys::fork(Some(places::TOLD_PROGRAM)),
        };
        if !done {
            return Err("an act of the storm failed".to_owned());
        }
    }
    println!("storm {times} {}", sys::clock(sys::MONOTONIC) - began);
    Ok(())
}
