//! Rules on namespaces, labels and images hold in the containers they are about, and in no others.
//!
//! Containers are cgroups that are named as runtimes name them, with the files that containerd and CRI-O keep; whoever
//! reads enters one first. One container is there before the agent, others come, are named late or never, make cgroups
//! of their own; and policies and agents change. At last the rules go, and everything may be read.

use std::time::Duration;

use interdict_integration::{alerts, observe::guarded, script::WAIT_FOR};
use serde_json::Value;

const POLICY: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: workloads }
spec:
  scope: { k8s: { namespaces: [shop] } }
  rules:
    - id: PLACE-SHOP
      title: Only in one namespace
      on: file.read
      when: file.path == "/opt/shop"
      action: block
    - id: PLACE-LENIENT
      title: The same, unless it is not known
      on: file.read
      when: file.path == "/opt/lenient"
      action: block
      on_fault: pass
---
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: conditions }
spec:
  rules:
    - id: PLACE-NOT-SHOP
      title: Everywhere but in one namespace
      on: file.read
      when: file.path == "/opt/not-shop" and not k8s.namespace == "shop"
      action: block
    - id: PLACE-LABEL
      title: By a label
      on: file.read
      when: file.path == "/opt/label" and k8s.labels == "app=web"
      action: block
    - id: PLACE-IMAGE
      title: By the image
      on: file.read
      when: file.path == "/opt/image" and container.image == "nginx:*"
      action: block
    - id: PLACE-EXEC
      title: A program
      on: exec
      when: exec.path == "/opt/program" and k8s.namespace == "shop"
      action: block
"#;

const NO_RULES: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: workloads }
spec:
  rules:
    - id: PLACE-NOTHING
      title: Nothing anybody reads
      on: file.read
      when: file.path == "/opt/nothing"
      action: block
"#;

/// What is there before the agent: a container of the shop.
const BEFORE: &str = r#"
cat > /tmp/lib <<'END'
digits() { printf "%.0s$1" 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; }
pods=/sys/fs/cgroup/kubepods.slice/kubepods-pod1a2b3c4d_0000_1111_2222_333344445555.slice
group() { echo "$pods/cri-containerd-$(digits "$1").scope"; }
# bundle DIGITS NAMESPACE IMAGE
bundle() {
    folder=/run/containerd/io.containerd.runtime.v2.task/k8s.io/$(digits "$1"); mkdir -p "$folder"
    echo "{\"annotations\":{\"io.kubernetes.cri.container-name\":\"c\",\"io.kubernetes.cri.image-name\":\"$3\",\"io.kubernetes.cri.sandbox-name\":\"p\",\"io.kubernetes.cri.sandbox-namespace\":\"$2\"}}" > "$folder/new"
    mv "$folder/new" "$folder/config.json"
}
# crio DIGITS NAMESPACE LABEL
crio() {
    folder=/run/containers/storage/overlay-containers; mkdir -p "$folder/$(digits "$1")/userdata" "$folder/ab12/userdata"
    echo "{\"annotations\":{\"io.kubernetes.cri-o.Labels\":\"{\\\"app\\\":\\\"$3\\\"}\"}}" > "$folder/ab12/userdata/config.json"
    echo "{\"annotations\":{\"io.kubernetes.container.name\":\"c\",\"io.kubernetes.pod.name\":\"p\",\"io.kubernetes.pod.namespace\":\"$2\",\"io.kubernetes.cri-o.SandboxID\":\"ab12\"}}" > "$folder/$(digits "$1")/userdata/new"
    mv "$folder/$(digits "$1")/userdata/new" "$folder/$(digits "$1")/userdata/config.json"
}
END
. /tmp/lib
bundle aaaa shop docker.io/library/nginx:1.27; mkdir -p "$(group aaaa)"
"#;

const SCRIPT: &str = r#"
. /tmp/lib
for file in shop lenient not-shop label image; do echo secret > "/opt/$file"; done
cp /usr/bin/true /opt/program
# inside CGROUP COMMAND...: what a command in a cgroup comes to
inside() {
    sh -c 'echo 0 > "$0/cgroup.procs" || exit 9; "$@"' "$@" > /dev/null 2>&1
    case $? in 0) echo through ;; 9) echo "no such cgroup" ;; *) echo refused ;; esac
}
reads() { inside "$1" sh -c "read -r line < /opt/$2"; }
# says NAME CGROUP FILE: what it comes to now
says() { echo "$1 $(reads "$2" "$3")"; }
# becomes NAME WHAT CGROUP FILE: what it comes to, at some time
becomes() {
    left=600
    while [ "$(reads "$3" "$4")" != "$2" ]; do
        left=$((left - 1)); [ $left -gt 0 ] || break
        sleep 0.1
    done
    says "$1" "$3" "$4"
}
host=/sys/fs/cgroup; mkdir -p $host/system.slice
all() {
    says "$1-shop" "$(group aaaa)" shop
    says "$1-ops" "$(group bbbb)" shop
    says "$1-host" $host/system.slice shop
    says "$1-unnamed" "$(group cccc)" shop
}
change() {
    generation=$(cat /run/interdict/ready)
    cp "$1" /etc/interdict/policies/policy.yaml
    wait_for /run/interdict/ready "$generation"
}
bundle bbbb ops quay.io/ops:1; mkdir "$(group bbbb)"; becomes ops-learned through "$(group bbbb)" shop
mkdir "$(group cccc)"
all first
says lenient-shop "$(group aaaa)" lenient
says lenient-unnamed "$(group cccc)" lenient
says lenient-ops "$(group bbbb)" lenient
says not-shop "$(group aaaa)" not-shop
says not-shop-ops "$(group bbbb)" not-shop
says not-shop-host $host/system.slice not-shop
says not-shop-unnamed "$(group cccc)" not-shop
says image "$(group aaaa)" image
says image-ops "$(group bbbb)" image
says label-of-containerd "$(group aaaa)" label
crio dddd ops web; mkdir "$(group dddd)"; becomes label-learned through "$(group dddd)" shop; says label-web "$(group dddd)" label
crio eeee ops db; mkdir "$(group eeee)"; becomes label-other through "$(group eeee)" label
echo "program $(inside "$(group aaaa)" /opt/program)"
echo "program-ops $(inside "$(group bbbb)" /opt/program)"
echo "program-unnamed $(inside "$(group cccc)" /opt/program)"
nested="$(group aaaa)/cri-containerd-$(digits bbbb).scope"; mkdir "$nested"; says nested "$nested" shop
nested="$(group bbbb)/cri-containerd-$(digits aaaa).scope"; mkdir "$nested"; says nested-ops "$nested" shop
echo "namespace $(inside $host/system.slice unshare --pid --fork sh -c 'read -r line < /opt/shop')"
cp /etc/interdict/policies/policy.yaml /tmp/policy
{ cat /tmp/policy; echo '# another'; } > /tmp/another; change /tmp/another; all reloaded
pid=$(cat /run/interdict/agent.pid); rm /run/interdict/ready
kill -9 "$pid"; all orphaned; wait_for /run/interdict/agent.pid "$pid"; wait_for /run/interdict/ready ''; all restarted
bundle cccc ops quay.io/ops:1; becomes named-late through "$(group cccc)" shop
change /opt/no-rules
for group in aaaa bbbb; do says control-$group "$(group $group)" shop; done
true
"#;

const EXPECTED: &[(&str, &str)] = &[
    ("ops-learned", "through"),
    ("lenient-shop", "refused"),
    ("lenient-unnamed", "through"),
    ("lenient-ops", "through"),
    ("not-shop", "through"),
    ("not-shop-ops", "refused"),
    ("not-shop-host", "refused"),
    ("not-shop-unnamed", "refused"),
    ("image", "refused"),
    ("image-ops", "through"),
    // containerd writes no labels down: they are not known.
    ("label-of-containerd", "refused"),
    ("label-learned", "through"),
    ("label-web", "refused"),
    ("label-other", "through"),
    ("program", "refused"),
    ("program-ops", "through"),
    ("program-unnamed", "refused"),
    ("nested", "refused"),
    ("nested-ops", "through"),
    // A process namespace of its own and no container that is known.
    ("namespace", "refused"),
    ("named-late", "through"),
    ("control-aaaa", "through"),
    ("control-bbbb", "through"),
];

fn holds_on(kernel: &str) {
    let outcome = guarded(kernel, env!("CARGO_BIN_EXE_guest"), POLICY)
        .file("/opt/no-rules", 0o644, NO_RULES)
        .before(BEFORE)
        .timeout(Duration::from_secs(400))
        .run(&["sh", "-c", &format!("{WAIT_FOR}{SCRIPT}")])
        .expect("the guest runs");
    let said = |name: &str, what: &str| {
        let line = format!("{name} {what}");
        assert!(outcome.output.lines().any(|found| found == line), "{line}\n{}", outcome.output);
    };
    for (name, what) in EXPECTED {
        said(name, what);
    }
    for time in ["first", "reloaded", "orphaned", "restarted"] {
        said(&format!("{time}-shop"), "refused");
        said(&format!("{time}-ops"), "through");
        said(&format!("{time}-host"), "through");
        said(&format!("{time}-unnamed"), "refused");
    }
    // What was refused because the container is not known is told as that.
    let alerts = alerts::lines(&outcome.out);
    let faults = |rule: &str| -> Vec<&str> {
        let of_rule = |alert: &&Value| alert["rules"][0]["id"] == rule;
        let fault = |alert: &'_ Value| {
            alert["decision"]["fault"].as_str().map_or("none", |_some| "unknown")
        };
        let mut faults: Vec<&str> = alerts.iter().filter(of_rule).map(fault).collect();
        faults.sort_unstable();
        faults.dedup();
        faults
    };
    // Rules on programs ask for the namespace alone; among those on reads one asks for labels, which containerd keeps not.
    assert_eq!(faults("PLACE-EXEC"), ["none", "unknown"]);
    assert_eq!(faults("PLACE-NOT-SHOP"), ["none", "unknown"]);
    assert_eq!(faults("PLACE-LENIENT"), ["unknown"]);
}

// So named that `cargo xtask test workloads` runs them and nothing else.
mod workloads {
    #[test]
    fn rules_on_containers_hold_in_those_they_are_about_on_6_1() {
        super::holds_on("6.1");
    }

    #[test]
    fn rules_on_containers_hold_in_those_they_are_about_on_newest() {
        super::holds_on("newest");
    }
}
