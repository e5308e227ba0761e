//! A kernel that is too old for the programs: the agent says so and does not start, and the host is as it was.

use std::path::Path;

use xtask::run;
use xtask::vm::Guest;

const POLICY: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: old }
spec:
  rules:
    - id: OLD-READ
      title: A protected file is read
      on: file.read
      when: file.path == "/opt/protected"
      action: block
      tests:
        - { name: cat, event: { file.read: { path: /opt/protected }, process: { exe: /usr/bin/cat } }, expect: block }
"#;

const CONFIG: &str = "policies: /opt/policies\n";

const SCRIPT: &str = "
echo \"kernel $(uname -r)\"
interdict test /opt/policies > /out/test 2>&1; echo \"test $?\"
interdict doctor --config /opt/config.yaml > /out/doctor 2>&1; echo \"doctor $?\"
interdict doctor --config /opt/config.yaml --format json > /out/doctor.json 2>&1; echo \"doctor-json $?\"
interdict run --config /opt/config.yaml > /out/run 2>&1; echo \"run $?\"
echo \"pins $(find /sys/fs/bpf/interdict -type f 2>/dev/null | wc -l)\"
cat /opt/protected > /dev/null; echo \"cat $?\"
";

#[test]
fn an_agent_on_a_kernel_that_is_too_old_says_so_and_leaves_the_host_alone() {
    let agent = run::built_agent().expect("the agent builds");
    let outcome = Guest::new("5.10", Path::new(env!("CARGO_BIN_EXE_guest")))
        .expect("a kernel")
        .add(agent, "/usr/bin/interdict")
        .file("/opt/policies/policy.yaml", 0o644, POLICY)
        .file("/opt/config.yaml", 0o644, CONFIG)
        .file("/opt/protected", 0o644, "content\n")
        .run(&["sh", "-c", SCRIPT])
        .expect("the guest runs");
    let said = |name: &str| {
        std::fs::read_to_string(outcome.out.join(name)).unwrap_or_else(|error| error.to_string())
    };
    let printed: Vec<&str> = outcome.output.lines().collect();
    let all = format!("{}\n{}\n{}", outcome.output, said("doctor"), said("run"));
    assert!(printed.iter().any(|line| line.starts_with("kernel 5.10.")), "{all}");
    // What needs no kernel works.
    assert!(printed.contains(&"test 0"), "{all}\n{}", said("test"));
    for line in ["doctor 1", "doctor-json 1", "pins 0", "cat 0"] {
        assert!(printed.contains(&line), "{line}: {all}");
    }
    assert!(!printed.contains(&"run 0") && outcome.output.contains("run "), "{all}");
    for name in ["doctor", "doctor.json", "run"] {
        assert!(said(name).contains("the kernel is too old"), "{name}: {all}");
        assert!(said(name).contains("use Linux 6.1 or later"), "{name}: {all}");
    }
}
