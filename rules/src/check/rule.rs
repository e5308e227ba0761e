//! One rule: its acts, its action, its mode, and whether each of its tests can be decided for each of its acts.

use interdict_abi::ids::{Act, Action, Family, Mode};

use super::{
    CheckedException, CheckedRule, Environment, Leaf, Predicate,
    decidable::{decided_acts, resolves},
    expression::Checker,
    names::Names,
    scope::scoped,
    template::{subject, template},
};
use crate::{
    diag::{Code, Diagnostic, Diagnostics, closest},
    field,
    ir::OnFault,
    parse::policy::{Exception, Policy, Rule, Spanned, WrittenMode},
};

/// Checks a rule. `None`: it is off, or something is wrong with it, which has been said.
pub(super) fn check<'p>(
    policy: &'p Policy,
    rule: &'p Rule,
    names: &Names<'p>,
    environment: Environment<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<CheckedRule<'p>> {
    let before = diagnostics.count();
    let written = acts(rule, diagnostics);
    let mut checker = Checker { names, diagnostics, unfolding: Vec::new(), salvaged: Vec::new() };
    let when = match &rule.when {
        Some(expression) => checker.predicate(expression),
        None => Some(Predicate::All(Vec::new())),
    };
    let salvaged = std::mem::take(&mut checker.salvaged);
    let mut exceptions: Vec<(u16, &Exception, Predicate)> = Vec::new();
    for (index, exception) in rule.except.iter().enumerate() {
        let predicate =
            exception.when.as_ref().and_then(|expression| checker.predicate(expression));
        let expired = expired(exception, environment, checker.diagnostics);
        if let Some(predicate) = predicate
            && !expired
        {
            exceptions.push((u16::try_from(index).unwrap_or(u16::MAX), exception, predicate));
        }
    }
    names_once(rule, diagnostics);

    let mut late = Vec::new();
    let of_exceptions = exceptions.iter().map(|(_, _, predicate)| predicate);
    for predicate in when.iter().chain(&salvaged).chain(of_exceptions) {
        predicate.each(&mut |leaf| late.extend(leaf.field.later()));
    }
    let final_act = |act: Act| act.later().filter(|later| late.contains(later)).unwrap_or(act);
    let mut acts = Vec::new();
    let tells = rule.action.value.action == Action::Alert;
    for act in &written {
        let kernel_act = final_act(act.value);
        for part in when.iter().chain(&salvaged) {
            part.each(&mut |leaf| {
                resolves(leaf, (act.value, kernel_act), tells, None, diagnostics);
            });
        }
        action(rule, kernel_act, act, diagnostics);
        scope(policy, act, diagnostics);
        acts.push(Spanned { value: kernel_act, span: act.span });
    }
    let exceptions: Vec<CheckedException> = exceptions
        .into_iter()
        .map(|(index, exception, when)| {
            let excused = excused_acts(exception, &written, diagnostics);
            for act in &excused {
                let name = &exception.name.value;
                when.each(&mut |leaf| {
                    resolves(leaf, (*act, final_act(*act)), tells, Some(name), diagnostics);
                });
            }
            let acts = excused.into_iter().map(final_act).collect();
            CheckedException { index, acts, when }
        })
        .collect();
    if let Some(message) = &rule.message {
        template(message, &acts, diagnostics);
    }
    if let Some(throttle) = &rule.throttle {
        for word in &throttle.by {
            subject(word, &acts, diagnostics);
        }
    }
    if let Some(rate) = &rule.rate
        && let Some(act) = acts.iter().find(|act| act.value.family() != Family::Packet)
    {
        diagnostics.add(
            Diagnostic::error(
                Code::ActionNotPossible,
                rate.span,
                format!("`{}` has no rate: packets have", act.value.name()),
            )
            .label("not possible here")
            .related(act.span, "this act")
            .help("make a rule of its own for the acts of `packet`"),
        );
    }
    let mode = mode(policy, rule, diagnostics)?;
    let when = when?;
    if rule.broken || diagnostics.count() > before && diagnostics.failed() {
        return None;
    }
    let on_fault = rule.on_fault.unwrap_or(match rule.action.value.action {
        Action::Block | Action::Kill => OnFault::Block,
        Action::Alert | Action::Pass => OnFault::Pass,
    });
    Some(CheckedRule {
        rule,
        policy,
        when: scoped(policy, when, &acts, diagnostics),
        acts,
        mode,
        on_fault,
        exceptions,
    })
}

impl Predicate {
    /// Calls `visit` for every leaf.
    pub(crate) fn each(&self, visit: &mut impl FnMut(&Leaf)) {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                for part in parts {
                    part.each(visit);
                }
            }
            Self::Not(inner) => inner.each(visit),
            Self::Leaf(leaf) => visit(leaf),
        }
    }
}

/// The acts an exception excuses.
fn excused_acts(
    exception: &Exception,
    of_rule: &[Spanned<Act>],
    diagnostics: &mut Diagnostics,
) -> Vec<Act> {
    let Some(on) = &exception.on else { return of_rule.iter().map(|act| act.value).collect() };
    let mut acts = Vec::new();
    for word in on {
        match of_rule.iter().find(|act| act.value.name() == word.value) {
            Some(act) => acts.push(act.value),
            None => diagnostics.add(
                Diagnostic::error(
                    Code::UnknownAct,
                    word.span,
                    format!("the rule is not about `{}`", word.value),
                )
                .label("not among the acts of the rule"),
            ),
        }
    }
    acts
}

fn names_once(rule: &Rule, diagnostics: &mut Diagnostics) {
    let mut seen = std::collections::HashMap::new();
    for exception in &rule.except {
        super::names::once(&mut seen, "exception name", &exception.name, diagnostics);
    }
}

fn acts(rule: &Rule, diagnostics: &mut Diagnostics) -> Vec<Spanned<Act>> {
    let mut acts: Vec<Spanned<Act>> = Vec::new();
    for word in &rule.on {
        let known = || Act::ALL.iter().copied().filter(|act| act.is_named());
        let Some(act) = known().find(|act| act.name() == word.value) else {
            let meant = match word.value.as_str() {
                "execve" | "exec.args" | "process" | "spawned_process" | "exec.start" => {
                    Some("exec")
                }
                "open" | "openat" | "file.open" | "open_read" => Some("file.read"),
                "open_write" | "file.modify" => Some("file.write"),
                "connect" | "outbound" => Some("net.connect"),
                "xdp" | "inbound" | "packet" | "net.in" => Some("packet.in"),
                other => closest(other, known().map(Act::name)),
            };
            let mut diagnostic = Diagnostic::error(
                Code::UnknownAct,
                word.span,
                format!("there is no act `{}`", word.value),
            )
            .label("unknown act");
            diagnostic = match meant {
                Some(meant) => diagnostic.help(format!("did you mean `{meant}`?")),
                None => {
                    diagnostic.help(format!("acts decided by this version: {}", decided_acts()))
                }
            };
            diagnostics.add(diagnostic);
            continue;
        };
        if let Some(first) = acts.iter().find(|first| first.value == act) {
            diagnostics.add(
                Diagnostic::warning(
                    Code::Pointless,
                    word.span,
                    format!("`{}` is named twice", word.value),
                )
                .related(first.span, "named here"),
            );
            continue;
        }
        acts.push(Spanned { value: act, span: word.span });
    }
    acts
}

fn action(rule: &Rule, kernel_act: Act, act: &Spanned<Act>, diagnostics: &mut Diagnostics) {
    let Some(row) = field::decided(kernel_act) else { return };
    let written = &rule.action;
    match written.value.action {
        Action::Block if !row.refusable && act.value == Act::Syscall => diagnostics.add(
            Diagnostic::error(
                Code::ActionNotPossible,
                written.span,
                "a rule on system calls cannot block",
            )
            .label("a tracepoint sees the call and cannot stop it")
            .help("use `action: kill`, or name the act itself: `interdict fields --acts` lists what can be refused"),
        ),
        Action::Block if !row.refusable => diagnostics.add(
            Diagnostic::error(
                Code::ActionNotPossible,
                written.span,
                "a rule on arguments cannot block",
            )
            .label("too late to refuse the start")
            .note("arguments are final only after the kernel has copied them")
            .help("use `action: kill`: the program dies before its first instruction runs"),
        ),
        Action::Kill if !row.killable => diagnostics.add(
            Diagnostic::error(
                Code::ActionNotPossible,
                written.span,
                format!("`{}` has no process to kill", act.value.name()),
            )
            .label("not possible here")
            .help("use `action: block`: the packet is dropped"),
        ),
        Action::Pass | Action::Alert | Action::Block | Action::Kill => {}
    }
}

fn scope(policy: &Policy, act: &Spanned<Act>, diagnostics: &mut Diagnostics) {
    if !act.value.family().has_process()
        && !policy.scope.everything()
        && let Some(span) = policy.scope.span
    {
        diagnostics.add(
            Diagnostic::error(
                Code::ScopeNotPossible,
                act.span,
                format!("`{}` is about packets, which have no process: it cannot be told whose they are", act.value.name()),
            )
            .label("this act knows neither host nor containers")
            .related(span, "the scope of the policy")
            .help("put rules on packets into a policy without a scope"),
        );
    }
}

fn mode(policy: &Policy, rule: &Rule, diagnostics: &mut Diagnostics) -> Option<Mode> {
    if let Some(overridden) = &rule.mode_overridden {
        return match overridden.value {
            WrittenMode::Off => None,
            WrittenMode::Audit => Some(Mode::Audit),
            WrittenMode::Enforce => Some(Mode::Enforce),
        };
    }
    let of_policy = policy.mode.as_ref().map_or(WrittenMode::Enforce, |mode| mode.value);
    let of_rule = rule.mode.as_ref().map_or(WrittenMode::Enforce, |mode| mode.value);
    if let (Some(own), Some(whole)) = (&rule.mode, &policy.mode)
        && own.value > whole.value
    {
        diagnostics.add(
            Diagnostic::warning(
                Code::NeverActs,
                own.span,
                "the policy's mode is weaker than the rule's, and holds",
            )
            .label("has no effect")
            .related(whole.span, "the policy's mode"),
        );
    }
    match of_policy.min(of_rule) {
        WrittenMode::Off => None,
        WrittenMode::Audit => Some(Mode::Audit),
        WrittenMode::Enforce => Some(Mode::Enforce),
    }
}

fn expired(
    exception: &Exception,
    environment: Environment<'_>,
    diagnostics: &mut Diagnostics,
) -> bool {
    let Some(expires) = &exception.expires else { return false };
    // Dates of one width compare as text.
    if environment.today <= expires.value.as_str() {
        return false;
    }
    diagnostics.add(
        Diagnostic::warning(
            Code::Expired,
            expires.span,
            format!("the exception `{}` has expired and excuses nothing", exception.name.value),
        )
        .label(format!("today is {}", environment.today))
        .help(match exception.owner.as_str() {
            "" => "renew it or remove it".to_owned(),
            owner => format!("ask {owner} to renew it, or remove it"),
        }),
    );
    true
}
