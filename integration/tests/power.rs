//! The power fails while alerts are told: what was told is still there when the machine has booted again.
//!
//! The agent's state lies on a disk that forgets what was not flushed. The machine is switched off in the middle of a
//! flood, without a word. After it has booted again on what the disk still has, everything that the agent had told is in the
//! spool, in the same words; the receiver (a file on the same disk, synced by its sink) has every number; the
//! stream goes on and is proven.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, atomic::AtomicU64};
use std::time::Duration;

use interdict_agent::alert::key::PublicKey;
use interdict_agent::alert::verify::{Repeats, Verifier};
use interdict_agent::spool::Reader;
use interdict_integration::disk::ForgetfulDisk;
use serde_json::Value;
use xtask::run;
use xtask::vm::Guest;

const POLICY: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: power }
spec:
  rules:
    - id: POWER-READ
      title: The protected file is read
      on: file.read
      when: file.path == "/opt/protected"
      action: block
"#;

/// The state is on the disk, and so is what the sink has delivered.
const CONFIG: &str = "\
alerts: { alive: 0s }
spool: { segment_bytes: 64KiB }
sinks:
  - { name: kept, file: { path: /var/lib/interdict/told.ndjson, max_bytes: 0 } }
";

const MOUNT: &str = "mkdir -p /var/lib/interdict && mount -t ext4 /dev/vdb /var/lib/interdict";

/// Says number and hash of each alert that the sink was given.
const FLOOD: &str = r#"
while :; do
    for n in 1 2 3 4 5 6 7 8 9 10; do read -r line < /opt/protected; done
    sleep 0.2
done 2>/dev/null &
tail -n +1 -F /var/lib/interdict/told.ndjson 2>/dev/null | while read -r line; do
    seq=${line##*'"seq":'}; hash=${line##*'"hash":"'}
    echo "told ${seq%%[!0-9]*} ${hash%%\"*}"
done
"#;

/// Raises a few more, waits until all is told, and brings everything out.
const AFTER: &str = r#"
for n in 1 2 3 4 5; do read -r line < /opt/protected; done 2>/dev/null
told=/var/lib/interdict/told.ndjson
still=0; before=; left=600
while [ $still -lt 15 ]; do
    left=$((left - 1)); [ $left -gt 0 ] || { echo "there is no end of alerts"; exit 1; }
    now=$(wc -c < $told)
    if [ "$now" = "$before" ]; then still=$((still + 1)); else still=0; fi
    before=$now
    sleep 0.1
done
cp -r /var/lib/interdict/spool /var/lib/interdict/agent.pub $told /out/
"#;

const DISK_BYTES: u64 = 64 << 20;

/// An empty file system.
fn formatted(folder: &Path) -> Vec<u8> {
    let image = folder.join("image");
    fs::File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
    let made = Command::new("/sbin/mkfs.ext4").args(["-q", "-F"]).arg(&image).status().unwrap();
    assert!(made.success(), "{made}");
    fs::read(&image).unwrap()
}

/// Number and hash of a line.
fn named(line: &[u8]) -> (u64, String) {
    let alert: Value = serde_json::from_slice(line).expect("a whole line");
    let hash = alert["seal"]["hash"].as_str().expect("a seal").to_owned();
    (alert["seq"].as_u64().expect("a number"), hash)
}

fn what_was_told_outlives_a_power_failure_on(kernel: &str, random: u64) {
    let folder = tempfile::tempdir().unwrap();
    let disk = ForgetfulDisk::serve(formatted(folder.path()), &folder.path().join("disk")).unwrap();
    let policies = folder.path().join("policies");
    fs::create_dir(&policies).unwrap();
    fs::write(policies.join("policy.yaml"), POLICY).unwrap();
    let guest = Guest::new(kernel, Path::new(env!("CARGO_BIN_EXE_guest")))
        .unwrap()
        .agent(run::built_agent().unwrap())
        .policies(&policies)
        .config_text(CONFIG)
        .file("/opt/protected", 0o644, "secret\n")
        .module("ext4")
        .disk(&disk.name())
        .before(MOUNT)
        .timeout(Duration::from_secs(200));

    let mut lines = 0;
    let printed = guest
        .run_until_cut(&["sh", "-c", FLOOD], |printed| {
            lines = printed.iter().filter(|byte| **byte == b'\n').count();
            // In the middle of a write, if there is a choice.
            lines > 150 && (disk.is_dirty() || lines > 600)
        })
        .expect("the guest runs until its power fails");
    let (forgotten, flushes) = disk.cut(random);
    // The last line may be cut off.
    let whole = printed.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let told: BTreeMap<u64, String> = whole
        .lines()
        .filter_map(|line| line.trim().strip_prefix("told ")?.split_once(' '))
        .map(|(seq, hash)| (seq.parse().expect("a number"), hash.to_owned()))
        .collect();
    assert!(told.len() > 100, "{printed}");
    assert!(flushes > 10, "the guest asked for that {flushes} times");

    let outcome = guest.run(&["sh", "-c", AFTER]).expect("the guest boots again");
    assert_eq!(outcome.status, 0, "{}", outcome.output);
    let key = PublicKey::open(&outcome.out.join("agent.pub")).expect("the key is there");
    let spool = outcome.out.join("spool");
    let mut reader = Reader::beside(&spool, 1, Arc::<AtomicU64>::default());
    let mut kept = BTreeMap::new();
    let mut verifier = Verifier::new(vec![key], Repeats::Refused);
    loop {
        let read = reader.read(u64::MAX - 1, 1_000, 1 << 20).expect("the spool is read");
        if read.entries.is_empty() {
            break;
        }
        for entry in &read.entries {
            verifier.push(&entry.line, || entry.seq.to_string());
            kept.extend([named(&entry.line)]);
        }
    }
    let verified = verifier.finish();
    assert_eq!(verified.findings, [], "the spool is proven");
    assert_eq!((verified.streams.len(), verified.streams[0].first), (1, 1));
    let last = verified.streams[0].last;
    for (seq, hash) in &told {
        assert_eq!(kept.get(seq), Some(hash), "alert {seq} was told before the power failed");
    }

    let text = fs::read(outcome.out.join("told.ndjson")).unwrap();
    let mut delivered = BTreeMap::new();
    let (mut torn, mut unclean) = (0, 0);
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        // The sink's own write may have been cut off: what it held comes again.
        let Ok(alert) = serde_json::from_slice::<Value>(line) else {
            torn += 1;
            continue;
        };
        unclean += u32::from(alert["notice"]["detail"]["previous_run"] == "unclean");
        let (seq, hash) = named(line);
        assert_eq!(*delivered.entry(seq).or_insert_with(|| hash.clone()), hash, "{seq}");
    }
    assert!(torn <= 1, "{torn} torn lines");
    assert_eq!(unclean, 1, "the next run says that this one did not end in order");
    let missing: Vec<u64> = (1..=last).filter(|seq| delivered.get(seq) != kept.get(seq)).collect();
    assert_eq!(missing, [0_u64; 0], "the receiver has everything");
    eprintln!(
        "{kernel}: {} told, {last} in the stream, {flushes} flushes, {forgotten} writes forgotten, {torn} lines torn",
        told.len()
    );
}

// So named that `cargo xtask test power` runs them and nothing else.
mod power {
    #[test]
    fn what_was_told_outlives_a_power_failure_on_newest() {
        super::what_was_told_outlives_a_power_failure_on("newest", 0x2545_f491_4f6c_dd1d);
    }
}
