//! Any expression is parsed and checked or refused, however it is written in YAML.
#![no_main]

use interdict_rules::{
    check::{self, Environment},
    diag::{Colour, Diagnostics, terminal},
    normalise, parse,
    parse::source::{NoFiles, Sources},
};
use libfuzzer_sys::fuzz_target;

const HEAD: &str = "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: { name: fuzz }\nspec:\n  lists: { l: { type: path, items: [/bin/sh] } }\n  macros: { m: exec.memfd }\n  rules:\n    - id: R\n      title: T\n      on: exec\n      action: alert\n      when: ";

fuzz_target!(|text: &str| {
    let block: String = text.lines().map(|line| format!("\n        {line}")).collect();
    let quoted: String = text
        .chars()
        .map(|character| match character {
            '"' | '\\' => format!("\\{character}"),
            control if (control as u32) < 0x20 => format!("\\x{:02x}", control as u32),
            other => other.to_string(),
        })
        .collect();
    for written in [format!("|-{block}\n"), format!("\"{quoted}\"\n")] {
        let mut sources = Sources::new();
        sources.add("fuzz.yaml", format!("{HEAD}{written}"));
        let mut diagnostics = Diagnostics::new();
        let parsed = parse::parse(&sources, &mut diagnostics);
        let environment = Environment { files: &NoFiles, today: "2026-01-01" };
        let checked = check::check(&parsed, &sources, environment, &mut diagnostics);
        normalise::normalise(checked, &sources, &mut diagnostics);
        terminal(&diagnostics.into_sorted(), &sources, Colour::Plain);
    }
});
