//! Elastic Common Schema 8.

use interdict_rules::meta::Severity;
use serde_json::{Value, json};

use super::{Sealed, base_name, object};
use crate::alert::model::{Alert, ContainerInfo};

/// The event.
pub(super) fn event(sealed: &Sealed) -> Value {
    let alert = &sealed.alert;
    let rule = alert.rules.first();
    object([
        ("@timestamp", Some(json!(alert.time))),
        ("ecs", Some(json!({"version": "8.11.0"}))),
        ("message", Some(json!(alert.message))),
        ("tags", rule.filter(|rule| !rule.tags.is_empty()).map(|rule| json!(rule.tags))),
        ("event", Some(about(alert))),
        ("rule", rule.map(|rule| json!({
            "id": rule.id, "name": rule.title, "ruleset": rule.policy, "reference": format!("{}:{}", rule.file, rule.line),
        }))),
        ("threat", threat(alert)),
        ("process", process(alert)),
        ("user", user(alert)),
        ("file", file(alert)),
        ("source", end(alert, Side::Source)),
        ("destination", end(alert, Side::Destination)),
        ("network", network(alert)),
        ("dns", dns(alert)),
        ("container", alert.container.as_ref().map(container)),
        ("orchestrator", alert.container.as_ref().and_then(orchestrator)),
        ("host", Some(json!({
            "name": alert.host.name, "hostname": alert.host.name, "boot": {"id": alert.host.boot_id},
            "os": {"type": "linux", "kernel": alert.host.kernel},
        }))),
        ("agent", Some(json!({"type": "interdict", "version": alert.agent.version}))),
        ("observer", Some(json!({"vendor": "interdict", "product": "interdict", "type": "sensor", "version": alert.agent.version}))),
        ("interdict", Some(json!({
            "stream": alert.stream, "seq": alert.seq, "chain_hash": sealed.hash, "decision": alert.decision,
            "policy": alert.policy, "rules": alert.rules, "facts": alert.facts, "notice": alert.notice,
            "escaped": alert.escaped, "redacted": alert.redacted, "time_boot_ns": alert.time_boot_ns,
        }))),
    ])
}

fn told(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!(text))
}

fn container(container: &ContainerInfo) -> Value {
    object([
        ("id", Some(json!(container.id))),
        ("name", told(&container.name)),
        ("image", told(&container.image).map(|image| json!({"name": image}))),
        ("runtime", told(&container.runtime)),
    ])
}

fn orchestrator(container: &ContainerInfo) -> Option<Value> {
    let is_pod = !(container.pod_uid.is_empty() && container.pod.is_empty());
    is_pod.then(|| {
        object([
            ("type", Some(json!("kubernetes"))),
            ("namespace", told(&container.namespace)),
            (
                "resource",
                Some(object([
                    ("type", Some(json!("pod"))),
                    ("id", told(&container.pod_uid)),
                    ("name", told(&container.pod)),
                ])),
            ),
        ])
    })
}

fn about(alert: &Alert) -> Value {
    let has = |start: &str| alert.acts.iter().any(|act| act.starts_with(start));
    let (category, kind) = match () {
        () if alert.decision.is_none() => ("configuration", "info"),
        () if has("net.") || has("packet.") => ("network", "connection"),
        () if has("exec") => ("process", "start"),
        () if has("file.read") || has("mmap") => ("file", "access"),
        () if has("file.") => ("file", "change"),
        () => ("process", "info"),
    };
    let verdict = alert.decision.as_ref().map_or("", |decision| decision.verdict.as_ref());
    let refused = verdict == "block" || verdict == "kill";
    let types = if alert.decision.is_none() {
        json!([kind])
    } else {
        json!([kind, if refused { "denied" } else { "allowed" }])
    };
    let action = alert
        .notice
        .as_ref()
        .map_or_else(|| alert.acts.join("+"), |notice| notice.name.to_string());
    let severity = match alert.severity {
        Severity::Info => 1,
        Severity::Low => 25,
        Severity::Medium => 50,
        Severity::High => 75,
        Severity::Critical => 99,
    };
    json!({
        "id": alert.id, "kind": "alert", "category": [category], "type": types, "action": action,
        "outcome": if refused { "failure" } else { "success" },
        "module": "interdict", "dataset": "interdict.alert", "provider": "interdict",
        "sequence": alert.seq, "severity": severity,
    })
}

fn threat(alert: &Alert) -> Option<Value> {
    let (mut techniques, mut parts) = (Vec::new(), Vec::new());
    for technique in alert.rules.iter().flat_map(|rule| &rule.attack) {
        let parent = technique.split_once('.').map_or(technique.as_str(), |(parent, _)| parent);
        if !techniques.contains(&json!(parent)) {
            techniques.push(json!(parent));
        }
        if parent != technique && !parts.contains(&json!(technique)) {
            parts.push(json!(technique));
        }
    }
    (!techniques.is_empty()).then(|| {
        json!({"framework": "MITRE ATT&CK", "technique": object([
            ("id", Some(json!(techniques))),
            ("subtechnique", (!parts.is_empty()).then(|| json!({"id": parts}))),
        ])})
    })
}

fn process(alert: &Alert) -> Option<Value> {
    let process = alert.process.as_ref()?;
    let mut parent = None;
    // ECS has one level of parent by schema; more levels under it are allowed and read by nobody, so only the nearest.
    if let Some(ancestor) = process.ancestors.first() {
        parent = Some(object([
            ("pid", Some(json!(ancestor.pid))),
            ("executable", ancestor.exe.as_ref().map(|exe| json!(exe))),
            ("name", ancestor.exe.as_ref().map(|exe| json!(base_name(exe)))),
            ("args", (!ancestor.args.is_empty()).then(|| json!(ancestor.args))),
            ("command_line", (!ancestor.args.is_empty()).then(|| json!(ancestor.args.join(" ")))),
        ]));
    }
    let started = process.start_boot_ns.as_ref();
    Some(object([
        ("pid", Some(json!(process.pid))),
        (
            "entity_id",
            started
                .map(|started| json!(format!("{}-{}-{started}", alert.host.boot_id, process.pid))),
        ),
        ("thread", Some(json!({"id": process.tid}))),
        ("name", Some(json!(process.name))),
        ("executable", process.exe.as_ref().map(|exe| json!(exe))),
        ("args", (!process.args.is_empty()).then(|| json!(process.args))),
        ("args_count", (!process.args.is_empty()).then(|| json!(process.args.len()))),
        ("command_line", (!process.args.is_empty()).then(|| json!(process.args.join(" ")))),
        ("parent", parent),
    ]))
}

fn user(alert: &Alert) -> Option<Value> {
    let process = alert.process.as_ref()?;
    Some(object([
        ("id", Some(json!(process.uid.to_string()))),
        ("name", process.user.as_ref().map(|name| json!(name))),
        (
            "group",
            Some(object([
                ("id", Some(json!(process.gid.to_string()))),
                ("name", process.group.as_ref().map(|name| json!(name))),
            ])),
        ),
        (
            "effective",
            (process.euid != process.uid).then(|| {
                object([
                    ("id", Some(json!(process.euid.to_string()))),
                    ("name", process.euser.as_ref().map(|name| json!(name))),
                ])
            }),
        ),
    ]))
}

fn file(alert: &Alert) -> Option<Value> {
    let target = alert.object.as_ref()?;
    let path = target.path.as_ref()?;
    Some(object([
        ("path", Some(json!(path))),
        ("name", Some(json!(base_name(path)))),
        ("directory", path.rsplit_once('/').map(|(folder, _)| json!(folder))),
        ("inode", target.inode.as_ref().map(|inode| json!(inode))),
        ("device", target.device.as_ref().map(|device| json!(device))),
        ("mode", target.mode.as_ref().map(|mode| json!(mode))),
        ("target_path", target.second_path.as_ref().map(|path| json!(path))),
    ]))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

fn end(alert: &Alert, side: Side) -> Option<Value> {
    let flow = alert.object.as_ref()?.flow.as_ref()?;
    let inbound = alert.acts.iter().any(|act| act == "packet.in" || act == "net.accept");
    let (ip, port, bytes) = if (side == Side::Source) == inbound {
        (&flow.remote_ip, flow.remote_port, flow.bytes_in)
    } else {
        (&flow.local_ip, flow.local_port, flow.bytes_out)
    };
    (ip.is_some() || port.is_some()).then(|| {
        object([
            ("ip", ip.as_ref().map(|ip| json!(ip))),
            ("address", ip.as_ref().map(|ip| json!(ip))),
            ("port", port.map(|port| json!(port))),
            ("bytes", bytes.map(|bytes| json!(bytes))),
        ])
    })
}

fn dns(alert: &Alert) -> Option<Value> {
    let name = alert.object.as_ref()?.dns_name.as_ref()?;
    Some(json!({"type": "query", "question": {"name": name}}))
}

fn network(alert: &Alert) -> Option<Value> {
    let flow = alert.object.as_ref()?.flow.as_ref()?;
    let inbound = alert.acts.iter().any(|act| act == "packet.in" || act == "net.accept");
    let kind = match flow.family.as_ref() {
        "inet" => Some(json!("ipv4")),
        "inet6" => Some(json!("ipv6")),
        _other => None,
    };
    Some(object([
        ("type", kind),
        ("transport", Some(json!(flow.protocol))),
        ("direction", Some(json!(if inbound { "ingress" } else { "egress" }))),
    ]))
}
