//! Rules on ancestors hold for processes whose parents have exited, also under a policy that was loaded afterwards.
//!
//! A launcher starts a process that waits, and exits. Then a new policy comes into force, or a new agent, or new programs;
//! then the process reads. A twin that descends from nobody in particular reads the same.

use std::time::Duration;

use interdict_integration::observe::guarded;
use interdict_integration::script::WAIT_FOR;

const POLICY: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: lineage }
spec:
  rules:
    - id: LINEAGE-READ
      title: Whoever descends from the launcher reads the protected file
      on: file.read
      when: file.path == "/opt/protected" and process.ancestor.exe == "/opt/launcher"
      action: block
"#;

/// `orphan NAME` waits until somebody writes to /tmp/go-NAME and then tells whether it may read.
const SCRIPT: &str = r#"
cp /usr/bin/dash /opt/launcher; cp /usr/bin/dash /opt/other
cat > /tmp/orphan <<'END'
read -r _ < "/tmp/go-$1"
if read -r line 2>/dev/null < /opt/protected; then echo through; else echo refused; fi > "/tmp/said-$1.new"
mv "/tmp/said-$1.new" "/tmp/said-$1"
END
launch() { mkfifo "/tmp/go-$2"; "$1" -c "(sh /tmp/orphan $2 &) "; }
asked() { echo go > "/tmp/go-$1"; wait_for "/tmp/said-$1" ''; echo "$1 $(cat "/tmp/said-$1")"; }
for name in before reloaded restarted replaced; do launch /opt/launcher $name; launch /opt/other "$name-twin"; done
asked before; asked before-twin
change() {
    generation=$(cat /run/interdict/ready)
    cp "$1" /etc/interdict/policies/policy.yaml
    wait_for /run/interdict/ready "$generation"
}
cp /etc/interdict/policies/policy.yaml /tmp/policy
{ cat /tmp/policy; echo '# another'; } > /tmp/another; change /tmp/another
asked reloaded; asked reloaded-twin
pid=$(cat /run/interdict/agent.pid); rm /run/interdict/ready
kill -9 "$pid"; wait_for /run/interdict/agent.pid "$pid"; wait_for /run/interdict/ready ''
asked restarted; asked restarted-twin
instance=$(ls /sys/fs/bpf/interdict)
change /opt/more
[ "$(ls /sys/fs/bpf/interdict)" != "$instance" ] || echo "not loaded anew"
asked replaced; asked replaced-twin
"#;

/// More rules, which need another hook: an agent that has adopted its programs loads them anew for it.
const MORE: &str = r#"    - id: LINEAGE-CONNECT
      title: An address
      on: net.connect
      when: net.dst.ip in ["192.0.2.1"]
      action: alert
"#;

fn holds_on(kernel: &str) {
    let outcome = guarded(kernel, env!("CARGO_BIN_EXE_guest"), POLICY)
        .file("/opt/protected", 0o644, "secret\n")
        .file("/opt/more", 0o644, format!("{POLICY}{MORE}"))
        .timeout(Duration::from_secs(400))
        .run(&["sh", "-c", &format!("{WAIT_FOR}{SCRIPT}")])
        .expect("the guest runs");
    assert_eq!(outcome.status, 0, "{}", outcome.output);
    assert!(!outcome.output.contains("not loaded anew"), "{}", outcome.output);
    for name in ["before", "reloaded", "restarted", "replaced"] {
        let (mine, twin) = (format!("{name} refused"), format!("{name}-twin through"));
        assert!(outcome.output.lines().any(|line| line == mine), "{mine}\n{}", outcome.output);
        assert!(outcome.output.lines().any(|line| line == twin), "{twin}\n{}", outcome.output);
    }
}

// So named that `cargo xtask test lineage` runs them and nothing else.
mod lineage {
    #[test]
    fn ancestors_that_exited_are_known_to_the_next_policy_on_6_1() {
        super::holds_on("6.1");
    }

    #[test]
    fn ancestors_that_exited_are_known_to_the_next_policy_on_newest() {
        super::holds_on("newest");
    }
}
