//! Interfaces that come and go while packets are judged, in namespaces of the test's own. For root.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that goes wrong should stop")]

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use interdict_abi::ids::{Act, Mode};
use interdict_agent::{
    kernel::{
        loader::{Followed, InterfaceLinks, Loaded, Options, remove_instance},
        slots::Slots,
    },
    policy::Policy,
    sys::link,
    trust::Trust,
};

const INSIDE: &str = "INTERDICT_TEST_INSIDE";

const LINKS: InterfaceLinks =
    InterfaceLinks { is_attached: link::is_attached, attach: link::pinned_interface };

const RULES: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: test }
spec:
  rules:
    - { id: T-1, title: from, on: [packet.in], when: 'net.src.ip in ["203.0.113.9"]', action: block }
"#;

fn run(line: &str) {
    let mut words = line.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{line}");
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// Whether the kernel says that a program looks at what arrives there.
fn is_judged(interface: &str) -> bool {
    let shown = Command::new("ip").args(["-d", "link", "show", interface]).output().unwrap();
    String::from_utf8_lossy(&shown.stdout).contains("prog/xdp")
}

#[test]
fn packets_are_judged_on_interfaces_that_come_later() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("not tried: this needs root");
        return;
    }
    if std::env::var_os(INSIDE).is_none() {
        let test = "packets_are_judged_on_interfaces_that_come_later";
        let status = Command::new("unshare")
            .args(["--net", "--mount"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    run("mount -t sysfs sysfs /sys");
    let folder = tempfile::tempdir().unwrap();
    let (policies, pins) = (folder.path().join("policies"), folder.path().join("bpf"));
    std::fs::create_dir(&policies).unwrap();
    std::fs::create_dir(&pins).unwrap();
    run(&format!("mount -t bpf bpf {}", pins.display()));
    std::fs::write(policies.join("test.yaml"), RULES).unwrap();
    come_and_go(&policies, &pins);
    run(&format!("umount {}", pins.display()));
}

fn come_and_go(policies: &Path, pins: &Path) {
    run("ip link add first type veth peer name far1");
    let policy = Policy::open(policies, &Trust::Folder).unwrap();
    let options = |interfaces: &[&str]| Options {
        pins: pins.join("interdict"),
        cgroup: PathBuf::from("/sys/fs/cgroup"),
        interfaces: names(interfaces),
        without_lsm: true,
    };
    let image = policy.image.kernel();
    let mut loaded = Loaded::start(options(&["first"]), image.len(), &[Act::PacketIn]).unwrap();
    Slots::open(&loaded).unwrap().swap(image, Mode::Enforce).unwrap();
    loaded.attach_lifecycle().unwrap();
    loaded.attach_for(&[Act::PacketIn]).unwrap();
    assert!(is_judged("first"));

    run("ip link add later type veth peer name far2");
    assert!(!is_judged("later"));
    let followed = loaded.follow(names(&["first", "later"]), LINKS, &mut || ()).unwrap();
    assert_eq!(followed, Followed { new: names(&["later"]), gone: Vec::new() });
    assert!(is_judged("later"));
    let again = loaded.follow(names(&["first", "later"]), LINKS, &mut || ()).unwrap();
    assert_eq!(again, Followed::default());

    run("ip link delete first");
    let followed = loaded.follow(names(&["later"]), LINKS, &mut || ()).unwrap();
    assert_eq!(followed, Followed { new: Vec::new(), gone: names(&["first"]) });
    let links: Vec<PathBuf> = loaded.pinned_links();
    assert!(links.iter().any(|path| path.ends_with("packet_in@later") && path.exists()));
    assert!(!links.iter().any(|path| path.ends_with("packet_in@first")));

    // Another one by the same name.
    run("ip link delete later");
    run("ip link add later type veth peer name far3");
    assert!(!is_judged("later"));
    let followed = loaded.follow(names(&["later"]), LINKS, &mut || ()).unwrap();
    assert_eq!(followed.new, names(&["later"]));
    assert!(is_judged("later"));

    // The next agent takes over what it finds, and follows too.
    drop(loaded);
    let mut loaded = Loaded::start(options(&["later"]), image.len(), &[Act::PacketIn]).unwrap();
    assert!(loaded.adopted());
    run("ip link add third type veth peer name far4");
    let followed = loaded.follow(names(&["later", "third"]), LINKS, &mut || ()).unwrap();
    assert_eq!(followed.new, names(&["third"]));
    assert!(is_judged("third"));
    remove_instance(loaded.directory());
    assert!(!is_judged("third") && !is_judged("later"));
}
