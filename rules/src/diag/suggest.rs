//! Did you mean ...?

/// The candidate closest to what was written, if one is close enough to be meant.
pub fn closest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = written.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let score = if candidate.eq_ignore_ascii_case(written) {
                1.0
            } else if lower.len() > 2
                && strsim::osa_distance(&lower, &candidate.to_ascii_lowercase()) == 1
            {
                // One slip: short words are too short for the measure below.
                0.99
            } else {
                strsim::jaro_winkler(&lower, &candidate.to_ascii_lowercase()).max(
                    // `exe` is closer to `process.exe` than any edit distance says.
                    if candidate.rsplit('.').next() == Some(lower.as_str())
                        || candidate.replace(['.', '_'], "") == lower.replace(['.', '_'], "")
                    {
                        0.95
                    } else {
                        0.0
                    },
                )
            };
            (score, candidate)
        })
        .filter(|(score, _)| *score > 0.84)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let fields = ["process.exe", "process.parent.exe", "file.path"];
        assert_eq!(closest("proces.exe", fields), Some("process.exe"));
        assert_eq!(closest("file.paht", fields), Some("file.path"));
        assert_eq!(closest("FILE.PATH", fields), Some("file.path"));
        assert_eq!(closest("tpc", ["icmp", "tcp", "udp"]), Some("tcp"));
    }

    #[test]
    fn a_stranger_finds_nothing() {
        assert_eq!(closest("zebra", ["process.exe", "file.path"]), None);
    }
}
