//! Rules on the arguments of the acting process's program hold for what it does later: it, its children, and whoever ran
//! before the policy; not for other arguments, not for what a process writes over its own, and not for another process that
//! has its number.
//!
//! The programs are shells that are told what to do through a pipe, so that each act is one of the same process. Policies
//! and agents change while they run. At last the rules go, and everything may be read.

use std::time::Duration;

use interdict_integration::{alerts, observe::guarded, script::WAIT_FOR};

const POLICY: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: arguments }
spec:
  rules:
    - id: ARGS-READ
      title: Whoever was started for it reads
      on: file.read
      when: file.path == "/opt/secret" and process.args == "--marked"
      action: block
    - id: ARGS-NOT
      title: Only who was started for it reads
      on: file.read
      when: file.path == "/opt/other" and not process.args == "--marked"
      action: block
    - id: ARGS-CONNECT
      title: Whoever was started for it connects
      on: net.connect
      when: net.dst.ip == "127.0.0.9" and process.args == "--marked"
      action: block
    - id: ARGS-LENIENT
      title: The same, unless it is not known
      on: file.read
      when: file.path == "/opt/lenient" and process.args == "--marked"
      action: block
      on_fault: pass
"#;

const NO_RULES: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: arguments }
spec:
  rules:
    - id: ARGS-NOTHING
      title: Nothing anybody reads
      on: file.read
      when: file.path == "/opt/nothing"
      action: block
"#;

/// A process that writes other arguments over its own, and then reads what it is told to, by line.
const VEILED: &str = r#"
$0 = "gentle";
while (<STDIN>) {
    my ($name, $path) = split;
    my $came = open(my $file, "<", $path) ? "through" : "refused";
    open(my $answer, ">", "/tmp/answer-$name"); print $answer $came; close($answer);
}
"#;

const BEFORE: &str = r#"
for file in secret other lenient; do echo text > /opt/$file; done
mkfifo /tmp/early /tmp/early-plain
sh -c 'while read -r line; do eval "$line"; done' sh --marked < /tmp/early > /tmp/early-said 2>&1 &
sh -c 'while read -r line; do eval "$line"; done' sh --gentle < /tmp/early-plain > /tmp/early-plain-said 2>&1 &
"#;

const SCRIPT: &str = r#"
exec 7> /tmp/early 8> /tmp/early-plain
try='if (read -r _ < "$0") 2> /dev/null; then echo through; else echo refused; fi'
# says NAME FILE ARGUMENT: what a shell that was started with it comes to
says() { echo "$1 $(sh -c "$try" "/opt/$2" "$3")"; }
# early NAME FILE: what the shells that run since before the agent come to
early() {
    echo "if (read -r _ < /opt/$2) 2> /dev/null; then echo through > /tmp/said; else echo refused > /tmp/said; fi" >&7
    wait_for /tmp/said ''; echo "$1-marked $(cat /tmp/said)"; rm /tmp/said
    echo "if (read -r _ < /opt/$2) 2> /dev/null; then echo through > /tmp/said; else echo refused > /tmp/said; fi" >&8
    wait_for /tmp/said ''; echo "$1-plain $(cat /tmp/said)"; rm /tmp/said
}
change() {
    generation=$(cat /run/interdict/ready)
    cp "$1" /etc/interdict/policies/policy.yaml
    wait_for /run/interdict/ready "$generation"
}
says marked secret --marked
says plain secret --gentle
says marked-other other --marked
says plain-other other --gentle
# A child that was forked has its parent's arguments, and its child; another program has its own.
echo "forked $(sh -c '( ( read -r _ < /opt/secret ) ) 2> /dev/null && echo through || echo refused' sh --marked)"
echo "executed $(sh -c 'sh -c "read -r _ < /opt/secret" 2> /dev/null && echo through || echo refused' sh --marked)"
echo "replaced $(sh -c 'exec sh -c "read -r _ < /opt/secret 2> /dev/null && echo through || echo refused" sh --gentle' sh --marked)"
echo "became $(sh -c 'exec sh -c "(read -r _ < /opt/secret) 2> /dev/null && echo through || echo refused" sh --marked' sh --gentle)"
connects='(: > /dev/udp/127.0.0.9/9) 2> /dev/null && echo through || echo refused'
echo "connect-marked $(bash -c "$connects" bash --marked)"
echo "connect-plain $(bash -c "$connects" bash --gentle)"
# More arguments than are read: those that are found are certain, others may be there.
long=$(printf '%05000d' 0)
says long-secret secret "$long"
says long-lenient lenient "$long"
echo "long-marked $(sh -c "$try" /opt/lenient --marked "$long")"
# reused NAME FIRST SECOND: a process that was started with SECOND has the number of one that was started with FIRST.
reused() {
    left=300
    while :; do
        sh -c 'read -r _ < /opt/secret' sh "$2" 2> /dev/null & old=$!; wait $old
        echo $((old - 1)) > /proc/sys/kernel/ns_last_pid
        sh -c 'if read -r _ < /opt/secret; then echo through; else echo refused; fi' sh "$3" > /tmp/reused 2> /dev/null & new=$!
        wait $new
        [ $new != $old ] || break
        left=$((left - 1)); [ $left -gt 0 ] || { echo "deadline: no number came again"; exit 1; }
    done
    echo "$1 $(cat /tmp/reused)"
}
reused reused-plain --marked --gentle
reused reused-marked --gentle --marked
early early secret
mkfifo /tmp/veiled; /opt/perl /opt/veiled -- --marked < /tmp/veiled & exec 9> /tmp/veiled
veiled() { rm -f "/tmp/answer-$1"; echo "$1 /opt/secret" >&9; wait_for "/tmp/answer-$1" ''; echo "veiled-$1 $(cat /tmp/answer-$1)"; }
veiled first
cp /etc/interdict/policies/policy.yaml /tmp/policy
{ cat /tmp/policy; echo '# another'; } > /tmp/another; change /tmp/another
says reloaded secret --marked; early reloaded secret; veiled reloaded
pid=$(cat /run/interdict/agent.pid); rm /run/interdict/ready
kill -9 "$pid"; says orphaned secret --marked; early orphaned secret; veiled orphaned
wait_for /run/interdict/agent.pid "$pid"; wait_for /run/interdict/ready ''
says restarted secret --marked; early restarted secret; veiled restarted
change /opt/no-rules
says control secret --marked; says control-other other --gentle; early control secret
veiled control
echo "control-connect $(bash -c "$connects" bash --marked)"
true
"#;

const EXPECTED: &[(&str, &str)] = &[
    ("marked", "refused"),
    ("plain", "through"),
    ("marked-other", "through"),
    ("plain-other", "refused"),
    ("forked", "refused"),
    ("executed", "through"),
    ("replaced", "through"),
    ("became", "refused"),
    ("connect-marked", "refused"),
    ("connect-plain", "through"),
    ("long-secret", "refused"),
    ("long-lenient", "through"),
    ("long-marked", "refused"),
    ("reused-plain", "through"),
    ("reused-marked", "refused"),
    ("early-marked", "refused"),
    ("early-plain", "through"),
    ("veiled-first", "refused"),
    ("reloaded", "refused"),
    ("reloaded-marked", "refused"),
    ("reloaded-plain", "through"),
    // What it wrote over its arguments since does not count.
    ("veiled-reloaded", "refused"),
    ("orphaned", "refused"),
    ("orphaned-marked", "refused"),
    ("orphaned-plain", "through"),
    ("veiled-orphaned", "refused"),
    ("restarted", "refused"),
    ("restarted-marked", "refused"),
    ("restarted-plain", "through"),
    ("veiled-restarted", "refused"),
    ("control", "through"),
    ("control-other", "through"),
    ("control-marked", "through"),
    ("control-plain", "through"),
    ("veiled-control", "through"),
    ("control-connect", "through"),
];

fn hold_on(kernel: &str) {
    let outcome = guarded(kernel, env!("CARGO_BIN_EXE_guest"), POLICY)
        .file("/opt/no-rules", 0o644, NO_RULES)
        .file("/opt/veiled", 0o644, VEILED)
        .add("/usr/bin/perl", "/opt/perl")
        .before(BEFORE)
        .timeout(Duration::from_secs(400))
        .run(&["sh", "-c", &format!("{WAIT_FOR}{SCRIPT}")])
        .expect("the guest runs");
    for (name, what) in EXPECTED {
        let line = format!("{name} {what}");
        assert!(outcome.output.lines().any(|found| found == line), "{line}\n{}", outcome.output);
    }
    let alerts = alerts::lines(&outcome.out);
    let faults: Vec<&str> =
        alerts.iter().filter_map(|alert| alert["decision"]["fault"].as_str()).collect();
    // What was refused because the arguments are not known is told as that.
    assert_eq!(faults, ["args_unresolved", "args_unresolved"], "{}", outcome.output);
}

// So named that `cargo xtask test arguments` runs them and nothing else.
mod arguments {
    #[test]
    fn rules_on_the_arguments_of_a_process_hold_for_what_it_does_on_6_1() {
        super::hold_on("6.1");
    }

    #[test]
    fn rules_on_the_arguments_of_a_process_hold_for_what_it_does_on_6_12() {
        super::hold_on("6.12");
    }

    #[test]
    fn rules_on_the_arguments_of_a_process_hold_for_what_it_does_on_newest() {
        super::hold_on("newest");
    }
}
