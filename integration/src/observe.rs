//! Boots one guest, does every case's steps in it without and then with the agent, and answers what happened.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::act::{Outcome, Step};
use xtask::run;
use xtask::vm::Guest;
use xtask::vm::command::CONFIG;

use crate::alerts::{self, Told};
use crate::case::Case;
use crate::ground;

/// What happened on one kernel.
#[derive(Debug)]
pub struct Observed {
    /// Outcomes without the agent, by step.
    pub control: BTreeMap<String, Outcome>,
    /// Outcomes with it.
    pub enforced: BTreeMap<String, Outcome>,
    /// What was told, in order.
    pub alerts: Vec<Told>,
    /// What `interdict verify` said if the stream is whole, or why it is not.
    pub verified: Result<String, String>,
    /// The guest's `/out`, here.
    pub out: PathBuf,
}

/// One policy with the rules of all cases.
pub fn policy(cases: &[Case]) -> String {
    let mut text = String::from(
        "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: { name: cases }\nspec:\n  mode: enforce\n  rules:\n",
    );
    for case in cases {
        for line in case.rules.lines().filter(|line| !line.is_empty()) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// A guest of a kernel of [`KERNELS`] with the agent in it, and this policy, alone. `init` as for [`observe`].
///
/// # Panics
/// If there is no such kernel or the agent doesn't build: there is no test then.
pub fn guarded(kernel: &str, init: &str, policy: &str) -> Guest {
    assert!(KERNELS.contains(&kernel), "{kernel} is not one of those that tests are about");
    Guest::new(kernel, init)
        .expect("a kernel")
        .agent(run::built_agent().expect("the agent builds"))
        .file(POLICY_FILE, 0o644, policy)
}

fn outcomes(file: &Path) -> Result<BTreeMap<String, Outcome>> {
    let text = fs::read(file).with_context(|| file.display().to_string())?;
    let pairs: Vec<(String, Outcome)> = serde_json::from_slice(&text)?;
    Ok(pairs.into_iter().collect())
}

/// Does the cases on one kernel. `init` is the program of [`xtask::vm::Guest::new`].
pub fn observe(kernel: &str, init: &Path, cases: &[Case]) -> Result<Observed> {
    observe_with(kernel, init, cases, CONFIG, &[])
}

/// The same with another configuration of the agent, and more in its environment.
pub fn observe_with(
    kernel: &str,
    init: &Path,
    cases: &[Case],
    config: &str,
    environment: &[(&str, &str)],
) -> Result<Observed> {
    let agent = run::built_agent()?;
    let policies = tempfile::tempdir()?;
    fs::write(policies.path().join("cases.yaml"), policy(cases))?;
    let script: Vec<Step> =
        cases.iter().flat_map(|case| &case.steps).map(|expected| expected.step.clone()).collect();
    let mut guest = ground::guest(kernel, init, &script)?;
    for (name, value) in environment {
        guest = guest.environment(name, value);
    }
    let outcome = guest
        .agent(&agent)
        .policies(policies.path())
        .config_text(config)
        .before(&ground::before("/out/control.json"))
        .run(&["sh", "-c", &ground::perform_and_keep_key("/out/enforced.json")])?;
    anyhow::ensure!(
        outcome.status == 0,
        "the acts ended with {}: {}",
        outcome.status,
        outcome.output
    );
    let out = outcome.out;
    Ok(Observed {
        control: outcomes(&out.join("control.json"))?,
        enforced: outcomes(&out.join("enforced.json"))?,
        alerts: alerts::decisions(&out.join("alerts.ndjson"))?,
        verified: run::text(
            Command::new(&agent)
                .args(["verify", "--from-start", "--key"])
                .arg(out.join("agent.pub"))
                .arg(out.join("alerts.ndjson")),
        )
        .map_err(|error| format!("{error:#}")),
        out,
    })
}

/// The kernels that cases are tried on, by short name.
pub const KERNELS: &[&str] = &["6.1", "6.12", "newest"];

/// Where the policy of a [`guarded`] guest is.
pub const POLICY_FILE: &str = "/etc/interdict/policies/policy.yaml";

/// Fails, saying what is wrong, if one of several cases is not as promised.
///
/// # Panics
/// A promise is broken.
#[track_caller]
pub fn all_promises_hold(cases: &[Case], observed: &Observed) {
    let of_case = |case: &Case| -> Vec<String> {
        let name = |line| format!("{}: {line}", case.name);
        broken_promises(case, observed).into_iter().map(name).collect()
    };
    let broken: Vec<String> = cases.iter().flat_map(of_case).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Says what is wrong with one case on one kernel; nothing if all is as promised.
pub fn broken_promises(case: &Case, observed: &Observed) -> Vec<String> {
    let mut broken = Vec::new();
    for expected in &case.steps {
        let step = &expected.step;
        let found = |outcomes: &BTreeMap<String, Outcome>| {
            outcomes.get(&step.name).map_or_else(|| "not done".to_owned(), ToString::to_string)
        };
        if observed.control.get(&step.name) != Some(&Outcome::Passed) {
            broken.push(format!("without the agent, {}: {}", step.act, found(&observed.control)));
        }
        if observed.enforced.get(&step.name) != Some(&expected.outcome) {
            broken.push(format!(
                "{}: expected to be {}, was {}",
                step.act,
                expected.outcome,
                found(&observed.enforced)
            ));
        }
        for told in &expected.told {
            let of_rule: Vec<&Told> = observed
                .alerts
                .iter()
                .filter(|alert| alert.rules.iter().any(|rule| rule == told.rule))
                .collect();
            if !of_rule
                .iter()
                .any(|alert| alert.verdict == told.verdict && alert.would == told.would)
            {
                broken.push(format!(
                    "{}: expected to be told by {} as {} (would {}), told were {of_rule:?}",
                    step.act, told.rule, told.verdict, told.would
                ));
            }
            // A twin that is told, or an act told twice, shows here.
            let (count, expected) = (of_rule.len(), case.alerts_of(told.rule));
            if count < expected || count > expected && !case.repeats {
                broken.push(format!("{} was told {count} times, expected {expected}", told.rule));
            }
        }
    }
    broken
}
