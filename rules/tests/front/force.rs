//! What a rule is worth: exceptions that end, modes, scopes, and what is known in user space only.

use interdict_abi::ids::Action;
use interdict_rules::diag::Code;

use super::{codes, compiled, holds, policy};

#[test]
fn an_expired_exception_no_longer_excuses() {
    let rule = |date: &str, expected: &str| {
        policy(&format!(
            r#"id: R
title: T
on: exec
when: exec.path == "/x"
except:
  - {{ name: e, when: process.uid == 0, owner: o, reason: r, expires: {date} }}
action: block
tests:
  - {{ name: t, event: {{ exec: {{ path: /x }}, process: {{ uid: 0 }} }}, expect: {expected} }}"#
        ))
    };
    // Today is 2026-06-30: the last day is still excused.
    holds(&rule("2026-06-30", "pass"));
    holds(&rule("2026-06-29", "block"));
    assert_eq!(codes(&rule("2026-06-29", "block")), [Code::Expired]);
}

#[test]
fn the_weaker_of_two_modes_holds() {
    for (of_policy, of_rule, verdict) in [
        ("enforce", "enforce", Some(Action::Block)),
        ("enforce", "audit", Some(Action::Pass)),
        ("audit", "enforce", Some(Action::Pass)),
        ("off", "enforce", None),
        ("enforce", "off", None),
    ] {
        let text = policy(&format!(
            "id: R\ntitle: T\non: exec\nwhen: exec.memfd\nmode: {of_rule}\naction: block"
        ))
        .replace("spec:\n", &format!("spec:\n  mode: {of_policy}\n"));
        let (_, outcome) = compiled(&text);
        let image = outcome.image.expect("compiles");
        let event = interdict_rules::run::Event::new(interdict_abi::ids::Act::Exec).with(
            interdict_abi::ids::Fact::ObjectFlags,
            interdict_rules::run::Value::Number(interdict_abi::ids::object_flags::MEMFD),
        );
        let decision =
            interdict_rules::run::decide(&image, &event, interdict_abi::ids::Mode::Enforce);
        assert_eq!(decision.matched.is_empty(), verdict.is_none(), "{of_policy} {of_rule}");
        if let Some(verdict) = verdict {
            assert_eq!(decision.verdict, verdict, "{of_policy} {of_rule}");
        }
    }
}

#[test]
fn the_scope_of_a_policy_holds_for_its_rules() {
    let scoped = |scope: &str, inside: &str, outside: &str| {
        policy(&format!(
            "id: R\ntitle: T\non: exec\naction: alert\ntests:\n  - {{ name: i, event: {{ exec: {{ path: /x }}, container: {{ id: c }} }}, expect: {inside} }}\n  - {{ name: o, event: {{ exec: {{ path: /x }} }}, expect: {outside} }}"
        ))
        .replace("spec:\n", &format!("spec:\n  scope: {scope}\n"))
    };
    holds(&scoped("{ host: false, containers: true }", "alert", "pass"));
    holds(&scoped("{ host: true, containers: false }", "pass", "alert"));
    holds(&scoped("{ host: true, containers: true }", "alert", "alert"));
}

#[test]
fn a_scope_by_pods_and_images_narrows_what_is_told() {
    let event = |context: &str| format!("{{ exec: {{ path: /x }}{context} }}");
    let cases = [
        (
            "{ k8s: { namespaces: [shop, \"team-*\"] } }",
            ", k8s: { namespace: shop, pod: a }",
            "alert",
        ),
        (
            "{ k8s: { namespaces: [shop, \"team-*\"] } }",
            ", k8s: { namespace: team-b, pod: a }",
            "alert",
        ),
        ("{ k8s: { namespaces: [shop] } }", ", k8s: { namespace: other, pod: a }", "pass"),
        ("{ k8s: { namespaces: [shop] } }", "", "pass"),
        ("{ k8s: { namespaces: [shop] }, host: true }", "", "alert"),
        ("{ k8s: { namespaces: [shop] } }", ", unknown: [k8s.namespace, k8s.pod]", "alert"),
        (
            "{ k8s: { exclude_namespaces: [kube-system] } }",
            ", k8s: { namespace: a, pod: b }",
            "alert",
        ),
        ("{ k8s: { exclude_namespaces: [kube-system] } }", "", "pass"),
        (
            "{ k8s: { exclude_namespaces: [kube-system] } }",
            ", k8s: { namespace: kube-system, pod: b }",
            "pass",
        ),
        (
            "{ k8s: { labels: { app: web, tier: front } } }",
            ", k8s: { pod: a, labels: [tier=front, app=web] }",
            "alert",
        ),
        (
            "{ k8s: { labels: { app: web, tier: front } } }",
            ", k8s: { pod: a, labels: [app=web] }",
            "pass",
        ),
        (
            "{ container: { image: \"nginx:*\" } }",
            ", container: { id: c, image: \"docker.io/library/nginx:1.27\" }",
            "alert",
        ),
        (
            "{ container: { image: \"nginx:*\" } }",
            ", container: { id: c, image: \"my/nginx:1\" }",
            "pass",
        ),
        ("{ container: { name: web } }", ", container: { id: c, name: web }", "alert"),
    ];
    for (scope, context, expected) in cases {
        let rule = format!(
            "id: R\ntitle: T\non: exec\naction: alert\ntests:\n  - {{ name: t, event: {}, expect: {expected} }}",
            event(context)
        );
        holds(&policy(&rule).replace("spec:\n", &format!("spec:\n  scope: {scope}\n")));
    }
}

#[test]
fn what_is_known_in_user_space_narrows_what_is_told() {
    let event = |context: &str| format!("{{ exec: {{ path: /x }}{context} }}");
    let cases = [
        (r#"user.name == "www""#, ", user: { name: www }", "alert"),
        (r#"user.name == "www""#, ", user: { name: ops }", "pass"),
        (r#"not user.name in ["www", "git"]"#, ", user: { name: git }", "pass"),
        (r#"host.name startswith "db""#, ", host: { name: db1 }", "alert"),
        ("process.start_age < 5", ", process: { start_age: 4 }", "alert"),
        ("process.start_age < 5", ", process: { start_age: 5 }", "pass"),
        (r#"process.args == "-i""#, ", process: { args: [bash, -i] }", "alert"),
        (r#"container.id == "abc""#, ", container: { id: abc }", "alert"),
        (r#"container.id in ["abc", "host"]"#, "", "alert"),
        (r#"container.id == "abc""#, "", "pass"),
        ("container.privileged", ", container: { id: c, privileged: true }", "alert"),
        ("container.privileged", ", container: { id: c, privileged: false }", "pass"),
        ("not container.privileged", ", container: { id: c, privileged: false }", "alert"),
        ("not container.privileged", ", container: { id: c, privileged: true }", "pass"),
        ("container.privileged", "", "pass"),
        ("container.privileged", ", unknown: container.privileged", "alert"),
        (r#"k8s.serviceaccount == "web""#, ", k8s: { serviceaccount: web }", "alert"),
        (r#"k8s.serviceaccount == "web""#, ", k8s: { serviceaccount: ops }", "pass"),
        (r#"not k8s.serviceaccount in ["web-*"]"#, ", k8s: { serviceaccount: web-1 }", "pass"),
        (r#"user.name == "www" or process.uid == 7"#, ", process: { uid: 7 }", "alert"),
        (r#"user.name == "www" or process.uid == 7"#, ", user: { name: www }", "alert"),
        (r#"user.name == "www" or process.uid == 7"#, ", user: { name: ops }", "pass"),
    ];
    for (when, context, expected) in cases {
        holds(&policy(&format!(
            "id: R\ntitle: T\non: exec\nwhen: '{when}'\naction: alert\ntests:\n  - {{ name: t, event: {}, expect: {expected} }}",
            event(context)
        )));
    }
    // An exception on it is not decided in the kernel: what it excuses is not told.
    let excused = |name: &str, expected: &str| {
        policy(&format!(
            "id: R\ntitle: T\non: exec\nwhen: exec.path == \"/x\"\naction: alert\nexcept:\n  - {{ name: e, when: user.name == \"ops\" and process.uid == 1000, owner: o, reason: r }}\ntests:\n  - {{ name: t, event: {}, expect: {expected} }}",
            event(&format!(", user: {{ name: {name} }}"))
        ))
    };
    holds(&excused("ops", "pass"));
    holds(&excused("www", "alert"));
}

#[test]
fn arguments_of_the_acting_process_are_decided_in_the_kernel() {
    let cases = [
        ("file.read", "block", r#"process.args == "--serve""#, "[d, --serve]", "block"),
        ("file.read", "block", r#"process.args == "--serve""#, "[d, --served]", "pass"),
        (
            "file.read",
            "block",
            r#"file.path == "/x" and not process.args startswith "--safe""#,
            "[d, --safe=1]",
            "pass",
        ),
        (
            "file.read",
            "block",
            r#"file.path == "/x" and not process.args startswith "--safe""#,
            "[d, x]",
            "block",
        ),
        ("file.read", "alert", r#"process.args == "--serve""#, "[d, --serve]", "alert"),
        ("exec", "block", r#"process.args == "-c" and exec.path == "/x""#, "[sh, -c]", "block"),
        ("exec", "block", r#"process.args == "-c" and exec.path == "/x""#, "[sh, -i]", "pass"),
    ];
    for (act, action, when, args, expected) in cases {
        let object = if act == "exec" { "exec" } else { "file.read" };
        holds(&policy(&format!(
            "id: R\ntitle: T\non: {act}\nwhen: '{when}'\naction: {action}\ntests:\n  - {{ name: t, event: {{ {object}: {{ path: /x }}, process: {{ args: {args} }} }}, expect: {expected} }}"
        )));
    }
    // `on_fault` says what becomes of it when they are not known.
    for (on_fault, expected) in [("block", "block"), ("pass", "pass")] {
        holds(&policy(&format!(
            "id: R\ntitle: T\non: file.read\nwhen: process.args == \"x\"\naction: block\non_fault: {on_fault}\ntests:\n  - {{ name: t, event: {{ file.read: {{ path: /x }}, unknown: process.args }}, expect: {expected} }}"
        )));
    }
}

#[test]
fn arguments_before_and_after_a_start_are_not_confused() {
    let rule = |action: &str, args: &str, expected: &str| {
        policy(&format!(
            "id: R\ntitle: T\non: exec\nwhen: process.args == \"-c\" and exec.args == \"-e\"\naction: {action}\ntests:\n  - {{ name: t, event: {{ exec: {{ path: /x, args: [p, -e] }}, process: {{ args: {args} }} }}, expect: {expected} }}"
        ))
    };
    // When the new ones are known the old ones are gone: they narrow what is told.
    holds(&rule("alert", "[sh, -c]", "alert"));
    holds(&rule("alert", "[sh, -e]", "pass"));
    assert_eq!(codes(&rule("kill", "[sh, -c]", "kill")), [Code::ActionNotPossible]);
    // The new ones alone say nothing of the old ones.
    holds(&policy(
        "id: R\ntitle: T\non: exec\nwhen: process.args == \"-e\"\naction: block\ntests:\n  - { name: t, event: { exec: { path: /x, args: [p, -e] }, process: { args: [sh] } }, expect: pass }",
    ));
}

/// An event with what is known of where it happens.
fn event(context: &str) -> String {
    format!("{{ exec: {{ path: /x }}{context} }}")
}

#[test]
fn a_rule_that_blocks_decides_on_containers_in_the_kernel() {
    let (in_pod, elsewhere) = (
        ", container: { id: c, image: \"docker.io/library/nginx:1.27\", name: web, privileged: true }, k8s: { namespace: shop, pod: web-1, labels: [app=web, tier=front/x], serviceaccount: robot }",
        ", container: { id: d, image: \"quay.io/other:1\", name: db, privileged: false }, k8s: { namespace: ops, pod: db-1, labels: [app=db, \"web=x\"], serviceaccount: other }",
    );
    let tests = [
        r#"k8s.namespace == "shop""#,
        r#"k8s.namespace in ["sh*", "stage"]"#,
        r#"k8s.namespace matches "^s.op$""#,
        r#"k8s.pod startswith "web-""#,
        r#"k8s.labels == "app=web""#,
        r#"k8s.labels glob "app=w*""#,
        r#"k8s.labels glob "tier={front,back}/*""#,
        r#"k8s.labels startswith "tier=""#,
        r#"k8s.labels endswith "front/x""#,
        r#"k8s.labels contains "p=w""#,
        r#"not k8s.labels in ["app=db", "a=b"]"#,
        r#"not k8s.labels glob "*=x" and container.id != host"#,
        r#"k8s.serviceaccount == "robot""#,
        r#"container.image == "nginx:*""#,
        r#"container.image == "library/nginx:1.27""#,
        r#"container.image startswith "docker.io/library/""#,
        r#"container.image startswith "nginx""#,
        r#"container.image endswith ":1.27""#,
        r#"container.name == "web""#,
        r#"container.id == "c""#,
        r#"container.id in ["c", "host"] and container.id != host"#,
        "container.privileged",
    ];
    for when in tests {
        for (context, expected) in [
            (in_pod, "block"),
            (elsewhere, "pass"),
            (
                ", unknown: [k8s.namespace, k8s.pod, k8s.labels, k8s.serviceaccount, container.image, container.name, container.privileged, container.id]",
                "block",
            ),
        ] {
            holds(&policy(&format!(
                "id: R\ntitle: T\non: exec\nwhen: 'exec.path == \"/x\" and {when}'\naction: block\ntests:\n  - {{ name: t, event: {}, expect: {expected} }}",
                event(context)
            )));
        }
        // What is not known is nothing by the other word.
        let unknown = event(
            ", unknown: [k8s.namespace, k8s.pod, k8s.labels, k8s.serviceaccount, container.image, container.name, container.privileged, container.id]",
        );
        holds(&policy(&format!(
            "id: R\ntitle: T\non: exec\nwhen: 'exec.path == \"/x\" and {when}'\naction: block\non_fault: pass\ntests:\n  - {{ name: t, event: {unknown}, expect: pass }}",
        )));
    }
    // Of the host none of it is true, and so what is asked not to be.
    for (when, expected) in [
        (r#"k8s.namespace == "shop""#, "pass"),
        (r#"not k8s.namespace == "shop""#, "block"),
        (r#"container.id == "c""#, "pass"),
        (r#"container.id in ["c", "host"]"#, "block"),
    ] {
        holds(&policy(&format!(
            "id: R\ntitle: T\non: exec\nwhen: 'exec.path == \"/x\" and {when}'\naction: block\ntests:\n  - {{ name: t, event: {}, expect: {expected} }}",
            event("")
        )));
    }
}

#[test]
fn a_scope_by_pods_holds_for_rules_that_block() {
    let scoped = |action: &str, context: &str, expected: &str| {
        policy(&format!(
            "id: R\ntitle: T\non: exec\nwhen: exec.path == \"/x\"\naction: {action}\ntests:\n  - {{ name: t, event: {}, expect: {expected} }}",
            event(context)
        ))
        .replace("spec:\n", "spec:\n  scope: { k8s: { namespaces: [shop], labels: { app: web } } }\n")
    };
    let pod = |namespace: &str, label: &str| {
        format!(
            ", container: {{ id: c }}, k8s: {{ namespace: {namespace}, pod: p, labels: [\"{label}\"] }}"
        )
    };
    for action in ["alert", "block", "kill"] {
        holds(&scoped(action, &pod("shop", "app=web"), action));
        holds(&scoped(action, &pod("shop", "app=db"), "pass"));
        holds(&scoped(action, &pod("ops", "app=web"), "pass"));
        holds(&scoped(action, "", "pass"));
    }
    // An exception on it is decided in the kernel, too.
    let excused = |namespace: &str, expected: &str| {
        policy(&format!(
            "id: R\ntitle: T\non: exec\nwhen: exec.path == \"/x\"\naction: block\nexcept:\n  - {{ name: e, when: k8s.namespace == \"ops\", owner: o, reason: r }}\ntests:\n  - {{ name: t, event: {}, expect: {expected} }}",
            event(&pod(namespace, "a=b"))
        ))
    };
    holds(&excused("ops", "pass"));
    holds(&excused("shop", "block"));
}

#[test]
fn a_rule_that_blocks_takes_no_expression_on_what_has_several_values() {
    for field in ["k8s.labels", "container.image"] {
        let on = |action: &str| {
            policy(&format!(
                "id: R\ntitle: T\non: exec\nwhen: '{field} matches \"x\"'\naction: {action}"
            ))
        };
        assert_eq!(codes(&on("block")), [Code::WrongOperator], "{field}");
        assert_eq!(codes(&on("alert")), [], "{field}");
    }
}

#[test]
fn it_is_known_which_rules_ask_for_what_a_containers_runtime_tells() {
    let asks = |scope: &str, rule: &str| {
        let text = policy(&format!("id: R\ntitle: T\non: file.write\n{rule}"))
            .replace("spec:\n", &format!("spec:\n  scope: {scope}\n"));
        let (_, outcome) = compiled(&text);
        let image = outcome.image.expect("compiles");
        image.metadata().rules[0].asks_of_container
    };
    let (anywhere, shop) = ("{ host: true, containers: true }", "{ k8s: { namespaces: [shop] } }");
    let excepted = "when: file.path == \"/srv/x\"\naction: block\nexcept:\n  - { name: e, when: container.name == \"web\", owner: o, reason: r }";
    assert!(!asks(anywhere, "when: file.path == \"/srv/x\"\naction: block"));
    assert!(!asks(anywhere, "when: container.id != host\naction: block\nmeans_to: lock_out"));
    assert!(asks(shop, "when: file.path == \"/srv/x\"\naction: block"));
    assert!(asks(anywhere, "when: k8s.labels == \"app=web\"\naction: block"));
    assert!(asks(anywhere, excepted));
    // Rules that alert are told by it in user space.
    assert!(!asks(anywhere, "when: k8s.labels == \"app=web\"\naction: alert"));
}

#[test]
fn what_is_done_to_a_file_narrows_what_is_told_and_is_an_act_for_what_is_refused() {
    let rule = |action: &str, tests: &str| {
        policy(&format!(
            "id: R\ntitle: T\non: [file.read, file.write, file.unlink]\nwhen: file.path == \"/srv/x\" and not file.access in [\"read\", \"unlink\"]\naction: {action}{tests}"
        ))
    };
    let event = |act: &str, more: &str, expected: &str| {
        format!(
            "\n  - {{ name: {act}{expected}, event: {{ {act}: {{ path: /srv/x{more} }} }}, expect: {expected} }}"
        )
    };
    let tests = [
        event("file.read", "", "pass"),
        event("file.write", "", "alert"),
        event("file.unlink", "", "pass"),
    ];
    holds(&rule("alert", &format!("\ntests:{}", tests.concat())));
    assert_eq!(codes(&rule("block", "")), [Code::ActionNotPossible]);
}
