//! Which acts and fields are decided, and how acts that belong together become clauses.

use interdict_rules::diag::Code;

use super::{codes, compiled, holds, means, policy, when};

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
    use interdict_rules::field::{Class, FIELDS, Type, Unresolved, Words, decided};
    for act in Act::ALL.iter().filter(|act| act.is_named()) {
        let refused =
            codes(&policy(&format!("id: R\ntitle: T\non: {}\naction: alert", act.name())));
        assert!(decided(*act).is_some(), "{} is never decided", act.name());
        assert_eq!(refused, [], "{}", act.name());
        for field in FIELDS {
            let test = match field.kind {
                Type::Path => format!("{} == \"/x\"", field.name),
                Type::Text if field.name == "k8s.labels" => r#"k8s.labels == "a=b""#.to_owned(),
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
            let place = field.class == Class::Place && resolved.is_ok();
            let told = resolved == Err(Unresolved::UserSpace) || place;
            let accepted = resolved.is_ok() || told;
            assert_eq!(outcome.image.is_some(), accepted, "{} on {}", field.name, act.name());
            if told {
                let narrowed = &outcome.program.rules[0].narrowed;
                assert_eq!(narrowed.len(), 1, "{} on {}", field.name, act.name());
                let row = decided(kernel_act).expect("looked at above");
                let action = if row.refusable { "action: block" } else { "action: kill" };
                let stronger = when(act.name(), &test).replace("action: alert", action);
                if place {
                    // Rules that act decide on it in the kernel: the same test is in the program.
                    let (_, outcome) = compiled(&stronger);
                    let rule = &outcome.program.rules[0];
                    assert_eq!(
                        rule.clauses[0].literals.len(),
                        1,
                        "{} on {}",
                        field.name,
                        act.name()
                    );
                    assert!(rule.narrowed.is_empty());
                    continue;
                }
                assert!(
                    codes(&stronger).contains(&Code::ActionNotPossible),
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
