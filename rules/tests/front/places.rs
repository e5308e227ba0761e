//! Diagnostics point at the right bytes, however the text is written.

use super::{compiled, policy};

/// The text that the first diagnostic underlines, and where.
fn underlined(text: &str) -> (String, u32, u32) {
    let (sources, outcome) = compiled(text);
    let diagnostic = outcome.diagnostics.first().expect("something is wrong");
    let span = diagnostic.span.expect("it has a place");
    let position = sources.position(span);
    (sources.text(span).to_owned(), position.line, position.column)
}

fn in_rule(when: &str) -> (String, u32, u32) {
    underlined(&policy(&format!("id: R\ntitle: T\non: exec\naction: alert\n{when}")))
}

#[test]
fn in_a_plain_scalar() {
    assert_eq!(in_rule("when: exec.memfd and exec.pth == 1"), ("exec.pth".into(), 10, 28));
}

#[test]
fn after_characters_of_several_bytes() {
    // Columns count characters, not bytes.
    let found = in_rule("when: exec.path == \"/é/ñ/漢字\" and exec.pth == 1");
    assert_eq!(found, ("exec.pth".into(), 10, 40));
}

#[test]
fn in_double_quotes_with_escapes() {
    let found = in_rule(r#"when: "exec.path == \"\u00e9\x2fx\" or exec.pth == \"/x\"""#);
    assert_eq!(found.0, r#"\"\u00e9\x2fx\""#, "the path does not start with a slash");
    let found = in_rule(r#"when: "exec.path == \"/\u00e9\" or exec.pth == \"/x\"""#);
    assert_eq!(found, ("exec.pth".into(), 10, 42));
}

#[test]
fn in_single_quotes_with_a_quote_inside() {
    let found = in_rule("when: 'exec.path == ''/x'' or exec.pth == 1'");
    assert_eq!(found, ("exec.pth".into(), 10, 37));
}

#[test]
fn in_a_folded_block() {
    let found = in_rule("when: >-\n  exec.memfd\n  and\n    exec.pth\n  == 1");
    assert_eq!(found, ("exec.pth".into(), 13, 11));
}

#[test]
fn in_a_literal_block_with_its_indentation_said() {
    let found = in_rule("when: |2\n    exec.memfd\n    and exec.pth\n    == 1");
    assert_eq!(found, ("exec.pth".into(), 12, 15));
}

#[test]
fn in_a_plain_scalar_over_several_lines() {
    let found = in_rule("when: exec.memfd\n  and\n\n  exec.pth == 1");
    assert_eq!(found, ("exec.pth".into(), 13, 9));
}

#[test]
fn at_the_anchor_when_an_alias_brings_it_in() {
    let text = "apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: test }
spec:
  rules:
    - { id: A, title: T, on: exec, action: alert, when: &wrong exec.pth == 1 }
    - { id: B, title: T, on: exec, action: alert, when: *wrong }
";
    let (sources, outcome) = compiled(text);
    for diagnostic in &outcome.diagnostics {
        let span = diagnostic.span.unwrap();
        assert_eq!(sources.text(span), "exec.pth");
        assert_eq!(sources.position(span).line, 6);
    }
    assert_eq!(outcome.diagnostics.len(), 1, "one mistake is told once");
}

#[test]
fn inside_a_regular_expression() {
    let found = in_rule("when: exec.path matches \"^/usr/(bin\"");
    assert_eq!(found, ("(".into(), 10, 38));
}

#[test]
fn with_dos_line_ends() {
    let text = policy(
        "id: R\ntitle: T\non: exec\naction: alert\nwhen: >-\n  exec.memfd and\n  exec.pth == 1",
    );
    let found = underlined(&text.replace('\n', "\r\n"));
    assert_eq!(found, ("exec.pth".into(), 12, 9));
}
