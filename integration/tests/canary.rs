//! Whatever ends enforcement is an alarm within five seconds of the guest's time, and nothing else is.
//!
//! One guest per kernel, whose clock counts instructions, so that a busy host does not make it late. Each loss is injected,
//! waited for in the alerts, and undone. When it was injected is compared with when the agent's alert says it was seen.

use std::time::Duration;

use interdict_integration::{alerts, observe::guarded};
use xtask::vm::machine::Clock;

const POLICY: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: canary }
spec:
  rules:
    - id: CANARY-READ
      title: The protected file is read
      on: [file.read, file.write, file.create, file.mkdir, file.mknod, file.symlink, file.link, file.rename, file.unlink,
        file.setattr, file.truncate, file.mount, mmap.exec, mprotect.exec, module.load, kexec]
      when: file.path == "/opt/protected"
      action: block
    - id: CANARY-EXEC
      title: A program
      on: [exec]
      when: exec.path == "/opt/program"
      action: block
    - id: CANARY-CONNECT
      title: An address
      on: [net.connect, net.send]
      when: net.dst.ip in ["203.0.113.9"]
      action: block
    - id: CANARY-OWN
      title: An address of this host
      on: [net.bind, net.listen]
      when: net.src.ip in ["203.0.113.9"]
      action: block
    - id: CANARY-ACCEPT
      title: The same
      on: [net.accept, packet.in]
      when: net.dst.ip in ["203.0.113.9"]
      action: block
    - id: CANARY-PROCESS
      title: Whatever a program does that is not here
      on: [ptrace, signal, bpf, perf.open, ns.create, cap.use, setuid, setgid, setgroups, net.socket]
      when: process.exe == "/opt/program"
      action: block
"#;

const CONFIG: &str =
    "sinks:\n  - file: { path: /out/alerts.ndjson, max_bytes: 0 }\ninterfaces: [gone]\n";

/// What is not refused any more when the kernel calls no LSM program, in the words of notices. Messages (`net.send`) still are:
/// their packets are dropped at the socket.
const CANARIES: &[&str] = &[
    "exec",
    "file.read",
    "file.write",
    "file.create",
    "file.mkdir",
    "file.mknod",
    "file.symlink",
    "file.link",
    "file.rename",
    "file.unlink",
    "file.setattr",
    "file.setattr of times",
    "file.setattr of attributes",
    "file.truncate",
    "file.truncate by descriptor",
    "file.mount",
    "mmap.exec",
    "mprotect.exec",
    "module.load",
    "kexec",
    "ptrace",
    "signal",
    "bpf",
    "perf.open",
    "ns.create",
    "cap.use",
    "setuid",
    "setgid",
    "setgroups",
    "net.connect",
    "net.bind",
    "net.listen",
    "net.accept",
    "net.socket",
];

/// Done before the agent starts: an interface, and with `image` the policies as one.
const GROUND: &str = "ip link add gone type veth peer name gone-too && ip link set gone up";
const COMPILE: &str =
    "interdict compile /etc/interdict/policies --canaries /var/lib/interdict -o /run/policy.img";

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
    [ ! -e /run/policy.img ] || COMPILE
    while [ "$(cat /run/interdict/ready)" = "$generation" ]; do sleep 0.1; done; }
maps=$(echo /sys/fs/bpf/interdict/*-lsm-0/maps)
sleep 6
ip link del gone
sleep 3
echo "before $(grep -c canar /out/alerts.ndjson)"
if [ "$1" = ftrace ]; then
    inject ftrace sh -c 'echo 0 > /proc/sys/kernel/ftrace_enabled'
    for act in ACTS; do told canary-failed "$(echo $act | tr _ ' ')" 1; done
    echo 1 > /proc/sys/kernel/ftrace_enabled
    for act in ACTS; do told canary-recovered "$(echo $act | tr _ ' ')" 1; done
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

fn alarms_on(kernel: &str, image: bool) {
    let acts: Vec<String> = CANARIES.iter().map(|name| name.replace(' ', "_")).collect();
    let script = SCRIPT.replace("ACTS", &acts.join(" ")).replace("COMPILE", COMPILE);
    let script = format!("set -- ftrace\n{script}");
    let (before, config) = if image {
        (format!("{GROUND} && {COMPILE}"), format!("{CONFIG}policies: /run/policy.img\n"))
    } else {
        (GROUND.to_owned(), CONFIG.to_owned())
    };
    let outcome = guarded(kernel, env!("CARGO_BIN_EXE_guest"), POLICY)
        .actor("/usr/local/bin/tamper")
        .config_text(&config)
        .before(&before)
        .clock(Clock::Instructions)
        .timeout(Duration::from_secs(600))
        .run(&["sh", "-c", &script])
        .expect("the guest runs");
    assert_eq!(outcome.status, 0, "{}", outcome.output);
    let alerts = alerts::lines(&outcome.out);
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
    assert_eq!(injected.len(), 4, "{}", outcome.output);
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
        super::alarms_on("6.1", false);
    }

    #[test]
    fn every_loss_of_enforcement_is_an_alarm_within_five_seconds_on_6_12() {
        super::alarms_on("6.12", true);
    }

    #[test]
    fn every_loss_of_enforcement_is_an_alarm_within_five_seconds_on_newest() {
        super::alarms_on("newest", false);
    }
}
