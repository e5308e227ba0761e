//! What operations cost their caller: each is done many times, and what one costs is printed.
//!
//! One line per operation and repetition: name, repetition, nanoseconds of processor time, nanoseconds passed.

use std::ffi::CStr;

use crate::{places, sys};

const CLOSED_PORT: u16 = 9;
const ECONNREFUSED: i32 = 111;

struct Operation {
    name: &'static str,
    times: u32,
    /// Done with a number that never comes again. Answers whether it went as it must.
    run: fn(u32) -> bool,
}

fn open_and_close(path: &CStr) -> bool {
    sys::open(path).map(sys::close).is_ok()
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "getppid",
        times: 20_000,
        run: |_| {
            sys::getppid();
            true
        },
    },
    Operation { name: "stat", times: 10_000, run: |_| sys::stat(places::FILE) },
    Operation { name: "open", times: 10_000, run: |_| open_and_close(places::FILE) },
    Operation {
        name: "open-read",
        times: 5_000,
        run: |_| {
            sys::open(places::FILE).is_ok_and(|file| {
                let read = sys::read(file);
                sys::close(file);
                read
            })
        },
    },
    Operation { name: "open-deep", times: 5_000, run: |_| open_and_close(places::DEEP) },
    Operation {
        name: "open-first",
        times: 500,
        // Past the last file it fails, and says so.
        run: |number| open_and_close(&places::fresh(number)),
    },
    Operation { name: "fork", times: 300, run: |_| sys::fork(None) },
    Operation { name: "fork-exec", times: 300, run: |_| sys::fork(Some(places::PROGRAM)) },
    Operation { name: "connect", times: 2_000, run: |_| sys::connect(CLOSED_PORT) == ECONNREFUSED },
    Operation {
        name: "open-matched",
        times: 500,
        run: |_| {
            open_and_close(places::MATCHED);
            true
        },
    },
];

/// Measures those of these names, or all.
pub fn measure(repetitions: u32, names: Option<&str>) -> Result<(), String> {
    let chosen = |operation: &&Operation| {
        names.is_none_or(|names| names.split(',').any(|name| name == operation.name))
    };
    for operation in OPERATIONS.iter().filter(chosen) {
        let mut number = 0;
        let mut demand = |times: u32| {
            for _ in 0..times {
                if !(operation.run)(number) {
                    return Err(format!("{} failed", operation.name));
                }
                number += 1;
            }
            Ok(())
        };
        demand(operation.times.min(50))?;
        for repetition in 0..repetitions {
            let (passed, used) =
                (sys::clock(sys::MONOTONIC), sys::clock(sys::PROCESS) + sys::children());
            demand(operation.times)?;
            let used = sys::clock(sys::PROCESS) + sys::children() - used;
            let passed = sys::clock(sys::MONOTONIC) - passed;
            let times = i64::from(operation.times);
            println!("{} {repetition} {} {}", operation.name, used / times, passed / times);
        }
    }
    Ok(())
}
