//! A feed large enough for an index and a front: every address is found or not exactly as its prefixes say.

use std::collections::BTreeMap;

use fastrand::Rng;
use interdict_abi::{
    ids::{Act, Action, Fact, Family, Mode},
    image::{COLUMN_BYTES, column, family, front, header, pages},
    maps::Gate,
};
use interdict_engine::{Memory as _, facts};
use interdict_rules::{
    image::{PolicyImage, verify},
    ir::{Clause, Literal, OnFault, Program, Rule, Test},
    lower::{Budget, lower},
    oracle::generate,
    run::{self, Address, Event, Value},
};

struct Feed {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

fn feed(count: usize, lengths_v6: &[u32]) -> Feed {
    let mut random = Rng::with_seed(3);
    let (mut v4, mut v6) =
        (vec![(0, 0), (u32::MAX, u32::MAX)], vec![(0, 0), (u128::MAX, u128::MAX)]);
    for at in 0..count {
        let host = u32::MAX >> [16, 20, 24, 24, 24, 28, 31][random.usize(..7)];
        let host = if at % 3 == 0 { 0 } else { host };
        let low = random.u32(..) & !host;
        v4.push((low, low | host));
        let length = lengths_v6[at % lengths_v6.len()];
        let host = u128::MAX.checked_shr(length).unwrap_or(0);
        let any = random.u128(..);
        let low = (0x2001 << 112 | any >> 16) & !host;
        v6.push((low, low | host));
    }
    Feed { v4, v6 }
}

fn image(feed: &Feed, negated: bool) -> PolicyImage {
    let (v4, v6) = (feed.v4.clone(), feed.v6.clone());
    let test = Test::Address { fact: Fact::RemoteIp, v4, v6, from: Vec::new() };
    let acts = Act::PacketIn.bit();
    let literals = vec![Literal { negated, test }];
    let rule = Rule {
        id: "feed".to_owned(),
        action: Action::Block,
        errno: 1,
        mode: Mode::Enforce,
        on_fault: OnFault::Pass,
        clauses: vec![Clause { family: Family::Packet, acts, literals, origin: 0 }],
        exceptions: Vec::new(),
        narrowed: Vec::new(),
    };
    let program = Program { rules: vec![rule] };
    lower(&program, generate::metadata(&program), Budget::default()).expect("it compiles")
}

fn table(image: &PolicyImage, word: u32) -> u32 {
    let directory = image.kernel().word(header::FAMILIES + Family::Packet as u32 * 4);
    image.kernel().word(directory + family::COLUMNS + Fact::RemoteIp as u32 * COLUMN_BYTES + word)
}

fn check(feed: &Feed, negated: bool) {
    let image = image(feed, negated);
    let (mut v4, mut v6) = (feed.v4.clone(), feed.v6.clone());
    v4.sort_unstable();
    v6.sort_unstable();
    let listed_v4 = |address: u32| v4.iter().any(|(low, high)| *low <= address && address <= *high);
    let listed_v6 =
        |address: u128| v6.iter().any(|(low, high)| *low <= address && address <= *high);
    let mut random = Rng::with_seed(9);
    let mut seen = [0; 2];
    for _ in 0..3_000 {
        let (low, high) = v4[random.usize(..v4.len())];
        for address in [low, high, low.wrapping_sub(1), high.wrapping_add(1), random.u32(..)] {
            let wanted = listed_v4(address) != negated;
            let event = Event::new(Act::PacketIn)
                .with(Fact::RemoteIp, Value::Address(Address::V4(address)));
            let blocked = run::decide(&image, &event, Mode::Enforce).verdict == Action::Block;
            assert_eq!(blocked, wanted, "{address:#x}");
            seen[usize::from(wanted)] += 1;
        }
        let (low, high) = v6[random.usize(..v6.len())];
        let any = random.u128(..);
        for address in [low, high, low.wrapping_sub(1), high.wrapping_add(1), any, low ^ 1 << 64] {
            if address >> 32 == 0xffff {
                continue;
            }
            let wanted = listed_v6(address) != negated;
            let halves = Address::V6((address >> 64) as u64, address as u64);
            let event = Event::new(Act::PacketIn).with(Fact::RemoteIp, Value::Address(halves));
            let blocked = run::decide(&image, &event, Mode::Enforce).verdict == Action::Block;
            assert_eq!(blocked, wanted, "{address:#x}");
            seen[usize::from(wanted)] += 1;
        }
    }
    assert!(seen[0] > 1_000 && seen[1] > 1_000, "{seen:?}");
}

#[test]
fn a_large_feed_blocks_exactly_what_it_lists() {
    let feed = feed(6_000, &[128, 64, 56, 48, 32, 40]);
    let image = image(&feed, false);
    for table in [table(&image, column::TABLE), table(&image, column::TABLE_V6)] {
        assert!(image.kernel().word(table + pages::COUNT) > 100, "too few pages");
        assert_ne!(image.kernel().word(table + front::OFFSET), 0, "no front");
    }
    check(&feed, false);
}

#[test]
fn a_large_feed_of_wide_prefixes_takes_wider_blocks() {
    let feed = feed(12_000, &[28, 128, 128, 128]);
    let image = image(&feed, false);
    let table = table(&image, column::TABLE_V6);
    assert_eq!(image.kernel().word(table + front::PREFIX), 32);
    check(&feed, false);
}

#[test]
fn everything_but_a_large_feed_is_blocked_when_it_is_negated() {
    check(&feed(6_000, &[128, 64, 48]), true);
}

#[test]
fn a_front_that_stops_a_listed_address_is_refused() {
    let feed = feed(6_000, &[128, 64, 48]);
    let image = image(&feed, false);
    for (word, bit) in [
        (column::TABLE, front::bit_v4(feed.v4[100].0)),
        (column::TABLE_V6, {
            let prefix = image.kernel().word(table(&image, column::TABLE_V6) + front::PREFIX);
            front::bit_v6((feed.v6[100].0 >> 64) as u64, prefix)
        }),
    ] {
        let at = image.kernel().word(table(&image, word) + front::OFFSET);
        let mut kernel = image.kernel().to_vec();
        kernel[(at + bit / 8) as usize] ^= 1 << (bit % 8);
        let checksum = verify::crc(&kernel);
        kernel[header::CHECKSUM as usize..][..4].copy_from_slice(&checksum.to_le_bytes());
        let error = image.with_kernel(kernel).map(drop).unwrap_err().to_string();
        assert!(error.contains("stops addresses that are listed"), "{error}");
    }
}

/// A program of rules on flows and packets: acts, remote and local ranges, and whether each test is negated.
fn rules(random: &mut Rng) -> Program {
    let acts = [
        (Family::Packet, Act::PacketIn.bit()),
        (Family::Packet, Act::PacketOut.bit()),
        (Family::Packet, Act::PacketConnect.bit()),
        (Family::Packet, Act::PacketAccept.bit()),
        (Family::Net, Act::NetConnect.bit()),
        (Family::Net, Act::NetSend.bit()),
    ];
    let rules = (0..1 + random.u64(..4)).map(|number| {
        let (family, acts) = acts[random.usize(..acts.len())];
        let mut literals = Vec::new();
        for fact in [Fact::RemoteIp, Fact::LocalIp] {
            // Few of them test nothing at all, or everything but: those leave no short way.
            if random.u8(..4) != 0 || fact == Fact::RemoteIp && random.u8(..4) != 0 {
                let low = random.u64(..) as u32 & 0xff00_00f0;
                let wide = u128::from(random.u64(..) & 3) << 120;
                let (v4, v6) = (vec![(low, low | 15)], vec![(wide, wide | u128::MAX >> 8)]);
                let negated = random.u8(..12) == 0;
                let test = Test::Address { fact, v4, v6, from: Vec::new() };
                literals.push(Literal { negated, test });
            }
        }
        Rule {
            id: format!("R-{number}"),
            action: Action::Block,
            errno: 1,
            mode: Mode::Enforce,
            on_fault: OnFault::Pass,
            clauses: vec![Clause { family, acts, literals, origin: 0 }],
            exceptions: Vec::new(),
            narrowed: Vec::new(),
        }
    });
    Program { rules: rules.collect() }
}

#[test]
fn what_the_short_way_lets_pass_no_rule_refuses() {
    let mut random = Rng::with_seed(41);
    let (mut short, mut long, mut refused) = (0, 0, 0);
    let mut near = [0; 2];
    for _ in 0..400 {
        let program = rules(&mut random);
        let image = lower(&program, generate::metadata(&program), Budget::default()).unwrap();
        for act in [
            Act::PacketIn,
            Act::PacketOut,
            Act::PacketConnect,
            Act::PacketAccept,
            Act::NetConnect,
            Act::NetSend,
        ] {
            let gate = facts::gate(image.kernel(), act.family(), act.value());
            for _ in 0..24 {
                let mut any = || match random.u8(..2) {
                    0 => Address::V4(random.u64(..) as u32 & 0xff00_00ff),
                    _ => Address::V6(random.u64(..) & (7 << 56), random.u64(..)),
                };
                let (remote, local) = (any(), any());
                let event = Event::new(act)
                    .with(Fact::RemoteIp, Value::Address(remote))
                    .with(Fact::LocalIp, Value::Address(local));
                let verdict = run::decide(&image, &event, Mode::Enforce).verdict;
                refused += u32::from(verdict == Action::Block);
                let unlisted = |asked: bool, fact, address| {
                    !asked || facts::unlisted(image.kernel(), act.family(), fact, address)
                };
                let far = match remote {
                    Address::V4(address) => {
                        let blocks = facts::blocks_v4(image.kernel(), act.family(), Fact::RemoteIp);
                        blocks.near >> Gate::near(address) & 1 == 0
                            || blocks.spread >> Gate::spread(address) & 1 == 0
                            || blocks.scattered >> Gate::scattered(address) & 1 == 0
                    }
                    Address::V6(..) => false,
                };
                if far {
                    assert!(unlisted(true, Fact::RemoteIp, remote), "{remote:?} {program:?}");
                    near[1] += 1;
                } else {
                    near[0] += 1;
                }
                let passes = gate.is_some_and(|(of_remote, of_local)| {
                    unlisted(of_remote.asked, Fact::RemoteIp, remote)
                        && unlisted(of_local.asked, Fact::LocalIp, local)
                });
                if passes {
                    short += 1;
                    assert_eq!(verdict, Action::Pass, "{act:?} {remote:?} {local:?} {program:?}");
                } else {
                    long += 1;
                }
            }
        }
    }
    assert!(near[0] > 5_000 && near[1] > 5_000, "{near:?}");
    assert!(short > 10_000 && long > 5_000 && refused > 1_000, "{short} {long} {refused}");
}

impl Feed {
    fn holds(&self, address: Address) -> bool {
        match address {
            Address::V4(address) => {
                self.v4.iter().any(|(low, high)| (*low..=*high).contains(&address))
            }
            Address::V6(high, low) => {
                let address = u128::from(high) << 64 | u128::from(low);
                self.v6.iter().any(|(low, high)| (*low..=*high).contains(&address))
            }
        }
    }
}

/// For each act a rule that blocks what `feed` lists and one that tells of what is in a list of its own.
fn by_acts(feed: &Feed, acts: &[(Act, &Feed)]) -> PolicyImage {
    let rule = |act: Act, list: &Feed, action| Rule {
        id: format!("{}-{action:?}", act.name()),
        action,
        errno: 1,
        mode: Mode::Enforce,
        on_fault: OnFault::Pass,
        clauses: vec![Clause {
            family: act.family(),
            acts: act.bit(),
            literals: vec![Literal {
                negated: false,
                test: Test::Address {
                    fact: Fact::RemoteIp,
                    v4: list.v4.clone(),
                    v6: list.v6.clone(),
                    from: Vec::new(),
                },
            }],
            origin: 0,
        }],
        exceptions: Vec::new(),
        narrowed: Vec::new(),
    };
    let rules = acts
        .iter()
        .flat_map(|(act, own)| [rule(*act, feed, Action::Block), rule(*act, own, Action::Alert)]);
    let program = Program { rules: rules.collect() };
    lower(&program, generate::metadata(&program), Budget::default()).expect("it compiles")
}

/// A sixteenth of the addresses, and a few of IPv6.
fn own(number: u32) -> Feed {
    let of_v4 = |top: u32| (top << 24 | number << 20, top << 24 | number << 20 | 0xf_ffff);
    let v6 = u128::from(number) << 100;
    Feed { v4: (0..256).map(of_v4).collect(), v6: vec![(v6, v6 + 9)] }
}

#[test]
fn families_that_share_the_table_of_a_feed_decide_by_their_own_rules() {
    let feed = feed(6_000, &[128, 64, 48]);
    let (first, second) = (own(1), own(2));
    let acts = [(Act::NetConnect, &first), (Act::PacketIn, &second)];
    let image = by_acts(&feed, &acts);
    let mut random = Rng::with_seed(23);
    let halves = |address: u128| Address::V6((address >> 64) as u64, address as u64);
    let mut seen = BTreeMap::new();
    for _ in 0..1_000 {
        let (low, high) = feed.v4[random.usize(..feed.v4.len())];
        let v4 = [low, high.wrapping_add(1), random.u32(..)].map(Address::V4);
        let (low, high) = feed.v6[random.usize(..feed.v6.len())];
        let of_own = ((random.u128(..2) + 1) << 100) + random.u128(..12);
        let v6 = [low, high.wrapping_add(1), of_own].map(halves);
        for ((act, own), address) in
            acts.iter().flat_map(|act| v4.iter().chain(&v6).map(move |address| (act, *address)))
        {
            let event = Event::new(*act).with(Fact::RemoteIp, Value::Address(address));
            let verdict = run::decide(&image, &event, Mode::Enforce).verdict;
            let wanted = match (feed.holds(address), own.holds(address)) {
                (true, _) => Action::Block,
                (false, true) => Action::Alert,
                (false, false) => Action::Pass,
            };
            assert_eq!(verdict, wanted, "{act:?} {address:?}");
            if facts::unlisted(image.kernel(), act.family(), Fact::RemoteIp, address) {
                assert_eq!(wanted, Action::Pass, "{act:?} {address:?}");
            }
            *seen.entry((act.name(), wanted)).or_insert(0) += 1;
        }
    }
    assert!(seen.len() == 6 && seen.values().all(|count| *count > 100), "{seen:?}");
}

/// What a rule on flows refuses is refused to packets too, so whether a rule blocks or tells used to be half of an image.
#[test]
fn a_feed_that_two_families_ask_for_is_in_the_image_once() {
    let (feed, none) = (feed(6_000, &[128, 64, 48]), Feed { v4: Vec::new(), v6: Vec::new() });
    let bytes = |acts: &[(Act, &Feed)]| by_acts(&feed, acts).kernel().len();
    let alone = bytes(&[(Act::NetConnect, &none)]);
    let both = bytes(&[(Act::NetConnect, &none), (Act::PacketConnect, &none)]);
    assert!(both < alone + 16_384, "{both} bytes for both, {alone} for one");
}

#[test]
fn a_share_that_leads_elsewhere_is_refused() {
    let (feed, none) = (feed(6_000, &[128, 64, 48]), Feed { v4: Vec::new(), v6: Vec::new() });
    let image = by_acts(&feed, &[(Act::NetConnect, &none), (Act::PacketIn, &none)]);
    for (share, told) in [(2, "a share"), (64, "a share"), (0, "delta row")] {
        let mut kernel = image.kernel().to_vec();
        let at = table(&image, column::TABLE) + pages::SHARE;
        assert_ne!(image.kernel().word(at), 0, "nothing is shared");
        kernel[at as usize..][..4].copy_from_slice(&u32::to_le_bytes(share));
        let checksum = verify::crc(&kernel);
        kernel[header::CHECKSUM as usize..][..4].copy_from_slice(&checksum.to_le_bytes());
        let error = image.with_kernel(kernel).map(drop).map_err(|error| error.to_string());
        assert!(matches!(&error, Err(error) if error.contains(told)), "{share}: {error:?}");
    }
}
