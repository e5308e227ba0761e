//! Every diagnostic code has a case: `IDT0301.yaml` and, beside it, exactly what an operator sees.
//!
//! `INTERDICT_BLESS=1 cargo test -p interdict-rules --test front` writes what is seen now; read the difference.

use std::{fs, path::PathBuf};

use interdict_rules::{
    compile,
    diag::{Code, Colour, json, sarif, terminal},
    parse::source::Sources,
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics")
}

#[test]
fn every_code_has_a_case_that_looks_as_recorded() {
    let bless = std::env::var_os("INTERDICT_BLESS").is_some();
    let mut wrong = Vec::new();
    for code in Code::ALL {
        let path = folder().join(format!("{code}.yaml"));
        let Ok(text) = fs::read_to_string(&path) else {
            wrong.push(format!("{code}: there is no case {}", path.display()));
            continue;
        };
        let mut sources = Sources::new();
        sources.add(format!("{code}.yaml"), text);
        let outcome = compile(&sources, &super::options());
        if !outcome.diagnostics.iter().any(|diagnostic| diagnostic.code == *code) {
            let codes: Vec<String> =
                outcome.diagnostics.iter().map(|one| one.code.to_string()).collect();
            wrong.push(format!("{code}: its case says {codes:?}"));
            continue;
        }
        let seen = terminal(&outcome.diagnostics, &sources, Colour::Plain);
        let recorded = folder().join(format!("{code}.txt"));
        if bless {
            fs::write(&recorded, &seen).unwrap();
        } else if fs::read_to_string(&recorded).unwrap_or_default() != seen {
            wrong.push(format!("{code}: looks different now:\n{seen}"));
        }
        // The other renderings say the same, and are what their readers expect.
        let count = outcome.diagnostics.len();
        assert_eq!(json(&outcome.diagnostics, &sources).as_array().map(Vec::len), Some(count));
        let log = sarif(&outcome.diagnostics, &sources);
        assert_eq!(log["runs"][0]["results"].as_array().map(Vec::len), Some(count));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What people write who know the manual a little, or another tool well: each file is one mistake, and beside it is what
/// they are told. Whoever changes a message reads whether it still leads to the fix.
#[test]
fn what_newcomers_get_wrong_is_told_as_recorded() {
    let bless = std::env::var_os("INTERDICT_BLESS").is_some();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/newcomers");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 10, "{}", cases.len());
    let mut wrong = Vec::new();
    for path in cases {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut sources = Sources::new();
        sources.add(name.clone(), fs::read_to_string(&path).unwrap());
        let outcome = compile(&sources, &super::options());
        assert!(outcome.image.is_none(), "{name}: nothing is wrong with it");
        let seen = terminal(&outcome.diagnostics, &sources, Colour::Plain);
        let recorded = path.with_extension("txt");
        if bless {
            fs::write(&recorded, &seen).unwrap();
        } else if fs::read_to_string(&recorded).unwrap_or_default() != seen {
            wrong.push(format!("{name}: looks different now:\n{seen}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_case_is_left_over() {
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(Code::named(&stem).is_some(), "{}", path.display());
    }
}
