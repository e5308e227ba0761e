//! Reads nodes as what they should be, and says so when they are not.

use std::rc::Rc;

use super::{
    source::Span,
    text::Text,
    yaml::{Key, Node, Value},
};
use crate::diag::{Code, Diagnostic, Diagnostics, closest};

/// A word or text and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// What.
    pub value: T,
    /// Where.
    pub span: Span,
}

/// What every reader needs: the file's text, and somewhere to complain.
pub(super) struct Shape<'a> {
    pub(super) source: &'a str,
    pub(super) diagnostics: &'a mut Diagnostics,
}

/// A mapping whose keys are known.
pub(super) struct Fields<'n> {
    pub(super) span: Span,
    entries: Vec<(&'n Key, &'n Rc<Node>)>,
    what: &'static str,
}

impl<'n> Fields<'n> {
    /// The value of a key, unless it is missing or empty.
    pub(super) fn find(&self, key: &str) -> Option<&'n Rc<Node>> {
        self.entries.iter().find(|(entry, _)| entry.text == key).map(|(_, node)| *node).filter(
            |node| match &node.value {
                Value::Scalar(scalar) => !scalar.is_null(),
                Value::Sequence(_) | Value::Mapping(_) => true,
            },
        )
    }

    /// Where a key stands.
    pub(super) fn key_span(&self, key: &str) -> Option<Span> {
        self.entries.iter().find(|(entry, _)| entry.text == key).map(|(entry, _)| entry.span)
    }

    /// A place for "this is missing": the first key, which stands at the top of the mapping.
    pub(super) fn head(&self) -> Span {
        self.entries.first().map_or(self.span, |(key, _)| key.span)
    }
}

impl Shape<'_> {
    /// A mapping with none but these keys.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: &'static str,
        keys: &[&'static str],
    ) -> Option<Fields<'n>> {
        let entries = self.mapping(node, what)?;
        for (key, _) in entries {
            if !keys.contains(&key.text.as_str()) {
                let of_spec =
                    keys == super::keys::DOCUMENT && super::keys::SPEC.contains(&key.text.as_str());
                let meant = foreign_key(&key.text, keys)
                    .or_else(|| closest(&key.text, keys.iter().copied()));
                let help = match meant {
                    _ if key.text == "errno" && keys.contains(&"action") => {
                        "say it with the action: `action: { block: { errno: EACCES } }`".to_owned()
                    }
                    _ if of_spec => format!("`{}` belongs under `spec`", key.text),
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("possible here: {}", words(keys)),
                };
                self.diagnostics.add(
                    Diagnostic::error(
                        Code::UnknownKey,
                        key.span,
                        format!("{what} has no key `{}`", key.text),
                    )
                    .label("unknown key")
                    .help(help),
                );
            }
        }
        Some(Fields {
            span: node.span,
            entries: entries.iter().map(|(key, node)| (key, node)).collect(),
            what,
        })
    }

    /// A mapping with any keys.
    pub(super) fn mapping<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
    ) -> Option<&'n Vec<(Key, Rc<Node>)>> {
        match &node.value {
            Value::Mapping(entries) => Some(entries),
            Value::Scalar(_) | Value::Sequence(_) => {
                self.wrong(node, what, "a mapping");
                None
            }
        }
    }

    /// Says that something else was expected.
    pub(super) fn wrong(&mut self, node: &Node, what: &str, expected: &str) {
        self.diagnostics.add(
            Diagnostic::error(
                Code::WrongShape,
                node.span,
                format!("{what}: expected {expected}, found {}", node.kind()),
            )
            .label(format!("this is {}", node.kind()))
            .maybe_help(written_as(what, expected, node.kind())),
        );
    }

    /// A key that must be there.
    pub(super) fn required<'n>(&mut self, fields: &Fields<'n>, key: &str) -> Option<&'n Rc<Node>> {
        let found = fields.find(key);
        if found.is_none() {
            let at = fields.key_span(key).unwrap_or_else(|| fields.head());
            self.diagnostics.add(
                Diagnostic::error(Code::MissingKey, at, format!("{} needs `{key}`", fields.what))
                    .label(format!("`{key}` is missing")),
            );
        }
        found
    }

    /// Text.
    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<Text> {
        let text = node.text(self.source).filter(|_| node.kind() == "text");
        if text.is_none() {
            self.wrong(node, what, "text");
        }
        text
    }

    /// Text without its way back.
    pub(super) fn plain(&mut self, node: &Node, what: &str) -> Option<Spanned<String>> {
        match &node.value {
            Value::Scalar(scalar) if !scalar.is_null() => {
                Some(Spanned { value: scalar.text.clone(), span: node.span })
            }
            Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => {
                self.wrong(node, what, "text");
                None
            }
        }
    }

    /// The text of an optional key.
    pub(super) fn optional(&mut self, fields: &Fields<'_>, key: &str) -> Option<Spanned<String>> {
        let node = fields.find(key)?;
        let what = format!("`{key}`");
        self.plain(node, &what)
    }

    /// A list; a single scalar is a list of one.
    pub(super) fn list<'n>(&mut self, node: &'n Rc<Node>, what: &str) -> Vec<&'n Rc<Node>> {
        match &node.value {
            Value::Sequence(items) => items.iter().collect(),
            Value::Scalar(scalar) if !scalar.is_null() => vec![node],
            Value::Scalar(_) | Value::Mapping(_) => {
                self.wrong(node, what, "a list");
                Vec::new()
            }
        }
    }

    /// A list of texts.
    pub(super) fn plain_list(&mut self, node: &Rc<Node>, what: &str) -> Vec<Spanned<String>> {
        let items = self.list(node, what);
        items.into_iter().filter_map(|item| self.plain(item, what)).collect()
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, node: &Node, what: &str) -> Option<bool> {
        match self.plain(node, what)?.value.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            other => {
                let meant = match other.to_ascii_lowercase().as_str() {
                    "yes" | "y" | "on" | "1" | "true" => Some("true"),
                    "no" | "n" | "off" | "0" | "false" => Some("false"),
                    _neither => None,
                };
                self.wrong_word(node.span, what, &["true", "false"], meant);
                None
            }
        }
    }

    /// A number up to `u32::MAX`.
    pub(super) fn number(&mut self, node: &Node, what: &str) -> Option<Spanned<u32>> {
        let text = self.plain(node, what)?;
        let digits = text.value.replace('_', "");
        match digits.parse() {
            Ok(value) => Some(Spanned { value, span: text.span }),
            Err(_) => {
                self.diagnostics.add(
                    Diagnostic::error(
                        Code::WrongShape,
                        node.span,
                        format!("{what}: expected a number, found `{}`", text.value),
                    )
                    .label("not a number from 0 to 4294967295"),
                );
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        words: &[(&str, T)],
    ) -> Option<Spanned<T>> {
        let text = self.plain(node, what)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(Spanned { value: *value, span: text.span });
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.wrong_word_of(&text, what, &names);
        None
    }

    fn wrong_word_of(&mut self, text: &Spanned<String>, what: &str, names: &[&str]) {
        let same = SYNONYMS
            .iter()
            .find(|(word, meant)| *word == text.value.to_ascii_lowercase() && names.contains(meant))
            .map(|(_, meant)| *meant);
        let help = match same.or_else(|| closest(&text.value, names.iter().copied())) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("possible here: {}", self::words(names)),
        };
        self.diagnostics.add(
            Diagnostic::error(
                Code::WrongWord,
                text.span,
                format!("`{}` is not a possible {what}", text.value),
            )
            .label(format!("expected {}", self::words(names)))
            .help(help),
        );
    }

    fn wrong_word(&mut self, span: Span, what: &str, names: &[&str], meant: Option<&str>) {
        self.diagnostics.add(
            Diagnostic::error(Code::WrongWord, span, format!("not a possible value of {what}"))
                .label(format!("expected {}", words(names)))
                .maybe_help(meant.map(|meant| format!("write `{meant}`"))),
        );
    }
}

/// How a value is written where another kind stood.
fn written_as(what: &str, expected: &str, found: &str) -> Option<String> {
    let example = match what {
        "`scope`" => "scope: { host: false, containers: true }",
        "`throttle`" => "throttle: { by: [process.exe], burst: 3, per: 1m }",
        "`requires`" => "requires: { block: true }",
        "`metadata`" => "metadata: { name: my-policy }",
        "a list" => "my_list: { type: path, items: [/usr/bin/nc] }",
        "an exception" => {
            "except: [{ name: backup, when: process.exe == \"/usr/bin/restic\", owner: backup-team, reason: nightly job }]"
        }
        "`scope.k8s.labels`" => "labels: { app: web }",
        "`feed`" => "feed: { file: feeds/bad.cidr }",
        "`scope.k8s`" => "k8s: { namespaces: [default] }",
        "`scope.container`" => "container: { image: \"nginx:*\" }",
        _ if expected == "a list" && found == "a mapping" => {
            return Some(
                "put `- ` in front of it, or `[ ]` around it: it is a list of one".to_owned(),
            );
        }
        _other => return None,
    };
    Some(format!("write for example `{example}`"))
}

/// Keys of other languages for those of this one.
const FOREIGN_KEYS: &[(&str, &str)] = &[
    ("condition", "when"),
    ("match", "when"),
    ("kubernetes", "k8s"),
    ("event", "on"),
    ("events", "on"),
    ("desc", "description"),
    ("output", "message"),
    ("priority", "severity"),
    ("level", "severity"),
    ("rule", "id"),
    ("exceptions", "except"),
    ("exclude", "except"),
    ("mitre", "attack"),
    ("labels", "tags"),
];

/// The key of `keys` that is meant by a word of another language.
fn foreign_key(word: &str, keys: &[&'static str]) -> Option<&'static str> {
    let (_, meant) = FOREIGN_KEYS.iter().find(|(foreign, _)| *foreign == word)?;
    keys.iter().copied().find(|key| key == meant)
}

/// Words of other languages for those of this one.
const SYNONYMS: &[(&str, &str)] = &[
    ("deny", "block"),
    ("drop", "block"),
    ("reject", "block"),
    ("refuse", "block"),
    ("prevent", "block"),
    ("override", "block"),
    ("log", "alert"),
    ("notify", "alert"),
    ("warn", "alert"),
    ("post", "alert"),
    ("sigkill", "kill"),
    ("terminate", "kill"),
    ("allow", "pass"),
    ("permit", "pass"),
    ("monitor", "audit"),
    ("dryrun", "audit"),
    ("dry-run", "audit"),
    ("enforcing", "enforce"),
    ("disabled", "off"),
    ("false", "off"),
    ("warning", "medium"),
    ("warn", "medium"),
    ("err", "high"),
    ("fatal", "critical"),
    ("ip", "cidr"),
    ("address", "cidr"),
    ("addresses", "cidr"),
    ("network", "cidr"),
    ("string", "text"),
    ("file", "path"),
    ("exe", "path"),
    ("host", "domain"),
    ("dns", "domain"),
    ("int", "number"),
    ("notice", "low"),
    ("error", "high"),
    ("emergency", "critical"),
    ("informational", "info"),
];

/// `a`, `b` or `c`.
pub(super) fn words(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
