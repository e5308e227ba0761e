//! Keeps the code's share of resident memory small.
//!
//! Starting takes most of the program, once: compiling rules, reading the kernel's types, loading. What was mapped for it
//! stays resident until the system is short of memory. It can be had again from the file at any time, so it is let go
//! of, and what is still used comes back page by page.

use std::fs;

use rustix::mm::{Advice, madvise};

/// Lets go of the pages of mappings of files that nobody has changed: those that cannot be written to and hold no page of
/// their own. Relocated data has such pages, and code that a debugger has put its breakpoints into.
pub fn give_back() {
    let Ok(smaps) = fs::read_to_string("/proc/self/smaps") else { return };
    for (start, end) in unchanged(&smaps) {
        let address = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: the pages are as they are in the file, also when they are read from it again.
        let given = unsafe { madvise(address, end - start, Advice::LinuxDontNeed) };
        if let Err(error) = given {
            tracing::debug!(%error, "the code of the start stays resident");
        }
    }
}

/// The mappings to let go of, from where to where.
fn unchanged(smaps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut of_file = None;
    for line in smaps.lines() {
        if let Some(mapping) = mapping(line) {
            of_file = mapping.is_of_file.then_some((mapping.start, mapping.end));
        } else if let Some(own) = line.strip_prefix("Anonymous:")
            && let Some(place) = of_file.take()
            && own.trim() == "0 kB"
        {
            found.push(place);
        }
    }
    found
}

/// The first line of a mapping.
struct Mapping {
    start: usize,
    end: usize,
    /// Of a file, private, not to be written to.
    is_of_file: bool,
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (rights, _offset, _device, inode) =
        (words.next()?, words.next()?, words.next()?, words.next()?);
    Some(Mapping {
        start: usize::from_str_radix(start, 16).ok()?,
        end: usize::from_str_radix(end, 16).ok()?,
        is_of_file: inode != "0" && matches!(rights, "r-xp" | "r--p"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_kib() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    #[test]
    fn the_code_goes_and_comes_back() {
        // All of it, so that there is something to let go of.
        let own = fs::read_to_string("/proc/self/smaps").unwrap();
        for (start, end) in unchanged(&own) {
            let address = std::ptr::with_exposed_provenance_mut(start);
            // SAFETY: reads pages of a file in.
            unsafe { madvise(address, end - start, Advice::LinuxPopulateRead) }.unwrap();
        }
        let before = resident_kib();
        give_back();
        let after = resident_kib();
        assert!(after < before / 2, "{before} KiB, {after} KiB");
    }

    #[test]
    fn what_was_changed_or_is_no_file_s_stays() {
        let smaps = "\
1000-3000 r--p 00000000 fe:00 12 /usr/bin/interdict\nSize: 8 kB\nAnonymous:             0 kB\n\
3000-9000 r-xp 00002000 fe:00 12 /usr/bin/interdict\nAnonymous:             0 kB\n\
9000-a000 r--p 00008000 fe:00 12 /usr/bin/interdict\nAnonymous:             4 kB\n\
a000-b000 rw-p 00009000 fe:00 12 /usr/bin/interdict\nAnonymous:             0 kB\n\
b000-c000 r--s 00000000 fe:00 13 /run/interdict/journal\nAnonymous:             0 kB\n\
c000-d000 r-xp 00000000 00:00 0 [vdso]\nAnonymous:             0 kB\n\
d000-e000 r--p 00000000 00:00 0 \nAnonymous:             0 kB\n";
        assert_eq!(unchanged(smaps), [(0x1000, 0x3000), (0x3000, 0x9000)]);
    }
}
