//! Whether memory grows: raises processes and alerts at a steady rate for a long time and tells the resident memory each
//! minute, as JSON lines. `alert_soak SECONDS ALERTS_PER_SECOND [plain]`; half an hour at 1,000 a second by default.
//! Beside it: bytes of the heap in use and free, and segments of the spool, so that growth can be told from heap that
//! the allocator keeps. `plain` leaves the allocator as it comes.
#![allow(clippy::unwrap_used, reason = "a measurement that goes wrong should stop")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use interdict_abi::{
    event::{Head, VERSION, kind},
    ids::{Act, Action, Family, Mode},
};
use interdict_agent::{
    config::Config,
    pipeline::{Pipeline, this_host},
};
use zerocopy::IntoBytes;

const PID: u32 = 0x4000_0000;

fn record(kind: u16, pid: u32, target: u32, time_ns: u64, path: &str, extra: &str) -> Vec<u8> {
    let mut head = Head::ZERO;
    head.version = VERSION;
    head.kind = kind;
    head.family = Family::File as u8;
    head.verdict = Action::Block as u8;
    head.would = Action::Block as u8;
    head.acts = Act::FileRead.bit();
    head.generation = 1;
    head.pid = pid;
    head.tid = pid;
    head.target = target;
    head.cgroup = 1;
    head.time_ns = time_ns;
    head.path_bytes = u16::try_from(path.len()).unwrap();
    head.extra_bytes = u16::try_from(extra.len()).unwrap();
    [head.as_bytes(), path.as_bytes(), extra.as_bytes()].concat()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Bytes of the heap that are in use and that lie free in it, over all arenas, in KiB.
fn heap_kib() -> (usize, usize) {
    // SAFETY: reads counters of the allocator, under its own locks.
    let info = unsafe { libc::mallinfo2() };
    ((info.uordblks + info.hblkhd) / 1_024, info.fordblks / 1_024)
}

fn main() {
    let plain = std::env::args().nth(3).is_some_and(|argument| argument == "plain");
    if !plain {
        interdict_agent::sys::heap::keep_small();
    }
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(default, |text| text.parse().unwrap());
    let (seconds, rate) = (number(1_800), number(1_000));
    let folder = tempfile::tempdir_in(".").unwrap();
    // The bounds of spool and file are reached within minutes, so that dropping and rotating are part of it.
    let text = format!(
        "state: {0}\nruntime: {0}/run\nalerts: {{ alive: 10s }}\nspool: {{ segment_bytes: 4MiB, max_bytes: 64MiB }}\nsinks:\n  \
         - file: {{ path: {0}/out.ndjson, max_bytes: 16MiB, keep: 2 }}\n",
        folder.path().display()
    );
    let config = Config::parse(&text, Path::new("soak.yaml")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let pipeline = {
        let _context = runtime.enter();
        Pipeline::start(&config, this_host(), Mode::Enforce).unwrap()
    };
    let started = Instant::now();
    let (mut raised, mut minute) = (0_u64, 0);
    while started.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(20));
        let due = started.elapsed().as_millis() as u64 * rate / 1_000;
        while raised < due {
            // A process of its own for every alert: forked, run, told, gone. Pids come round as they do.
            let pid = PID + (raised % 30_000) as u32 + 1;
            let time_ns = started.elapsed().as_nanos() as u64;
            let program = format!("/usr/bin/tool-{}", raised % 500);
            pipeline.record(&record(kind::FORK, PID, pid, time_ns, "", ""));
            pipeline.record(&record(
                kind::EXEC,
                pid,
                0,
                time_ns,
                &program,
                "tool\0--flag\0value\0",
            ));
            pipeline.record(&record(
                kind::DECISION,
                pid,
                0,
                time_ns,
                &format!("/data/{raised}"),
                "",
            ));
            pipeline.record(&record(kind::EXIT, pid, 0, time_ns, "", ""));
            raised += 1;
        }
        if started.elapsed().as_secs() / 60 >= minute {
            minute += 1;
            let lost: u64 = pipeline.losses().values().sum();
            let (used_kib, free_kib) = heap_kib();
            let spool = std::fs::read_dir(folder.path().join("spool")).unwrap();
            println!(
                "{}",
                serde_json::json!({"seconds": started.elapsed().as_secs(), "raised": raised,
                    "durable": pipeline.durable(), "lost": lost, "resident_kib": resident_kib(),
                    "heap_used_kib": used_kib, "heap_free_kib": free_kib, "segments": spool.count(),
                    "queue_bytes": pipeline.backlog().len_bytes})
            );
        }
    }
    runtime.block_on(pipeline.shutdown("measured"));
}
