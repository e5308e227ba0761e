//! `interdict report`: what was blocked, and what would have been, by rule, program and object.

mod html;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{
    alert::{Alert, fields, message, text},
    spool::{Reader, segment},
};

/// Sum up alerts: what was blocked, and what would have been, by rule, program and object.
///
/// Reads files of JSON lines (`-` for standard input) or spool folders. Run the agent with `mode: audit` first: it
/// computes the same verdicts and only doesn't act, so `would block` is what enforcing would do.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Files of alerts, one per line; or spool folders.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// What to print.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Rows per table.
    #[arg(long, default_value_t = 20, value_name = "ROWS")]
    top: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Tables for a terminal.
    Table,
    /// One JSON object.
    Json,
    /// One self-contained page.
    Html,
}

/// How often each thing was done about an act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Counts {
    /// The act was refused.
    blocked: u64,
    /// The process was killed.
    killed: u64,
    /// Enforcing would have refused it or killed the process.
    would_block: u64,
    /// It was only to be told.
    told: u64,
}

impl Counts {
    fn total(self) -> u64 {
        self.blocked + self.killed + self.would_block + self.told
    }

    fn add(&mut self, alert: &Alert) {
        let decision = alert.decision.as_ref();
        let verdict = decision.map_or("", |decision| decision.verdict.as_ref());
        let would = decision.map_or("", |decision| decision.would.as_ref());
        match (verdict, would) {
            ("block", _) => self.blocked += 1,
            ("kill", _) => self.killed += 1,
            (_, "block" | "kill") => self.would_block += 1,
            _told => self.told += 1,
        }
    }
}

/// One line of a table.
#[derive(Clone, Debug, Serialize)]
struct Row {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
    #[serde(flatten)]
    counts: Counts,
}

/// The sums.
#[derive(Debug, Serialize)]
struct Report {
    alerts: u64,
    unreadable: u64,
    first: String,
    last: String,
    hosts: Vec<String>,
    total: Counts,
    rules: Vec<Row>,
    programs: Vec<Row>,
    objects: Vec<Row>,
    /// Rule, program and object together: the shape of an exception.
    acts: Vec<Row>,
    /// What the agent told about itself.
    notices: BTreeMap<String, u64>,
    /// Alerts that no rule of a known policy explains.
    unexplained: u64,
}

/// Different names kept per table: more are summed up as one.
const NAMES: usize = 50_000;

#[derive(Debug, Default)]
struct Sums {
    alerts: u64,
    unreadable: u64,
    first: String,
    last: String,
    hosts: BTreeMap<String, u64>,
    total: Counts,
    rules: BTreeMap<String, (String, Counts)>,
    programs: BTreeMap<String, (String, Counts)>,
    objects: BTreeMap<String, (String, Counts)>,
    acts: BTreeMap<String, (String, Counts)>,
    notices: BTreeMap<String, u64>,
    unexplained: u64,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let mut sums = Sums::default();
    for path in &arguments.files {
        if let Err(error) = read(path, &mut sums) {
            eprintln!("error: {}: {error}", path.display());
            return ExitCode::from(2);
        }
    }
    if sums.alerts == 0 && sums.unreadable > 0 {
        eprintln!("error: none of the {} lines is an alert of interdict", sums.unreadable);
        return ExitCode::from(2);
    }
    let report = sums.report(arguments.top);
    match arguments.format {
        Format::Table => print!("{}", table(&report)),
        Format::Html => print!("{}", html::page(&report)),
        Format::Json => match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::from(2);
            }
        },
    }
    ExitCode::SUCCESS
}

fn read(path: &PathBuf, sums: &mut Sums) -> io::Result<()> {
    if path.is_dir() {
        let segments = segment::list(path)?;
        let mut reader = Reader::new(path, segments.first().copied().unwrap_or(1));
        loop {
            let read = reader.read(u64::MAX - 1, 4_096, 16 << 20).map_err(io::Error::other)?;
            for entry in &read.entries {
                sums.line(&entry.line);
            }
            if read.entries.is_empty() {
                return Ok(());
            }
        }
    }
    let input: Box<dyn Read> =
        if path.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut input = BufReader::with_capacity(1 << 20, input);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let text = line.trim_ascii();
        if !text.is_empty() {
            sums.line(text);
        }
        line.clear();
    }
    Ok(())
}

impl Sums {
    fn line(&mut self, line: &[u8]) {
        match serde_json::from_slice::<Alert>(line) {
            Ok(alert) => self.alert(&alert),
            Err(_other_text) => self.unreadable += 1,
        }
    }

    fn alert(&mut self, alert: &Alert) {
        self.alerts += 1;
        if self.first.is_empty() || alert.time < self.first {
            self.first.clone_from(&alert.time);
        }
        if alert.time > self.last {
            self.last.clone_from(&alert.time);
        }
        *self.hosts.entry(alert.host.name.clone()).or_default() += 1;
        if let Some(notice) = &alert.notice {
            *self.notices.entry(notice.name.to_string()).or_default() += 1;
            return;
        }
        self.total.add(alert);
        let program = fields::value(alert, "process.exe")
            .or_else(|| fields::value(alert, "process.name"))
            .map_or_else(|| "(no process)".to_owned(), |value| shown(&value));
        let object = shown(&message::object_text(alert));
        let acts = alert.acts.join("+");
        add(&mut self.programs, &program, "", alert);
        add(&mut self.objects, &object, &acts, alert);
        if alert.rules.is_empty() {
            self.unexplained += 1;
        }
        for rule in &alert.rules {
            let place = format!("{} ({}:{})", shown(&rule.title), shown(&rule.file), rule.line);
            add(&mut self.rules, &rule.id, &place, alert);
            let name = format!("{} | {program} | {object}", rule.id);
            add(&mut self.acts, &name, &acts, alert);
        }
    }

    fn report(self, top: usize) -> Report {
        Report {
            alerts: self.alerts,
            unreadable: self.unreadable,
            first: self.first,
            last: self.last,
            hosts: self.hosts.into_keys().take(NAMES).collect(),
            total: self.total,
            rules: rows(self.rules, top),
            programs: rows(self.programs, top),
            objects: rows(self.objects, top),
            acts: rows(self.acts, top),
            notices: self.notices,
            unexplained: self.unexplained,
        }
    }
}

fn shown(value: &str) -> String {
    let mut out = String::new();
    text::for_people(&mut out, value);
    out
}

fn add(table: &mut BTreeMap<String, (String, Counts)>, name: &str, note: &str, alert: &Alert) {
    let name = if table.len() >= NAMES && !table.contains_key(name) { "(others)" } else { name };
    let row = table.entry(name.to_owned()).or_insert_with(|| (note.to_owned(), Counts::default()));
    row.1.add(alert);
}

/// The most frequent first; what doesn't fit is summed up in a last row.
fn rows(table: BTreeMap<String, (String, Counts)>, top: usize) -> Vec<Row> {
    let mut rows: Vec<Row> =
        table.into_iter().map(|(name, (note, counts))| Row { name, note, counts }).collect();
    rows.sort_by(|left, right| {
        right.counts.total().cmp(&left.counts.total()).then_with(|| left.name.cmp(&right.name))
    });
    if rows.len() > top {
        let rest = rows.split_off(top);
        let counts = rest.iter().fold(Counts::default(), |sum, row| Counts {
            blocked: sum.blocked + row.counts.blocked,
            killed: sum.killed + row.counts.killed,
            would_block: sum.would_block + row.counts.would_block,
            told: sum.told + row.counts.told,
        });
        rows.push(Row { name: format!("({} more)", rest.len()), note: String::new(), counts });
    }
    rows
}

fn table(report: &Report) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let total = report.total;
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _infallible = writeln!(out, "{text}");
    };
    line(format!("{} alerts, {} to {}", report.alerts, report.first, report.last));
    line(format!(
        "acts: {} blocked, {} killed, {} would have been blocked, {} only told",
        total.blocked, total.killed, total.would_block, total.told
    ));
    if report.unreadable > 0 {
        line(format!("{} lines are not alerts", report.unreadable));
    }
    if report.unexplained > 0 {
        line(format!("{} decisions of policies that are not known any more", report.unexplained));
    }
    let sections = [
        ("BY RULE", &report.rules),
        ("BY PROGRAM", &report.programs),
        ("BY OBJECT", &report.objects),
        ("BY RULE, PROGRAM AND OBJECT", &report.acts),
    ];
    for (title, rows) in sections {
        if rows.is_empty() {
            continue;
        }
        line(String::new());
        line(format!("{:>9} {:>9} {:>9} {:>9}  {title}", "blocked", "killed", "would", "told"));
        for row in rows {
            let counts = row.counts;
            let note = if row.note.is_empty() { String::new() } else { format!("  {}", row.note) };
            line(format!(
                "{:>9} {:>9} {:>9} {:>9}  {}{note}",
                counts.blocked, counts.killed, counts.would_block, counts.told, row.name
            ));
        }
    }
    if !report.notices.is_empty() {
        line(String::new());
        line("THE AGENT ABOUT ITSELF".to_owned());
        for (name, count) in &report.notices {
            line(format!("{count:>9}  {name}"));
        }
    }
    out
}

#[cfg(test)]
mod tests;
