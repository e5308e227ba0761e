//! Bytes that want to be the journal of an agent before: opened, worked off and added to without a panic, and what is read
//! from it is never more than it holds.
#![no_main]

use std::fs;

use interdict_agent::pipeline::read_as_journal;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("interdict-fuzz-journal-{}", std::process::id()));
    fs::write(&path, bytes).expect("a file");
    read_as_journal(&path);
});
