//! How long from an act until its alert can be read in a file, one act at a time.
//!
//! One line per act: name, number, nanoseconds. The time of an exec begins in the child, just before `execve`.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use crate::{places, sys};

/// After which an alert is missing.
const PATIENCE: i64 = 5_000_000_000;
/// Between two acts, so that each finds the agent at rest.
const PAUSE: i64 = 200_000_000;

/// Measures execs and opens. The file must be there.
pub fn measure(file: &str, times: u32) -> Result<(), String> {
    let mut log = File::open(file).map_err(|error| format!("{file}: {error}"))?;
    let watch = sys::Watch::on(file).ok_or_else(|| format!("{file} cannot be watched"))?;
    let moment = sys::Moment::shared().ok_or("no shared memory")?;
    for number in 0..times {
        let begin = |log: &mut File| log.seek(SeekFrom::End(0)).map_err(|error| error.to_string());
        begin(&mut log)?;
        let child = sys::start(places::TOLD_PROGRAM, Some(&moment));
        let seen = await_line(&mut log, &watch, b"B-TOLD-EXEC")?;
        println!("exec {number} {}", seen - moment.get());
        if !sys::wait(child) {
            return Err("the told program failed".to_owned());
        }
        sys::sleep(PAUSE);
        begin(&mut log)?;
        let opened = sys::clock(sys::MONOTONIC);
        sys::open(places::TOLD).map(sys::close).map_err(|error| format!("open: {error}"))?;
        let seen = await_line(&mut log, &watch, b"B-TOLD-OPEN")?;
        println!("open {number} {}", seen - opened);
        sys::sleep(PAUSE);
    }
    Ok(())
}

/// When a line with this word could be read.
fn await_line(log: &mut File, watch: &sys::Watch, word: &[u8]) -> Result<i64, String> {
    let deadline = sys::clock(sys::MONOTONIC) + PATIENCE;
    let mut text = Vec::new();
    while sys::clock(sys::MONOTONIC) < deadline {
        log.read_to_end(&mut text).map_err(|error| error.to_string())?;
        if text.windows(word.len()).any(|window| window == word) {
            return Ok(sys::clock(sys::MONOTONIC));
        }
        watch.wait(100);
    }
    Err(format!("no alert of {}", String::from_utf8_lossy(word)))
}
