//! Parsed policies to checked rules: names resolved, types agreed, and everything enforceable exactly or refused.
//!
//! In: [`Parsed`]. Out: [`Checked`], which only this module can make, and every diagnostic at once. After this stage no
//! mistake of the operator is left except those of size, which `normalise` and `lower` find.

mod decidable;
mod expression;
mod hints;
mod membership;
mod names;
mod pattern;
mod rule;
mod scope;
mod template;
mod value;
mod version;

use std::{collections::HashMap, path::Path, rc::Rc};

use interdict_abi::ids::{Act, Action, Mode};

use crate::{
    diag::Diagnostics,
    field::{Class, Field, Type, Unresolved},
    ir::{OnFault, Pattern},
    live::Source,
    meta::ListMeta,
    parse::{
        Parsed,
        feed::Addresses,
        policy::{Policy, Rule, Spanned},
        source::{Files, Sources, Span},
    },
};

/// What a compilation depends on besides its sources.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Reads feeds.
    pub files: &'a dyn Files,
    /// Today, `YYYY-MM-DD`: exceptions that ended before it no longer excuse.
    pub today: &'a str,
}

/// All rules that are to be compiled.
#[derive(Debug)]
pub struct Checked<'p> {
    /// In the order of their sources. Rules whose mode is `off` are not among them.
    pub rules: Vec<CheckedRule<'p>>,
    /// Lists, for the metadata.
    pub lists: Vec<ListMeta>,
    /// Feeds of addresses.
    pub feeds: Vec<Source>,
}

/// One rule without mistakes.
#[derive(Debug)]
pub struct CheckedRule<'p> {
    /// As written.
    pub rule: &'p Rule,
    /// The policy it stands in.
    pub policy: &'p Policy,
    /// The acts it decides. A rule on arguments has `ExecArgs` for `exec`.
    pub acts: Vec<Spanned<Act>>,
    /// The weaker of the policy's and its own mode.
    pub mode: Mode,
    /// What an unknown fact means.
    pub on_fault: OnFault,
    /// When it matches, scope included.
    pub when: Predicate,
    /// What excuses it.
    pub exceptions: Vec<CheckedException>,
}

impl CheckedRule<'_> {
    /// Whether it only tells, and so can be narrowed by what is known later.
    pub(crate) fn tells(&self) -> bool {
        self.rule.action.value.action == Action::Alert
    }
}

/// One exception without mistakes.
#[derive(Debug)]
pub struct CheckedException {
    /// Its index among those written.
    pub index: u16,
    /// The acts it excuses.
    pub acts: Vec<Act>,
    /// When.
    pub when: Predicate,
}

/// A typed expression.
#[derive(Clone, Debug)]
pub enum Predicate {
    /// All must hold.
    All(Vec<Predicate>),
    /// One must hold.
    Any(Vec<Predicate>),
    /// Must not hold.
    Not(Box<Predicate>),
    /// One test.
    Leaf(Leaf),
}

/// One test on one field.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The field.
    pub field: &'static Field,
    /// Where it was written.
    pub span: Span,
    /// What its value must be.
    pub test: LeafTest,
}

impl Leaf {
    /// Whether it narrows what is told of an act and is nothing that the kernel decides, for a rule that only tells or that
    /// does not.
    pub(crate) fn told(&self, act: Act, tells: bool) -> bool {
        self.field.class == Class::User
            || tells && (self.of_place() || self.field.resolve(act) == Err(Unresolved::UserSpace))
    }

    /// Whether it is about what a container's runtime tells.
    pub(crate) fn of_place(&self) -> bool {
        let named_container =
            self.field.kind == Type::Container && matches!(self.test, LeafTest::Patterns(_));
        self.field.class == Class::Place || named_container
    }
}

/// What a field's value must be: any of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafTest {
    /// Text that matches one of the patterns.
    Patterns(Rc<Vec<Pattern>>),
    /// A number in one of the ranges.
    Ranges(Rc<Vec<(u32, u32)>>),
    /// An address in one of the ranges.
    Addresses(Rc<Addresses>),
    /// Yes.
    True,
}

/// Checks everything.
pub fn check<'p>(
    parsed: &'p Parsed,
    sources: &Sources,
    environment: Environment<'_>,
    diagnostics: &mut Diagnostics,
) -> Checked<'p> {
    let names = names::collect(parsed, sources, environment, diagnostics);
    let mut rules = Vec::new();
    let mut ids: HashMap<&str, Span> = HashMap::new();
    for policy in &parsed.policies {
        for rule in &policy.rules {
            names::once(&mut ids, "rule id", &rule.id, diagnostics);
            rules.extend(rule::check(policy, rule, &names, environment, diagnostics));
        }
    }
    let (lists, feeds) = names.finish(diagnostics);
    Checked { rules, lists, feeds }
}

/// The path of a feed: relative to the file of the policy that names it.
pub(crate) fn beside(policy_file: &str, feed: &str) -> std::path::PathBuf {
    Path::new(policy_file).parent().unwrap_or(Path::new("")).join(feed)
}
