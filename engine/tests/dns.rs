//! The reader of DNS messages against one that shares nothing with it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that goes wrong should stop")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::{
    op::{Header, Message, MessageType, OpCode, Query},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, TXT},
    },
    serialize::binary::{BinDecodable, BinDecoder},
};
use interdict_engine::dns::{Expected, Read, Sheet, Step};
use proptest::prelude::*;

/// The key of a name, from its labels as bytes.
fn key(name: &Name) -> Vec<u8> {
    let mut labels: Vec<Vec<u8>> = name
        .iter()
        .map(|label| {
            let fold =
                |byte: &u8| if matches!(*byte, 0 | b'/') { 1 } else { byte.to_ascii_lowercase() };
            label.iter().map(fold).collect()
        })
        .collect();
    labels.reverse();
    labels.join(&b'/')
}

fn labels() -> impl Strategy<Value = Name> {
    let label = prop_oneof![
        6 => proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'Z'), Just(b'-'), b'0'..=b'9'], 1..12),
        1 => proptest::collection::vec(any::<u8>(), 1..64),
        1 => Just(vec![b'x'; 63]),
    ];
    proptest::collection::vec(label, 0..8).prop_filter_map("too long", |labels| {
        Name::from_labels(labels.iter().map(Vec::as_slice)).ok()
    })
}

fn query(name: Name) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name, RecordType::AAAA));
    message
}

/// What the other reader says the message asks for: the header, then the questions.
fn reference(bytes: &[u8]) -> Option<(MessageType, Vec<Name>)> {
    let mut decoder = BinDecoder::new(bytes);
    let header = Header::read(&mut decoder).ok()?;
    let names = (0..header.counts.queries)
        .map(|_| Query::read(&mut decoder).ok().map(|query| query.name().clone()))
        .collect::<Option<Vec<Name>>>()?;
    Some((header.metadata.message_type, names))
}

/// Whether a question's name, wherever it starts, has a pointer in it.
fn compressed(bytes: &[u8]) -> bool {
    let mut at = 12;
    loop {
        match bytes.get(at) {
            None | Some(0) => return false,
            Some(length) if *length >= 0xc0 => return true,
            Some(length) => at += 1 + usize::from(*length),
        }
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits))),
    ]
}

fn halves(address: IpAddr) -> [u64; 2] {
    let bits = match address {
        IpAddr::V4(four) => u128::from(four.to_ipv6_mapped()),
        IpAddr::V6(six) => u128::from(six),
    };
    [(bits >> 64) as u64, bits as u64]
}

/// The addresses with their lifetimes that the answer gives, and how reading it ended.
fn answered(bytes: &[u8]) -> (Step, Vec<([u64; 2], u32)>) {
    let mut sheet = Sheet::new(bytes);
    let (question, _) = sheet.question(Expected::Answer);
    assert_eq!(question.read, Read::Name);
    let mut found = Vec::new();
    let last =
        sheet.addresses(&question, |records| found.push((records.address, records.lifetime)));
    (last, found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_name_of_a_query_is_the_one_that_was_put_in(name in labels()) {
        let bytes = query(name.clone()).to_vec().unwrap();
        let mut sheet = Sheet::new(&bytes);
        let (question, found) = sheet.question(Expected::Query);
        prop_assert_eq!(question.read, Read::Name);
        prop_assert_eq!(found.unwrap().to_vec(), key(&name));
        prop_assert_eq!(question.kind(&sheet), 28);
        prop_assert_eq!(question.end() as usize, bytes.len());
    }

    #[test]
    fn a_query_that_is_cut_short_says_so(name in labels(), keep in 0.0..1.0f64) {
        let bytes = query(name).to_vec().unwrap();
        let kept = &bytes[..(bytes.len() as f64 * keep) as usize];
        prop_assert_eq!(Sheet::new(kept).question(Expected::Query).0.read, Read::Cut);
    }

    #[test]
    fn bytes_changed_at_random_are_read_as_the_other_reader_reads_them(
        name in labels(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep in prop_oneof![3 => Just(1.0), 1 => 0.0..1.0f64],
    ) {
        let mut bytes = query(name).to_vec().unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate((bytes.len() as f64 * keep) as usize);
        let mut sheet = Sheet::new(&bytes);
        let (question, found) = sheet.question(Expected::Query);
        let found = found.map(<[u8]>::to_vec);
        match (reference(&bytes), question.read) {
            (Some((MessageType::Response, _)), read) => prop_assert_eq!(read, Read::OtherWay),
            (Some((MessageType::Query, names)), Read::Name) => {
                prop_assert_eq!(names.len(), 1);
                prop_assert_eq!(found.unwrap(), key(&names[0]));
            }
            (Some((MessageType::Query, names)), Read::NoQuestion) => prop_assert!(names.is_empty()),
            (Some((MessageType::Query, names)), Read::Malformed) => {
                prop_assert!(names.len() > 1 || compressed(&bytes));
            }
            (Some((MessageType::Query, names)), read) => {
                prop_assert!(false, "{read:?}, but it asks for {names:?}");
            }
            // The direction is told first, whatever follows.
            (None, read) => prop_assert!(matches!(read, Read::Cut | Read::Malformed | Read::OtherWay)),
        }
    }

    #[test]
    fn the_addresses_of_an_answer_are_those_that_were_put_in(
        name in labels(),
        addresses in proptest::collection::vec((address(), 0u32..=0x7fff_ffff), 0..12),
        aliases in proptest::collection::vec(labels(), 0..3),
    ) {
        let mut message = query(name.clone()).into_response();
        let mut owner = name;
        for alias in aliases {
            message.add_answer(Record::from_rdata(owner, 60, RData::CNAME(CNAME(alias.clone()))));
            owner = alias;
        }
        message.add_answer(Record::from_rdata(owner.clone(), 9, RData::TXT(TXT::new(vec!["x".into()]))));
        for (address, lifetime) in &addresses {
            let data = match address {
                IpAddr::V4(four) => RData::A(A(*four)),
                IpAddr::V6(six) => RData::AAAA(AAAA(*six)),
            };
            message.add_answer(Record::from_rdata(owner.clone(), *lifetime, data));
        }
        // Neither of these is an answer.
        let other = RData::A(A(Ipv4Addr::new(192, 0, 2, 77)));
        message.add_authority(Record::from_rdata(owner.clone(), 5, other.clone()));
        message.add_additional(Record::from_rdata(owner, 5, other));
        let bytes = message.to_vec().unwrap();
        let (last, found) = answered(&bytes);
        let expected: Vec<([u64; 2], u32)> =
            addresses.iter().map(|(address, lifetime)| (halves(*address), *lifetime)).collect();
        prop_assert_eq!(last, Step::End);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn an_answer_with_changed_bytes_gives_no_address_that_is_not_in_it(
        name in labels(),
        addresses in proptest::collection::vec(address(), 1..6),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut message = query(name.clone()).into_response();
        for address in &addresses {
            let data = match address {
                IpAddr::V4(four) => RData::A(A(*four)),
                IpAddr::V6(six) => RData::AAAA(AAAA(*six)),
            };
            message.add_answer(Record::from_rdata(name.clone(), 5, data));
        }
        let mut bytes = message.to_vec().unwrap();
        for (place, byte) in changes {
            let place = 12 + place.index(bytes.len() - 12);
            bytes[place] = byte;
        }
        let mut sheet = Sheet::new(&bytes);
        let (question, _) = sheet.question(Expected::Answer);
        if question.read != Read::Name {
            return Ok(());
        }
        let mut found = Vec::new();
        let last = sheet.addresses(&question, |records| found.push(records.address));
        if last != Step::End {
            return Ok(());
        }
        let Ok(message) = Message::from_vec(&bytes) else { return Ok(()) };
        let expected: Vec<[u64; 2]> = message
            .answers
            .iter()
            .filter(|record| u16::from(record.dns_class) == 1)
            .filter_map(|record| match &record.data {
                RData::A(four) => Some(halves(IpAddr::V4(four.0))),
                RData::AAAA(six) => Some(halves(IpAddr::V6(six.0))),
                _other => None,
            })
            .collect();
        prop_assert_eq!(found, expected);
    }
}

/// A message with `count` questions whose first name is `name` as it is on the wire.
fn raw(count: u16, name: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 7, 1, 0];
    bytes.extend(count.to_be_bytes());
    bytes.extend([0; 6]);
    bytes.extend(name);
    bytes.extend([0, 1, 0, 1]);
    bytes
}

fn read(bytes: &[u8]) -> Read {
    Sheet::new(bytes).question(Expected::Query).0.read
}

#[test]
fn a_name_of_253_characters_is_read_and_one_of_254_is_malformed() {
    let long = |last: u8| {
        let mut name = Vec::new();
        for length in [63, 63, 63, last] {
            name.push(length);
            name.extend(vec![b'a'; usize::from(length)]);
        }
        name.push(0);
        name
    };
    let bytes = raw(1, &long(61));
    assert_eq!(Sheet::new(&bytes).question(Expected::Query).1.unwrap().len(), 253);
    assert_eq!(read(&raw(1, &long(62))), Read::Malformed);
}

#[test]
fn a_name_of_single_letters_is_read_to_its_longest() {
    let mut name = [1, b'a'].repeat(127);
    name.push(0);
    let bytes = raw(1, &name);
    assert_eq!(Sheet::new(&bytes).question(Expected::Query).1.unwrap().len(), 253);
}

#[test]
fn a_pointer_in_a_question_is_malformed_even_if_it_points_at_itself() {
    assert_eq!(read(&raw(1, &[0xc0, 12])), Read::Malformed);
    assert_eq!(read(&raw(1, &[1, b'a', 0xc0, 12])), Read::Malformed);
    assert_eq!(read(&raw(1, &[0x41, b'a', 0])), Read::Malformed);
}

#[test]
fn several_questions_are_malformed_and_none_is_none() {
    assert_eq!(read(&raw(2, &[1, b'a', 0])), Read::Malformed);
    assert_eq!(read(&raw(0, &[1, b'a', 0])), Read::NoQuestion);
}

#[test]
fn a_byte_that_ends_labels_does_not_end_one_in_a_name() {
    let bytes = raw(1, &[4, b'a', b'/', 0, b'B', 3, b'c', b'o', b'm', 0]);
    let mut sheet = Sheet::new(&bytes);
    assert_eq!(sheet.question(Expected::Query).1.unwrap(), b"com/a\x01\x01b");
}

#[test]
fn the_root_is_the_empty_key() {
    let bytes = raw(1, &[0]);
    assert_eq!(Sheet::new(&bytes).question(Expected::Query).1.unwrap(), b"");
}

#[test]
fn an_error_gives_no_addresses() {
    let mut message = query(Name::from_ascii("a.example.").unwrap()).into_response();
    let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 1)));
    message.add_answer(Record::from_rdata(Name::from_ascii("a.example.").unwrap(), 5, data));
    let mut bytes = message.to_vec().unwrap();
    assert_eq!(answered(&bytes).1.len(), 1);
    bytes[3] |= 3;
    assert_eq!(answered(&bytes), (Step::End, Vec::new()));
}
