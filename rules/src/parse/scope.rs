//! Reads where a policy holds.

use std::rc::Rc;

use super::{
    expression::{Form, Literal},
    keys, list,
    policy::{ContainerScope, PodScope, Scope},
    shape::{Fields, Shape},
    yaml::Node,
};
use crate::diag::{Code, Diagnostic};

/// Reads `scope`.
pub(super) fn scope(shape: &mut Shape<'_>, fields: &Fields<'_>) -> Scope {
    let mut scope = Scope { host: true, containers: true, k8s: None, container: None, span: None };
    let Some(node) = fields.find("scope") else { return scope };
    scope.span = Some(node.span);
    let Some(inner) = shape.fields(node, "`scope`", keys::SCOPE) else { return scope };
    scope.k8s = inner.find("k8s").and_then(|node| pods(shape, node));
    scope.container = inner.find("container").and_then(|node| containers(shape, node));
    // Whoever names containers does not mean the host, unless it is said.
    scope.host = !scope.told();
    for (key, place) in [("host", &mut scope.host), ("containers", &mut scope.containers)] {
        if let Some(node) = inner.find(key)
            && let Some(value) = shape.truth(node, &format!("`scope.{key}`"))
        {
            *place = value;
        }
    }
    if scope.told() && !scope.containers {
        shape.diagnostics.add(
            Diagnostic::error(
                Code::ScopeNotPossible,
                node.span,
                "this scope names containers and leaves all of them out",
            )
            .label("`containers: false`")
            .help("leave out `containers: false`, or `k8s` and `container`"),
        );
    } else if !scope.host && !scope.containers {
        shape.diagnostics.add(
            Diagnostic::error(Code::ScopeNotPossible, node.span, "this scope holds nothing at all")
                .label("neither host nor containers")
                .help("to switch a policy off say `mode: off`"),
        );
    }
    scope
}

fn pods(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<PodScope> {
    let before = shape.diagnostics.count();
    let fields = shape.fields(node, "`scope.k8s`", keys::SCOPE_K8S)?;
    let mut list = |key| fields.find(key).map(|node| list::items(shape, node)).unwrap_or_default();
    let (namespaces, exclude_namespaces) = (list("namespaces"), list("exclude_namespaces"));
    let mut labels = Vec::new();
    if let Some(node) = fields.find("labels") {
        for (key, value) in shape.mapping(node, "`scope.k8s.labels`")? {
            let Some(text) = shape.text(value, "a label") else { continue };
            labels.push(Literal {
                text: format!("{}={}", key.text, text.text),
                span: key.span,
                form: Form::Quoted,
                offset: 0,
                source: Rc::new(text),
            });
        }
    }
    let nothing = namespaces.is_empty() && exclude_namespaces.is_empty() && labels.is_empty();
    if nothing && shape.diagnostics.count() == before {
        empty(shape, node, "namespaces: [default]");
    }
    Some(PodScope { span: node.span, namespaces, exclude_namespaces, labels })
}

fn containers(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<ContainerScope> {
    let before = shape.diagnostics.count();
    let fields = shape.fields(node, "`scope.container`", keys::SCOPE_CONTAINER)?;
    let mut list = |key| fields.find(key).map(|node| list::items(shape, node)).unwrap_or_default();
    let (images, names) = (list("image"), list("name"));
    if images.is_empty() && names.is_empty() && shape.diagnostics.count() == before {
        empty(shape, node, "image: \"nginx:*\"");
    }
    Some(ContainerScope { span: node.span, images, names })
}

fn empty(shape: &mut Shape<'_>, node: &Node, example: &str) {
    shape.diagnostics.add(
        Diagnostic::error(Code::Pointless, node.span, "this part of the scope asks for nothing")
            .label("empty")
            .help(format!("write for example `{{ {example} }}`, or leave it out")),
    );
}
