//! `in`: lists by name, and values as written.

use std::rc::Rc;

use super::{
    LeafTest, Predicate,
    expression::{Checker, leaf},
    names::Values,
    value,
};
use crate::{
    diag::{Code, Diagnostic},
    field::{Field, Type},
    ir::Pattern,
    parse::{expression::Literal, feed, policy::ListKind, source::Span},
};

impl Checker<'_, '_> {
    /// `field in name`.
    pub(super) fn in_list(
        &mut self,
        field: &'static Field,
        literal: &Literal,
        span: Span,
    ) -> Option<Predicate> {
        if literal.quoted() {
            self.diagnostics.add(
                Diagnostic::error(Code::WrongOperator, literal.span, "`in` takes a list")
                    .label("one text")
                    .help(format!("write `{} == \"{}\"`", field.name, literal.text)),
            );
            return None;
        }
        let values = self.list(field, literal)?;
        Some(leaf(field, span, test(values)?))
    }

    fn list(&mut self, field: &'static Field, literal: &Literal) -> Option<Values> {
        let Some(named) = self.names.lists.get(literal.text.as_str()) else {
            let help = match self.names.closest_list(&literal.text) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if literal.text.contains("..") => {
                    format!("ranges stand in brackets: `{} in [{}]`", field.name, literal.text)
                }
                None => format!(
                    "define it under `lists`, or write the values: `{} in [...]`",
                    field.name
                ),
            };
            self.diagnostics.add(
                Diagnostic::error(
                    Code::UnknownList,
                    literal.span,
                    format!("there is no list `{}`", literal.text),
                )
                .label("unknown list")
                .help(help),
            );
            return None;
        };
        named.used.set(true);
        let kind = named.list.kind.value;
        let fits = matches!(
            (field.kind, kind),
            (Type::Path, ListKind::Path)
                | (Type::Name, ListKind::Name)
                | (Type::Text | Type::Image | Type::Container, ListKind::Text)
                | (Type::Domain, ListKind::Domain)
                | (Type::Address, ListKind::Cidr)
                | (Type::Port, ListKind::Port | ListKind::Number)
                | (Type::Number(_), ListKind::Number)
        );
        if !fits {
            self.diagnostics.add(
                Diagnostic::error(
                    Code::ListType,
                    literal.span,
                    format!(
                        "the list `{}` holds values of type {}, `{}` is of type {}",
                        literal.text,
                        kind.name(),
                        field.name,
                        field.kind.name()
                    ),
                )
                .label("does not fit")
                .related(named.list.kind.span, "its type"),
            );
            return None;
        }
        Some(named.values.clone())
    }

    /// `field in [..]`.
    pub(super) fn in_values(
        &mut self,
        field: &'static Field,
        literals: &[Literal],
        place: Span,
        span: Span,
    ) -> Option<Predicate> {
        if literals.is_empty() {
            self.diagnostics.add(
                Diagnostic::error(Code::Pointless, place, "the list is empty")
                    .label("nothing is in it, so the test is never true"),
            );
            return None;
        }
        let before = self.diagnostics.count();
        // A bare word that names a list stands for its values.
        let mut parts = Vec::new();
        let mut own = Vec::new();
        for literal in literals {
            if !literal.quoted() && self.names.lists.contains_key(literal.text.as_str()) {
                parts.push(self.list(field, literal)?);
            } else {
                own.push(literal);
            }
        }
        if !own.is_empty() {
            parts.push(value::values(field.kind, Some(field), own.into_iter(), self.diagnostics));
        }
        if self.diagnostics.count() > before {
            return None;
        }
        Some(leaf(field, span, test(join(parts))?))
    }
}

fn test(values: Values) -> Option<LeafTest> {
    match values {
        Values::Patterns(patterns) => Some(LeafTest::Patterns(patterns)),
        Values::Ranges(ranges) => Some(LeafTest::Ranges(ranges)),
        Values::Addresses(addresses) => Some(LeafTest::Addresses(addresses)),
        Values::Broken => None,
    }
}

/// All values of several lists of one type.
pub(super) fn join(parts: impl IntoIterator<Item = Values>) -> Values {
    let mut parts = parts.into_iter();
    let Some(mut joined) = parts.next() else { return Values::Broken };
    for part in parts {
        joined = match (joined, part) {
            (Values::Patterns(first), Values::Patterns(second)) => {
                let mut all: Vec<Pattern> = first.iter().chain(second.iter()).cloned().collect();
                all.sort();
                all.dedup();
                Values::Patterns(Rc::new(all))
            }
            (Values::Ranges(first), Values::Ranges(second)) => {
                let mut all: Vec<(u32, u32)> = first.iter().chain(second.iter()).copied().collect();
                all.sort_unstable();
                all.dedup();
                Values::Ranges(Rc::new(all))
            }
            (Values::Addresses(first), Values::Addresses(second)) => {
                let mut all = (*first).clone();
                all.v4.extend_from_slice(&second.v4);
                all.v6.extend_from_slice(&second.v6);
                all.normalise();
                feed::join_from(&mut all.from, &second.from);
                Values::Addresses(Rc::new(all))
            }
            (
                Values::Patterns(_) | Values::Ranges(_) | Values::Addresses(_) | Values::Broken,
                _,
            ) => Values::Broken,
        };
    }
    joined
}
