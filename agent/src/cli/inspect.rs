//! `interdict inspect`: what is in an image.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use clap::Args;
use interdict_abi::ids::Family;
use interdict_rules::image::PolicyImage;
use serde_json::json;

use super::policies::{Format, image, print, print_json};

/// Show what is in a policy image: its rules, clauses, lists and digest.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// An image (`*.img`), or policies to compile first.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How to show it.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let image = match image(&arguments.paths) {
        Ok(image) => image,
        Err(code) => return code,
    };
    match arguments.format {
        Format::Human => print(&human(&image)),
        Format::Json => print_json(&json!({
            "digest": hexadecimal(&image.kernel_digest()),
            "kernel_bytes": image.kernel().len(),
            "metadata": image.metadata(),
        })),
    }
    ExitCode::SUCCESS
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn human(image: &PolicyImage) -> String {
    let metadata = image.metadata();
    let mut text = String::new();
    let _ = writeln!(text, "digest        sha256:{}", hexadecimal(&image.kernel_digest()));
    let _ = writeln!(text, "kernel image  {} bytes", image.kernel().len());
    let clauses: Vec<String> = Family::ALL
        .iter()
        .filter_map(|family| {
            let count = metadata.clauses.get(*family as usize).map_or(0, Vec::len);
            (count > 0).then(|| format!("{} {count}", family.name()))
        })
        .collect();
    let _ = writeln!(text, "clauses       {}", clauses.join(", "));
    let _ = writeln!(text, "\n{} rules", metadata.rules.len());
    for rule in &metadata.rules {
        let _ = writeln!(
            text,
            "  {:<20} {:<6} {:<8} {:<9} {}",
            rule.id,
            rule.action,
            rule.mode,
            rule.severity.name(),
            rule.title
        );
        let _ = writeln!(
            text,
            "  {:<20} on {} at {}:{}",
            "",
            rule.acts.join(", "),
            rule.file,
            rule.line
        );
        for exception in &rule.exceptions {
            let until = match exception.expires.as_str() {
                "" => String::new(),
                date => format!(" until {date}"),
            };
            let _ = writeln!(
                text,
                "  {:<20} except {}{until} ({}: {})",
                "", exception.name, exception.owner, exception.reason
            );
        }
    }
    if !metadata.lists.is_empty() {
        let _ = writeln!(text, "\n{} lists", metadata.lists.len());
        for list in &metadata.lists {
            let from = if list.file.is_empty() { "inline" } else { &list.file };
            let _ = writeln!(text, "  {:<20} {:>8} entries from {from}", list.name, list.entries);
        }
    }
    text
}
