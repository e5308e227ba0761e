//! What a policy file holds, as it was written.

use interdict_abi::ids::Action;

use super::{
    cases::Case,
    expression::{Expression, Literal},
    source::{FileId, Span},
    text::Text,
};
use crate::{ir::OnFault, meta::Severity};

pub use super::shape::Spanned;

/// The API version this compiler reads.
pub const API_VERSION: &str = "interdict.dev/v1";

/// A policy.
#[derive(Debug)]
pub struct Policy {
    /// `metadata.name`.
    pub name: Spanned<String>,
    /// The file it stands in.
    pub file: FileId,
    /// `requires.engine`.
    pub engine: Option<Spanned<String>>,
    /// Mode of all its rules.
    pub mode: Option<Spanned<WrittenMode>>,
    /// Where it holds.
    pub scope: Scope,
    /// Its lists.
    pub lists: Vec<List>,
    /// Its macros.
    pub macros: Vec<Macro>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WrittenMode {
    /// Not compiled at all.
    Off,
    /// Only told.
    Audit,
    /// Acted upon.
    Enforce,
}

/// `scope`.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Processes of the host.
    pub host: bool,
    /// Processes in containers.
    pub containers: bool,
    /// Of the containers only those of such pods.
    pub k8s: Option<PodScope>,
    /// Of the containers only such.
    pub container: Option<ContainerScope>,
    /// Where it is said.
    pub span: Option<Span>,
}

impl Scope {
    /// Whether it is known in user space only what lies in it.
    pub fn told(&self) -> bool {
        self.k8s.is_some() || self.container.is_some()
    }

    /// Whether everything lies in it.
    pub fn everything(&self) -> bool {
        self.host && self.containers && !self.told()
    }
}

/// `scope.k8s`: which pods.
#[derive(Clone, Debug)]
pub struct PodScope {
    /// Where it is said.
    pub span: Span,
    /// In one of these namespaces, with globs. Empty: any.
    pub namespaces: Vec<Literal>,
    /// In none of these.
    pub exclude_namespaces: Vec<Literal>,
    /// With all of these labels, each as `key=value`.
    pub labels: Vec<Literal>,
}

/// `scope.container`: which containers.
#[derive(Clone, Debug)]
pub struct ContainerScope {
    /// Where it is said.
    pub span: Span,
    /// Made from one of these images, with globs. Empty: any.
    pub images: Vec<Literal>,
    /// With one of these names. Empty: any.
    pub names: Vec<Literal>,
}

/// A named list.
#[derive(Debug)]
pub struct List {
    /// Its name.
    pub name: Spanned<String>,
    /// What it holds.
    pub kind: Spanned<ListKind>,
    /// Written items.
    pub items: Vec<Literal>,
    /// A file with more.
    pub feed: Option<FeedSource>,
}

/// What a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Paths, with globs.
    Path,
    /// Last components of paths and process names, with globs.
    Name,
    /// Any text, exact.
    Text,
    /// Domain names, each with everything below it.
    Domain,
    /// Addresses, CIDR blocks and ranges.
    Cidr,
    /// Ports and ranges.
    Port,
    /// Numbers and ranges.
    Number,
}

impl ListKind {
    /// All with their names.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("path", Self::Path),
        ("name", Self::Name),
        ("text", Self::Text),
        ("domain", Self::Domain),
        ("cidr", Self::Cidr),
        ("port", Self::Port),
        ("number", Self::Number),
    ];

    /// As written.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// `feed`.
#[derive(Debug)]
pub struct FeedSource {
    /// Its file, relative to the policy's.
    pub file: Spanned<String>,
    /// Most entries.
    pub max: u32,
    /// Seconds after which it is stale; 0: never.
    pub stale_after_seconds: u64,
}

/// A named expression.
#[derive(Debug)]
pub struct Macro {
    /// Its name.
    pub name: Spanned<String>,
    /// What it stands for. `None` when it could not be read.
    pub expression: Option<Expression>,
}

/// `action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenAction {
    /// What to do.
    pub action: Action,
    /// For `block`.
    pub errno: u8,
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Where it starts.
    pub span: Span,
    /// `id`.
    pub id: Spanned<String>,
    /// `title`.
    pub title: String,
    /// `on`.
    pub on: Vec<Spanned<String>>,
    /// `when`. `None`: always, or it could not be read.
    pub when: Option<Expression>,
    /// `when` as written, on one line.
    pub when_text: String,
    /// Something of it could not be read, which has been said: it is checked as far as it goes.
    pub broken: bool,
    /// `except`.
    pub except: Vec<Exception>,
    /// `action`.
    pub action: Spanned<WrittenAction>,
    /// `mode`.
    pub mode: Option<Spanned<WrittenMode>>,
    /// The mode an override gave it, which holds whatever rule and policy say.
    pub mode_overridden: Option<Spanned<WrittenMode>>,
    /// `means_to: lock_out`: it may refuse what a host needs to be administered.
    pub means_to_lock_out: bool,
    /// `on_fault`: whether an unknown fact counts as a match. `None`: not said.
    pub on_fault: Option<OnFault>,
    /// `requires: { block: true }`.
    pub requires_block: bool,
    /// `severity`.
    pub severity: Severity,
    /// `attack`.
    pub attack: Vec<String>,
    /// `tags`.
    pub tags: Vec<String>,
    /// `throttle`.
    pub throttle: Option<Throttle>,
    /// `rate`.
    pub rate: Option<Rate>,
    /// `message`.
    pub message: Option<Text>,
    /// `tests`.
    pub tests: Vec<Case>,
}

/// `rate`: the rule is about packets beyond it.
#[derive(Debug)]
pub struct Rate {
    /// Where.
    pub span: Span,
    /// Packets of one peer per period that are let be.
    pub packets: u32,
    /// Seconds.
    pub per_seconds: u32,
    /// Packets that may come at once.
    pub burst: u32,
}

/// `throttle`.
#[derive(Debug)]
pub struct Throttle {
    /// Fields that make a subject.
    pub by: Vec<Spanned<String>>,
    /// Alerts per period.
    pub burst: u32,
    /// Seconds.
    pub per_seconds: u32,
}

/// One exception, or one thing a profile allows.
#[derive(Clone, Debug)]
pub struct Exception {
    /// Its name.
    pub name: Spanned<String>,
    /// The acts it excuses, some of the rule's. `None`: all.
    pub on: Option<Vec<Spanned<String>>>,
    /// When it excuses. `None` when it could not be read.
    pub when: Option<Expression>,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Last day, `YYYY-MM-DD`.
    pub expires: Option<Spanned<String>>,
}

/// A document of `kind: Override`: what a site changes about rules it did not write.
#[derive(Debug)]
pub struct Overrides {
    /// `metadata.name`.
    pub name: Spanned<String>,
    /// Changes to rules.
    pub rules: Vec<RuleOverride>,
    /// Changes to lists.
    pub lists: Vec<ListOverride>,
}

/// A change to the rules it selects.
#[derive(Debug)]
pub struct RuleOverride {
    /// Which rules: those that meet every part.
    pub select: Selection,
    /// Their mode.
    pub mode: Option<Spanned<WrittenMode>>,
    /// Their severity.
    pub severity: Option<Spanned<Severity>>,
    /// More exceptions.
    pub except: Vec<Exception>,
}

/// `select`: a rule is meant if it meets every part that is given, and any value of each.
#[derive(Debug)]
pub struct Selection {
    /// Where.
    pub span: Span,
    /// Rule ids.
    pub ids: Vec<Spanned<String>>,
    /// Policy names.
    pub policies: Vec<Spanned<String>>,
    /// Tags.
    pub tags: Vec<Spanned<String>>,
    /// ATT&CK techniques; a technique means its sub-techniques too.
    pub attack: Vec<Spanned<String>>,
}

/// A change to a list.
#[derive(Debug)]
pub struct ListOverride {
    /// The list.
    pub name: Spanned<String>,
    /// Items added.
    pub add: Vec<Literal>,
    /// Items removed.
    pub remove: Vec<Literal>,
}
