//! Profiles and overrides.

use interdict_rules::{compile, diag::Code, parse::source::Sources, suite};

use super::options;

const VENDOR: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: vendor }
spec:
  lists: { readers: { type: path, items: [/bin/a, /bin/b] } }
  rules:
    - id: V1
      title: T
      on: file.read
      when: file.path == "/secret" and not process.exe in readers
      action: block
      attack: [T1003.008]
      tags: [credentials]
    - id: V2
      title: T
      on: exec
      when: exec.memfd
      action: block
      attack: [T1620]
"#;

/// Compiles the vendor's policy with a site's override, and runs cases over the whole set.
fn site(overrides: &str, cases: &str) -> Vec<Code> {
    let mut sources = Sources::new();
    sources.add("vendor.yaml", VENDOR);
    sources.add(
        "site.yaml",
        format!("apiVersion: interdict.dev/v1\nkind: Override\nmetadata: {{ name: site }}\nspec:\n{overrides}"),
    );
    if !cases.is_empty() {
        sources.add(
            "site.cases.yaml",
            format!("apiVersion: interdict.dev/v1\nkind: Cases\nspec:\n  cases:\n{cases}"),
        );
    }
    let outcome = compile(&sources, &options());
    if let Some(image) = &outcome.image {
        let results = suite::run(&outcome.parsed, &sources, image);
        assert_eq!(results.failed(), 0, "{}", suite::human(&results, image, false));
        assert!(cases.is_empty() || results.passed() > 0);
    }
    outcome.diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
}

const MEMFD: &str = "event: { exec: { path: '/memfd:x', memfd: true } }";

#[test]
fn a_site_changes_the_mode_of_a_rule_by_its_id() {
    let codes = site(
        "  overrides: [{ select: { id: V2 }, set: { mode: audit } }]\n",
        &format!("    - {{ name: c, {MEMFD}, expect: alert, would: block }}\n"),
    );
    assert_eq!(codes, []);
}

#[test]
fn a_technique_selects_its_sub_techniques() {
    let codes = site(
        "  overrides: [{ select: { attack: T1003 }, set: { mode: off } }]\n",
        "    - { name: c, event: { file.read: { path: /secret } }, expect: pass }\n",
    );
    assert_eq!(codes, []);
}

#[test]
fn every_part_of_a_selection_must_be_met() {
    let codes = site(
        "  overrides: [{ select: { attack: T1620, tag: credentials }, set: { mode: off } }]\n",
        "",
    );
    assert_eq!(codes, [Code::SelectsNothing]);
}

#[test]
fn a_site_adds_an_exception() {
    let codes = site(
        "  overrides:\n    - select: { policy: vendor, id: V2 }\n      except: [{ name: e, when: process.uid == 0, owner: o, reason: r }]\n",
        "    - { name: c, event: { exec: { path: /x, memfd: true }, process: { uid: 0 } }, expect: pass, excepted_by: e }\n    - { name: d, event: { exec: { path: /x, memfd: true } }, expect: block, rules: [V2] }\n",
    );
    assert_eq!(codes, []);
}

#[test]
fn a_site_changes_the_items_of_a_list() {
    let codes = site(
        "  lists: { readers: { add: [/bin/c], remove: [/bin/a] } }\n",
        "    - { name: a, event: { file.read: { path: /secret }, process: { exe: /bin/a } }, expect: block }\n    - { name: b, event: { file.read: { path: /secret }, process: { exe: /bin/b } }, expect: pass }\n    - { name: c, event: { file.read: { path: /secret }, process: { exe: /bin/c } }, expect: pass }\n",
    );
    assert_eq!(codes, []);
}

#[test]
fn an_override_of_nothing_is_refused() {
    for overrides in [
        "  overrides: [{ select: { id: V3 }, set: { mode: audit } }]\n",
        "  overrides: [{ select: { tag: nothing }, set: { mode: audit } }]\n",
        "  overrides: [{ select: {}, set: { mode: audit } }]\n",
        "  lists: { readers: { remove: [/bin/z] } }\n",
    ] {
        assert_eq!(site(overrides, ""), [Code::SelectsNothing], "{overrides}");
    }
    assert_eq!(site("  lists: { raeders: { add: [/bin/z] } }\n", ""), [Code::UnknownList]);
}

#[test]
fn overrides_that_disagree_are_refused() {
    let codes = site(
        "  overrides:\n    - { select: { id: V2 }, set: { mode: audit } }\n    - { select: { policy: vendor }, set: { mode: off } }\n",
        "",
    );
    assert_eq!(codes, [Code::OverridesDisagree]);
}

#[test]
fn a_profile_refuses_what_it_does_not_allow() {
    let mut sources = Sources::new();
    sources.add(
        "profile.yaml",
        r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: nginx }
spec:
  profiles:
    - id: NGINX
      title: What nginx may do
      for: process.exe == "/usr/sbin/nginx"
      on: [exec, file.write, net.connect]
      default: block
      allow:
        - { name: itself, on: [exec], when: exec.path == "/usr/sbin/nginx" }
        - { name: logs, on: [file.write], when: 'file.path in ["/var/log/nginx/**", "/run/nginx.pid"]' }
        - { name: upstream, on: [net.connect], when: 'net.dst.ip in [10.0.0.0/8]' }
      tests:
        - { name: a, event: { exec: { path: /usr/sbin/nginx }, process: { exe: /usr/sbin/nginx } }, expect: pass, excepted_by: itself }
        - { name: b, event: { exec: { path: /bin/sh }, process: { exe: /usr/sbin/nginx } }, expect: block }
        - { name: c, event: { file.write: { path: /var/log/nginx/access.log }, process: { exe: /usr/sbin/nginx } }, expect: pass }
        - { name: d, event: { file.write: { path: /etc/passwd }, process: { exe: /usr/sbin/nginx } }, expect: block }
        - { name: e, event: { net.connect: { dst: { ip: 10.1.1.1 } }, process: { exe: /usr/sbin/nginx } }, expect: pass }
        - { name: f, event: { net.connect: { dst: { ip: 192.0.2.1 } }, process: { exe: /usr/sbin/nginx } }, expect: block }
        - { name: g, event: { exec: { path: /bin/sh }, process: { exe: /bin/bash } }, expect: pass }
"#,
    );
    let outcome = compile(&sources, &options());
    let image = outcome.image.as_ref().unwrap_or_else(|| panic!("{:?}", outcome.diagnostics));
    let results = suite::run(&outcome.parsed, &sources, image);
    assert_eq!(results.failed(), 0, "{}", suite::human(&results, image, false));
    assert_eq!(results.passed(), 7);
}

#[test]
fn what_a_profile_allows_must_be_known_for_its_acts() {
    let mut sources = Sources::new();
    sources.add(
        "profile.yaml",
        r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: nginx }
spec:
  profiles:
    - id: NGINX
      title: T
      for: process.exe == "/usr/sbin/nginx"
      on: [exec, file.write]
      default: block
      allow: [{ name: itself, when: exec.path == "/usr/sbin/nginx" }]
"#,
    );
    let outcome = compile(&sources, &options());
    assert_eq!(outcome.diagnostics[0].code, Code::FieldOfOtherAct);
}
