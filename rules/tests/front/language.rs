//! What expressions mean: a policy decides events as its words say.

use interdict_abi::ids::Action;
use interdict_rules::{diag::Code, suite};

use super::{compiled, policy, when};

/// Runs the inline tests of a policy and demands that all pass.
fn holds(text: &str) {
    let (sources, outcome) = compiled(text);
    let image = outcome.image.as_ref().unwrap_or_else(|| {
        panic!(
            "{}",
            interdict_rules::diag::terminal(
                &outcome.diagnostics,
                &sources,
                interdict_rules::diag::Colour::Plain
            )
        )
    });
    let results = suite::run(&outcome.parsed, &sources, image);
    assert!(!results.results.is_empty(), "no tests");
    assert_eq!(results.failed(), 0, "{}", suite::human(&results, image, false));
}

/// `expression` over `act` must hold for the first events and not for the second.
fn means(act: &str, expression: &str, matching: &[&str], others: &[&str]) {
    let quoted = serde_json::Value::String(expression.to_owned());
    let mut tests = String::new();
    for (expected, events) in [("alert", matching), ("pass", others)] {
        for event in events {
            let name = serde_json::Value::String((*event).to_owned());
            tests.push_str(&format!(
                "\n  - {{ name: {name}, event: {{ {event} }}, expect: {expected} }}"
            ));
        }
    }
    holds(&policy(&format!(
        "id: R\ntitle: T\non: {act}\nwhen: {quoted}\naction: alert\ntests:{tests}"
    )));
}

/// The codes a policy is refused with.
fn codes(text: &str) -> Vec<Code> {
    let (_, outcome) = compiled(text);
    outcome.diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
}

#[test]
fn and_binds_stronger_than_or_and_not_strongest() {
    means(
        "exec",
        r#"exec.memfd or not exec.deleted and exec.setuid"#,
        &["exec: { path: /x, memfd: true, deleted: true }", "exec: { path: /x, setuid: true }"],
        &["exec: { path: /x }", "exec: { path: /x, setuid: true, deleted: true }"],
    );
}

#[test]
fn paths_are_exact_unless_they_hold_a_glob() {
    means(
        "file.read",
        r#"file.path in ["/etc/shadow", "/etc/sudoers.d/**", "/home/*/.ssh/id_*"]"#,
        &[
            "file.read: { path: /etc/shadow }",
            "file.read: { path: /etc/sudoers.d/a/b }",
            "file.read: { path: /home/ana/.ssh/id_rsa }",
        ],
        &[
            "file.read: { path: /etc/shadow2 }",
            "file.read: { path: /x/etc/shadow }",
            "file.read: { path: /home/a/b/.ssh/id_rsa }",
        ],
    );
}

#[test]
fn a_backslash_makes_a_star_ordinary() {
    means(
        "file.read",
        r#"file.path == "/tmp/\*x""#,
        &[r#"file.read: { path: "/tmp/*x" }"#],
        &["file.read: { path: /tmp/ax }"],
    );
}

#[test]
fn the_text_operators_do_what_they_say() {
    let shadow = "file.read: { path: /etc/shadow }";
    let other = "file.read: { path: /var/log/x }";
    for expression in [
        r#"file.path startswith "/etc/""#,
        r#"file.path endswith "shadow""#,
        r#"file.path contains "tc/sh""#,
        r#"file.path glob "/e*/shad?w""#,
        r#"file.path matches "^/etc/s[a-h]+""#,
        r#"file.path startswith ["/etc", "/usr"]"#,
        r#"file.dir == "/etc""#,
        r#"file.dir startswith "/et""#,
        r#"file.dir in ["/etc/**"]"#,
        r#"file.name == "shadow""#,
        r#"file.name in ["sha*", "x.y"]"#,
    ] {
        means("file.read", expression, &[shadow], &[other]);
    }
}

#[test]
fn numbers_compare_and_lie_in_ranges() {
    let event = |uid: u32| format!("exec: {{ path: /x }}, process: {{ uid: {uid} }}");
    let (zero, small, large) = (event(0), event(999), event(1000));
    let (zero, small, large) = (zero.as_str(), small.as_str(), large.as_str());
    means("exec", "process.uid == 0", &[zero], &[small, large]);
    means("exec", "process.uid != 0", &[small, large], &[zero]);
    means("exec", "process.uid < 1000", &[zero, small], &[large]);
    means("exec", "process.uid >= 1000", &[large], &[zero, small]);
    means("exec", "process.uid in [0, 500..999]", &[zero, small], &[large]);
    means("exec", "not process.uid in [0, 500..999]", &[large], &[zero, small]);
}

#[test]
fn permission_bits_and_types_of_files_are_tested_apart() {
    means(
        "file.read",
        "file.mode == 0o600 and file.type == regular",
        &["file.read: { path: /x, mode: 0o600 }"],
        &[
            "file.read: { path: /x, mode: 0o644 }",
            "file.read: { path: /x, mode: 0o600, type: fifo }",
        ],
    );
}

#[test]
fn addresses_lie_in_blocks_of_both_families() {
    means(
        "net.connect",
        r#"net.dst.ip in [10.0.0.0/8, "2001:db8::/32", 192.0.2.5-192.0.2.9]"#,
        &[
            "net.connect: { dst: { ip: 10.255.0.1 } }",
            r#"net.connect: { dst: { ip: "2001:db8:1::1" } }"#,
            "net.connect: { dst: { ip: 192.0.2.9 } }",
            r#"net.connect: { dst: { ip: "::ffff:10.0.0.1" } }"#,
        ],
        &[
            "net.connect: { dst: { ip: 11.0.0.1 } }",
            r#"net.connect: { dst: { ip: "2001:db9::1" } }"#,
            "net.connect: { dst: { ip: 192.0.2.10 } }",
        ],
    );
}

#[test]
fn the_source_of_a_packet_is_its_sender() {
    means(
        "packet.in",
        "net.src.ip == 192.0.2.1 and net.dst.port == 22 and net.proto == tcp",
        &["packet.in: { src: { ip: 192.0.2.1 }, dst: { ip: 192.0.2.2, port: 22 } }"],
        &[
            "packet.in: { src: { ip: 192.0.2.2 }, dst: { ip: 192.0.2.1, port: 22 } }",
            "packet.in: { src: { ip: 192.0.2.1 }, dst: { ip: 192.0.2.2, port: 22 }, proto: udp }",
        ],
    );
}

#[test]
fn a_test_on_ancestors_holds_for_any_and_its_negation_for_none() {
    let below = "exec: { path: /x }, process: { ancestors: [/usr/bin/a, /usr/bin/b] }";
    let beside = "exec: { path: /x }, process: { ancestors: [/usr/bin/a] }";
    means("exec", r#"process.ancestor.exe == "/usr/bin/b""#, &[below], &[beside]);
    means("exec", r#"process.ancestor.exe != "/usr/bin/b""#, &[beside], &[below]);
}

#[test]
fn containers_are_told_from_the_host() {
    let inside = "exec: { path: /x }, container: { id: web }";
    let outside = "exec: { path: /x }";
    means("exec", "container.id != host", &[inside], &[outside]);
    means("exec", "container.id == host", &[outside], &[inside]);
}

#[test]
fn existing_means_having_a_value() {
    means(
        "exec",
        "process.exe exists",
        &["exec: { path: /x }, process: { exe: /y }"],
        &["exec: { path: /x }"],
    );
}

#[test]
fn macros_and_lists_stand_for_what_they_name() {
    holds(
        r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: test }
spec:
  lists:
    shells: { type: path, items: [/bin/sh, "/bin/*sh"] }
    ports: { type: port, items: [22, 8000..8999] }
  macros:
    privileged: process.uid == 0 or process.euid == 0
    shell_by_root: privileged and exec.path in shells
  rules:
    - id: R
      title: T
      on: exec
      when: shell_by_root and not exec.path in [shells, "/x"] or shell_by_root and exec.setuid
      action: alert
      tests:
        - { name: a, event: { exec: { path: /bin/bash, setuid: true }, process: { euid: 0 } }, expect: alert }
        - { name: b, event: { exec: { path: /bin/bash }, process: { euid: 0 } }, expect: pass }
    - id: S
      title: T
      on: net.connect
      when: net.dst.port in ports
      action: alert
      tests:
        - { name: c, event: { net.connect: { dst: { ip: 192.0.2.1, port: 8500 } } }, expect: alert }
        - { name: d, event: { net.connect: { dst: { ip: 192.0.2.1, port: 9000 } } }, expect: pass }
"#,
    );
}

#[test]
fn lists_and_macros_are_shared_by_all_files() {
    let mut sources = interdict_rules::parse::source::Sources::new();
    sources.add(
        "a.yaml",
        "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: { name: a }\nspec:\n  lists: { shells: { type: path, items: [/bin/sh] } }\n",
    );
    sources.add("b.yaml", when("exec", "exec.path in shells"));
    let outcome = interdict_rules::compile(&sources, &super::options());
    assert!(outcome.image.is_some(), "{:?}", outcome.diagnostics);
}

#[test]
fn several_documents_may_share_a_file() {
    let one = when("exec", "exec.memfd");
    let two = one.replace("name: test", "name: other").replace("id: R", "id: S");
    let (_, outcome) = compiled(&format!("{one}---\n{two}"));
    assert_eq!(outcome.image.expect("compiles").metadata().rules.len(), 2);
}

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
fn a_scope_known_in_user_space_takes_no_rule_that_decides() {
    let scoped = |action: &str| {
        policy(&format!("id: R\ntitle: T\non: [exec, file.read]\naction: {action}"))
            .replace("spec:\n", "spec:\n  scope: { k8s: { namespaces: [shop] } }\n")
    };
    assert_eq!(codes(&scoped("block")), [Code::ScopeNotPossible]);
    assert_eq!(codes(&scoped("kill")), [Code::ScopeNotPossible]);
    assert_eq!(codes(&scoped("alert")), []);
}

#[test]
fn lists_of_paths_and_names_are_fed_from_files_and_compared_exactly() {
    let fed = |lists: &str, when: &str, path: &str, expected: &str| {
        policy(&format!(
            "id: R\ntitle: T\non: exec\nwhen: '{when}'\naction: block\nmeans_to: lock_out\ntests:\n  - {{ name: t, event: {{ exec: {{ path: \"{path}\" }} }}, expect: {expected} }}"
        ))
        .replace("spec:\n", &format!("spec:\n  lists:\n    tools: {lists}\n"))
    };
    let paths = "{ type: path, items: [\"/opt/**\"], feed: { file: feeds/tools.txt } }";
    for (path, expected) in
        [("/usr/bin/nc", "block"), ("/opt/a/b", "block"), ("/tmp/[x]", "block"), ("/tmp/x", "pass")]
    {
        holds(&fed(paths, "exec.path in tools", path, expected));
    }
    let names = "{ type: name, feed: { file: feeds/names.txt } }";
    holds(&fed(names, "exec.name in tools", "/x/socat", "block"));
    holds(&fed(names, "exec.name in tools", "/x/so", "pass"));
    let wrong =
        fed("{ type: path, feed: { file: feeds/names.txt } }", "exec.path in tools", "/x", "pass");
    assert_eq!(codes(&wrong), [Code::FeedLine]);
}

#[test]
fn a_rule_on_arguments_may_kill_and_not_block() {
    let rule = |action: &str| when("exec", r#"exec.args == "-e""#).replace("action: alert", action);
    assert_eq!(codes(&rule("action: block")), [Code::ActionNotPossible]);
    assert_eq!(codes(&rule("action: kill")), []);
    let (_, outcome) = compiled(&rule("action: kill"));
    assert_eq!(outcome.program.rules[0].clauses[0].family, interdict_abi::ids::Family::Started);
}

#[test]
fn every_act_and_field_is_decided_or_refused() {
    use interdict_abi::ids::Act;
    use interdict_rules::field::{FIELDS, Type, Unresolved, Words, decided};
    for act in Act::ALL.iter().filter(|act| act.is_named()) {
        let refused =
            codes(&policy(&format!("id: R\ntitle: T\non: {}\naction: alert", act.name())));
        match decided(*act) {
            Some(_) => assert_eq!(refused, [], "{}", act.name()),
            None => assert_eq!(refused, [Code::ActNotDecided], "{}", act.name()),
        }
        if decided(*act).is_none() {
            continue;
        }
        for field in FIELDS {
            let test = match field.kind {
                Type::Path => format!("{} == \"/x\"", field.name),
                Type::Name | Type::Text | Type::Image | Type::Domain => {
                    format!("{} == \"x\"", field.name)
                }
                Type::Number(_) | Type::Port => format!("{} == 1", field.name),
                Type::Word(Words::Syscall) => format!("{} == openat", field.name),
                Type::Word(_) => format!("{} == 2", field.name),
                Type::Address => format!("{} == 192.0.2.1", field.name),
                Type::Flag => field.name.to_owned(),
                Type::Container => format!("{} != host", field.name),
            };
            let (_, outcome) = compiled(&when(act.name(), &test));
            let kernel_act = field.stage(*act);
            let resolved = field.resolve(kernel_act);
            let told = resolved == Err(Unresolved::UserSpace);
            let accepted = resolved.is_ok() || told;
            assert_eq!(outcome.image.is_some(), accepted, "{} on {}", field.name, act.name());
            if told {
                let narrowed = &outcome.program.rules[0].narrowed;
                assert_eq!(narrowed.len(), 1, "{} on {}", field.name, act.name());
                let block = when(act.name(), &test).replace("action: alert", "action: block");
                assert!(
                    codes(&block).contains(&Code::ActionNotPossible),
                    "{} on {}",
                    field.name,
                    act.name()
                );
            } else if accepted {
                // A test that was accepted is in the program, not dropped on the way.
                let literals = &outcome.program.rules[0].clauses[0].literals;
                assert_eq!(literals.len(), 1, "{} on {}", field.name, act.name());
            }
        }
    }
}

#[test]
fn a_start_that_is_refused_is_not_killed_afterwards() {
    let text = policy(
        r#"id: BLOCK
title: T
on: exec
when: exec.path == "/x"
action: block
tests:
  - { name: a, event: { exec: { path: /x, args: [x, -e] } }, expect: block }"#,
    ) + r#"    - id: KILL
      title: T
      on: exec
      when: exec.args == "-e"
      action: kill
      tests:
        - { name: b, event: { exec: { path: /x, args: [x, -e] } }, expect: kill }
---
apiVersion: interdict.dev/v1
kind: Cases
spec:
  cases:
    - { name: c, event: { exec: { path: /x, args: [x, -e] } }, expect: block, rules: [BLOCK] }
    - { name: d, event: { exec: { path: /y, args: [y, -e] } }, expect: kill, rules: [KILL] }
"#;
    holds(&text);
}

#[test]
fn names_of_started_programs_are_the_ends_of_their_paths() {
    for expression in [
        r#"exec.name == "nc""#,
        r#"exec.name in ["n?", "x"]"#,
        r#"exec.name startswith "n""#,
        r#"exec.name endswith "c""#,
        r#"exec.name contains "nc""#,
    ] {
        means(
            "exec",
            &format!(r#"{expression} and exec.args == "-e""#),
            &["exec: { path: /usr/bin/nc, args: [nc, -e] }"],
            &[
                "exec: { path: /usr/bin/nc/y, args: [nc, -e] }",
                "exec: { path: /nc/sed, args: [nc, -e] }",
                "exec: { path: /usr/bin/nc, args: [nc] }",
            ],
        );
    }
    // What is not known of a started program is refused, not left out.
    for test in [r#"process.exe == "/x""#, "exec.memfd", "process.euid == 0", "exec.argc > 2"] {
        let text = when("exec", &format!(r#"{test} and exec.args == "-e""#));
        assert_eq!(codes(&text), [Code::FieldNotDecided], "{test}");
    }
    let text = when("exec", r#"exec.name matches "^n" and exec.args == "-e""#);
    assert_eq!(codes(&text), [Code::WrongOperator]);
}

#[test]
fn connections_that_are_not_looked_at_are_refused() {
    assert_eq!(codes(&when("net.connect", "net.family == unix")), [Code::FieldNotDecided]);
    assert_eq!(codes(&when("net.connect", "net.family in [inet, inet6]")), []);
}

#[test]
fn alternatives_over_one_field_are_one_clause() {
    let (_, outcome) = compiled(&when(
        "exec",
        r#"exec.path == "/a" or exec.path == "/b" or exec.path in ["/c", "/d"]"#,
    ));
    assert_eq!(outcome.program.rules[0].clauses.len(), 1);
    let (_, outcome) = compiled(&when(
        "exec",
        r#"exec.path != "/a" and exec.path != "/b" and not exec.path in ["/c", "/d"]"#,
    ));
    assert_eq!(outcome.program.rules[0].clauses[0].literals.len(), 1);
}

#[test]
fn acts_that_mean_the_same_share_their_clauses() {
    let text = when("file.read", r#"file.path == "/a""#)
        .replace("on: file.read", "on: [file.read, file.write]");
    let (_, outcome) = compiled(&text);
    assert_eq!(outcome.program.rules[0].clauses.len(), 1);
    let text = when("exec", "process.uid == 0").replace("on: exec", "on: [exec, file.read]");
    let (_, outcome) = compiled(&text);
    assert_eq!(outcome.program.rules[0].clauses.len(), 2);
}

#[test]
fn the_same_text_gives_the_same_bytes() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/execution.yaml"))
            .unwrap();
    let encode = || compiled(&text).1.image.expect("compiles").encode().unwrap();
    assert_eq!(encode(), encode());
}

#[test]
fn hostile_documents_are_refused_and_not_obeyed() {
    // An alias bomb: nine levels of nine.
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let previous = format!("*a{}", level - 1);
        let items = vec![previous; 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(codes(&bomb).contains(&Code::TooComplex));
    // Deep nesting, in YAML and in an expression.
    assert!(!codes(&"[".repeat(100_000)).is_empty());
    assert_eq!(
        codes(&when("exec", &format!("{}exec.memfd{}", "(".repeat(5_000), ")".repeat(5_000)))),
        [Code::TooDeep]
    );
    assert_eq!(
        codes(&when("exec", &format!("{}exec.memfd", "not ".repeat(5_000)))),
        [Code::TooDeep]
    );
    // A mistake in every rule of a large file: all are found, and shown without reading the file again for each.
    let mut many = policy("id: R\ntitle: T\non: exec\naction: alert");
    for number in 0..3_000 {
        many.push_str(&format!(
            "    - {{ id: R{number}, title: T, on: exec, when: exec.pth == 1, action: alert }}\n"
        ));
    }
    let (sources, outcome) = compiled(&many);
    assert_eq!(outcome.diagnostics.len(), 3_000);
    let shown = interdict_rules::diag::terminal(
        &outcome.diagnostics,
        &sources,
        interdict_rules::diag::Colour::Plain,
    );
    assert!(shown.contains("2800 more are not shown"));
    // `and` of many `or`s: counted before it is unfolded.
    let product =
        vec!["(exec.memfd or exec.setuid or process.uid == 0 or exec.path == \"/x\")"; 60];
    assert_eq!(codes(&when("exec", &product.join(" and "))), [Code::TooManyClauses]);
}

#[test]
fn a_rule_that_locks_people_out_is_refused_unless_it_means_to() {
    let shells = |more: &str| {
        policy(&format!(
            "id: R\ntitle: T\non: exec\nwhen: exec.path == \"/usr/bin/bash\"\naction: block\n{more}"
        ))
    };
    assert_eq!(codes(&shells("")), [Code::LockOut]);
    assert_eq!(codes(&shells("means_to: lock_out")), []);
    assert_eq!(codes(&shells("mode: audit")), []);
    // Denying a port to the world is not denying it to some.
    let port = |when: &str| {
        policy(&format!("id: R\ntitle: T\non: packet.in\nwhen: {when}\naction: block"))
    };
    assert_eq!(codes(&port("net.dst.port == 22")), [Code::LockOut]);
    assert_eq!(codes(&port("net.dst.port == 22 and net.src.ip in [192.168.0.0/16]")), []);
}

#[test]
fn rules_of_the_starter_pack_overlap_in_nothing() {
    let mut sources = interdict_rules::parse::source::Sources::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    sources.load(std::path::Path::new(folder)).unwrap();
    let options = interdict_rules::Options {
        files: &interdict_rules::parse::source::Disk,
        today: "2026-06-30",
        budget: interdict_rules::lower::Budget::default(),
    };
    let outcome = interdict_rules::compile(&sources, &options);
    let said = interdict_rules::diag::terminal(
        &outcome.diagnostics,
        &sources,
        interdict_rules::diag::Colour::Plain,
    );
    assert_eq!(said, "");
    let image = outcome.image.expect("compiles");
    let results = suite::run(&outcome.parsed, &sources, &image);
    assert_eq!(results.failed(), 0, "{}", suite::human(&results, &image, false));
    assert!(results.results.len() > 60);
}

#[test]
fn the_schema_has_a_place_for_every_key_of_the_starter_pack() {
    // Walks each document along the schema: every key must be a property, nothing is left to `additionalProperties`.
    fn walk(schema: &serde_json::Value, value: &serde_json::Value, path: &str) {
        if let Some(options) = schema["oneOf"].as_array() {
            let kind = value["kind"].as_str();
            let fits = |option: &&serde_json::Value| match (
                kind,
                option["properties"]["kind"]["const"].as_str(),
            ) {
                (Some(kind), Some(wanted)) => kind == wanted,
                _ => match value {
                    serde_json::Value::Array(_) => option["type"] == "array",
                    serde_json::Value::Object(_) => option["type"] == "object",
                    _ => option["type"] != "array" && option["type"] != "object",
                },
            };
            let option =
                options.iter().find(fits).unwrap_or_else(|| panic!("{path}: nothing fits"));
            return walk(option, value, path);
        }
        match value {
            serde_json::Value::Array(items) => {
                for item in items {
                    walk(&schema["items"], item, path);
                }
            }
            serde_json::Value::Object(entries) => {
                for (key, inner) in entries {
                    let known = schema["properties"].get(key);
                    let any = schema.get("additionalProperties").filter(|any| any.is_object());
                    match known.or(any) {
                        Some(schema) => walk(schema, inner, &format!("{path}.{key}")),
                        None => assert!(
                            schema.get("properties").is_none(),
                            "{path}: the schema has no `{key}`"
                        ),
                    }
                }
                for required in schema["required"].as_array().into_iter().flatten() {
                    let required = required.as_str().unwrap();
                    assert!(entries.contains_key(required), "{path}: no `{required}`");
                }
            }
            other => {
                if let Some(words) = schema["enum"].as_array() {
                    assert!(words.contains(other), "{path}: {other} is not among {words:?}");
                }
            }
        }
    }

    /// YAML as JSON: scalars as text, which is all the walk looks at.
    fn plain(node: &interdict_rules::parse::yaml::Node) -> serde_json::Value {
        use interdict_rules::parse::yaml::Value;
        match &node.value {
            Value::Scalar(scalar) => serde_json::Value::String(scalar.text.clone()),
            Value::Sequence(items) => items.iter().map(|item| plain(item)).collect(),
            Value::Mapping(entries) => serde_json::Value::Object(
                entries.iter().map(|(key, node)| (key.text.clone(), plain(node))).collect(),
            ),
        }
    }

    let schema = interdict_rules::schema::schema();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    let mut sources = interdict_rules::parse::source::Sources::new();
    sources.load(std::path::Path::new(folder)).unwrap();
    let mut walked = 0;
    for (file, source) in sources.iter() {
        let mut diagnostics = interdict_rules::diag::Diagnostics::new();
        for document in
            interdict_rules::parse::yaml::documents(file, &source.text, &mut diagnostics)
        {
            walk(&schema, &plain(&document), &source.name);
            walked += 1;
        }
    }
    assert!(walked >= 5);
}

#[test]
fn the_reference_knows_every_field_and_act() {
    use interdict_rules::field::{FIELDS, reference};
    let text = reference::markdown();
    for field in FIELDS {
        assert!(text.contains(&format!("| `{}` |", field.name)), "{}", field.name);
    }
    assert!(text.contains("| `packet.in` | alert, block |"));
    assert!(reference::acts_human().contains("net.close        not decided"));
}

#[test]
fn a_slip_does_not_hide_the_mistakes_after_it() {
    // Operators of other languages are said, and read as what they mean.
    let codes =
        codes(&when("exec", r#"exec.pth == "/x" AND exec.name in (nc) && proces.uid = root"#));
    assert_eq!(
        codes,
        [
            Code::UnknownField,
            Code::ForeignToken,
            Code::ForeignToken,
            Code::Unquoted,
            Code::ForeignToken,
            Code::UnknownField,
            Code::ForeignToken,
        ]
    );
}

#[test]
fn every_example_of_the_manual_compiles_and_its_tests_pass() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/language.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let examples: Vec<&str> =
        manual.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        holds(example);
    }
}

#[test]
fn the_generated_reference_is_the_one_in_the_manual() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fields.md");
    let text = interdict_rules::field::reference::markdown();
    if std::env::var_os("INTERDICT_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, text, "run `interdict fields --format markdown > docs/fields.md`");
}

#[test]
fn a_range_is_no_number_to_compare_with() {
    assert_eq!(codes(&when("exec", "process.uid >= 1000..2000")), [Code::WrongValue]);
    assert_eq!(codes(&when("exec", "process.uid == 1000..2000")), []);
}

#[test]
fn a_rule_that_says_less_in_other_words_is_found() {
    let two = |narrow: &str, wide: &str| {
        policy(&format!("id: NARROW\ntitle: T\non: file.read\nwhen: '{narrow}'\naction: alert"))
            + &format!(
                "    - id: WIDE\n      title: T\n      on: [file.read, file.write]\n      when: '{wide}'\n      action: alert\n"
            )
    };
    let path = |test: &str| format!("file.path {test}");
    for (narrow, wide) in [
        (path("== \"/srv/a/b\""), path("== \"/srv/**\"")),
        (path("matches \"^/srv/[a-z]+$\""), path("startswith \"/srv/\"")),
        (
            path("in [\"/srv/{a,b}\"]"),
            "file.path == \"/srv/?\" and not file.path == \"/etc/*\"".to_owned(),
        ),
    ] {
        assert_eq!(codes(&two(&narrow, &wide)), [Code::Shadowed], "{narrow} | {wide}");
        assert_eq!(codes(&two(&wide, &narrow)), [], "{wide} | {narrow}");
    }
}

#[test]
fn a_rate_is_for_packets() {
    let rule = |on: &str, rate: &str| {
        let rule = format!(
            "id: R\ntitle: T\non: {on}\nwhen: net.dst.port == 53\naction: block\nrate: {rate}"
        );
        codes(&policy(&rule))
    };
    assert_eq!(rule("packet.in", "{ over: 100, per: 1s }"), []);
    assert_eq!(rule("packet.in", "{ over: 100, per: 1s, burst: 500 }"), []);
    assert_eq!(rule("net.send", "{ over: 100, per: 1s }"), [Code::ActionNotPossible]);
    assert_eq!(rule("packet.in", "{ over: 0, per: 1s }"), [Code::Pointless]);
}

#[test]
fn a_rule_on_flows_by_address_is_one_on_packets_too() {
    let backstops = |rule: &str| {
        let (_, outcome) = compiled(&policy(rule));
        outcome.image.expect("it compiles").metadata().rules[0].backstops.clone()
    };
    let written = "id: R\ntitle: T\non: [net.connect, net.send]\nwhen: net.dst.ip in [192.0.2.0/24]\naction: block";
    assert_eq!(backstops(written), ["packet.connect", "packet.out"]);
    let except = "\nexcept:\n  - { name: a, when: process.uid == 0, owner: me, reason: why, on: [net.send] }";
    assert_eq!(backstops(&format!("{written}{except}")), ["packet.connect"]);
}

#[test]
fn packets_that_leave_and_connections_that_arrive_have_acts() {
    means(
        "packet.out",
        r#"net.dst.ip in [192.0.2.0/24] and net.src.port == 25"#,
        &["packet.out: { dst: { ip: 192.0.2.1, port: 9 }, src: { ip: 10.0.0.1, port: 25 } }"],
        &["packet.out: { dst: { ip: 10.0.0.1, port: 9 }, src: { ip: 192.0.2.1, port: 25 } }"],
    );
    means(
        "packet.accept",
        r#"net.src.ip in [192.0.2.0/24] and net.dst.port == 22"#,
        &["packet.accept: { src: { ip: 192.0.2.1, port: 9 }, dst: { ip: 10.0.0.1, port: 22 } }"],
        &["packet.accept: { src: { ip: 192.0.2.1, port: 22 }, dst: { ip: 10.0.0.1, port: 9 } }"],
    );
    means(
        "net.bind",
        "net.src.port < 1024",
        &["net.bind: { src: { ip: 0.0.0.0, port: 80 } }"],
        &["net.bind: { src: { ip: 0.0.0.0, port: 8080 } }"],
    );
    means(
        "net.socket",
        "net.family == packet",
        &["net.socket: { family: packet, type: raw }"],
        &["net.socket: { family: inet, type: raw }"],
    );
}
