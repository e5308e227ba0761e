//! What a technique says of itself and what came of it, read from its lines.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// A technique, as the program lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Technique {
    /// Its name.
    pub name: String,
    /// What it is after.
    pub class: String,
    /// `must`, `should` or `document`.
    pub grade: String,
    /// It begins before rules are in force.
    pub early: bool,
}

/// What came of one technique in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The protected thing was had.
    Reached,
    /// It was not: an error number, a signal, or silence.
    Refused {
        /// What the step that failed was answered.
        errno: Option<i64>,
        /// What ended it.
        signal: Option<i64>,
    },
    /// The kernel has not what it needs.
    Unsupported(String),
    /// It went wrong in a way that proves nothing.
    Error(String),
}

/// One line.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The technique.
    pub name: String,
    /// `vault` or `plain`.
    pub place: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Nanoseconds since boot, before and after.
    pub time: (u64, u64),
}

/// The program's list.
pub fn techniques(lines: &str) -> Result<Vec<Technique>> {
    lines
        .lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            Ok(Technique {
                name: text("technique"),
                class: text("class"),
                grade: text("grade"),
                early: value["early"] == true,
            })
        })
        .collect()
}

/// What was told in a file.
pub fn tried(file: &Path) -> Result<Vec<Tried>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    text.lines().map(one).collect()
}

fn one(line: &str) -> Result<Tried> {
    let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let outcome = match value["outcome"].as_str() {
        Some("reached") => Outcome::Reached,
        Some("refused") => {
            Outcome::Refused { errno: value["errno"].as_i64(), signal: value["signal"].as_i64() }
        }
        Some("unsupported") => Outcome::Unsupported(text("reason")),
        Some("error") => Outcome::Error(text("reason")),
        other => bail!("the outcome {other:?} in {line}"),
    };
    let time = |name: &str| value[name].as_u64().with_context(|| line.to_owned());
    let time = (time("from_ns")?, time("to_ns")?);
    Ok(Tried { name: text("technique"), place: text("place"), outcome, time })
}
