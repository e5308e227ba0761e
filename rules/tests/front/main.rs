//! The front end from outside: text in, diagnostics or an image out.

mod acts;
mod changes;
mod force;
mod golden;
mod language;
mod lists;
mod network;
mod places;
mod random;
mod whole;

use interdict_rules::{
    Options, Outcome, compile,
    diag::{Code, Colour, terminal},
    lower::Budget,
    parse::source::{Files, Sources},
    suite,
};

/// Compiles one file that may name the feeds `feeds/*` of this test.
fn compiled(text: &str) -> (Sources, Outcome) {
    let mut sources = Sources::new();
    sources.add("policy.yaml", text);
    let outcome = compile(&sources, &options());
    (sources, outcome)
}

fn options() -> Options<'static> {
    // Small, so that going over it does not take long.
    let budget = Budget { table_bytes: 2 << 20, work_bytes: 8 << 20, ..Budget::default() };
    Options { files: &Feeds, today: "2026-06-30", budget }
}

/// Feeds as the cases need them.
struct Feeds;

impl Files for Feeds {
    fn read(&self, path: &std::path::Path) -> std::io::Result<Vec<u8>> {
        match path.to_str() {
            Some("feeds/good.cidr") => Ok(b"192.0.2.0/24\n203.0.113.9\n2001:db8::/32\n".to_vec()),
            Some("feeds/bad.cidr") => Ok(b"192.0.2.0/24 # fine\n192.0.2.300\n".to_vec()),
            Some("feeds/tools.txt") => Ok(b"# tools\n/usr/bin/nc\n/tmp/[x]\n".to_vec()),
            Some("feeds/names.txt") => Ok(b"nc\nsocat\n".to_vec()),
            Some("feeds/empty.cidr") => Ok(b"# nothing yet\n".to_vec()),
            _ => Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no such file")),
        }
    }
}

/// A policy around one rule.
fn policy(rule: &str) -> String {
    let indented: String = rule.lines().map(|line| format!("      {line}\n")).collect();
    let rule = indented.replacen("      ", "    - ", 1);
    format!(
        "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: {{ name: test }}\nspec:\n  rules:\n{rule}"
    )
}

/// A policy around one expression over one act.
fn when(act: &str, expression: &str) -> String {
    let quoted = serde_json::Value::String(expression.to_owned());
    policy(&format!("id: R\ntitle: T\non: {act}\nwhen: {quoted}\naction: alert"))
}

/// Runs the inline tests of a policy and demands that all pass.
fn holds(text: &str) {
    let (sources, outcome) = compiled(text);
    let image = outcome
        .image
        .as_ref()
        .unwrap_or_else(|| panic!("{}", terminal(&outcome.diagnostics, &sources, Colour::Plain)));
    let results = suite::run(&outcome.parsed, &sources, image);
    assert!(!results.results.is_empty(), "no tests");
    assert_eq!(results.failed(), 0, "{}", suite::human(&results, image, false));
}

/// `expression` over `act` must hold for the first events and not for the second.
fn means(act: &str, expression: &str, matching: &[&str], others: &[&str]) {
    let quoted = serde_json::Value::String(expression.to_owned());
    let mut tests = String::new();
    for (expected, events) in [("alert", matching), ("pass", others)] {
        for event in events {
            let name = serde_json::Value::String((*event).to_owned());
            tests.push_str(&format!(
                "\n  - {{ name: {name}, event: {{ {event} }}, expect: {expected} }}"
            ));
        }
    }
    holds(&policy(&format!(
        "id: R\ntitle: T\non: {act}\nwhen: {quoted}\naction: alert\ntests:{tests}"
    )));
}

/// The codes a policy is refused with.
fn codes(text: &str) -> Vec<Code> {
    let (_, outcome) = compiled(text);
    outcome.diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
}
