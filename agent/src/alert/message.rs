//! The sentence of an alert: a rule's template with its holes filled, or a plain default.
//!
//! `{field}` is replaced by the field's text, `{{` and `}}` are braces; a field that the alert doesn't have reads
//! `(unknown)`. What is filled in comes from an attacker, so control characters and the like are escaped; a sentence
//! is one line.

use std::fmt::Write as _;

use super::{fields, model::Alert, text};

/// Longest sentence, in bytes.
const SENTENCE_BYTES: usize = 8 << 10;

/// Longest value that is filled into a hole, in characters.
const VALUE_CHARACTERS: usize = 512;

/// A template, read once per rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Words(String),
    Field(String),
}

impl Template {
    /// Reads a template. Whatever is not a hole stays as it is.
    pub fn parse(source: &str) -> Self {
        let mut parts = Vec::new();
        let mut words = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            words.push_str(before);
            let doubled = from.starts_with("{{") || from.starts_with("}}");
            let hole = from.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            if doubled {
                words.push_str(&from[..1]);
                rest = &from[2..];
            } else if let Some((name, after)) = hole {
                parts.push(Part::Words(std::mem::take(&mut words)));
                parts.push(Part::Field(name.trim().to_owned()));
                rest = after;
            } else {
                words.push_str(&from[..1]);
                rest = &from[1..];
            }
        }
        words.push_str(rest);
        parts.push(Part::Words(words));
        parts.retain(|part| *part != Part::Words(String::new()));
        Self { parts }
    }

    /// Fills the holes from an alert.
    pub fn fill(&self, alert: &Alert) -> String {
        let mut sentence = String::with_capacity(128);
        for part in &self.parts {
            if sentence.len() > SENTENCE_BYTES {
                sentence.push_str("...");
                break;
            }
            match part {
                Part::Words(words) => text::for_people(&mut sentence, words),
                Part::Field(name) => push_field(&mut sentence, alert, name),
            }
        }
        sentence
    }
}

fn push_field(sentence: &mut String, alert: &Alert, name: &str) {
    match fields::value(alert, name) {
        Some(value) => {
            let end = end_of(&value, VALUE_CHARACTERS);
            text::for_people(sentence, &value[..end]);
            if end < value.len() {
                sentence.push_str("...");
            }
        }
        None => sentence.push_str("(unknown)"),
    }
}

/// Where the first so many characters of a text end.
fn end_of(text: &str, characters: usize) -> usize {
    // A character is a byte at least.
    if text.len() <= characters {
        return text.len();
    }
    text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at)
}

/// The sentence for a rule without a template, or a decision without a known rule.
pub fn default_sentence(alert: &Alert) -> String {
    let mut sentence = String::with_capacity(128);
    let decision = alert.decision.as_ref();
    let verdict = decision.map_or("", |decision| decision.verdict.as_ref());
    let would = decision.map_or("", |decision| decision.would.as_ref());
    sentence.push_str(match (verdict, would) {
        ("block", _) => "blocked: ",
        ("kill", _) => "killed: ",
        (_, "block") => "would have blocked: ",
        (_, "kill") => "would have killed: ",
        _told => "seen: ",
    });
    if let Some(process) = &alert.process {
        match &process.exe {
            Some(_) => push_field(&mut sentence, alert, "process.exe"),
            None => push_field(&mut sentence, alert, "process.name"),
        }
        let _infallible = write!(sentence, " (pid {}, uid {}) ", process.pid, process.uid);
    }
    for (index, act) in alert.acts.iter().enumerate() {
        if index > 0 {
            sentence.push('+');
        }
        sentence.push_str(act);
    }
    push_object(&mut sentence, alert);
    sentence
}

fn push_object(sentence: &mut String, alert: &Alert) {
    let object = object_text(alert);
    if !object.is_empty() {
        sentence.push(' ');
        text::for_people(sentence, &object[..end_of(&object, 4 * VALUE_CHARACTERS)]);
    }
}

/// What was acted on, in few words: a path, a flow, a process. Not made safe to show.
pub fn object_text(alert: &Alert) -> String {
    let Some(object) = &alert.object else { return String::new() };
    let mut parts: Vec<String> = Vec::new();
    parts.extend(object.path.clone());
    parts.extend(object.dns_name.clone());
    parts.extend(object.second_path.as_ref().map(|path| format!("-> {path}")));
    if let Some(flow) = &object.flow
        && let Some(ip) = &flow.remote_ip
    {
        parts.push(match flow.remote_port {
            Some(port) if ip.contains(':') => format!("[{ip}]:{port}"),
            Some(port) => format!("{ip}:{port}"),
            None => ip.clone(),
        });
    }
    parts.extend(
        object.syscall.as_ref().map(|call| format!("{}({})", call.name, call.arguments.join(", "))),
    );
    parts.extend(object.target_pid.map(|pid| format!("of process {pid}")));
    if !object.args.is_empty() {
        parts.push(format!("with arguments {}", object.args.join(" ")));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_read_with_holes_braces_and_odd_ends() {
        let template = Template::parse("a {process.exe} {{x}} } {open");
        assert_eq!(
            template.parts,
            [
                Part::Words("a ".into()),
                Part::Field("process.exe".into()),
                Part::Words(" {x} } {open".into())
            ]
        );
    }
}
