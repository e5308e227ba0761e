//! A feed that changes while the agent runs is put in force by difference: in the generation that is in force, without a
//! word of the canaries, past the death of the agent; and a file that cannot be read changes nothing.

use std::fmt::Write as _;
use std::time::Duration;

use interdict_integration::observe::guarded;

const POLICY: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: feeds }
spec:
  mode: enforce
  lists:
    bad: { type: cidr, items: [203.0.113.9], feed: { file: bad.cidr } }
  rules:
    - { id: FEED-1, title: Listed, on: [net.connect], when: net.dst.ip in bad, action: block }
"#;

/// A datagram socket that is connected asks the same question as any, and nothing is sent.
const SCRIPT: &str = r#"
asked() {
    if bash -c "exec 3<>/dev/udp/$2/9" 2>&1 | grep -q 'not permitted'; then echo "$1 refused"; else echo "$1 through"; fi
}
all() { asked "$1-stays" 203.0.113.1; asked "$1-own" 203.0.113.9; asked "$1-goes" 203.0.113.20; asked "$1-comes" 203.0.113.30; }
wait_until() {
    left=300
    until eval "$1"; do
        left=$((left - 1)); [ $left -gt 0 ] || { echo "deadline: $1"; interdict feeds; exit 1; }
        sleep 0.2
    done
}
all before
generation=$(cat /run/interdict/ready)
cp /opt/after.cidr /etc/interdict/policies/bad.new; mv /etc/interdict/policies/bad.new /etc/interdict/policies/bad.cidr
wait_until 'interdict feeds | grep -q "by difference: 1 ranges came, 1 went"'
all after
[ "$(cat /run/interdict/ready)" = "$generation" ] && echo "same generation"
sleep 4
pid=$(cat /run/interdict/agent.pid); rm /run/interdict/ready; kill -9 "$pid"
all alone
wait_until '[ -s /run/interdict/ready ]'
all restarted
echo 10.0.0.300 > /etc/interdict/policies/bad.cidr
wait_until 'grep -q \"name\":\"policy-refused\" /out/alerts.ndjson'
all broken
cp /opt/before.cidr /etc/interdict/policies/bad.cidr
wait_until '[ "$(interdict feeds | grep -c "by difference")" = 1 ]'
all again
sleep 2
# The text of this script is in alerts too, with its quotes escaped.
grep -q '"name":"feed-changed"' /out/alerts.ndjson && echo "told"
grep '"name":"canary-failed"' /out/alerts.ndjson
echo done
"#;

/// Enough addresses for a table in pages, and one more.
fn feed(last: &str) -> String {
    let mut text = String::new();
    for number in 0..6_000u32 {
        let _ = writeln!(text, "45.{}.{}.7", number >> 8, number & 255);
    }
    let _ = writeln!(text, "203.0.113.1\n{last}");
    text
}

fn holds_on(kernel: &str) {
    let outcome = guarded(kernel, env!("CARGO_BIN_EXE_guest"), POLICY)
        .file("/etc/interdict/policies/bad.cidr", 0o644, feed("203.0.113.20"))
        .file("/opt/before.cidr", 0o644, feed("203.0.113.20"))
        .file("/opt/after.cidr", 0o644, feed("203.0.113.30"))
        .timeout(Duration::from_secs(400))
        .run(&["sh", "-c", SCRIPT])
        .expect("the guest runs");
    assert_eq!(outcome.status, 0, "{}", outcome.output);
    let said = |line: &str| {
        assert!(outcome.output.lines().any(|said| said == line), "{line}\n{}", outcome.output);
    };
    for (when, goes, comes) in [
        ("before", "refused", "through"),
        ("after", "through", "refused"),
        ("alone", "through", "refused"),
        ("restarted", "through", "refused"),
        ("broken", "through", "refused"),
        ("again", "refused", "through"),
    ] {
        said(&format!("{when}-stays refused"));
        said(&format!("{when}-own refused"));
        said(&format!("{when}-goes {goes}"));
        said(&format!("{when}-comes {comes}"));
    }
    said("same generation");
    said("told");
    said("done");
    assert!(!outcome.output.contains("\"name\":\"canary-failed\""), "{}", outcome.output);
}

// So named that `cargo xtask test feeds` runs them and nothing else.
mod feeds {
    #[test]
    fn a_changed_feed_is_in_force_without_a_new_generation_on_6_1() {
        super::holds_on("6.1");
    }

    #[test]
    fn a_changed_feed_is_in_force_without_a_new_generation_on_newest() {
        super::holds_on("newest");
    }
}
