//! Fields that a rule tells rather than tests: the holes of its message, the subjects of its throttle.

use interdict_abi::ids::Act;

use crate::{
    diag::{Code, Diagnostic, Diagnostics, closest},
    field::{self, FIELDS},
    parse::{policy::Spanned, text::Text},
};

/// Checks the holes of a message.
pub(super) fn template(message: &Text, acts: &[Spanned<Act>], diagnostics: &mut Diagnostics) {
    let text = message.text.as_str();
    let mut at = 0;
    while let Some(found) = text[at..].find(['{', '}']) {
        let start = at + found;
        let bytes = text.as_bytes();
        if bytes.get(start) == bytes.get(start + 1) {
            at = start + 2;
            continue;
        }
        if bytes.get(start) == Some(&b'}') {
            diagnostics.add(
                Diagnostic::error(
                    Code::WrongTemplate,
                    message.place(start, start + 1),
                    "a brace closes nothing",
                )
                .help("write `}}` for a brace"),
            );
            return;
        }
        let Some(length) = text[start..].find('}') else {
            diagnostics.add(
                Diagnostic::error(
                    Code::WrongTemplate,
                    message.place(start, start + 1),
                    "a brace is not closed",
                )
                .help("write `{{` for a brace"),
            );
            return;
        };
        let name = text[start + 1..start + length].to_owned();
        let span = message.place(start + 1, start + length);
        subject(&Spanned { value: name, span }, acts, diagnostics);
        at = start + length + 1;
    }
}

/// Checks that a word is a field that every act has.
pub(super) fn subject(
    word: &Spanned<String>,
    acts: &[Spanned<Act>],
    diagnostics: &mut Diagnostics,
) {
    let Some(field) = field::find(&word.value) else {
        let meant = closest(&word.value, FIELDS.iter().map(|field| field.name));
        diagnostics.add(
            Diagnostic::error(
                Code::WrongTemplate,
                word.span,
                format!("there is no field `{}`", word.value),
            )
            .label("unknown field")
            .help(match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "`interdict fields` lists all fields".to_owned(),
            }),
        );
        return;
    };
    for act in acts {
        if !field.belongs_to(act.value) {
            diagnostics.add(
                Diagnostic::error(
                    Code::WrongTemplate,
                    word.span,
                    format!("`{}` is not known for `{}`", field.name, act.value.name()),
                )
                .label("would be empty"),
            );
        }
    }
}
