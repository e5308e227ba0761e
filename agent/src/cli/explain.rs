//! `interdict explain`: the long story of a diagnostic code.

use std::{fmt::Write as _, process::ExitCode};

use clap::Args;
use interdict_rules::diag::Code;
use serde_json::json;

use super::policies::{Format, NO, print, print_json};

/// Explain a diagnostic code, or list all of them.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The code, such as `IDT0301`.
    code: Option<String>,
    /// How to tell it.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let codes: Vec<Code> = match &arguments.code {
        None => Code::ALL.to_vec(),
        Some(name) => match Code::named(name) {
            Some(code) => vec![code],
            None => {
                eprintln!("interdict: there is no code `{name}`; `interdict explain` lists all");
                return ExitCode::from(NO);
            }
        },
    };
    match (arguments.format, codes.as_slice()) {
        (Format::Json, codes) => print_json(&serde_json::Value::Array(
            codes
                .iter()
                .map(|code| {
                    json!({ "code": code.to_string(), "title": code.title(), "story": code.story() })
                })
                .collect(),
        )),
        (Format::Human, [code]) => {
            print(&format!("{code}: {}\n\n{}\n", code.title(), code.story()));
        }
        (Format::Human, codes) => {
            let mut text = String::new();
            for code in codes {
                let _ = writeln!(text, "{code}  {}", code.title());
            }
            print(&text);
        }
    }
    ExitCode::SUCCESS
}
