//! `workload [REPETITIONS]`: does each operation many times and prints what one costs its caller.
//!
//! One line per operation and repetition: name, repetition, nanoseconds of processor time, nanoseconds passed. In a guest
//! whose clock counts instructions, nanoseconds are instructions. Files are made first; what is matched by a policy is
//! allowed to be refused, everything else must succeed.

mod sys;

use std::ffi::CStr;
use std::fs;

const FILE: &CStr = c"/tmp/w/data.txt";
const DEEP: &CStr = c"/tmp/w/a/very/deep/tree/of/directories/with/a/longish/path/name/file.txt";
const MATCHED: &CStr = c"/etc/secret/f7.key";
const PROGRAM: &CStr = c"/tmp/w/bin/true";
const CLOSED_PORT: u16 = 9;
const ECONNREFUSED: i32 = 111;

struct Operation {
    name: &'static str,
    times: u32,
    run: fn() -> bool,
}

fn open_and_close(path: &CStr) -> bool {
    sys::open(path).map(sys::close).is_ok()
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "getppid",
        times: 20_000,
        run: || {
            sys::getppid();
            true
        },
    },
    Operation { name: "stat", times: 10_000, run: || sys::stat(FILE) },
    Operation { name: "open", times: 10_000, run: || open_and_close(FILE) },
    Operation {
        name: "open-read",
        times: 5_000,
        run: || {
            sys::open(FILE).is_ok_and(|file| {
                let read = sys::read(file);
                sys::close(file);
                read
            })
        },
    },
    Operation { name: "open-deep", times: 5_000, run: || open_and_close(DEEP) },
    Operation { name: "fork", times: 300, run: || sys::fork(None) },
    Operation { name: "fork-exec", times: 300, run: || sys::fork(Some(PROGRAM)) },
    Operation { name: "connect", times: 2_000, run: || sys::connect(CLOSED_PORT) == ECONNREFUSED },
    Operation {
        name: "open-matched",
        times: 500,
        run: || {
            open_and_close(MATCHED);
            true
        },
    },
];

fn prepare() -> std::io::Result<()> {
    fs::create_dir_all("/tmp/w/a/very/deep/tree/of/directories/with/a/longish/path/name")?;
    for file in [FILE, DEEP] {
        fs::write(file.to_str().map_err(std::io::Error::other)?, "hello\n")?;
    }
    Ok(())
}

fn main() {
    let repetitions: u32 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    if let Err(error) = prepare() {
        eprintln!("workload: {error}");
        std::process::exit(2);
    }
    for operation in OPERATIONS {
        for _ in 0..operation.times.min(50) {
            demand(operation);
        }
        for repetition in 0..repetitions {
            let (passed, used) =
                (sys::clock(sys::MONOTONIC), sys::clock(sys::PROCESS) + sys::children());
            for _ in 0..operation.times {
                demand(operation);
            }
            let used = sys::clock(sys::PROCESS) + sys::children() - used;
            let passed = sys::clock(sys::MONOTONIC) - passed;
            let times = i64::from(operation.times);
            println!("{} {repetition} {} {}", operation.name, used / times, passed / times);
        }
    }
    let denied = sys::open(MATCHED);
    println!("# matched: {denied:?}");
}

fn demand(operation: &Operation) {
    if !(operation.run)() {
        eprintln!("workload: {} failed", operation.name);
        std::process::exit(1);
    }
}
