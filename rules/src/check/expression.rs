//! Expressions to typed predicates: names looked up, macros put in, operators and values fitted to fields.

use std::rc::Rc;

use super::{
    Leaf, LeafTest, Predicate,
    hints::{example, foreign, started},
    names::{Names, Values},
    pattern, value,
};
use crate::{
    diag::{Code, Diagnostic, Diagnostics, closest},
    field::{self, FIELDS, Field, Type, Words},
    ir::Pattern,
    parse::{
        expression::{Expression, Kind, Literal, Operand, Operator, Word},
        source::Span,
    },
};

/// Checks expressions of one rule.
pub(super) struct Checker<'a, 'p> {
    pub(super) names: &'a Names<'p>,
    pub(super) diagnostics: &'a mut Diagnostics,
    /// Macros being put in, to see cycles.
    pub(super) unfolding: Vec<String>,
    /// What is right beside something that is wrong: whether its acts know it can still be said.
    pub(super) salvaged: Vec<Predicate>,
}

impl Checker<'_, '_> {
    /// A typed predicate, or `None` when something is wrong with it, which has been said.
    pub(super) fn predicate(&mut self, expression: &Expression) -> Option<Predicate> {
        match &expression.kind {
            Kind::And(parts) => self.all(parts).map(Predicate::All),
            Kind::Or(parts) => self.all(parts).map(Predicate::Any),
            Kind::Not(inner) => self.predicate(inner).map(|inner| Predicate::Not(Box::new(inner))),
            Kind::Name(word) => self.name(word),
            Kind::Exists(word) => {
                let field = self.field(word)?;
                self.exists(field, expression.span)
            }
            Kind::Test { field: word, operator, operator_span, operand } => {
                let field = self.field(word);
                let field = field?;
                self.test(field, *operator, *operator_span, operand, expression.span)
            }
        }
    }

    fn all(&mut self, parts: &[Expression]) -> Option<Vec<Predicate>> {
        // Every part is looked at, so that all mistakes are found at once.
        let checked: Vec<Option<Predicate>> =
            parts.iter().map(|part| self.predicate(part)).collect();
        if checked.iter().any(Option::is_none) {
            self.salvaged.extend(checked.into_iter().flatten());
            return None;
        }
        Some(checked.into_iter().flatten().collect())
    }

    fn name(&mut self, word: &Word) -> Option<Predicate> {
        if let Some(named) = self.names.macros.get(word.text.as_str()) {
            named.used.set(true);
            if self.unfolding.contains(&word.text) {
                self.diagnostics.add(
                    Diagnostic::error(
                        Code::Cycle,
                        word.span,
                        format!("the macro `{}` uses itself", word.text),
                    )
                    .label(format!("{} -> {}", self.unfolding.join(" -> "), word.text))
                    .related(named.span, "defined here"),
                );
                return None;
            }
            self.unfolding.push(word.text.clone());
            let predicate = named.expression.and_then(|expression| self.predicate(expression));
            self.unfolding.pop();
            return predicate;
        }
        let field = self.field(word)?;
        if field.kind == Type::Flag {
            return Some(leaf(field, word.span, LeafTest::True));
        }
        self.diagnostics.add(
            Diagnostic::error(
                Code::WrongOperator,
                word.span,
                format!("`{}` is not a yes-or-no field", field.name),
            )
            .label(format!("its type is {}", field.kind.name()))
            .help(format!("compare it with a value, as in `{}`", example(field))),
        );
        None
    }

    fn field(&mut self, word: &Word) -> Option<&'static Field> {
        if let Some(field) = field::find(&word.text) {
            return Some(field);
        }
        let mut diagnostic = Diagnostic::error(
            Code::UnknownField,
            word.span,
            format!("there is no field or macro `{}`", word.text),
        )
        .label("unknown");
        let meant = foreign(&word.text)
            .or_else(|| self.names.closest_macro(&word.text))
            .or_else(|| closest(&word.text, FIELDS.iter().map(|field| field.name)));
        diagnostic = if self.names.lists.contains_key(word.text.as_str()) {
            diagnostic.help(format!("`{0}` is a list: write `field in {0}`", word.text))
        } else if let (Some(meant), Some(new)) = (meant, started(&word.text)) {
            diagnostic.help(format!(
                "did you mean `{meant}`? For `exec` that is who starts a program: the one that is started is `{new}`"
            ))
        } else if let Some(meant) = meant {
            diagnostic.help(format!("did you mean `{meant}`?"))
        } else {
            diagnostic.help("`interdict fields` lists all fields")
        };
        self.diagnostics.add(diagnostic);
        None
    }

    fn exists(&mut self, field: &'static Field, span: Span) -> Option<Predicate> {
        match field.kind {
            Type::Path | Type::Name | Type::Text | Type::Image | Type::Domain => {
                Some(leaf(field, span, LeafTest::Patterns(Rc::new(vec![pattern::any()]))))
            }
            Type::Number(_)
            | Type::Port
            | Type::Word(_)
            | Type::Address
            | Type::Flag
            | Type::Container => {
                self.diagnostics.add(
                    Diagnostic::error(
                        Code::Pointless,
                        span,
                        format!("`{}` always has a value", field.name),
                    )
                    .help(format!("compare it, as in `{}`", example(field))),
                );
                None
            }
        }
    }

    fn test(
        &mut self,
        field: &'static Field,
        operator: Operator,
        operator_span: Span,
        operand: &Operand,
        span: Span,
    ) -> Option<Predicate> {
        if !self.fits(field, operator, operator_span) {
            return None;
        }
        if let Operand::One(literal) = operand
            && field::find(&literal.text).is_some()
            && !literal.quoted()
        {
            self.diagnostics.add(
                Diagnostic::error(
                    Code::WrongValue,
                    literal.span,
                    format!("`{}` is a field, not a value", literal.text),
                )
                .label("fields cannot be compared with each other"),
            );
            return None;
        }
        match (operator, operand) {
            (Operator::In, Operand::One(literal)) => self.in_list(field, literal, span),
            (Operator::In, Operand::Many(literals, place)) => {
                self.in_values(field, literals, *place, span)
            }
            (_, Operand::Many(literals, place))
                if text_operator(operator) && !literals.is_empty() =>
            {
                // `startswith ["a", "b"]`: any of them.
                let patterns: Vec<Option<Pattern>> =
                    literals.iter().map(|literal| self.pattern(field, operator, literal)).collect();
                let patterns: Option<Vec<Pattern>> = patterns.into_iter().collect();
                let _ = place;
                Some(leaf(field, span, LeafTest::Patterns(Rc::new(patterns?))))
            }
            (_, Operand::Many(_, place)) => {
                self.diagnostics.add(
                    Diagnostic::error(
                        Code::WrongOperator,
                        *place,
                        format!("`{}` takes one value", operator.name()),
                    )
                    .label("a list")
                    .help(match operator {
                        Operator::NotEqual => format!("write `not {} in [...]`", field.name),
                        _ => format!("write `{} in [...]`", field.name),
                    }),
                );
                None
            }
            (_, Operand::One(literal)) => self.one(field, operator, literal, span),
        }
    }

    /// Whether the operator is one for fields of this type.
    fn fits(&mut self, field: &Field, operator: Operator, span: Span) -> bool {
        let equality = matches!(operator, Operator::Equal | Operator::NotEqual);
        let fits = match field.kind {
            Type::Path | Type::Name | Type::Text | Type::Image => {
                equality || operator == Operator::In || text_operator(operator)
            }
            Type::Number(_) | Type::Port => !text_operator(operator),
            Type::Word(_) | Type::Address | Type::Domain => equality || operator == Operator::In,
            Type::Flag => equality,
            Type::Container => equality || operator == Operator::In,
        };
        if !fits {
            self.diagnostics.add(
                Diagnostic::error(
                    Code::WrongOperator,
                    span,
                    format!("`{}` cannot be used with `{}`", operator.name(), field.name),
                )
                .label(format!("`{}` is of type {}", field.name, field.kind.name()))
                .help(format!("write for example `{}`", example(field))),
            );
        }
        fits
    }

    fn pattern(
        &mut self,
        field: &'static Field,
        operator: Operator,
        literal: &Literal,
    ) -> Option<Pattern> {
        if !value::readable(field.kind, Some(field), literal, self.diagnostics) {
            return None;
        }
        pattern::operator(field.kind, field, operator, literal, self.diagnostics)
    }

    fn one(
        &mut self,
        field: &'static Field,
        operator: Operator,
        literal: &Literal,
        span: Span,
    ) -> Option<Predicate> {
        let negate = |predicate: Predicate| match operator {
            Operator::NotEqual => Predicate::Not(Box::new(predicate)),
            _ => predicate,
        };
        match field.kind {
            Type::Path | Type::Name | Type::Text | Type::Image => {
                if self.names.lists.contains_key(literal.text.as_str()) && !literal.quoted() {
                    self.list_needs_in(field, literal);
                    return None;
                }
                let pattern = self.pattern(field, operator, literal)?;
                let test = LeafTest::Patterns(Rc::new(vec![pattern]));
                Some(negate(leaf(field, span, test)))
            }
            Type::Domain => {
                if self.names.lists.contains_key(literal.text.as_str()) && !literal.quoted() {
                    self.list_needs_in(field, literal);
                    return None;
                }
                let pattern = pattern::domain(literal, false, self.diagnostics)?;
                Some(negate(leaf(field, span, LeafTest::Patterns(Rc::new(vec![pattern])))))
            }
            Type::Number(_) | Type::Port | Type::Word(_) => {
                if self.names.lists.contains_key(literal.text.as_str()) && !literal.quoted() {
                    self.list_needs_in(field, literal);
                    return None;
                }
                if field.kind == Type::Word(Words::Syscall) {
                    let literals = std::iter::once(literal);
                    let values = value::values(field.kind, Some(field), literals, self.diagnostics);
                    return match values {
                        Values::Ranges(ranges) if !ranges.is_empty() => {
                            Some(negate(leaf(field, span, LeafTest::Ranges(ranges))))
                        }
                        Values::Ranges(_)
                        | Values::Addresses(_)
                        | Values::Patterns(_)
                        | Values::Broken => None,
                    };
                }
                let (first, last) = value::number(field.kind, literal, self.diagnostics)?;
                let compared = !matches!(operator, Operator::Equal | Operator::NotEqual);
                if compared && first != last {
                    self.diagnostics.add(
                        Diagnostic::error(
                            Code::WrongValue,
                            literal.span,
                            format!("`{}` compares with one number", operator.name()),
                        )
                        .label("a range")
                        .help(format!("write `{} in [{first}..{last}]`", field.name)),
                    );
                    return None;
                }
                let range = match operator {
                    Operator::Less => first.checked_sub(1).map(|last| (0, last)),
                    Operator::LessEqual => Some((0, last)),
                    Operator::Greater => last.checked_add(1).map(|first| (first, u32::MAX)),
                    Operator::GreaterEqual => Some((first, u32::MAX)),
                    _ => Some((first, last)),
                };
                let Some(range) = range else {
                    self.diagnostics.add(
                        Diagnostic::error(Code::Pointless, span, "the test is never true")
                            .label("no number is below 0 or above 4294967295"),
                    );
                    return None;
                };
                Some(negate(leaf(field, span, LeafTest::Ranges(Rc::new(vec![range])))))
            }
            Type::Address => {
                if self.names.lists.contains_key(literal.text.as_str()) && !literal.quoted() {
                    self.list_needs_in(field, literal);
                    return None;
                }
                let before = self.diagnostics.count();
                let values = value::values(
                    field.kind,
                    Some(field),
                    std::iter::once(literal),
                    self.diagnostics,
                );
                match values {
                    Values::Addresses(addresses) if self.diagnostics.count() == before => {
                        Some(negate(leaf(field, span, LeafTest::Addresses(addresses))))
                    }
                    Values::Addresses(_)
                    | Values::Patterns(_)
                    | Values::Ranges(_)
                    | Values::Broken => None,
                }
            }
            Type::Flag => {
                let truth = match literal.text.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => {
                        self.diagnostics.add(
                            Diagnostic::error(
                                Code::WrongValue,
                                literal.span,
                                format!("`{}` is yes or no", field.name),
                            )
                            .label("expected `true` or `false`")
                            .help(format!("write `{0}` or `not {0}`", field.name)),
                        );
                        return None;
                    }
                };
                let predicate = negate(leaf(field, span, LeafTest::True));
                Some(if truth { predicate } else { Predicate::Not(Box::new(predicate)) })
            }
            Type::Container => {
                if literal.text != "host" {
                    let pattern = self.pattern(field, operator, literal)?;
                    let test = LeafTest::Patterns(Rc::new(vec![pattern]));
                    return Some(negate(leaf(field, span, test)));
                }
                // The leaf means "in a container".
                let inside = leaf(field, span, LeafTest::True);
                Some(match operator {
                    Operator::NotEqual => inside,
                    _ => Predicate::Not(Box::new(inside)),
                })
            }
        }
    }

    fn list_needs_in(&mut self, field: &Field, literal: &Literal) {
        self.diagnostics.add(
            Diagnostic::error(
                Code::WrongOperator,
                literal.span,
                format!("`{}` is a list", literal.text),
            )
            .label("not one value")
            .help(format!("write `{} in {}`", field.name, literal.text)),
        );
    }
}

/// One test.
pub(super) fn leaf(field: &'static Field, span: Span, test: LeafTest) -> Predicate {
    Predicate::Leaf(Leaf { field, span, test })
}

fn text_operator(operator: Operator) -> bool {
    match operator {
        Operator::StartsWith
        | Operator::EndsWith
        | Operator::Contains
        | Operator::Glob
        | Operator::Matches => true,
        Operator::Equal
        | Operator::NotEqual
        | Operator::Less
        | Operator::LessEqual
        | Operator::Greater
        | Operator::GreaterEqual
        | Operator::In => false,
    }
}
