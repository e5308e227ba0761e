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
    run("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0");
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
    bare(&mut loaded);
    remove_instance(loaded.directory());
    assert!(!is_judged("third") && !is_judged("later"));
}

/// A program that makes the TUN device `$1`, says so, and once told to sends the packets it reads as hexadecimal lines through
/// it, as if they arrived there.
const TUN: &str = r#"
import fcntl, os, struct, sys
device = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(device, 0x400454ca, struct.pack('16sH22x', sys.argv[1].encode(), 0x1001))
os.system('ip addr add 192.0.2.1/24 dev %s && ip link set %s up' % (sys.argv[1], sys.argv[1]))
print('made', flush=True)
for line in sys.stdin:
    os.write(device, bytes.fromhex(line.strip()))
    print('sent', flush=True)
"#;

/// An ICMP echo request to the address that [`TUN`] gives the device, without a header of Ethernet.
fn echo(source: [u8; 4]) -> String {
    let mut packet = vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0];
    packet.extend(source);
    packet.extend([192, 0, 2, 1]);
    packet.extend([8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    let sum = packet[..20].chunks_exact(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1]));
    let sum: u32 = sum.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Echo requests that the kernel has received.
fn requests() -> u64 {
    let counters = std::fs::read_to_string("/proc/net/snmp").unwrap();
    let mut lines = counters.lines().filter(|line| line.starts_with("Icmp:"));
    let names = lines.next().unwrap().split(' ').position(|name| name == "InEchos").unwrap();
    lines.next().unwrap().split(' ').nth(names).unwrap().parse().unwrap()
}

/// Packets of devices that have no Ethernet are judged too, and not by what would stand there if they had.
fn bare(loaded: &mut Loaded) {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        process::Stdio,
    };
    let mut device = Command::new("python3")
        .args(["-c", TUN, "bare"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(device.stdout.take().unwrap()).lines();
    let mut input = device.stdin.take().unwrap();
    assert_eq!(told.next().unwrap().unwrap(), "made");
    let mut received = |source| {
        let before = requests();
        writeln!(input, "{}", echo(source)).unwrap();
        assert_eq!(told.next().unwrap().unwrap(), "sent");
        requests() - before
    };
    let (listed, other) = ([203, 0, 113, 9], [203, 0, 113, 10]);
    assert_eq!((received(listed), received(other)), (1, 1), "the control");
    let followed = loaded.follow(names(&["bare", "later", "third"]), LINKS, &mut || ()).unwrap();
    assert_eq!(followed.new, names(&["bare"]));
    assert!(is_judged("bare"));
    assert_eq!((received(listed), received(other)), (0, 1));
    drop(input);
    device.wait().unwrap();
}
