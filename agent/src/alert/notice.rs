//! What the agent tells about itself, in the same stream and of the same model as decisions.
//!
//! So that silence can be told from peace: a start, a stop, a change of policy, every loss, a canary that was not
//! refused, a sink that is down, and a regular sign of life with the last sequence number.

use std::collections::BTreeMap;

use interdict_rules::meta::Severity;
use serde_json::Value;

use super::{
    build::{Scene, blank},
    model::{Alert, Kind, NoticeInfo, Word},
    text,
};

/// Something the agent has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The agent runs.
    Started {
        /// Agent-wide mode.
        mode: String,
        /// Public key of the stream, base64.
        public_key: String,
        /// How the last run ended: `clean`, `unclean`, or `none` if there was none in this spool.
        previous: &'static str,
    },
    /// The agent stops; enforcement goes on if it is pinned.
    Stopped {
        /// Why.
        reason: String,
    },
    /// Another policy is in force.
    PolicyChanged {
        /// Its generation.
        generation: u32,
        /// SHA-256 of its image, hex.
        digest: String,
        /// How many rules it has.
        rules: usize,
    },
    /// A new policy was refused; the old one stays in force.
    PolicyRefused {
        /// Why.
        reason: String,
    },
    /// Records or alerts were lost since the last such notice.
    Losses {
        /// How many, by reason.
        counts: BTreeMap<String, u64>,
    },
    /// The kernel side met faults since the last such notice: acts were decided with something unknown.
    Faults {
        /// How many, by reason.
        counts: BTreeMap<String, u64>,
    },
    /// An act that must be refused was not: enforcement is broken.
    CanaryFailed {
        /// Which canary.
        canary: String,
        /// What happened instead.
        detail: String,
    },
    /// It is refused again.
    CanaryRecovered {
        /// Which canary.
        canary: String,
    },
    /// A sink takes no alerts; they wait in the spool.
    SinkDown {
        /// Which.
        sink: String,
        /// What it last answered.
        reason: String,
    },
    /// It takes them again.
    SinkUp {
        /// Which.
        sink: String,
    },
    /// Alerts left the spool before a sink had them.
    SpoolOverrun {
        /// Which sink.
        sink: String,
        /// First sequence number it will not get.
        first: u64,
        /// Last one.
        last: u64,
    },
    /// A sink refused an alert for good; it is in the dead letters.
    DeadLetter {
        /// Which sink.
        sink: String,
        /// Sequence number of the alert.
        seq: u64,
        /// Why.
        reason: String,
    },
    /// Damage was found in the spool.
    SpoolDamaged {
        /// Bytes that held no readable record.
        bytes: u64,
        /// In which segment.
        segment: String,
    },
    /// A regular sign of life.
    Alive {
        /// Alerts in this stream so far.
        alerts: u64,
        /// Generation in force.
        generation: u32,
    },
    /// From the next alert on, another key signs. This is the last alert of the old key.
    KeyRotated {
        /// New public key, base64.
        public_key: String,
    },
    /// Repeats of one rule and subject that were not told one by one.
    Repeated {
        /// Rule id.
        rule: String,
        /// What they had in common.
        subject: String,
        /// How many were held back.
        count: u64,
        /// Time of the first, RFC 3339.
        first: String,
        /// Time of the last.
        last: String,
        /// Counted by a run that did not end in order.
        interrupted: bool,
        /// The kernel's row of this subject, and how many it has counted ever: what is told again after a restart of the
        /// agent has the same row, and a number that is at least as high.
        row: Option<(String, u64)>,
    },
    /// Anything else a stage of the agent has to tell.
    Other {
        /// Name, a word with dashes.
        name: &'static str,
        /// How bad.
        severity: Severity,
        /// One sentence.
        message: String,
        /// Particulars.
        detail: BTreeMap<String, String>,
    },
}

impl Notice {
    /// The name it has in alerts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Stopped { .. } => "stopped",
            Self::PolicyChanged { .. } => "policy-changed",
            Self::PolicyRefused { .. } => "policy-refused",
            Self::Losses { .. } => "losses",
            Self::Faults { .. } => "faults",
            Self::CanaryFailed { .. } => "canary-failed",
            Self::CanaryRecovered { .. } => "canary-recovered",
            Self::SinkDown { .. } => "sink-down",
            Self::SinkUp { .. } => "sink-up",
            Self::SpoolOverrun { .. } => "spool-overrun",
            Self::DeadLetter { .. } => "dead-letter",
            Self::SpoolDamaged { .. } => "spool-damaged",
            Self::Alive { .. } => "alive",
            Self::KeyRotated { .. } => "key-rotated",
            Self::Repeated { .. } => "repeated",
            Self::Other { name, .. } => name,
        }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::CanaryFailed { .. } => Severity::Critical,
            Self::Losses { .. } | Self::SpoolOverrun { .. } | Self::SpoolDamaged { .. } => {
                Severity::High
            }
            Self::Started { previous: "unclean", .. }
            | Self::Stopped { .. }
            | Self::PolicyRefused { .. }
            | Self::Faults { .. }
            | Self::SinkDown { .. }
            | Self::DeadLetter { .. } => Severity::Medium,
            Self::PolicyChanged { .. } | Self::KeyRotated { .. } | Self::CanaryRecovered { .. } => {
                Severity::Low
            }
            Self::Started { .. }
            | Self::SinkUp { .. }
            | Self::Alive { .. }
            | Self::Repeated { .. } => Severity::Info,
            Self::Other { severity, .. } => *severity,
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Started { mode, .. } => format!("interdict started in mode {mode}"),
            Self::Stopped { reason } => format!("interdict stops: {reason}"),
            Self::PolicyChanged { generation, rules, .. } => {
                format!("policy generation {generation} with {rules} rules is in force")
            }
            Self::PolicyRefused { reason } => {
                format!("a new policy was refused, the old one stays in force: {reason}")
            }
            Self::Losses { counts } => format!("lost, by reason: {}", list(counts)),
            Self::Faults { counts } => {
                format!("decided without knowing everything, by reason: {}", list(counts))
            }
            Self::CanaryFailed { canary, detail } => {
                format!("enforcement is broken: canary {canary} was not refused: {detail}")
            }
            Self::CanaryRecovered { canary } => format!("canary {canary} is refused again"),
            Self::SinkDown { sink, reason } => {
                format!("sink {sink} takes no alerts, they wait in the spool: {reason}")
            }
            Self::SinkUp { sink } => format!("sink {sink} takes alerts again"),
            Self::SpoolOverrun { sink, first, last } => {
                format!("alerts {first} to {last} left the spool before sink {sink} had them")
            }
            Self::DeadLetter { sink, seq, reason } => {
                format!("sink {sink} refused alert {seq} for good: {reason}")
            }
            Self::SpoolDamaged { bytes, segment } => {
                format!("{bytes} bytes of spool segment {segment} could not be read")
            }
            Self::Alive { alerts, generation } => {
                format!("alive: {alerts} alerts so far, policy generation {generation}")
            }
            Self::KeyRotated { .. } => "the next alert is signed by another key".to_owned(),
            Self::Repeated { rule, subject, count, .. } => {
                format!("{count} more of rule {rule} for {subject}")
            }
            Self::Other { message, .. } => message.clone(),
        }
    }

    fn detail(&self) -> BTreeMap<String, Value> {
        let pairs: Vec<(&str, Value)> = match self {
            Self::Started { mode, public_key, previous } => vec![
                ("mode", mode.as_str().into()),
                ("public_key", public_key.as_str().into()),
                ("previous_run", (*previous).into()),
            ],
            Self::Stopped { reason } | Self::PolicyRefused { reason } => {
                vec![("reason", reason.as_str().into())]
            }
            Self::PolicyChanged { generation, digest, rules } => vec![
                ("generation", (*generation).into()),
                ("digest", digest.as_str().into()),
                ("rules", (*rules).into()),
            ],
            Self::Losses { counts } | Self::Faults { counts } => {
                let counts = counts.iter().map(|(reason, count)| (reason.clone(), (*count).into()));
                vec![("counts", Value::Object(counts.collect()))]
            }
            Self::CanaryFailed { canary, detail } => {
                vec![("canary", canary.as_str().into()), ("detail", detail.as_str().into())]
            }
            Self::CanaryRecovered { canary } => vec![("canary", canary.as_str().into())],
            Self::SinkDown { sink, reason } => {
                vec![("sink", sink.as_str().into()), ("reason", reason.as_str().into())]
            }
            Self::SinkUp { sink } => vec![("sink", sink.as_str().into())],
            Self::SpoolOverrun { sink, first, last } => vec![
                ("sink", sink.as_str().into()),
                ("first", (*first).into()),
                ("last", (*last).into()),
            ],
            Self::DeadLetter { sink, seq, reason } => vec![
                ("sink", sink.as_str().into()),
                ("seq", (*seq).into()),
                ("reason", reason.as_str().into()),
            ],
            Self::SpoolDamaged { bytes, segment } => {
                vec![("bytes", (*bytes).into()), ("segment", segment.as_str().into())]
            }
            Self::Alive { alerts, generation } => {
                vec![("alerts", (*alerts).into()), ("generation", (*generation).into())]
            }
            Self::KeyRotated { public_key } => vec![("public_key", public_key.as_str().into())],
            Self::Repeated { rule, subject, count, first, last, interrupted, row } => {
                let mut pairs = vec![
                    ("rule", rule.as_str().into()),
                    ("subject", subject.as_str().into()),
                    ("count", (*count).into()),
                    ("first", first.as_str().into()),
                    ("last", last.as_str().into()),
                    ("interrupted", (*interrupted).into()),
                ];
                if let Some((row, total)) = row {
                    pairs.push(("row", row.as_str().into()));
                    pairs.push(("total", (*total).into()));
                }
                pairs
            }
            Self::Other { detail, .. } => {
                return detail.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
            }
        };
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The alert that tells it.
    pub fn alert(&self, scene: &Scene, boot_ns: u64) -> Alert {
        let mut alert = blank(scene, Kind::Agent, boot_ns);
        alert.severity = self.severity();
        text::for_people(&mut alert.message, &self.sentence());
        alert.notice =
            Some(NoticeInfo { detail: self.detail(), name: Word::Borrowed(self.name()) });
        alert
    }
}

fn list(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    parts.join(", ")
}
