//! YAML text to a tree of nodes that remember where they stand.
//!
//! Built on the event parser rather than on serde: a policy with five mistakes must show five, and a scalar must keep
//! its place, its style and the way from its decoded text back to the file. Bounded: depth, aliases, nodes.

use std::{collections::HashMap, rc::Rc};

use granit_parser::{Event, Parser, ScalarStyle};

use super::{
    source::{FileId, Span},
    text::Text,
};
use crate::diag::{Code, Diagnostic, Diagnostics};

/// Deepest nesting of a document.
const DEPTH_MAX: usize = 64;

/// Most nodes of a file once its aliases are unfolded.
const NODES_MAX: u64 = 4_000_000;

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Where.
    pub span: Span,
    /// What.
    pub value: Value,
    weight: u64,
}

/// What a node is.
#[derive(Debug)]
pub enum Value {
    /// A scalar with its decoded text.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Rc<Node>>),
    /// Keys (always scalars) and values, in the order written.
    Mapping(Vec<(Key, Rc<Node>)>),
}

/// A scalar.
#[derive(Debug)]
pub struct Scalar {
    /// Decoded.
    pub text: String,
    /// How it was written.
    pub style: ScalarStyle,
}

/// A key of a mapping.
#[derive(Debug)]
pub struct Key {
    /// Decoded.
    pub text: String,
    /// Where.
    pub span: Span,
}

impl Node {
    /// The words for its kind in messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(scalar) if scalar.is_null() => "nothing",
            Value::Scalar(_) => "text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// Its text with the way back into the source, if it is a scalar.
    pub fn text(&self, source: &str) -> Option<Text> {
        match &self.value {
            Value::Scalar(scalar) => Some(Text::of(scalar, self.span, source)),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }
}

impl Scalar {
    /// Whether YAML reads it as nothing.
    pub fn is_null(&self) -> bool {
        self.style == ScalarStyle::Plain && matches!(self.text.as_str(), "" | "~" | "null")
    }
}

/// An unfinished collection.
struct Open {
    span: Span,
    anchor: usize,
    weight: u64,
    kind: OpenKind,
}

enum OpenKind {
    Sequence(Vec<Rc<Node>>),
    Mapping { entries: Vec<(Key, Rc<Node>)>, seen: Seen, key: Option<Key> },
}

/// Keys of a mapping seen so far. Most mappings are small, and a look at each key is faster than hashing it.
#[derive(Default)]
struct Seen {
    few: Vec<(String, Span)>,
    many: HashMap<String, Span>,
}

impl Seen {
    /// Adds a key. Answers where it was seen before.
    fn insert(&mut self, key: &str, span: Span) -> Option<Span> {
        const FEW: usize = 24;
        if let Some((_, first)) = self.few.iter().find(|(seen, _)| seen == key) {
            return Some(*first);
        }
        if self.few.len() < FEW {
            self.few.push((key.to_owned(), span));
            return None;
        }
        self.many.insert(key.to_owned(), span)
    }
}

/// All documents of a file. Stops at the first syntax error, which is then among the diagnostics.
pub fn documents(file: FileId, text: &str, diagnostics: &mut Diagnostics) -> Vec<Rc<Node>> {
    let mut options = granit_parser::options! {};
    options.set_emit_comments(false);
    // Deeper than `DEPTH_MAX`, so that it is this reader that says what is wrong.
    options.block_nesting_limit = 2 * DEPTH_MAX;
    options.flow_nesting_limit = 2 * DEPTH_MAX;
    let mut reader = Reader {
        file,
        text,
        length: u32::try_from(text.len()).unwrap_or(u32::MAX),
        diagnostics,
        anchors: HashMap::new(),
        open: Vec::new(),
        documents: Vec::new(),
        nodes: 0,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => {
                let span = reader.span(span.start, span.end);
                if !reader.event(event, span) {
                    break;
                }
            }
            Err(error) => {
                reader.syntax(&error);
                break;
            }
        }
    }
    reader.documents
}

struct Reader<'a> {
    file: FileId,
    text: &'a str,
    length: u32,
    diagnostics: &'a mut Diagnostics,
    anchors: HashMap<usize, Rc<Node>>,
    open: Vec<Open>,
    documents: Vec<Rc<Node>>,
    nodes: u64,
}

impl Reader<'_> {
    fn span(&self, start: granit_parser::Marker, end: granit_parser::Marker) -> Span {
        let offset = |marker: granit_parser::Marker| {
            let offset = marker.byte_offset().and_then(|offset| u32::try_from(offset).ok());
            offset.unwrap_or(0).min(self.length)
        };
        let start = offset(start);
        Span { file: self.file, start, end: offset(end).max(start) }
    }

    fn syntax(&mut self, error: &granit_parser::ScanError) {
        let mut span = self.span(*error.marker(), *error.marker());
        span.end = (span.end + 1).min(self.length);
        let info = error.info();
        if info.contains("recursion limit") {
            // The scanner reads ahead, and has a limit of its own.
            self.too_deep(span);
            return;
        }
        let tab =
            info.contains("tab") || self.text.as_bytes().get(span.start as usize) == Some(&b'\t');
        let help = if tab {
            "indent with spaces: YAML does not allow tabs"
        } else if info.contains("after double-quoted") || info.contains("after single-quoted") {
            "a value that starts with a quote ends with it: put the whole expression in the other kind of quotes, or write `when: >-` and the expression on the next line; fields are not quoted"
        } else if info.contains("did not find expected key") {
            "the keys of one mapping start in the same column: look at the indentation of this line and of those above, and for a quote or bracket that was not closed"
        } else if info.contains("while parsing a flow mapping") {
            "inside `{ ... }` an expression with `[`, `{`, `,` or quotes is quoted: `when: 'exec.name in [\"nc\"]'`; else look for a quote or bracket that was not closed on a line above"
        } else {
            "the cause is often a quote or bracket that was not closed on a line above"
        };
        let diagnostic = Diagnostic::error(Code::YamlSyntax, span, "this is not YAML")
            .label(info.to_string())
            .help(help);
        self.diagnostics.add(diagnostic);
    }

    /// Takes one event. Answers whether to go on.
    fn event(&mut self, event: Event<'_>, span: Span) -> bool {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some_and(|tag| tag.is_custom()) {
                    self.feature(span, "tags mean nothing in a policy");
                }
                let scalar = Scalar { text: text.into_owned(), style };
                self.place(Node { span, value: Value::Scalar(scalar), weight: 1 }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open(span, anchor, OpenKind::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, _) => self.open(
                span,
                anchor,
                OpenKind::Mapping { entries: Vec::new(), seen: Seen::default(), key: None },
            ),
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => match self.anchors.get(&id).map(Rc::clone) {
                Some(node) => self.insert(node),
                None => {
                    self.feature(span, "an anchor cannot hold itself");
                    false
                }
            },
            Event::DocumentStart(..) => {
                self.anchors.clear();
                true
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => true,
            // Emission of comments, anchors and unresolved aliases is switched off; the enum may also grow.
            _ => true,
        }
    }

    fn feature(&mut self, span: Span, message: &str) {
        self.diagnostics.add(Diagnostic::error(Code::YamlFeature, span, message));
    }

    fn too_deep(&mut self, span: Span) {
        self.diagnostics.add(
            Diagnostic::error(Code::TooComplex, span, "the document is nested too deeply")
                .label(format!("more than {DEPTH_MAX} levels")),
        );
    }

    fn open(&mut self, span: Span, anchor: usize, kind: OpenKind) -> bool {
        if self.open.len() >= DEPTH_MAX {
            self.too_deep(span);
            return false;
        }
        self.open.push(Open { span, anchor, weight: 1, kind });
        true
    }

    fn close(&mut self, end: Span) -> bool {
        let Some(open) = self.open.pop() else { return false };
        let mut span = open.span.to(end);
        // The end of a block collection is where the next thing starts: leave out the white space between.
        let covered = self.text.get(span.start as usize..span.end as usize).unwrap_or("");
        span.end = span.start + u32::try_from(covered.trim_end().len()).unwrap_or(0);
        let value = match open.kind {
            OpenKind::Sequence(items) => Value::Sequence(items),
            OpenKind::Mapping { entries, .. } => Value::Mapping(entries),
        };
        self.place(Node { span, value, weight: open.weight }, open.anchor)
    }

    fn place(&mut self, node: Node, anchor: usize) -> bool {
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.insert(node)
    }

    fn insert(&mut self, node: Rc<Node>) -> bool {
        self.nodes = self.nodes.saturating_add(1);
        let weight = node.weight;
        let span = node.span;
        let Some(parent) = self.open.last_mut() else {
            self.documents.push(node);
            return true;
        };
        parent.weight = parent.weight.saturating_add(weight);
        if parent.weight > NODES_MAX || self.nodes > NODES_MAX {
            self.diagnostics.add(
                Diagnostic::error(Code::TooComplex, span, "the document is too large")
                    .label(format!("more than {NODES_MAX} nodes once aliases are unfolded"))
                    .help("move large lists to a feed, or split the file"),
            );
            return false;
        }
        match &mut parent.kind {
            OpenKind::Sequence(items) => items.push(node),
            OpenKind::Mapping { entries, seen, key } => match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let Value::Scalar(scalar) = &node.value else {
                        self.feature(span, "a key must be a word, not a list or mapping");
                        return false;
                    };
                    if scalar.text == "<<" && scalar.style == ScalarStyle::Plain {
                        self.feature(span, "merge keys (`<<`) are not supported");
                        return false;
                    }
                    if let Some(first) = seen.insert(&scalar.text, span) {
                        self.diagnostics.add(
                            Diagnostic::error(
                                Code::DuplicateKey,
                                span,
                                format!("`{}` is given twice", scalar.text),
                            )
                            .label("and again here")
                            .related(first, "given here")
                            .help("remove one of the two"),
                        );
                    }
                    *key = Some(Key { text: scalar.text.clone(), span });
                }
            },
        }
        true
    }
}
