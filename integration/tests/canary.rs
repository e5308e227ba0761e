//! Whatever ends enforcement is an alarm within five seconds of the guest's time, and nothing else is.
//!
//! One guest per kernel, whose clock counts instructions, so that a busy host does not make it late. Each loss is injected,
//! waited for in the alerts, and undone. When it was injected is compared with when the agent's alert says it was seen.

use std::fs;
use std::path::Path;
use std::time::Duration;

use interdict_integration::observe::KERNELS;
use serde_json::Value;
use xtask::run;
use xtask::vm::Guest;
use xtask::vm::machine::Clock;

const POLICY: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: canary }
spec:
  rules:
    - id: CANARY-READ
      title: The protected file is read
      on: [file.read, file.write]
      when: file.path == "/opt/protected"
      action: block
    - id: CANARY-EXEC
      title: A program
      on: [exec]
      when: exec.path == "/opt/program"
      action: block
    - id: CANARY-CONNECT
      title: An address
      on: [net.connect]
      when: net.dst.ip in ["203.0.113.9"]
      action: block
"#;

const CONFIG: &str = "sinks:\n  - file: { path: /out/alerts.ndjson, max_bytes: 0 }\n";

/// `inject NAME COMMAND` prints when; `told NAME CANARY` waits for so many notices of that name about that canary.
const SCRIPT: &str = r#"
told() {
    left=600
    until [ "$(grep -c "\"canary\":\"$2\".*\"name\":\"$1\"" /out/alerts.ndjson)" -ge "$3" ]; do
        left=$((left - 1)); [ $left -gt 0 ] || { echo "deadline: no $1 of $2"; exit 1; }
        sleep 0.1
    done
}
inject() { name=$1; shift; read -r up _ < /proc/uptime; "$@" || echo "not injected"; echo "injected $name $up"; }
reload() { generation=$(cat /run/interdict/ready); echo '#' >> /etc/interdict/policies/policy.yaml
    while [ "$(cat /run/interdict/ready)" = "$generation" ]; do sleep 0.1; done; }
maps=$(echo /sys/fs/bpf/interdict/*-lsm-0/maps)
sleep 6
echo "before $(grep -c canary- /out/alerts.ndjson)"
if [ "$1" = ftrace ]; then
    inject ftrace sh -c 'echo 0 > /proc/sys/kernel/ftrace_enabled'
    for act in file.read file.write exec net.connect; do told canary-failed $act 1; done
    echo 1 > /proc/sys/kernel/ftrace_enabled
    for act in file.read file.write exec net.connect; do told canary-recovered $act 1; done
fi
inject image tamper clear-image "$maps/IMAGE"
told canary-failed image 1
reload
told canary-recovered image 1
inject control tamper clear-control "$maps/CONTROL"
told canary-failed image 2
reload
told canary-recovered image 2
inject pin rm "$maps/../links/socket_connect"
told canary-failed 'link socket_connect' 1
"#;

fn alarms_on(kernel: &str, ftrace: bool) {
    assert!(KERNELS.contains(&kernel));
    let policies = tempfile::tempdir().expect("a folder");
    fs::write(policies.path().join("policy.yaml"), POLICY).expect("a policy");
    let init = Path::new(env!("CARGO_BIN_EXE_guest"));
    let script = format!("set -- {}\n{SCRIPT}", if ftrace { "ftrace" } else { "" });
    let outcome = Guest::new(kernel, init)
        .expect("a kernel")
        .actor("/usr/local/bin/tamper")
        .agent(run::built_agent().expect("the agent builds"))
        .policies(policies.path())
        .config_text(CONFIG)
        .clock(Clock::Instructions)
        .timeout(Duration::from_secs(600))
        .run(&["sh", "-c", &script])
        .expect("the guest runs");
    assert_eq!(outcome.status, 0, "{}", outcome.output);
    let lines = fs::read_to_string(outcome.out.join("alerts.ndjson")).expect("alerts");
    let alerts: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    // No false alarm, and canaries are nobody's alerts.
    assert!(outcome.output.lines().any(|line| line == "before 0"), "{}", outcome.output);
    let decisions = alerts.iter().filter(|alert| alert["kind"] == "decision").count();
    assert_eq!(decisions, 0, "canaries were told as decisions");
    assert!(!outcome.output.contains("not injected"), "{}", outcome.output);
    let failures: Vec<u64> = alerts
        .iter()
        .filter(|alert| alert["notice"]["name"] == "canary-failed")
        .filter_map(|alert| alert["time_boot_ns"].as_str()?.parse().ok())
        .collect();
    let injected: Vec<(&str, f64)> = outcome
        .output
        .lines()
        .filter_map(|line| line.strip_prefix("injected ")?.split_once(' '))
        .filter_map(|(name, up)| Some((name, up.parse().ok()?)))
        .collect();
    assert_eq!(injected.len(), if ftrace { 4 } else { 3 }, "{}", outcome.output);
    for (name, up) in injected {
        let seconds =
            failures.iter().map(|seen| *seen as f64 / 1e9 - up).filter(|late| *late > -0.02);
        let late = seconds.fold(f64::INFINITY, f64::min);
        assert!(late <= 5.0, "{name} was seen after {late} s\n{}", outcome.output);
        println!("{kernel}: {name} was seen after {late:.2} s");
    }
}

// So named that `cargo xtask test canary` runs them and nothing else.
mod canary {
    #[test]
    fn every_loss_of_enforcement_is_an_alarm_within_five_seconds_on_6_1() {
        super::alarms_on("6.1", true);
    }

    #[test]
    fn every_loss_of_enforcement_is_an_alarm_within_five_seconds_on_newest() {
        super::alarms_on("newest", true);
    }
}
