//! `interdict why`: what would be decided about an act, and by which rules.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use clap::{ArgGroup, Args};
use interdict_abi::ids::{Action, Mode};
use interdict_rules::{
    image::PolicyImage,
    parse::{
        cases::{Given, WrittenEvent},
        policy::Spanned,
        source::{FileId, Span},
    },
    suite::{self, Verdict},
};
use serde_json::json;

use super::policies::{Format, image, print, print_json, untried};

/// Tell what would be decided about an act, by which rules, and what excuses it.
///
/// What is left out is ordinary: user 1000 on the host, a regular file of root, TCP.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub(super) struct Arguments {
    /// An image (`*.img`), or policy files and directories.
    #[arg(default_value = "/etc/interdict/policies")]
    paths: Vec<PathBuf>,
    /// A program is started.
    #[arg(long, value_name = "PATH", group = "what")]
    exec: Option<String>,
    /// A file is opened for reading.
    #[arg(long, value_name = "PATH", group = "what")]
    read: Option<String>,
    /// A file is opened for writing.
    #[arg(long, value_name = "PATH", group = "what")]
    write: Option<String>,
    /// A connection is made to `ADDRESS` or `ADDRESS:PORT` (`[ADDRESS]:PORT` for IPv6).
    #[arg(long, value_name = "PEER", group = "what")]
    connect: Option<String>,
    /// A packet arrives from `ADDRESS` or `ADDRESS:PORT`.
    #[arg(long, value_name = "PEER", group = "what")]
    packet_from: Option<String>,
    /// Another act by name, with its values given by `--set`.
    #[arg(long, value_name = "ACT", group = "what")]
    act: Option<String>,
    /// An argument of the started program; repeat for more, the program's own name first.
    #[arg(long = "arg", value_name = "TEXT", allow_hyphen_values = true)]
    args: Vec<String>,
    /// Program of the acting process.
    #[arg(long, value_name = "PATH")]
    exe: Option<String>,
    /// Program of its parent.
    #[arg(long, value_name = "PATH")]
    parent: Option<String>,
    /// Program of an ancestor; repeat for more.
    #[arg(long = "ancestor", value_name = "PATH")]
    ancestors: Vec<String>,
    /// Real user id; the effective one too, unless it is given.
    #[arg(long)]
    uid: Option<u32>,
    /// Effective user id.
    #[arg(long)]
    euid: Option<u32>,
    /// Real group id.
    #[arg(long)]
    gid: Option<u32>,
    /// The process runs in a container.
    #[arg(long)]
    container: bool,
    /// Any other field: `--set exec.memfd=true`, `--set net.proto=udp`.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// As if the agent ran in audit mode.
    #[arg(long)]
    audit: bool,
    /// How to tell it.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let written = match written(arguments) {
        Ok(written) => written,
        Err(message) => return untried(&message),
    };
    let occurrence = match suite::occurrence(&written) {
        Ok(occurrence) => occurrence,
        Err(error) => {
            let help = error.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
            return untried(&format_args!("{error}{help}"));
        }
    };
    let image = match image(&arguments.paths) {
        Ok(image) => image,
        Err(code) => return code,
    };
    let mode = if arguments.audit { Mode::Audit } else { Mode::Enforce };
    let verdict = suite::decide(&image, &occurrence, mode);
    match arguments.format {
        Format::Human => print(&human(&image, &verdict)),
        Format::Json => print_json(&program(&image, &verdict)),
    }
    ExitCode::SUCCESS
}

fn human(image: &PolicyImage, verdict: &Verdict) -> String {
    let metadata = image.metadata();
    let mut text = String::new();
    let _ = match verdict.verdict {
        Action::Pass if verdict.matched.is_empty() => writeln!(text, "pass: no rule matches"),
        Action::Pass => writeln!(text, "pass, with an alert: what matches is in audit mode"),
        Action::Alert => writeln!(text, "pass, with an alert"),
        Action::Block => writeln!(text, "block (errno {})", verdict.errno),
        Action::Kill => writeln!(text, "kill"),
    };
    if verdict.would > verdict.verdict {
        let _ = writeln!(text, "if everything were enforced: {}", verdict.would.name());
    }
    for number in &verdict.matched {
        let Some(rule) = metadata.rules.get(*number as usize) else { continue };
        let _ = writeln!(text, "\n{}  {}", rule.id, rule.title);
        let _ = writeln!(
            text,
            "  {} ({}, {})  {}:{}",
            rule.action,
            rule.mode,
            rule.severity.name(),
            rule.file,
            rule.line
        );
        let _ = writeln!(text, "  on {} when {}", rule.acts.join(", "), rule.when);
    }
    for excused in &verdict.excused {
        let Some(rule) = metadata.rules.get(excused.rule as usize) else { continue };
        let Some(exception) = rule.exceptions.get(usize::from(excused.exception)) else { continue };
        let _ = writeln!(text, "\n{}  would match, but is excused", rule.id);
        let _ = writeln!(
            text,
            "  by exception {} ({}: {})  {}:{}",
            exception.name, exception.owner, exception.reason, rule.file, exception.line
        );
    }
    text
}

fn program(image: &PolicyImage, verdict: &Verdict) -> serde_json::Value {
    let metadata = image.metadata();
    json!({
        "verdict": verdict.verdict.name(),
        "would": verdict.would.name(),
        "errno": verdict.errno,
        "matched": verdict.matched.iter()
            .filter_map(|number| metadata.rules.get(*number as usize))
            .collect::<Vec<_>>(),
        "excused": verdict.excused.iter().filter_map(|excused| {
            let rule = metadata.rules.get(excused.rule as usize)?;
            let exception = rule.exceptions.get(usize::from(excused.exception))?;
            Some(json!({ "rule": rule.id, "exception": exception }))
        }).collect::<Vec<_>>(),
    })
}

/// No file: these values come from the command line.
const NOWHERE: Span = Span { file: FileId(0), start: 0, end: 0 };

fn written(arguments: &Arguments) -> Result<WrittenEvent, String> {
    let mut values = Vec::new();
    let mut give = |name: &str, of_object: bool, list: Vec<String>| {
        values.push(Given {
            name: name.to_owned(),
            of_object,
            span: NOWHERE,
            values: list.into_iter().map(|value| Spanned { value, span: NOWHERE }).collect(),
        });
    };
    let objects = [
        ("exec", &arguments.exec),
        ("file.read", &arguments.read),
        ("file.write", &arguments.write),
    ];
    let mut act = arguments.act.clone();
    for (name, path) in objects {
        if let Some(path) = path {
            act = Some(name.to_owned());
            give("path", true, vec![path.clone()]);
        }
    }
    let peers =
        [("net.connect", "dst", &arguments.connect), ("packet.in", "src", &arguments.packet_from)];
    for (name, end, peer) in peers {
        if let Some(peer) = peer {
            act = Some(name.to_owned());
            let (address, port) = split(peer);
            give(&format!("{end}.ip"), true, vec![address]);
            if let Some(port) = port {
                give(&format!("{end}.port"), true, vec![port]);
            }
        }
    }
    let act = act.ok_or("no act is given")?;
    if act == "exec" && !arguments.args.is_empty() {
        give("args", true, arguments.args.clone());
    }
    let process = [("process.exe", &arguments.exe), ("process.parent.exe", &arguments.parent)];
    for (name, path) in process {
        if let Some(path) = path {
            give(name, false, vec![path.clone()]);
        }
    }
    if !arguments.ancestors.is_empty() {
        give("process.ancestors", false, arguments.ancestors.clone());
    }
    let ids = [
        ("process.uid", arguments.uid),
        ("process.euid", arguments.euid.or(arguments.uid)),
        ("process.gid", arguments.gid),
    ];
    for (name, id) in ids {
        if let Some(id) = id {
            give(name, false, vec![id.to_string()]);
        }
    }
    if arguments.container {
        give("container.id", false, vec!["some".to_owned()]);
    }
    for pair in &arguments.set {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| format!("`{pair}` is not FIELD=VALUE"))?;
        give(name, false, vec![value.to_owned()]);
    }
    Ok(WrittenEvent { span: NOWHERE, act: Spanned { value: act, span: NOWHERE }, values })
}

/// `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
fn split(peer: &str) -> (String, Option<String>) {
    if let Some(rest) = peer.strip_prefix('[')
        && let Some((address, port)) = rest.split_once("]:")
    {
        return (address.to_owned(), Some(port.to_owned()));
    }
    match peer.split_once(':') {
        Some((address, port)) if !port.contains(':') => (address.to_owned(), Some(port.to_owned())),
        Some(_) | None => (peer.to_owned(), None),
    }
}
