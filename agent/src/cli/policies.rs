//! Reading and compiling policies for the commands that look at them.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{canary::acts::Places, policy::acts_of_image};
use clap::ValueEnum;
use interdict_rules::{
    Options, Outcome, compile,
    diag::{self, Colour, Level},
    image::PolicyImage,
    lower::Budget,
    parse::source::{Disk, SourceError, Sources},
};

/// Exit code: the answer is no.
pub(super) const NO: u8 = 1;

/// Exit code: could not be tried.
pub(super) const UNTRIED: u8 = 2;

/// How a command answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Human,
    /// For programs.
    Json,
}

/// Whether case files are read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    Policies,
    PoliciesAndCases,
}

/// Policies that have been read and compiled.
pub(super) struct Compiled {
    pub(super) sources: Sources,
    pub(super) outcome: Outcome,
}

/// Reads and compiles files and directories.
pub(super) fn compiled(paths: &[PathBuf], with: With) -> Result<Compiled, SourceError> {
    let mut sources = Sources::new();
    for path in paths {
        sources.load(path)?;
        if with == With::PoliciesAndCases {
            sources.load_cases(path)?;
        }
    }
    let today = today();
    let options = Options { files: &Disk, today: &today, budget: Budget::default() };
    let outcome = compile(&sources, &options);
    Ok(Compiled { sources, outcome })
}

impl Compiled {
    /// The same with the rules of an agent's canaries, for the acts that the rules are about. As it is if it is wrong.
    pub(super) fn with_canaries(mut self, places: &Places) -> Self {
        let Some(image) = &self.outcome.image else { return self };
        let acts = acts_of_image(image);
        let Some(canaries) = places.policy(&acts) else { return self };
        self.sources.add("(canaries)", canaries);
        let today = today();
        let options = Options { files: &Disk, today: &today, budget: Budget::default() };
        let outcome = compile(&self.sources, &options);
        Self { outcome, ..self }
    }

    /// Shows errors, and warnings where they are wanted, on standard error.
    pub(super) fn complain(&self) {
        eprint!("{}", diag::terminal(&self.outcome.diagnostics, &self.sources, colour_of_errors()));
        eprintln!("{}", self.summary());
    }

    /// How many errors and warnings there are, and of what.
    pub(super) fn summary(&self) -> String {
        let count =
            |level: Level| self.outcome.diagnostics.iter().filter(|one| one.level == level).count();
        let plural = |count: usize, word: &str| match count {
            1 => format!("1 {word}"),
            _ => format!("{count} {word}s"),
        };
        let policies = self.outcome.parsed.policies.len();
        let rules: usize =
            self.outcome.parsed.policies.iter().map(|policy| policy.rules.len()).sum();
        let found = match (count(Level::Error), count(Level::Warning)) {
            (0, 0) => "no problems".to_owned(),
            (0, warnings) => plural(warnings, "warning"),
            (errors, 0) => plural(errors, "error"),
            (errors, warnings) => {
                format!("{}, {}", plural(errors, "error"), plural(warnings, "warning"))
            }
        };
        let policies = match policies {
            1 => "1 policy".to_owned(),
            count => format!("{count} policies"),
        };
        format!("{found} in {policies} with {}", plural(rules, "rule"))
    }
}

/// An image from a compiled file (`*.img`) or from policies.
pub(super) fn image(paths: &[PathBuf]) -> Result<PolicyImage, ExitCode> {
    if let [only] = paths
        && is_image(only)
    {
        let bytes = std::fs::read(only)
            .map_err(|error| untried(&format_args!("{}: {error}", only.display())))?;
        return PolicyImage::decode(&bytes)
            .map_err(|error| untried(&format_args!("{}: {error}", only.display())));
    }
    let compiled = compiled(paths, With::Policies).map_err(|error| untried(&error))?;
    match compiled.outcome.image {
        Some(image) => Ok(image),
        None => {
            compiled.complain();
            Err(ExitCode::from(NO))
        }
    }
}

fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "img")
}

/// Says why something could not be tried.
pub(super) fn untried(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("interdict: {error}");
    ExitCode::from(UNTRIED)
}

/// Writes to standard output; a reader that went away is no error.
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes JSON to standard output.
pub(super) fn print_json(value: &serde_json::Value) {
    print(&format!("{value:#}\n"));
}

pub(super) fn colour() -> Colour {
    colour_if(std::io::stdout().is_terminal())
}

fn colour_of_errors() -> Colour {
    colour_if(std::io::stderr().is_terminal())
}

fn colour_if(terminal: bool) -> Colour {
    if terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
        Colour::Ansi
    } else {
        Colour::Plain
    }
}

/// Today in UTC, `YYYY-MM-DD`: exceptions expire by it.
pub(super) fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    date(seconds / 86_400)
}

/// The date of a day since 1970-01-01, by counting years from March so that leap days come last.
fn date(days: u64) -> String {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_454), "2026-01-01");
        assert_eq!(date(20_453), "2025-12-31");
    }
}
