//! What an act costs the agent: its processor time over many acts, until it rests again, less what it uses at rest.
//!
//! One line per act and repetition: name, repetition, nanoseconds per act. Before them `idle`: nanoseconds per second.

use crate::{places, sys};

const SECOND: i64 = 1_000_000_000;
/// How often the agent is looked at.
const LOOK: i64 = SECOND / 10;
/// Looks in a row that find it at rest.
const AT_REST: u32 = 5;
/// Looks after which it will not rest any more.
const LOOKS: u32 = 1_200;

type Run = fn() -> bool;

const ACTS: &[(&str, Run)] = &[
    ("exec-untold", || sys::fork(Some(places::PROGRAM))),
    ("exec-told", || sys::fork(Some(places::TOLD_PROGRAM))),
    ("open-told", || sys::open(places::TOLD).map(sys::close).is_ok()),
];

fn used(process: u32) -> Result<i64, String> {
    sys::clock_of(process).ok_or_else(|| format!("there is no process {process}"))
}

/// What the agent uses in one second at rest.
fn idle(process: u32) -> Result<i64, String> {
    let before = (used(process)?, sys::clock(sys::MONOTONIC));
    sys::sleep(5 * SECOND);
    let after = (used(process)?, sys::clock(sys::MONOTONIC));
    Ok((after.0 - before.0) * SECOND / (after.1 - before.1))
}

/// Waits until the agent does no more than it does at rest.
fn rest(process: u32, idle: i64) -> Result<(), String> {
    let mut quiet = 0;
    let mut before = used(process)?;
    for _ in 0..LOOKS {
        sys::sleep(LOOK);
        let now = used(process)?;
        // Twice as much, because what it does at rest it does now and then.
        quiet = if now - before <= 2 * idle * LOOK / SECOND + 500_000 { quiet + 1 } else { 0 };
        before = now;
        if quiet == AT_REST {
            return Ok(());
        }
    }
    Err(format!("process {process} does not come to rest"))
}

/// Waits until a process rests, without knowing what it does at rest.
pub fn drain(process: u32) -> Result<(), String> {
    rest(process, 0)
}

/// Measures all acts.
pub fn measure(process: u32, repetitions: u32, times: u32) -> Result<(), String> {
    rest(process, 0)?;
    let idle = idle(process)?;
    println!("idle 0 {idle}");
    for (name, run) in ACTS {
        for repetition in 0..repetitions {
            rest(process, idle)?;
            let before = (used(process)?, sys::clock(sys::MONOTONIC));
            for _ in 0..times {
                if !run() {
                    return Err(format!("{name} failed"));
                }
            }
            rest(process, idle)?;
            let passed = sys::clock(sys::MONOTONIC) - before.1;
            let spent = used(process)? - before.0 - idle * passed / SECOND;
            println!("{name} {repetition} {}", spent / i64::from(times));
        }
    }
    Ok(())
}
