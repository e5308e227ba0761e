//! Random programs and random events: the engine on the compiled image decides what the oracle says it must.
//!
//! `INTERDICT_CASES` sets the number of programs; `INTERDICT_SEED` the first of them.

use interdict_abi::{ids::Mode, limits::RULES_TOLD};
use interdict_rules::{
    image::PolicyImage,
    ir::Program,
    lower::{Budget, lower},
    oracle::{
        Expected, Oracle,
        generate::{self, Choices},
    },
    run::{self, Event},
};

const EVENTS: usize = 12;

/// Random patterns multiply; those that do too much are refused quickly.
const BUDGET: Budget = Budget {
    image_bytes: 64 << 20,
    table_bytes: 1 << 19,
    work_bytes: 2 << 20,
    parts: 8,
    together: 60,
};

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// What differs between engine and oracle, if anything.
fn difference(
    expected: &Expected,
    image: &PolicyImage,
    event: &Event,
    mode: Mode,
) -> Option<String> {
    let decided = run::decide(image, event, mode);
    let matched: Vec<u32> = expected.matched.iter().copied().collect();
    let mut found = decided.matched.clone();
    found.sort_unstable();
    let mut excused = decided.excused.clone();
    excused.sort_unstable();
    let told: Vec<u32> = decided.matched.iter().copied().take(RULES_TOLD).collect();
    let agree = decided.verdict == expected.verdict
        && decided.would == expected.would
        && expected.errnos.contains(&decided.errno)
        && found == matched
        && excused == expected.excused.iter().copied().collect::<Vec<_>>()
        && decided.told == told
        && !decided.exhausted;
    (!agree).then(|| format!("decided {decided:#?}\nexpected {expected:#?}"))
}

/// The smallest program, by leaving out rules, clauses and literals, that still makes them differ.
fn shrink(mut program: Program, event: &Event, mode: Mode) -> Program {
    let differs = |program: &Program| {
        lower(program, generate::metadata(program), BUDGET).is_ok_and(|image| {
            let expected = Oracle::new(program).decide(event, mode);
            difference(&expected, &image, event, mode).is_some()
        })
    };
    let mut again = true;
    while again {
        again = false;
        let mut smaller = Vec::new();
        for at in 0..program.rules.len() {
            let mut without = program.clone();
            without.rules.remove(at);
            smaller.push(without);
            for list in 0..2 {
                let clauses = [&program.rules[at].clauses, &program.rules[at].exceptions][list];
                for clause in 0..clauses.len() {
                    let part = |program: &mut Program, literal: Option<usize>| {
                        let rule = &mut program.rules[at];
                        let clauses =
                            if list == 0 { &mut rule.clauses } else { &mut rule.exceptions };
                        match literal {
                            Some(literal) => drop(clauses[clause].literals.remove(literal)),
                            None => drop(clauses.remove(clause)),
                        }
                    };
                    let mut without = program.clone();
                    part(&mut without, None);
                    smaller.push(without);
                    for literal in 0..clauses[clause].literals.len() {
                        let mut without = program.clone();
                        part(&mut without, Some(literal));
                        smaller.push(without);
                    }
                }
            }
        }
        if let Some(found) = smaller.into_iter().find(|program| differs(program)) {
            program = found;
            again = true;
        }
    }
    program
}

#[test]
fn the_engine_decides_what_the_oracle_says() {
    let first = setting("INTERDICT_SEED", 1);
    let count = setting("INTERDICT_CASES", 500);
    let (mut matches, mut excuses, mut refused) = (0u64, 0u64, 0u64);
    for seed in first..first + count {
        let random = bytes(seed, 6_000);
        let (for_program, for_events) = random.split_at(2_000);
        // One in sixteen is large, so that clauses need more than one word or block.
        let large = bytes(!seed, 60_000);
        let program = if seed.is_multiple_of(16) {
            generate::program(&mut Choices::new(&large).calm(), 250)
        } else {
            generate::program(&mut Choices::new(for_program), 6)
        };
        let image = match lower(&program, generate::metadata(&program), BUDGET) {
            Ok(image) => image,
            Err(error) => {
                // The only limit that small programs can reach.
                assert!(error.to_string().contains("bytes"), "seed {seed}: {error}");
                refused += 1;
                continue;
            }
        };
        let oracle = Oracle::new(&program);
        let mut choices = Choices::new(for_events);
        for _ in 0..EVENTS {
            let event = generate::event(&mut choices);
            let mode = if choices.below(4) == 0 { Mode::Audit } else { Mode::Enforce };
            let expected = oracle.decide(&event, mode);
            if difference(&expected, &image, &event, mode).is_some() {
                let small = shrink(program.clone(), &event, mode);
                let expected = Oracle::new(&small).decide(&event, mode);
                let image = lower(&small, generate::metadata(&small), BUDGET).unwrap();
                let differs = difference(&expected, &image, &event, mode).unwrap_or_default();
                panic!("seed {seed}\n{small:#?}\n{event:#?}\n{mode:?}\n{differs}");
            }
            matches += u64::from(!expected.matched.is_empty());
            excuses += u64::from(!expected.excused.is_empty());
        }
    }
    println!(
        "{matches} of {} events matched, {excuses} excused, {refused} refused",
        count * EVENTS as u64
    );
    // Were nothing ever matched or excused, agreement would mean nothing.
    assert!(matches * 8 > count && excuses * 64 > count && refused * 5 < count);
}

#[test]
fn the_same_rules_give_the_same_bytes_and_survive_a_file() {
    for seed in 1..200 {
        let random = bytes(seed, 2_000);
        let program = generate::program(&mut Choices::new(&random), 12);
        let compile = || lower(&program, generate::metadata(&program), BUDGET);
        let Ok(image) = compile() else { continue };
        let file = image.encode().unwrap();
        assert_eq!(file, compile().unwrap().encode().unwrap(), "seed {seed}");
        let decoded =
            PolicyImage::decode(&file).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(decoded, image, "seed {seed}");
    }
}
