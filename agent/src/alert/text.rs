//! Bytes that an attacker chose, as text that loses nothing.
//!
//! Valid UTF-8 is kept as it is (JSON escapes what JSON must escape). Anything else becomes the *escaped form*: each
//! byte that is not part of valid UTF-8 as `\xNN`, each backslash doubled; and the field's name goes into the alert's
//! `escaped` list, so that a reader knows which of the two it sees. [`unescape`] gives the bytes back.
//! Sentences for people also have control and direction-changing characters escaped: [`for_people`].

use std::fmt::Write as _;

/// Bytes as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// What is shown.
    pub shown: String,
    /// Whether `shown` is the escaped form.
    pub escaped: bool,
}

impl Text {
    /// Reads bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { shown: text.to_owned(), escaped: false },
            Err(_) => Self { shown: escape(bytes), escaped: true },
        }
    }
}

fn escape(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' {
                shown.push('\\');
            }
            shown.push(character);
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _infallible = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// The bytes behind an escaped form. `None` if it is not one.
pub fn unescape(shown: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(shown.len());
    let mut rest = shown.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'\\' {
            bytes.push(first);
            rest = after;
            continue;
        }
        match after {
            [b'\\', tail @ ..] => {
                bytes.push(b'\\');
                rest = tail;
            }
            [b'x', high, low, tail @ ..] => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = tail;
            }
            _not_an_escape => return None,
        }
    }
    Some(bytes)
}

/// Adds `text` to a sentence for people: no line breaks, no terminal sequences, no reversed or invisible text.
pub fn for_people(sentence: &mut String, text: &str) {
    if text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~')) {
        sentence.push_str(text);
        return;
    }
    for character in text.chars() {
        if is_unsafe_to_show(character) {
            let _infallible = write!(sentence, "\\u{{{:x}}}", u32::from(character));
        } else {
            sentence.push(character);
        }
    }
}

fn is_unsafe_to_show(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_value_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let text = Text::from_bytes(&all);
        assert!(text.escaped);
        assert_eq!(unescape(&text.shown).unwrap(), all);
    }

    #[test]
    fn valid_text_is_left_alone() {
        let text = Text::from_bytes("/tmp/a\\x41\nб".as_bytes());
        assert_eq!(text, Text { shown: "/tmp/a\\x41\nб".to_owned(), escaped: false });
    }

    #[test]
    fn a_sentence_never_breaks_its_line_or_turns_around() {
        let mut sentence = String::new();
        for_people(&mut sentence, "a\n\u{1b}[2J\u{202e}b");
        assert_eq!(sentence, "a\\u{a}\\u{1b}[2J\\u{202e}b");
    }

    proptest! {
        #[test]
        fn no_byte_is_lost(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = Text::from_bytes(&bytes);
            let back = if text.escaped { unescape(&text.shown).unwrap() } else { text.shown.into_bytes() };
            prop_assert_eq!(back, bytes);
        }
    }
}
