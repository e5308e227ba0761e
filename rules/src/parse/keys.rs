//! The keys and words of policy files: one table for the reader and for the schema.

use interdict_abi::ids::Action;

use super::policy::WrittenMode;
use crate::{ir::OnFault, meta::Severity};

/// Keys of every document.
pub const DOCUMENT: &[&str] = &["apiVersion", "kind", "metadata", "spec"];

/// Keys of `metadata`. Kubernetes adds its own.
pub const METADATA: &[&str] = &["name", "labels", "annotations", "namespace"];

/// Keys of the `spec` of a policy.
pub const SPEC: &[&str] = &["requires", "mode", "scope", "lists", "macros", "rules", "profiles"];

/// Keys of `scope`.
pub const SCOPE: &[&str] = &["host", "containers", "k8s", "container"];

/// Keys of `scope.k8s`.
pub const SCOPE_K8S: &[&str] = &["namespaces", "labels", "exclude_namespaces"];

/// Keys of `scope.container`.
pub const SCOPE_CONTAINER: &[&str] = &["image", "name"];

/// Keys of a list.
pub const LIST: &[&str] = &["type", "items", "feed"];

/// Keys of `feed`.
pub const FEED: &[&str] = &["file", "max", "stale"];

/// Keys of `stale`.
pub const STALE: &[&str] = &["after", "then"];

/// Keys of a rule.
pub const RULE: &[&str] = &[
    "id",
    "title",
    "on",
    "when",
    "except",
    "action",
    "mode",
    "on_fault",
    "requires",
    "means_to",
    "severity",
    "attack",
    "tags",
    "throttle",
    "rate",
    "message",
    "tests",
    "description",
    "references",
];

/// Keys of a profile.
pub const PROFILE: &[&str] = &[
    "id",
    "title",
    "on",
    "for",
    "allow",
    "default",
    "mode",
    "on_fault",
    "requires",
    "means_to",
    "severity",
    "attack",
    "tags",
    "throttle",
    "message",
    "tests",
    "description",
    "references",
];

/// Keys of an exception.
pub const EXCEPTION: &[&str] = &["name", "on", "when", "owner", "reason", "expires"];

/// Keys of what a profile allows.
pub const ALLOW: &[&str] = &["name", "on", "when"];

/// Keys of `rate`.
pub const RATE: &[&str] = &["over", "per", "burst"];

/// Keys of `throttle`.
pub const THROTTLE: &[&str] = &["by", "burst", "per"];

/// Keys of a test.
pub const CASE: &[&str] = &["name", "event", "expect", "rules", "would", "excepted_by"];

/// Keys of an event that are not acts.
pub const CONTEXT: &[&str] =
    &["process", "target", "container", "k8s", "user", "host", "dns", "unknown"];

/// Keys of the `spec` of an override.
pub const OVERRIDES: &[&str] = &["overrides", "lists"];

/// Keys of one override.
pub const OVERRIDE: &[&str] = &["select", "set", "except"];

/// Keys of `select`.
pub const SELECT: &[&str] = &["id", "policy", "tag", "attack"];

/// Keys of `set`.
pub const SET: &[&str] = &["mode", "severity"];

/// Keys of a change to a list.
pub const LIST_OVERRIDE: &[&str] = &["add", "remove"];

/// `mode`.
pub const MODES: &[(&str, WrittenMode)] =
    &[("off", WrittenMode::Off), ("audit", WrittenMode::Audit), ("enforce", WrittenMode::Enforce)];

/// `severity`.
pub const SEVERITIES: &[(&str, Severity)] = &[
    ("info", Severity::Info),
    ("low", Severity::Low),
    ("medium", Severity::Medium),
    ("high", Severity::High),
    ("critical", Severity::Critical),
];

/// `action`.
pub const ACTIONS: &[(&str, Action)] =
    &[("alert", Action::Alert), ("block", Action::Block), ("kill", Action::Kill)];

/// `expect` and `would`.
pub const VERDICTS: &[(&str, Action)] = &[
    ("pass", Action::Pass),
    ("alert", Action::Alert),
    ("block", Action::Block),
    ("kill", Action::Kill),
];

/// `on_fault`.
pub const ON_FAULT: &[(&str, OnFault)] = &[("block", OnFault::Block), ("pass", OnFault::Pass)];

/// `errno` of a refused act.
pub const ERRNOS: &[(&str, u8)] =
    &[("EPERM", 1), ("EACCES", 13), ("ENOENT", 2), ("ECONNREFUSED", 111)];

/// `signal` of a kill: nothing else is certain to end a process.
pub const SIGNALS: &[(&str, ())] = &[("KILL", ()), ("SIGKILL", ())];
