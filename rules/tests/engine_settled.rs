//! What is known of a packet by its sender alone is what the full decision says of every packet of that sender.
#![allow(clippy::unwrap_used, reason = "a test that goes wrong should stop")]

use fastrand::Rng;
use interdict_abi::{
    ids::{Act, Action, Fact, Family, Mode},
    image::{header, settled},
    limits::SETTLED_ROWS,
};
use interdict_engine::{Memory as _, facts};
use interdict_rules::{
    image::{PolicyImage, verify},
    ir::{Clause, Literal, OnFault, Program, Rule, Test},
    lower::{Budget, lower},
    meta::RateMeta,
    oracle::generate,
    run::{self, Address, Event, Value},
};

fn of_sender(low: u32, high: u32, negated: bool) -> Literal {
    let v6 = vec![(u128::from(low) << 96, u128::from(high) << 96 | u128::MAX >> 32)];
    let test = Test::Address { fact: Fact::RemoteIp, v4: vec![(low, high)], v6, from: Vec::new() };
    Literal { negated, test }
}

fn of_port(port: u32) -> Literal {
    Literal {
        negated: false,
        test: Test::Number { fact: Fact::LocalPort, ranges: vec![(port, port)] },
    }
}

fn clause(act: Act, literals: Vec<Literal>) -> Clause {
    Clause { family: Family::Packet, acts: act.bit(), literals, origin: 0 }
}

fn rule(id: &str, clauses: Vec<Clause>, exceptions: Vec<Clause>) -> Rule {
    Rule {
        id: id.to_owned(),
        action: Action::Block,
        errno: 1,
        mode: Mode::Enforce,
        on_fault: OnFault::Block,
        clauses,
        exceptions,
        narrowed: Vec::new(),
    }
}

fn image(rules: Vec<Rule>) -> PolicyImage {
    let program = Program { rules };
    lower(&program, generate::metadata(&program), Budget::default()).expect("it compiles")
}

/// The rule by which all packets from an address are dropped, if it is known.
fn known(image: &PolicyImage, sender: Address) -> Option<u32> {
    let row = facts::listed(image.kernel(), Family::Packet, Fact::RemoteIp, sender);
    facts::settled(image.kernel(), row)
}

const LISTED: u32 = 0x0a00_0005;

fn listed() -> Clause {
    clause(Act::PacketIn, vec![of_sender(LISTED, LISTED + 3, false)])
}

#[test]
fn a_feed_that_is_dropped_is_known_by_the_sender_alone() {
    let image = image(vec![rule("feed", vec![listed()], Vec::new())]);
    assert_eq!(known(&image, Address::V4(LISTED)), Some(0));
    assert_eq!(known(&image, Address::V6(u64::from(LISTED) << 32, 7)), Some(0));
    assert_eq!(known(&image, Address::V4(LISTED + 4)), None);
}

#[test]
fn nothing_is_known_where_more_than_the_sender_matters() {
    let excused = clause(Act::PacketIn, vec![of_port(22)]);
    let told = Rule { action: Action::Alert, ..rule("feed", vec![listed()], Vec::new()) };
    let audited = Rule { mode: Mode::Audit, ..rule("feed", vec![listed()], Vec::new()) };
    let with_port = clause(Act::PacketIn, vec![of_sender(LISTED, LISTED, false), of_port(22)]);
    let leaving = clause(Act::PacketOut, vec![of_sender(LISTED, LISTED, false)]);
    let first = rule("first", vec![with_port.clone()], Vec::new());
    let stronger = Rule { action: Action::Kill, ..first };
    for rules in [
        vec![rule("feed", vec![listed()], vec![excused])],
        vec![told],
        vec![audited],
        vec![rule("feed", vec![with_port], Vec::new())],
        vec![rule("feed", vec![leaving], Vec::new())],
        // The first of two is the one that would be told, and it asks for a port.
        vec![stronger, rule("feed", vec![listed()], Vec::new())],
    ] {
        let image = image(rules);
        assert_eq!(known(&image, Address::V4(LISTED)), None, "{:?}", image.metadata().rules);
    }
}

#[test]
fn a_feed_that_flows_are_judged_by_too_is_known_all_the_same() {
    let v4: Vec<(u32, u32)> = (0..5_000).map(|at| (at * 4, at * 4)).collect();
    let of_feed = |family: Family, act: Act| {
        let test = Test::Address {
            fact: Fact::RemoteIp,
            v4: v4.clone(),
            v6: Vec::new(),
            from: Vec::new(),
        };
        let literals = vec![Literal { negated: false, test }];
        Clause { family, acts: act.bit(), literals, origin: 0 }
    };
    let flows = of_feed(Family::Net, Act::NetConnect);
    let packets = of_feed(Family::Packet, Act::PacketIn);
    let image = image(vec![
        rule("feed", vec![flows], Vec::new()),
        rule("packets", vec![packets], Vec::new()),
    ]);
    assert_eq!(known(&image, Address::V4(4)), Some(1));
    assert_eq!(known(&image, Address::V4(5)), None);
}

#[test]
fn rules_with_a_rate_see_all_packets_of_a_peer() {
    let everything = clause(Act::PacketIn, vec![of_sender(0, u32::MAX, false)]);
    let program = Program {
        rules: vec![
            rule("feed", vec![listed()], Vec::new()),
            rule("flood", vec![everything], Vec::new()),
        ],
    };
    let mut metadata = generate::metadata(&program);
    metadata.rules[1].rate = Some(RateMeta { packets: 1, per_seconds: 1, burst: 1 });
    let image = lower(&program, metadata, Budget::default()).unwrap();
    assert_eq!(known(&image, Address::V4(LISTED)), None);
}

#[test]
fn a_table_that_says_more_than_the_rules_is_refused() {
    let excused = clause(Act::PacketIn, vec![of_port(22)]);
    let rules = vec![
        rule("feed", vec![listed()], Vec::new()),
        rule("other", vec![clause(Act::PacketIn, vec![of_sender(1, 9, false)])], vec![excused]),
    ];
    let image = image(rules);
    let table = image.kernel().word(header::SETTLED);
    assert_eq!(image.kernel().word(table + settled::COUNT), 1);
    let excusable = facts::listed(image.kernel(), Family::Packet, Fact::RemoteIp, Address::V4(3));
    let entry = table + settled::ENTRIES;
    for (at, word) in [
        (entry, 0),
        (entry, excusable),
        (entry + 4, 1),
        (table + settled::COUNT, SETTLED_ROWS + 1),
        (header::SETTLED, 4),
    ] {
        let mut kernel = image.kernel().to_vec();
        kernel[at as usize..][..4].copy_from_slice(&word.to_le_bytes());
        let checksum = verify::crc(&kernel);
        kernel[header::CHECKSUM as usize..][..4].copy_from_slice(&checksum.to_le_bytes());
        let error = image.with_kernel(kernel).map(drop).unwrap_err().to_string();
        assert!(error.contains("settled packets"), "{at} {word}: {error}");
    }
}

/// Programs of rules on packets that test senders, destinations and ports, with exceptions.
fn program(random: &mut Rng) -> Program {
    let part = |random: &mut Rng| {
        let act = if random.u8(..4) == 0 { Act::PacketOut } else { Act::PacketIn };
        let mut literals = Vec::new();
        for _ in 0..random.usize(..3) {
            let low = random.u32(..24);
            literals.push(of_sender(low, low + random.u32(..12), random.u8(..8) == 0));
        }
        if random.u8(..4) == 0 {
            literals.push(of_port(random.u32(..4)));
        }
        if random.u8(..6) == 0 {
            let low = random.u32(..4);
            let (v4, v6) = (vec![(low, low + 2)], Vec::new());
            let test = Test::Address { fact: Fact::LocalIp, v4, v6, from: Vec::new() };
            literals.push(Literal { negated: random.bool(), test });
        }
        clause(act, literals)
    };
    let rules = (0..1 + random.usize(..5)).map(|number| {
        let mut parts = |most: usize| (0..most).map(|_| part(random)).collect::<Vec<_>>();
        let (clauses, more) = (parts(1), parts(3));
        let exceptions = if more.len() % 2 == 0 { Vec::new() } else { more[..1].to_vec() };
        let exceptions = if number % 2 == 0 { Vec::new() } else { exceptions };
        let action = [Action::Alert, Action::Block, Action::Kill][random.usize(..3)];
        let mode = if random.u8(..6) == 0 { Mode::Audit } else { Mode::Enforce };
        Rule { action, mode, ..rule(&format!("R-{number}"), clauses, exceptions) }
    });
    Program { rules: rules.collect() }
}

#[test]
fn the_full_decision_says_of_every_packet_what_its_sender_alone_says() {
    let mut random = Rng::with_seed(71);
    let (mut settled, mut full, mut unknown_drops) = (0, 0, 0);
    for _ in 0..1_500 {
        let program = program(&mut random);
        let image = lower(&program, generate::metadata(&program), Budget::default()).unwrap();
        for _ in 0..40 {
            let sender = match random.u8(..2) {
                0 => Address::V4(random.u32(..40)),
                _ => Address::V6(u64::from(random.u32(..40)) << 32, random.u64(..)),
            };
            let port = match random.u8(..4) {
                0 => Value::Unknown,
                1 => Value::Absent,
                _ => Value::Number(random.u32(..5)),
            };
            let event = Event::new(Act::PacketIn)
                .with(Fact::RemoteIp, Value::Address(sender))
                .with(Fact::LocalIp, Value::Address(Address::V4(random.u32(..8))))
                .with(Fact::LocalPort, port);
            let decided = run::decide(&image, &event, Mode::Enforce);
            match known(&image, sender) {
                Some(rule) => {
                    settled += 1;
                    assert!(decided.verdict >= Action::Block, "{sender:?} {program:#?}");
                    assert_eq!(decided.told.first(), Some(&rule), "{sender:?} {program:#?}");
                }
                None => {
                    full += 1;
                    unknown_drops += u32::from(decided.verdict >= Action::Block);
                }
            }
        }
    }
    assert!(settled > 3_000 && full > 5_000 && unknown_drops > 1_000, "{settled} {full}");
}
