//! What `/proc` says about processes. Any error is an absence: the process is gone or not ours to see.

use std::os::unix::ffi::OsStrExt;

/// One process as `/proc` shows it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) start_ticks: u64,
    pub(super) exe: Vec<u8>,
    pub(super) args: Vec<u8>,
}

/// Longest command line that is read.
const ARGS_BYTES: u64 = interdict_abi::limits::ARGS_BYTES as u64;

/// All processes.
pub(super) fn all() -> Vec<Found> {
    let Ok(processes) = procfs::process::all_processes() else {
        return Vec::new();
    };
    processes.filter_map(|process| found(&process.ok()?)).collect()
}

/// One process.
pub(super) fn one(pid: u32) -> Option<Found> {
    found(&procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?)
}

fn found(process: &procfs::process::Process) -> Option<Found> {
    use std::io::Read;

    let stat = process.stat().ok()?;
    let exe = process.exe().map(|path| path.as_os_str().as_bytes().to_vec()).unwrap_or_default();
    let mut args = Vec::new();
    // Raw bytes: procfs' own reader would replace what is not UTF-8.
    if let Ok(file) = process.open_relative("cmdline") {
        let _partial = file.take(ARGS_BYTES).read_to_end(&mut args);
    }
    let exe = exe.strip_suffix(b" (deleted)").map(<[u8]>::to_vec).unwrap_or(exe);
    Some(Found {
        pid: u32::try_from(stat.pid).ok()?,
        parent: u32::try_from(stat.ppid).unwrap_or(0),
        start_ticks: stat.starttime,
        exe,
        args,
    })
}
