//! Checked rules to normal form: disjunctions of clauses, clauses of literals.
//!
//! `not` is pushed down to the literals, alternatives over one fact become one literal, what contradicts itself is
//! dropped. Tests of class U are taken out before ([`told`]). `or` inside `and` multiplies: there is a budget, and going over it is said with the count and the way out.

mod backstop;
mod clauses;
mod fact;
mod label;
mod told;
mod tree;

pub(crate) use clauses::{contradicts, within as implies};

use interdict_abi::{
    ids::{Act, Mode},
    limits::RESIDUALS,
};

use crate::{
    check::{Checked, CheckedRule, Predicate},
    diag::{Code, Diagnostic, Diagnostics},
    ir::{self, Clause, Test},
    meta::{ExceptionMeta, Metadata, RateMeta, RuleMeta, ThrottleMeta},
    parse::source::Sources,
    told::ToldTest,
};

/// Clauses one rule may unfold into for one act, exceptions not counted.
pub const CLAUSES_MAX: usize = 256;

/// The program and what people need to know of it.
pub fn normalise(
    checked: Checked<'_>,
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> (ir::Program, Metadata) {
    let mut program = ir::Program::default();
    let mut metadata = Metadata { lists: checked.lists, ..Metadata::default() };
    for rule in &checked.rules {
        let parts = parts(rule, diagnostics);
        let mut any = false;
        for part in parts {
            let clauses = unfold(rule, &part.about, 0, diagnostics);
            if clauses.is_empty() {
                continue;
            }
            any = true;
            let mut exceptions = Vec::new();
            for exception in &rule.exceptions {
                let excuses = |act: &&Act| !told::mentions(&exception.when, **act, rule.tells());
                let about: Vec<_> = exception
                    .acts
                    .iter()
                    .filter(excuses)
                    .map(|act| (*act, exception.when.clone()))
                    .collect();
                exceptions.extend(unfold(rule, &about, exception.index, diagnostics));
            }
            let mut lowered = ir::Rule {
                id: rule.rule.id.value.clone(),
                action: rule.rule.action.value.action,
                errno: rule.rule.action.value.errno,
                mode: rule.mode,
                on_fault: rule.on_fault,
                clauses,
                exceptions,
                narrowed: part.tests.clone(),
            };
            let backstops = backstop::add(&mut lowered);
            let (asks_of_container, asks_of_arguments, asks_of_programs) = (
                lowered.asks_of_container(),
                lowered.asks_of_arguments(),
                lowered.asks_of_programs(),
            );
            program.rules.push(lowered);
            metadata.rules.push(RuleMeta {
                backstops,
                asks_of_container,
                asks_of_arguments,
                asks_of_programs,
                ..describe(rule, part.tests, sources)
            });
        }
        if !any && !diagnostics.failed() {
            diagnostics.add(
                Diagnostic::warning(
                    Code::NeverMatches,
                    rule.rule.id.span,
                    format!("the rule `{}` can never match", rule.rule.id.value),
                )
                .label("every alternative contradicts itself")
                .help("look for a field that is required to be two different things at once"),
            );
            // It is still told of, and its tests still run.
            program.rules.push(ir::Rule {
                id: rule.rule.id.value.clone(),
                action: rule.rule.action.value.action,
                errno: rule.rule.action.value.errno,
                mode: rule.mode,
                on_fault: rule.on_fault,
                clauses: Vec::new(),
                exceptions: Vec::new(),
                narrowed: Vec::new(),
            });
            metadata.rules.push(describe(rule, Vec::new(), sources));
        }
    }
    (program, metadata)
}

/// What a rule is for the kernel under one condition of class U.
struct Part {
    tests: Vec<ToldTest>,
    about: Vec<(Act, Predicate)>,
}

/// The parts of a rule by what they are told on. Mostly one that is always told.
fn parts(rule: &CheckedRule<'_>, diagnostics: &mut Diagnostics) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for act in rule.acts.iter().map(|act| act.value) {
        // An exception on what is known in user space only cannot excuse in the kernel: what it excuses is not told.
        let unexcused = rule
            .exceptions
            .iter()
            .filter(|exception| {
                exception.acts.contains(&act) && told::mentions(&exception.when, act, rule.tells())
            })
            .map(|exception| Predicate::Not(Box::new(exception.when.clone())));
        let mut all = vec![rule.when.clone()];
        all.extend(unexcused);
        let when = match all.len() {
            1 => all.remove(0),
            _more => Predicate::All(all),
        };
        let Some(ways) = told::ways(&when, act, rule.tells()) else {
            let span = rule.rule.when.as_ref().map_or(rule.rule.span, |when| when.span);
            diagnostics.add(
                Diagnostic::error(
                    Code::TooManyClauses,
                    span,
                    format!(
                        "the tests on fields of class U can come out in more than {} ways",
                        told::WAYS_MAX
                    ),
                )
                .label("`or` over fields known in user space only multiplies")
                .help("use `in [...]` instead of `or` over one field, or split the rule"),
            );
            return Vec::new();
        };
        for way in ways {
            match parts.iter_mut().find(|part| part.tests == way.tests) {
                Some(part) => part.about.push((act, way.left)),
                None => parts.push(Part { tests: way.tests, about: vec![(act, way.left)] }),
            }
        }
    }
    parts
}

/// The clauses of a predicate for all acts of the rule. Acts that come to the same clauses share them.
fn unfold(
    rule: &CheckedRule<'_>,
    about: &[(Act, Predicate)],
    origin: u16,
    diagnostics: &mut Diagnostics,
) -> Vec<Clause> {
    let mut groups: Vec<(Vec<Act>, Vec<Vec<ir::Literal>>)> = Vec::new();
    for (act, predicate) in about {
        let act = *act;
        let tree = tree::of(predicate, act);
        match clauses::unfold(&tree, CLAUSES_MAX) {
            Ok(unfolded) => {
                if let Some(count) = too_many_sets(&unfolded) {
                    let span = rule.rule.when.as_ref().map_or(rule.rule.span, |when| when.span);
                    diagnostics.add(
                        Diagnostic::error(
                            Code::TooManySets,
                            span,
                            format!("{count} tests on ancestors and arguments are joined by `and`"),
                        )
                        .label(format!("there may be {RESIDUALS}"))
                        .help("join negated tests into one list, or split the rule in two"),
                    );
                    return Vec::new();
                }
                let shared = groups.iter_mut().find(|(acts, clauses)| {
                    acts[0].family() == act.family() && *clauses == unfolded
                });
                match shared {
                    Some((acts, _)) => acts.push(act),
                    None => groups.push((vec![act], unfolded)),
                }
            }
            Err(count) => {
                let span = rule.rule.when.as_ref().map_or(rule.rule.span, |when| when.span);
                diagnostics.add(
                    Diagnostic::error(
                        Code::TooManyClauses,
                        span,
                        format!(
                            "the rule `{}` unfolds into {count} clauses, there may be {CLAUSES_MAX}",
                            rule.rule.id.value
                        ),
                    )
                    .label("`or` inside `and` multiplies")
                    .help("use `in [...]` instead of `or` over one field, or split the rule"),
                );
                return Vec::new();
            }
        }
    }
    let mut all = Vec::new();
    for (acts, unfolded) in groups {
        let mask = acts.iter().fold(0, |mask, act| mask | act.bit());
        all.extend(unfolded.into_iter().map(|literals| Clause {
            family: acts[0].family(),
            acts: mask,
            literals,
            origin,
        }));
    }
    all
}

/// How many tests on facts with many values some clause has, if it is more than a clause can carry.
fn too_many_sets(clauses: &[Vec<ir::Literal>]) -> Option<usize> {
    let sets = |clause: &Vec<ir::Literal>| {
        let set = |literal: &&ir::Literal| {
            matches!(
                literal.test,
                Test::Ancestor { .. } | Test::Argument { .. } | Test::Capabilities { .. }
            )
        };
        clause.iter().filter(set).count()
    };
    clauses.iter().map(sets).max().filter(|count| *count > RESIDUALS)
}

fn describe(checked: &CheckedRule<'_>, narrowed: Vec<ToldTest>, sources: &Sources) -> RuleMeta {
    let rule = checked.rule;
    RuleMeta {
        id: rule.id.value.clone(),
        title: rule.title.clone(),
        policy: checked.policy.name.value.clone(),
        file: sources.file(rule.span.file).name.clone(),
        line: sources.position(rule.span).line,
        severity: rule.severity,
        attack: rule.attack.clone(),
        tags: rule.tags.clone(),
        acts: rule.on.iter().map(|act| act.value.clone()).collect(),
        backstops: Vec::new(),
        rate: rule.rate.as_ref().map(|rate| RateMeta {
            packets: rate.packets,
            per_seconds: rate.per_seconds,
            burst: rate.burst,
        }),
        action: RuleMeta::action_name(rule.action.value.action),
        mode: RuleMeta::mode_name(match checked.mode {
            Mode::Enforce => Mode::Enforce,
            Mode::Audit => Mode::Audit,
        }),
        on_fault: match checked.on_fault {
            ir::OnFault::Block => "block".to_owned(),
            ir::OnFault::Pass => "pass".to_owned(),
        },
        requires_block: rule.requires_block,
        message: rule.message.as_ref().map(|text| text.text.clone()).unwrap_or_default(),
        asks_of_container: false,
        asks_of_arguments: false,
        asks_of_programs: false,
        when: rule.when_text.clone(),
        exceptions: rule
            .except
            .iter()
            .map(|exception| ExceptionMeta {
                name: exception.name.value.clone(),
                owner: exception.owner.clone(),
                reason: exception.reason.clone(),
                expires: exception
                    .expires
                    .as_ref()
                    .map(|date| date.value.clone())
                    .unwrap_or_default(),
                line: sources.position(exception.name.span).line,
            })
            .collect(),
        throttle: rule.throttle.as_ref().map(|throttle| ThrottleMeta {
            by: throttle.by.iter().map(|field| field.value.clone()).collect(),
            burst: throttle.burst,
            per_seconds: throttle.per_seconds,
        }),
        narrowed,
    }
}
