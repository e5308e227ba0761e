//! Whether the kernel can decide what a rule asks: its acts, and each of its tests for each of them.

use interdict_abi::ids::{Act, Fact, Family};

use super::{Leaf, LeafTest};
use crate::{
    diag::{Code, Diagnostic, Diagnostics},
    field::{self, DECIDED, FIELDS, Field, Resolved, Unresolved},
    ir::Pattern,
};

/// The names of the acts this version decides.
pub(super) fn decided_acts() -> String {
    let names: Vec<&str> =
        DECIDED.iter().filter(|row| row.act.is_named()).map(|row| row.act.name()).collect();
    names.join(", ")
}

/// Says if a test cannot be decided for an act.
pub(super) fn resolves(
    leaf: &Leaf,
    (act, kernel_act): (Act, Act),
    tells: bool,
    exception: Option<&str>,
    diagnostics: &mut Diagnostics,
) {
    let field = leaf.field;
    let resolved = match leaf.field.resolve(kernel_act) {
        Ok(_) if leaf.told(kernel_act, tells) => Err(Unresolved::UserSpace),
        other => other,
    };
    let reason = match resolved {
        // What is only told may be narrowed by what is only known later.
        Err(Unresolved::UserSpace) if tells => return,
        Err(reason) => reason,
        Ok(Resolved::Directory(_) | Resolved::LastOf(_)) if of_regex(leaf) => {
            diagnostics.add(
                Diagnostic::error(
                    Code::WrongOperator,
                    leaf.span,
                    format!(
                        "`{}` is part of a path here, and takes no regular expression",
                        field.name
                    ),
                )
                .label("the expression would be matched against the whole path")
                .help("match the path instead, or use a glob"),
            );
            return;
        }
        Ok(Resolved::Fact(Fact::ContainerImage | Fact::PodLabels)) if of_regex(leaf) => {
            diagnostics.add(
                Diagnostic::error(
                    Code::WrongOperator,
                    leaf.span,
                    format!(
                        "a rule that blocks or kills takes no regular expression on `{}`",
                        field.name
                    ),
                )
                .label("the expression would have to be matched against each of several values")
                .help("use `startswith`, `endswith`, `contains` or a glob, or say `action: alert`"),
            );
            return;
        }
        Ok(Resolved::Fact(Fact::AddressFamily)) => {
            families(leaf, kernel_act, diagnostics);
            return;
        }
        Ok(_) => return,
    };
    let diagnostic = match reason {
        Unresolved::OfOtherAct => {
            let diagnostic = Diagnostic::error(
                Code::FieldOfOtherAct,
                leaf.span,
                format!("`{}` is not known for `{}`", field.name, act.name()),
            )
            .label(format!("`{}` has no such thing", act.name()));
            match (counterpart(field, act), exception) {
                (_, Some(_)) => diagnostic
                    .help("say which acts it is about, as in `on: [exec]` beside its name"),
                (Some(name), None) => diagnostic.help(format!(
                    "for `{}` write `{name}`; a rule on acts that have both is two rules",
                    act.name()
                )),
                (None, None) => diagnostic
                    .help("make a rule of its own for the acts that have it, or drop the test"),
            }
        }
        Unresolved::NotDecided => Diagnostic::error(
            Code::FieldNotDecided,
            leaf.span,
            format!(
                "this version does not know `{}` in the kernel for `{}`",
                field.name,
                act.name()
            ),
        )
        .label("could never be decided")
        .help(format!("known for `{}`: {}", act.name(), known_fields(kernel_act))),
        Unresolved::UserSpace => Diagnostic::error(
            Code::ActionNotPossible,
            leaf.span,
            format!("`{}` is known in user space only, after the act", field.name),
        )
        .label("known too late to refuse or kill")
        .help(format!("say `action: alert`, or decide {}", instead(field))),
    };
    diagnostics.add(diagnostic);
}

/// What to decide on instead of a field of class U.
fn instead(field: &Field) -> &'static str {
    match field.name {
        "user.name" => "on the number, as in `process.uid == 33`",
        "file.access" => "by the acts in `on`, as in `on: file.write`",
        "file.sha256" => "on `file.path` and `file.owner`",
        "exec.sha256" => "on `exec.path` and `exec.owner`",
        _other => "on a field of class K (`interdict fields`)",
    }
}

/// Refuses tests for families whose acts are not looked at.
fn families(leaf: &Leaf, act: Act, diagnostics: &mut Diagnostics) {
    let LeafTest::Ranges(ranges) = &leaf.test else { return };
    let decided = field::decided(act).map_or(&[][..], |row| row.address_families);
    if decided.is_empty() {
        return;
    }
    let strange = ranges.iter().any(|(first, last)| first != last || !decided.contains(first));
    if strange {
        let words = field::number_words(field::Words::AddressFamily);
        let names: Vec<&str> = words
            .iter()
            .filter(|(_, number)| decided.contains(number))
            .map(|(name, _)| *name)
            .collect();
        diagnostics.add(
            Diagnostic::error(
                Code::FieldNotDecided,
                leaf.span,
                format!("this version does not decide `{}` for other address families", act.name()),
            )
            .label("would never be enforced")
            .help(format!("decided: {}", names.join(", "))),
        );
    }
}

fn of_regex(leaf: &Leaf) -> bool {
    match &leaf.test {
        LeafTest::Patterns(patterns) => {
            patterns.iter().any(|pattern| matches!(pattern, Pattern::Regex(_)))
        }
        LeafTest::Ranges(_) | LeafTest::Addresses(_) | LeafTest::True => false,
    }
}

fn known_fields(act: Act) -> String {
    let names: Vec<&str> =
        FIELDS.iter().filter(|field| field.resolve(act).is_ok()).map(|field| field.name).collect();
    names.join(", ")
}

/// The field that means the same for another act.
fn counterpart(field: &Field, act: Act) -> Option<&'static str> {
    let (_, last) = field.name.split_once('.')?;
    let object = match act {
        Act::Exec | Act::ExecArgs => "exec",
        _ if matches!(act.family(), Family::Net | Family::Packet | Family::Dns) => "net",
        _ if act.family() == Family::File => "file",
        _ => return None,
    };
    let name = format!("{object}.{last}");
    field::find(&name).filter(|found| found.belongs_to(act)).map(|found| found.name)
}
