//! What the agent takes for its policy when it accepts only signed bundles, and what rules tell when they are narrowed by
//! what is known in user space only.
//!
//! One guest: it starts with the second of three bundles. The first, which is older, and a policy that nobody signed are
//! offered, and must change nothing; the third must be taken. Waiting is for notices and generations, with a deadline.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use interdict_integration::alerts;
use xtask::run;
use xtask::vm::Guest;

/// What reading the protected file comes to.
fn policy(action: &str) -> String {
    format!(
        r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: {{ name: trust }}
spec:
  rules:
    - id: TRUST-READ
      title: The protected file is read
      on: file.read
      when: file.path == "/opt/protected"
      action: {action}
    - id: TOLD-ROOT
      title: Root reads a file
      on: file.read
      when: file.path == "/opt/narrow" and user.name == "root"
      action: alert
    - id: TOLD-WEB
      title: The web server reads a file
      on: file.read
      when: file.path == "/opt/narrow" and user.name == "web"
      action: alert
    - id: TOLD-OUTSIDE
      title: A file is read outside of privileged containers
      on: file.read
      when: file.path == "/opt/narrow" and not container.privileged
      action: alert
    - id: TOLD-ACCOUNT
      title: A file is read under a service account
      on: file.read
      when: file.path == "/opt/narrow" and k8s.serviceaccount in ["*"]
      action: alert
"#
    )
}

const SCRIPT: &str = r#"
reads() {
    through=0; count=0
    while [ $count -lt 20 ]; do
        count=$((count + 1))
        read -r line 2>/dev/null < /opt/protected && through=$((through + 1))
    done
    echo "$through"
}
wait_until() {
    left=300
    until eval "$1"; do
        left=$((left - 1)); [ $left -gt 0 ] || { echo "deadline: $1"; exit 1; }
        sleep 0.2
    done
}
refused() { grep policy-refused /out/alerts.ndjson | grep -q "$1"; }
echo "second $(reads)"
[ "$1" = control ] && exit 0
read -r line < /opt/narrow
wait_until 'grep -q TOLD-ROOT /out/alerts.ndjson'
generation=$(cat /run/interdict/ready)
mv -f /etc/interdict/offered/1.bundle /etc/interdict/policies/policies.bundle
wait_until 'refused "was accepted before"'
echo "older $(reads)"
rm /etc/interdict/policies/policies.bundle
mv -f /etc/interdict/offered/unsigned.yaml /etc/interdict/policies/unsigned.yaml
wait_until 'refused unsigned.yaml'
echo "unsigned $(reads)"
[ "$(cat /run/interdict/ready)" = "$generation" ] && echo "generation kept"
rm /etc/interdict/policies/unsigned.yaml
mv -f /etc/interdict/offered/3.bundle /etc/interdict/policies/policies.bundle
wait_until '[ "$(cat /run/interdict/ready)" != "$generation" ]'
echo "third $(reads)"
"#;

/// Runs the agent's command line on this machine; answers what it printed.
fn interdict(agent: &Path, arguments: &[&str]) -> String {
    let output = Command::new(agent).args(arguments).output().expect("the agent runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// A guest whose policies are the second bundle, with the others at hand.
fn guest(kernel: &str, agent: &Path, folder: &Path) -> Guest {
    let path = |name: &str| folder.join(name).to_str().expect("text").to_owned();
    let key = path("key.pem");
    let shown = interdict(agent, &["keys", "create", &key]);
    let public = shown.lines().find_map(|line| line.strip_prefix("base64")).expect("a key").trim();
    fs::create_dir_all(folder.join("policies")).expect("a folder");
    fs::create_dir_all(folder.join("offered")).expect("a folder");
    for (serial, action, to) in [
        ("1", "alert", "offered/1.bundle"),
        ("2", "block", "policies/policies.bundle"),
        ("3", "alert", "offered/3.bundle"),
    ] {
        let source = path(serial);
        fs::create_dir_all(&source).expect("a folder");
        fs::write(folder.join(serial).join("policy.yaml"), policy(action)).expect("a policy");
        let to = path(to);
        let make = ["bundle", "create", &source, "-o", &to, "--key", &key, "--serial", serial];
        interdict(agent, &make);
    }
    fs::write(folder.join("offered/unsigned.yaml"), policy("alert")).expect("a policy");
    let config = format!(
        "bundles: {{ keys: [\"{public}\"] }}\nsinks:\n  - file: {{ path: /out/alerts.ndjson, max_bytes: 0 }}\n"
    );
    Guest::new(kernel, Path::new(env!("CARGO_BIN_EXE_guest")))
        .expect("a kernel")
        .file("/etc/passwd", 0o644, "root:x:0:0:root:/:/bin/sh\nweb:x:33:33:web:/:/bin/sh\n")
        .file("/opt/protected", 0o644, "secret\n")
        .file("/opt/narrow", 0o644, "plain\n")
        .add(folder.join("offered"), "/etc/interdict/offered")
        .policies(folder.join("policies"))
        .config_text(&config)
        .timeout(Duration::from_secs(200))
}

fn only_signed_bundles_on(kernel: &str) {
    let agent = run::built_agent().expect("the agent builds");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let guest = guest(kernel, &agent, folder.path());
    let control = guest.run(&["sh", "-c", SCRIPT, "sh", "control"]).expect("the guest runs");
    assert!(control.output.contains("second 20"), "without the agent: {}", control.output);
    let outcome = guest.agent(&agent).out(&out).run(&["sh", "-c", SCRIPT]).expect("the guest runs");
    let log = fs::read_to_string(out.join("agent.log")).unwrap_or_default();
    assert_eq!(outcome.status, 0, "{}\n{log}", outcome.output);
    for line in ["second 0", "older 0", "unsigned 0", "generation kept", "third 20"] {
        assert!(outcome.output.lines().any(|said| said == line), "{line}: {}", outcome.output);
    }
    let told = alerts::decisions(&out.join("alerts.ndjson")).expect("alerts");
    let narrow: Vec<&str> = told
        .iter()
        .flat_map(|alert| &alert.rules)
        .map(String::as_str)
        .filter(|rule| rule.starts_with("TOLD-"))
        .collect();
    // Told of who it was and where, and of nothing that was not so.
    assert!(narrow.contains(&"TOLD-ROOT") && narrow.contains(&"TOLD-OUTSIDE"), "{narrow:?}");
    assert!(!narrow.contains(&"TOLD-WEB") && !narrow.contains(&"TOLD-ACCOUNT"), "{narrow:?}");
}

// So named that `cargo xtask test trust` runs it and nothing else.
mod trust {
    #[test]
    fn only_signed_bundles_that_are_not_older_are_taken_and_rules_narrow_what_is_told_on_6_1() {
        super::only_signed_bundles_on("6.1");
    }
}
