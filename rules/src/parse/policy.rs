//! One document of `kind: Policy` as it was written.

use std::rc::Rc;

use super::{
    Parsed,
    cases::{self, Case},
    expression::{self, Expression},
    shape::{Fields, Shape},
    source::{FileId, Span},
    text::Text,
    yaml::Node,
};
use crate::{
    diag::{Code, Diagnostic, Diagnostics},
    meta::Severity,
};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Processes of the host.
    pub host: bool,
    /// Processes in containers.
    pub containers: bool,
    /// Where it is said.
    pub span: Option<Span>,
}

/// A named list.
#[derive(Debug)]
pub struct List {
    /// Its name.
    pub name: Spanned<String>,
    /// What it holds.
    pub kind: Spanned<ListKind>,
    /// Written items.
    pub items: Vec<expression::Literal>,
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
    pub action: interdict_abi::ids::Action,
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
    /// `on_fault`: whether an unknown fact counts as a match. `None`: not said.
    pub on_fault: Option<crate::ir::OnFault>,
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
    /// `message`.
    pub message: Option<Text>,
    /// `tests`.
    pub tests: Vec<Case>,
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

/// One exception.
#[derive(Debug)]
pub struct Exception {
    /// Its name.
    pub name: Spanned<String>,
    /// When it excuses. `None` when it could not be read.
    pub when: Option<Expression>,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Last day, `YYYY-MM-DD`.
    pub expires: Option<Spanned<String>>,
}

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
    let keys = ["apiVersion", "kind", "metadata", "spec"];
    let Some(fields) = shape.fields(node, "a document", &keys) else { return };
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
    let kinds = [("Policy", DocumentKind::Policy), ("Cases", DocumentKind::Cases)];
    let Some(kind) = shape.word(kind, "kind of document", &kinds) else { return };
    match kind.value {
        DocumentKind::Policy => {
            if let Some(policy) = policy(&mut shape, &fields) {
                parsed.policies.push(policy);
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
    Cases,
}

const MODES: &[(&str, WrittenMode)] =
    &[("off", WrittenMode::Off), ("audit", WrittenMode::Audit), ("enforce", WrittenMode::Enforce)];

fn policy(shape: &mut Shape<'_>, document: &Fields<'_>) -> Option<Policy> {
    let metadata = shape.required(document, "metadata");
    let name = metadata.and_then(|node| {
        let keys = ["name", "labels", "annotations", "namespace"];
        let fields = shape.fields(node, "`metadata`", &keys)?;
        let name = shape.required(&fields, "name")?;
        let name = shape.plain(name, "`metadata.name`")?;
        identifier(shape, &name, "a policy's name", 63).then_some(name)
    });
    let spec = shape.required(document, "spec")?;
    let keys = ["requires", "mode", "scope", "lists", "macros", "rules"];
    let fields = shape.fields(spec, "`spec`", &keys)?;
    let engine = fields.find("requires").and_then(|node| {
        let fields = shape.fields(node, "`requires`", &["engine"])?;
        shape.optional(&fields, "engine")
    });
    let mode = fields.find("mode").and_then(|node| shape.word(node, "mode", MODES));
    let scope = scope(shape, &fields);
    let mut lists = Vec::new();
    if let Some(node) = fields.find("lists") {
        for (key, node) in shape.mapping(node, "`lists`")? {
            let name = Spanned { value: key.text.clone(), span: key.span };
            identifier(shape, &name, "a list's name", 63);
            lists.extend(list(shape, name, node));
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
            rules.extend(rule(shape, node));
        }
    }
    let name = name?;
    Some(Policy { file: name.span.file, name, engine, mode, scope, lists, macros, rules })
}

fn scope(shape: &mut Shape<'_>, fields: &Fields<'_>) -> Scope {
    let mut scope = Scope { host: true, containers: true, span: None };
    let Some(node) = fields.find("scope") else { return scope };
    scope.span = Some(node.span);
    let keys = ["host", "containers", "k8s", "container"];
    let Some(inner) = shape.fields(node, "`scope`", &keys) else { return scope };
    for (key, place) in [("host", &mut scope.host), ("containers", &mut scope.containers)] {
        if let Some(node) = inner.find(key)
            && let Some(value) = shape.truth(node, &format!("`scope.{key}`"))
        {
            *place = value;
        }
    }
    for key in ["k8s", "container"] {
        if let Some(span) = inner.key_span(key) {
            shape.diagnostics.add(
                Diagnostic::error(
                    Code::ScopeNotPossible,
                    span,
                    format!("a scope by `{key}` cannot be enforced by this version"),
                )
                .label("not known in the kernel")
                .help("use `scope: { host: false, containers: true }` to mean all containers"),
            );
        }
    }
    if !scope.host && !scope.containers {
        shape.diagnostics.add(
            Diagnostic::error(Code::ScopeNotPossible, node.span, "this scope holds nothing at all")
                .label("neither host nor containers")
                .help("to switch a policy off say `mode: off`"),
        );
    }
    scope
}

fn list(shape: &mut Shape<'_>, name: Spanned<String>, node: &Rc<Node>) -> Option<List> {
    let fields = shape.fields(node, "a list", &["type", "items", "feed"])?;
    let kind = shape.required(&fields, "type")?;
    let kind = shape.word(kind, "type of list", ListKind::ALL)?;
    let mut items = Vec::new();
    if let Some(node) = fields.find("items") {
        for item in shape.list(node, "`items`") {
            let Some(text) = shape.text(item, "an item") else { continue };
            items.push(expression::Literal {
                span: text.span,
                text: text.text.clone(),
                form: expression::Form::Quoted,
                offset: 0,
                source: Rc::new(text),
            });
        }
    }
    let feed = fields.find("feed").and_then(|node| feed(shape, node));
    if items.is_empty() && fields.find("feed").is_none() {
        shape.diagnostics.add(
            Diagnostic::error(
                Code::Pointless,
                name.span,
                format!("the list `{}` is empty", name.value),
            )
            .label("neither `items` nor `feed`")
            .help("a test `in` an empty list is never true; give it items or remove it"),
        );
    }
    Some(List { name, kind, items, feed })
}

fn feed(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<FeedSource> {
    let fields = shape.fields(node, "`feed`", &["file", "max", "stale"])?;
    let file = shape.required(&fields, "file")?;
    let file = shape.plain(file, "`feed.file`")?;
    let max = fields.find("max").and_then(|node| shape.number(node, "`feed.max`"));
    let mut stale_after_seconds = 0;
    if let Some(node) = fields.find("stale")
        && let Some(stale) = shape.fields(node, "`stale`", &["after", "then"])
    {
        if let Some(after) = shape.required(&stale, "after")
            && let Some(seconds) = duration(shape, after)
        {
            stale_after_seconds = u64::from(seconds);
        }
        if let Some(then) = stale.find("then") {
            shape.word(then, "answer to a stale feed", &[("alert", ())]);
        }
    }
    Some(FeedSource { file, max: max.map_or(1_000_000, |max| max.value), stale_after_seconds })
}

const RULE_KEYS: &[&str] = &[
    "id",
    "title",
    "on",
    "when",
    "except",
    "action",
    "mode",
    "on_fault",
    "requires",
    "severity",
    "attack",
    "tags",
    "throttle",
    "message",
    "tests",
    "description",
    "references",
];

fn rule(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<Rule> {
    let before_all = shape.diagnostics.count();
    let fields = shape.fields(node, "a rule", RULE_KEYS)?;
    let id = shape.required(&fields, "id").and_then(|node| shape.plain(node, "`id`"));
    if let Some(id) = &id {
        identifier(shape, id, "a rule's id", 64);
    }
    let title = shape.required(&fields, "title").and_then(|node| shape.plain(node, "`title`"));
    let on = shape.required(&fields, "on").map(|node| acts(shape, node)).unwrap_or_default();
    let when_text = fields.find("when").and_then(|node| shape.text(node, "`when`"));
    let flat = when_text.as_ref().map(|text| one_line(&text.text)).unwrap_or_default();
    let when = when_text.and_then(|text| expression::parse(&Rc::new(text), shape.diagnostics));
    let mut except = Vec::new();
    if let Some(node) = fields.find("except") {
        for node in shape.list(node, "`except`") {
            except.extend(exception(shape, node));
        }
    }
    let action = shape.required(&fields, "action").and_then(|node| action(shape, node));
    let mode = fields.find("mode").and_then(|node| shape.word(node, "mode", MODES));
    let on_fault = fields.find("on_fault").and_then(|node| {
        let words = [("block", crate::ir::OnFault::Block), ("pass", crate::ir::OnFault::Pass)];
        shape.word(node, "`on_fault`", &words)
    });
    let requires_block = fields.find("requires").is_some_and(|node| {
        let fields = shape.fields(node, "`requires`", &["block"]);
        let block = fields.and_then(|fields| fields.find("block"));
        block.and_then(|node| shape.truth(node, "`requires.block`")).unwrap_or(false)
    });
    let severity = fields.find("severity").and_then(|node| {
        let words = [
            ("info", Severity::Info),
            ("low", Severity::Low),
            ("medium", Severity::Medium),
            ("high", Severity::High),
            ("critical", Severity::Critical),
        ];
        shape.word(node, "severity", &words)
    });
    let attack = fields.find("attack").map(|node| attack(shape, node)).unwrap_or_default();
    let tags = fields.find("tags").map(|node| shape.plain_list(node, "`tags`"));
    let throttle = fields.find("throttle").and_then(|node| throttle(shape, node));
    let message = fields.find("message").and_then(|node| shape.text(node, "`message`"));
    let mut tests = Vec::new();
    if let Some(node) = fields.find("tests") {
        for node in shape.list(node, "`tests`") {
            tests.extend(cases::case(shape, node));
        }
    }
    let broken = shape.diagnostics.count() > before_all;
    // What is missing has been said; the rest of the rule is checked all the same.
    let head = fields.head();
    let alert = WrittenAction { action: interdict_abi::ids::Action::Alert, errno: 1 };
    Some(Rule {
        span: head,
        id: id.unwrap_or(Spanned { value: String::new(), span: head }),
        title: title.map(|title| title.value).unwrap_or_default(),
        on,
        when,
        when_text: flat,
        broken,
        except,
        action: action.unwrap_or(Spanned { value: alert, span: head }),
        mode,
        on_fault: on_fault.map(|on_fault| on_fault.value),
        requires_block,
        severity: severity.map_or(Severity::Medium, |severity| severity.value),
        attack,
        tags: tags.unwrap_or_default().into_iter().map(|tag| tag.value).collect(),
        throttle,
        message,
        tests,
    })
}

fn acts(shape: &mut Shape<'_>, node: &Rc<Node>) -> Vec<Spanned<String>> {
    let acts = shape.plain_list(node, "`on`");
    if acts.is_empty() && node.kind() == "a list" {
        shape.diagnostics.add(
            Diagnostic::error(Code::MissingKey, node.span, "the rule is about no act")
                .label("`on` is empty"),
        );
    }
    acts
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn exception(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<Exception> {
    let keys = ["name", "when", "owner", "reason", "expires"];
    let fields = shape.fields(node, "an exception", &keys)?;
    let name = shape.required(&fields, "name").and_then(|node| shape.plain(node, "`name`"));
    if let Some(name) = &name {
        identifier(shape, name, "an exception's name", 63);
    }
    let when = shape
        .required(&fields, "when")
        .and_then(|node| shape.text(node, "`when`"))
        .and_then(|text| expression::parse(&Rc::new(text), shape.diagnostics));
    let owner = shape.required(&fields, "owner").and_then(|node| shape.plain(node, "`owner`"));
    let reason = shape.required(&fields, "reason").and_then(|node| shape.plain(node, "`reason`"));
    let expires = shape.optional(&fields, "expires").filter(|date| {
        let right = is_date(&date.value);
        if !right {
            shape.diagnostics.add(
                Diagnostic::error(
                    Code::WrongDate,
                    date.span,
                    format!("`{}` is not a date", date.value),
                )
                .label("expected YYYY-MM-DD"),
            );
        }
        right
    });
    Some(Exception {
        name: name?,
        when,
        owner: owner.map(|owner| owner.value).unwrap_or_default(),
        reason: reason.map(|reason| reason.value).unwrap_or_default(),
        expires,
    })
}

fn action(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<Spanned<WrittenAction>> {
    use interdict_abi::ids::Action;
    const EPERM: u8 = 1;
    let words = [("alert", Action::Alert), ("block", Action::Block), ("kill", Action::Kill)];
    if node.kind() == "text" {
        let action = shape.word(node, "action", &words)?;
        return Some(Spanned {
            value: WrittenAction { action: action.value, errno: EPERM },
            span: action.span,
        });
    }
    let fields = shape.fields(node, "`action`", &["alert", "block", "kill"])?;
    let mut found = None;
    for (word, action) in words {
        let Some(node) = fields.find(word) else { continue };
        if found.is_some() {
            shape.wrong(node, "`action`", "one action only");
            return None;
        }
        let inner = shape.fields(node, "an action", &["errno", "signal"])?;
        let mut errno = EPERM;
        if let Some(node) = inner.find("errno") {
            let names = [("EPERM", 1u8), ("EACCES", 13), ("ENOENT", 2), ("ECONNREFUSED", 111)];
            errno = shape.word(node, "errno", &names)?.value;
        }
        if let Some(node) = inner.find("signal") {
            shape.word(node, "signal", &[("KILL", ()), ("SIGKILL", ())])?;
        }
        found = Some(Spanned { value: WrittenAction { action, errno }, span: node.span });
    }
    if found.is_none() {
        shape.wrong(node, "`action`", "`alert`, `block` or `kill`");
    }
    found
}

fn attack(shape: &mut Shape<'_>, node: &Rc<Node>) -> Vec<String> {
    let mut ids = Vec::new();
    for id in shape.plain_list(node, "`attack`") {
        let (technique, sub) = match id.value.split_once('.') {
            Some((technique, sub)) => (technique, Some(sub)),
            None => (id.value.as_str(), None),
        };
        let digits = |text: &str, count: usize| {
            text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let right = technique.strip_prefix('T').is_some_and(|number| digits(number, 4))
            && sub.is_none_or(|sub| digits(sub, 3));
        if right {
            ids.push(id.value);
        } else {
            shape.diagnostics.add(
                Diagnostic::error(
                    Code::WrongAttack,
                    id.span,
                    format!("`{}` is not an ATT&CK technique", id.value),
                )
                .label("expected an id such as `T1003` or `T1003.008`"),
            );
        }
    }
    ids
}

fn throttle(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<Throttle> {
    let fields = shape.fields(node, "`throttle`", &["by", "burst", "per"])?;
    let by = fields.find("by").map(|node| shape.plain_list(node, "`throttle.by`"));
    let burst = shape.required(&fields, "burst")?;
    let burst = shape.number(burst, "`throttle.burst`")?;
    let per = shape.required(&fields, "per")?;
    let per_seconds = duration(shape, per)?;
    if burst.value == 0 {
        shape.diagnostics.add(
            Diagnostic::error(Code::Pointless, burst.span, "a burst of 0 would tell nothing")
                .help("the first alert is always told: the smallest burst is 1"),
        );
        return None;
    }
    Some(Throttle { by: by.unwrap_or_default(), burst: burst.value, per_seconds })
}

/// Seconds of `30s`, `5m`, `48h`, `7d`.
fn duration(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<u32> {
    let text = shape.plain(node, "a duration")?;
    let seconds = text.value.char_indices().last().and_then(|(at, unit)| {
        let factor = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        text.value[..at].parse::<u32>().ok()?.checked_mul(factor)
    });
    if seconds.is_none_or(|seconds| seconds == 0) {
        shape.diagnostics.add(
            Diagnostic::error(
                Code::WrongDate,
                text.span,
                format!("`{}` is not a duration", text.value),
            )
            .label("expected a number and a unit: `30s`, `5m`, `48h`, `7d`"),
        );
        return None;
    }
    seconds
}

fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut number = |digits: usize, low: u32, high: u32| {
        parts
            .next()
            .filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|part| part.parse::<u32>().ok())
            .is_some_and(|number| (low..=high).contains(&number))
    };
    number(4, 1970, 9999) && number(2, 1, 12) && number(2, 1, 31) && parts.next().is_none()
}

/// Checks a name's characters, and complains.
fn identifier(shape: &mut Shape<'_>, name: &Spanned<String>, what: &str, longest: usize) -> bool {
    let right = !name.value.is_empty()
        && name.value.len() <= longest
        && name.value.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && name
            .value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    let reserved = ["and", "or", "not", "in", "exists", "true", "false"];
    if !right || reserved.contains(&name.value.as_str()) {
        shape.diagnostics.add(
            Diagnostic::error(
                Code::WrongName,
                name.span,
                format!("`{}` is not usable as {what}", name.value),
            )
            .label(format!("letters, digits, `-`, `_` and `.`, at most {longest}")),
        );
        return false;
    }
    true
}
