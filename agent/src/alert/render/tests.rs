use std::collections::BTreeMap;

use serde_json::json;

use super::*;

/// A sealed line with everything in it that formats must carry or escape.
fn sample() -> Vec<u8> {
    json!({
        "acts": ["net.connect"],
        "agent": {"version": "0.1.0"},
        "container": {"cgroup": "/x", "id": "abc", "image": "r/web:1", "name": "web", "namespace": "shop", "pod": "web-7d",
            "pod_uid": "u-1", "runtime": "containerd"},
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
fn an_alert_with_every_member_is_written_as_the_model_serialises() {
    let mut native: Value = serde_json::from_slice(&sample()).unwrap();
    native["escaped"] = json!(["object.path"]);
    native["redacted"] = json!(["process.args.1"]);
    native["trimmed"] = json!(["facts"]);
    native["container"]["late"] = json!(true);
    native["process"]["args_truncated"] = json!(true);
    native["process"]["group"] = json!("g");
    native["notice"] = json!({"name": "n", "detail": {"b": 1, "a": "x"}});
    native["decision"]["more_rules"] = json!(true);
    let alert: Alert = serde_json::from_value(native).unwrap();
    let mut written = Vec::new();
    crate::alert::write::write(&mut written, &alert);
    assert_eq!(String::from_utf8(written).unwrap(), serde_json::to_string(&alert).unwrap());
}

#[test]
fn native_is_the_line_itself() {
    assert_eq!(render(&sample(), Format::Native).unwrap(), sample());
}

/// What ECS says of a field: see `ecs-8.11/README.md`.
#[derive(serde::Deserialize)]
struct EcsField {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    array: bool,
    #[serde(default)]
    allowed: Vec<String>,
    #[serde(default)]
    expected_event_types: BTreeMap<String, Vec<String>>,
}

fn ecs_fields() -> BTreeMap<String, EcsField> {
    serde_json::from_str(include_str!("ecs-8.11/fields.json")).unwrap()
}

/// What is wrong with an event by the schema: fields it doesn't have, values of another type or not among the allowed.
fn ecs_flaws(event: &Value, fields: &BTreeMap<String, EcsField>) -> Vec<String> {
    let mut flaws = Vec::new();
    let mut rest: Vec<(String, &Value)> = vec![(String::new(), event)];
    while let Some((name, value)) = rest.pop() {
        // What is ours alone stands below our own name, as ECS asks.
        if name == "interdict" {
            continue;
        }
        if let Value::Object(members) = value {
            let below =
                |key: &String| if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            rest.extend(members.iter().map(|(key, value)| (below(key), value)));
            continue;
        }
        let Some(field) = fields.get(&name) else {
            flaws.push(format!("{name} is no field"));
            continue;
        };
        let values = match value {
            Value::Array(values) if field.array => values.iter().collect(),
            Value::Array(_) => {
                flaws.push(format!("{name} is no list"));
                continue;
            }
            one => vec![one],
        };
        for one in values {
            let fits = match field.kind.as_str() {
                "keyword" | "wildcard" | "match_only_text" | "constant_keyword" => one.is_string(),
                "long" => one.is_i64() || one.is_u64(),
                "boolean" => one.is_boolean(),
                "ip" => one.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
                "date" => {
                    one.as_str().is_some_and(|text| crate::alert::build::unix_ns(text).is_some())
                }
                other => panic!("{name} has the type {other}"),
            };
            let allowed = field.allowed.is_empty()
                || one.as_str().is_some_and(|text| field.allowed.iter().any(|known| known == text));
            if !(fits && allowed) {
                flaws.push(format!("{name} can't be {one}"));
            }
        }
    }
    let expected = &fields["event.category"].expected_event_types;
    let texts = |pointer: &str| -> Vec<String> {
        let list = event.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    for category in texts("/event/category") {
        for kind in texts("/event/type") {
            // `allowed` and `denied` say what became of an act of any category.
            let of_any = kind == "allowed" || kind == "denied";
            if !of_any && !expected.get(&category).is_some_and(|kinds| kinds.contains(&kind)) {
                flaws.push(format!("{kind} is no type of {category}"));
            }
        }
    }
    flaws
}

/// The sample as other acts, and as a notice.
fn variants() -> Vec<Value> {
    let base: Value = serde_json::from_slice(&sample()).unwrap();
    let mut all = vec![base.clone()];
    for act in ["exec", "file.read", "file.write", "file.rename", "packet.in", "ptrace"] {
        let mut other = base.clone();
        other["acts"] = json!([act]);
        if !act.starts_with("packet") {
            other["object"] = json!({"path": "/tmp/a b", "second_path": "/tmp/c", "inode": "7", "device": "8:1",
                "mode": "100644", "flags": ["memfd"], "target_pid": 4});
        }
        all.push(other);
    }
    let mut notice = base;
    for gone in ["acts", "decision", "object", "policy", "process", "rules", "facts", "container"] {
        notice.as_object_mut().unwrap().remove(gone);
    }
    notice["kind"] = json!("agent");
    notice["notice"] = json!({"name": "alive", "detail": {"alerts": 7}});
    all.push(notice);
    all
}

#[test]
fn every_ecs_event_is_one_by_the_published_schema() {
    let fields = ecs_fields();
    for native in variants() {
        let event = render(native.to_string().as_bytes(), Format::Ecs).unwrap();
        let event: Value = serde_json::from_slice(&event).unwrap();
        assert_eq!(ecs_flaws(&event, &fields), [""; 0], "{event}");
    }
    let mut event = rendered(Format::Ecs);
    event["process"]["pid"] = json!("10");
    event["process"]["colour"] = json!("red");
    event["event"]["kind"] = json!("alarm");
    event["event"]["type"] = json!(["change"]);
    assert_eq!(ecs_flaws(&event, &fields).len(), 4, "the check finds what is wrong");
}

/// Reads a line by the grammar of CEF: seven header fields behind `CEF:0`, then `key=value` pairs, in which only `\`, `=`
/// and line ends are escaped. `None`: it is none.
fn cef(line: &str) -> Option<(Vec<String>, BTreeMap<String, String>)> {
    let mut fields = vec![String::new()];
    let mut characters = line.strip_prefix("CEF:0|")?.chars();
    while fields.len() < 7 {
        match characters.next()? {
            '\\' => match characters.next()? {
                escaped @ ('\\' | '|') => fields.last_mut()?.push(escaped),
                _nothing_else_is => return None,
            },
            '|' => fields.push(String::new()),
            plain => fields.last_mut()?.push(plain),
        }
    }
    let extension: String = characters.collect();
    if line.chars().any(char::is_control) {
        return None;
    }
    // A key is what stands between a space and a `=` that is not escaped.
    let signs: Vec<usize> = extension
        .match_indices('=')
        .map(|(at, _)| at)
        .filter(|at| {
            (0..*at).rev().take_while(|at| extension.as_bytes()[*at] == b'\\').count() % 2 == 0
        })
        .collect();
    let mut pairs = BTreeMap::new();
    for (index, sign) in signs.iter().enumerate() {
        let start = extension[..*sign].rfind(' ').map_or(0, |at| at + 1);
        let end = match signs.get(index + 1) {
            Some(next) => extension[..*next].rfind(' ')?,
            None => extension.len(),
        };
        let key = &extension[start..*sign];
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let mut value = String::new();
        let mut characters = extension[sign + 1..end].chars();
        while let Some(character) = characters.next() {
            value.push(match character {
                '\\' => match characters.next()? {
                    escaped @ ('\\' | '=') => escaped,
                    'n' => '\n',
                    'r' => '\r',
                    _nothing_else_is => return None,
                },
                plain => plain,
            });
        }
        if pairs.insert(key.to_owned(), value).is_some() {
            return None;
        }
    }
    Some((fields, pairs))
}

/// Keys of the CEF dictionary that lines may have, and of which type they are.
const CEF_KEYS: [(&str, char); 38] = [
    ("act", 't'),
    ("c6a2", '6'),
    ("c6a2Label", 't'),
    ("c6a3", '6'),
    ("c6a3Label", 't'),
    ("cat", 't'),
    ("cn1", 'n'),
    ("cn1Label", 't'),
    ("cs1", 't'),
    ("cs1Label", 't'),
    ("cs2", 't'),
    ("cs2Label", 't'),
    ("cs3", 't'),
    ("cs3Label", 't'),
    ("cs4", 't'),
    ("cs4Label", 't'),
    ("cs5", 't'),
    ("cs5Label", 't'),
    ("cs6", 't'),
    ("cs6Label", 't'),
    ("deviceDirection", 'n'),
    ("dpt", 'n'),
    ("dst", '4'),
    ("dvchost", 't'),
    ("externalId", 't'),
    ("filePath", 't'),
    ("flexString1", 't'),
    ("flexString1Label", 't'),
    ("msg", 't'),
    ("outcome", 't'),
    ("proto", 't'),
    ("rt", 'n'),
    ("spid", 'n'),
    ("sproc", 't'),
    ("spt", 'n'),
    ("src", '4'),
    ("suid", 't'),
    ("suser", 't'),
];

#[test]
fn every_cef_line_is_one_by_the_grammar_and_its_dictionary() {
    for native in variants() {
        let line = render(native.to_string().as_bytes(), Format::Cef).unwrap();
        let line = String::from_utf8(line).unwrap();
        let (header, pairs) = cef(&line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(header.len(), 7);
        assert!((0..=10).contains(&header[5].parse::<u8>().unwrap()), "{line}");
        for (key, value) in &pairs {
            let known = CEF_KEYS.iter().find(|(known, _)| known == key);
            let fits = match known.unwrap_or_else(|| panic!("{key} is no key")).1 {
                'n' => value.parse::<u64>().is_ok(),
                '4' => value.parse::<std::net::Ipv4Addr>().is_ok(),
                '6' => value.parse::<std::net::Ipv6Addr>().is_ok(),
                _text => !value.is_empty(),
            };
            assert!(fits, "{key}={value}");
        }
        assert_eq!(pairs.get("externalId"), native["id"].as_str().map(str::to_owned).as_ref());
    }
    assert!(cef("CEF:0|a|b|c|d|e|5|msg=a=b").is_none(), "the grammar finds an unescaped sign");
    assert!(cef("CEF:0|a|b|c|d|e").is_none());
}

proptest::proptest! {
    #[test]
    fn whatever_is_in_it_a_cef_line_reads_back_as_what_was_said(text in "[ -~\\n\\r|=\\\\ü]{1,60}", path in "[ -~|=\\\\]{1,60}") {
        let mut native: Value = serde_json::from_slice(&sample()).unwrap();
        native["process"]["args"] = json!([text]);
        native["rules"][0]["title"] = json!(path);
        let line = render(native.to_string().as_bytes(), Format::Cef).unwrap();
        let (header, pairs) = cef(std::str::from_utf8(&line).unwrap()).unwrap();
        proptest::prop_assert_eq!(&pairs["cs3"], &text);
        proptest::prop_assert_eq!(&header[4], &path);
    }
}
