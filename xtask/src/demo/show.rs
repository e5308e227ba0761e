//! Puts what was expected, what the kernel did and what arrived side by side.

use std::collections::BTreeMap;
use std::fs;
use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::acts::Shown;
use crate::act::{Outcome, Step};

/// What came of the run.
#[derive(Debug)]
pub(super) struct Evidence {
    /// Outcomes without the agent.
    pub(super) control: BTreeMap<String, Outcome>,
    /// Outcomes with it.
    pub(super) enforced: BTreeMap<String, Outcome>,
    /// What the receiver got.
    pub(super) received: String,
    /// Whether `interdict verify` proved it.
    pub(super) verified: bool,
    /// In its words.
    pub(super) verify_said: String,
}

/// Reads what the performer wrote.
pub(super) fn outcomes(file: &Path) -> Result<BTreeMap<String, Outcome>> {
    let text = fs::read(file).with_context(|| file.display().to_string())?;
    let pairs: Vec<(String, Outcome)> = serde_json::from_slice(&text)?;
    Ok(pairs.into_iter().collect())
}

struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn judged(&self, good: bool, expected: &str) -> String {
        if good {
            self.with("32", "as expected")
        } else {
            self.with("1;31", &format!("EXPECTED {expected}"))
        }
    }
}

/// Prints everything; answers whether all was as expected.
pub(super) fn show(acts: &[Shown], evidence: &Evidence) -> bool {
    let paint = Paint(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let alerts: Vec<Value> =
        evidence.received.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut good = 0;
    let mut checks = 0;
    let mut count = |held: bool| {
        checks += 1;
        good += usize::from(held);
    };
    println!();
    for (index, shown) in acts.iter().enumerate() {
        println!(
            "{}",
            paint.with("1", &format!("{}. {}: {}", index + 1, shown.why, shown.refused.act))
        );
        let line =
            |outcomes: &BTreeMap<String, Outcome>, step: &Step, label: &str, expected: &Outcome| {
                let found = outcomes.get(&step.name);
                let held = found == Some(expected);
                let said = found.map_or_else(|| "not tried".to_owned(), ToString::to_string);
                println!("   {label:<22} {said:<22} {}", paint.judged(held, &expected.to_string()));
                held
            };
        count(line(&evidence.control, &shown.refused, "without the agent", &Outcome::Passed));
        count(line(&evidence.enforced, &shown.refused, "with the agent", &shown.outcome));
        let alert = alerts.iter().find(|alert| is_about(alert, shown));
        match alert {
            Some(alert) => println!("   {:<22} {}", "alert over HTTPS", summary(alert)),
            None => println!(
                "   {:<22} {:<22} {}",
                "alert over HTTPS",
                "none",
                paint.judged(false, "an alert of a block")
            ),
        }
        count(alert.is_some());
        println!("   {}", paint.with("2", &format!("its twin: {}", shown.twin.act)));
        count(line(&evidence.control, &shown.twin, "without the agent", &Outcome::Passed));
        count(line(&evidence.enforced, &shown.twin, "with the agent", &Outcome::Passed));
        println!();
    }
    println!(
        "The {} alerts that arrived: {} {}",
        alerts.len(),
        evidence.verify_said.trim(),
        paint.judged(evidence.verified, "a whole and signed stream")
    );
    count(evidence.verified);
    let said = format!("{good} of {checks} as expected");
    println!("{}", paint.with(if good == checks { "1;32" } else { "1;31" }, &said));
    good == checks
}

fn is_about(alert: &Value, shown: &Shown) -> bool {
    let of_rule = alert["rules"]
        .as_array()
        .is_some_and(|rules| rules.iter().any(|rule| rule["id"] == shown.rule));
    let told = alert["message"].as_str().is_some_and(|message| message.contains(shown.in_message));
    alert["kind"] == "decision" && alert["decision"]["verdict"] == "block" && of_rule && told
}

fn summary(alert: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rules: Vec<String> = alert["rules"]
        .as_array()
        .map(|rules| rules.iter().map(|rule| text(&rule["id"])).collect())
        .unwrap_or_default();
    format!(
        "#{} {} [{}] {}",
        alert["seq"],
        rules.join(" "),
        text(&alert["severity"]),
        text(&alert["message"])
    )
}
