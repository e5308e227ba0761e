use serde_json::json;

use super::*;

/// A sealed line with everything in it that formats must carry or escape.
fn sample() -> Vec<u8> {
    json!({
        "acts": ["net.connect"],
        "agent": {"version": "0.1.0"},
        "container": {"cgroup": "/x", "id": "abc", "pod_uid": "u-1", "runtime": "containerd"},
        "decision": {"errno": 1, "mode": "enforce", "verdict": "block", "would": "block"},
        "facts": {"net.dst.ip": "203.0.113.9"},
        "host": {"boot_id": "b", "kernel": "6.1.0", "name": "web|1"},
        "id": "00112233445566778899aabbccddeeff-7",
        "kind": "decision",
        "message": "curl a=b|c\\d",
        "object": {"flow": {"family": "inet", "protocol": "tcp", "remote_ip": "203.0.113.9", "remote_port": 443}},
        "policy": {"digest": "d", "generation": 3},
        "process": {"ancestors": [{"exe": "/bin/bash", "pid": 9, "args": ["bash"]}, {"exe": "/sbin/init", "pid": 1}],
            "args": ["curl", "x=\n1"], "cgroup_id": "5", "euid": 0, "euser": "root", "exe": "/usr/bin/curl", "gid": 33,
            "name": "curl", "parent_pid": 9, "pid": 10, "source": "kernel", "start_boot_ns": "77", "tid": 11, "uid": 33,
            "user": "www"},
        "rules": [{"action": "block", "attack": ["T1071.001", "T1105"], "file": "net.yaml", "id": "R|1", "line": 4,
            "mode": "enforce", "policy": "p", "severity": "critical", "tags": ["web"], "title": "T \\ t"}],
        "schema": "interdict.alert/1", "seal": {"hash": "ff00"}, "seq": 7, "severity": "critical",
        "stream": "00112233445566778899aabbccddeeff", "time": "2026-01-02T03:04:05.006000000Z", "time_boot_ns": "1"
    })
    .to_string()
    .into_bytes()
}

fn rendered(format: Format) -> Value {
    serde_json::from_slice(&render(&sample(), format).unwrap()).unwrap()
}

#[test]
fn a_detection_finding_names_rule_actor_and_both_ends() {
    let finding = rendered(Format::Ocsf);
    let at = |pointer: &str| finding.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(at("/class_uid"), 2004);
    assert_eq!(at("/type_uid"), 200_401);
    assert_eq!(at("/time"), 1_767_323_045_006u64);
    assert_eq!((at("/action_id"), at("/disposition_id")), (json!(2), json!(2)));
    assert_eq!(at("/severity_id"), 5);
    assert_eq!(at("/finding_info/analytic/uid"), "R|1");
    assert_eq!(at("/finding_info/attacks/0/sub_technique/uid"), "T1071.001");
    assert_eq!(at("/evidences/0/dst_endpoint/ip"), "203.0.113.9");
    assert_eq!(
        at("/evidences/0/actor/process/parent_process/parent_process/file/path"),
        "/sbin/init"
    );
    assert_eq!(at("/metadata/uid"), "00112233445566778899aabbccddeeff-7");
    assert_eq!(at("/unmapped/interdict/chain_hash"), "ff00");
}

#[test]
fn an_ecs_event_is_a_denied_network_alert() {
    let event = rendered(Format::Ecs);
    let at = |pointer: &str| event.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(at("/event/kind"), "alert");
    assert_eq!(at("/event/category"), json!(["network"]));
    assert_eq!(at("/event/type"), json!(["connection", "denied"]));
    assert_eq!(at("/destination/port"), 443);
    assert_eq!(at("/user/effective/name"), "root");
    assert_eq!(at("/threat/technique/id"), json!(["T1071", "T1105"]));
    assert_eq!(at("/threat/technique/subtechnique/id"), json!(["T1071.001"]));
    assert_eq!(at("/orchestrator/resource/id"), "u-1");
    assert_eq!(at("/interdict/seq"), 7);
}

#[test]
fn a_cef_line_escapes_what_would_end_a_field() {
    let line = String::from_utf8(render(&sample(), Format::Cef).unwrap()).unwrap();
    assert!(
        line.starts_with("CEF:0|interdict|interdict|0.1.0|R\\|1|T \\\\ t|10|rt=1767323045006 "),
        "{line}"
    );
    assert!(line.contains(" msg=curl a\\=b|c\\\\d "), "{line}");
    assert!(line.contains(" cs3Label=commandLine cs3=curl x\\=\\n1 "), "{line}");
    assert!(line.contains(" dst=203.0.113.9 dpt=443 proto=TCP "), "{line}");
    assert!(!line.contains('\n'));
}

#[test]
fn message_pack_holds_the_very_same_values() {
    let packed = render(&sample(), Format::Msgpack).unwrap();
    let back: Value = rmp_serde::from_slice(&packed).unwrap();
    assert_eq!(back, serde_json::from_slice::<Value>(&sample()).unwrap());
}

#[test]
fn native_is_the_line_itself() {
    assert_eq!(render(&sample(), Format::Native).unwrap(), sample());
}
