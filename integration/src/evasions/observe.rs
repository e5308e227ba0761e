//! Boots a guest, tries every technique in it, and answers what each came to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xtask::run;
use xtask::vm::Guest;

use super::tried::{self, Outcome, Technique, Tried};
use super::{ground, policy};

/// Where guests without hardware help may need long.
const LIMIT: Duration = Duration::from_secs(1500);

/// As guests are configured, and the agent protects itself.
const CONFIG: &str = "interfaces: [all]\nprotect: on\nsinks:\n  - file: { path: /out/alerts.ndjson, max_bytes: 0 }\n";

/// What came of a technique in one place with a policy, and what was told while it was at it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What came of it.
    pub outcome: Outcome,
    /// Decisions told in that time: rule, verdict, what enforcing would have done.
    pub told: Vec<(String, String, String)>,
}

/// What came of all techniques on one kernel.
#[derive(Debug)]
pub struct Observed {
    /// The list.
    pub techniques: Vec<Technique>,
    /// Without the agent, by name; empty if that was not asked for.
    pub control: BTreeMap<String, Outcome>,
    /// With it, by name and place.
    pub seen: BTreeMap<(String, String), Seen>,
    /// The guest's `/out`, here.
    pub out: PathBuf,
}

/// Without the agent first and then with it and the policy in force, in one guest.
pub fn enforced(kernel: &str, init: &Path) -> Result<Observed> {
    let before = [
        ground::wire(),
        ground::begin("vault"),
        ground::run_all("vault", "/out/control.ndjson"),
        ground::begin("both"),
    ];
    observe(kernel, init, "enforce", &before, "both")
}

/// With the agent, the same rules only telling what they would do.
pub fn audited(kernel: &str, init: &Path) -> Result<Observed> {
    let before = [ground::wire(), ground::begin("vault")];
    observe(kernel, init, "audit", &before, "vault")
}

fn observe(
    kernel: &str,
    init: &Path,
    mode: &str,
    before: &[String],
    places: &str,
) -> Result<Observed> {
    let agent = run::built_agent()?;
    let guest = ground::guest(kernel, init)?;
    let policies = tempfile::tempdir()?;
    fs::write(policies.path().join("evasions.yaml"), policy::text(&agent, mode)?)?;
    let guest = guest
        .agent(&agent)
        .policies(policies.path())
        .config_text(CONFIG)
        .before(&before.join(" && "))
        .timeout(LIMIT);
    let out = done(&guest, &ground::run_all(places, "/out/seen.ndjson"))?;
    let programs = run::static_programs("evasion")?;
    let list = run::text(Command::new(programs.join("evasion")).arg("list"))?;
    let control = out.join("control.ndjson");
    let control = if control.exists() { tried::tried(&control)? } else { Vec::new() };
    let told = decisions(&out.join("alerts.ndjson"))?;
    let seen = tried::tried(&out.join("seen.ndjson"))?;
    Ok(Observed {
        techniques: tried::techniques(&list)?,
        control: control.into_iter().map(|tried| (tried.name, tried.outcome)).collect(),
        seen: seen.into_iter().map(|tried| joined(tried, &told)).collect(),
        out,
    })
}

fn done(guest: &Guest, command: &str) -> Result<PathBuf> {
    let outcome = guest.run(&["sh", "-c", command])?;
    anyhow::ensure!(outcome.status == 0, "ended with {}: {}", outcome.status, outcome.output);
    Ok(outcome.out)
}

/// Stands for the rule of what is refused because it would end the agent or its programs.
const TAMPERING: &str = "EV-TAMPERING";

/// A decision that was told.
#[derive(Debug)]
struct Decision {
    /// Nanoseconds since boot.
    time: u64,
    rule: String,
    verdict: String,
    would: String,
    /// Whoever did it, or an ancestor, was started for the twin.
    for_twin: bool,
}

impl Decision {
    fn told(&self) -> (String, String, String) {
        (self.rule.clone(), self.verdict.clone(), self.would.clone())
    }

    /// Packets are told of once in a second for each rule and peer; further ones are counted.
    fn speaks_until(&self) -> u64 {
        self.time + if self.is_of_packets() { 1_000_000_000 } else { 0 }
    }

    fn is_of_packets(&self) -> bool {
        self.rule.contains("-PACKET-")
    }
}

fn decisions(file: &Path) -> Result<Vec<Decision>> {
    let lines = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut decisions = Vec::new();
    for line in lines.lines() {
        let alert: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tampering = alert["notice"]["name"] == "tampering";
        if !tampering && alert["kind"] != "decision" {
            continue;
        }
        let time = text(&alert["time_boot_ns"]).parse().context("the time of an alert")?;
        let for_twin = line.contains("\"plain\"]");
        if tampering {
            let (verdict, would) = ("block".to_owned(), "block".to_owned());
            let rule = TAMPERING.to_owned();
            decisions.push(Decision { time, rule, verdict, would, for_twin });
        }
        for rule in alert["rules"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let (verdict, would) =
                (text(&alert["decision"]["verdict"]), text(&alert["decision"]["would"]));
            decisions.push(Decision { time, rule: text(&rule["id"]), verdict, would, for_twin });
        }
    }
    Ok(decisions)
}

/// Techniques are done one after another, so what was told while one was at it is about it; a connection that was
/// refused goes on asking for a while, so of the twin only counts what is told of its processes.
fn joined(tried: Tried, told: &[Decision]) -> ((String, String), Seen) {
    let (from, to) = tried.time;
    let twin = tried.place == "plain";
    // Connections that were refused go on asking while others are at it.
    let sends = ["in-", "out-", "before-"].iter().any(|class| tried.name.starts_with(class));
    let told = told
        .iter()
        .filter(|one| one.rule.starts_with("EV-") && one.time <= to && one.speaks_until() >= from)
        .filter(|one| !twin || one.for_twin)
        .filter(|one| sends || !one.is_of_packets())
        .map(Decision::told)
        .collect();
    ((tried.name, tried.place), Seen { outcome: tried.outcome, told })
}
