//! A column of paths that has more parts than are remembered on an inode: what was let through the first time must not be
//! let through the second time because labels of some parts were left out.
//!
//! The processes have made a plain directory their root, so that the files get no other names by which they would be known.

use std::path::Path;

use interdict_abi::ids::{Fact, Family};
use interdict_abi::limits::REMEMBERED_PARTS;
use interdict_integration::case::{Case, Told};
use interdict_integration::observe::{broken_promises, observe, policy};
use interdict_rules::parse::source::{NoFiles, Sources};
use interdict_rules::{Options, compile, lower::Budget};
use xtask::act::{Act, EPERM, FileAct, Outcome, Step};

/// Lists of alternatives that go on anywhere: few of them share a part. They match from the root alone, so that seen from
/// the host they match nothing, and no file goes by a name of theirs.
const LISTS: usize = 40;

/// Rules on writing below each of the places, and one on reading, so that reads are looked at and remembered.
fn rules() -> String {
    let mut text = String::from(
        "- { id: T-PART-READ, title: Read, on: [file.read], when: 'file.path == \"/nowhere\"', action: block }\n",
    );
    for list in 0..LISTS {
        text.push_str(&format!(
            "- {{ id: T-PART-{list}, title: Write, on: [file.write], when: 'file.path in [\"{{/guarded-{list}/**,/never-{list}/**}}\"]', action: block }}\n"
        ));
    }
    text
}

fn rooted(path: &str, other: &str) -> Step {
    let text = |text: &str| text.to_owned();
    Step::new("", Act::File(FileAct::WriteRooted(text("/srv/jail"), text(path), text(other))))
}

fn leaked(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

fn case() -> Case {
    let mut case =
        Case::new("a_file_of_any_part_is_refused_after_it_was_remembered", leaked(rules()));
    for list in 0..LISTS {
        case = case
            .told(
                // Another file each time: what is walked last leaves its labels where those of the next may be.
                rooted(&format!("/guarded-{list}/file"), &format!("/plain/other-{list}")),
                Outcome::Refused(EPERM),
                Told::enforced(leaked(format!("T-PART-{list}")), "block"),
            )
            .twin(rooted("/plain/file", &format!("/guarded-{list}/file")));
    }
    case
}

fn parts_of_paths(text: &str) -> usize {
    let mut sources = Sources::new();
    sources.add("cases.yaml", text);
    let options = Options { files: &NoFiles, today: "2026-01-01", budget: Budget::default() };
    let outcome = compile(&sources, &options);
    let stats = outcome.stats.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics));
    let of_paths = |family, fact| family == Some(Family::File) && fact == Some(Fact::Path);
    stats.automata.iter().filter(|automaton| of_paths(automaton.family, automaton.fact)).count()
}

#[test]
fn what_is_remembered_of_a_path_is_never_a_part_of_its_labels() {
    let cases = [case()];
    let parts = parts_of_paths(&policy(&cases));
    assert!(parts > REMEMBERED_PARTS, "{parts} parts: all would be remembered");
    let init = Path::new(env!("CARGO_BIN_EXE_guest"));
    let observed = observe("6.1", init, &cases).expect("the run");
    let broken = broken_promises(&cases[0], &observed);
    assert!(broken.is_empty(), "{parts} parts:\n{}", broken.join("\n"));
}
