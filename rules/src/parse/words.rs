//! Small values: names, dates, durations, technique ids.

use std::rc::Rc;

use super::{
    shape::{Shape, Spanned},
    yaml::Node,
};
use crate::diag::{Code, Diagnostic};

/// ATT&CK technique ids.
pub(super) fn attack(shape: &mut Shape<'_>, node: &Rc<Node>) -> Vec<String> {
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

/// Seconds of `30s`, `5m`, `48h`, `7d`.
pub(super) fn duration(shape: &mut Shape<'_>, node: &Rc<Node>) -> Option<u32> {
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

/// Whether a text is a date, `YYYY-MM-DD`.
pub(super) fn is_date(text: &str) -> bool {
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
pub(super) fn identifier(
    shape: &mut Shape<'_>,
    name: &Spanned<String>,
    what: &str,
    longest: usize,
) -> bool {
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
