//! Feeds changed by difference: an image that is patched decides as one that is compiled anew, at every moment of the
//! change each address as before or as after, and stays an image that is accepted.
#![allow(clippy::unwrap_used, reason = "a test that goes wrong should stop")]

use std::{cell::RefCell, collections::BTreeMap, fmt::Write as _, io, path::Path};

use fastrand::Rng;
use interdict_abi::{
    ids::{Act, Action, Fact, Mode},
    image::header,
};
use interdict_engine::{
    facts::{Narrowing, Progress, SetFacts},
    tables::Address,
};
use interdict_rules::{
    Options, Outcome, compile,
    image::verify::verify,
    live::{Feeds, Refused},
    lower::Budget,
    parse::{
        feed,
        source::{Files, Sources},
    },
};

/// Feeds by the end of their path.
#[derive(Default)]
struct Memory(RefCell<BTreeMap<String, String>>);

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        Ok(self.0.borrow()[&name].clone().into_bytes())
    }
}

const RULES: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: feeds }
spec:
  mode: enforce
  lists:
    first: { type: cidr, feed: { file: first.cidr } }
    second: { type: cidr, items: [ 198.51.100.0/24, "2001:db8:7::/48" ], feed: { file: second.cidr } }
    third: { type: cidr, feed: { file: third.cidr } }
  rules:
    - { id: A, title: listed, on: [packet.in], when: net.src.ip in first, action: block, except: [ { name: known, owner: us, reason: it is known, when: net.src.ip in second } ] }
    - { id: B, title: told, on: [packet.in], when: net.src.ip in second and not net.dst.ip in first, action: alert }
    - { id: C, title: joined, on: [packet.in], when: net.src.ip in third or net.src.ip == 203.0.113.9, action: alert }
    - { id: E, title: flows too, on: [net.connect], when: net.dst.ip in first, action: block, except: [ { name: known, owner: us, reason: it is known, when: net.dst.ip in second } ] }
    - { id: F, title: flows told, on: [net.connect], when: net.dst.ip in second and net.dst.ip != 198.51.100.7, action: alert }
    - { id: D, title: inside, on: [packet.in], when: 'net.src.ip in [203.0.113.0/24]', action: alert }
"#;

fn compiled(files: &Memory) -> Outcome {
    let mut sources = Sources::new();
    sources.add("p/feeds.yaml", RULES);
    let options = Options { files, today: "2026-01-01", budget: Budget::default() };
    let outcome = compile(&sources, &options);
    assert!(outcome.image.is_some(), "{:?}", outcome.diagnostics);
    outcome
}

/// Lines of a feed, some of them near each other, so that ranges touch and overlap.
fn lines(random: &mut Rng, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| match random.usize(..8) {
            0 => format!("{}.0.0.0/{}", 1 + random.usize(..9), 8 + random.usize(..2) * 8),
            1 | 2 => {
                format!("10.{}.{}.0/24", random.usize(..256), random.usize(..256))
            }
            3 | 4 => {
                let any = random.u64(..);
                format!("10.{}.{}.{}", any as u8, any >> 8 & 255, any >> 16 & 255)
            }
            5 => format!("2001:db8:{:x}:{:x}::/64", random.usize(..9), random.usize(..65_536)),
            6 => format!("2400:{:x}::/32", random.usize(..65_536)),
            _ => format!("{:x}::{:x}", 0x2a00 + random.usize(..64), random.usize(..65_536)),
        })
        .collect()
}

fn text(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// What is decided about a packet and about a flow, and by which clauses.
fn decided(image: &[u8], source: Address) -> [(Action, Vec<u16>); 2] {
    [Act::PacketIn, Act::NetConnect].map(|act| {
        let mut progress = Progress::EMPTY;
        let mut narrowing = Narrowing::start(image, act.family(), &mut progress).unwrap();
        narrowing.number(Fact::Act, act.value());
        narrowing.address(Fact::RemoteIp, source);
        narrowing.address(Fact::LocalIp, Address::V4(0xc000_0201));
        let decided = narrowing.decide(&SetFacts::default(), Mode::Enforce);
        (decided.verdict, decided.clauses[..decided.told].to_vec())
    })
}

/// Addresses at and beside the ends of the ranges of a feed, and others.
fn samples(random: &mut Rng, text: &str, count: usize) -> Vec<Address> {
    let (addresses, _) = feed::read(text.as_bytes(), 10_000_000).unwrap();
    let mut found = Vec::new();
    let v6 = |address: u128| Address::v6((address >> 64) as u64, address as u64);
    for _ in 0..count {
        if !addresses.v4.is_empty() {
            let (low, high) = addresses.v4[random.usize(..addresses.v4.len())];
            let around = [low, high, low.wrapping_sub(1), high.wrapping_add(1)];
            found.extend(around.map(Address::V4));
        }
        if !addresses.v6.is_empty() {
            let (low, high) = addresses.v6[random.usize(..addresses.v6.len())];
            let around = [low, high, low.wrapping_sub(1), high.wrapping_add(1)];
            found.extend(around.map(v6));
        }
        found.push(Address::V4(random.u32(..)));
        found.push(v6(random.u128(..)));
    }
    found
}

/// Changes one feed and checks the image after every write.
fn change(
    random: &mut Rng,
    files: &Memory,
    feeds: &mut Feeds,
    image: &mut Vec<u8>,
    (list, lines): (&str, &[String]),
    looks: usize,
) -> usize {
    let file = format!("{list}.cidr");
    let before = files.0.borrow()[&file].clone();
    let after = text(lines);
    files.0.borrow_mut().insert(file, after.clone());
    let mut sampled = samples(random, &before, looks);
    sampled.extend(samples(random, &after, looks));
    let anew = compiled(files).image.unwrap();
    let was: Vec<_> = sampled.iter().map(|address| decided(image, *address)).collect();
    let will: Vec<_> = sampled.iter().map(|address| decided(anew.kernel(), *address)).collect();
    let (values, _) = feed::read(after.as_bytes(), 10_000_000).unwrap();
    let mut change = feeds.begin(list, values).unwrap();
    let mut patches = 0;
    while let Some(patch) = feeds.next(&mut change).unwrap() {
        patches += 1;
        let steps: Vec<_> = patch.steps().collect();
        let every = steps.len().div_ceil(40);
        for (number, step) in steps.iter().enumerate() {
            step.apply(image);
            if number % every != 0 {
                continue;
            }
            for ((address, was), will) in sampled.iter().zip(&was).zip(&will) {
                let now = decided(image, *address);
                // Families that have tables of their own need not change at one moment.
                let mut each = now.iter().zip(was).zip(will);
                let known = each.all(|((now, was), will)| now == was || now == will);
                assert!(known, "{address:?}: {now:?}, {was:?}, {will:?}");
            }
        }
        feeds.settled(&patch);
    }
    for (address, will) in sampled.iter().zip(&will) {
        assert_eq!(decided(image, *address), *will, "{address:?} after the change of {list}");
    }
    image.resize(feeds.length(), 0);
    let word = Feeds::sealed(image);
    assert_eq!(image[header::LENGTH as usize..][..8], word.to_le_bytes());
    verify(image).unwrap();
    patches
}

fn start(random: &mut Rng, count: usize) -> (Memory, Feeds, Vec<u8>, Vec<Vec<String>>) {
    let files = Memory::default();
    let all: Vec<Vec<String>> = (0..3).map(|_| lines(random, count)).collect();
    for (list, lines) in ["first", "second", "third"].iter().zip(&all) {
        files.0.borrow_mut().insert(format!("{list}.cidr"), text(lines));
    }
    let outcome = compiled(&files);
    let image = outcome.image.unwrap().kernel().to_vec();
    let mut feeds = outcome.live.unwrap();
    feeds.grow_to(image.len() + feeds.spare() + (4 << 20));
    (files, feeds, image, all)
}

#[test]
fn a_patched_image_decides_as_one_compiled_anew_at_every_step() {
    for (seed, count) in [(1, 0), (2, 5), (3, 60), (4, 900), (5, 12_000)] {
        let mut random = Rng::with_seed(seed);
        let (files, mut feeds, mut image, mut all) = start(&mut random, count);
        for round in 0..6 {
            let which = round % 2;
            let lines_of = &mut all[which];
            let goes = random.usize(..lines_of.len() / 3 + 1);
            for _ in 0..goes {
                let at = random.usize(..lines_of.len());
                lines_of.swap_remove(at);
            }
            let comes = random.usize(..count / 5 + 8);
            lines_of.extend(lines(&mut random, comes));
            let list = ["first", "second"][which];
            change(&mut random, &files, &mut feeds, &mut image, (list, lines_of), 60);
        }
        // To nothing, and back.
        change(&mut random, &files, &mut feeds, &mut image, ("first", &[]), 60);
        let back = all[0].clone();
        change(&mut random, &files, &mut feeds, &mut image, ("first", &back), 60);
    }
}

#[test]
fn little_room_takes_several_patches_and_none_is_refused() {
    let mut random = Rng::with_seed(7);
    let (files, mut feeds, mut image, mut all) = start(&mut random, 12_000);
    feeds.grow_to(image.len() + (24 << 10));
    all[0].truncate(11_000);
    let more = lines(&mut random, 500);
    all[0].extend(more);
    let patches = change(&mut random, &files, &mut feeds, &mut image, ("first", &all[0]), 200);
    assert!(patches > 3, "{patches}");
    feeds.grow_to(image.len());
    let mut change = feeds.begin("first", feed::read(b"10.0.0.1\n", 9).unwrap().0).unwrap();
    // What the first change has freed lets some pages through, the rest is refused and not left out.
    let refused = loop {
        match feeds.next(&mut change) {
            Ok(Some(patch)) => patch.steps().for_each(|step| step.apply(&mut image)),
            Ok(None) => break None,
            Err(refused) => break Some(refused),
        }
    };
    assert_eq!(refused, Some(Refused::NoRoom));
}

#[test]
fn what_cannot_be_done_by_difference_is_refused() {
    let mut random = Rng::with_seed(9);
    let (_, feeds, ..) = start(&mut random, 20);
    let names: Vec<&str> = feeds.sources().map(|source| source.list.as_str()).collect();
    assert_eq!(names, ["first", "second"], "a list that a rule joins with other addresses");
    for (list, values, refused) in [
        ("third", "1.2.3.4\n", Refused::Joined),
        ("none", "1.2.3.4\n", Refused::Joined),
        ("first", "0.0.0.0/0\n", Refused::World),
        ("first", "::/0\n", Refused::World),
    ] {
        let values = feed::read(values.as_bytes(), 9).unwrap().0;
        assert_eq!(feeds.clone().begin(list, values).err(), Some(refused), "{list}");
    }
}
