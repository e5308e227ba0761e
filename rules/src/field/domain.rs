//! Domain names as they are decided on: small letters, no last dot, the labels last first, joined by `/`.
//!
//! `www.evil.example` is `example/evil/www`. So a name and everything below it is one subtree of an automaton that reads
//! from the front, and a hundred thousand of them share their beginnings. Hooks that decide on a name write it so.

use crate::ir::Pattern;

/// Longest name, in characters.
const NAME_CHARACTERS: usize = 253;

/// Longest label.
const LABEL_CHARACTERS: usize = 63;

/// A name as it is decided on.
pub fn key(name: &str) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let labels: Vec<&str> = name.rsplit('.').collect();
    labels.join("/")
}

/// The name behind a key as a hook wrote it, zeros in front of it. Like in a zone file, a point or backslash inside a label has a
/// backslash in front; the root is a point.
pub fn name(key: &[u8]) -> Vec<u8> {
    let start = key.iter().position(|byte| *byte != 0).unwrap_or(key.len());
    let key = &key[start..];
    if key.is_empty() {
        return b".".to_vec();
    }
    let mut name = Vec::with_capacity(key.len());
    for (index, label) in key.rsplit(|byte| *byte == b'/').enumerate() {
        if index > 0 {
            name.push(b'.');
        }
        for byte in label {
            if matches!(byte, b'.' | b'\\') {
                name.push(b'\\');
            }
            name.push(*byte);
        }
    }
    name
}

/// The pattern of a name as a rule writes it: `*` is one label, `**` in front the name and everything below it.
pub fn pattern(text: &str) -> Result<Pattern, &'static str> {
    if let Some(name) = text.strip_prefix("**.") {
        return below(name);
    }
    let wild = text.split('.').any(|label| label == "*");
    checked(text, wild)?;
    let key = key(text);
    Ok(if wild { Pattern::Glob(key) } else { Pattern::Exact(key.into_bytes()) })
}

/// The pattern of a name and everything below it.
pub fn below(name: &str) -> Result<Pattern, &'static str> {
    checked(name, false)?;
    Ok(Pattern::Glob(format!("{}/**", key(name))))
}

fn checked(name: &str, wild: bool) -> Result<(), &'static str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > NAME_CHARACTERS {
        return Err("a name has at most 253 characters");
    }
    if !name.is_ascii() {
        return Err("names are asked for in their ASCII form, as in `xn--...`");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err("a label is empty: two dots in a row, or a dot in front");
        }
        if label.len() > LABEL_CHARACTERS {
            return Err("a label has at most 63 characters");
        }
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let stands_for_all = wild && label == "*";
        if !stands_for_all && !label.bytes().all(letter) {
            return Err("labels are letters, digits, `-` and `_`; `*` stands for a whole label");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_their_end() {
        assert_eq!(key("WWW.Evil.Example."), "example/evil/www");
        assert_eq!(pattern("evil.example"), Ok(Pattern::Exact(b"example/evil".to_vec())));
        assert_eq!(pattern("*.evil.example"), Ok(Pattern::Glob("example/evil/*".to_owned())));
        assert_eq!(pattern("**.evil.example"), Ok(Pattern::Glob("example/evil/**".to_owned())));
        assert_eq!(below("Evil.example"), Ok(Pattern::Glob("example/evil/**".to_owned())));
    }

    #[test]
    fn a_key_is_told_as_the_name_it_was() {
        assert_eq!(name(b"\0\0\0example/evil/www"), b"www.evil.example");
        assert_eq!(name(b"\0example/a.b\\c"), b"a\\.b\\\\c.example");
        assert_eq!(name(b"\0\0"), b".");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for wrong in ["", ".", "a..b", ".a", "a b", "a*.b", "a/b", "é.example", "**.", "x.**.y"] {
            assert!(pattern(wrong).is_err(), "{wrong}");
        }
        assert!(pattern(&"a".repeat(64)).is_err());
        assert!(pattern(&format!("{}a", "abcdefgh.".repeat(29))).is_err());
    }
}
