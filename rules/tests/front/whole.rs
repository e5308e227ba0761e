//! What holds of a compilation as a whole: the same bytes, hostile documents, warnings, and the manual that goes with it.

use interdict_rules::{diag::Code, suite};

use super::{codes, compiled, holds, policy, when};

#[test]
fn the_same_text_gives_the_same_bytes() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/execution.yaml"))
            .unwrap();
    let encode = || compiled(&text).1.image.expect("compiles").encode().unwrap();
    assert_eq!(encode(), encode());
}

#[test]
fn hostile_documents_are_refused_and_not_obeyed() {
    // An alias bomb: nine levels of nine.
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let previous = format!("*a{}", level - 1);
        let items = vec![previous; 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(codes(&bomb).contains(&Code::TooComplex));
    // Deep nesting, in YAML and in an expression.
    for depth in [65, 100, 1_000, 100_000] {
        let document = format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(codes(&document), [Code::TooComplex], "{depth}");
    }
    assert_eq!(
        codes(&when("exec", &format!("{}exec.memfd{}", "(".repeat(5_000), ")".repeat(5_000)))),
        [Code::TooDeep]
    );
    assert_eq!(
        codes(&when("exec", &format!("{}exec.memfd", "not ".repeat(5_000)))),
        [Code::TooDeep]
    );
    // A mistake in every rule of a large file: all are found, and shown without reading the file again for each.
    let mut many = policy("id: R\ntitle: T\non: exec\naction: alert");
    for number in 0..3_000 {
        many.push_str(&format!(
            "    - {{ id: R{number}, title: T, on: exec, when: exec.pth == 1, action: alert }}\n"
        ));
    }
    let (sources, outcome) = compiled(&many);
    assert_eq!(outcome.diagnostics.len(), 3_000);
    let shown = interdict_rules::diag::terminal(
        &outcome.diagnostics,
        &sources,
        interdict_rules::diag::Colour::Plain,
    );
    assert!(shown.contains("2800 more are not shown"));
    // `and` of many `or`s: counted before it is unfolded.
    let product =
        vec!["(exec.memfd or exec.setuid or process.uid == 0 or exec.path == \"/x\")"; 60];
    assert_eq!(codes(&when("exec", &product.join(" and "))), [Code::TooManyClauses]);
}

#[test]
fn a_rule_that_locks_people_out_is_refused_unless_it_means_to() {
    let shells = |more: &str| {
        policy(&format!(
            "id: R\ntitle: T\non: exec\nwhen: exec.path == \"/usr/bin/bash\"\naction: block\n{more}"
        ))
    };
    assert_eq!(codes(&shells("")), [Code::LockOut]);
    assert_eq!(codes(&shells("means_to: lock_out")), []);
    assert_eq!(codes(&shells("mode: audit")), []);
    // Denying a port to the world is not denying it to some.
    let port = |when: &str| {
        policy(&format!("id: R\ntitle: T\non: packet.in\nwhen: {when}\naction: block"))
    };
    assert_eq!(codes(&port("net.dst.port == 22")), [Code::LockOut]);
    assert_eq!(codes(&port("net.dst.port == 22 and net.src.ip in [192.168.0.0/16]")), []);
}

#[test]
fn rules_of_the_starter_pack_overlap_in_nothing() {
    let mut sources = interdict_rules::parse::source::Sources::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    sources.load(std::path::Path::new(folder)).unwrap();
    let options = interdict_rules::Options {
        files: &interdict_rules::parse::source::Disk,
        today: "2026-06-30",
        budget: interdict_rules::lower::Budget::default(),
    };
    let outcome = interdict_rules::compile(&sources, &options);
    let said = interdict_rules::diag::terminal(
        &outcome.diagnostics,
        &sources,
        interdict_rules::diag::Colour::Plain,
    );
    assert_eq!(said, "");
    let image = outcome.image.expect("compiles");
    let results = suite::run(&outcome.parsed, &sources, &image);
    assert_eq!(results.failed(), 0, "{}", suite::human(&results, &image, false));
    assert!(results.results.len() > 60);
}

#[test]
fn the_schema_has_a_place_for_every_key_of_the_starter_pack() {
    // Walks each document along the schema: every key must be a property, nothing is left to `additionalProperties`.
    fn walk(schema: &serde_json::Value, value: &serde_json::Value, path: &str) {
        if let Some(options) = schema["oneOf"].as_array() {
            let kind = value["kind"].as_str();
            let fits = |option: &&serde_json::Value| match (
                kind,
                option["properties"]["kind"]["const"].as_str(),
            ) {
                (Some(kind), Some(wanted)) => kind == wanted,
                _ => match value {
                    serde_json::Value::Array(_) => option["type"] == "array",
                    serde_json::Value::Object(_) => option["type"] == "object",
                    _ => option["type"] != "array" && option["type"] != "object",
                },
            };
            let option =
                options.iter().find(fits).unwrap_or_else(|| panic!("{path}: nothing fits"));
            return walk(option, value, path);
        }
        match value {
            serde_json::Value::Array(items) => {
                for item in items {
                    walk(&schema["items"], item, path);
                }
            }
            serde_json::Value::Object(entries) => {
                for (key, inner) in entries {
                    let known = schema["properties"].get(key);
                    let any = schema.get("additionalProperties").filter(|any| any.is_object());
                    match known.or(any) {
                        Some(schema) => walk(schema, inner, &format!("{path}.{key}")),
                        None => assert!(
                            schema.get("properties").is_none(),
                            "{path}: the schema has no `{key}`"
                        ),
                    }
                }
                for required in schema["required"].as_array().into_iter().flatten() {
                    let required = required.as_str().unwrap();
                    assert!(entries.contains_key(required), "{path}: no `{required}`");
                }
            }
            other => {
                if let Some(words) = schema["enum"].as_array() {
                    assert!(words.contains(other), "{path}: {other} is not among {words:?}");
                }
            }
        }
    }

    /// YAML as JSON: scalars as text, which is all the walk looks at.
    fn plain(node: &interdict_rules::parse::yaml::Node) -> serde_json::Value {
        use interdict_rules::parse::yaml::Value;
        match &node.value {
            Value::Scalar(scalar) => serde_json::Value::String(scalar.text.clone()),
            Value::Sequence(items) => items.iter().map(|item| plain(item)).collect(),
            Value::Mapping(entries) => serde_json::Value::Object(
                entries.iter().map(|(key, node)| (key.text.clone(), plain(node))).collect(),
            ),
        }
    }

    let schema = interdict_rules::schema::schema();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    let mut sources = interdict_rules::parse::source::Sources::new();
    sources.load(std::path::Path::new(folder)).unwrap();
    let mut walked = 0;
    for (file, source) in sources.iter() {
        let mut diagnostics = interdict_rules::diag::Diagnostics::new();
        for document in
            interdict_rules::parse::yaml::documents(file, &source.text, &mut diagnostics)
        {
            walk(&schema, &plain(&document), &source.name);
            walked += 1;
        }
    }
    assert!(walked >= 5);
}

#[test]
fn the_reference_knows_every_field_and_act() {
    use interdict_rules::field::{FIELDS, reference};
    let text = reference::markdown();
    for field in FIELDS {
        assert!(text.contains(&format!("| `{}` |", field.name)), "{}", field.name);
    }
    assert!(text.contains("| `packet.in` | alert, block |"));
    assert!(reference::acts_human().contains("net.close        alert, kill\n"));
    assert!(!text.contains("not decided"));
}

#[test]
fn a_slip_does_not_hide_the_mistakes_after_it() {
    // Operators of other languages are said, and read as what they mean.
    let found =
        codes(&when("exec", r#"exec.pth == "/x" AND exec.name in (nc) && proces.uid = root"#));
    assert_eq!(
        found,
        [
            Code::UnknownField,
            Code::ForeignToken,
            Code::ForeignToken,
            Code::Unquoted,
            Code::ForeignToken,
            Code::UnknownField,
            Code::ForeignToken,
        ]
    );
    // What an act does not know is said beside a name that nobody knows.
    let both = |text: &str| codes(&when("file.read", text));
    let expected = [Code::FieldOfOtherAct, Code::UnknownField];
    assert_eq!(both(r#"exec.path == "/x" or proces.exe == "/x""#), expected);
    assert_eq!(both(r#"process.uid == 0 and (not exec.memfd or proces.exe == "/x")"#), expected);
}

#[test]
fn every_example_of_the_manual_compiles_and_its_tests_pass() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/language.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let examples: Vec<&str> =
        manual.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        holds(example);
    }
}

#[test]
fn the_generated_reference_is_the_one_in_the_manual() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fields.md");
    let text = interdict_rules::field::reference::markdown();
    if std::env::var_os("INTERDICT_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, text, "run `interdict fields --format markdown > docs/fields.md`");
}

#[test]
fn a_rule_that_says_less_in_other_words_is_found() {
    let two = |narrow: &str, wide: &str| {
        policy(&format!("id: NARROW\ntitle: T\non: file.read\nwhen: '{narrow}'\naction: alert"))
            + &format!(
                "    - id: WIDE\n      title: T\n      on: [file.read, file.write]\n      when: '{wide}'\n      action: alert\n"
            )
    };
    let path = |test: &str| format!("file.path {test}");
    for (narrow, wide) in [
        (path("== \"/srv/a/b\""), path("== \"/srv/**\"")),
        (path("matches \"^/srv/[a-z]+$\""), path("startswith \"/srv/\"")),
        (
            path("in [\"/srv/{a,b}\"]"),
            "file.path == \"/srv/?\" and not file.path == \"/etc/*\"".to_owned(),
        ),
    ] {
        assert_eq!(codes(&two(&narrow, &wide)), [Code::Shadowed], "{narrow} | {wide}");
        assert_eq!(codes(&two(&wide, &narrow)), [], "{wide} | {narrow}");
    }
}
