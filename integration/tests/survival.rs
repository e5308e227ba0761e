//! What a policy promises goes on when the agent dies, comes back, and when policies change.
//!
//! One guest per kernel. The script reads a protected file in a loop around each event and prints what happened; waiting
//! is for something that is seen (another pid, another generation), with a deadline.

use std::time::Duration;

use interdict_integration::observe::guarded;
use interdict_integration::script::WAIT_FOR;
use xtask::vm::Guest;

const POLICY: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: survival }
spec:
  rules:
    - id: SURVIVAL-READ
      title: The protected file is read
      on: file.read
      when: file.path == "/opt/protected"
      action: block
"#;

/// `reads N` prints how many of N reads went through; `wait FILE OLD` waits until FILE holds something else than OLD.
const SCRIPT: &str = r#"
reads() {
    through=0; count=0
    while [ $count -lt "$1" ]; do
        count=$((count + 1))
        read -r line 2>/dev/null < /opt/protected && through=$((through + 1))
    done
    echo "$through"
}
pid=$(cat /run/interdict/agent.pid)
generation=$(cat /run/interdict/ready)
echo "enforced $(reads 50)"
kill -9 "$pid"
echo "dead $(reads 200)"
wait_for /run/interdict/agent.pid "$pid"
wait_for /run/interdict/ready "$generation"
generation=$(cat /run/interdict/ready)
echo "back $(reads 200)"
sed s/block/alert/ /etc/interdict/policies/policy.yaml > /tmp/weaker
cp /etc/interdict/policies/policy.yaml /tmp/strong
cp /tmp/weaker /etc/interdict/policies/policy.yaml
wait_for /run/interdict/ready "$generation"
generation=$(cat /run/interdict/ready)
echo "weaker $(reads 50)"
cp /tmp/strong /etc/interdict/policies/policy.yaml
wait_for /run/interdict/ready "$generation"
generation=$(cat /run/interdict/ready)
echo "strong $(reads 50)"
echo 'spec: [' > /etc/interdict/policies/policy.yaml
left=100
until grep -q policy-refused /out/alerts.ndjson; do
    left=$((left - 1)); [ $left -gt 0 ] || { echo "deadline: no word of the refused policy"; exit 1; }
    sleep 0.2
done
echo "refused $(reads 50)"
"#;

/// While the agent is stopped more processes come and go than the ring has room to tell. Then it is killed, and the next one
/// loads other programs.
const UPGRADE: &str = r#"
pid=$(cat /run/interdict/agent.pid)
generation=$(cat /run/interdict/ready)
kill -STOP "$pid"
made=0
while [ $made -lt 6000 ]; do ( : ); made=$((made + 1)); done
echo 'lsm: false' >> /etc/interdict/config.yaml
kill -9 "$pid"
wait_for /run/interdict/agent.pid "$pid"
wait_for /run/interdict/ready "$generation"
left=100
until grep -q '"name":"losses"' /out/alerts.ndjson; do
    left=$((left - 1)); [ $left -gt 0 ] || { echo "deadline: no word of losses"; exit 1; }
    sleep 0.2
done
sleep 2
echo "instances $(ls /sys/fs/bpf/interdict | wc -l)"
grep '"name":"losses"' /out/alerts.ndjson
"#;

fn printed_on(kernel: &str, with_agent: bool, script: &str) -> String {
    let init = env!("CARGO_BIN_EXE_guest");
    let guest = if with_agent {
        guarded(kernel, init, POLICY)
    } else {
        Guest::new(kernel, init).expect("a kernel")
    };
    let guest = guest.file("/opt/protected", 0o644, "secret\n").timeout(Duration::from_secs(200));
    let outcome = guest.run(&["sh", "-c", &format!("{WAIT_FOR}{script}")]).expect("the guest runs");
    assert_eq!(outcome.status, 0, "{}", outcome.output);
    outcome.output
}

fn survives_on(kernel: &str) {
    let printed = printed_on(kernel, true, SCRIPT);
    let said = |what: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(what));
        line.map(str::trim).unwrap_or_else(|| panic!("no `{what}` in\n{printed}")).to_owned()
    };
    assert_eq!(said("enforced "), "0", "reads went through before anything happened");
    assert_eq!(said("dead "), "0", "reads went through while no agent ran");
    assert_eq!(said("back "), "0", "reads went through after the agent came back");
    assert_eq!(said("weaker "), "50", "a rule that only alerts refused reads");
    assert_eq!(said("strong "), "0", "reads went through after the rule came back");
    assert_eq!(said("refused "), "0", "a policy that is wrong took the one in force away");
}

// So named that `cargo xtask test survival` runs them and nothing else.
mod survival {
    #[test]
    fn refusals_outlive_the_agent_and_follow_its_policies_on_6_1() {
        super::survives_on("6.1");
    }

    #[test]
    fn refusals_outlive_the_agent_and_follow_its_policies_on_6_12() {
        super::survives_on("6.12");
    }

    #[test]
    fn refusals_outlive_the_agent_and_follow_its_policies_on_newest() {
        super::survives_on("newest");
    }

    #[test]
    fn what_no_agent_could_read_is_counted_and_told_by_the_one_that_replaces_the_programs() {
        let printed = super::printed_on("6.12", true, super::UPGRADE);
        assert!(printed.contains("instances 1"), "the old programs are gone: {printed}");
        let lost: u64 = printed
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter_map(|alert| alert["notice"]["detail"]["counts"]["ring_lifecycle"].as_u64())
            .sum();
        assert!(lost > 500, "{printed}");
    }

    #[test]
    fn without_the_agent_every_read_goes_through() {
        let reads = "n=0; for i in 1 2 3 4 5 6 7 8 9 10; do read -r l < /opt/protected && n=$((n+1)); done; echo $n";
        assert_eq!(super::printed_on("6.12", false, reads).trim(), "10");
    }
}
