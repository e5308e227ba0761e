//! What patterns match, by hand; and what is refused, with what reason.

use interdict_abi::ids::{Act, Action, Fact, Family, Mode};
use interdict_engine::{
    facts::{Narrowing, Progress, SetFacts},
    verdict::{Decision, Walk},
};
use interdict_rules::{
    analyse::costs,
    dfa::glob::{Glob, GlobFault},
    ir::{Clause, Literal, OnFault, Pattern, Program, Rule, Test},
    lower::{Budget, LowerError, Problem, lower, lower_with_stats},
    oracle::{Oracle, generate},
    run::{self, Event, Value},
};

fn program(tests: Vec<Vec<Test>>) -> Program {
    let rules = tests.into_iter().enumerate().map(|(number, tests)| {
        let literals = tests.into_iter().map(|test| Literal { negated: false, test }).collect();
        Rule {
            id: format!("R{number}"),
            action: Action::Block,
            errno: 1,
            mode: Mode::Enforce,
            on_fault: OnFault::Pass,
            clauses: vec![Clause {
                family: Act::FileRead.family(),
                acts: Act::FileRead.bit(),
                literals,
                origin: 0,
            }],
            exceptions: Vec::new(),
            narrowed: Vec::new(),
        }
    });
    Program { rules: rules.collect() }
}

fn on_path(patterns: Vec<Pattern>) -> Test {
    Test::Text { fact: Fact::Path, patterns }
}

/// Whether the compiled pattern matches; the oracle must agree.
fn matches(pattern: &Pattern, text: &[u8]) -> bool {
    let program = program(vec![vec![on_path(vec![pattern.clone()])]]);
    let image =
        lower(&program, generate::metadata(&program), Budget::default()).expect("it compiles");
    let event = Event::new(Act::FileRead).with(Fact::Path, Value::Text(text.to_vec()));
    let found = run::decide(&image, &event, Mode::Enforce).verdict == Action::Block;
    assert_eq!(found, Oracle::new(&program).matches(pattern, text), "{pattern:?} {text:?}");
    found
}

#[test]
fn what_patterns_share_in_the_middle_is_compared_to_the_last_byte() {
    let listed = [
        "/srv/database/a",
        "/srv/database/b",
        "/srv/database/backup-monday/x",
        "/srv/database/backup-monday/y",
        "/srv/databank",
        "/srv/datebook/a",
    ];
    let mut patterns: Vec<Pattern> =
        listed.iter().map(|path| Pattern::Exact(path.as_bytes().to_vec())).collect();
    patterns.push(Pattern::Glob("/srv/database/archive-of-*/?.tar".to_owned()));
    let tests = patterns.into_iter().map(|pattern| vec![on_path(vec![pattern])]).collect();
    let program = program(tests);
    let (image, stats) =
        lower_with_stats(&program, generate::metadata(&program), Budget::default()).unwrap();
    assert!(stats.automata[0].skips >= 4, "nothing is compared in the middle: {stats:?}");
    let oracle = Oracle::new(&program);
    let check = |text: &[u8]| {
        let event = Event::new(Act::FileRead).with(Fact::Path, Value::Text(text.to_vec()));
        let mut found = run::decide(&image, &event, Mode::Enforce).matched;
        found.sort_unstable();
        let wanted: Vec<u32> = oracle.decide(&event, Mode::Enforce).matched.into_iter().collect();
        assert_eq!(found, wanted, "{:?}", String::from_utf8_lossy(text));
        !wanted.is_empty()
    };
    for path in listed.iter().copied().chain(["/srv/database/archive-of-2026/1.tar"]) {
        let path = path.as_bytes();
        assert!(check(path));
        for at in 0..path.len() {
            check(&path[..at]);
            check(&[&path[..at], &path[at + 1..]].concat());
            for byte in [1, b'/', b'a', b'b', b'e', b'x', 0xff] {
                check(&[&path[..at], &[byte], &path[at + 1..]].concat());
                check(&[&path[..at], &[byte], &path[at..]].concat());
            }
        }
        check(&[path, b"/more"].concat());
    }
}

#[test]
fn globs_match_what_their_description_says() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("/a/*", &["/a/b", "/a/", "/a/.b"], &["/a", "/a/b/c", "/b/b"]),
        ("/a/**", &["/a", "/a/", "/a/b", "/a/b/c"], &["/ab", "/", "a"]),
        ("/a/**/b", &["/a/b", "/a/x/b", "/a/x/y/b"], &["/ab", "/a/xb", "/a/b/c", "/b"]),
        ("**/b", &["b", "/b", "/a/b", "/a/x/b"], &["/ab", "ab", "/b/c"]),
        ("/a/**/**", &["/a", "/a/b"], &["/ab"]),
        ("**", &["", "/", "/a", "a\nb"], &[]),
        ("/a**b", &["/ab", "/a/b", "/axxb"], &["/a", "/abc"]),
        ("/?", &["/a", "/\n"], &["/", "/ab", "//"]),
        ("/[a-c]x", &["/ax", "/cx"], &["/dx", "/x", "/-x"]),
        ("/[!a-c]x", &["/dx", "/-x"], &["/ax", "//x", "/x"]),
        ("/[]a]", &["/]", "/a"], &["/b"]),
        ("/[a-]", &["/-", "/a"], &["/b"]),
        ("/{a,b/c}.so", &["/a.so", "/b/c.so"], &["/b.so", "/.so"]),
        ("/{a,}b", &["/ab", "/b"], &["/aab"]),
        ("{/a,/b}/**", &["/a", "/b/c"], &["/c"]),
        ("/a/{**,x}/b", &["/a/b", "/a/x/b", "/a/y/z/b"], &["/a"]),
        ("/\\*", &["/*"], &["/a"]),
        ("/a\\{b", &["/a{b"], &["/ab"]),
        ("/\u{e9}?", &["/\u{e9}a"], &["/\u{e9}"]),
        ("*.so", &["a.so", ".so"], &["/a.so", "a.sox"]),
    ];
    for (glob, hits, misses) in table {
        let pattern = Pattern::Glob((*glob).to_owned());
        for text in *hits {
            assert!(matches(&pattern, text.as_bytes()), "{glob} must match {text:?}");
        }
        for text in *misses {
            assert!(!matches(&pattern, text.as_bytes()), "{glob} must not match {text:?}");
        }
    }
}

#[test]
fn regular_expressions_match_bytes_anywhere_unless_they_say_otherwise() {
    type Texts = &'static [&'static [u8]];
    let table: &[(&str, Texts, Texts)] = &[
        ("b+", &[b"/abbc", b"b"], &[b"/ac", b""]),
        ("^/a$", &[b"/a"], &[b"/a\n", b"\n/a", b"/ab"]),
        ("/tmp/.*\\.sh$", &[b"/tmp/a\nb.sh", b"/tmp/\xff.sh"], &[b"/tmp/a.shx"]),
        ("(?i)Shadow", &[b"/etc/SHADOW"], &[b"/etc/shadw"]),
        ("^$", &[b""], &[b"a"]),
        ("a{2}|^b", &[b"xaa", b"bc"], &[b"xa", b"ab"]),
        ("\\bnc\\b", &[b"/bin/nc", b"nc -e"], &[b"/bin/ncat"]),
    ];
    for (regex, hits, misses) in table {
        let pattern = Pattern::Regex((*regex).to_owned());
        for text in *hits {
            assert!(matches(&pattern, text), "{regex} must match {text:?}");
        }
        for text in *misses {
            assert!(!matches(&pattern, text), "{regex} must not match {text:?}");
        }
    }
}

#[test]
fn a_literal_longer_than_a_tail_still_matches_to_its_end() {
    let long = vec![b'x'; 700];
    let pattern = Pattern::Exact(long.clone());
    assert!(matches(&pattern, &long));
    for at in [0, 255, 256, 443, 444, 699] {
        let mut other = long.clone();
        other[at] = b'y';
        assert!(!matches(&pattern, &other), "byte {at}");
    }
    assert!(!matches(&pattern, &long[1..]));
    let longer: Vec<u8> = long.iter().copied().chain(*b"x").collect();
    assert!(!matches(&pattern, &longer));
    assert!(matches(&Pattern::Prefix(long), &longer));
}

#[test]
fn bad_globs_are_refused_where_they_go_wrong() {
    let table = [
        ("/a\\", 2, GlobFault::Escape),
        ("/a[b", 2, GlobFault::Class),
        ("/[z-a]", 1, GlobFault::Range),
        ("/[[:alpha:]]", 2, GlobFault::NamedClass),
        ("/[\u{e9}]", 2, GlobFault::WideClass),
        ("/{a,b", 1, GlobFault::Brace),
        ("/a\0", 2, GlobFault::Zero),
    ];
    for (glob, at, fault) in table {
        let error = Glob::parse(glob).unwrap_err();
        assert_eq!((error.at, error.fault), (at, fault), "{glob}");
    }
    let deep = format!("{}{}", "{a,".repeat(17), "}".repeat(17));
    assert_eq!(Glob::parse(&deep).unwrap_err().fault, GlobFault::Deep);
    assert_eq!(Glob::parse(&"{a,b}".repeat(11)).unwrap_err().fault, GlobFault::Wide);
    assert!(Glob::parse(&"{a,b}".repeat(10)).is_ok());
}

fn refused(program: &Program, budget: Budget) -> LowerError {
    lower(program, generate::metadata(program), budget).map(drop).expect_err("it compiles")
}

#[test]
fn everything_wrong_is_told_at_once_with_rule_and_pattern() {
    let bad = |pattern| vec![on_path(vec![pattern])];
    let program = program(vec![
        bad(Pattern::Glob("/a[".to_owned())),
        bad(Pattern::Glob("/fine".to_owned())),
        bad(Pattern::Regex("(".to_owned())),
        bad(Pattern::Regex("((a{900}){900}){900}".to_owned())),
        vec![Test::Number { fact: Fact::Uid, ranges: vec![(2, 1)] }],
        vec![Test::Flags { fact: Fact::Uid, mask: 1 }],
        vec![Test::Text { fact: Fact::Uid, patterns: Vec::new() }],
    ]);
    let error = refused(&program, Budget::default());
    let mut rules: Vec<&str> = error.problems.iter().filter_map(Problem::rule).collect();
    rules.sort_unstable();
    assert_eq!(rules, ["R0", "R2", "R3", "R4", "R5", "R6"], "{error}");
}

#[test]
fn patterns_that_multiply_past_the_budget_are_named() {
    let patterns = (0..14).map(|at| Pattern::Glob(format!("/srv/**/a{at}/**/b{at}/**/c{at}")));
    let program = program(patterns.map(|pattern| vec![on_path(vec![pattern])]).collect());
    let budget = Budget { table_bytes: 1 << 20, ..Budget::default() };
    let error = refused(&program, budget);
    let [Problem::AutomatonTooLarge { rule, pattern, budget, .. }] = &error.problems[..] else {
        panic!("{error}");
    };
    assert_eq!((&rule[..], &pattern[..], *budget), ("R0", "/srv/**/a0/**/b0/**/c0", 1 << 20));
}

#[test]
fn an_expression_that_doubles_with_every_character_is_refused_before_it_takes_long() {
    let program = program(vec![
        vec![on_path(vec![Pattern::Regex("(a|b)*a(a|b){24}$".to_owned())])],
        vec![on_path(vec![Pattern::Exact(b"/fine".to_vec())])],
    ]);
    let error = refused(&program, Budget::default());
    let [Problem::AutomatonTooLarge { rule, budget, .. }] = &error.problems[..] else {
        panic!("{error}");
    };
    // Two patterns have not the memory of thousands, so they cannot take the time of thousands either.
    assert!(rule == "R0" && *budget < 16 << 20, "{error}");
}

#[test]
fn more_of_anything_than_fits_is_refused() {
    let ancestor = |name: usize| Test::Ancestor {
        patterns: vec![Pattern::Exact(format!("/bin/{name}").into_bytes())],
    };
    let error =
        refused(&program((0..257).map(|at| vec![ancestor(at)]).collect()), Budget::default());
    let [Problem::TooManySetPredicates { rule, count, limit, .. }] = &error.problems[..] else {
        panic!("{error}");
    };
    assert_eq!((&rule[..], *count, *limit), ("R256", 257, 256));
    let within = program((0..256).map(|at| vec![ancestor(at)]).collect());
    assert!(lower(&within, generate::metadata(&within), Budget::default()).is_ok());

    let error = refused(&program(vec![(0..5).map(ancestor).collect()]), Budget::default());
    assert!(matches!(error.problems[..], [Problem::TooManyResiduals { count: 5, limit: 4, .. }]));

    let many = program(vec![vec![on_path(vec![Pattern::Exact(b"/a".into())])]; 16_385]);
    let error = refused(&many, Budget::default());
    assert!(
        matches!(error.problems[..], [Problem::TooManyClauses { count: 16_385, .. }]),
        "{error}"
    );

    let numbers = [
        Fact::ObjectMode,
        Fact::ObjectOwner,
        Fact::Uid,
        Fact::Euid,
        Fact::Gid,
        Fact::RemotePort,
        Fact::LocalPort,
        Fact::Protocol,
        Fact::AddressFamily,
        Fact::SocketType,
        Fact::Number,
        Fact::ArgCount,
        Fact::LoginUid,
        Fact::FsMagic,
        Fact::Device,
        Fact::Inode,
        Fact::Pid,
        Fact::StartAge,
        Fact::TargetUid,
        Fact::TargetPid,
        Fact::Argument0,
        Fact::Argument1,
        Fact::Argument2,
        Fact::Argument3,
        Fact::Argument4,
        Fact::Argument5,
        Fact::Result,
        Fact::Error,
    ];
    let test = |fact: &Fact| vec![Test::Number { fact: *fact, ranges: vec![(1, 1)] }];
    let texts = [Fact::Path, Fact::Name, Fact::Comm, Fact::Cwd];
    let text =
        |fact: &Fact| vec![Test::Text { fact: *fact, patterns: vec![Pattern::Exact(vec![b'a'])] }];
    let all = numbers.iter().map(test).chain(texts.iter().map(text));
    let error = refused(&program(all.collect()), Budget::default());
    assert!(matches!(error.problems[..], [Problem::TooManyColumns { count: 33, limit: 32, .. }]));

    let path = vec![vec![on_path(vec![Pattern::Glob("/srv/*/x*".to_owned())])]];
    let error = refused(&program(path), Budget { image_bytes: 1_000, ..Budget::default() });
    assert!(
        matches!(error.problems[..], [Problem::ImageTooLarge { budget: 1_000, .. }]),
        "{error}"
    );
}

#[test]
fn patterns_kept_apart_compile_where_they_would_multiply_together() {
    // A subtree and a name that can stand anywhere, many of each, and lists that mix both.
    let lists = (0..120).map(|at| {
        vec![on_path(vec![
            Pattern::Glob(format!("/srv/tenant{at}/**")),
            Pattern::Glob(format!("**/secret{at}.pem")),
            Pattern::Glob(format!("**/.hidden{}/**", at % 9)),
        ])]
    });
    let program = program(lists.collect());
    let tight = Budget { table_bytes: 4 << 20, parts: 1, ..Budget::default() };
    assert!(matches!(refused(&program, tight).problems[..], [Problem::AutomatonTooLarge { .. }]));
    let apart = Budget { parts: 8, ..tight };
    let image = lower(&program, generate::metadata(&program), apart).unwrap();
    let oracle = Oracle::new(&program);
    for path in [
        "/srv/tenant7/x",
        "/srv/tenant7",
        "/srv/tenant1/secret7.pem",
        "/x/secret119.pem",
        "/home/.hidden3/secret4.pem",
        "/.hidden0",
        "/srv/tenant8/.hidden1/.hidden2/a",
        "/etc/passwd",
    ] {
        let event = Event::new(Act::FileRead).with(Fact::Path, Value::Text(path.into()));
        let expected: Vec<u32> = oracle.decide(&event, Mode::Enforce).matched.into_iter().collect();
        let mut found = run::decide(&image, &event, Mode::Enforce).matched;
        found.sort_unstable();
        assert_eq!(found, expected, "{path}");
    }
    // Each part leaves alive what only another tests. Together they leave nothing alive for a path nobody names.
    let alive = |path: &[u8]| {
        let mut progress = Progress::EMPTY;
        let kernel = image.kernel();
        let mut narrowing = Narrowing::start(kernel, Family::File, &mut progress).unwrap();
        narrowing.string(Fact::Path, path)
    };
    assert!(!alive(b"/etc/passwd") && !alive(b"/srv") && !alive(b""));
    assert!(alive(b"/srv/tenant7/x") && alive(b"/x/secret119.pem") && alive(b"/.hidden0/y"));
}

#[test]
fn what_a_rule_costs_grows_with_its_patterns_and_is_none_for_one_that_does_not_compile() {
    let glob = |text: &str| vec![on_path(vec![Pattern::Glob(text.to_owned())])];
    let program = program(vec![glob("/a"), glob("/a/*/b*.so"), glob("/a[")]);
    let costs = costs(&program, &generate::metadata(&program), Budget::default());
    let [wild, exact] = &costs[..] else { panic!("{costs:?}") };
    assert_eq!((exact.clauses, exact.states), (1, 0), "an exact path is one tail");
    assert_eq!((exact.steps, wild.steps), (3, 4096), "one may have to read the longest path");
    assert!(wild.states > 3 && wild.bytes > exact.bytes);
}

/// What decides on `path` once it is narrowed by it: steps, and rules that matched.
fn steps(image: &interdict_rules::image::PolicyImage, path: &str) -> (usize, usize) {
    let mut progress = Progress::EMPTY;
    let mut narrowing =
        Narrowing::start(image.kernel(), Family::File, &mut progress).expect("rules on files");
    narrowing.number(Fact::Act, Act::FileRead.value());
    narrowing.string(Fact::Path, path.as_bytes());
    let (mut walk, mut decision) = (Walk::START, Decision::PASS);
    let mut steps = 1;
    while !narrowing.step(&mut walk, &SetFacts::default(), Mode::Enforce, &mut decision) {
        steps += 1;
    }
    (steps, decision.told)
}

/// Words in which no clause can hold used to be looked at: a listed path cost half as much again among ten thousand rules
/// as among ten.
#[test]
fn a_listed_path_is_decided_in_as_many_steps_among_thousands_of_rules_as_among_ten() {
    let path = |number: usize| format!("/srv/{number}/file");
    let image = |count: usize| {
        let tests = (0..count).map(|number| {
            vec![on_path(vec![Pattern::Exact(path(number * 5_000 / count).into_bytes())])]
        });
        let mut program = program(tests.collect());
        // The family has several acts, so there is a column of acts too.
        for (number, rule) in program.rules.iter_mut().enumerate() {
            rule.clauses[0].acts |= if number % 2 == 0 { Act::FileWrite.bit() } else { 0 };
        }
        lower(&program, generate::metadata(&program), Budget::default()).expect("it compiles")
    };
    let (few, many) = (image(10), image(5_000));
    for number in (0..10).map(|number| number * 500) {
        let among_few = steps(&few, &path(number));
        assert_eq!(among_few.1, 1, "{number}");
        assert_eq!(steps(&many, &path(number)), among_few, "{number}");
    }
}
