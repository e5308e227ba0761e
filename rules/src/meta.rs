//! What the agent must know about a policy beside the kernel's bytes: enough to tell an operator what happened.

use interdict_abi::ids::{Action, Mode};
use serde::{Deserialize, Serialize};

use crate::{roots::Roots, told::ToldTest};

/// Metadata of one compiled policy set. Serialised beside the kernel image, with the same digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Rules by number, as in clause records of the image.
    pub rules: Vec<RuleMeta>,
    /// Clause tables by `Family` number, filled by `lower`: what each clause number of the family stands for.
    pub clauses: Vec<Vec<ClauseMeta>>,
    /// Address and name lists that were compiled in, for `inspect`, `feeds` and staleness checks.
    pub lists: Vec<ListMeta>,
    /// Where on a host the objects are that patterns on paths select.
    #[serde(default)]
    pub roots: Roots,
}

/// One rule, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleMeta {
    /// Stable id, such as `IDT-FILE-0201`.
    pub id: String,
    /// One line.
    pub title: String,
    /// Name of the policy (`metadata.name`) that holds it.
    pub policy: String,
    /// File it was read from, as given.
    pub file: String,
    /// Line of the rule, 1-based.
    pub line: u32,
    /// How bad.
    pub severity: Severity,
    /// ATT&CK technique ids, such as `T1003.008`.
    pub attack: Vec<String>,
    /// Free words to select rules by.
    pub tags: Vec<String>,
    /// Names of the acts in `on`.
    pub acts: Vec<String>,
    /// Names of the acts on packets that enforce it too, where no process is seen.
    #[serde(default)]
    pub backstops: Vec<String>,
    /// It matches only packets beyond this rate.
    #[serde(default)]
    pub rate: Option<RateMeta>,
    /// What it does, as `Action::name`.
    pub action: String,
    /// `enforce` or `audit`, after rule, policy and overrides were combined.
    pub mode: String,
    /// `block` or `pass`.
    pub on_fault: String,
    /// The rule demands a refusal before the act: loading fails where the host can't.
    pub requires_block: bool,
    /// Sentence template with `{field}` holes; empty: the agent's default sentence.
    pub message: String,
    /// It asks for what a container's runtime tells (`Fact::PLACES`), in a test, its scope or an exception.
    #[serde(default)]
    pub asks_of_container: bool,
    /// It asks for arguments, likewise.
    #[serde(default)]
    pub asks_of_arguments: bool,
    /// It asks for programs, ancestors or arguments, likewise.
    #[serde(default)]
    pub asks_of_programs: bool,
    /// The `when` expression as written, on one line.
    pub when: String,
    /// Exceptions, in the order written: `Clause::origin` is an index into this.
    pub exceptions: Vec<ExceptionMeta>,
    /// First is always told, the rest counted.
    pub throttle: Option<ThrottleMeta>,
    /// What must hold beside the clauses for the rule to be told, known in user space only. Empty: nothing. A rule whose
    /// alternatives ask for different things is here once for each, every time under its id.
    #[serde(default)]
    pub narrowed: Vec<ToldTest>,
}

/// One exception, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionMeta {
    /// Its name within the rule.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Last day it excuses, `YYYY-MM-DD`; empty: never expires.
    pub expires: String,
    /// Line, 1-based.
    pub line: u32,
}

/// `rate: { over, per, burst }`: packets of one peer that a rule lets be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateMeta {
    /// So many in a period.
    pub packets: u32,
    /// The period, seconds.
    pub per_seconds: u32,
    /// So many at once.
    pub burst: u32,
}

/// `throttle: { by, burst, per }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleMeta {
    /// Field names that make one subject.
    pub by: Vec<String>,
    /// Alerts told per period and subject.
    pub burst: u32,
    /// Period, seconds.
    pub per_seconds: u32,
}

/// One clause number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClauseMeta {
    /// Rule number.
    pub rule: u32,
    /// Index into the rule's exceptions, if it is one.
    pub exception: Option<u16>,
}

/// One list that was compiled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListMeta {
    /// Name.
    pub name: String,
    /// Feed file, empty for inline lists.
    pub file: String,
    /// Entries after parsing.
    pub entries: u64,
    /// SHA-256 of the feed file's bytes, hex; empty for inline lists.
    pub digest: String,
    /// Seconds after which a feed counts as stale; 0: never.
    pub stale_after_seconds: u64,
}

/// How bad a match is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a record.
    Info,
    /// Look when there is time.
    Low,
    /// Look today.
    Medium,
    /// Look now.
    High,
    /// Wake somebody.
    Critical,
}

impl Metadata {
    /// Rules as written: one that is told on several conditions has several numbers, and counts once.
    pub fn written(&self) -> usize {
        self.rules.chunk_by(|one, other| one.id == other.id).count()
    }
}

impl Severity {
    /// The word users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl RuleMeta {
    /// A rule of which nothing is known but its id: it tells, and is in force. For programs and tests that make up alerts;
    /// the compiler names every field.
    pub fn of(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            title: String::new(),
            policy: String::new(),
            file: String::new(),
            line: 1,
            severity: Severity::Medium,
            attack: Vec::new(),
            tags: Vec::new(),
            acts: Vec::new(),
            backstops: Vec::new(),
            rate: None,
            action: Self::action_name(Action::Alert),
            mode: Self::mode_name(Mode::Enforce),
            on_fault: "pass".to_owned(),
            requires_block: false,
            message: String::new(),
            asks_of_container: false,
            asks_of_arguments: false,
            asks_of_programs: false,
            when: String::new(),
            exceptions: Vec::new(),
            throttle: None,
            narrowed: Vec::new(),
        }
    }

    /// The name `Action` has in metadata and alerts.
    pub fn action_name(action: Action) -> String {
        action.name().to_owned()
    }

    /// The name `Mode` has in metadata and alerts.
    pub fn mode_name(mode: Mode) -> String {
        mode.name().to_owned()
    }
}
