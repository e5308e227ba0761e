//! Lets a process say of itself that it runs another program.
//!
//! `PR_SET_MM_EXE_FILE` refuses while any part of the old program is mapped. So each of its mappings is copied to
//! anonymous memory, which is then moved to where the mapping was: the same bytes, and no file behind them.

use crate::outcome::Failure;
use crate::sys::{self, Mapping, call};

const MREMAP_MOVE_TO: i32 = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;

/// Makes `/proc/self/exe` point elsewhere.
pub fn pretend_to_be(program: &str) -> Result<(), Failure> {
    let exe = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for line in maps.lines().filter(|line| line.ends_with(exe.to_string_lossy().as_ref())) {
        let mut words = line.split(' ');
        let range = words.next().and_then(|range| range.split_once('-'));
        let protection = words.next().unwrap_or_default();
        let Some((from, to)) = range else { continue };
        let number =
            |text| usize::from_str_radix(text, 16).map_err(|_| Failure::Broken(line.to_owned()));
        replace(number(from)?, number(to)?, protection)?;
    }
    let file = sys::open(program, libc::O_RDONLY)?;
    call!(SYS_prctl, libc::PR_SET_MM, libc::PR_SET_MM_EXE_FILE, &file, 0, 0)?;
    Ok(())
}

fn replace(from: usize, to: usize, protection: &str) -> Result<(), Failure> {
    let length = to - from;
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    let copy = Mapping::new(length, writable, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
    copy.write(Mapping { address: from, len_bytes: length }.bytes());
    let mut wanted = 0;
    for (letter, bit) in [('r', libc::PROT_READ), ('w', libc::PROT_WRITE), ('x', libc::PROT_EXEC)] {
        if protection.contains(letter) {
            wanted |= bit;
        }
    }
    call!(SYS_mprotect, copy.address, length, wanted)?;
    call!(SYS_mremap, copy.address, length, length, MREMAP_MOVE_TO, from)?;
    Ok(())
}
