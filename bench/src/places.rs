//! Where the workload acts, and how those places come to be.
//!
//! Everything is made before an agent runs, so that no inode is known to it: the benchmark's policies name the paths
//! below `/etc/secret` and the program `told`, and nothing else that is here.

use std::ffi::{CStr, CString};
use std::{fs, io};

/// A file that no rule is about.
pub const FILE: &CStr = c"/tmp/w/data.txt";
/// Another, eleven directories deep.
pub const DEEP: &CStr = c"/tmp/w/a/very/deep/tree/of/directories/with/a/longish/path/name/file.txt";
/// A file whose opening is refused and told.
pub const MATCHED: &CStr = c"/etc/secret/f7.key";
/// A file whose opening is let through and told.
pub const TOLD: &CStr = c"/etc/secret/told.key";
/// A program that no rule is about and that does nothing.
pub const PROGRAM: &CStr = c"/tmp/w/bin/true";
/// The same program, told whenever it is started.
pub const TOLD_PROGRAM: &CStr = c"/tmp/w/bin/told";
/// Files that are opened once.
pub const FRESH: u32 = 8_000;

/// One of the files that are opened once.
pub fn fresh(number: u32) -> CString {
    // Numbers hold no zero byte.
    CString::new(format!("/tmp/w/fresh/{number:05}.txt")).unwrap_or_default()
}

/// Makes them all. `/opt/nothing` is the program.
pub fn prepare() -> io::Result<()> {
    for folder in [
        "/tmp/w/a/very/deep/tree/of/directories/with/a/longish/path/name",
        "/tmp/w/bin",
        "/tmp/w/fresh",
        "/etc/secret",
    ] {
        fs::create_dir_all(folder)?;
    }
    for file in [FILE, DEEP, MATCHED, TOLD] {
        fs::write(file.to_str().map_err(io::Error::other)?, "hello\n")?;
    }
    for number in 0..FRESH {
        fs::write(fresh(number).to_str().map_err(io::Error::other)?, "hello\n")?;
    }
    for program in [PROGRAM, TOLD_PROGRAM] {
        fs::copy("/opt/nothing", program.to_str().map_err(io::Error::other)?)?;
    }
    Ok(())
}
