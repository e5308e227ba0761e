//! How much memory the kernel has taken for a process's maps and programs, by what `/proc/PID/fdinfo` says of them.
//!
//! Before 6.4 the kernel leaves out the heads of entries, and says of a table that takes memory entry by entry what it
//! would take when full. Of such a table only what an empty one takes is counted here; the kernel's word is told beside it.

/// Kinds of maps that can take memory entry by entry (`BPF_MAP_TYPE_HASH`), and the flag by which they do.
const HASH: u64 = 1;
const NO_PREALLOC: u64 = 1;

/// Bytes of a bucket of a hash table (`struct bucket`: a list's head and a lock).
const BUCKET: u64 = 16;

/// Bytes that were taken, and that would be if every table was full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Now, of tables told as full what they take empty.
    pub(super) now: u64,
    /// The sum of what the kernel tells.
    pub(super) told: u64,
}

/// Adds up the fdinfo files of a process, one behind the other.
pub(super) fn taken(fdinfo: &str) -> Taken {
    let mut taken = Taken::default();
    for file in fdinfo.split("pos:") {
        let value = |name: &str| {
            let line = file.lines().find_map(|line| line.strip_prefix(name))?;
            let text = line.trim_start_matches(':').trim();
            match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            }
        };
        let Some(told) = value("memlock") else { continue };
        taken.told += told;
        let entries = value("max_entries").unwrap_or(0);
        let entry = value("key_size").unwrap_or(0) + value("value_size").unwrap_or(0);
        let grows = value("map_type") == Some(HASH)
            && value("map_flags").is_some_and(|flags| flags & NO_PREALLOC != 0);
        let told_as_full = grows && told >= entries * entry;
        taken.now += if told_as_full { entries.next_power_of_two() * BUCKET } else { told };
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(kind: u32, flags: u32, entries: u32, memlock: u64) -> String {
        format!(
            "pos:\t0\nflags:\t02000002\nmap_type:\t{kind}\nkey_size:\t8\nvalue_size:\t24\n\
             max_entries:\t{entries}\nmap_flags:\t{flags:#x}\nmemlock:\t{memlock}\nmap_id:\t7\n"
        )
    }

    #[test]
    fn a_table_that_grows_counts_as_empty_where_the_kernel_tells_it_full() {
        let told_full = map(1, 1, 1000, 32_768);
        assert_eq!(taken(&told_full), Taken { now: 1024 * 16, told: 32_768 });
        let told_as_it_is = map(1, 1, 1000, 17_000);
        assert_eq!(taken(&told_as_it_is), Taken { now: 17_000, told: 17_000 });
    }

    #[test]
    fn all_others_count_as_told_and_other_files_do_not() {
        let file = "pos:\t0\nflags:\t02\nmnt_id:\t5\nino:\t3\n";
        let all = [map(1, 0, 1000, 40_000), file.to_owned(), map(9, 0, 10, 500)].concat();
        assert_eq!(taken(&all), Taken { now: 40_500, told: 40_500 });
    }
}
