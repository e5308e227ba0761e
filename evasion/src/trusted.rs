//! The one program that rules let read and write what is protected, and what it does when it is asked.
//!
//! It stands for the login path, the package manager, the editor: others attack through what it does, holds, or is.

use std::fs;
use std::io::{self, Read as _};
use std::process::{Child, Command, Stdio};

use crate::outcome::Failure;
use crate::scene::{PATIENCE, Place, TRUSTED, wait_until};
use crate::sys::{self, Mapping, call};

fn asked(words: &[&str]) -> Result<(), Failure> {
    let status = Command::new(TRUSTED).arg("trusted").args(words).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::Broken(format!("the trusted program could not {}: {status}", words.join(" "))))
    }
}

/// Copies a file, making folders on the way.
pub fn copy(from: &str, to: &str) -> Result<(), Failure> {
    asked(&["copy", from, to])
}

/// Writes a copy beside a file and renames it over.
pub fn replace(path: &str, beside: &str) -> Result<(), Failure> {
    asked(&["replace", path, beside])
}

/// Renames.
pub fn rename(from: &str, to: &str) -> Result<(), Failure> {
    asked(&["rename", from, to])
}

/// Reads to its end, as a daemon does with its key.
pub fn read(path: &str) -> Result<(), Failure> {
    asked(&["read", path])
}

/// A running trusted program that holds a file open and its content in memory; ends when this is dropped.
#[derive(Debug)]
pub struct Holder {
    child: Child,
    /// Where the content is in its memory.
    pub address: usize,
    /// Its descriptor of the file.
    pub descriptor: i32,
}

impl Holder {
    /// Starts one and waits until it sleeps in its last call; for the twin another program that holds something, about
    /// which no rule is.
    pub fn of(place: Place, path: &str) -> Result<Self, Failure> {
        let program = if place == Place::Vault { TRUSTED } else { crate::runner::TWIN };
        let mut child = Command::new(program)
            .args(["trusted", "hold", path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.as_mut() {
            let mut byte = [0];
            while stdout.read(&mut byte)? == 1 && byte != *b"\n" {
                line.push(byte[0].into());
            }
        }
        let mut words = line.split(' ').filter_map(|word| word.parse::<usize>().ok());
        match (words.next(), words.next()) {
            (Some(address), Some(descriptor)) => {
                let held = Self { child, address, descriptor: descriptor as i32 };
                // Whoever changes its registers counts on the call in which it waits.
                let state = format!("/proc/{}/stat", held.pid());
                let waits =
                    || fs::read_to_string(&state).is_ok_and(|line| line.contains(") S "));
                wait_until(PATIENCE, waits)?;
                Ok(held)
            }
            _ => Err(Failure::Broken("the trusted program holds nothing".to_owned())),
        }
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does what [`asked`] asks for; the main of the trusted program.
pub fn serve(words: &[&str]) -> io::Result<()> {
    match words {
        ["copy", from, to] => {
            if let Some(folder) = std::path::Path::new(to).parent() {
                fs::create_dir_all(folder)?;
            }
            fs::copy(from, to).map(drop)
        }
        ["replace", path, beside] => {
            fs::copy(path, beside)?;
            fs::rename(beside, path)
        }
        ["rename", from, to] => fs::rename(from, to),
        ["read", path] => fs::read(path).map(drop),
        ["hold", path] => hold(path),
        _ => Err(io::Error::other("copy, replace, rename, read or hold")),
    }
}

fn hold(path: &str) -> io::Result<()> {
    let file = sys::open(path, libc::O_RDONLY)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let memory = Mapping::new(4096, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
    call!(SYS_pread64, &file, memory.address, 4096, 0)?;
    println!("{} {}", memory.address, std::os::fd::AsRawFd::as_raw_fd(&file));
    let mut ended = [0];
    // Until whoever started us goes away.
    io::stdin().read(&mut ended).map(drop)
}
