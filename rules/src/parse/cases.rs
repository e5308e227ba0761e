//! Test cases as written: an event, and what should come of it.

use std::rc::Rc;

use interdict_abi::ids::Action;

use super::{
    keys,
    shape::{Fields, Shape, Spanned},
    source::Span,
    yaml::{Node, Value},
};
use crate::diag::{Code, Diagnostic};

/// A document of `kind: Cases`.
#[derive(Debug)]
pub struct Cases {
    /// `metadata.name`.
    pub name: String,
    /// Its cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Where.
    pub span: Span,
    /// What happens.
    pub event: WrittenEvent,
    /// What should be done.
    pub expect: Spanned<Action>,
    /// Rules that must match, and no others.
    pub rules: Option<Vec<Spanned<String>>>,
    /// What would be done if everything were enforced.
    pub would: Option<Spanned<Action>>,
    /// The exception that must excuse it.
    pub excepted_by: Option<Spanned<String>>,
}

/// An event as written: the act, and values by dotted name.
#[derive(Clone, Debug)]
pub struct WrittenEvent {
    /// Where.
    pub span: Span,
    /// The act.
    pub act: Spanned<String>,
    /// Values of the object (`path`, `dst.ip`) and of the rest (`process.exe`).
    pub values: Vec<Given>,
}

/// One value of an event.
#[derive(Clone, Debug)]
pub struct Given {
    /// Its dotted name.
    pub name: String,
    /// Whether it stood under the act itself.
    pub of_object: bool,
    /// Where the name stands.
    pub span: Span,
    /// One or more values.
    pub values: Vec<Spanned<String>>,
}

/// Reads a document of `kind: Cases`.
pub(super) fn document(shape: &mut Shape<'_>, document: &Fields<'_>) -> Option<Cases> {
    let name = document.find("metadata").and_then(|node| {
        let fields = shape.fields(node, "`metadata`", &["name", "labels", "annotations"])?;
        shape.optional(&fields, "name")
    });
    let spec = shape.required(document, "spec")?;
    let fields = shape.fields(spec, "`spec`", &["cases"])?;
    let list = shape.required(&fields, "cases")?;
    let nodes = shape.list(list, "`cases`");
    let cases = nodes.into_iter().filter_map(|node| case(shape, node)).collect();
    Some(Cases { name: name.map(|name| name.value).unwrap_or_default(), cases })
}

/// Reads one case.
pub(super) fn case(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<Case> {
    let fields = shape.fields(node, "a test", keys::CASE)?;
    let name = shape.required(&fields, "name").and_then(|node| shape.plain(node, "`name`"));
    let event = shape.required(&fields, "event").and_then(|node| event(shape, node));
    let expect = shape
        .required(&fields, "expect")
        .and_then(|node| shape.word(node, "expectation", keys::VERDICTS));
    let would = fields.find("would").and_then(|node| shape.word(node, "`would`", keys::VERDICTS));
    let rules = fields.find("rules").map(|node| shape.plain_list(node, "`rules`"));
    let excepted_by = shape.optional(&fields, "excepted_by");
    let name = name?;
    Some(Case {
        span: name.span,
        name: name.value,
        event: event?,
        expect: expect?,
        rules,
        would,
        excepted_by,
    })
}

fn event(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<WrittenEvent> {
    let entries = shape.mapping(node, "an event")?;
    let mut act: Option<Spanned<String>> = None;
    let mut values = Vec::new();
    for (key, node) in entries {
        if keys::CONTEXT.contains(&key.text.as_str()) {
            flatten(shape, &key.text, key.span, node, false, &mut values);
        } else if let Some(first) = &act {
            shape.diagnostics.add(
                Diagnostic::error(Code::WrongEvent, key.span, "an event is one act")
                    .label(format!("`{}` is a second one", key.text))
                    .related(first.span, "the first one")
                    .help("make two tests"),
            );
        } else {
            act = Some(Spanned { value: key.text.clone(), span: key.span });
            if node.kind() == "text" || node.kind() == "a list" {
                shape.diagnostics.add(
                    Diagnostic::error(
                        Code::WrongEvent,
                        node.span,
                        "the object of an act is a mapping",
                    )
                    .label(format!("this is {}", node.kind()))
                    .help(format!("write `{}: {{ path: ... }}`", key.text)),
                );
                return None;
            }
            flatten(shape, "", key.span, node, true, &mut values);
        }
    }
    if act.is_none() {
        shape.diagnostics.add(
            Diagnostic::error(Code::WrongEvent, node.span, "the event names no act")
                .help("write the act and its object, as in `file.read: { path: /etc/shadow }`"),
        );
    }
    Some(WrittenEvent { span: node.span, act: act?, values })
}

fn flatten(
    shape: &mut Shape<'_>,
    prefix: &str,
    span: Span,
    node: &Rc<Node>,
    of_object: bool,
    values: &mut Vec<Given>,
) {
    match &node.value {
        Value::Mapping(entries) => {
            for (key, node) in entries {
                let name = if prefix.is_empty() {
                    key.text.clone()
                } else {
                    format!("{prefix}.{}", key.text)
                };
                flatten(shape, &name, key.span, node, of_object, values);
            }
        }
        Value::Scalar(scalar) if scalar.is_null() => {}
        Value::Scalar(_) | Value::Sequence(_) => {
            let list = shape.plain_list(node, "a value");
            values.push(Given { name: prefix.to_owned(), of_object, span, values: list });
        }
    }
}
