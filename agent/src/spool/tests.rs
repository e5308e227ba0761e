use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use rustix::io::Errno;

use super::{
    disk::{Disk, LocalDisk},
    faulty::{Fault, FaultyDisk, open_freed},
    recover::{recover, scan},
    *,
};
use crate::alert::{
    Notice,
    build::Scene,
    key::{PublicKey, SigningKey},
    model::HostInfo,
    seal::{SealedAlert, Sealer},
    verify::{Repeats, Verifier},
};

const STREAM: &str = "00112233445566778899aabbccddeeff";

fn scene() -> Scene {
    let host = HostInfo { boot_id: "b".into(), kernel: "k".into(), name: "h".into() };
    Scene { host: host.into(), wall_minus_boot_ns: 0 }
}

fn sealed(sealer: &mut Sealer, count: usize) -> Vec<SealedAlert> {
    let notice = |at| Notice::Stopped { reason: format!("n{at}") }.alert(&scene(), 1);
    sealer.seal((0..count).map(notice).collect())
}

fn limits() -> Limits {
    Limits { max_bytes: 1 << 20, max_age: Duration::from_secs(3_600), segment_bytes: 8 << 10 }
}

fn open(folder: &Path, disk: Arc<dyn Disk>) -> (Spool, recover::Recovered) {
    open_freed(folder, limits(), &disk, &|_| 0, STREAM)
}

fn local() -> Arc<dyn Disk> {
    Arc::new(LocalDisk)
}

fn seqs(read: &Read) -> Vec<u64> {
    read.entries.iter().map(|entry| entry.seq).collect()
}

fn read_all(folder: &Path, durable: u64) -> Read {
    let mut reader = Reader::new(folder, 1);
    let mut all = Read::default();
    while reader.next() <= durable {
        let read = reader.read(durable, 7, 1 << 20).unwrap();
        all.entries.extend(read.entries);
        all.missing.extend(read.missing);
    }
    all
}

fn key() -> (SigningKey, PublicKey) {
    let key = SigningKey::generate().unwrap();
    let public = key.public();
    (key, public)
}

#[test]
fn what_was_appended_is_read_across_segments_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let (key, public) = key();
    let (spool, _) = open(folder.path(), local());
    let mut sealer = Sealer::new(key, spool.head().clone());
    drop(spool);
    for _ in 0..5 {
        let (mut spool, recovered) = open(folder.path(), local());
        assert_eq!(recovered.damage, None);
        assert_eq!(spool.head(), sealer.head());
        for size in [1, 9, 30] {
            spool.append(&sealed(&mut sealer, size)).unwrap();
        }
    }
    let read = read_all(folder.path(), 200);
    assert_eq!(read.missing, []);
    assert_eq!(seqs(&read), (1..=200).collect::<Vec<_>>());
    assert!(segment::list(folder.path()).unwrap().len() > 5);
    let mut verifier = Verifier::new(vec![public], Repeats::Refused);
    for entry in &read.entries {
        verifier.push(&entry.line, String::new);
    }
    assert_eq!(verifier.finish().findings, []);
}

/// Names and arguments as long and as hostile as the kernel allows, in every ancestor.
#[test]
fn the_longest_alert_there_can_be_is_kept_and_read_and_proven() {
    use crate::alert::model::{Alert, AncestorInfo, Kind, ObjectInfo, ProcessInfo, Word};
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path(), local());
    let (key, public) = key();
    let mut sealer = Sealer::new(key, spool.head().clone());
    let long = "\u{1}".repeat(4_095);
    let mut alert: Alert = Notice::Stopped { reason: "r".to_owned() }.alert(&scene(), 1);
    alert.kind = Kind::Decision;
    let ancestor = AncestorInfo {
        args: vec![long.clone()],
        exe: Some(long.clone()),
        pid: 1,
        start_boot_ns: None,
    };
    alert.process = Some(ProcessInfo {
        ancestors: vec![ancestor.into(); 64],
        args: vec![long.clone()],
        args_truncated: true,
        cgroup_id: "1".to_owned(),
        euid: 0,
        euser: None,
        exe: Some(long.clone()),
        gid: 0,
        group: None,
        name: long.clone(),
        parent_pid: 1,
        pid: 1,
        source: Word::Borrowed("kernel"),
        start_boot_ns: None,
        tid: 1,
        uid: 0,
        user: None,
    });
    alert.object = Some(ObjectInfo {
        path: Some(long.clone()),
        second_path: Some(long.clone()),
        args: vec![long.clone()],
        ..ObjectInfo::default()
    });
    alert.facts = (0..200).map(|at| (format!("fact.{at}"), long.clone())).collect();
    let sealed = sealer.seal(vec![alert]);
    spool.append(&sealed).unwrap();
    let read = read_all(folder.path(), 1);
    assert_eq!(read.missing, []);
    let line = &read.entries[0].line;
    assert!(line.len() < crate::alert::model::ALERT_BYTES + 4_096);
    crate::alert::verify::check(line, &[public]).unwrap();
    let kept: Alert = serde_json::from_slice(line).unwrap();
    assert_eq!(kept.object.unwrap().path.unwrap(), long);
    assert_eq!(kept.trimmed, ["facts", "process.ancestors"]);
}

#[test]
fn a_second_agent_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_spool, _) = open(folder.path(), local());
    let second = Spool::open(folder.path(), limits(), local(), |_| 0, STREAM.to_owned());
    assert!(matches!(second, Err(SpoolError::InUse { .. })));
}

#[test]
fn a_reader_sees_nothing_past_the_durable_mark_and_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path(), local());
    let mut sealer = Sealer::new(key().0, spool.head().clone());
    let mut reader = Reader::new(folder.path(), 1);
    spool.append(&sealed(&mut sealer, 5)).unwrap();
    assert_eq!(seqs(&reader.read(3, 100, 1 << 20).unwrap()), [1, 2, 3]);
    assert_eq!(seqs(&reader.read(3, 100, 1 << 20).unwrap()), [0u64; 0]);
    spool.append(&sealed(&mut sealer, 40)).unwrap();
    assert_eq!(seqs(&reader.read(45, 2, 1 << 20).unwrap()), [4, 5]);
    assert_eq!(seqs(&reader.read(45, 100, 1).unwrap()), [6]);
    assert_eq!(seqs(&reader.read(45, 100, 1 << 20).unwrap()), (7..=45).collect::<Vec<_>>());
}

#[test]
fn the_oldest_segments_go_and_a_reader_is_told_which_alerts_it_missed() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Limits { max_bytes: 32 << 10, ..limits() };
    let (mut spool, _) =
        Spool::open(folder.path(), bounds, local(), |_| 0, STREAM.to_owned()).unwrap();
    let mut sealer = Sealer::new(key().0, spool.head().clone());
    for _ in 0..40 {
        spool.append(&sealed(&mut sealer, 5)).unwrap();
    }
    let dropped = spool.enforce_limits(0).unwrap();
    assert!(spool.len_bytes() <= 32 << 10);
    assert_eq!(dropped + 1, spool.oldest());
    let read = read_all(folder.path(), 200);
    assert_eq!(read.missing, [(1, dropped)]);
    assert_eq!(seqs(&read), (dropped + 1..=200).collect::<Vec<_>>());
}

#[test]
fn old_segments_go_with_their_age() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path(), local());
    let mut sealer = Sealer::new(key().0, spool.head().clone());
    for _ in 0..6 {
        spool.append(&sealed(&mut sealer, 5)).unwrap();
    }
    drop(spool);
    for first in segment::list(folder.path()).unwrap() {
        let file =
            fs::File::options().write(true).open(segment::path(folder.path(), first)).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    }
    let (mut spool, _) = open(folder.path(), local());
    assert_eq!(spool.enforce_limits(31), Some(30));
    assert_eq!(segment::list(folder.path()).unwrap(), [0u64; 0]);
    // The stream goes on all the same, and the next start knows where.
    spool.append(&sealed(&mut sealer, 1)).unwrap();
    drop(spool);
    let (spool, _) = open(folder.path(), local());
    assert_eq!(spool.head(), sealer.head());
}

/// A machine whose clock is set late tells alerts of 1970 first.
#[test]
fn a_clock_that_jumps_makes_no_segment_old() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path(), local());
    let mut sealer = Sealer::new(key().0, spool.head().clone());
    let step = &crate::wall::test::HERE_S;
    for seconds in [0, -(1 << 40), 1 << 30] {
        step.set(seconds);
        for _ in 0..6 {
            spool.append(&sealed(&mut sealer, 5)).unwrap();
        }
        let dropped = spool.enforce_limits(u64::MAX);
        step.set(0);
        assert_eq!(dropped, None, "{seconds}");
    }
    assert_eq!(spool.oldest(), 1);
}

/// It dropped all that a receiver which was away had not got.
#[test]
fn a_clock_that_is_far_ahead_at_a_start_drops_nothing_that_is_still_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path(), local());
    let mut sealer = Sealer::new(key().0, spool.head().clone());
    for _ in 0..60 {
        spool.append(&sealed(&mut sealer, 5)).unwrap();
    }
    drop(spool);
    let segments = segment::list(folder.path()).unwrap();
    assert!(segments.len() > 3, "{segments:?}");
    let step = &crate::wall::test::HERE_S;
    step.set(1 << 30);
    let (mut spool, _) = open(folder.path(), local());
    // The second is wanted from its second alert on; nobody wants the first, and by this clock it is old.
    let dropped = spool.enforce_limits(segments[1] + 1);
    step.set(0);
    assert_eq!(dropped, Some(segments[1] - 1));
    assert_eq!(segment::list(folder.path()).unwrap(), segments[1..]);
}

/// Every cut and every flipped byte of a segment: nothing panics, and only what was touched is lost.
#[test]
fn a_cut_anywhere_leaves_the_longest_good_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path(), local());
    let mut sealer = Sealer::new(key().0, spool.head().clone());
    spool.append(&sealed(&mut sealer, 4)).unwrap();
    drop(spool);
    let path = segment::path(folder.path(), 1);
    let bytes = fs::read(&path).unwrap();
    let whole = scan(&bytes, None);
    assert_eq!((whole.records, whole.damaged_bytes, whole.torn_bytes), (4, 0, 0));
    let mut ends = Vec::new();
    let mut at = segment::HEADER_BYTES;
    while let segment::Next::Record(record) = segment::next(&bytes[at..]) {
        at += record.len_bytes();
        ends.push(at);
    }
    for len in 0..bytes.len() {
        let found = scan(&bytes[..len], None);
        let expected = ends.iter().filter(|&&end| end <= len).count() as u64;
        assert_eq!(found.records, expected, "cut at {len}");
        if len >= segment::HEADER_BYTES {
            let last = found.last.map(|head| head.seq);
            assert_eq!(last, (expected > 0).then_some(expected));
        }
    }
}

/// `INTERDICT_FLIPS=each`: a bit at each byte of a segment of 64 KiB, rather than at some of them.
#[test]
fn a_flipped_bit_anywhere_costs_one_record_at_most_and_the_gap_is_known() {
    const BYTES: u64 = 64 << 10;
    let step = match std::env::var("INTERDICT_FLIPS").as_deref() {
        Ok("each") => 1,
        _some => 331,
    };
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { segment_bytes: 2 * BYTES, ..limits() };
    let (mut spool, _) =
        Spool::open(folder.path(), limits, local(), |_| 0, STREAM.to_owned()).unwrap();
    let mut sealer = Sealer::new(key().0, spool.head().clone());
    while spool.len_bytes() < BYTES {
        spool.append(&sealed(&mut sealer, 6)).unwrap();
    }
    let last = spool.head().seq;
    drop(spool);
    let path = segment::path(folder.path(), 1);
    let good = fs::read(&path).unwrap();
    let lines: Vec<Vec<u8>> =
        read_all(folder.path(), last).entries.into_iter().map(|e| e.line).collect();
    assert!(good.len() as u64 >= BYTES && lines.len() as u64 == last);
    let head = recover(folder.path()).unwrap().head;
    for at in (0..good.len()).step_by(step) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).unwrap();
        let read = read_all(folder.path(), last);
        let lost: u64 = read.missing.iter().map(|(first, last)| last - first + 1).sum();
        assert!(lost <= 1, "byte {at}: {:?}", read.missing);
        assert_eq!(read.entries.len() as u64, last - lost);
        for entry in &read.entries {
            assert_eq!(entry.line, lines[entry.seq as usize - 1], "byte {at}");
        }
        // What the next start tells, and where it goes on: only the last record can be missing from it.
        let recovered = recover(folder.path()).unwrap();
        let in_last = lost == 1 && read.missing[0].1 == last;
        assert_eq!(recovered.head == head, !in_last, "byte {at}");
        assert!(recovered.damage.is_some() || lost == 0, "byte {at}: a gap, and nothing is told");
    }
}

#[test]
fn a_number_that_a_sink_has_acknowledged_is_never_given_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path(), local());
    let mut sealer = Sealer::new(key().0, spool.head().clone());
    spool.append(&sealed(&mut sealer, 3)).unwrap();
    drop(spool);
    let path = segment::path(folder.path(), 1);
    let len = fs::metadata(&path).unwrap().len();
    LocalDisk.truncate(&path, len - 1).unwrap();
    let floor = |stream: &str| if stream == STREAM { 3 } else { 0 };
    let (spool, recovered) =
        Spool::open(folder.path(), limits(), local(), floor, "x".repeat(32)).unwrap();
    assert_eq!(spool.head().seq, 3);
    assert!(recovered.damage.is_some());
}

/// Writes through a disk with a fault. Returns what was acknowledged, by sequence number and line.
fn write_with(folder: &Path, fault: Fault, error: Errno, key: SigningKey) -> (Vec<Vec<u8>>, u64) {
    let disk = Arc::new(FaultyDisk::failing_with(fault, error));
    let calls = disk.calls();
    let mut acknowledged: Vec<Vec<u8>> = Vec::new();
    let opened = Spool::open(folder, limits(), disk, |_| 0, STREAM.to_owned());
    if let Ok((mut spool, _)) = opened {
        let mut sealer = Sealer::new(key, spool.head().clone());
        for size in [3, 1, 8, 8, 2] {
            let before = sealer.head().clone();
            let alerts = sealed(&mut sealer, size);
            match spool.append(&alerts) {
                Ok(()) => acknowledged.extend(alerts.iter().map(|alert| alert.line().to_vec())),
                Err(_) => sealer.rewind(before),
            }
        }
    }
    (acknowledged, calls.load(Ordering::Relaxed))
}

/// A fault at each single disk operation (full, broken, suddenly read-only): what was acknowledged is there afterwards, whole and in order, and the next
/// start goes on from it.
#[test]
fn a_fault_at_any_operation_loses_nothing_that_was_acknowledged() {
    let operations = {
        let folder = tempfile::tempdir().unwrap();
        write_with(folder.path(), Fault::Once(u64::MAX), Errno::IO, key().0).1
    };
    assert!(operations > 15, "{operations}");
    let makes = [Fault::Once as fn(u64) -> Fault, Fault::From];
    let errors = [Errno::NOSPC, Errno::IO, Errno::ROFS];
    for (make, error) in makes.into_iter().flat_map(|make| errors.map(|error| (make, error))) {
        for at in 0..operations {
            let folder = tempfile::tempdir().unwrap();
            let key_folder = tempfile::tempdir().unwrap();
            let key_path = key_folder.path().join("k");
            let key = SigningKey::create(&key_path).unwrap();
            let public = key.public();
            let (acknowledged, _) = write_with(folder.path(), make(at), error, key);
            if matches!(make(at), Fault::Once(_)) {
                assert_eq!(acknowledged.len(), 22, "one fault is tried again: {:?}", make(at));
            }
            let recovered = recover(folder.path()).unwrap();
            let (mut spool, _) = open(folder.path(), local());
            let head = spool.head().clone();
            let count = acknowledged.len() as u64;
            // A batch that failed at its sync may be there all the same, if the disk died before it could be started
            // over; one that was acknowledged must be.
            assert!(head.seq >= count, "{:?}: {} of {count}, {recovered:?}", make(at), head.seq);
            let mut sealer = Sealer::new(SigningKey::open(&key_path).unwrap(), head);
            spool.append(&sealed(&mut sealer, 4)).unwrap();
            let read = read_all(folder.path(), sealer.head().seq);
            assert_eq!(read.missing, [], "{:?}", make(at));
            for (entry, line) in read.entries.iter().zip(&acknowledged) {
                assert_eq!(&entry.line, line, "{:?}", make(at));
            }
            let mut verifier = Verifier::new(vec![public], Repeats::Refused);
            for entry in &read.entries {
                verifier.push(&entry.line, String::new);
            }
            assert_eq!(verifier.finish().findings, [], "{:?}", make(at));
        }
    }
}

#[test]
fn a_cursor_in_memory_says_more_than_the_file_and_only_of_the_same_stream() {
    const OTHER: &str = "ffeeddccbbaa99887766554433221100";
    let folder = tempfile::tempdir().unwrap();
    let runtime = folder.path().join("run");
    let open = || Cursor::new(folder.path(), "a", local()).in_memory(&runtime);
    let at = |next| cursor::Stored::At { stream: STREAM.to_owned(), next };
    let mut first = open();
    assert_eq!(first.load(), cursor::Stored::Absent);
    first.begin(STREAM, 1).unwrap();
    assert_eq!(open().load(), at(1));
    first.note(STREAM, 7);
    // The agent is killed here.
    assert_eq!(open().load(), at(7));
    assert_eq!(Cursor::new(folder.path(), "a", local()).load(), at(1), "the file alone");
    first.store(STREAM, 9).unwrap();
    assert_eq!(open().load(), at(9), "memory may lag");
    fs::write(folder.path().join("cursors/a"), "torn").unwrap();
    assert_eq!(open().load(), at(7));
    first.store(OTHER, 3).unwrap();
    assert_eq!(open().load(), cursor::Stored::At { stream: OTHER.to_owned(), next: 3 });
    first.note(OTHER, 4);
    assert_eq!(open().load(), cursor::Stored::At { stream: OTHER.to_owned(), next: 4 });
    // What is no cursor says nothing.
    fs::write(runtime.join("cursors/a"), vec![0xff; 4_096]).unwrap();
    assert_eq!(open().load(), cursor::Stored::At { stream: OTHER.to_owned(), next: 3 });
}

#[test]
fn a_cursor_is_read_back_and_a_damaged_one_is_known_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let cursor = Cursor::new(folder.path(), "a/b", local());
    assert_eq!(cursor.load(), cursor::Stored::Absent);
    cursor.store(STREAM, 42).unwrap();
    assert_eq!(cursor.load(), cursor::Stored::At { stream: STREAM.to_owned(), next: 42 });
    let path = folder.path().join("cursors/a_b");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() - 1 {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(cursor.load(), cursor::Stored::Damaged, "byte {at}");
    }
}

#[test]
fn a_damaged_header_loses_neither_the_records_behind_it_nor_the_place_in_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path(), local());
    let mut sealer = Sealer::new(key().0, spool.head().clone());
    for _ in 0..4 {
        spool.append(&sealed(&mut sealer, 5)).unwrap();
    }
    drop(spool);
    let last = *segment::list(folder.path()).unwrap().last().unwrap();
    assert!(last > 1, "several segments");
    let path = segment::path(folder.path(), last);
    let good = fs::read(&path).unwrap();
    for at in 0..segment::HEADER_BYTES {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let (spool, _) = open(folder.path(), local());
        assert_eq!(spool.head(), sealer.head(), "byte {at}");
        drop(spool);
        let read = read_all(folder.path(), 20);
        assert_eq!((read.entries.len(), read.missing.len()), (20, 0), "byte {at}");
    }
}
