//! Where a policy holds, as a predicate on its rules.

use interdict_abi::ids::Act;

use super::{Leaf, LeafTest, Predicate, expression::leaf, names::Values, pattern, value};
use crate::{
    diag::Diagnostics,
    field::{self, Field},
    parse::{
        expression::Literal,
        policy::{Policy, Scope, Spanned},
        source::Span,
    },
};

/// The predicate with the policy's scope.
pub(super) fn scoped(
    policy: &Policy,
    when: Predicate,
    acts: &[Spanned<Act>],
    diagnostics: &mut Diagnostics,
) -> Predicate {
    let scope = &policy.scope;
    if scope.everything() || acts.iter().all(|act| !act.value.family().has_process()) {
        return when;
    }
    let span = scope.span.unwrap_or(policy.name.span);
    let inside = Predicate::Leaf(Leaf { field: of("container.id"), span, test: LeafTest::True });
    let outside = Predicate::Not(Box::new(inside.clone()));
    let within = match (scope.told(), scope.host, scope.containers) {
        (true, false, _) => named(scope, diagnostics),
        (true, true, _) => Predicate::Any(vec![outside, named(scope, diagnostics)]),
        (false, _, true) => inside,
        (false, _, false) => outside,
    };
    Predicate::All(vec![within, when])
}

/// The pods and containers a scope names.
fn named(scope: &Scope, diagnostics: &mut Diagnostics) -> Predicate {
    let mut all = Vec::new();
    if let Some(pods) = &scope.k8s {
        all.push(some("k8s.pod", pods.span));
        all.extend(any_of("k8s.namespace", &pods.namespaces, pods.span, diagnostics));
        all.extend(
            any_of("k8s.namespace", &pods.exclude_namespaces, pods.span, diagnostics)
                .map(|excluded| Predicate::Not(Box::new(excluded))),
        );
        for label in &pods.labels {
            all.extend(any_of("k8s.labels", std::slice::from_ref(label), label.span, diagnostics));
        }
    }
    if let Some(containers) = &scope.container {
        all.extend(any_of("container.image", &containers.images, containers.span, diagnostics));
        all.extend(any_of("container.name", &containers.names, containers.span, diagnostics));
    }
    Predicate::All(all)
}

fn of(name: &str) -> &'static Field {
    field::find(name).expect("the table has it")
}

fn some(name: &str, span: Span) -> Predicate {
    let any = std::rc::Rc::new(vec![pattern::any()]);
    leaf(of(name), span, LeafTest::Patterns(any))
}

/// A field is one of these; nothing is asked by an empty list.
fn any_of(
    name: &str,
    literals: &[Literal],
    span: Span,
    diagnostics: &mut Diagnostics,
) -> Option<Predicate> {
    if literals.is_empty() {
        return None;
    }
    let field = of(name);
    match value::values(field.kind, Some(field), literals.iter(), diagnostics) {
        Values::Patterns(patterns) => Some(leaf(field, span, LeafTest::Patterns(patterns))),
        Values::Ranges(_) | Values::Addresses(_) | Values::Broken => None,
    }
}
