//! Alerts as the agent wrote them: one JSON object per line.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// What a test asks an alert for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Rules that matched.
    pub rules: Vec<String>,
    /// What was done.
    pub verdict: String,
    /// What enforcing everything would have done.
    pub would: String,
    /// `enforce` or `audit`.
    pub mode: String,
    /// The error number the caller got.
    pub errno: Option<u64>,
    /// The sentence.
    pub message: String,
}

/// Everything that was told in a guest, by its `/out` here.
///
/// # Panics
/// If something is not JSON, or nothing was told to a file: there is no test then.
pub fn lines(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("alerts.ndjson")).expect("alerts");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Decisions in a file, in order; what the agent says about itself is left out.
pub fn decisions(file: &Path) -> Result<Vec<Told>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut decisions = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let alert: Value = serde_json::from_str(line)
            .with_context(|| format!("{}:{}", file.display(), index + 1))?;
        if alert["kind"] == "decision" {
            decisions.push(told(&alert));
        }
    }
    Ok(decisions)
}

fn told(alert: &Value) -> Told {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rules = alert["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    Told {
        rules: rules.iter().map(|rule| text(&rule["id"])).collect(),
        verdict: text(&alert["decision"]["verdict"]),
        would: text(&alert["decision"]["would"]),
        mode: text(&alert["decision"]["mode"]),
        errno: alert["decision"]["errno"].as_u64(),
        message: text(&alert["message"]),
    }
}
