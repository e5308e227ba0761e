//! Tasks that hammer the path hooks at once, and count every answer that is not the right one.
//!
//! `stress ground TASKS` makes files, `stress hammer TASKS` opens them until `/srv/ev/stop` is there: each task has
//! protected ones, which must be refused, and others, which must not, of many lengths and depths, so that a path that
//! one invocation builds over another's shows as a wrong answer. `stress crowd N` makes as many processes, each of which
//! then tries once. The counts are told as one line of JSON.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::outcome::Failure;
use crate::scene::{Place, fork, wait};
use crate::sys::{self, Mapping, call};

/// The file that ends the hammering.
const STOP: &str = "/srv/ev/stop";
/// Paths of each task in each place.
const PATHS: usize = 12;

/// What is counted, in memory that all tasks share.
#[derive(Debug, Clone, Copy)]
struct Counts(Mapping);

/// A protected file was refused, as it should be.
const REFUSED: usize = 0;
/// A protected file was opened: a hole.
const THROUGH: usize = 1;
/// An unprotected file was opened, as it should be.
const OPENED: usize = 2;
/// An unprotected file was refused.
const OVERBLOCKED: usize = 3;
/// Something else was answered.
const OTHER: usize = 4;
/// The last other answer.
const OTHER_ERRNO: usize = 5;

impl Counts {
    fn new() -> Result<Self, Failure> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        Ok(Self(Mapping::new(4096, protection, flags, -1)?))
    }

    fn at(&self, index: usize) -> &AtomicU64 {
        // SAFETY: within the page, aligned, and changed atomically by all who share it.
        unsafe { &*((self.0.address + index * 8) as *const AtomicU64) }
    }

    fn add(&self, index: usize) {
        self.at(index).fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, place: Place, answer: std::io::Result<()>) {
        let errno = answer.err().and_then(|error| error.raw_os_error());
        match (place, errno) {
            (Place::Vault, Some(libc::EPERM)) => self.add(REFUSED),
            (Place::Vault, None) => self.add(THROUGH),
            (Place::Plain, None) => self.add(OPENED),
            (Place::Plain, Some(libc::EPERM)) => self.add(OVERBLOCKED),
            (_, Some(errno)) => {
                self.add(OTHER);
                self.at(OTHER_ERRNO).store(errno as u64, Ordering::Relaxed);
            }
        }
    }

    fn line(&self) -> String {
        let of = |index| self.at(index).load(Ordering::Relaxed);
        format!(
            r#"{{"refused":{},"through":{},"opened":{},"overblocked":{},"other":{},"errno":{}}}"#,
            of(REFUSED),
            of(THROUGH),
            of(OPENED),
            of(OVERBLOCKED),
            of(OTHER),
            of(OTHER_ERRNO)
        )
    }
}

/// A path of a task: lengths and depths differ between neighbours, and beginnings are alike.
fn path(place: Place, task: usize, index: usize) -> String {
    let depth = 1 + (task * 7 + index * 5) % 40;
    let name = "n".repeat(1 + (task * 3 + index * 11) % 60);
    let folders = format!("{name}/").repeat(depth);
    format!("{}/stress/{task}-{index}/{folders}file", place.root())
}

/// Makes the files of so many tasks.
pub fn ground(tasks: usize) -> Result<(), Failure> {
    for place in Place::ALL {
        for (task, index) in pairs(tasks) {
            let path = path(place, task, index);
            if let Some((folder, _)) = path.rsplit_once('/') {
                fs::create_dir_all(folder)?;
            }
            fs::write(path, "file")?;
        }
    }
    Ok(())
}

fn pairs(tasks: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..tasks).flat_map(|task| (0..PATHS).map(move |index| (task, index)))
}

/// Hammers until it is told to stop, or so many times each.
pub fn hammer(tasks: usize, rounds: u64) -> Result<(), Failure> {
    let _ = fs::remove_file(STOP);
    let counts = Counts::new()?;
    let mut children = Vec::new();
    for task in 0..tasks {
        children.push(fork(|| {
            let paths: Vec<(Place, std::ffi::CString)> = (0..PATHS)
                .flat_map(|index| {
                    Place::ALL.map(|place| (place, sys::text(path(place, task, index))))
                })
                .collect();
            for round in 0..rounds {
                for (place, path) in &paths {
                    let opened = call!(SYS_openat, libc::AT_FDCWD, path, libc::O_RDONLY, 0);
                    counts.count(*place, opened.map(sys::owned).map(drop));
                }
                if round % 8 == 0 && fs::exists(STOP)? {
                    break;
                }
            }
            Ok(true)
        })?);
    }
    for child in children {
        wait(child)?;
    }
    println!("{}", counts.line());
    Ok(())
}

/// So many processes at once, each of which tries a protected and an unprotected file when all are there.
pub fn crowd(size: usize) -> Result<(), Failure> {
    let counts = Counts::new()?;
    let mut pipe = [0_i32; 2];
    call!(SYS_pipe2, sys::into(&mut pipe), 0)?;
    let mut children = Vec::with_capacity(size);
    for _ in 0..size {
        children.push(fork(|| {
            // Until the writing end is closed everywhere.
            call!(SYS_close, pipe[1])?;
            call!(SYS_read, pipe[0], &mut [0_u8][..], 1)?;
            for place in Place::ALL {
                let path = sys::text(path(place, 0, 0));
                let opened = call!(SYS_openat, libc::AT_FDCWD, &path, libc::O_RDONLY, 0);
                counts.count(place, opened.map(sys::owned).map(drop));
            }
            Ok(true)
        })?);
    }
    call!(SYS_close, pipe[1])?;
    for child in children {
        wait(child)?;
    }
    println!("{}", counts.line());
    Ok(())
}

/// Opens a watched file again and again until told to stop: a flood of alerts on acts that are let through.
pub fn flood(tasks: usize) -> Result<(), Failure> {
    let _ = fs::remove_file(STOP);
    fs::create_dir_all("/srv/watched/flood")?;
    fs::write("/srv/watched/flood/file", "file")?;
    let mut children = Vec::new();
    for _ in 0..tasks {
        children.push(fork(|| {
            let path = sys::text("/srv/watched/flood/file");
            loop {
                for _ in 0..64 {
                    drop(sys::owned(call!(SYS_openat, libc::AT_FDCWD, &path, libc::O_RDONLY, 0)?));
                }
                if fs::exists(STOP)? {
                    return Ok(true);
                }
            }
        })?);
    }
    for child in children {
        wait(child)?;
    }
    Ok(())
}

/// So many protected files; each is then linked elsewhere. `tried` goes through the links.
pub fn many(count: usize, linked: bool) -> Result<(), Failure> {
    let counts = Counts::new()?;
    fs::create_dir_all("/srv/ev/links")?;
    for index in 0..count {
        let folder = format!("/srv/vault/many/{}", index / 1000);
        if !linked {
            if index % 1000 == 0 {
                fs::create_dir_all(&folder)?;
            }
            fs::write(format!("{folder}/{index}"), "file")?;
            if index % 10 == 0 {
                fs::hard_link(format!("{folder}/{index}"), format!("/srv/ev/links/{index}"))?;
            }
        } else {
            let path = if index % 10 == 0 {
                format!("/srv/ev/links/{index}")
            } else {
                format!("{folder}/{index}")
            };
            counts.count(Place::Vault, sys::open(path, libc::O_RDONLY).map(drop));
        }
    }
    if linked {
        println!("{}", counts.line());
    }
    Ok(())
}
