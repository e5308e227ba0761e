//! OCSF 1.5, class Detection Finding (2004), with the profiles `host`, `container`, `security_control` and `datetime`.

use interdict_rules::meta::Severity;
use serde_json::{Value, json};

use super::{Sealed, base_name, object, unix_ms};
use crate::alert::model::{Alert, ProcessInfo};

/// The finding.
pub(super) fn finding(sealed: &Sealed) -> Value {
    let alert = &sealed.alert;
    let (severity_id, severity) = severity(alert.severity);
    let verdict = alert.decision.as_ref().map_or("", |decision| decision.verdict.as_ref());
    let would = alert.decision.as_ref().map_or("", |decision| decision.would.as_ref());
    // 1 Allowed, 2 Denied; 2 Blocked, 15 Detected, 17 Logged.
    let (action_id, action, disposition_id, disposition) = match (verdict, would) {
        ("block" | "kill", _) => (2, "Denied", 2, "Blocked"),
        (_, "block" | "kill") => (1, "Allowed", 15, "Detected"),
        _told => (1, "Allowed", 17, "Logged"),
    };
    let rule = alert.rules.first();
    let title = rule.map_or(alert.message.as_str(), |rule| rule.title.as_str());
    let attacks: Vec<Value> = alert
        .rules
        .iter()
        .flat_map(|rule| &rule.attack)
        .map(|technique| attack(technique))
        .collect();
    let is_decision = alert.decision.is_some();
    object([
        ("activity_id", Some(json!(1))),
        ("activity_name", Some(json!("Create"))),
        ("category_uid", Some(json!(2))),
        ("category_name", Some(json!("Findings"))),
        ("class_uid", Some(json!(2004))),
        ("class_name", Some(json!("Detection Finding"))),
        ("type_uid", Some(json!(200_401))),
        ("type_name", Some(json!("Detection Finding: Create"))),
        ("time", Some(json!(unix_ms(alert)))),
        ("time_dt", Some(json!(alert.time))),
        ("severity_id", Some(json!(severity_id))),
        ("severity", Some(json!(severity))),
        ("status_id", Some(json!(1))),
        ("status", Some(json!("New"))),
        ("is_alert", Some(json!(true))),
        ("action_id", is_decision.then(|| json!(action_id))),
        ("action", is_decision.then(|| json!(action))),
        ("disposition_id", is_decision.then(|| json!(disposition_id))),
        ("disposition", is_decision.then(|| json!(disposition))),
        ("message", Some(json!(alert.message))),
        ("metadata", Some(metadata(sealed))),
        (
            "finding_info",
            Some(object([
                ("uid", Some(json!(alert.id))),
                ("title", Some(json!(title))),
                ("desc", Some(json!(alert.message))),
                ("created_time", Some(json!(unix_ms(alert)))),
                (
                    "analytic",
                    rule.map(|rule| {
                        json!({
                            "uid": rule.id, "name": rule.title, "type_id": 1, "type": "Rule",
                            "desc": format!("{}:{}", rule.file, rule.line),
                        })
                    }),
                ),
                ("attacks", (!attacks.is_empty()).then(|| json!(attacks))),
            ])),
        ),
        ("device", Some(device(alert))),
        ("evidences", is_decision.then(|| json!([evidence(alert)]))),
        ("raw_data", None),
        ("unmapped", Some(unmapped(sealed))),
    ])
}

fn severity(severity: Severity) -> (u8, &'static str) {
    match severity {
        Severity::Info => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
    }
}

fn attack(technique: &str) -> Value {
    match technique.split_once('.') {
        Some((parent, _)) => json!({
            "version": "17", "technique": {"uid": parent}, "sub_technique": {"uid": technique},
        }),
        None => json!({"version": "17", "technique": {"uid": technique}}),
    }
}

fn metadata(sealed: &Sealed) -> Value {
    let alert = &sealed.alert;
    json!({
        "version": "1.5.0",
        "uid": alert.id,
        "sequence": alert.seq,
        "profiles": ["host", "container", "security_control", "datetime"],
        "product": {"name": "interdict", "vendor_name": "interdict", "version": alert.agent.version},
        "log_name": alert.schema,
    })
}

fn device(alert: &Alert) -> Value {
    json!({
        "type_id": 0, "type": "Unknown", "hostname": alert.host.name,
        "os": {"name": "Linux", "type_id": 200, "type": "Linux", "kernel_release": alert.host.kernel},
        "boot_uid": alert.host.boot_id,
    })
}

fn evidence(alert: &Alert) -> Value {
    let target = alert.object.as_ref();
    let flow = target.and_then(|target| target.flow.as_ref());
    let end = |ip: &Option<String>, port: Option<u16>| {
        (ip.is_some() || port.is_some()).then(|| {
            object([
                ("ip", ip.as_ref().map(|ip| json!(ip))),
                ("port", port.map(|port| json!(port))),
            ])
        })
    };
    let inbound = alert.acts.iter().any(|act| act == "packet.in" || act == "net.accept");
    let remote = flow.and_then(|flow| end(&flow.remote_ip, flow.remote_port));
    let local = flow.and_then(|flow| end(&flow.local_ip, flow.local_port));
    let (source, destination) = if inbound { (remote, local) } else { (local, remote) };
    object([
        ("actor", alert.process.as_ref().map(|process| actor(alert, process))),
        (
            "file",
            target.and_then(|target| target.path.as_ref()).map(|path| {
                json!({
                    "name": base_name(path), "path": path, "type_id": 0,
                })
            }),
        ),
        (
            "query",
            target
                .and_then(|target| target.dns_name.as_ref())
                .map(|name| json!({"hostname": name, "opcode_id": 0, "opcode": "Query"})),
        ),
        ("src_endpoint", source),
        ("dst_endpoint", destination),
        (
            "container",
            alert.container.as_ref().map(|container| {
                object([
                    ("uid", Some(json!(container.id))),
                    ("name", (!container.name.is_empty()).then(|| json!(container.name))),
                    (
                        "image",
                        (!container.image.is_empty())
                            .then(|| json!({"uid": container.image, "name": container.image})),
                    ),
                    ("runtime", (!container.runtime.is_empty()).then(|| json!(container.runtime))),
                    ("pod_uuid", (!container.pod_uid.is_empty()).then(|| json!(container.pod_uid))),
                ])
            }),
        ),
        ("data", Some(json!({"acts": alert.acts, "facts": alert.facts}))),
    ])
}

fn actor(alert: &Alert, process: &ProcessInfo) -> Value {
    let user = object([
        ("uid", Some(json!(process.uid.to_string()))),
        ("name", process.user.as_ref().map(|name| json!(name))),
    ]);
    let mut parent = None;
    for ancestor in process.ancestors.iter().rev() {
        parent = Some(object([
            ("pid", Some(json!(ancestor.pid))),
            ("name", ancestor.exe.as_ref().map(|exe| json!(base_name(exe)))),
            ("file", file(ancestor.exe.as_deref())),
            ("cmd_line", command(&ancestor.args)),
            ("parent_process", parent),
        ]));
    }
    let started = process.start_boot_ns.as_ref();
    json!({
        "process": object([
            ("pid", Some(json!(process.pid))),
            ("tid", Some(json!(process.tid))),
            ("uid", started.map(|started| json!(format!("{}-{}-{started}", alert.host.boot_id, process.pid)))),
            ("name", Some(json!(process.name))),
            ("file", file(process.exe.as_deref())),
            ("cmd_line", command(&process.args)),
            ("user", Some(user.clone())),
            ("parent_process", parent),
        ]),
        "user": user,
    })
}

fn file(path: Option<&str>) -> Option<Value> {
    path.map(
        |path| json!({"name": base_name(path), "path": path, "type_id": 1, "type": "Regular File"}),
    )
}

fn command(args: &[String]) -> Option<Value> {
    (!args.is_empty()).then(|| json!(args.join(" ")))
}

fn unmapped(sealed: &Sealed) -> Value {
    let alert = &sealed.alert;
    json!({"interdict": {
        "stream": alert.stream, "seq": alert.seq, "chain_hash": sealed.hash, "decision": alert.decision,
        "policy": alert.policy, "rules": alert.rules, "notice": alert.notice, "object": alert.object,
        "escaped": alert.escaped, "redacted": alert.redacted, "time_boot_ns": alert.time_boot_ns,
    }})
}
