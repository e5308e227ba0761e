use interdict_abi::event::kind;

use super::*;

const ROOM: usize = 2 << 20;

const STREAM: &str = "00112233445566778899aabbccddeeff";

fn known(stream: &'static str, seq: u64, tally: u64) -> Known<'static> {
    Known { boot_id: "boot", stream, seq, tally }
}

fn opened(path: &Path, seq: u64, tally: u64) -> Journal {
    Journal::open(path, ROOM, &known(STREAM, seq, tally)).unwrap().0
}

fn record(kind: u16, at: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[2..4].copy_from_slice(&kind.to_le_bytes());
    bytes[4..8].copy_from_slice(&at.to_le_bytes());
    bytes
}

fn decision(at: u32) -> Vec<u8> {
    record(kind::DECISION, at, 200)
}

/// Takes all, as (position, number of the record).
fn taken(journal: &mut Journal) -> Vec<(u64, u32)> {
    let mut all = Vec::new();
    while !journal.all_taken() {
        let mut bytes = Vec::new();
        journal.take(&mut bytes, 1 << 20).unwrap();
        let mut rest = &bytes[..];
        while let [p0, p1, p2, p3, p4, p5, p6, p7, l0, l1, l2, l3, more @ ..] = rest {
            let position = u64::from_le_bytes([*p0, *p1, *p2, *p3, *p4, *p5, *p6, *p7]);
            let len = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
            all.push((position, u32::from_le_bytes(more[4..8].try_into().unwrap())));
            rest = &more[len..];
        }
    }
    all
}

fn numbers(journal: &mut Journal) -> Vec<u32> {
    taken(journal).into_iter().map(|(_, number)| number).collect()
}

#[test]
fn the_next_agent_finds_what_was_not_settled_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/journal");
    let mut journal = opened(&path, 0, 0);
    for at in 0..8 {
        journal.append(&decision(at), ROOM).unwrap();
    }
    journal.append(&record(kind::EXEC, 8, 300), ROOM).unwrap();
    journal.append(&decision(9), ROOM).unwrap();
    let entries = taken(&mut journal);
    journal.settle(&[entries[0].0, entries[8].0]).unwrap();
    journal.assign(entries[1].0, 10).unwrap();
    journal.assign(entries[2].0, 11).unwrap();
    journal.tally(entries[3].0, 4).unwrap();
    journal.tally(entries[4].0, 5).unwrap();
    drop(journal);
    // Alert 10 was durable, alert 11 was not; count 4 was, count 5 was not. The process is context.
    let mut journal = opened(&path, 10, 4);
    assert_eq!(numbers(&mut journal), [2, 4, 5, 6, 7, 8, 9]);
    drop(journal);
    // With a spool that starts anew numbers say nothing: told again rather than not at all.
    let (mut journal, _) =
        Journal::open(&path, ROOM, &known("ffeeddccbbaa99887766554433221100", 10, 4)).unwrap();
    assert_eq!(numbers(&mut journal), [2, 4, 5, 6, 7, 8, 9]);
    drop(journal);
    let mut journal =
        Journal::open(&path, ROOM, &Known { boot_id: "next", ..known(STREAM, 0, 0) }).unwrap().0;
    assert_eq!(numbers(&mut journal), Vec::<u32>::new());
}

#[test]
fn the_twin_in_the_ring_of_the_last_record_is_known_even_if_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut journal = opened(&path, 0, 0);
    for at in 0..5 {
        journal.append(&decision(at), ROOM).unwrap();
        let entries = taken(&mut journal);
        journal.settle(&[entries[0].0]).unwrap();
    }
    drop(journal);
    let mut journal = opened(&path, 0, 0);
    assert_eq!(numbers(&mut journal), Vec::<u32>::new());
    assert!(!journal.has_already(&decision(3)));
    assert!(journal.has_already(&decision(4)));
    assert!(!journal.has_already(&decision(4)), "only once: what comes later is another one");
}

#[test]
fn it_goes_round_and_refuses_what_has_no_room_and_gives_memory_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut journal = opened(&path, 0, 0);
    let mut next = 0;
    let mut expected = 0;
    for round in 0..40 {
        // Lengths that do not divide the room, so that entries meet its end in every way.
        while journal
            .append(&record(kind::DECISION, next, 200 + (next as usize * 37) % 999), ROOM)
            .is_ok()
        {
            next += 1;
        }
        assert!(journal.len_bytes() > ROOM / 10 * 9 || round > 0, "{}", journal.len_bytes());
        let entries = taken(&mut journal);
        let (settled, kept) = entries.split_at(entries.len() * 3 / 4);
        for (_, number) in &entries {
            assert_eq!(*number, expected);
            expected += 1;
        }
        // The oldest stays for a round: nothing behind it is given up.
        let positions: Vec<u64> = settled.iter().map(|(position, _)| *position).collect();
        journal.settle(&positions[1.min(positions.len())..]).unwrap();
        journal.settle(&positions[..1.min(positions.len())]).unwrap();
        let rest: Vec<u64> = kept.iter().map(|(position, _)| *position).collect();
        journal.settle(&rest).unwrap();
    }
    assert!(expected > 20_000, "{expected}");
    // At rest only the front is used again.
    let backed = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        path.metadata().unwrap().blocks() * 512
    };
    assert!(backed(&path) > 1 << 20);
    for at in 0..10 {
        journal.append(&decision(at), ROOM).unwrap();
        let entries = taken(&mut journal);
        journal.settle(&[entries[0].0]).unwrap();
        journal.trim().unwrap();
    }
    assert!(backed(&path) <= (KEPT + STEP) as u64, "{}", backed(&path));
    drop(journal);
    assert_eq!(numbers(&mut opened(&path, 0, 0)), Vec::<u32>::new());
}

#[test]
fn a_record_that_agents_die_of_is_given_up_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut journal = opened(&path, 0, 0);
    for at in 0..3 {
        journal.append(&decision(at), ROOM).unwrap();
    }
    drop(journal);
    for _death in 0..TRIES {
        let mut journal = opened(&path, 0, 0);
        let entries = taken(&mut journal);
        assert_eq!(entries.len(), 3);
        journal.trying(entries[1].0).unwrap();
    }
    let (mut journal, accounts) = Journal::open(&path, ROOM, &known(STREAM, 0, 0)).unwrap();
    assert_eq!(numbers(&mut journal), [0, 2]);
    assert_eq!(
        accounts.counted(&journal.memory).unwrap(),
        [("record_unworkable".to_owned(), 1)].into()
    );
}

#[test]
fn damage_ends_what_is_believed_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut journal = opened(&path, 0, 0);
    for at in 0..3 {
        journal.append(&decision(at), ROOM).unwrap();
    }
    let second = taken(&mut journal)[1].0;
    let place = journal.place(second);
    journal.memory.write(place + ENTRY_HEAD + 50, b"x").unwrap();
    drop(journal);
    let (mut journal, accounts) = Journal::open(&path, ROOM, &known(STREAM, 0, 0)).unwrap();
    assert_eq!(numbers(&mut journal), [0]);
    assert_eq!(
        accounts.counted(&journal.memory).unwrap(),
        [("journal_damaged".to_owned(), 1)].into()
    );
    journal.append(&decision(7), ROOM).unwrap();
    assert_eq!(numbers(&mut journal), [7]);
}

#[test]
fn another_size_is_taken_once_nothing_of_the_agent_before_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    for room in [ROOM / 2, ROOM * 2, ROOM] {
        let (mut journal, mut accounts) = Journal::open(&path, ROOM, &known(STREAM, 0, 0)).unwrap();
        assert_eq!(journal.room(), ROOM);
        accounts.add(&mut journal.memory, "queue_full", 1).unwrap();
        let counted = accounts.counted(&journal.memory).unwrap();
        journal.append(&decision(1), ROOM).unwrap();
        journal.append(&decision(2), ROOM).unwrap();
        let entries = taken(&mut journal);
        journal.settle(&[entries[0].0]).unwrap();
        drop(journal);
        let (mut journal, accounts) = Journal::open(&path, room, &known(STREAM, 0, 0)).unwrap();
        assert_eq!(journal.room(), ROOM);
        assert_eq!(accounts.counted(&journal.memory).unwrap(), counted);
        let entries = taken(&mut journal);
        assert_eq!(entries.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [2]);
        journal.settle(&[entries[0].0]).unwrap();
        drop(journal);
        let (mut journal, accounts) = Journal::open(&path, room, &known(STREAM, 0, 0)).unwrap();
        assert_eq!(journal.room(), room);
        assert_eq!(accounts.counted(&journal.memory).unwrap(), counted);
        assert!(journal.has_already(&decision(2)), "the ring may hold it still");
        while journal.append(&record(kind::DECISION, 3, 60_000), room).is_ok() {}
        assert!(journal.len_bytes() > room - 70_000);
        let positions: Vec<u64> = taken(&mut journal).iter().map(|(at, _)| *at).collect();
        journal.settle(&positions).unwrap();
    }
}

/// At rest each record begins at the front: its place is written first, then where it ends.
#[test]
fn an_agent_that_dies_as_it_begins_at_the_front_has_lost_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut journal = opened(&path, 0, 0);
    journal.append(&decision(1), ROOM).unwrap();
    let entries = taken(&mut journal);
    journal.settle(&[entries[0].0]).unwrap();
    let front = journal.lap_end(journal.tail);
    journal.memory.store(at::HEAD, front).unwrap();
    drop(journal);
    let (mut journal, accounts) = Journal::open(&path, ROOM, &known(STREAM, 0, 0)).unwrap();
    assert_eq!(accounts.counted(&journal.memory).unwrap(), BTreeMap::new());
    journal.append(&decision(2), ROOM).unwrap();
    assert_eq!(numbers(&mut journal), [2]);
}

#[test]
fn a_second_agent_with_the_same_folder_keeps_what_it_reads_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut first = opened(&path, 0, 0);
    first.append(&decision(1), ROOM).unwrap();
    let mut second = opened(&path, 0, 0);
    assert_eq!(numbers(&mut second), Vec::<u32>::new());
    second.append(&decision(2), ROOM).unwrap();
    assert_eq!(numbers(&mut first), [1]);
}

#[test]
fn counts_are_told_once_whoever_dies_when() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let counts = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    let with = |seq: u64| Journal::open(&path, ROOM, &known(STREAM, seq, 0)).unwrap();
    let (mut journal, mut accounts) = with(0);
    accounts.add(&mut journal.memory, "queue_full", 3).unwrap();
    accounts
        .stands(&mut journal.memory, "a 1", &counts(&[("ring_full", 5), ("other", 0)]))
        .unwrap();
    let counted = accounts.counted(&journal.memory).unwrap();
    assert_eq!(counted, counts(&[("queue_full", 3), ("ring_full", 5)]));
    accounts.telling(&mut journal.memory, &counted, 7).unwrap();
    drop((journal, accounts));
    // The alert was not durable: nothing is told. The kernel side has gone on.
    let (mut journal, mut accounts) = with(6);
    assert_eq!(
        accounts.told(&journal.memory).unwrap(),
        counts(&[("queue_full", 0), ("ring_full", 0)])
    );
    accounts.stands(&mut journal.memory, "a 1", &counts(&[("ring_full", 9)])).unwrap();
    let counted = accounts.counted(&journal.memory).unwrap();
    assert_eq!(counted, counts(&[("queue_full", 3), ("ring_full", 9)]));
    accounts.telling(&mut journal.memory, &counted, 8).unwrap();
    drop((journal, accounts));
    // This time it was.
    let (mut journal, mut accounts) = with(8);
    assert_eq!(
        accounts.told(&journal.memory).unwrap(),
        counts(&[("queue_full", 3), ("ring_full", 9)])
    );
    // Another instance counts from 0, and so does the same one if it went back.
    accounts.stands(&mut journal.memory, "b 2", &counts(&[("ring_full", 2)])).unwrap();
    assert_eq!(accounts.counted(&journal.memory).unwrap()["ring_full"], 11);
    accounts.stands(&mut journal.memory, "b 2", &counts(&[("ring_full", 1)])).unwrap();
    assert_eq!(accounts.counted(&journal.memory).unwrap()["ring_full"], 12);
    accounts.stands(&mut journal.memory, "b 2", &counts(&[("ring_full", 4)])).unwrap();
    assert_eq!(accounts.counted(&journal.memory).unwrap()["ring_full"], 15);
}
