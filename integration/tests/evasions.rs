//! No way around a rule: every technique of the evasion suite, without the agent, with it, and with rules that only tell.
//!
//! One guest per kernel does all techniques without and then with the policy; one more on 6.1 does them in audit mode.
//! `INTERDICT_BLESS=1 cargo xtask test evasions` writes down what is seen now.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use interdict_integration::evasions::observe::{self, Observed};
use interdict_integration::evasions::open::{self, Open, State};
use interdict_integration::evasions::tried::Outcome;

const INIT: &str = env!("CARGO_BIN_EXE_guest");

type Answer = Result<Observed, String>;

fn enforced_on(kernel: &str) -> Answer {
    observe::enforced(kernel, Path::new(INIT)).map_err(|error| format!("{error:#}"))
}

static ON_6_1: LazyLock<Answer> = LazyLock::new(|| enforced_on("6.1"));
static ON_6_12: LazyLock<Answer> = LazyLock::new(|| enforced_on("6.12"));
static ON_NEWEST: LazyLock<Answer> = LazyLock::new(|| enforced_on("newest"));

fn blessing() -> bool {
    std::env::var_os("INTERDICT_BLESS").is_some()
}

fn good(answer: &Answer) -> &Observed {
    answer.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

/// Without the agent every technique reaches what it is after, or says what the kernel lacks.
fn everything_is_reached_without_the_agent(answer: &Answer) {
    let observed = good(answer);
    assert!(observed.techniques.len() >= 120);
    let mut broken = Vec::new();
    for technique in &observed.techniques {
        match observed.control.get(&technique.name) {
            Some(Outcome::Reached | Outcome::Unsupported(_)) => {}
            other => broken.push(format!("{}: {other:?}", technique.name)),
        }
    }
    assert!(broken.is_empty(), "{}\n(/out is {})", broken.join("\n"), observed.out.display());
}

/// With it every one is refused and told of, or listed with the reason.
fn everything_is_refused_or_listed(kernel: &str, answer: &Answer) {
    let observed = good(answer);
    if blessing() {
        return;
    }
    let list = open::list().expect("the list");
    let differences = open::differences(kernel, &open::observed(observed), &list);
    assert!(
        differences.is_empty(),
        "on {kernel}:\n{}\n(/out is {})",
        differences.join("\n"),
        observed.out.display()
    );
}

/// The same ways to an unprotected twin are neither refused nor told of, or that is listed.
fn nothing_else_is_refused(kernel: &str, answer: &Answer) {
    let observed = good(answer);
    if blessing() {
        return;
    }
    let list = open::list().expect("the list");
    let listed = |name: &str| {
        let here = |open: &&Open| open.kernel == "all" || open.kernel == kernel;
        list.iter().filter(here).any(|open| open.name == name && open.state == State::Overblocked)
    };
    let mut broken = Vec::new();
    for technique in &observed.techniques {
        if open::twin_is_refused(observed, &technique.name) && !listed(&technique.name) {
            let key = (technique.name.clone(), "plain".to_owned());
            broken.push(format!("{}: {:?}", technique.name, observed.seen.get(&key)));
        }
    }
    assert!(broken.is_empty(), "{}\n(/out is {})", broken.join("\n"), observed.out.display());
}

macro_rules! on_every_kernel {
    ($($module:ident $kernel:literal $answer:ident)*) => {
        // So named that `cargo xtask test evasions` runs them and nothing else.
        mod evasions {
            $(mod $module {
                use super::super::*;
                #[test] fn every_technique_works_without_the_agent() {
                    everything_is_reached_without_the_agent(&$answer);
                }
                #[test] fn every_technique_is_refused_and_told_of_or_listed() {
                    everything_is_refused_or_listed($kernel, &$answer);
                }
                #[test] fn the_same_ways_to_unprotected_things_stay_open() {
                    nothing_else_is_refused($kernel, &$answer);
                }
            })*

            use super::*;

            #[test]
            fn the_list_holds_what_is_seen_or_is_written_anew() {
                if !blessing() {
                    return;
                }
                let kernels = [$(($kernel, open::observed(good(&$answer)))),*];
                let kernels: Vec<(&str, BTreeMap<String, State>)> = kernels.to_vec();
                open::bless(&kernels).expect("the list can be written");
                open::in_security_md().expect("SECURITY.md can be written");
            }
        }
    };
}

on_every_kernel! {
    on_6_1 "6.1" ON_6_1
    on_6_12 "6.12" ON_6_12
    on_newest "newest" ON_NEWEST
}

mod evasions_in_audit_mode {
    use super::*;

    /// What is told in audit mode is what enforcing refuses; nothing is refused.
    #[test]
    fn every_technique_that_is_refused_is_told_of_and_works_in_audit_mode() {
        let audited = observe::audited("6.1", Path::new(INIT)).expect("the guest runs");
        let list = open::list().expect("the list");
        let listed = |name: &str| {
            let here = |open: &&Open| ["all", "6.1", "audit"].contains(&open.kernel.as_str());
            list.iter().filter(here).any(|open| open.name == name)
        };
        let mut broken = Vec::new();
        // What the agent refuses for its own sake is no rule's, and has no audit mode.
        for technique in audited.techniques.iter().filter(|one| one.class != "tamper") {
            let key = (technique.name.clone(), "vault".to_owned());
            match audited.seen.get(&key) {
                Some(seen) => {
                    let passed = matches!(seen.outcome, Outcome::Reached | Outcome::Unsupported(_));
                    if !passed && !listed(&technique.name) {
                        broken.push(format!("{}: {:?}", technique.name, seen.outcome));
                    }
                    if seen.told.is_empty() && !listed(&technique.name) {
                        broken.push(format!("{}: not told of", technique.name));
                    }
                    let for_audit = |open: &&Open| open.kernel == "audit";
                    let excused =
                        list.iter().filter(for_audit).any(|one| one.name == technique.name);
                    if passed && !seen.told.is_empty() && excused {
                        broken.push(format!("{}: listed for audit, and told of", technique.name));
                    }
                }
                None => broken.push(format!("{}: not tried", technique.name)),
            }
        }
        assert!(broken.is_empty(), "{}\n(/out is {})", broken.join("\n"), audited.out.display());
    }
}

mod evasions_that_are_open {
    use super::*;

    #[test]
    fn security_md_shows_the_list() {
        let (shown, wanted) = open::in_security_md().expect("SECURITY.md");
        assert!(shown == wanted, "INTERDICT_BLESS=1 cargo xtask test evasions_that_are_open");
    }
}
