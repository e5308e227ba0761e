//! The fields of the rule language, read from an alert.
//!
//! One place that says which text `process.exe` or `file.access` stands for: message templates, the `facts` of an
//! alert and throttle subjects all ask here. A field that an alert doesn't have is `None`.

use std::borrow::Cow;

use interdict_abi::ids::Act;
use interdict_rules::field::{Type, number_words};

use super::model::{Alert, CallInfo, FlowInfo, ObjectInfo, ProcessInfo};

/// The text of a field.
pub fn value<'a>(alert: &'a Alert, name: &str) -> Option<Cow<'a, str>> {
    let (scope, field) = name.split_once('.')?;
    match scope {
        "process" => process(alert, alert.process.as_ref()?, field),
        "file" => file(alert, alert.object.as_ref()?, field),
        "exec" => exec(alert.object.as_ref()?, field),
        "net" => net(alert, field),
        "container" => {
            let container = alert.container.as_ref();
            match field {
                "id" => Some(container.map_or("host", |container| &container.id).into()),
                "runtime" => container.map(|container| container.runtime.as_ref().into()),
                "name" => known(&container?.name),
                "image" => known(&container?.image),
                "privileged" => container?.privileged.then(|| "yes".into()),
                _unknown => None,
            }
        }
        "k8s" => {
            let container = alert.container.as_ref()?;
            match field {
                "namespace" => known(&container.namespace),
                "pod" => known(&container.pod),
                "pod_uid" => known(&container.pod_uid),
                "serviceaccount" => known(&container.service_account),
                _unknown => None,
            }
        }
        "dns" => {
            (field == "name").then(|| alert.object.as_ref()?.dns_name.as_deref())?.map(Into::into)
        }
        "user" => (field == "name").then(|| user(alert)).flatten(),
        "host" => (field == "name").then(|| alert.host.name.as_str().into()),
        "rule" => {
            let rule = alert.rules.first()?;
            match field {
                "id" => Some(rule.id.as_str().into()),
                "title" => Some(rule.title.as_str().into()),
                _unknown => None,
            }
        }
        "target" => match field {
            "pid" => alert.object.as_ref()?.target_pid.map(|pid| pid.to_string().into()),
            "exe" => alert.object.as_ref()?.target_exe.as_deref().map(Into::into),
            _unknown => None,
        },
        _unknown => number(alert, name),
    }
}

fn known(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then(|| text.into())
}

fn user(alert: &Alert) -> Option<Cow<'_, str>> {
    alert.process.as_ref()?.user.as_deref().map(Into::into)
}

fn process<'a>(alert: &'a Alert, process: &'a ProcessInfo, field: &str) -> Option<Cow<'a, str>> {
    match field {
        "exe" => process.exe.as_deref().map(Into::into),
        "name" => Some(process.name.as_str().into()),
        "args" => Some(process.args.join(" ").into()),
        "argc" => Some(process.args.len().to_string().into()),
        "pid" => Some(process.pid.to_string().into()),
        "uid" => Some(process.uid.to_string().into()),
        "gid" => Some(process.gid.to_string().into()),
        "euid" => Some(process.euid.to_string().into()),
        "user" => user(alert),
        "parent.exe" => process.ancestors.first()?.exe.as_deref().map(Into::into),
        "parent.pid" => Some(process.parent_pid.to_string().into()),
        "parent.args" => Some(process.ancestors.first()?.args.join(" ").into()),
        "ancestor.exe" => {
            let all: Vec<&str> =
                process.ancestors.iter().filter_map(|ancestor| ancestor.exe.as_deref()).collect();
            (!all.is_empty()).then(|| all.join(" < ").into())
        }
        _unknown => None,
    }
}

fn file<'a>(alert: &'a Alert, object: &'a ObjectInfo, field: &str) -> Option<Cow<'a, str>> {
    match field {
        "path" => object.path.as_deref().map(Into::into),
        "name" => {
            let path = object.path.as_deref()?;
            Some(path.rsplit_once('/').map_or(path, |(_, name)| name).into())
        }
        "dir" => {
            let path = object.path.as_deref()?;
            path.rsplit_once('/').map(|(folder, _)| folder.into())
        }
        "access" => {
            let acts: Vec<&str> =
                alert.acts.iter().filter_map(|act| act.strip_prefix("file.")).collect();
            (!acts.is_empty()).then(|| acts.join(",").into())
        }
        "mode" => object.mode.as_deref().map(Into::into),
        "dev" => object.device.as_deref().map(Into::into),
        "ino" => object.inode.as_deref().map(Into::into),
        "new_path" => object.second_path.as_deref().map(Into::into),
        "setuid" | "setgid" | "memfd" | "deleted" | "device" | "directory" => {
            Some(object.flags.iter().any(|flag| flag == field).to_string().into())
        }
        _unknown => None,
    }
}

fn exec<'a>(object: &'a ObjectInfo, field: &str) -> Option<Cow<'a, str>> {
    match field {
        "path" => object.path.as_deref().map(Into::into),
        "interpreter" => object.second_path.as_deref().map(Into::into),
        "args" => Some(object.args.join(" ").into()),
        "argc" => Some(object.args.len().to_string().into()),
        "memfd" | "deleted" | "upper_layer" | "setuid" | "setgid" | "script" => {
            Some(object.flags.iter().any(|flag| flag == field).to_string().into())
        }
        _unknown => None,
    }
}

/// Outbound acts go from local to remote, inbound ones the other way round.
fn net<'a>(alert: &'a Alert, field: &str) -> Option<Cow<'a, str>> {
    let flow = alert.object.as_ref()?.flow.as_ref()?;
    let inbound = alert.acts.iter().any(|act| act == "packet.in" || act == "net.accept");
    let end = |remote: bool, port: bool| end(flow, remote, port);
    match field {
        "bytes_in" => flow.bytes_in.map(|bytes| bytes.to_string().into()),
        "bytes_out" => flow.bytes_out.map(|bytes| bytes.to_string().into()),
        "duration" => flow.duration_ns.map(|ns| (ns / 1_000_000_000).to_string().into()),
        "proto" => Some(flow.protocol.as_ref().into()),
        "family" => Some(flow.family.as_ref().into()),
        "dst.ip" | "dst" => end(!inbound, false),
        "dst.port" => end(!inbound, true),
        "src.ip" | "src" => end(inbound, false),
        "src.port" => end(inbound, true),
        "remote.ip" => end(true, false),
        "remote.port" => end(true, true),
        "local.ip" => end(false, false),
        "local.port" => end(false, true),
        _unknown => None,
    }
}

fn end(flow: &FlowInfo, remote: bool, port: bool) -> Option<Cow<'_, str>> {
    let (ip, number) = if remote {
        (&flow.remote_ip, flow.remote_port)
    } else {
        (&flow.local_ip, flow.local_port)
    };
    if port {
        number.map(|number| number.to_string().into())
    } else {
        ip.as_deref().map(Into::into)
    }
}

/// The act's own number has a name for each act.
fn number<'a>(alert: &'a Alert, name: &str) -> Option<Cow<'a, str>> {
    let object = alert.object.as_ref()?;
    if let Some(call) = &object.syscall {
        return syscall(call, name);
    }
    if name == "ns.type" {
        return (!object.flags.is_empty()).then(|| object.flags.join(",").into());
    }
    let field = interdict_rules::field::find(name)?;
    let is_number = matches!(
        name,
        "signal.number"
            | "cap.name"
            | "bpf.command"
            | "perf.kind"
            | "ptrace.mode"
            | "ns.call"
            | "setuid.uid"
            | "setgid.gid"
    );
    let about = alert.acts.iter().any(|act| {
        Act::ALL.iter().any(|known| known.name() == act.as_ref() && field.belongs_to(*known))
    });
    if !is_number || !about {
        return None;
    }
    let number = object.number?;
    Some(match field.kind {
        Type::Word(words) => match number_words(words).iter().find(|(_, known)| *known == number) {
            Some((word, _)) => (*word).into(),
            None => number.to_string().into(),
        },
        _ => number.to_string().into(),
    })
}

fn syscall<'a>(call: &'a CallInfo, name: &str) -> Option<Cow<'a, str>> {
    Some(match name {
        "syscall.name" => call.name.as_ref().into(),
        "syscall.abi" => call.abi.as_ref().into(),
        "syscall.result" => call.result.as_deref()?.into(),
        "syscall.error" => call.error?.to_string().into(),
        other => {
            let index: usize = other.strip_prefix("syscall.arg")?.parse().ok()?;
            call.arguments.get(index)?.as_str().into()
        }
    })
}

/// The names of fields that an expression mentions, in order, each once.
pub fn mentioned(expression: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut rest = expression;
    while let Some(start) =
        rest.find(|first: char| first.is_ascii_lowercase() || first == '"' || first == '\'')
    {
        rest = &rest[start..];
        if let Some(quote) = rest.chars().next().filter(|first| *first == '"' || *first == '\'') {
            rest = after_quote(&rest[1..], quote);
            continue;
        }
        let is_part = |part: char| part.is_ascii_alphanumeric() || part == '_' || part == '.';
        let end = rest.find(|part| !is_part(part)).unwrap_or(rest.len());
        let name = rest[..end].trim_end_matches('.');
        if name.contains('.') && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        rest = &rest[end..];
    }
    names
}

fn after_quote(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == quote {
            return &text[at + 1..];
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_are_found_outside_of_strings() {
        let names = mentioned(
            r#"file.path in ["/etc/x.y", 'a.b\'c.d'] and not process.exe in auth or process.parent.exe == "q" and file.path exists"#,
        );
        assert_eq!(names, ["file.path", "process.exe", "process.parent.exe"]);
    }
}
