//! A policy that needs tables which were made small, because no rule had a use for them: the agent loads its programs anew,
//! and what the old policy refuses is refused all the while.

use std::time::Duration;

use interdict_integration::observe::guarded;

const LITTLE: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: rooms }
spec:
  mode: enforce
  rules:
    - { id: ROOM-READ, title: The protected file, on: [file.read], when: file.path == "/opt/protected", action: block }
    - { id: ROOM-CONNECT, title: The address, on: [net.connect], when: net.dst.ip == 203.0.113.1, action: block }
"#;

/// Needs peers with rates, look-ups of names, and processes that are exiting.
const MORE: &str = r#"
    - { id: ROOM-RATE, title: A rate, on: [packet.out], when: net.dst.ip == 127.0.0.77, action: block, rate: { over: 6, per: 1h, burst: 4 } }
    - { id: ROOM-NAME, title: A name, on: [net.dns], when: dns.name == "bad.example", action: block }
    - { id: ROOM-CLOSE, title: An end, on: [net.close], when: net.dst.ip == 127.0.0.78, action: alert }
"#;

/// Two tasks go on asking for what the old rules refuse. What one of them is let do leaves a line.
const SCRIPT: &str = r#"
refused() { bash -c "$1" 2>&1 | grep -q 'not permitted'; }
send() { if refused "printf '$2' > /dev/udp/$1"; then echo "$3 refused"; else echo "$3 through"; fi; }
name() { send 127.0.0.1/53 "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03$1\x07example\x00\x00\x01\x00\x01" "$2-$1"; }
asked() { for time in 1 2 3 4 5 6; do send 127.0.0.77/9 x "$1-$time"; done; name bad "$1"; name top "$1"; }
reading() { while [ -e /run/load ]; do cat /opt/protected > /dev/null 2>&1 && echo read; echo >> /run/tries-read-$1; done; }
connecting() { while [ -e /run/load ]; do refused ': > /dev/udp/203.0.113.1/9' || echo connected; echo >> /run/tries-connect-$1; done; }
instances() { ls /sys/fs/bpf/interdict | cut -d- -f3 | tr '\n' ' '; }
ip link set lo up
asked little
echo "rooms $(instances)"
touch /run/load
for task in 1; do reading $task >> /run/through & connecting $task >> /run/through & done
for policy in more little; do
    generation=$(cat /run/interdict/ready)
    cp /opt/$policy.yaml /etc/interdict/policies/policy.yaml
    left=1200
    while [ "$(cat /run/interdict/ready)" = "$generation" ]; do
        left=$((left - 1)); [ $left -gt 0 ] || { echo "deadline: $policy"; cat /out/agent.log; exit 1; }
        sleep 0.1
    done
    [ $policy = more ] && asked more
done
echo "rooms $(instances)"
rm /run/load; wait
for kind in read connect; do [ "$(cat /run/tries-$kind-* | wc -l)" -ge 20 ] && echo "$kind tried"; done
echo "through $(cat /run/through | wc -l)"
echo done
"#;

fn holds_on(kernel: &str) {
    let outcome = guarded(kernel, env!("CARGO_BIN_EXE_guest"), LITTLE)
        .file("/opt/protected", 0o644, "secret")
        .file("/opt/little.yaml", 0o644, LITTLE)
        .file("/opt/more.yaml", 0o644, format!("{LITTLE}{}", MORE.trim_start_matches('\n')))
        .timeout(Duration::from_secs(400))
        .run(&["sh", "-c", SCRIPT])
        .expect("the guest runs");
    assert_eq!(outcome.status, 0, "{}", outcome.output);
    let said = |line: &str| {
        assert!(
            outcome.output.lines().any(|said| said.trim() == line),
            "{line}\n{}",
            outcome.output
        );
    };
    // The control: nothing of this is refused by the old rules.
    for time in 1..=6 {
        said(&format!("little-{time} through"));
        let burst = if time <= 4 { "through" } else { "refused" };
        said(&format!("more-{time} {burst}"));
    }
    said("little-bad through");
    said("more-bad refused");
    for policy in ["little", "more"] {
        said(&format!("{policy}-top through"));
    }
    said("rooms tfo");
    said("rooms tnrfox");
    for kind in ["read", "connect"] {
        said(&format!("{kind} tried"));
    }
    said("through 0");
    said("done");
}

// So named that `cargo xtask test rooms` runs them and nothing else.
mod rooms {
    #[test]
    fn rules_hold_while_a_policy_that_needs_more_tables_takes_over_on_6_1() {
        super::holds_on("6.1");
    }

    #[test]
    fn rules_hold_while_a_policy_that_needs_more_tables_takes_over_on_newest() {
        super::holds_on("newest");
    }
}
