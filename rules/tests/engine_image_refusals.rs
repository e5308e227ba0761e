//! Damaged and hostile images are refused, each for its own reason, or decide without harm.

use interdict_abi::{
    ids::{Act, Action, Fact, Family, Mode},
    image::{CLAUSE_BYTES, COLUMN_BYTES, clause, column, family, header},
};
use interdict_engine::Memory as _;
use interdict_rules::{
    image::{DecodeError, ImageError, PolicyImage, verify},
    ir::{Clause, Literal, OnFault, Pattern, Program, Rule, Test},
    lower::{Budget, lower},
    oracle::generate::{self, Choices},
    run,
};

fn rule(id: &str, mode: Mode, path: &str) -> Rule {
    let test = Test::Text { fact: Fact::Path, patterns: vec![Pattern::Glob(path.to_owned())] };
    let ports = Test::Number { fact: Fact::Uid, ranges: vec![(5, 9), (100, 200)] };
    let programs = Test::Text { fact: Fact::Exe, patterns: vec![Pattern::Exact(b"/bin/a".into())] };
    let ancestor = Test::Ancestor { patterns: vec![Pattern::Exact(b"/bin/b".into())] };
    let literals =
        [test, ports, programs, ancestor].map(|test| Literal { negated: false, test }).into();
    Rule {
        id: id.to_owned(),
        action: Action::Block,
        errno: 1,
        mode,
        on_fault: OnFault::Block,
        clauses: vec![Clause {
            family: Family::File,
            acts: Act::FileRead.bit(),
            literals,
            origin: 0,
        }],
        exceptions: Vec::new(),
        narrowed: Vec::new(),
    }
}

fn image() -> PolicyImage {
    let rules = vec![
        rule("R0", Mode::Enforce, "/etc/{shadow,gshadow}"),
        rule("R1", Mode::Audit, "/srv/**"),
        rule("R2", Mode::Enforce, "/srv/*/x*.sh"),
    ];
    let program = Program { rules };
    lower(&program, generate::metadata(&program), Budget::default()).expect("it compiles")
}

/// The image with one word replaced and the checksum put right.
fn edited(image: &PolicyImage, at: u32, word: u32) -> Result<PolicyImage, DecodeError> {
    let mut kernel = image.kernel().to_vec();
    kernel[at as usize..at as usize + 4].copy_from_slice(&word.to_le_bytes());
    let checksum = verify::crc(&kernel);
    kernel[header::CHECKSUM as usize..][..4].copy_from_slice(&checksum.to_le_bytes());
    image.with_kernel(kernel)
}

#[track_caller]
fn refused(image: &PolicyImage, at: u32, word: u32, reason: &str) {
    let error = edited(image, at, word).expect_err("accepted").to_string();
    assert!(error.contains(reason), "{error:?} does not tell {reason:?}");
}

fn directory(image: &PolicyImage) -> u32 {
    image.kernel().word(header::FAMILIES + Family::File as u32 * 4)
}

fn column_of(image: &PolicyImage, fact: Fact) -> u32 {
    directory(image) + family::COLUMNS + fact as u32 * COLUMN_BYTES
}

#[test]
fn an_untouched_image_is_accepted_and_one_with_a_flipped_bit_is_not() {
    let image = image();
    let file = image.encode().unwrap();
    assert_eq!(PolicyImage::decode(&file).unwrap(), image);
    for at in (0..file.len()).step_by(7) {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(PolicyImage::decode(&damaged).is_err(), "byte {at}");
    }
    for length in (0..file.len()).step_by(11) {
        assert!(PolicyImage::decode(&file[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn containers_that_lie_about_themselves_are_refused() {
    let file = image().encode().unwrap();
    let with = |at: usize, byte: u8| {
        let mut file = file.clone();
        file[at] = byte;
        PolicyImage::decode(&file).unwrap_err()
    };
    assert!(matches!(PolicyImage::decode(b""), Err(DecodeError::Short { length_bytes: 0 })));
    assert!(matches!(with(0, b'X'), DecodeError::Magic));
    assert!(matches!(with(8, 9), DecodeError::Version { found: 9 }));
    assert!(matches!(with(16, 1), DecodeError::Lengths { .. }));
    assert!(matches!(with(23, 0xff), DecodeError::Large { part: "kernel's half", .. }));
    assert!(matches!(with(31, 0xff), DecodeError::Large { part: "metadata", .. }));
    assert!(matches!(with(40, 0), DecodeError::Digest));
    assert!(matches!(with(file.len() - 1, 0xc1), DecodeError::Digest));
}

#[test]
fn words_that_lead_outside_are_refused() {
    let image = image();
    let end = image.kernel().len() as u32;
    refused(&image, header::MAGIC, 7, "magic word");
    refused(&image, header::VERSION, 9, "layout version 9");
    refused(&image, header::LENGTH, 8, "the header names 8 bytes");
    refused(&image, header::EXE_AUTOMATON, end, "does not lie inside");
    refused(&image, header::EXE_LABELS, 1, "no entry");
    refused(&image, header::ANCESTOR_SETS, end - 8, "does not lie inside");
    refused(&image, header::FAMILIES + Family::File as u32 * 4, end - 64, "does not lie inside");
    for fact in [Fact::Path, Fact::Uid, Fact::Exe, Fact::Act] {
        for word in [column::BASE, column::TABLE, column::FAULT_ROW] {
            let at = column_of(&image, fact) + word;
            for offset in [end, end - 8, !7] {
                assert!(edited(&image, at, offset).is_err(), "{fact:?} {word} {offset:#x}");
            }
            assert!(edited(&image, at, image.kernel().word(at) + 4).is_err());
        }
    }
}

#[test]
fn arguments_are_kept_if_and_only_if_a_rule_asks() {
    let image_of = |family: Family, acts: u32| {
        let mut rule = rule("R", Mode::Enforce, "/x");
        let test = Test::Argument { patterns: vec![Pattern::Exact(b"-e".to_vec())] };
        rule.clauses[0] =
            Clause { family, acts, literals: vec![Literal { negated: false, test }], origin: 0 };
        let program = Program { rules: vec![rule] };
        lower(&program, generate::metadata(&program), Budget::default()).expect("it compiles")
    };
    let kept = image_of(Family::File, Act::FileRead.bit());
    assert_ne!(kept.kernel().word(header::KEPT_ARGS), 0);
    refused(&kept, header::KEPT_ARGS, 0, "arguments kept that no rule asks for");
    let started = image_of(Family::Started, Act::ExecArgs.bit());
    assert_eq!(started.kernel().word(header::KEPT_ARGS), 0);
    refused(&started, header::KEPT_ARGS, 1, "arguments kept that no rule asks for");
    // The same predicates have the same digest, whatever acts they are about.
    let other = image_of(Family::Net, Act::NetConnect.bit());
    assert_eq!(other.kernel().word(header::KEPT_ARGS), kept.kernel().word(header::KEPT_ARGS));
}

#[test]
fn promises_of_the_layout_are_checked() {
    let image = image();
    let directory = directory(&image);
    let records = image.kernel().word(directory + family::CLAUSE_RECORDS);
    refused(&image, directory + family::ENFORCING, 1, "enforcing clauses");
    refused(&image, directory + family::ENFORCING, 3, "enforcing clauses");
    refused(&image, directory + family::CLAUSES, 0, "a number of clauses");
    refused(&image, directory + family::ALL, 3, "summary");
    refused(&image, directory + family::NEEDS, 0, "the facts it needs");
    refused(&image, directory + family::NEEDS_SETS, 3, "needs sets");
    refused(&image, directory + family::NEEDS_SETS, 0, "a set that does not exist");
    refused(&image, records + clause::RULE, 1, "not adjacent");
    refused(&image, records + clause::RULE, 2, "another clause");
    refused(&image, records + clause::RULE, 9, "another clause");
    refused(&image, records + clause::ACTION, 0x0100_0009, "unknown action");
    refused(&image, records + clause::ACTION, 0x0000_0002, "without an errno");
    refused(&image, records + CLAUSE_BYTES + clause::ACTION, 0x0180_0002, "unknown flags");
    let path = column_of(&image, Fact::Path);
    refused(&image, path + column::KIND, 2, "a kind of table");
    refused(&image, path + column::AUTOMATON, 0, "an automaton for a fact without");
    let automaton = image.kernel().word(path + column::AUTOMATON);
    let rows = automaton + interdict_abi::image::automaton::ROWS;
    refused(&image, rows, rows, "does not decide at the end");
    refused(&image, rows + 4, rows + 4, "a transition to no state");
    refused(&image, rows + 4, 0x3fff_ffff, "no entry");
    refused(&image, automaton + interdict_abi::image::automaton::CLASSES, 0, "no class of its own");
    let ranges = image.kernel().word(column_of(&image, Fact::Uid) + column::TABLE);
    let keys = image.kernel().word(ranges + 8);
    refused(&image, keys, 1, "ascend from 0");
    refused(&image, keys + 8, 2, "ascend from 0");
    refused(&image, ranges, 0, "more ranges than the search has steps for");
}

#[test]
fn skips_lead_on_and_stand_only_where_they_are_read() {
    use interdict_abi::image::{automaton, skip};
    let rules = vec![
        rule("R0", Mode::Enforce, "/srv/database/{a,b}*"),
        rule("R1", Mode::Enforce, "/srv/database/{b,c}*"),
    ];
    let program = Program { rules };
    let image = lower(&program, generate::metadata(&program), Budget::default()).unwrap();
    let at = image.kernel().word(column_of(&image, Fact::Path) + column::AUTOMATON);
    let start = image.kernel().word(at + automaton::START);
    assert_eq!(start & (automaton::SKIP | 1), automaton::SKIP | 1, "no skip to begin with");
    let place = start & !(automaton::SKIP | 1);
    refused(&image, at + automaton::START, start + 2, "does not lie inside");
    refused(&image, at + automaton::START, 0x3ff_fff8 | automaton::SKIP | 1, "does not lie inside");
    refused(&image, place + skip::TEXT, u32::from_le_bytes(*b"/s\0v"), "a zero byte");
    refused(&image, place + skip::NEXT, at, "a transition to no state");
    refused(&image, place + skip::NEXT, 0x1fff_ffff, "no entry");
    // The end of the string decides, whatever is compared next.
    refused(&image, at + automaton::ROWS, start, "a skip where none may be");
    // A circle ends where the string does.
    let circle = edited(&image, place + skip::NEXT, start).unwrap();
    let event = |path: &[u8]| {
        let event = run::Event::new(Act::FileRead);
        event
            .with(Fact::Path, run::Value::Text(path.to_vec()))
            .with(Fact::Uid, run::Value::Number(5))
    };
    let path = b"/srv".repeat(1_000);
    assert_eq!(run::decide(&circle, &event(&path), Mode::Enforce).verdict, Action::Pass);
    // Arguments are read byte by byte, names in one piece: neither may have skips.
    for fact in [Fact::Name, Fact::Comm] {
        let mut program = program.clone();
        for rule in &mut program.rules {
            if let Test::Text { fact: tested, .. } = &mut rule.clauses[0].literals[0].test {
                *tested = fact;
            }
        }
        let image = lower(&program, generate::metadata(&program), Budget::default()).unwrap();
        let at = image.kernel().word(column_of(&image, fact) + column::AUTOMATON);
        assert_eq!(image.kernel().word(at + automaton::START) & 1, 0, "{fact:?}");
        refused(&image, at + automaton::START, place | automaton::SKIP | 1, "none may be");
    }
}

#[test]
fn images_with_random_words_are_refused_or_harmless() {
    let image = image();
    let mut state = 1u64;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let words = image.kernel().len() as u32 / 4;
    let mut accepted = 0;
    for _ in 0..20_000 {
        let at = random() % words * 4;
        let word = match random() % 3 {
            0 => random(),
            1 => (random() % (words * 4)) & !7,
            _ => image.kernel().word(at) ^ 1 << (random() % 32),
        };
        if let Ok(image) = edited(&image, at, word) {
            accepted += 1;
            let bytes: Vec<u8> = (0..300).map(|_| random() as u8).collect();
            let event = generate::event(&mut Choices::new(&bytes));
            let _any = run::decide(&image, &event, Mode::Enforce);
        }
    }
    // Labels, rules' bits and padding may be other ones; everything else may not.
    assert!(accepted > 0 && accepted < 10_000, "{accepted}");
}

#[test]
fn what_was_damaged_is_told_before_it_is_looked_into() {
    let image = image();
    let mut kernel = image.kernel().to_vec();
    kernel[200] ^= 1;
    let error = image.with_kernel(kernel).unwrap_err();
    assert!(matches!(error, DecodeError::Image(ImageError::Checksum { .. })));
}

#[test]
fn what_parts_of_a_column_say_together_is_checked() {
    let path = |rule: &mut Rule, text: &str| {
        let patterns = vec![Pattern::Glob(text.to_owned())];
        let test = Test::Text { fact: Fact::Path, patterns };
        rule.clauses[0].literals[0] = Literal { negated: false, test };
    };
    let mut rules = vec![rule("R0", Mode::Enforce, "/a/**"), rule("R1", Mode::Enforce, "/b/**")];
    path(&mut rules[1], "**/x");
    let program = Program { rules };
    let budget = Budget { together: 1, ..Budget::default() };
    let image = lower(&program, generate::metadata(&program), budget).unwrap();
    let first = column_of(&image, Fact::Path);
    let last = image.kernel().word(first + column::NEXT);
    let common = image.kernel().word(last + column::UNFLIPPED);
    assert!(last != 0 && common != 0);
    refused(&image, last + column::UNFLIPPED, 0, "nothing speaks for together");
    refused(&image, first + column::UNFLIPPED, common, "a part after");
    let base = image.kernel().word(first + column::BASE);
    refused(&image, last + column::UNFLIPPED, base, "not what all parts have in common");
    refused(&image, column_of(&image, Fact::Uid) + column::UNFLIPPED, common, "speaks for");
}
