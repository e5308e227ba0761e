//! Macros, lists and feeds stand for what they name, in one file and across files.

use interdict_rules::diag::Code;

use super::{codes, compiled, holds, policy, when};

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
