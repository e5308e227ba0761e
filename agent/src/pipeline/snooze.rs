//! Rules that nobody wants to hear from for a while: who said so, why, and until when.
//!
//! A snooze holds back the telling, never the enforcement, of one rule; what it held back is counted and told by the
//! hour and at its end. It always ends by itself. The list is a file in the state folder, `snoozes.json`, that
//! `interdict snooze` writes; the worker looks at it once a second, and tells every change. A file that can't be read
//! snoozes nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

/// Longest snooze, seconds: for longer, the rule wants an exception or another mode.
pub const LONGEST_SECONDS: u64 = 30 * 86_400;

/// One snoozed rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snooze {
    /// Rule id.
    pub rule: String,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it ends, unix seconds.
    pub until_unix_s: u64,
}

/// Where the list is.
pub fn path(state: &Path) -> PathBuf {
    state.join("snoozes.json")
}

/// Reads the list. No file: nobody snoozes.
pub fn read(path: &Path) -> io::Result<Vec<Snooze>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Replaces the list.
pub fn write(path: &Path, snoozes: &[Snooze]) -> io::Result<()> {
    let draft = path.with_extension("new");
    fs::write(&draft, serde_json::to_vec_pretty(snoozes).map_err(io::Error::other)?)?;
    fs::File::open(&draft)?.sync_all()?;
    fs::rename(&draft, path)
}

/// The list as the worker knows it.
#[derive(Debug)]
pub(super) struct Snoozes {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
    list: Vec<Snooze>,
}

impl Snoozes {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, seen: None, list: Vec::new() }
    }

    /// Looks again. Returns a sentence if something changed.
    pub(super) fn refresh(&mut self, now_unix_s: u64) -> Option<String> {
        let stamp =
            fs::metadata(&self.path).and_then(|data| Ok((data.modified()?, data.len()))).ok();
        let before = self.list.clone();
        if stamp != self.seen {
            self.seen = stamp;
            match read(&self.path) {
                Ok(list) => self.list = list,
                Err(error) => {
                    self.list.clear();
                    return Some(format!("{}: {error}: nothing is snoozed", self.path.display()));
                }
            }
        }
        self.list.retain(|snooze| {
            let left = snooze.until_unix_s.saturating_sub(now_unix_s);
            left > 0 && left <= LONGEST_SECONDS
        });
        (self.list != before).then(|| self.sentence())
    }

    fn sentence(&self) -> String {
        if self.list.is_empty() {
            return "no rule is snoozed any more".to_owned();
        }
        let each = self.list.iter().map(|snooze| {
            let until =
                crate::alert::build::rfc3339(snooze.until_unix_s.saturating_mul(1_000_000_000));
            let until = until.get(..19).unwrap_or_default().to_owned();
            format!("{} by {} until {until}Z ({})", snooze.rule, snooze.owner, snooze.reason)
        });
        format!("snoozed: {}", each.collect::<Vec<_>>().join("; "))
    }

    /// The snooze of a rule.
    pub(super) fn of(&self, rule: &str) -> Option<&Snooze> {
        self.list.iter().find(|snooze| snooze.rule == rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snooze(rule: &str, until_unix_s: u64) -> Snooze {
        Snooze {
            rule: rule.to_owned(),
            owner: "ann".to_owned(),
            reason: "noise".to_owned(),
            until_unix_s,
        }
    }

    #[test]
    fn a_snooze_ends_by_itself_and_every_change_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        let mut snoozes = Snoozes::new(path.clone());
        assert_eq!(snoozes.refresh(100), None);
        write(&path, &[snooze("R-1", 200), snooze("R-2", 100 + LONGEST_SECONDS + 1)]).unwrap();
        let told = snoozes.refresh(100).unwrap();
        assert_eq!(told, "snoozed: R-1 by ann until 1970-01-01T00:03:20Z (noise)");
        assert!(snoozes.of("R-1").is_some() && snoozes.of("R-2").is_none());
        assert_eq!(snoozes.refresh(199), None);
        assert_eq!(snoozes.refresh(200).unwrap(), "no rule is snoozed any more");
    }

    #[test]
    fn a_damaged_list_snoozes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        write(&path, &[snooze("R-1", 200)]).unwrap();
        let mut snoozes = Snoozes::new(path.clone());
        snoozes.refresh(100).unwrap();
        fs::write(&path, "[{\"rule\":").unwrap();
        assert!(snoozes.refresh(101).unwrap().contains("nothing is snoozed"));
        assert!(snoozes.of("R-1").is_none());
    }
}
