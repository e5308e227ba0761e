//! Reads lists and where their feeds are.

use std::rc::Rc;

use super::{
    expression::{Form, Literal},
    keys,
    policy::{FeedSource, List, ListKind, Spanned},
    shape::Shape,
    words::duration,
    yaml::Node,
};
use crate::diag::{Code, Diagnostic};

/// Reads a list.
pub(super) fn list(shape: &mut Shape<'_>, name: Spanned<String>, node: &Rc<Node>) -> Option<List> {
    let fields = shape.fields(node, "a list", keys::LIST)?;
    let kind = shape.required(&fields, "type")?;
    let kind = shape.word(kind, "type of list", ListKind::ALL)?;
    let items = fields.find("items").map(|node| items(shape, node)).unwrap_or_default();
    let feed = fields.find("feed").and_then(|node| feed(shape, node));
    if items.is_empty() && fields.find("feed").is_none() {
        shape.diagnostics.add(
            Diagnostic::error(
                Code::Pointless,
                name.span,
                format!("the list `{}` is empty", name.value),
            )
            .label("neither `items` nor `feed`")
            .help("a test `in` an empty list is never true; give it items or remove it"),
        );
    }
    Some(List { name, kind, items, feed })
}

/// Reads the items of a list.
pub(super) fn items(shape: &mut Shape<'_>, node: &Rc<Node>) -> Vec<Literal> {
    let mut items = Vec::new();
    for item in shape.list(node, "`items`") {
        let Some(text) = shape.text(item, "an item") else { continue };
        items.push(Literal {
            span: text.span,
            text: text.text.clone(),
            form: Form::Quoted,
            offset: 0,
            source: Rc::new(text),
        });
    }
    items
}

fn feed(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<FeedSource> {
    let fields = shape.fields(node, "`feed`", keys::FEED)?;
    let file = shape.required(&fields, "file")?;
    let file = shape.plain(file, "`feed.file`")?;
    let max = fields.find("max").and_then(|node| shape.number(node, "`feed.max`"));
    let mut stale_after_seconds = 0;
    if let Some(node) = fields.find("stale")
        && let Some(stale) = shape.fields(node, "`stale`", keys::STALE)
    {
        if let Some(after) = shape.required(&stale, "after")
            && let Some(seconds) = duration(shape, after)
        {
            stale_after_seconds = u64::from(seconds);
        }
        if let Some(then) = stale.find("then") {
            shape.word(then, "answer to a stale feed", &[("alert", ())]);
        }
    }
    Some(FeedSource { file, max: max.map_or(1_000_000, |max| max.value), stale_after_seconds })
}
