//! The commands that look at policies, as a user runs them: what they print and how they exit.
#![allow(clippy::unwrap_used, reason = "a test that goes wrong should stop")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn interdict(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_interdict")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn pack() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../policies").to_owned()
}

/// A copy of the starter pack that may be changed.
fn copy(to: &Path) -> PathBuf {
    fn all(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                all(&path, &target);
            } else {
                fs::copy(&path, target).unwrap();
            }
        }
    }
    let target = to.join("policies");
    all(Path::new(&pack()), &target);
    target
}

#[test]
fn check_exits_by_what_it_found() {
    let good = interdict(&["check", &pack()]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stdout));
    assert!(text(&good.stdout).starts_with("no problems in "));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    let rule = "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: { name: x }\nspec:\n  rules:\n    - { id: X, title: T, on: exec, when: exec.pth == 1, action: alert }\n";
    fs::write(&file, rule).unwrap();
    let path = file.to_str().unwrap();
    let bad = interdict(&["check", path]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stdout).contains("bad.yaml:6:42"), "{}", text(&bad.stdout));
    assert!(text(&bad.stdout).contains("did you mean `exec.path`?"));

    let json = interdict(&["check", path, "--format", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json[0]["code"], "IDT0301");
    assert_eq!(json[0]["place"]["line"], 6);
    let sarif = interdict(&["check", path, "--format", "sarif"]);
    let sarif: serde_json::Value = serde_json::from_slice(&sarif.stdout).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "IDT0301");

    assert_eq!(interdict(&["check", "/nowhere/at/all"]).status.code(), Some(2));
    assert_eq!(interdict(&["check", &pack(), "--image-bytes", "100"]).status.code(), Some(1));
}

#[test]
fn an_expired_exception_fails_a_check_and_not_a_compilation() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("old.yaml");
    let rule = "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: { name: x }\nspec:\n  rules:\n    - id: X\n      title: T\n      on: exec\n      when: exec.memfd\n      action: alert\n      except: [{ name: e, when: process.uid == 0, owner: ops, reason: r, expires: 2001-01-01 }]\n";
    fs::write(&file, rule).unwrap();
    let path = file.to_str().unwrap();
    let checked = interdict(&["check", path]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(text(&checked.stdout).contains("error[IDT0701]"), "{}", text(&checked.stdout));
    assert_eq!(interdict(&["compile", path]).status.code(), Some(0));
}

#[test]
fn an_image_answers_as_its_policies_do() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("policy.img");
    let image = image.to_str().unwrap();
    let made = interdict(&["compile", &pack(), "-o", image, "--stats"]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    for from in [image, &pack()] {
        let blocked = interdict(&["why", from, "--read", "/etc/shadow", "--exe", "/usr/bin/cat"]);
        assert!(text(&blocked.stdout).starts_with("block"), "{}", text(&blocked.stdout));
        assert!(text(&blocked.stdout).contains("IDT-FILE-0101"));
        let fine = interdict(&["why", from, "--read", "/etc/shadow", "--exe", "/usr/sbin/sshd"]);
        assert!(text(&fine.stdout).starts_with("pass"), "{}", text(&fine.stdout));
        let audited = interdict(&[
            "why",
            from,
            "--connect",
            "203.0.113.9:443",
            "--audit",
            "--format",
            "json",
        ]);
        let audited: serde_json::Value = serde_json::from_slice(&audited.stdout).unwrap();
        assert_eq!(audited["verdict"], "pass");
        assert_eq!(audited["would"], "block");
        let packet = interdict(&["why", from, "--packet-from", "198.51.100.7"]);
        assert!(text(&packet.stdout).starts_with("block"));
    }
    let shown = interdict(&["inspect", image]);
    assert!(text(&shown.stdout).contains("IDT-EXEC-0201"));
    // What is cut off is no image.
    let bytes = fs::read(image).unwrap();
    fs::write(image, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(interdict(&["inspect", image]).status.code(), Some(2));
}

#[test]
fn test_fails_when_a_test_does() {
    let folder = tempfile::tempdir().unwrap();
    let policies = copy(folder.path());
    let path = policies.to_str().unwrap();
    let good = interdict(&["test", path]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stdout));
    let file = policies.join("network.yaml");
    let changed = fs::read_to_string(&file).unwrap().replace("expect: pass", "expect: block");
    fs::write(&file, changed).unwrap();
    let bad = interdict(&["test", path]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stdout).contains("expected block, the rule says pass"));
    let tap = text(&interdict(&["test", path, "--format", "tap"]).stdout);
    assert!(tap.contains("\nnot ok "));
    let junit = text(&interdict(&["test", path, "--format", "junit"]).stdout);
    assert!(junit.contains("<failure message="));
}

#[test]
fn diff_tells_which_acts_are_decided_differently() {
    let folder = tempfile::tempdir().unwrap();
    let policies = copy(folder.path());
    let path = policies.to_str().unwrap();
    let same = interdict(&["diff", &pack(), path, "--exit-code"]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stdout));
    let file = policies.join("execution.yaml");
    let changed = fs::read_to_string(&file).unwrap().replace("\"/dev/shm/**\", ", "");
    // The tests of what is gone would fail, but do not stand in the way of a comparison.
    fs::write(&file, changed).unwrap();
    let other = interdict(&["diff", &pack(), path, "--exit-code"]);
    assert_eq!(other.status.code(), Some(1));
    let told = text(&other.stdout);
    assert!(told.contains("block (IDT-EXEC-0201) -> pass"), "{told}");
    assert!(told.contains("path=/dev/shm/x"), "{told}");
}

#[test]
fn a_bundle_is_verified_and_never_older() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, public) = (file("key.pem"), file("public.pem"));
    let made = interdict_agent::alert::key::SigningKey::create(Path::new(&key)).unwrap();
    fs::write(&public, made.public().pem()).unwrap();
    let ledger = file("ledger.json");
    for serial in ["1", "2"] {
        let bundle = file(serial);
        let made = interdict(&[
            "bundle",
            "create",
            &pack(),
            "-o",
            &bundle,
            "--key",
            &key,
            "--serial",
            serial,
        ]);
        assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
        let seen = interdict(&["bundle", "verify", &bundle, "--key", &public, "--ledger", &ledger]);
        assert_eq!(seen.status.code(), Some(0), "{}", text(&seen.stderr));
    }
    let old = interdict(&["bundle", "verify", &file("1"), "--key", &public, "--ledger", &ledger]);
    assert_eq!(old.status.code(), Some(1));
    assert!(text(&old.stderr).contains("2 was accepted before"), "{}", text(&old.stderr));
    let mut bytes = fs::read(file("2")).unwrap();
    bytes[200] ^= 1;
    fs::write(file("3"), bytes).unwrap();
    let altered = interdict(&["bundle", "verify", &file("3"), "--key", &public]);
    assert_eq!(altered.status.code(), Some(1));
}

/// A name without a folder used to be an error, after the key had been written.
#[test]
fn a_key_is_made_where_one_is_and_never_twice() {
    let folder = tempfile::tempdir().unwrap();
    let create = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_interdict"));
        command.args(["keys", "create", "site.key"]).current_dir(folder.path()).output().unwrap()
    };
    let names = || {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let made = create();
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    assert_eq!(names(), ["site.key", "site.pub"]);
    let key = fs::read(folder.path().join("site.key")).unwrap();
    let again = create();
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("File exists"), "{}", text(&again.stderr));
    // No draft with a private key in it is left, and the first key is what it was.
    assert_eq!(names(), ["site.key", "site.pub"]);
    assert_eq!(fs::read(folder.path().join("site.key")).unwrap(), key);
}

#[test]
fn explain_tells_every_code_that_check_says() {
    let story = interdict(&["explain", "IDT0301"]);
    assert!(text(&story.stdout).starts_with("IDT0301: unknown field or macro"));
    assert_eq!(interdict(&["explain", "IDT9999"]).status.code(), Some(1));
    let all = text(&interdict(&["explain"]).stdout);
    assert!(all.lines().count() > 40);
}

#[test]
fn a_rule_that_costs_more_than_its_budget_fails_a_check_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cost.yaml");
    let policy = "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: { name: x }\nspec:\n  rules:\n    - { id: EXACT, title: T, on: file.read, when: file.path == \"/etc/x\", action: alert }\n    - { id: WILD, title: T, on: file.read, when: 'file.path in [\"/srv/*/a*.so\", \"/opt/**/b\"]', action: alert }\n";
    fs::write(&file, policy).unwrap();
    let path = file.to_str().unwrap();
    let check = |budget: &[&str]| interdict(&[&["check", path], budget].concat());
    let unbounded = check(&["--rule-bytes", "1000000", "--rule-steps", "100000"]);
    assert_eq!(unbounded.status.code(), Some(0), "{}", text(&unbounded.stderr));
    // An exact path is compared, its eight bytes and a step; a pattern with a gap reads the longest path there can be.
    let steps = check(&["--rule-steps", "100"]);
    assert_eq!(steps.status.code(), Some(1));
    let said = text(&steps.stderr);
    assert!(said.contains("cost.yaml:7: the rule `WILD` takes 4096 steps"), "{said}");
    assert!(said.contains("the budget is 100") && !said.contains("EXACT"), "{said}");
    let bytes = check(&["--rule-bytes", "1"]);
    assert_eq!(bytes.status.code(), Some(1));
    let said = text(&bytes.stderr);
    assert!(said.contains("`EXACT` takes") && said.contains("`WILD` takes"), "{said}");
    assert!(said.contains("bytes by itself, the budget is 1"), "{said}");
}
