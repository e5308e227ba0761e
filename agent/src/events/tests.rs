use interdict_abi::{
    event::{Head, VERSION, kind},
    ids::{Act, Action, Family, Fault},
};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;

fn record(head: Head, path: &[u8], extra: &[u8]) -> Vec<u8> {
    let mut head = head;
    head.path_bytes = u16::try_from(path.len()).unwrap();
    head.extra_bytes = u16::try_from(extra.len()).unwrap();
    let mut bytes = head.as_bytes().to_vec();
    bytes.extend_from_slice(path);
    bytes.extend_from_slice(extra);
    bytes
}

fn decision_head() -> Head {
    let mut head = Head::ZERO;
    head.version = VERSION;
    head.kind = kind::DECISION;
    head.family = Family::File as u8;
    head.verdict = Action::Block as u8;
    head.would = Action::Kill as u8;
    head.acts = Act::FileRead.bit() | Act::FileWrite.bit();
    head.clauses = [4, 9, 0, 0, 0, 0, 0, 0];
    head.clauses_told = 2;
    head.comm = *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0";
    head
}

#[test]
fn a_decision_keeps_its_numbers_and_strings() {
    let bytes = record(decision_head(), b"/etc/shadow", b"/new");
    let KernelEvent::Decision(decision) = decode(&bytes).unwrap() else { panic!("a decision") };
    assert_eq!(decision.verdict, Action::Block);
    assert_eq!(decision.would, Action::Kill);
    assert_eq!(decision.acts.iter().collect::<Vec<_>>(), [Act::FileRead, Act::FileWrite]);
    assert_eq!(decision.clauses(), [4, 9]);
    assert_eq!(decision.object.path, b"/etc/shadow");
    assert_eq!(decision.second, b"/new");
    assert_eq!(decision.actor.name(), b"cat");
}

#[test]
fn acts_of_another_family_with_the_same_bit_are_not_named() {
    let mut head = decision_head();
    head.family = Family::Net as u8;
    head.acts = Act::NetConnect.bit() | 1 << 15;
    let bytes = record(head, b"", b"");
    let KernelEvent::Decision(decision) = decode(&bytes).unwrap() else { panic!("a decision") };
    assert_eq!(decision.acts.iter().collect::<Vec<_>>(), [Act::NetConnect]);
    assert_eq!(decision.acts.unknown(), 1 << 15);
}

#[test]
fn an_attempt_on_the_agent_keeps_act_target_and_name() {
    let mut head = decision_head();
    head.kind = kind::GUARD;
    head.acts = GuardAct::Signal as u32;
    (head.number, head.target) = (9, 77);
    let bytes = record(head, b"name", b"");
    let KernelEvent::Guard(attempt) = decode(&bytes).unwrap() else { panic!("an attempt") };
    assert_eq!((attempt.act, attempt.number, attempt.target), (GuardAct::Signal, 9, 77));
    assert_eq!(attempt.name, b"name");
    head.acts = 256 + GuardAct::Signal as u32;
    assert_eq!(decode(&record(head, b"", b"")), Err(DecodeError::UnknownGuardAct { raw: 257 }));
}

#[test]
fn every_number_that_is_not_understood_is_named() {
    type Change = fn(&mut Head);
    let cases: [(Change, DecodeError); 6] = [
        (|head| head.version = 9, DecodeError::UnknownVersion { raw: 9 }),
        (|head| head.kind = 77, DecodeError::UnknownKind { raw: 77 }),
        (|head| head.family = 200, DecodeError::UnknownFamily { raw: 200 }),
        (|head| head.would = 4, DecodeError::UnknownVerdict { raw: 4 }),
        (|head| head.fault = 255, DecodeError::UnknownFault { raw: 255 }),
        (|head| head.clauses_told = 9, DecodeError::TooManyRules { told: 9 }),
    ];
    for (change, expected) in cases {
        let mut head = decision_head();
        change(&mut head);
        assert_eq!(decode(&record(head, b"/x", b"")), Err(expected));
    }
}

#[test]
fn a_record_cut_at_any_byte_is_short() {
    let bytes = record(decision_head(), b"/etc/shadow", b"second");
    for len_bytes in 0..bytes.len() {
        assert_eq!(decode(&bytes[..len_bytes]), Err(DecodeError::Short { len_bytes }));
    }
}

#[test]
fn every_fault_of_the_abi_is_understood() {
    for fault in Fault::ALL {
        let mut head = decision_head();
        head.fault = *fault as u8;
        let bytes = record(head, b"", b"");
        let KernelEvent::Decision(decision) = decode(&bytes).unwrap() else { panic!() };
        assert_eq!(decision.fault, *fault);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _outcome = decode(&bytes);
    }

    #[test]
    fn a_decoded_decision_never_reads_past_its_strings(
        path in proptest::collection::vec(any::<u8>(), 0..300),
        extra in proptest::collection::vec(any::<u8>(), 0..300),
        tail in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = record(decision_head(), &path, &extra);
        bytes.extend_from_slice(&tail);
        let Ok(KernelEvent::Decision(decision)) = decode(&bytes) else { panic!("a decision") };
        prop_assert_eq!(decision.object.path, &path[..]);
        prop_assert_eq!(decision.second, &extra[..]);
    }
}
