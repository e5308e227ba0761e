//! `BENCHMARKS.md`, made of the records and of what people wrote around them in `bench/BENCHMARKS.md.in`.
//!
//! A line of the template that is `{{name}}` becomes a table. Every table says of which commit and when it is; nothing on
//! the page is typed from a terminal. A test holds the page against the records.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail};

use super::guest::BARE;
use super::record::{Figure, Record};
use super::targets::{Limit, TARGETS};
use super::{plots, record};
use crate::paths;

/// Writes page and plots.
pub(super) fn write() -> Result<()> {
    let records = record::all(&record::folder())?;
    fs::write(paths::root().join("BENCHMARKS.md"), page(&records)?)?;
    plots::draw(&records, &paths::root().join("bench/plots"))
}

/// The page's text.
fn page(records: &[Record]) -> Result<String> {
    let template = paths::root().join("bench/BENCHMARKS.md.in");
    let template = fs::read_to_string(&template).with_context(|| template.display().to_string())?;
    let mut page = String::new();
    for line in template.lines() {
        let name = line.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        match name.map(|name| name.split_once(' ').unwrap_or((name, ""))) {
            None => page.push_str(line),
            Some(("targets", _)) => page.push_str(&targets(records)),
            Some(("guest", kernel)) => page.push_str(&guest(records, kernel)),
            Some(("storm", kernel)) => page.push_str(&storm(records, kernel)),
            Some(("figures", bench)) => page.push_str(&figures(records, bench)),
            Some(("records", _)) => page.push_str(&list(records)),
            Some((other, _)) => bail!("the template asks for `{other}`, which nobody knows"),
        }
        page.push('\n');
    }
    Ok(page)
}

fn newest<'a>(records: &'a [Record], bench: &str, kernel: &str) -> Option<&'a Record> {
    let about = |record: &&Record| {
        record.bench == bench
            && (kernel.is_empty() || record.kernel.split(' ').next() == Some(kernel))
    };
    records.iter().rev().find(about)
}

fn origin(record: &Record) -> String {
    let mut text = format!(
        "*{}, commit `{}`, kernel {}, {} processors ({}), load {:.1} to {:.1}.*",
        record.taken,
        record.commit,
        record.kernel,
        record.machine.processors,
        record.machine.processor,
        record.machine.load[0],
        record.machine.load[1]
    );
    for note in &record.notes {
        let _ = write!(text, " **{note}.**");
    }
    text
}

/// Figures with the digits that mean something, thousands apart.
pub(super) fn number(value: f64) -> String {
    if value.abs() < 100.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 && digits != "0" { format!("-{text}") } else { text }
}

fn added(value: f64) -> String {
    if value >= 0.0 { format!("+{}", number(value)) } else { number(value) }
}

fn targets(records: &[Record]) -> String {
    let mut text = String::from("| what | interdict | target | | others |\n|---|---|---|---|---|");
    for target in TARGETS {
        let held = target.held(records);
        let adds =
            matches!(target.limit, Limit::Adds(_) | Limit::AddsNothing | Limit::AddsTimes(..));
        let shown = |value: f64| if adds { added(value) } else { number(value) };
        let (value, limit, word) = match held {
            Some(held) => {
                (shown(held.value), shown(held.limit), if held.met { "met" } else { "**not met**" })
            }
            None => ("not measured".to_owned(), String::new(), ""),
        };
        let _ =
            write!(text, "\n| {} | {value} | {limit} | {word} | {} |", target.what, target.peers);
    }
    text
}

/// Setups across, operations down: without an agent what it costs, with one what that adds, with its spread.
fn guest(records: &[Record], kernel: &str) -> String {
    let Some(record) = newest(records, "guest", kernel) else {
        return "Not measured yet.".to_owned();
    };
    let mut setups: Vec<&str> = Vec::new();
    let mut names: Vec<(&str, &str)> = Vec::new();
    for figure in record.figures.iter().filter(|figure| !figure.name.starts_with("passed/")) {
        if !setups.contains(&figure.setup.as_str()) {
            setups.push(&figure.setup);
        }
        if !names.contains(&(&figure.name, &figure.unit)) {
            names.push((&figure.name, &figure.unit));
        }
    }
    let find = |name: &str, setup: &str| {
        record.figures.iter().find(|figure| figure.name == name && figure.setup == setup)
    };
    let mut text = format!("{}\n\n| | |", origin(record));
    setups.iter().for_each(|setup| {
        let _ = write!(text, " {setup} |");
    });
    text.push_str("\n|---|---|");
    setups.iter().for_each(|_| text.push_str("---:|"));
    for (name, unit) in names {
        let _ = write!(text, "\n| {name} | {unit} |");
        for setup in &setups {
            let cell = match (find(name, setup), find(name, BARE)) {
                (None, _) => String::new(),
                (Some(figure), Some(bare)) if *setup != BARE => {
                    added(figure.median - bare.median) + &spread(figure)
                }
                (Some(figure), _) => number(figure.median) + &spread(figure),
            };
            let _ = write!(text, " {cell} |");
        }
    }
    text
}

fn spread(figure: &Figure) -> String {
    let half = (figure.high - figure.low) / 2.0;
    if half == 0.0 { String::new() } else { format!(" ±{}", number(half)) }
}

fn storm(records: &[Record], kernel: &str) -> String {
    let Some(record) = newest(records, "storm", kernel) else {
        return "Not measured yet.".to_owned();
    };
    let columns = ["rate", "told", "counted", "lost-and-told", "unaccounted", "lifecycle-lost"];
    let mut text = format!("{}\n\n| acts |", origin(record));
    columns.iter().for_each(|column| {
        let shown = if *column == "rate" { "a second" } else { column };
        let _ = write!(text, " {} |", shown.replace('-', " "));
    });
    text.push_str("\n|---|");
    columns.iter().for_each(|_| text.push_str("---:|"));
    let mut shown = Vec::new();
    for figure in &record.figures {
        if figure.setup.is_empty() || shown.contains(&&figure.setup) {
            continue;
        }
        shown.push(&figure.setup);
        let _ = write!(text, "\n| {} |", figure.setup);
        for column in columns {
            let name = format!("storm/{column}");
            let value = record
                .figures
                .iter()
                .find(|other| other.name == name && other.setup == figure.setup);
            let value = value.map(|value| number(value.median)).unwrap_or_default();
            let _ = write!(text, " {value} |");
        }
    }
    text
}

/// A record as it is: one row a figure.
fn figures(records: &[Record], bench: &str) -> String {
    let Some(record) = newest(records, bench, "") else {
        return "Not measured yet.".to_owned();
    };
    let mut text =
        format!("{}\n\n| | | median | from | to | |\n|---|---|---:|---:|---:|---|", origin(record));
    for figure in &record.figures {
        let _ = write!(
            text,
            "\n| {} | {} | {} | {} | {} | {} |",
            figure.name,
            figure.setup,
            number(figure.median),
            number(figure.low),
            number(figure.high),
            figure.unit
        );
    }
    text
}

fn list(records: &[Record]) -> String {
    let mut text = String::from("| when | what | commit | kernel | load |\n|---|---|---|---|---|");
    for record in records.iter().rev() {
        let [before, after] = record.machine.load;
        let _ = write!(
            text,
            "\n| {} | {} | `{}` | {} | {before:.1} to {after:.1} |",
            record.taken, record.bench, record.commit, record.kernel
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_records_say() {
        let records = record::all(&record::folder()).unwrap();
        let committed = fs::read_to_string(paths::root().join("BENCHMARKS.md")).unwrap();
        assert!(
            page(&records).unwrap() == committed,
            "BENCHMARKS.md is not what bench/records says: run `cargo xtask bench page`"
        );
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(-12_345.4), "-12,345");
        assert_eq!(number(0.123), "0.12");
        assert_eq!(number(999.0), "999");
        assert_eq!(added(-0.2), "-0.20");
        assert_eq!(added(5.0), "+5");
    }
}
