//! Any text is a policy or is refused with a reason that can be shown: no panic, no hang, no place outside the text.
#![no_main]

use interdict_rules::{
    check::{self, Environment},
    diag::{Colour, Diagnostics, json, sarif, terminal},
    normalise, parse,
    parse::source::{NoFiles, Sources},
    suite,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut sources = Sources::new();
    sources.add("fuzz.yaml", text);
    let mut diagnostics = Diagnostics::new();
    let parsed = parse::parse(&sources, &mut diagnostics);
    let environment = Environment { files: &NoFiles, today: "2026-01-01" };
    let checked = check::check(&parsed, &sources, environment, &mut diagnostics);
    let (program, metadata) = normalise::normalise(checked, &sources, &mut diagnostics);
    assert_eq!(program.rules.len(), metadata.rules.len());
    suite::check(&parsed, &mut diagnostics);
    let diagnostics = diagnostics.into_sorted();
    for diagnostic in &diagnostics {
        if let Some(span) = diagnostic.span {
            assert!(span.start <= span.end && span.end as usize <= text.len());
        }
    }
    terminal(&diagnostics, &sources, Colour::Plain);
    json(&diagnostics, &sources);
    sarif(&diagnostics, &sources);
});
