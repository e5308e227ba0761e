//! Feeds: lists of addresses, a million lines and more, read without allocating per line; lists of texts.
//!
//! Formats, recognised line by line: of texts the text, of domains also the lines of a hosts file; an address, a CIDR block or a range `first-last`, with `#` and `;` comments; or
//! the JSON lines of Spamhaus DROP, of which `cidr` counts. A line that cannot be read stops the reading.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::policy::ListKind;
use crate::{field::domain, ir::Pattern};

/// Inclusive ranges of addresses, host order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4.
    pub v4: Vec<(u32, u32)>,
    /// IPv6, without mapped IPv4.
    pub v6: Vec<(u128, u128)>,
    /// The list with a feed that these are the values of. What is joined has several names, [`OTHERS`] among them for
    /// values of no feed; values of no feed have none.
    pub from: Vec<String>,
}

/// Stands for values of no feed beside those of one.
pub const OTHERS: &str = "";

/// Joins where two sets of addresses are from.
pub fn join_from(from: &mut Vec<String>, more: &[String]) {
    if from.is_empty() != more.is_empty() {
        from.push(OTHERS.to_owned());
    }
    from.extend_from_slice(more);
    from.sort();
    from.dedup();
}

/// One range of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// IPv4.
    V4(u32, u32),
    /// IPv6.
    V6(u128, u128),
}

/// Why a feed cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// A line cannot be read.
    #[error("line {line}: {reason}")]
    Line {
        /// 1-based.
        line: u32,
        /// The line, cut to 120 characters.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More entries than allowed.
    #[error("more than {max} entries")]
    TooLong {
        /// The bound.
        max: u32,
    },
}

impl Addresses {
    /// Adds a range; mapped IPv6 (`::ffff:0:0/96`) becomes IPv4.
    pub fn add(&mut self, range: Range) {
        match range {
            Range::V4(first, last) => self.v4.push((first, last)),
            Range::V6(first, last) => {
                const MAPPED: u128 = 0xffff_0000_0000;
                const MAPPED_LAST: u128 = MAPPED | 0xffff_ffff;
                if first <= MAPPED_LAST && last >= MAPPED {
                    let low = |value: u128| u32::try_from(value & 0xffff_ffff).unwrap_or(0);
                    self.v4.push((low(first.max(MAPPED)), low(last.min(MAPPED_LAST))));
                    if first >= MAPPED && last <= MAPPED_LAST {
                        return;
                    }
                }
                self.v6.push((first, last));
            }
        }
    }

    /// Sorts and joins what touches or overlaps.
    pub fn normalise(&mut self) {
        join(&mut self.v4, |last| last.checked_add(1));
        join(&mut self.v6, |last| last.checked_add(1));
    }

    /// Whether an address is in it, if it is normalised.
    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        fn among<P: Copy + Ord>(ranges: &[(P, P)], point: P) -> bool {
            let at = ranges.partition_point(|(_, high)| *high < point);
            ranges.get(at).is_some_and(|(low, _)| *low <= point)
        }
        match address {
            IpAddr::V4(address) => among(&self.v4, address.into()),
            IpAddr::V6(address) => among(&self.v6, address.into()),
        }
    }

    /// Whether no address is in it.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn join<T: Copy + Ord>(ranges: &mut Vec<(T, T)>, next: impl Fn(T) -> Option<T>) {
    ranges.sort_unstable();
    let mut kept = 0;
    for index in 0..ranges.len() {
        let (first, last) = ranges[index];
        if kept > 0 {
            let previous = ranges[kept - 1].1;
            if next(previous).is_none_or(|next| first <= next) {
                ranges[kept - 1].1 = previous.max(last);
                continue;
            }
        }
        ranges[kept] = (first, last);
        kept += 1;
    }
    ranges.truncate(kept);
}

/// Reads a feed. Answers its ranges, joined, and the number of its entries.
pub fn read(bytes: &[u8], max: u32) -> Result<(Addresses, u32), FeedError> {
    let mut addresses = Addresses::default();
    let mut entries = 0u32;
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let range = match entry(line) {
            Ok(None) => continue,
            Ok(Some(range)) => range,
            Err(reason) => {
                return Err(FeedError::Line {
                    line: u32::try_from(index + 1).unwrap_or(u32::MAX),
                    text: String::from_utf8_lossy(line).trim_end().chars().take(120).collect(),
                    reason,
                });
            }
        };
        entries += 1;
        if entries > max {
            return Err(FeedError::TooLong { max });
        }
        addresses.add(range);
    }
    addresses.normalise();
    Ok((addresses, entries))
}

/// Reads a feed of texts, one per line, compared exactly; of domains each with everything below it. Answers them sorted,
/// and the number of its entries.
pub fn patterns(bytes: &[u8], kind: ListKind, max: u32) -> Result<(Vec<Pattern>, u32), FeedError> {
    let mut patterns = Vec::new();
    let mut entries = 0u32;
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let text = line.trim_ascii();
        if text.is_empty() || text.starts_with(b"#") || text.starts_with(b";") {
            continue;
        }
        match one(text, kind) {
            Ok(None) => continue,
            Ok(Some(pattern)) => patterns.push(pattern),
            Err(reason) => {
                return Err(FeedError::Line {
                    line: u32::try_from(index + 1).unwrap_or(u32::MAX),
                    text: String::from_utf8_lossy(line).trim_end().chars().take(120).collect(),
                    reason,
                });
            }
        }
        entries += 1;
        if entries > max {
            return Err(FeedError::TooLong { max });
        }
    }
    patterns.sort_unstable();
    patterns.dedup();
    Ok((patterns, entries))
}

/// One entry of a feed of texts.
fn one(text: &[u8], kind: ListKind) -> Result<Option<Pattern>, &'static str> {
    if text.contains(&0) {
        return Err("it holds a zero byte");
    }
    match kind {
        ListKind::Path if !text.starts_with(b"/") => Err("paths start with `/`"),
        ListKind::Name if text.contains(&b'/') => Err("a name holds no `/`"),
        ListKind::Domain => listed_domain(text),
        ListKind::Path
        | ListKind::Name
        | ListKind::Text
        | ListKind::Cidr
        | ListKind::Port
        | ListKind::Number => Ok(Some(Pattern::Exact(text.to_vec()))),
    }
}

/// A domain as lists have it: alone, with `*.` in front, or behind an address as in a hosts file.
fn listed_domain(text: &[u8]) -> Result<Option<Pattern>, &'static str> {
    let end = text.iter().position(|byte| *byte == b'#').unwrap_or(text.len());
    let text = std::str::from_utf8(&text[..end])
        .map_err(|_| "names are asked for in their ASCII form, as in `xn--...`")?;
    let mut words = text.split_ascii_whitespace();
    let (first, second, more) = (words.next().unwrap_or(""), words.next(), words.next());
    let name = match (second, more) {
        (None, _) => first,
        (Some(name), None) if first.parse::<IpAddr>().is_ok() => name,
        (Some(_), _) => return Err("expected a domain, or an address and a domain"),
    };
    // A hosts file names the host itself too.
    if second.is_some() && !name.contains('.') {
        return Ok(None);
    }
    domain::below(name.strip_prefix("*.").unwrap_or(name)).map(Some)
}

/// One line: `None` for comments and empty lines.
fn entry(line: &[u8]) -> Result<Option<Range>, &'static str> {
    let line = line.trim_ascii();
    match line.first() {
        None | Some(b'#' | b';') => return Ok(None),
        Some(b'{') => return drop_line(line),
        Some(_) => {}
    }
    let end = line.iter().position(|byte| matches!(byte, b'#' | b';')).unwrap_or(line.len());
    range(line[..end].trim_ascii()).map(Some)
}

/// A JSON line of Spamhaus DROP; its last line is metadata and holds no block.
fn drop_line(line: &[u8]) -> Result<Option<Range>, &'static str> {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        cidr: Option<&'a str>,
        #[serde(borrow, rename = "type")]
        kind: Option<&'a str>,
    }
    let line: Line<'_> = serde_json::from_slice(line).map_err(|_| "not a JSON object")?;
    match (line.cidr, line.kind) {
        (Some(cidr), _) => range(cidr.as_bytes()).map(Some),
        (None, Some("metadata")) => Ok(None),
        (None, _) => Err("a JSON object without `cidr`"),
    }
}

/// An address, a block or a range.
pub fn range(text: &[u8]) -> Result<Range, &'static str> {
    if let Some(at) = text.iter().position(|byte| *byte == b'/') {
        let address = address(text[..at].trim_ascii())?;
        let length = text[at + 1..].trim_ascii();
        if length.is_empty() || length.len() > 3 || !length.iter().all(u8::is_ascii_digit) {
            return Err("the prefix length is not a number");
        }
        let length = length.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        return match address {
            IpAddr::V4(address) => {
                if length > 32 {
                    return Err("an IPv4 prefix has at most 32 bits");
                }
                let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
                let first = u32::from(address);
                if first & !mask != 0 {
                    return Err("the address has bits beyond its prefix length");
                }
                Ok(Range::V4(first, first | !mask))
            }
            IpAddr::V6(address) => {
                if length > 128 {
                    return Err("an IPv6 prefix has at most 128 bits");
                }
                let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
                let first = u128::from(address);
                if first & !mask != 0 {
                    return Err("the address has bits beyond its prefix length");
                }
                Ok(Range::V6(first, first | !mask))
            }
        };
    }
    if let Some(at) = text.iter().position(|byte| *byte == b'-') {
        let first = address(text[..at].trim_ascii())?;
        let last = address(text[at + 1..].trim_ascii())?;
        return match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                Ok(Range::V4(first.into(), last.into()))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                Ok(Range::V6(first.into(), last.into()))
            }
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                Err("the range ends before it starts")
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                Err("the range mixes IPv4 and IPv6")
            }
        };
    }
    match address(text)? {
        IpAddr::V4(address) => Ok(Range::V4(address.into(), address.into())),
        IpAddr::V6(address) => Ok(Range::V6(address.into(), address.into())),
    }
}

fn address(text: &[u8]) -> Result<IpAddr, &'static str> {
    const WRONG: &str = "not an address, a CIDR block or a range";
    if text.contains(&b':') {
        let text = std::str::from_utf8(text).map_err(|_| WRONG)?;
        return text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| WRONG);
    }
    // Four numbers by hand: a million lines go through here.
    let mut value = 0u32;
    let mut part = 0u32;
    let mut digits = 0;
    let mut dots = 0;
    for byte in text {
        match byte {
            b'0'..=b'9' => {
                // A leading zero is octal to some readers: refuse to guess.
                if digits > 0 && part == 0 {
                    return Err("a part of the address starts with 0");
                }
                part = part * 10 + u32::from(byte - b'0');
                digits += 1;
                if part > 255 {
                    return Err("a part of the address is above 255");
                }
            }
            b'.' if digits > 0 && dots < 3 => {
                value = value << 8 | part;
                part = 0;
                digits = 0;
                dots += 1;
            }
            _ => return Err(WRONG),
        }
    }
    if dots != 3 || digits == 0 {
        return Err(WRONG);
    }
    Ok(IpAddr::V4(Ipv4Addr::from(value << 8 | part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> u32 {
        text.parse::<Ipv4Addr>().unwrap().into()
    }

    #[test]
    fn addresses_blocks_ranges_and_comments_are_read() {
        let feed = b"# a comment\n; another\n\n192.0.2.1\n198.51.100.0/24 ; SBL1\r\n203.0.113.4-203.0.113.7 # x\n2001:db8::/32\n";
        let (addresses, entries) = read(feed, 10).unwrap();
        assert_eq!(entries, 4);
        assert_eq!(
            addresses.v4,
            [
                (v4("192.0.2.1"), v4("192.0.2.1")),
                (v4("198.51.100.0"), v4("198.51.100.255")),
                (v4("203.0.113.4"), v4("203.0.113.7")),
            ]
        );
        assert_eq!(addresses.v6.len(), 1);
    }

    #[test]
    fn drop_lines_are_read_and_their_metadata_skipped() {
        let feed = b"{\"cidr\":\"192.0.2.0/25\",\"sblid\":\"SBL1\",\"rir\":\"arin\"}\n{\"type\":\"metadata\",\"records\":1}\n";
        let (addresses, entries) = read(feed, 10).unwrap();
        assert_eq!(entries, 1);
        assert_eq!(addresses.v4, [(v4("192.0.2.0"), v4("192.0.2.127"))]);
    }

    #[test]
    fn neighbours_are_joined_and_the_end_of_the_space_is_no_overflow() {
        let (addresses, _) =
            read(b"255.255.255.0/24\n10.0.0.0/25\n10.0.0.128/25\n0.0.0.0/32", 10).unwrap();
        assert_eq!(
            addresses.v4,
            [(0, 0), (v4("10.0.0.0"), v4("10.0.0.255")), (v4("255.255.255.0"), u32::MAX)]
        );
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        let (addresses, _) = read(b"::ffff:192.0.2.0/120\n", 10).unwrap();
        assert_eq!(addresses.v4, [(v4("192.0.2.0"), v4("192.0.2.255"))]);
        assert!(addresses.v6.is_empty());
    }

    #[test]
    fn a_bad_line_is_named() {
        for (line, reason) in [
            ("10.0.0.256", "a part of the address is above 255"),
            ("10.0.0.0/33", "an IPv4 prefix has at most 32 bits"),
            ("10.0.0.1/24", "the address has bits beyond its prefix length"),
            ("10.0.0", "not an address, a CIDR block or a range"),
            ("010.0.0.1", "a part of the address starts with 0"),
            ("evil.example", "not an address, a CIDR block or a range"),
            ("10.0.0.9-10.0.0.1", "the range ends before it starts"),
            ("{\"rir\":\"x\"}", "a JSON object without `cidr`"),
        ] {
            let feed = format!("192.0.2.1\n{line}\n");
            match read(feed.as_bytes(), 10) {
                Err(FeedError::Line { line: 2, reason: found, .. }) => assert_eq!(found, reason),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn feeds_of_texts_are_compared_exactly() {
        let (paths, entries) =
            patterns(b"# tools\n/usr/bin/nc\n\n/tmp/[x]*\r\n/usr/bin/nc\n", ListKind::Path, 9)
                .unwrap();
        assert_eq!(entries, 3);
        assert_eq!(
            paths,
            [Pattern::Exact(b"/tmp/[x]*".to_vec()), Pattern::Exact(b"/usr/bin/nc".to_vec())]
        );
        for (feed, kind) in
            [("usr/bin/nc", ListKind::Path), ("a/b", ListKind::Name), ("a\0b", ListKind::Text)]
        {
            assert!(
                matches!(patterns(feed.as_bytes(), kind, 9), Err(FeedError::Line { line: 1, .. })),
                "{feed}"
            );
        }
        assert_eq!(patterns(b"a\nb\n", ListKind::Name, 1), Err(FeedError::TooLong { max: 1 }));
    }

    #[test]
    fn feeds_of_domains_are_lists_or_hosts_files() {
        let below = |key: &str| Pattern::Glob(format!("{key}/**"));
        let feed = b"Evil.Example\n*.bad.example # why\n0.0.0.0 ads.example\n127.0.0.1 localhost\n::1 v6.example\n";
        let (names, entries) = patterns(feed, ListKind::Domain, 9).unwrap();
        assert_eq!(entries, 4);
        assert_eq!(
            names,
            [
                below("example/ads"),
                below("example/bad"),
                below("example/evil"),
                below("example/v6")
            ]
        );
        for wrong in ["a b.example", "a..b", "1.2.3.4 a.example b.example", "\u{e9}.example"] {
            assert!(patterns(wrong.as_bytes(), ListKind::Domain, 9).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_feed_longer_than_allowed_is_refused() {
        assert_eq!(read(b"10.0.0.1\n10.0.0.2\n", 1), Err(FeedError::TooLong { max: 1 }));
    }
}
