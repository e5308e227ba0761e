//! A part that many alerts have in common: rendered once, shared by all of them.
//!
//! Host, policy, rules and ancestors are most of an alert's bytes and hardly ever change. [`Shared`] holds such a part
//! together with its JSON, which the sealer copies instead of rendering it for each alert anew.

use std::{ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Appends a value's JSON. What alerts hold always has one: strings, integers, lists and names. If something should
/// be added that has none, `null` stands in its place, and the alert goes out all the same.
pub(super) fn append<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let start = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, value) {
        tracing::error!(%error, "a part of an alert has no JSON");
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// Appends a string's JSON. Most strings hold nothing to escape and are copied, which is seen sixteen bytes at a time.
pub(super) fn append_text(out: &mut Vec<u8>, text: &str) {
    let must_be_escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    if text.bytes().fold(false, |found, byte| found | must_be_escaped(byte)) {
        append(out, text);
        return;
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// A part and its JSON.
#[derive(Clone, Debug)]
pub struct Shared<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    part: T,
    json: Vec<u8>,
}

impl<T: Serialize> Shared<T> {
    /// Renders a part.
    pub fn new(part: T) -> Self {
        let mut json = Vec::new();
        append(&mut json, &part);
        Self(Arc::new(Inner { part, json }))
    }
}

impl<T> Shared<T> {
    /// Its JSON.
    pub fn json(&self) -> &[u8] {
        &self.0.json
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.part
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.part == other.0.part
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.part.serialize(serializer)
    }
}

impl<'de, T: Serialize + Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}

impl<T: Serialize> From<T> for Shared<T> {
    fn from(part: T) -> Self {
        Self::new(part)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_string_is_what_the_library_makes_of_it_wherever_something_is_to_be_escaped() {
        for character in (0..=0x180).filter_map(char::from_u32) {
            for at in [0, 1, 15, 16, 17, 40] {
                let text = format!("{}{character}{}", "a".repeat(at), "b".repeat(40 - at));
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                append_text(&mut ours, &text);
                append(&mut theirs, &text);
                assert_eq!(ours, theirs, "{character:?} at {at}");
            }
        }
    }

    #[test]
    fn what_has_no_json_is_null_and_spoils_nothing_around_it() {
        let mut out = b"[1,".to_vec();
        append(&mut out, &BTreeMap::from([(vec![1], "a list is no name")]));
        assert_eq!(out, b"[1,null");
        append(&mut out, ",\"");
        assert_eq!(out, b"[1,null\",\\\"\"");
    }
}
