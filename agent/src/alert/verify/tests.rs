use proptest::prelude::*;

use super::*;
use crate::alert::{
    Notice,
    build::Scene,
    key::SigningKey,
    model::HostInfo,
    seal::{ChainHead, Sealer},
};

fn scene() -> Scene {
    let host = HostInfo { boot_id: "b".into(), kernel: "k".into(), name: "h".into() };
    Scene { host: host.into(), wall_minus_boot_ns: 0 }
}

fn stream(batches: &[usize]) -> (Vec<Vec<u8>>, PublicKey) {
    let key = SigningKey::generate().unwrap();
    let public = key.public();
    let mut sealer = Sealer::new(key, ChainHead::start("0123456789abcdef".repeat(2)));
    let mut lines = Vec::new();
    for &size in batches {
        let alerts = (0..size)
            .map(|at| Notice::Stopped { reason: format!("r{at} \u{202e}\"\\") }.alert(&scene(), 1))
            .collect();
        lines.extend(sealer.seal(alerts).iter().map(|alert| alert.line().to_vec()));
    }
    (lines, public)
}

fn outcome<'a>(
    lines: impl IntoIterator<Item = &'a Vec<u8>>,
    key: PublicKey,
    repeats: Repeats,
) -> Outcome {
    let mut verifier = Verifier::new(vec![key], repeats);
    for (index, line) in lines.into_iter().enumerate() {
        verifier.push(line, || (index + 1).to_string());
    }
    verifier.finish()
}

fn problems<'a>(lines: impl IntoIterator<Item = &'a Vec<u8>>, key: PublicKey) -> Vec<Problem> {
    let outcome = outcome(lines, key, Repeats::Refused);
    outcome.findings.into_iter().map(|finding| finding.problem).collect()
}

#[test]
fn a_whole_stream_of_batches_of_any_size_is_proven_and_each_alert_alone() {
    let (lines, key) = stream(&[1, 2, 3, 64, 65, 1, 200]);
    assert_eq!(problems(&lines, key), []);
    for line in &lines {
        check(line, &[key]).unwrap();
    }
}

#[test]
fn an_export_that_sorts_and_indents_differently_is_still_proven() {
    let (lines, key) = stream(&[5]);
    for line in &lines {
        let value: Value = serde_json::from_slice(line).unwrap();
        check(&serde_json::to_vec_pretty(&value).unwrap(), &[key]).unwrap();
    }
}

#[test]
fn a_missing_alert_is_named() {
    let (lines, key) = stream(&[10]);
    let kept =
        lines.iter().enumerate().filter(|(at, _)| !(3..5).contains(at)).map(|(_, line)| line);
    assert_eq!(problems(kept, key), [Problem::Missing { first: 4, last: 5 }]);
}

#[test]
fn a_repeated_alert_is_named_unless_repeats_are_allowed() {
    let (lines, key) = stream(&[4]);
    let twice = [&lines[0], &lines[1], &lines[1], &lines[2], &lines[0], &lines[3]];
    let found = problems(twice, key);
    assert_eq!(found, [Problem::Repeated { seq: 2 }, Problem::Repeated { seq: 1 }]);
    assert_eq!(outcome(twice, key, Repeats::Allowed).findings, []);
}

#[test]
fn swapped_alerts_are_reordered_and_not_missing() {
    let (mut lines, key) = stream(&[6]);
    lines.swap(2, 3);
    assert_eq!(problems(&lines, key), [Problem::Reordered { seq: 3, after: 4 }]);
}

#[test]
fn an_altered_alert_is_named_and_what_follows_is_not_blamed() {
    let (mut lines, key) = stream(&[6]);
    let text = String::from_utf8(lines[2].clone()).unwrap().replace("\"r2", "\"x2");
    lines[2] = text.into_bytes();
    assert_eq!(problems(&lines, key), [Problem::Unproven { seq: Some(3), flaw: Flaw::Altered }]);
}

#[test]
fn a_consistent_forgery_without_the_key_is_not_proven() {
    let (lines, key) = stream(&[3]);
    let (forged, other) = stream(&[3]);
    assert!(matches!(
        problems(&forged, key)[0],
        Problem::Unproven { flaw: Flaw::UnknownKey(_), .. }
    ));
    // The forger also writes the trusted key's id.
    let renamed = String::from_utf8(forged[0].clone()).unwrap().replace(&other.id(), &key.id());
    assert_eq!(check(renamed.as_bytes(), &[key]), Err(Flaw::NotSigned));
    assert_eq!(problems(&lines, key), []);
}

#[test]
fn a_stream_continued_twice_is_forked() {
    let key = SigningKey::generate().unwrap();
    let public = key.public();
    let mut sealer = Sealer::new(key, ChainHead::start("s".repeat(32)));
    let alert = |text: &str| Notice::Stopped { reason: text.to_owned() }.alert(&scene(), 1);
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut seal = |sealer: &mut Sealer, text: &str| {
        lines.extend(sealer.seal(vec![alert(text)]).iter().map(|sealed| sealed.line().to_vec()));
    };
    seal(&mut sealer, "one");
    let head = sealer.head().clone();
    seal(&mut sealer, "two");
    sealer.rewind(head);
    seal(&mut sealer, "another two");
    seal(&mut sealer, "three");
    assert_eq!(
        problems(&lines, public),
        [Problem::Forked { seq: 2 }, Problem::Unchained { seq: 3 }]
    );
}

#[test]
fn a_key_change_is_followed_only_if_the_old_key_signed_it() {
    let (old, new) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let (old_public, new_public) = (old.public(), new.public());
    let mut sealer = Sealer::new(old, ChainHead::start("s".repeat(32)));
    let notice = Notice::KeyRotated { public_key: new_public.base64() }.alert(&scene(), 1);
    let mut sealed = sealer.seal(vec![notice]);
    sealer.change_key(new);
    sealed.extend(sealer.seal(vec![Notice::Stopped { reason: String::new() }.alert(&scene(), 2)]));
    let lines: Vec<Vec<u8>> = sealed.iter().map(|sealed| sealed.line().to_vec()).collect();
    assert_eq!(problems(&lines, old_public), []);
    assert_eq!(problems(&lines[1..], old_public).len(), 1);
}

#[test]
fn nothing_can_be_hidden_in_the_seal_or_behind_a_second_name() {
    let (lines, key) = stream(&[1]);
    let text = String::from_utf8(lines[0].clone()).unwrap();
    for changed in [
        text.replace("\"seal\":{", "\"seal\":{\"note\":\"x\","),
        text.replacen('{', "{\"message\":\"other\",", 1),
    ] {
        assert!(check(changed.as_bytes(), &[key]).is_err(), "{changed}");
    }
}

#[test]
fn a_batch_that_is_said_to_be_larger_is_found_out_by_its_others() {
    let (mut lines, key) = stream(&[1, 3, 5]);
    let text = String::from_utf8(lines[4].clone()).unwrap();
    lines[4] = text.replace("\"size\":5}", "\"size\":7}").into_bytes();
    assert_ne!(lines[4], text.as_bytes());
    assert!(check(&lines[4], &[key]).is_ok(), "alone it says nothing else");
    assert_ne!(problems(&lines, key), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_single_changed_byte_is_found(at in any::<prop::sample::Index>(), line in 0..9usize, bit in 0..8u8) {
        let (mut lines, key) = stream(&[1, 3, 5]);
        let before: Value = serde_json::from_slice(&lines[line]).unwrap();
        let place = at.index(lines[line].len());
        lines[line][place] ^= 1 << bit;
        // The same JSON value in another spelling (the case of a hex digit in an escape) is the same alert.
        let same = serde_json::from_slice::<Value>(&lines[line]).is_ok_and(|after| after == before);
        prop_assert_eq!(problems(&lines, key).is_empty(), same);
    }
}

/// Single changes of a stream, drawn at random: bits, bytes, lines taken out, doubled, swapped, replaced by those of another
/// key or of another stream, or cut. `INTERDICT_MUTATIONS` sets how many (1,000).
#[test]
fn every_random_change_of_a_stream_is_found() {
    let rounds: u64 =
        std::env::var("INTERDICT_MUTATIONS").map_or(1_000, |text| text.parse().expect("a number"));
    let (lines, key) = stream(&[1, 3, 8, 2]);
    let (other, _) = stream(&[1, 3, 8, 2]);
    assert_eq!(problems(&lines, key), []);
    let last = lines.len() as u64;
    let mut random = 0x0123_4567_89ab_cdef_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 11).unwrap() % below
    };
    let mut found = [0u64; 7];
    for round in 0..rounds {
        let mut changed = lines.clone();
        let at = next(lines.len());
        let kind = next(found.len());
        match kind {
            0 => {
                let place = next(changed[at].len());
                changed[at][place] ^= 1 << next(8);
            }
            1 => {
                let place = next(changed[at].len());
                changed[at].remove(place);
            }
            2 => drop(changed.remove(at)),
            3 => changed.insert(next(lines.len() + 1), lines[at].clone()),
            4 => changed.swap(at, (at + 1 + next(lines.len() - 1)) % lines.len()),
            5 => changed[at].clone_from(&other[next(other.len())]),
            _cut => {
                let len = next(changed[at].len());
                changed[at].truncate(len);
            }
        }
        if changed == lines {
            continue;
        }
        // Whoever verifies knows the first and, from the sign of life, the last number.
        let outcome = outcome(&changed, key, Repeats::Refused);
        let is_whole = outcome.streams.len() == 1
            && outcome.streams[0].first == 1
            && outcome.streams[0].last == last;
        let value = |line: &Vec<u8>| serde_json::from_slice::<Value>(line).ok();
        let same = changed.len() == lines.len()
            && changed.iter().zip(&lines).all(|(new, old)| new == old || value(new) == value(old));
        let is_found = !outcome.findings.is_empty() || !is_whole;
        assert_eq!(
            is_found, !same,
            "round {round}: kind {kind} at line {at}: {:?}",
            outcome.findings
        );
        found[kind] += 1;
    }
    assert!(found.iter().all(|count| *count > rounds / 20), "{found:?}");
}
