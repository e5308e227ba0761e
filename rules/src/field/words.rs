//! Names of numbers: protocols, address families, socket types, types of files.

use super::Words;

/// The names of a set of words with their numbers.
pub const fn number_words(words: Words) -> &'static [(&'static str, u32)] {
    match words {
        Words::Protocol => &[
            ("icmp", 1),
            ("igmp", 2),
            ("ipip", 4),
            ("tcp", 6),
            ("udp", 17),
            ("dccp", 33),
            ("gre", 47),
            ("esp", 50),
            ("ah", 51),
            ("icmpv6", 58),
            ("sctp", 132),
            ("udplite", 136),
            ("mptcp", 262),
        ],
        Words::AddressFamily => &[
            ("unix", 1),
            ("inet", 2),
            ("inet6", 10),
            ("netlink", 16),
            ("packet", 17),
            ("alg", 38),
            ("vsock", 40),
            ("xdp", 44),
        ],
        Words::SocketType => {
            &[("stream", 1), ("dgram", 2), ("raw", 3), ("rdm", 4), ("seqpacket", 5), ("packet", 10)]
        }
        Words::FileType => &[
            ("fifo", 0o010_000),
            ("char_device", 0o020_000),
            ("directory", 0o040_000),
            ("block_device", 0o060_000),
            ("regular", 0o100_000),
            ("symlink", 0o120_000),
            ("socket", 0o140_000),
        ],
    }
}

/// The number of a name.
pub fn number_word(words: Words, name: &str) -> Option<u32> {
    number_words(words).iter().find(|(word, _)| *word == name).map(|(_, number)| *number)
}
