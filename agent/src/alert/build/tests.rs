use interdict_abi::{
    event::{Head, VERSION, flags, kind},
    ids::Act,
};
use interdict_rules::meta::{ClauseMeta, RuleMeta};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;
use crate::{
    alert::{canonical, text},
    enrich::Enricher,
    events::{KernelEvent, decode},
};

/// A pid that no `/proc` has.
const PID: u32 = 0x4000_0001;

fn scene() -> Scene {
    let host =
        HostInfo { boot_id: "b".to_owned(), kernel: "6.1.0".to_owned(), name: "host".to_owned() };
    Scene { host: host.into(), wall_minus_boot_ns: 1_700_000_000_000_000_000 }
}

fn policy() -> PolicyView {
    let rule = RuleMeta {
        title: "title".to_owned(),
        policy: "p".to_owned(),
        file: "p.yaml".to_owned(),
        line: 7,
        severity: Severity::Critical,
        attack: vec!["T1003.008".to_owned()],
        acts: vec!["file.read".to_owned()],
        action: "block".to_owned(),
        on_fault: "block".to_owned(),
        message: "{process.name} opened {file.path} ({file.access})".to_owned(),
        when: "file.path in [\"/etc/shadow\"] and not process.exe == \"/usr/bin/x\"".to_owned(),
        ..RuleMeta::of("R-1")
    };
    let mut clauses = vec![Vec::new(); 8];
    clauses[Family::File as usize] = vec![ClauseMeta { rule: 0, exception: None }];
    let metadata = Metadata { rules: vec![rule], clauses, ..Metadata::default() };
    PolicyView::new(3, "d1".to_owned(), metadata)
}

fn record(path: &[u8], comm: &[u8], change: impl FnOnce(&mut Head)) -> Vec<u8> {
    let mut head = Head::ZERO;
    head.version = VERSION;
    head.kind = kind::DECISION;
    head.family = Family::File as u8;
    head.verdict = Action::Block as u8;
    head.would = Action::Block as u8;
    head.acts = Act::FileRead.bit();
    head.errno = 1;
    head.generation = 3;
    head.clauses_told = 1;
    head.pid = PID;
    head.time_ns = 5_000_000_001;
    head.inode = u64::MAX;
    let len = comm.len().min(16);
    head.comm[..len].copy_from_slice(&comm[..len]);
    head.path_bytes = u16::try_from(path.len()).unwrap();
    change(&mut head);
    [head.as_bytes(), path].concat()
}

fn built(record: &[u8]) -> Alert {
    let KernelEvent::Decision(decision) = decode(record).unwrap() else { panic!("a decision") };
    let redaction = Redaction::default();
    let context = Enricher::new(redaction.clone()).context(&decision.actor);
    let policy = policy();
    let policy = (decision.generation.0 == 3).then_some(&policy);
    build(&decision, decision.clauses(), &context, policy, &redaction, &scene())
}

fn is_canonical(alert: &Alert) -> bool {
    let bytes = serde_json::to_vec(alert).unwrap();
    let mut written = Vec::new();
    crate::alert::write::write(&mut written, alert);
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&bytes));
    let mut canonical_bytes = Vec::new();
    canonical::write(&mut canonical_bytes, &serde_json::from_slice(&bytes).unwrap()).unwrap();
    bytes == canonical_bytes
}

#[test]
fn an_alert_says_what_happened() {
    let alert = built(&record(b"/etc/shadow", b"cat", |_| {}));
    assert_eq!(alert.message, "cat opened /etc/shadow (read)");
    assert_eq!(alert.acts, ["file.read"]);
    assert_eq!(alert.severity, Severity::Critical);
    assert_eq!(alert.time, "2023-11-14T22:13:25.000000001Z");
    assert_eq!(alert.facts["file.path"], "/etc/shadow");
    let rule = &alert.rules[0];
    assert_eq!((rule.id.as_str(), rule.file.as_str(), rule.line), ("R-1", "p.yaml", 7));
    let decision = alert.decision.as_ref().unwrap();
    assert_eq!(
        (&*decision.verdict, &*decision.mode, decision.errno),
        ("block", "enforce", Some(1))
    );
    assert_eq!(alert.object.unwrap().inode.unwrap(), u64::MAX.to_string());
}

#[test]
fn an_act_that_went_on_says_what_would_have_been_done() {
    let alert = built(&record(b"/etc/shadow", b"cat", |head| {
        head.verdict = Action::Pass as u8;
        head.errno = 0;
    }));
    let decision = alert.decision.unwrap();
    assert_eq!((&*decision.verdict, &*decision.would, &*decision.mode), ("pass", "block", "audit"));
    assert_eq!(decision.errno, None);
}

#[test]
fn a_decision_of_a_forgotten_policy_is_told_with_high_severity() {
    let alert = built(&record(b"/etc/shadow", b"cat", |head| head.generation = 9));
    assert!(alert.rules.is_empty());
    assert_eq!(alert.severity, Severity::High);
    assert_eq!(alert.policy.as_ref().unwrap().digest, None);
    assert_eq!(alert.message, format!("blocked: cat (pid {PID}, uid 0) file.read /etc/shadow"));
}

#[test]
fn a_clause_number_out_of_range_names_no_rule() {
    let alert = built(&record(b"/x", b"cat", |head| head.clauses[0] = 60_000));
    assert!(alert.rules.is_empty());
}

#[test]
fn every_byte_value_in_a_path_and_comm_survives_on_one_line() {
    for byte in 1..=255u8 {
        let path = [b"/tmp/\xff\\".as_slice(), &[byte], b"x"].concat();
        let alert = built(&record(&path, &[byte, b'c'], |_| {}));
        let json = serde_json::to_string(&alert).unwrap();
        assert!(!json.contains('\n') && !alert.message.contains('\n'));
        let back: Alert = serde_json::from_str(&json).unwrap();
        assert_eq!(back, alert);
        assert!(alert.escaped.contains(&"object.path".to_owned()));
        let shown = back.object.unwrap().path.unwrap();
        assert_eq!(text::unescape(&shown).unwrap(), path);
        let name = back.process.unwrap().name;
        let is_escaped = alert.escaped.contains(&"process.name".to_owned());
        let name = if is_escaped { text::unescape(&name).unwrap() } else { name.into_bytes() };
        assert_eq!(name, [byte, b'c']);
    }
}

#[test]
fn every_byte_value_in_arguments_and_the_longest_path_survive_on_one_line() {
    // Arguments are separated by zeros, so there are 255 values of a byte; the path is as long as the kernel lets it be.
    let arguments: Vec<Vec<u8>> = (1..=255u8).map(|byte| vec![b'a', byte, b'\\']).collect();
    let longest: Vec<u8> = b"/".iter().copied().chain((1..=255u8).cycle().take(4_094)).collect();
    for path in [longest, vec![b'/'; 4_095], [b"/", "\u{202e}".repeat(1_364).as_bytes()].concat()] {
        let text = arguments.join(&0);
        let mut head = Head::ZERO;
        head.version = VERSION;
        head.kind = kind::EXEC;
        head.pid = PID;
        head.path_bytes = u16::try_from(path.len()).unwrap();
        head.extra_bytes = u16::try_from(text.len()).unwrap();
        let exec = [head.as_bytes(), &path, &text].concat();
        let mut enricher = Enricher::new(Redaction::default());
        let KernelEvent::Exec(exec) = decode(&exec).unwrap() else { panic!("an exec") };
        enricher.executed(&exec);
        let record = record(&path, b"c", |_| {});
        let KernelEvent::Decision(decision) = decode(&record).unwrap() else {
            panic!("a decision")
        };
        let context = enricher.context(&decision.actor);
        let clauses = decision.clauses();
        let alert = build(&decision, clauses, &context, None, &Redaction::default(), &scene());
        assert!(is_canonical(&alert));
        let json = serde_json::to_string(&alert).unwrap();
        assert!(!json.contains('\n') && alert.trimmed.is_empty());
        let back: Alert = serde_json::from_str(&json).unwrap();
        let original = |field: &str, shown: &str| match alert.escaped.iter().any(|one| one == field)
        {
            true => text::unescape(shown).unwrap(),
            false => shown.as_bytes().to_vec(),
        };
        assert_eq!(original("object.path", &back.object.unwrap().path.unwrap()), path);
        let process = back.process.unwrap();
        assert_eq!(original("process.exe", &process.exe.unwrap()), path);
        for (at, (shown, argument)) in process.args.iter().zip(&arguments).enumerate() {
            assert_eq!(&original(&format!("process.args.{at}"), shown), argument);
        }
        assert_eq!(process.args.len(), arguments.len());
    }
}

#[test]
fn times_are_written_as_dates() {
    for (unix_ns, expected) in [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z"),
        (1_709_251_199_999_999_999, "2024-02-29T23:59:59.999999999Z"),
        (4_102_444_800_000_000_000, "2100-01-01T00:00:00.000000000Z"),
    ] {
        assert_eq!(rfc3339(unix_ns), expected);
        assert_eq!(super::unix_ns(expected), Some(unix_ns));
    }
}

fn any_head() -> impl Strategy<Value = Head> {
    (proptest::array::uniform32(any::<u8>()), any::<[u64; 8]>(), 0..8u8, 0..4u8, 0..14u8).prop_map(
        |(noise, numbers, family, action, fault)| {
            let mut head = Head::ZERO;
            head.version = VERSION;
            head.kind = kind::DECISION;
            head.family = family;
            head.verdict = action;
            head.would = 3 - action;
            head.fault = fault;
            head.acts = numbers[0] as u32;
            head.flags = numbers[1] as u32;
            head.generation = 3;
            head.pid = PID;
            head.number = numbers[2] as u32;
            head.time_ns = numbers[3];
            head.inode = numbers[4];
            head.device = numbers[5] as u32;
            head.mode = numbers[6] as u32;
            head.object_flags = numbers[7] as u16;
            head.remote_ip.copy_from_slice(&noise[..16]);
            head.local_ip.copy_from_slice(&noise[16..]);
            head.address_family = u16::from(noise[0]);
            head.protocol = u16::from(noise[1]);
            head.comm.copy_from_slice(&noise[..16]);
            head.clauses_told = u16::from(noise[2] % 9);
            head
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_kernel_says_the_alert_is_canonical_as_written(
        head in any_head(),
        path in proptest::collection::vec(any::<u8>(), 0..64),
        extra in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut head = head;
        head.path_bytes = path.len() as u16;
        head.extra_bytes = extra.len() as u16;
        let alert = built(&[head.as_bytes(), &path, &extra].concat());
        prop_assert!(is_canonical(&alert));
    }
}

#[test]
fn every_notice_is_canonical_as_written() {
    use crate::alert::Notice;
    let counts = BTreeMap::from([("b".to_owned(), 2), ("a".to_owned(), 1)]);
    let text = || "t\n".to_owned();
    for notice in [
        Notice::Started { mode: text(), public_key: text(), previous: "none" },
        Notice::Stopped { reason: text() },
        Notice::PolicyChanged { generation: 1, digest: text(), rules: 2 },
        Notice::Losses { counts },
        Notice::CanaryFailed { canary: text(), detail: text() },
        Notice::SpoolOverrun { sink: text(), first: 1, last: 2 },
        Notice::Alive { alerts: 1, generation: 1 },
    ] {
        let alert = notice.alert(&scene(), 1);
        assert!(is_canonical(&alert), "{notice:?}");
        assert!(!alert.message.contains('\n'));
    }
}

#[test]
fn a_rule_is_told_only_when_what_user_space_knows_fits_or_is_not_known() {
    use interdict_rules::{
        ir::Pattern,
        told::{Known, ToldTest, Wanted},
    };
    let mut metadata = policy().metadata;
    let wanted = Wanted::Text(vec![Pattern::Exact(b"shop".to_vec())]);
    let of_shop =
        |negated| ToldTest { field: "k8s.namespace".to_owned(), negated, wanted: wanted.clone() };
    // One rule that is told on two conditions, and one that always is.
    let narrowed = |id: &str, narrowed| RuleMeta {
        id: id.to_owned(),
        action: "alert".to_owned(),
        narrowed,
        ..metadata.rules[0].clone()
    };
    metadata.rules = vec![
        narrowed("R-1", vec![of_shop(false)]),
        narrowed("R-1", vec![of_shop(true)]),
        narrowed("R-2", Vec::new()),
    ];
    metadata.clauses[Family::File as usize] =
        (0..3).map(|rule| ClauseMeta { rule, exception: None }).collect();
    let policy = PolicyView::new(3, "d".to_owned(), metadata);
    let told = |clauses: &[u16], known: Known| {
        assert!(policy.narrowing_fields(Family::File, &[0]).contains(&"k8s.namespace"));
        policy.narrow(Family::File, clauses, &BTreeMap::from([("k8s.namespace".to_owned(), known)]))
    };
    let text = |name: &str| Known::Text(vec![name.to_owned()]);
    assert_eq!(told(&[0], text("shop")), [0]);
    assert!(told(&[0], text("other")).is_empty());
    assert_eq!(told(&[0, 2], text("other")), [2]);
    assert_eq!(told(&[1], Known::Absent), [1]);
    assert_eq!(told(&[0, 1, 2], Known::Unknown), [0, 2], "told once, for all it could be");
}

/// An alert of any rule on such acts used to say so, once one rule of the family asked for labels.
#[test]
fn only_a_rule_that_asks_of_container_or_process_says_that_it_is_not_known() {
    let fault = |asks: &str, fault: Fault, flags| {
        let mut metadata = policy().metadata;
        metadata.rules[0].asks_of_container = asks.contains("container");
        metadata.rules[0].asks_of_arguments = asks.contains("arguments");
        metadata.rules[0].asks_of_programs = asks.contains("programs");
        let policy = PolicyView::new(3, "d1".to_owned(), metadata);
        let record = record(b"/etc/shadow", b"cat", |head| {
            head.fault = fault as u8;
            head.flags |= flags;
        });
        let KernelEvent::Decision(decision) = decode(&record).unwrap() else {
            panic!("a decision")
        };
        let redaction = Redaction::default();
        let context = Enricher::new(redaction.clone()).context(&decision.actor);
        let clauses = decision.clauses();
        let alert = build(&decision, clauses, &context, Some(&policy), &redaction, &scene());
        alert.decision.unwrap().fault.map(|fault| fault.to_string())
    };
    let told = Some("workload_unknown".to_owned());
    assert_eq!(fault("container", Fault::Workload, 0), told);
    assert_eq!(fault("", Fault::Workload, 0), None);
    // One that the record had no room for may have asked.
    assert_eq!(fault("", Fault::Workload, flags::MORE_RULES), told);
    assert_eq!(fault("", Fault::Path, 0), Some(Fault::Path.name().to_owned()));
    for (asks, one) in [("arguments", Fault::Args), ("programs", Fault::Process)] {
        assert_eq!(fault(asks, one, 0), Some(one.name().to_owned()));
        assert_eq!(fault("container", one, 0), None);
    }
    // Of several that are not known the one is told that was asked for.
    assert_eq!(fault("container", Fault::Process, flags::WORKLOAD_UNKNOWN), told);
}
