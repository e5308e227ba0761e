//! Random expressions mean in the engine what they mean to a naive reader of the tree they were made from; random text
//! never breaks anything.

use interdict_abi::ids::{Act, Fact, Mode, object_flags};
use interdict_rules::{
    run::{self, Event, Strings, Value},
    suite::{self, Occurrence},
    told::Known,
};
use proptest::prelude::*;

use super::{compiled, policy, when};

/// An expression as the generator thinks of it.
#[derive(Clone, Debug)]
enum Tree {
    /// A test on a text field: its place in `TEXTS`, and the test's in `TESTS`.
    Text(usize, usize),
    /// `process.uid` and an operator and a number.
    Uid(&'static str, u32),
    /// `process.uid in [..]`.
    UidIn(u32, u32),
    Memfd,
    Setuid,
    /// `user.name` and a test: its place in `NAMES`.
    User(usize),
    /// `process.start_age` below so many seconds.
    Younger(u32),
    Not(Box<Tree>),
    And(Vec<Tree>),
    Or(Vec<Tree>),
}

const TEXTS: &[&str] = &["exec.path", "process.exe", "process.ancestor.exe"];

/// A test as written, and the regular expression the `regex` crate judges by.
const TESTS: &[(&str, &str)] = &[
    (r#"== "/usr/bin/nc""#, r"^/usr/bin/nc$"),
    (r#"in ["/usr/bin/nc", "/tmp/a"]"#, r"^(/usr/bin/nc|/tmp/a)$"),
    (r#"== "/usr/bin/*""#, r"^/usr/bin/[^/]*$"),
    (r#"in ["/tmp/**", "/**/nc"]"#, r"^(/tmp(/.*)?|/(.*/)?nc)$"),
    (r#"startswith "/usr""#, r"^/usr"),
    (r#"endswith "c""#, r"c$"),
    (r#"contains "in/""#, r"in/"),
    (r#"glob "/{usr,opt}/bin/[a-n]?""#, r"^/(usr|opt)/bin/[a-n][^/]$"),
    (r#"matches "b(in|ar)/n+c$""#, r"b(in|ar)/n+c$"),
    (r#"matches '^/(tmp|usr)/'"#, r"^/(tmp|usr)/"),
];

const PATHS: &[&str] = &[
    "/usr/bin/nc",
    "/usr/bin/id",
    "/tmp/a",
    "/tmp/b/nc",
    "/opt/bin/nc",
    "/bar/nnc",
    "/tmp",
    "/usr",
    "/usr/bin/",
    "/x",
];

/// Tests on names, and the regular expression the `regex` crate judges by.
const NAMES: &[(&str, &str)] = &[
    (r#"== "www""#, "^www$"),
    (r#"in ["www", "git"]"#, "^(www|git)$"),
    (r#"startswith "w""#, "^w"),
    (r#"matches "^.i""#, "^.i"),
];

/// Names of users.
const USERS: &[&str] = &["www", "git", "win", "root"];

fn narrowed_tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        2 => (0..TEXTS.len(), 0..TESTS.len()).prop_map(|(field, test)| Tree::Text(field, test)),
        1 => Just(Tree::Memfd),
        2 => (0..NAMES.len()).prop_map(Tree::User),
        1 => (1u32..4).prop_map(Tree::Younger),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Tree::And),
            prop::collection::vec(inner, 2..4).prop_map(Tree::Or),
        ]
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        4 => (0..TEXTS.len(), 0..TESTS.len()).prop_map(|(field, test)| Tree::Text(field, test)),
        1 => (prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]), 0u32..4)
            .prop_map(|(operator, number)| Tree::Uid(operator, number))
            .prop_filter("never true", |tree| !matches!(tree, Tree::Uid("<", 0))),
        1 => (0u32..4, 0u32..4)
            .prop_map(|(one, other)| Tree::UidIn(one.min(other), one.max(other))),
        1 => Just(Tree::Memfd),
        1 => Just(Tree::Setuid),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Tree::And),
            prop::collection::vec(inner, 2..4).prop_map(Tree::Or),
        ]
    })
}

fn written(tree: &Tree) -> String {
    let joined = |parts: &[Tree], joint: &str| {
        let parts: Vec<String> = parts.iter().map(|part| format!("({})", written(part))).collect();
        parts.join(joint)
    };
    match tree {
        Tree::Text(field, test) => format!("{} {}", TEXTS[*field], TESTS[*test].0),
        Tree::Uid(operator, number) => format!("process.uid {operator} {number}"),
        Tree::UidIn(first, last) => format!("process.uid in [{first}..{last}]"),
        Tree::Memfd => "exec.memfd".to_owned(),
        Tree::Setuid => "exec.setuid == true".to_owned(),
        Tree::User(test) => format!("user.name {}", NAMES[*test].0),
        Tree::Younger(seconds) => format!("process.start_age < {seconds}"),
        Tree::Not(inner) => format!("not ({})", written(inner)),
        Tree::And(parts) => joined(parts, " and "),
        Tree::Or(parts) => joined(parts, " or "),
    }
}

/// What is so.
#[derive(Clone, Debug)]
struct Facts {
    path: usize,
    exe: usize,
    ancestors: Vec<usize>,
    uid: u32,
    memfd: bool,
    setuid: bool,
    user: usize,
    age: u32,
}

fn facts() -> impl Strategy<Value = Facts> {
    let place = || 0..PATHS.len();
    let flags = (any::<bool>(), any::<bool>());
    let told = (0..USERS.len(), 0u32..5);
    (place(), place(), prop::collection::vec(place(), 0..3), 0u32..5, flags, told).prop_map(
        |(path, exe, ancestors, uid, (memfd, setuid), (user, age))| Facts {
            path,
            exe,
            ancestors,
            uid,
            memfd,
            setuid,
            user,
            age,
        },
    )
}

fn naive(tree: &Tree, facts: &Facts, judges: &[regex::bytes::Regex]) -> bool {
    match tree {
        Tree::Text(field, test) => {
            let matches = |path: &usize| judges[*test].is_match(PATHS[*path].as_bytes());
            match TEXTS[*field] {
                "exec.path" => matches(&facts.path),
                "process.exe" => matches(&facts.exe),
                _ => facts.ancestors.iter().any(matches),
            }
        }
        Tree::Uid(operator, number) => match *operator {
            "==" => facts.uid == *number,
            "!=" => facts.uid != *number,
            "<" => facts.uid < *number,
            "<=" => facts.uid <= *number,
            ">" => facts.uid > *number,
            _ => facts.uid >= *number,
        },
        Tree::UidIn(first, last) => (*first..=*last).contains(&facts.uid),
        Tree::Memfd => facts.memfd,
        Tree::Setuid => facts.setuid,
        Tree::User(test) => {
            regex::Regex::new(NAMES[*test].1).is_ok_and(|regex| regex.is_match(USERS[facts.user]))
        }
        Tree::Younger(seconds) => facts.age < *seconds,
        Tree::Not(inner) => !naive(inner, facts, judges),
        Tree::And(parts) => parts.iter().all(|part| naive(part, facts, judges)),
        Tree::Or(parts) => parts.iter().any(|part| naive(part, facts, judges)),
    }
}

fn event(facts: &Facts) -> Event {
    let text = |path: usize| Value::Text(PATHS[path].as_bytes().to_vec());
    let mut flags = 0;
    if facts.memfd {
        flags |= object_flags::MEMFD;
    }
    if facts.setuid {
        flags |= object_flags::SETUID;
    }
    let mut event = Event::new(Act::Exec)
        .with(Fact::Path, text(facts.path))
        .with(Fact::Exe, text(facts.exe))
        .with(Fact::Uid, Value::Number(facts.uid))
        .with(Fact::StartAge, Value::Number(facts.age))
        .with(Fact::ObjectFlags, Value::Number(flags));
    let ancestors = facts.ancestors.iter().map(|path| PATHS[*path].as_bytes().to_vec());
    event.ancestors = Strings::Known(ancestors.collect());
    event
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn an_expression_means_what_it_says(tree in tree(), all in prop::collection::vec(facts(), 40)) {
        let judges: Vec<regex::bytes::Regex> = TESTS
            .iter()
            .map(|(_, judge)| regex::bytes::Regex::new(&format!("(?s-u){judge}")).unwrap())
            .collect();
        let text = written(&tree);
        let (_, outcome) = compiled(&when("exec", &text));
        let Some(image) = &outcome.image else {
            // Only size may stand in the way.
            for diagnostic in &outcome.diagnostics {
                use interdict_rules::diag::Code;
                let size = [Code::TooManyClauses, Code::TooManySets];
                prop_assert!(size.contains(&diagnostic.code), "{text}: {}", diagnostic.message);
            }
            return Ok(());
        };
        for facts in &all {
            let decision = run::decide(image, &event(facts), Mode::Enforce);
            let matched = !decision.matched.is_empty();
            prop_assert_eq!(matched, naive(&tree, facts, &judges), "{} {:?}", text, facts);
        }
    }

    #[test]
    fn an_expression_over_both_classes_means_what_it_says(
        tree in narrowed_tree(),
        excused in narrowed_tree(),
        all in prop::collection::vec(facts(), 40),
    ) {
        let judges: Vec<regex::bytes::Regex> = TESTS
            .iter()
            .map(|(_, judge)| regex::bytes::Regex::new(&format!("(?s-u){judge}")).unwrap())
            .collect();
        let (text, exception) = (written(&tree), written(&excused));
        let quoted = |text: &str| serde_json::Value::String(text.to_owned());
        let (_, outcome) = compiled(&policy(&format!(
            "id: R\ntitle: T\non: exec\nwhen: {}\naction: alert\nexcept:\n  - {{ name: e, owner: o, reason: r, when: {} }}",
            quoted(&text),
            quoted(&exception)
        )));
        let Some(image) = &outcome.image else {
            for diagnostic in &outcome.diagnostics {
                use interdict_rules::diag::{Code, Level};
                let size = [Code::TooManyClauses, Code::TooManySets];
                prop_assert!(
                    diagnostic.level != Level::Error || size.contains(&diagnostic.code),
                    "{text}: {}",
                    diagnostic.message
                );
            }
            return Ok(());
        };
        for facts in &all {
            let told = [
                ("user.name", Known::Text(vec![USERS[facts.user].to_owned()])),
                ("process.start_age", Known::Number(facts.age)),
            ];
            let occurrence = Occurrence {
                act: Act::Exec,
                events: vec![event(facts)],
                told: told.map(|(name, known)| (name.to_owned(), known)).into(),
            };
            let decision = suite::decide(image, &occurrence, Mode::Enforce);
            let expected = naive(&tree, facts, &judges) && !naive(&excused, facts, &judges);
            prop_assert_eq!(
                decision.matched.len(), usize::from(expected), "{} except {} {:?}", text, exception, facts
            );
            prop_assert_eq!(decision.verdict != interdict_abi::ids::Action::Pass, expected);
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in ".{0,200}") {
        compiled(&text);
    }

    #[test]
    fn no_words_break_the_reader(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "apiVersion: interdict.dev/v1", "kind: Policy", "metadata:", "  name: x", "spec:",
                "  rules:", "    - id: R", "      on: exec", "      when: ", "exec.path", " in [",
                "\"/x\"", "]", "&a", "*a", "{", "}", "- ", "\n", "\n  ", ": ", "'", "|-", ">", "#",
                "!!str", "\t", "é", "---", "<<: ", "lists:", "tests:",
            ]),
            0..40,
        )
    ) {
        compiled(&words.concat());
    }

    #[test]
    fn no_expression_breaks_the_reader(text in "[a-z.\\[\\]()\"'\\\\ ,=!<>&|/*{}0-9é\n]{0,60}") {
        compiled(&when("exec", &text));
        compiled(&when("net.connect", &text));
    }
}
