//! Reads rules, and profiles, which are rules too: what a profile is `for` must meet one of its `allow`s, or the
//! `default` happens.

use std::rc::Rc;

use interdict_abi::ids::Action;

use super::{
    cases, expression, keys,
    policy::{Exception, Rate, Rule, Spanned, Throttle, WrittenAction},
    shape::{Fields, Shape},
    words::{attack, duration, identifier, is_date},
    yaml::Node,
};
use crate::{
    diag::{Code, Diagnostic},
    meta::Severity,
};

/// How a rule or a profile is written.
struct Form {
    what: &'static str,
    keys: &'static [&'static str],
    when: &'static str,
    action: &'static str,
}

/// Reads a rule.
pub(super) fn rule(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<Rule> {
    let form = Form { what: "a rule", keys: keys::RULE, when: "when", action: "action" };
    let before = shape.diagnostics.count();
    let fields = shape.fields(node, form.what, form.keys)?;
    let mut except = Vec::new();
    if let Some(node) = fields.find("except") {
        for node in shape.list(node, "`except`") {
            except.extend(exception(shape, node));
        }
    }
    Some(read(shape, &fields, &form, except, before))
}

/// Reads a profile.
pub(super) fn profile(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<Rule> {
    let form = Form { what: "a profile", keys: keys::PROFILE, when: "for", action: "default" };
    let before = shape.diagnostics.count();
    let fields = shape.fields(node, form.what, form.keys)?;
    let mut allowed = Vec::new();
    shape.required(&fields, "for");
    if let Some(node) = shape.required(&fields, "allow") {
        for node in shape.list(node, "`allow`") {
            allowed.extend(allow(shape, node));
        }
    }
    Some(read(shape, &fields, &form, allowed, before))
}

fn read(
    shape: &mut Shape<'_>,
    fields: &Fields<'_>,
    form: &Form,
    except: Vec<Exception>,
    before: usize,
) -> Rule {
    let id = shape.required(fields, "id").and_then(|node| shape.plain(node, "`id`"));
    if let Some(id) = &id {
        identifier(shape, id, "a rule's id", 64);
    }
    let title = shape.required(fields, "title").and_then(|node| shape.plain(node, "`title`"));
    let on = shape.required(fields, "on").map(|node| acts(shape, node)).unwrap_or_default();
    let when_text = fields.find(form.when).and_then(|node| shape.text(node, "`when`"));
    let flat = when_text.as_ref().map(|text| one_line(&text.text)).unwrap_or_default();
    let when = when_text.and_then(|text| expression::parse(&Rc::new(text), shape.diagnostics));
    let action = shape.required(fields, form.action).and_then(|node| action(shape, node));
    let mode = fields.find("mode").and_then(|node| shape.word(node, "mode", keys::MODES));
    let on_fault =
        fields.find("on_fault").and_then(|node| shape.word(node, "`on_fault`", keys::ON_FAULT));
    let means_to_lock_out = fields
        .find("means_to")
        .is_some_and(|node| shape.word(node, "`means_to`", &[("lock_out", ())]).is_some());
    let requires_block = fields.find("requires").is_some_and(|node| {
        let fields = shape.fields(node, "`requires`", &["block"]);
        let block = fields.and_then(|fields| fields.find("block"));
        block.and_then(|node| shape.truth(node, "`requires.block`")).unwrap_or(false)
    });
    let severity =
        fields.find("severity").and_then(|node| shape.word(node, "severity", keys::SEVERITIES));
    let attack = fields.find("attack").map(|node| attack(shape, node)).unwrap_or_default();
    let tags = fields.find("tags").map(|node| shape.plain_list(node, "`tags`"));
    let throttle = fields.find("throttle").and_then(|node| throttle(shape, node));
    let rate = fields.find("rate").and_then(|node| rate(shape, node));
    let message = fields.find("message").and_then(|node| shape.text(node, "`message`"));
    let mut tests = Vec::new();
    if let Some(node) = fields.find("tests") {
        for node in shape.list(node, "`tests`") {
            tests.extend(cases::case(shape, node));
        }
    }
    let broken = shape.diagnostics.count() > before;
    // What is missing has been said; the rest of the rule is checked all the same.
    let head = fields.head();
    let alert = WrittenAction { action: Action::Alert, errno: 1 };
    Rule {
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
        mode_overridden: None,
        means_to_lock_out,
        on_fault: on_fault.map(|on_fault| on_fault.value),
        requires_block,
        severity: severity.map_or(Severity::Medium, |severity| severity.value),
        attack,
        tags: tags.unwrap_or_default().into_iter().map(|tag| tag.value).collect(),
        throttle,
        rate,
        message,
        tests,
    }
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

/// Reads an exception.
pub(super) fn exception(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<Exception> {
    let fields = shape.fields(node, "an exception", keys::EXCEPTION)?;
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
        on: fields.find("on").map(|node| acts(shape, node)),
        when,
        owner: owner.map(|owner| owner.value).unwrap_or_default(),
        reason: reason.map(|reason| reason.value).unwrap_or_default(),
        expires,
    })
}

/// Reads what a profile allows.
fn allow(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<Exception> {
    let fields = shape.fields(node, "what is allowed", keys::ALLOW)?;
    let name = shape.required(&fields, "name").and_then(|node| shape.plain(node, "`name`"))?;
    identifier(shape, &name, "a name", 63);
    let when = shape
        .required(&fields, "when")
        .and_then(|node| shape.text(node, "`when`"))
        .and_then(|text| expression::parse(&Rc::new(text), shape.diagnostics));
    Some(Exception {
        name,
        on: fields.find("on").map(|node| acts(shape, node)),
        when,
        owner: String::new(),
        reason: "allowed by the profile".to_owned(),
        expires: None,
    })
}

fn action(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<Spanned<WrittenAction>> {
    const EPERM: u8 = 1;
    if node.kind() == "text" {
        let action = shape.word(node, "action", keys::ACTIONS)?;
        return Some(Spanned {
            value: WrittenAction { action: action.value, errno: EPERM },
            span: action.span,
        });
    }
    let fields = shape.fields(node, "`action`", &["alert", "block", "kill"])?;
    let mut found = None;
    for (word, action) in keys::ACTIONS.iter().copied() {
        let Some(node) = fields.find(word) else { continue };
        if found.is_some() {
            shape.wrong(node, "`action`", "one action only");
            return None;
        }
        let inner = shape.fields(node, "an action", &["errno", "signal"])?;
        let mut errno = EPERM;
        if let Some(node) = inner.find("errno") {
            errno = shape.word(node, "errno", keys::ERRNOS)?.value;
        }
        if let Some(node) = inner.find("signal") {
            shape.word(node, "signal", keys::SIGNALS)?;
        }
        found = Some(Spanned { value: WrittenAction { action, errno }, span: node.span });
    }
    if found.is_none() {
        shape.wrong(node, "`action`", "`alert`, `block` or `kill`");
    }
    found
}

fn rate(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<Rate> {
    let fields = shape.fields(node, "`rate`", keys::RATE)?;
    let span = fields.head();
    let over = shape.required(&fields, "over")?;
    let over = shape.number(over, "`rate.over`")?;
    let per = shape.required(&fields, "per")?;
    let per_seconds = duration(shape, per)?;
    let burst = fields.find("burst").and_then(|node| shape.number(node, "`rate.burst`"));
    let burst = burst.map_or(over.value, |burst| burst.value);
    if over.value == 0 || burst == 0 {
        shape.diagnostics.add(
            Diagnostic::error(Code::Pointless, over.span, "a rate of 0 would let no packet be")
                .help("without `rate` the rule is about every packet"),
        );
        return None;
    }
    Some(Rate { span, packets: over.value, per_seconds, burst })
}

fn throttle(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<Throttle> {
    let fields = shape.fields(node, "`throttle`", keys::THROTTLE)?;
    let by = fields.find("by").map(|node| shape.plain_list(node, "`throttle.by`"));
    let burst = shape.required(&fields, "burst");
    let burst = burst.and_then(|node| shape.number(node, "`throttle.burst`"));
    let per = shape.required(&fields, "per");
    let per_seconds = per.and_then(|node| duration(shape, node));
    let burst = burst?;
    if burst.value == 0 {
        shape.diagnostics.add(
            Diagnostic::error(Code::Pointless, burst.span, "a burst of 0 would tell nothing")
                .help("the first alert is always told: the smallest burst is 1"),
        );
        return None;
    }
    Some(Throttle { by: by.unwrap_or_default(), burst: burst.value, per_seconds: per_seconds? })
}
