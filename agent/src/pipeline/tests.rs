use std::{path::Path, sync::atomic::Ordering};

use interdict_abi::{
    event::{Head, VERSION, kind},
    ids::{Act, Action, Family},
};
use interdict_rules::meta::Metadata;
use serde_json::Value;
use zerocopy::IntoBytes;

use super::*;
use crate::alert::{
    key::PublicKey,
    verify::{Outcome, Repeats, Verifier},
};

fn config(folder: &Path, more: &str) -> Config {
    let text = format!(
        "state: {0}\nruntime: {0}/run\nalerts: {{ alive: 0s }}\nsinks:\n  - file: {{ path: {0}/out.ndjson }}\n{more}",
        folder.display()
    );
    Config::parse(&text, Path::new("test.yaml")).unwrap()
}

pub(super) fn decision(path: &str) -> Vec<u8> {
    let mut head = Head::ZERO;
    head.version = VERSION;
    head.kind = kind::DECISION;
    head.family = Family::File as u8;
    head.verdict = Action::Block as u8;
    head.would = Action::Block as u8;
    head.acts = Act::FileRead.bit();
    head.generation = 1;
    head.pid = 0x4000_0001;
    head.path_bytes = u16::try_from(path.len()).unwrap();
    [head.as_bytes(), path.as_bytes()].concat()
}

fn lines(path: &Path) -> Vec<Vec<u8>> {
    let text = fs::read(path).unwrap_or_default();
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

fn verified(lines: &[Vec<u8>], key: PublicKey) -> Outcome {
    let mut verifier = Verifier::new(vec![key], Repeats::Refused);
    for (at, line) in lines.iter().enumerate() {
        verifier.push(line, || at.to_string());
    }
    verifier.finish()
}

fn named(lines: &[Vec<u8>], pointer: &str) -> Vec<String> {
    let value = |line: &Vec<u8>| -> Value { serde_json::from_slice(line).unwrap() };
    lines
        .iter()
        .filter_map(|line| Some(value(line).pointer(pointer)?.as_str()?.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_become_a_whole_stream_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "");
    let mut key = None;
    for run in 0..3 {
        let pipeline = Pipeline::start(&config, this_host(), Mode::Enforce).unwrap();
        key = Some(pipeline.public_key());
        pipeline.policy(Arc::new(PolicyView::new(1, "d".to_owned(), Metadata::default())));
        for at in 0..300 {
            assert!(pipeline.record(&decision(&format!("/run{run}/{at}"))));
        }
        pipeline.shutdown("test").await;
    }
    let lines = lines(&folder.path().join("out.ndjson"));
    let outcome = verified(&lines, key.unwrap());
    assert_eq!(outcome.findings, []);
    assert_eq!((outcome.streams[0].first, outcome.streams[0].last), (1, 3 * 303));
    let expected: Vec<String> =
        (0..3).flat_map(|run| (0..300).map(move |at| format!("/run{run}/{at}"))).collect();
    assert_eq!(named(&lines, "/object/path"), expected);
    let notices = named(&lines, "/notice/name");
    assert_eq!(notices[..4], ["started", "policy-changed", "stopped", "started"]);
    let previous = named(&lines, "/notice/detail/previous_run");
    assert_eq!(previous, ["none", "clean", "clean"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_queue_or_is_not_understood_is_counted_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "");
    config.alerts.queue = 1 << 20;
    let pipeline = Pipeline::start(&config, this_host(), Mode::Enforce).unwrap();
    pipeline.record(b"not a record");
    pipeline.lost("ring_full", 7);
    let large = vec![0; 2 << 20];
    assert!(!pipeline.record(&large));
    pipeline.shutdown("test").await;
    let lines = lines(&folder.path().join("out.ndjson"));
    let mut counts = BTreeMap::new();
    for line in &lines {
        let alert: Value = serde_json::from_slice(line).unwrap();
        for (reason, count) in
            alert.pointer("/notice/detail/counts").and_then(Value::as_object).into_iter().flatten()
        {
            *counts.entry(reason.clone()).or_insert(0) += count.as_u64().unwrap();
        }
    }
    let expected = [("queue_full_lifecycle", 1), ("record_short", 1), ("ring_full", 7)];
    assert_eq!(counts, expected.map(|(reason, count)| (reason.to_owned(), count)).into());
}

/// Who cuts the end off a stream has to cut the signs of life as well: silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_of_life_is_signed_and_has_the_last_number() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "");
    config.alerts.alive = Duration::from_millis(1);
    let pipeline = Pipeline::start(&config, this_host(), Mode::Enforce).unwrap();
    let key = pipeline.public_key();
    for at in 0..10 {
        pipeline.record(&decision(&format!("/{at}")));
    }
    let out = folder.path().join("out.ndjson");
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let alive = loop {
        let all = lines(&out);
        let values = all.iter().map(|line| serde_json::from_slice::<Value>(line).unwrap());
        let mut alive = values.filter(|value| value["notice"]["name"] == "alive");
        if let Some(alive) = alive.next() {
            break alive;
        }
        assert!(std::time::Instant::now() < deadline, "no sign of life");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    pipeline.shutdown("test").await;
    let seq = alive["seq"].as_u64().unwrap();
    assert_eq!(alive["notice"]["detail"]["alerts"].as_u64(), Some(seq - 1));
    // Without what came before it, the sign of life itself shows that there was more.
    let mut all = lines(&out);
    assert_eq!(verified(&all, key).findings, []);
    all.drain(usize::try_from(seq - 3).unwrap()..usize::try_from(seq - 1).unwrap());
    assert_ne!(verified(&all, key).findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_cannot_deliver_holds_up_nobody_and_catches_up_later() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens on port 9 of loopback.
    let config = config(
        folder.path(),
        "  - name: dead\n    retry: { first: 1ms, max: 5ms, down_after: 2 }\n    webhook: { url: \"http://127.0.0.1:9/\" }\n",
    );
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pipeline = Pipeline::start(&config, this_host(), Mode::Enforce).unwrap();
    pipeline.record(&decision("/a"));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !pipeline.sinks()[1].is_down.load(Ordering::Relaxed) {
        assert!(std::time::Instant::now() < deadline, "the sink never counted as down");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let cursor_before = pipeline.sinks()[1].next.load(Ordering::Relaxed);
    assert_eq!(cursor_before, 1);
    pipeline.intake.close();
    let lines_now = || lines(&folder.path().join("out.ndjson"));
    while !named(&lines_now(), "/notice/name").contains(&"sink-down".to_owned()) {
        assert!(std::time::Instant::now() < deadline, "nobody told that the sink is down");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_lies_ready_takes_over_and_the_old_one_vouches_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "");
    let first = Pipeline::start(&config, this_host(), Mode::Enforce).unwrap();
    let old = first.public_key();
    first.shutdown("test").await;
    SigningKey::create(&key::next_key_path(&config.key_path())).unwrap();
    let second = Pipeline::start(&config, this_host(), Mode::Enforce).unwrap();
    let new = second.public_key();
    second.shutdown("test").await;
    assert_ne!(old, new);
    assert_eq!(PublicKey::open(&config.key_path().with_extension("pub")).unwrap(), new);
    let lines = lines(&folder.path().join("out.ndjson"));
    let expected = ["started", "stopped", "key-rotated", "started", "stopped"];
    assert_eq!(named(&lines, "/notice/name"), expected);
    assert_eq!(verified(&lines, old).findings, []);
    assert_ne!(verified(&lines[..3], new).findings, []);
}

pub(super) fn rule(id: &str) -> interdict_rules::meta::RuleMeta {
    interdict_rules::meta::RuleMeta {
        severity: interdict_rules::meta::Severity::Low,
        action: "block".to_owned(),
        on_fault: "block".to_owned(),
        ..interdict_rules::meta::RuleMeta::of(id)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_rule_is_told_first_and_then_counted_exactly() {
    use interdict_rules::meta::{ClauseMeta, RuleMeta, ThrottleMeta};
    let throttle = ThrottleMeta { by: vec!["file.path".to_owned()], burst: 3, per_seconds: 3_600 };
    let rule = RuleMeta { throttle: Some(throttle), ..rule("R-1") };
    let mut clauses = vec![Vec::new(); 8];
    clauses[Family::File as usize] = vec![ClauseMeta { rule: 0, exception: None }];
    let metadata = Metadata { rules: vec![rule], clauses, ..Metadata::default() };
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "");
    let pipeline = Pipeline::start(&config, this_host(), Mode::Enforce).unwrap();
    pipeline.policy(Arc::new(PolicyView::new(1, "d".to_owned(), metadata)));
    for _ in 0..100 {
        for path in ["/a", "/b"] {
            let mut record = decision(path);
            let told = std::mem::offset_of!(Head, clauses_told);
            record[told..told + 2].copy_from_slice(&1u16.to_le_bytes());
            pipeline.record(&record);
        }
    }
    pipeline.record(&decision("/of/no/rule"));
    pipeline.shutdown("test").await;
    let lines = lines(&folder.path().join("out.ndjson"));
    let paths = named(&lines, "/object/path");
    assert_eq!(paths, ["/a", "/b", "/a", "/b", "/a", "/b", "/of/no/rule"]);
    let notices = named(&lines, "/notice/name");
    assert_eq!(notices, ["started", "policy-changed", "repeated", "repeated", "stopped"]);
    let subjects = named(&lines, "/notice/detail/subject");
    assert_eq!(subjects, ["file.path=/a", "file.path=/b"]);
    let counts: Vec<u64> = lines
        .iter()
        .filter_map(|line| {
            let alert: Value = serde_json::from_slice(line).unwrap();
            alert.pointer("/notice/detail/count")?.as_u64()
        })
        .collect();
    assert_eq!(counts, [97, 97]);
    assert!(!folder.path().join("held-back.json").exists(), "told, so not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_a_run_that_was_cut_off_are_told_by_the_next_once() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("held-back.json");
    let held = r#"{"number":3,"running":[{"first":"2026-01-02T03:04:05.000000000Z","rule":"R-1",
        "subject":"file.path=/a","count":97,"last":"2026-01-02T03:04:06.000000000Z"}],"telling":[]}"#;
    fs::write(&kept, held).unwrap();
    let config = config(folder.path(), "");
    for _run in 0..2 {
        let pipeline = Pipeline::start(&config, this_host(), Mode::Enforce).unwrap();
        pipeline.shutdown("test").await;
        assert!(!kept.exists());
    }
    let lines = lines(&folder.path().join("out.ndjson"));
    let told: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_slice::<Value>(line).unwrap()["notice"].clone())
        .filter(|notice| notice["name"] == "repeated")
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["detail"]["count"], 97);
    assert_eq!(told[0]["detail"]["interrupted"], true);
    fs::write(&kept, "half a fi").unwrap();
    let pipeline = Pipeline::start(&config, this_host(), Mode::Enforce).unwrap();
    pipeline.shutdown("test").await;
}

/// The state folder of a run that is killed has the counts within a second.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_back_is_kept_while_the_period_runs() {
    use interdict_rules::meta::{ClauseMeta, RuleMeta, ThrottleMeta};
    let throttle = ThrottleMeta { by: Vec::new(), burst: 1, per_seconds: 3_600 };
    let rule = RuleMeta { throttle: Some(throttle), ..rule("R-1") };
    let mut clauses = vec![Vec::new(); 8];
    clauses[Family::File as usize] = vec![ClauseMeta { rule: 0, exception: None }];
    let metadata = Metadata { rules: vec![rule], clauses, ..Metadata::default() };
    let folder = tempfile::tempdir().unwrap();
    let pipeline = Pipeline::start(&config(folder.path(), ""), this_host(), Mode::Enforce).unwrap();
    pipeline.policy(Arc::new(PolicyView::new(1, "d".to_owned(), metadata)));
    for _ in 0..5 {
        let mut record = decision("/a");
        let told = std::mem::offset_of!(Head, clauses_told);
        record[told..told + 2].copy_from_slice(&1u16.to_le_bytes());
        pipeline.record(&record);
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let kept = || fs::read_to_string(folder.path().join("held-back.json")).unwrap_or_default();
    while !kept().contains("\"count\":4") {
        assert!(std::time::Instant::now() < deadline, "{}", kept());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pipeline.shutdown("test").await;
}

/// A sink whose receiver was never there is no new one when the next agent starts: it gets everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_never_delivered_before_the_agent_was_killed_still_gets_everything() {
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let sink = |target: &str| {
        let text = format!(
            "state: {0}\nruntime: {0}/run\nalerts: {{ alive: 0s }}\nsinks:\n  - {{ name: siem, {target} }}\n",
            folder.path().display()
        );
        Config::parse(&text, Path::new("test.yaml")).unwrap()
    };
    let away = sink(&format!("webhook: {{ url: \"http://{}/\" }}", nobody.local_addr().unwrap()));
    drop(nobody);
    let mut first = Pipeline::start(&away, this_host(), Mode::Enforce).unwrap();
    assert!(first.record(&decision("/before")));
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while first.durable() < 2 {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The sink's task dies where it is; the rest ends, so that the next can have the spool.
    first.sinks.abort_all();
    first.shutdown("killed").await;
    let there = sink(&format!("file: {{ path: {}/out.ndjson }}", folder.path().display()));
    let second = Pipeline::start(&there, this_host(), Mode::Enforce).unwrap();
    second.shutdown("test").await;
    let told = named(&lines(&folder.path().join("out.ndjson")), "/object/path");
    assert_eq!(told, ["/before"]);
}

/// Wall clocks jump; the order of alerts, their numbers and their proof don't.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_clocks_say_the_stream_is_in_order_and_proven() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "");
    let mut key = None;
    let day_ns = 86_400_000_000_000_u64;
    // Boot times forward, backward, to zero and to the end, over two boots.
    for boot in ["one", "two"] {
        let host = HostInfo { boot_id: boot.to_owned(), ..this_host() };
        let pipeline = Pipeline::start(&config, host, Mode::Enforce).unwrap();
        key = Some(pipeline.public_key());
        for (at, time_ns) in [10 * day_ns, 11 * day_ns, 9 * day_ns, 0, u64::MAX].iter().enumerate()
        {
            let mut record = decision(&format!("/{boot}/{at}"));
            let time = std::mem::offset_of!(Head, time_ns);
            record[time..time + 8].copy_from_slice(&time_ns.to_le_bytes());
            assert!(pipeline.record(&record));
        }
        pipeline.shutdown("test").await;
    }
    let lines = lines(&folder.path().join("out.ndjson"));
    assert_eq!(verified(&lines, key.unwrap()).findings, []);
    let expected: Vec<String> = ["one", "two"]
        .iter()
        .flat_map(|boot| (0..5).map(move |at| format!("/{boot}/{at}")))
        .collect();
    assert_eq!(named(&lines, "/object/path"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snoozed_rule_is_counted_and_not_told_and_the_snooze_itself_is() {
    use interdict_rules::meta::ClauseMeta;
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "");
    let until_unix_s =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
            + 3_600;
    let snooze = snooze::Snooze {
        rule: "R-1".to_owned(),
        owner: "ann".to_owned(),
        reason: "noise".to_owned(),
        until_unix_s,
    };
    snooze::write(&snooze::path(folder.path()), &[snooze]).unwrap();
    let rules: Vec<interdict_rules::meta::RuleMeta> = ["R-1", "R-2"].map(rule).into();
    let mut clauses = vec![Vec::new(); 8];
    clauses[Family::File as usize] =
        (0..2).map(|rule| ClauseMeta { rule, exception: None }).collect();
    let metadata = Metadata { rules, clauses, ..Metadata::default() };
    let pipeline = Pipeline::start(&config, this_host(), Mode::Enforce).unwrap();
    pipeline.policy(Arc::new(PolicyView::new(1, "d".to_owned(), metadata)));
    let told = std::mem::offset_of!(Head, clauses_told);
    for (path, count) in [("/one", 1u16), ("/one", 1), ("/both", 2)] {
        let mut record = decision(path);
        record[told..told + 2].copy_from_slice(&count.to_le_bytes());
        let second = std::mem::offset_of!(Head, clauses) + 2;
        record[second..second + 2].copy_from_slice(&1u16.to_le_bytes());
        pipeline.record(&record);
    }
    pipeline.shutdown("test").await;
    let lines = lines(&folder.path().join("out.ndjson"));
    assert_eq!(named(&lines, "/object/path"), ["/both"]);
    let mut notices = named(&lines, "/notice/name");
    notices.sort();
    assert_eq!(notices, ["policy-changed", "repeated", "snooze-changed", "started", "stopped"]);
    assert_eq!(named(&lines, "/notice/detail/subject"), ["snoozed by ann: noise"]);
}

/// A disk that is full for a while, from any operation on, for any number of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_disk_could_not_keep_is_counted_exactly_and_told_and_the_stream_stays_whole() {
    use crate::spool::faulty::{Fault, FaultyDisk};
    const RECORDS: u64 = 200;
    let mut with_losses = 0;
    for from in (1..40).step_by(5) {
        for len in [1, 4, 12] {
            let folder = tempfile::tempdir().unwrap();
            let config = config(folder.path(), "");
            let disk = Arc::new(FaultyDisk::new(Fault::Between(from, from + len)));
            let ground = Ground { disk, ..Ground::default() };
            let Ok(pipeline) = Pipeline::start_on(&config, this_host(), Mode::Enforce, ground)
            else {
                continue;
            };
            let key = pipeline.public_key();
            for at in 0..RECORDS {
                assert!(pipeline.record(&decision(&format!("/{at}"))));
                if at % 8 == 0 {
                    // So that there are several batches.
                    tokio::time::sleep(Duration::from_micros(300)).await;
                }
            }
            // The disk works again for whatever comes after.
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            loop {
                pipeline.notice(Notice::PolicyRefused { reason: "again".to_owned() });
                tokio::time::sleep(Duration::from_millis(5)).await;
                let text = fs::read_to_string(folder.path().join("out.ndjson")).unwrap_or_default();
                if text.contains("\"again\"") {
                    break;
                }
                assert!(std::time::Instant::now() < deadline);
            }
            pipeline.shutdown("test").await;
            let lines = lines(&folder.path().join("out.ndjson"));
            assert_eq!(verified(&lines, key).findings, [], "{from} {len}");
            let told = named(&lines, "/object/path").len() as u64;
            let lost: u64 = lines
                .iter()
                .filter_map(|line| {
                    let alert: Value = serde_json::from_slice(line).unwrap();
                    alert.pointer("/notice/detail/counts/spool_disk_full")?.as_u64()
                })
                .sum();
            // Lost notices are counted as well, so at least what is not there.
            assert!(lost >= RECORDS - told, "{from} {len}: {told} told, {lost} counted");
            with_losses += u64::from(told < RECORDS);
        }
    }
    assert!(with_losses > 2, "the faults did hit: {with_losses}");
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_of_a_policy_that_the_agent_before_loaded_still_name_their_rule() {
    use interdict_rules::meta::ClauseMeta;
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "");
    let mut clauses = vec![Vec::new(); 8];
    clauses[Family::File as usize] = vec![ClauseMeta { rule: 0, exception: None }];
    let metadata = Metadata { rules: vec![rule("R-1")], clauses, ..Metadata::default() };
    let first = Pipeline::start(&config, this_host(), Mode::Enforce).unwrap();
    first.policy(Arc::new(PolicyView::new(1, "d1".to_owned(), metadata)));
    first.shutdown("test").await;

    let second = Pipeline::start(&config, this_host(), Mode::Enforce).unwrap();
    let mut record = decision("/raised/meanwhile");
    let told = std::mem::offset_of!(Head, clauses_told);
    record[told..told + 2].copy_from_slice(&1u16.to_le_bytes());
    second.record(&record);
    second.shutdown("test").await;
    let host = host_of_another_boot();
    let third = Pipeline::start(&config, host, Mode::Enforce).unwrap();
    third.record(&record);
    third.shutdown("test").await;
    let lines = lines(&folder.path().join("out.ndjson"));
    assert_eq!(named(&lines, "/rules/0/id"), ["R-1"]);
    assert_eq!(named(&lines, "/policy/digest"), ["d1"]);
    assert_eq!(named(&lines, "/object/path").len(), 2);
}

fn host_of_another_boot() -> HostInfo {
    HostInfo { boot_id: "another".to_owned(), ..this_host() }
}

const POD: &str = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0";
const CONTAINER: &str = "fe01fe01fe01fe01fe01fe01fe01fe01fe01fe01fe01fe01fe01fe01fe01fe01";

/// A node as kubelet and containerd leave it: the cgroup of a container is there, what it is called is written later.
struct Node {
    folder: tempfile::TempDir,
    cgroup: u64,
}

impl Node {
    fn new() -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let cgroup = folder.path().join(format!("cgroup/kubepods/pod{POD}/{CONTAINER}"));
        fs::create_dir_all(&cgroup).unwrap();
        let cgroup = fs::metadata(cgroup).unwrap().ino();
        Self { folder, cgroup }
    }

    fn start(&self, wait: &str) -> Pipeline {
        let folder = self.folder.path();
        let more = format!("containers: {{ root: {}/host, wait: {wait} }}\n", folder.display());
        let ground = Ground { cgroups: folder.join("cgroup"), ..Ground::default() };
        Pipeline::start_on(&config(folder, &more), this_host(), Mode::Enforce, ground).unwrap()
    }

    fn write_names(&self) {
        let bundles = "host/run/containerd/io.containerd.runtime.v2.task/k8s.io";
        let bundle = self.folder.path().join(bundles).join(CONTAINER);
        fs::create_dir_all(&bundle).unwrap();
        let annotations = r#"{"annotations":{"io.kubernetes.cri.container-name":"web",
            "io.kubernetes.cri.sandbox-name":"shop-1","io.kubernetes.cri.sandbox-namespace":"shop"}}"#;
        fs::write(bundle.join("config.json"), annotations).unwrap();
    }

    fn act(&self, path: &str) -> Vec<u8> {
        let mut record = decision(path);
        let cgroup = std::mem::offset_of!(Head, cgroup);
        record[cgroup..cgroup + 8].copy_from_slice(&self.cgroup.to_le_bytes());
        record
    }

    fn told(&self) -> Vec<Value> {
        let lines = lines(&self.folder.path().join("out.ndjson"));
        lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    async fn wait_for(&self, what: impl Fn(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(found) = self.told().into_iter().find(|alert| what(alert)) {
                return found;
            }
            assert!(std::time::Instant::now() < deadline, "{:?}", self.told());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_waits_for_the_names_of_its_container_and_others_do_not_wait_for_it() {
    let node = Node::new();
    let pipeline = node.start("1h");
    pipeline.record(&node.act("/in/the/container"));
    pipeline.record(&decision("/on/the/host"));
    node.wait_for(|alert| alert["object"]["path"] == "/on/the/host").await;
    let before = node.told();
    assert!(before.iter().all(|alert| alert["object"]["path"] != "/in/the/container"));
    node.write_names();
    let told = node.wait_for(|alert| alert["object"]["path"] == "/in/the/container").await;
    let container = &told["container"];
    assert_eq!(container["id"], CONTAINER);
    let names = ["name", "pod", "namespace", "pod_uid"].map(|name| container[name].as_str());
    assert_eq!(names, [Some("web"), Some("shop-1"), Some("shop"), Some(POD)]);
    assert_eq!(container["late"], Value::Null);
    pipeline.shutdown("test").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_come_too_late_are_told_as_late_and_never_invented() {
    let node = Node::new();
    let pipeline = node.start("1ms");
    pipeline.record(&node.act("/in/the/container"));
    let told = node.wait_for(|alert| alert["object"]["path"] == "/in/the/container").await;
    let container = &told["container"];
    assert_eq!((&container["id"], &container["late"]), (&CONTAINER.into(), &true.into()));
    for name in ["name", "image", "pod", "namespace"] {
        assert_eq!(container[name], Value::Null, "{name}");
    }
    node.write_names();
    let named = node.wait_for(|alert| alert["notice"]["name"] == "container-named").await;
    let detail = &named["notice"]["detail"];
    assert_eq!((&detail["id"], &detail["name"]), (&CONTAINER.into(), &"web".into()));
    assert_eq!(detail.get("image"), None);
    pipeline.shutdown("test").await;
}
