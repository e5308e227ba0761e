//! What root tries against an agent that protects itself, and what each attempt comes to with and without protection.
//!
//! One guest per kernel and standing. `try NAME COMMAND` prints whether the command went through. Without protection every
//! attempt must go through, or it proves nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use interdict_integration::script::WAIT_FOR;
use serde_json::Value;
use xtask::run;
use xtask::vm::Guest;

const POLICY: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: guard }
spec:
  rules:
    - id: GUARD-READ
      title: The protected file is read
      on: file.read
      when: file.path == "/opt/protected"
      action: block
"#;

const SINK: &str = "sinks:\n  - file: { path: /out/alerts.ndjson, max_bytes: 0 }\n";
const TAMPER: &str = "/usr/local/bin/tamper";

/// Functions of both scripts.
const FUNCTIONS: &str = r#"
try() {
    name=$1; shift
    if "$@" >/dev/null 2>&1; then echo "try $name through"; else echo "try $name held"; fi
}
append() { echo '#' >> "$1"; }
touch_mem() { true < "/proc/$1/mem"; }
read_all() { cat "$1" > /dev/null; }
over() { cp /etc/hostname "$1.new-thing" 2>/dev/null || cp /etc/hostname /tmp/thing; [ -e "$1.new-thing" ] && mv "$1.new-thing" "$1" || mv /tmp/thing "$1"; }
agent() { cat /run/interdict/agent.pid; }
through() { if read -r line 2>/dev/null < /opt/protected; then echo "read through"; else echo "read refused"; fi; }
bpf=/sys/fs/bpf/interdict
instance=$(echo $bpf/*-lsm-0)
"#;

/// Attempts that leave the agent as it was, each undone at once where it could go through.
const ATTEMPTS: &str = r#"
through
try stop kill -STOP "$(agent)"; kill -CONT "$(agent)" 2>/dev/null
try memory touch_mem "$(agent)"
try limit prlimit --pid "$(agent)" --nofile=900:900
try nice renice -n 19 -p "$(agent)"
try oom-score sh -c 'echo 100 > "/proc/$(cat /run/interdict/agent.pid)/oom_score_adj"'
mkdir -p /sys/fs/cgroup/elsewhere; agent > /sys/fs/cgroup/elsewhere/cgroup.procs
try freeze sh -c 'echo 1 > /sys/fs/cgroup/elsewhere/cgroup.freeze'; echo 0 > /sys/fs/cgroup/elsewhere/cgroup.freeze
agent > /sys/fs/cgroup/cgroup.procs
try key-read read_all /var/lib/interdict/agent.key
try config-write append /etc/interdict/config.yaml
try config-mode chmod 777 /etc/interdict/config.yaml
try config-owner chown 1:1 /etc/interdict/config.yaml
try config-link ln /etc/interdict/config.yaml /etc/interdict/other.yaml
try config-truncate truncate -s +1 /etc/interdict/config.yaml
try policy-write append /etc/interdict/policies/policy.yaml
try policy-create append /etc/interdict/policies/more.txt
try policy-folder mkdir /etc/interdict/policies/folder
try policy-symlink ln -s /etc/hostname /etc/interdict/policies/symlink
try policy-mount mount -t tmpfs none /etc/interdict/policies; umount /etc/interdict/policies 2>/dev/null
try policy-bind mount --bind /tmp /etc/interdict/policies; umount /etc/interdict/policies 2>/dev/null
try way-mount mount -t tmpfs none /etc/interdict; umount /etc/interdict 2>/dev/null
try policies-away mv /etc/interdict/policies /etc/interdict/away; mv /etc/interdict/away /etc/interdict/policies 2>/dev/null
try spool-create append /var/lib/interdict/spool/more
try binary-away mv /usr/bin/interdict /usr/bin/away; mv /usr/bin/away /usr/bin/interdict 2>/dev/null
try binary-link ln /usr/bin/interdict /usr/bin/interdict-link
try map-by-id tamper map
try map-by-pin tamper pinned-map "$instance/maps/CONTROL"
try guard-map-by-pin tamper pinned-map "$instance/maps/GUARD_STATE"
try program-by-id tamper program
try link-by-id tamper link
try pin-away mv "$instance/maps/FAULTS" "$instance/maps/away"; mv "$instance/maps/away" "$instance/maps/FAULTS" 2>/dev/null
try ftrace sh -c 'echo 0 > /proc/sys/kernel/ftrace_enabled'; echo 1 > /proc/sys/kernel/ftrace_enabled 2>/dev/null
mkdir -p /tmp/proc; mount -t proc proc /tmp/proc
try ftrace-elsewhere sh -c 'echo 0 > /tmp/proc/sys/kernel/ftrace_enabled'; echo 1 > /tmp/proc/sys/kernel/ftrace_enabled 2>/dev/null
"#;

/// Attempts after which an agent without protection is not what it was.
const LAST: &str = r#"
try pin-remove rm "$instance/links/file_open"
through
try policy-over over /etc/interdict/policies/policy.yaml
try config-remove rm /etc/interdict/config.yaml
try binary-over over /usr/bin/interdict
try pins-unmount umount -l /sys/fs/bpf
try kill kill -KILL "$(agent)"
"#;

/// What follows with protection: the agent dies by what is not guarded against, others try before and after it is back,
/// and a token ends it all.
const PROTECTED: &str = r#"
try unload interdict unload
cp /etc/interdict/config.yaml /tmp/evil.yaml; echo 'mode: audit' >> /tmp/evil.yaml
try other-config interdict run --config /tmp/evil.yaml
try other-mode interdict run --mode audit
cp /lib/x86_64-linux-gnu/libc.so.6 /tmp/foreign.so
interdict protect status; echo "status $?"
LD_PRELOAD=/tmp/foreign.so interdict protect status >/dev/null 2>/tmp/foreign; echo "foreign $? $(grep -c 'does not trust' /tmp/foreign)"
old=$(agent)
echo 1000 > "/proc/$old/oom_score_adj"; echo f > /proc/sysrq-trigger
left=100; while [ -d "/proc/$old" ] && [ $left -gt 0 ]; do left=$((left - 1)); sleep 0.1; done
through
try dead-pin-remove rm "$instance/links/file_open"
try dead-map tamper map
try dead-config append /etc/interdict/config.yaml
wait_for /run/interdict/agent.pid "$old"
ready=/run/interdict/ready
left=600; until [ -n "$(cat $ready 2>/dev/null)" ] && interdict protect status > /dev/null; do left=$((left - 1)); [ $left -gt 0 ] || exit 1; sleep 0.2; done
through
try back-kill kill -KILL "$(agent)"
try no-token interdict protect off
mint() { $(interdict protect request | sed "s#PRIVATE_KEY#$1#"); }
interdict keys create /tmp/wrong.key > /dev/null
try wrong-token interdict protect off --break-glass "$(mint /tmp/wrong.key)"
token=$(mint /root/break.key)
try token interdict protect off --break-glass "$token"
left=100; until grep -q '"break-glass"' /out/alerts.ndjson; do left=$((left - 1)); [ $left -gt 0 ] || { echo "deadline: no word of the token"; exit 1; }; sleep 0.2; done
through
old=$(agent); rm -f /run/interdict/ready
try ended-kill kill -KILL "$old"
wait_for /run/interdict/agent.pid "$old"
wait_for /run/interdict/ready ''
interdict protect status; echo "status $?"
try used-token interdict protect off --break-glass "$token"
try unload-token interdict unload --break-glass "$(mint /root/break.key)"
# The kernel lets go of a link some time after its last name is gone.
left=100; until read -r line 2>/dev/null < /opt/protected; do left=$((left - 1)); [ $left -gt 0 ] || break; sleep 0.1; done
through
"#;

struct Seen {
    printed: String,
    alerts: Vec<Value>,
}

impl Seen {
    fn tries(&self) -> BTreeMap<&str, &str> {
        let tries = self.printed.lines().filter_map(|line| line.strip_prefix("try "));
        tries.filter_map(|line| line.split_once(' ')).collect()
    }

    fn reads(&self) -> Vec<&str> {
        self.printed.lines().filter_map(|line| line.strip_prefix("read ")).collect()
    }

    /// Acts of the agent's notices that somebody tampered with it.
    fn told(&self) -> BTreeMap<String, usize> {
        let mut told = BTreeMap::new();
        for alert in &self.alerts {
            if alert["notice"]["name"] == "tampering" {
                let act = alert["notice"]["detail"]["act"].as_str().unwrap_or_default();
                *told.entry(act.to_owned()).or_insert(0) += 1;
            }
        }
        told
    }
}

fn seen_on(kernel: &str, protect: &str, script: &str) -> Seen {
    let policies = tempfile::tempdir().expect("a folder");
    fs::write(policies.path().join("policy.yaml"), POLICY).expect("a policy");
    let agent = run::built_agent().expect("the agent builds");
    let key = policies.path().with_extension("key");
    run::text(Command::new(&agent).args(["keys", "create"]).arg(&key)).expect("a key");
    let init = Path::new(env!("CARGO_BIN_EXE_guest"));
    let outcome = Guest::new(kernel, init)
        .expect("a kernel")
        .file("/opt/protected", 0o644, "secret\n")
        .file("/root/break.key", 0o600, fs::read(&key).expect("the key"))
        .file("/etc/break.pub", 0o644, fs::read(key.with_extension("pub")).expect("the key"))
        .actor(TAMPER)
        .add("/usr/bin/prlimit", "/usr/bin/prlimit")
        .agent(agent)
        .policies(policies.path())
        .config_text(&format!("{protect}\n{SINK}"))
        .timeout(Duration::from_secs(500))
        .run(&["sh", "-c", &format!("{WAIT_FOR}{FUNCTIONS}{script}")])
        .expect("the guest runs");
    let _gone = fs::remove_file(&key);
    let _gone = fs::remove_file(key.with_extension("pub"));
    assert_eq!(outcome.status, 0, "{}", outcome.output);
    let lines = fs::read_to_string(outcome.out.join("alerts.ndjson")).expect("alerts");
    let alerts = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    Seen { printed: outcome.output, alerts }
}

fn held_on(kernel: &str) {
    let script = format!("{ATTEMPTS}{LAST}{PROTECTED}");
    let seen = seen_on(kernel, "protect: { break_glass: /etc/break.pub }", &script);
    let through: Vec<&str> = seen
        .tries()
        .into_iter()
        .filter(|(_, outcome)| *outcome == "through")
        .map(|(name, _)| name)
        .collect();
    assert_eq!(through, ["ended-kill", "token", "unload-token"], "{}", seen.printed);
    assert_eq!(
        seen.reads(),
        ["refused", "refused", "refused", "refused", "refused", "through"],
        "{}",
        seen.printed
    );
    // A library that is not the agent's ends the trust; the status of the others is that it is armed.
    assert!(seen.printed.contains("foreign 2 1"), "{}", seen.printed);
    assert_eq!(seen.printed.matches("status 0").count(), 2, "{}", seen.printed);
    let told = seen.told();
    let acts = [
        "signal",
        "attach",
        "limit",
        "write",
        "read-key",
        "create",
        "remove",
        "rename",
        "link",
        "attributes",
        "mount",
        "unmount",
        "bpf-map",
        "bpf-program",
        "bpf-link",
        "ftrace",
        "code",
    ];
    for act in acts {
        assert!(told.contains_key(act), "{act} was not told, told were {told:?}\n{}", seen.printed);
    }
    let signal = seen.alerts.iter().find(|alert| {
        alert["notice"]["detail"]["act"] == "signal" && alert["object"]["number"] == 19
    });
    let signal = signal.expect("SIGSTOP is told");
    assert!(signal["process"]["exe"].is_string(), "{signal}");
    assert!(signal["object"]["target_pid"].is_u64(), "{signal}");
    assert_eq!(signal["severity"], "critical");
    let written = seen.alerts.iter().find(|alert| {
        alert["notice"]["detail"]["act"] == "write"
            && alert["object"]["path"] == "/etc/interdict/config.yaml"
    });
    assert!(written.is_some(), "the name of the configuration is not told");
}

// So named that `cargo xtask test guard` runs them and nothing else.
mod guard {
    #[test]
    fn every_attempt_on_the_agent_is_refused_and_told_on_6_1() {
        super::held_on("6.1");
    }

    #[test]
    fn every_attempt_on_the_agent_is_refused_and_told_on_6_12() {
        super::held_on("6.12");
    }

    #[test]
    fn every_attempt_on_the_agent_is_refused_and_told_on_newest() {
        super::held_on("newest");
    }

    #[test]
    fn without_protection_every_attempt_goes_through() {
        let script = format!("{}{}", super::ATTEMPTS, super::LAST);
        let seen = super::seen_on("6.12", "protect: off", &script);
        let held: Vec<&str> = seen
            .tries()
            .into_iter()
            .filter(|(_, outcome)| *outcome == "held")
            .map(|(name, _)| name)
            .collect();
        assert_eq!(held, Vec::<&str>::new(), "{}", seen.printed);
        assert!(seen.told().is_empty());
    }
}
