//! Reads one document.

use std::rc::Rc;

use super::{
    Parsed, cases, expression, keys, list, overrides,
    policy::{API_VERSION, Macro, Policy, Spanned},
    rule, scope,
    shape::{Fields, Shape},
    words::identifier,
    yaml::Node,
};
use crate::diag::{Code, Diagnostic, Diagnostics};

/// Reads one document.
pub(super) fn document(
    node: &Rc<Node>,
    source: &str,
    parsed: &mut Parsed,
    diagnostics: &mut Diagnostics,
) {
    let mut shape = Shape { source, diagnostics };
    if node.kind() == "nothing" {
        return;
    }
    let Some(fields) = shape.fields(node, "a document", keys::DOCUMENT) else { return };
    if let Some(version) = shape.required(&fields, "apiVersion")
        && let Some(version) = shape.plain(version, "`apiVersion`")
        && version.value != API_VERSION
    {
        shape.diagnostics.add(
            Diagnostic::error(
                Code::WrongKind,
                version.span,
                format!("`{}` is not a version this compiler reads", version.value),
            )
            .label(format!("expected `{API_VERSION}`")),
        );
    }
    let Some(kind) = shape.required(&fields, "kind") else { return };
    let kinds = [
        ("Policy", DocumentKind::Policy),
        ("Override", DocumentKind::Override),
        ("Cases", DocumentKind::Cases),
    ];
    let Some(kind) = shape.word(kind, "kind of document", &kinds) else { return };
    match kind.value {
        DocumentKind::Policy => {
            if let Some(policy) = policy(&mut shape, &fields) {
                parsed.policies.push(policy);
            }
        }
        DocumentKind::Override => {
            if let Some(overrides) = overrides::document(&mut shape, &fields) {
                parsed.overrides.push(overrides);
            }
        }
        DocumentKind::Cases => {
            if let Some(cases) = cases::document(&mut shape, &fields) {
                parsed.cases.push(cases);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum DocumentKind {
    Policy,
    Override,
    Cases,
}

fn policy(shape: &mut Shape<'_>, document: &Fields<'_>) -> Option<Policy> {
    let name = name(shape, document);
    let spec = shape.required(document, "spec")?;
    let fields = shape.fields(spec, "`spec`", keys::SPEC)?;
    let engine = fields.find("requires").and_then(|node| {
        let fields = shape.fields(node, "`requires`", &["engine"])?;
        shape.optional(&fields, "engine")
    });
    let mode = fields.find("mode").and_then(|node| shape.word(node, "mode", keys::MODES));
    let scope = scope::scope(shape, &fields);
    let mut lists = Vec::new();
    if let Some(node) = fields.find("lists") {
        for (key, node) in shape.mapping(node, "`lists`")? {
            let name = Spanned { value: key.text.clone(), span: key.span };
            identifier(shape, &name, "a list's name", 63);
            lists.extend(list::list(shape, name, node));
        }
    }
    let mut macros = Vec::new();
    if let Some(node) = fields.find("macros") {
        for (key, node) in shape.mapping(node, "`macros`")? {
            let name = Spanned { value: key.text.clone(), span: key.span };
            identifier(shape, &name, "a macro's name", 63);
            let expression = shape
                .text(node, "a macro")
                .and_then(|text| expression::parse(&Rc::new(text), shape.diagnostics));
            macros.push(Macro { name, expression });
        }
    }
    let mut rules = Vec::new();
    if let Some(node) = fields.find("rules") {
        for node in shape.list(node, "`rules`") {
            rules.extend(rule::rule(shape, node));
        }
    }
    if let Some(node) = fields.find("profiles") {
        for node in shape.list(node, "`profiles`") {
            rules.extend(rule::profile(shape, node));
        }
    }
    let name = name?;
    Some(Policy { file: name.span.file, name, engine, mode, scope, lists, macros, rules })
}

/// `metadata.name`.
pub(super) fn name(shape: &mut Shape<'_>, document: &Fields<'_>) -> Option<Spanned<String>> {
    let metadata = shape.required(document, "metadata")?;
    let fields = shape.fields(metadata, "`metadata`", keys::METADATA)?;
    let name = shape.required(&fields, "name")?;
    let name = shape.plain(name, "`metadata.name`")?;
    identifier(shape, &name, "a policy's name", 63).then_some(name)
}
