//! Reads overrides and applies them: what a site changes about rules and lists it did not write.
//!
//! Applied before anything is checked, so that a changed rule is checked as it will be. An override that selects
//! nothing is an error: the rule it was meant for has another name now, and runs unchanged.

use std::rc::Rc;

use super::{
    Parsed, document, keys, list,
    policy::{ListOverride, Overrides, Rule, RuleOverride, Selection, Spanned},
    rule,
    shape::{Fields, Shape},
    yaml::Node,
};
use crate::diag::{Code, Diagnostic, Diagnostics, closest};

/// Reads a document of `kind: Override`.
pub(super) fn document(shape: &mut Shape<'_>, document: &Fields<'_>) -> Option<Overrides> {
    let name = document::name(shape, document);
    let spec = shape.required(document, "spec")?;
    let fields = shape.fields(spec, "`spec`", keys::OVERRIDES)?;
    let mut rules = Vec::new();
    if let Some(node) = fields.find("overrides") {
        for node in shape.list(node, "`overrides`") {
            rules.extend(of_rules(shape, node));
        }
    }
    let mut lists = Vec::new();
    if let Some(node) = fields.find("lists") {
        for (key, node) in shape.mapping(node, "`lists`")? {
            let name = Spanned { value: key.text.clone(), span: key.span };
            let Some(fields) = shape.fields(node, "a change to a list", keys::LIST_OVERRIDE) else {
                continue;
            };
            let mut items =
                |key| fields.find(key).map(|node| list::items(shape, node)).unwrap_or_default();
            lists.push(ListOverride { name, add: items("add"), remove: items("remove") });
        }
    }
    Some(Overrides { name: name?, rules, lists })
}

fn of_rules(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<RuleOverride> {
    let fields = shape.fields(node, "an override", keys::OVERRIDE)?;
    let select = shape.required(&fields, "select")?;
    let selected = shape.fields(select, "`select`", keys::SELECT)?;
    let mut list = |key: &str| {
        let node = selected.find(key);
        node.map(|node| shape.plain_list(node, &format!("`{key}`"))).unwrap_or_default()
    };
    let select = Selection {
        span: select.span,
        ids: list("id"),
        policies: list("policy"),
        tags: list("tag"),
        attack: list("attack"),
    };
    let (mut mode, mut severity) = (None, None);
    if let Some(node) = fields.find("set")
        && let Some(set) = shape.fields(node, "`set`", keys::SET)
    {
        mode = set.find("mode").and_then(|node| shape.word(node, "mode", keys::MODES));
        severity =
            set.find("severity").and_then(|node| shape.word(node, "severity", keys::SEVERITIES));
    }
    let mut except = Vec::new();
    if let Some(node) = fields.find("except") {
        for node in shape.list(node, "`except`") {
            except.extend(rule::exception(shape, node));
        }
    }
    Some(RuleOverride { select, mode, severity, except })
}

impl Selection {
    fn is_empty(&self) -> bool {
        self.ids.is_empty()
            && self.policies.is_empty()
            && self.tags.is_empty()
            && self.attack.is_empty()
    }

    fn selects(&self, policy: &str, rule: &Rule) -> bool {
        let any = |wanted: &[Spanned<String>], meets: &dyn Fn(&str) -> bool| {
            wanted.is_empty() || wanted.iter().any(|wanted| meets(&wanted.value))
        };
        any(&self.ids, &|id| rule.id.value == id)
            && any(&self.policies, &|name| policy == name)
            && any(&self.tags, &|tag| rule.tags.iter().any(|own| own == tag))
            && any(&self.attack, &|technique| {
                rule.attack.iter().any(|own| {
                    let rest = own.strip_prefix(technique);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                })
            })
    }
}

/// Applies all overrides.
pub(super) fn apply(parsed: &mut Parsed, diagnostics: &mut Diagnostics) {
    for overrides in std::mem::take(&mut parsed.overrides) {
        for one in &overrides.rules {
            apply_to_rules(one, parsed, diagnostics);
        }
        for one in &overrides.lists {
            apply_to_list(one, parsed, diagnostics);
        }
        parsed.overrides.push(overrides);
    }
}

fn apply_to_rules(one: &RuleOverride, parsed: &mut Parsed, diagnostics: &mut Diagnostics) {
    if one.select.is_empty() {
        diagnostics.add(
            Diagnostic::error(Code::SelectsNothing, one.select.span, "the selection is empty")
                .label("says nothing about which rules are meant")
                .help("name rules by `id`, `policy`, `tag` or `attack`"),
        );
        return;
    }
    let ids: Vec<String> = parsed
        .policies
        .iter()
        .flat_map(|policy| &policy.rules)
        .map(|rule| rule.id.value.clone())
        .collect();
    for id in &one.select.ids {
        if !ids.contains(&id.value) {
            diagnostics.add(
                Diagnostic::error(
                    Code::SelectsNothing,
                    id.span,
                    format!("there is no rule `{}`", id.value),
                )
                .label("nothing is overridden")
                .maybe_help(
                    closest(&id.value, ids.iter().map(String::as_str))
                        .map(|meant| format!("did you mean `{meant}`?")),
                ),
            );
            return;
        }
    }
    let mut count = 0;
    for policy in &mut parsed.policies {
        for rule in &mut policy.rules {
            if !one.select.selects(&policy.name.value, rule) {
                continue;
            }
            count += 1;
            if let Some(mode) = &one.mode {
                if let Some(earlier) = &rule.mode_overridden
                    && earlier.value != mode.value
                {
                    diagnostics.add(
                        Diagnostic::error(
                            Code::OverridesDisagree,
                            mode.span,
                            format!("two overrides set the mode of `{}`", rule.id.value),
                        )
                        .label("to this")
                        .related(earlier.span, "and to that"),
                    );
                }
                rule.mode_overridden = Some(mode.clone());
            }
            if let Some(severity) = &one.severity {
                rule.severity = severity.value;
            }
            rule.except.extend(one.except.iter().cloned());
        }
    }
    if count == 0 {
        diagnostics.add(
            Diagnostic::error(
                Code::SelectsNothing,
                one.select.span,
                "no rule meets this selection",
            )
            .label("nothing is overridden")
            .help("a rule must meet every part that is given; try one part alone"),
        );
    }
}

fn apply_to_list(one: &ListOverride, parsed: &mut Parsed, diagnostics: &mut Diagnostics) {
    let names: Vec<String> = parsed
        .policies
        .iter()
        .flat_map(|policy| &policy.lists)
        .map(|list| list.name.value.clone())
        .collect();
    let mut lists = parsed.policies.iter_mut().flat_map(|policy| &mut policy.lists);
    let Some(list) = lists.find(|list| list.name.value == one.name.value) else {
        diagnostics.add(
            Diagnostic::error(
                Code::UnknownList,
                one.name.span,
                format!("there is no list `{}`", one.name.value),
            )
            .label("nothing is overridden")
            .maybe_help(
                closest(&one.name.value, names.iter().map(String::as_str))
                    .map(|meant| format!("did you mean `{meant}`?")),
            ),
        );
        return;
    };
    for removed in &one.remove {
        let before = list.items.len();
        list.items.retain(|item| item.text != removed.text);
        if list.items.len() == before {
            diagnostics.add(
                Diagnostic::error(
                    Code::SelectsNothing,
                    removed.span,
                    format!("`{}` is not in the list `{}`", removed.text, one.name.value),
                )
                .label("nothing to remove")
                .related(list.name.span, "the list"),
            );
        }
    }
    list.items.extend(one.add.iter().cloned());
}
