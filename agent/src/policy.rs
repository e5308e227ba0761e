//! Policies as the agent loads them: compiled from a folder or decoded from an image, with what they need of the host.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use interdict_abi::{
    ids::{Act, Action, Fact, Family},
    image::header,
    limits::{CALLINGS, SYSCALL_NUMBERS},
    maps::Rate,
};
use interdict_engine::facts;
use interdict_rules::{
    Options, compile,
    diag::{self, Colour},
    image::PolicyImage,
    live::Feeds,
    lower::Budget,
    meta::RuleMeta,
    parse::source::{Disk, Files, Sources},
};
use thiserror::Error;

use crate::{
    canary::acts::{self, Places},
    kernel::{
        hooks::{Effect, effect},
        loader::Wanted,
    },
    trust::{Trust, TrustError, Trusted},
};

/// Why there is no policy to load.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// Files cannot be read.
    #[error("{path}: {message}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        message: String,
    },
    /// They are not accepted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The rules are wrong; every problem is in the text.
    #[error("the policies do not compile\n{0}")]
    Rules(String),
    /// Rules demand what this host cannot do.
    #[error("this host cannot refuse what these rules demand to be refused:\n{0}")]
    Demands(String),
}

/// A policy that can be loaded.
#[derive(Debug)]
pub struct Policy {
    /// Image and metadata.
    pub image: PolicyImage,
    /// SHA-256 of the kernel's half, hex.
    pub digest: String,
    /// Warnings, rendered.
    pub warnings: String,
    /// The acts its rules are about.
    pub acts: Vec<Act>,
    /// Its feeds of addresses that can be changed by difference.
    live: Option<Feeds>,
    /// The bundle it came from, if only those are accepted.
    trusted: Option<Trusted>,
}

/// The acts that an image's rules are about.
pub fn acts_of_image(image: &PolicyImage) -> Vec<Act> {
    let rules = &image.metadata().rules;
    let mut acts: Vec<Act> =
        rules.iter().flat_map(|rule| acts_of(rule).chain(backstops_of(rule))).collect();
    acts.retain(|act| *act != Act::Syscall);
    acts.extend(stages_of_calls(image.kernel()));
    // Names of addresses are learned from answers.
    if facts::tests(image.kernel(), Family::Net, Fact::DnsName) {
        acts.push(Act::NetDnsAnswer);
    }
    acts.sort_unstable();
    acts.dedup();
    acts
}

impl Policy {
    /// Compiles a folder or file of rules, decodes an image (`*.img`), or compiles the signed bundle that is asked for.
    ///
    /// # Errors
    /// It cannot be read, or its rules are wrong.
    pub fn open(path: &Path, trust: &Trust) -> Result<Self, PolicyError> {
        Self::open_as(path, trust, None)
    }

    fn open_as(path: &Path, trust: &Trust, places: Option<&Places>) -> Result<Self, PolicyError> {
        let unread =
            |message: String| PolicyError::Read { path: path.display().to_string(), message };
        if let Some(trusted) = trust.bundle(path)? {
            let sources = trusted.bundle.sources().map_err(|error| unread(error.to_string()))?;
            let policy = Self::compile(sources, &trusted.bundle, places)?;
            // What is signed is put in force whole.
            return Ok(Self { trusted: Some(trusted), live: None, ..policy });
        }
        if path.extension().is_some_and(|end| end == "img") {
            let bytes = fs::read(path).map_err(|error| unread(error.to_string()))?;
            let image = PolicyImage::decode(&bytes).map_err(|error| unread(error.to_string()))?;
            return Ok(Self::of(image, String::new()));
        }
        let mut sources = Sources::new();
        sources.load(path).map_err(|error| unread(error.to_string()))?;
        Self::compile(sources, &Disk, places)
    }

    /// The feeds of addresses in it that can be changed by difference, once.
    pub fn take_feeds(&mut self) -> Option<Feeds> {
        self.live.take()
    }

    /// Bytes of an image slot it should have: room to change feeds in.
    pub fn wanted_bytes(&self) -> usize {
        self.image.kernel().len() + self.live.as_ref().map_or(0, Feeds::spare)
    }

    /// To be called before it is put in force: from then on no older bundle is accepted.
    ///
    /// # Errors
    /// That cannot be remembered.
    pub fn remember(&self) -> Result<(), PolicyError> {
        match &self.trusted {
            Some(trusted) => Ok(trusted.remember()?),
            None => Ok(()),
        }
    }

    fn compile(
        mut sources: Sources,
        files: &dyn Files,
        places: Option<&Places>,
    ) -> Result<Self, PolicyError> {
        let plain = Self::compile_once(&sources, files)?;
        let Some(canaries) = places.and_then(|places| places.policy(&plain.acts)) else {
            return Ok(plain);
        };
        sources.add("(canaries)", canaries);
        match Self::compile_once(&sources, files) {
            Ok(with) => Ok(Self { digest: plain.digest, warnings: plain.warnings, ..with }),
            // The rules alone are right: better without canaries than not at all; the agent says so.
            Err(_) => Ok(plain),
        }
    }

    fn compile_once(sources: &Sources, files: &dyn Files) -> Result<Self, PolicyError> {
        let today = today();
        let options = Options { files, today: &today, budget: Budget::default() };
        let outcome = compile(sources, &options);
        let said = diag::terminal(&outcome.diagnostics, sources, Colour::Plain);
        match outcome.image {
            Some(image) => Ok(Self { live: outcome.live, ..Self::of(image, said) }),
            None => Err(PolicyError::Rules(said)),
        }
    }

    /// As [`Policy::open`], with a canary rule for each act that the rules are about; its digest stays that of the rules as
    /// they are written. A compiled image is taken as it is: it has them if it was compiled with them.
    ///
    /// # Errors
    /// As there.
    pub fn open_with_canaries(
        path: &Path,
        trust: &Trust,
        places: &Places,
    ) -> Result<Self, PolicyError> {
        Self::open_as(path, trust, Some(places))
    }

    /// Whether canary rules are in it for all acts that have one.
    pub fn has_canaries(&self, places: &Places) -> bool {
        let rules = &self.image.metadata().rules;
        acts::wanted(&self.acts).all(|canary| rules.iter().any(|rule| canary.is_of(rule, places)))
    }

    fn of(image: PolicyImage, warnings: String) -> Self {
        let digest = image.kernel_digest().iter().map(|byte| format!("{byte:02x}")).collect();
        let acts = acts_of_image(&image);
        Self { image, digest, warnings, acts, live: None, trusted: None }
    }

    /// What it needs loaded, for an image of so many bytes.
    pub fn wanted(&self, image_bytes: usize, guarded: bool) -> Wanted<'_> {
        let rates = self.image.metadata().rules.iter().any(|rule| rule.rate.is_some());
        Wanted { image_bytes, acts: &self.acts, rates, guarded }
    }

    /// Rates of the rules that have one, by rule.
    pub fn rates(&self) -> Vec<(u32, Rate)> {
        const SECOND_NS: u64 = 1_000_000_000;
        (0..)
            .zip(&self.image.metadata().rules)
            .filter_map(|(number, rule)| {
                let rate = rule.rate?;
                let interval_ns =
                    u64::from(rate.per_seconds) * SECOND_NS / u64::from(rate.packets.max(1));
                // A burst of one is one packet and nothing ahead of time.
                let ahead = u64::from(rate.burst.max(1) - 1);
                Some((number, Rate { interval_ns, burst_ns: interval_ns.saturating_mul(ahead) }))
            })
            .collect()
    }

    /// What every rule comes to on a host with or without BPF LSM.
    pub fn effects(&self, lsm: bool) -> Vec<(&RuleMeta, Vec<(Act, Effect)>)> {
        // What is told on several conditions is one rule.
        let written = self.image.metadata().rules.chunk_by(|one, other| one.id == other.id);
        written
            .map(|parts| {
                let rule = &parts[0];
                let action = action_of(rule);
                let packets: Vec<Act> = backstops_of(rule).collect();
                let acts = acts_of(rule).map(|act| {
                    let effect = effect(act, action, lsm);
                    // Without LSM a stream that is connected is seen in its packets alone.
                    let partly = !lsm && act == Act::NetSend && !packets.contains(&Act::PacketOut);
                    (act, if partly { Effect::Partly } else { effect })
                });
                (rule, acts.collect())
            })
            .collect()
    }

    /// Refuses to pretend: a rule that demands a refusal gets one on this host, or the policy is not loaded.
    ///
    /// # Errors
    /// A rule demands what the host cannot do.
    pub fn demand(&self, lsm: bool) -> Result<(), PolicyError> {
        let mut unmet = Vec::new();
        for (rule, acts) in self.effects(lsm) {
            if !rule.requires_block || rule.mode == "audit" {
                continue;
            }
            for (act, effect) in acts {
                if effect != Effect::Refused {
                    unmet.push(format!(
                        "  {}:{}: rule {} on {}: {}",
                        rule.file,
                        rule.line,
                        rule.id,
                        act.name(),
                        said(effect)
                    ));
                }
            }
        }
        if unmet.is_empty() { Ok(()) } else { Err(PolicyError::Demands(unmet.join("\n"))) }
    }
}

/// An effect in words.
pub fn said(effect: Effect) -> &'static str {
    match effect {
        Effect::Refused => "refused before it happens",
        Effect::Killed => "killed as it happens",
        Effect::KilledAfter => {
            "killed once it has happened, by the file opened or the path as written"
        }
        Effect::ToldAfter => "told once it has happened, by the file opened or the path as written",
        Effect::Partly => {
            "datagrams only: without BPF LSM, streams are judged by their packets, which have no process"
        }
        Effect::Told => "told only",
        Effect::Unseen => "not seen on this host",
    }
}

/// The action of a rule.
pub fn action_of(rule: &RuleMeta) -> Action {
    Action::ALL.iter().copied().find(|action| action.name() == rule.action).unwrap_or(Action::Alert)
}

/// Whether rules are about system calls as they begin, as they end, or both: each has a program of its own, which every
/// call of every process passes.
fn stages_of_calls(image: &[u8]) -> impl Iterator<Item = Act> {
    const STAGE_BYTES: usize = (CALLINGS * SYSCALL_NUMBERS / 8) as usize;
    let word = image.get(header::SYSCALLS as usize..).and_then(|rest| rest.first_chunk());
    let at = word.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
    let asked = |stage: usize| {
        let bits = image.get(at + stage * STAGE_BYTES..).and_then(|rest| rest.get(..STAGE_BYTES));
        at != 0 && bits.is_some_and(|bits| bits.iter().any(|byte| *byte != 0))
    };
    let stages = [(Act::Syscall, asked(0)), (Act::SyscallResult, asked(1))];
    stages.into_iter().filter(|(_, asked)| *asked).map(|(act, _)| act)
}

/// The acts of a rule, by the names in its `on`.
pub fn acts_of(rule: &RuleMeta) -> impl Iterator<Item = Act> + '_ {
    Act::ALL.iter().copied().filter(|act| rule.acts.iter().any(|name| name == act.name()))
}

/// The acts on packets that enforce a rule where no process is seen.
pub fn backstops_of(rule: &RuleMeta) -> impl Iterator<Item = Act> + '_ {
    Act::ALL.iter().copied().filter(|act| rule.backstops.iter().any(|name| name == act.name()))
}

/// Today, `YYYY-MM-DD`, UTC.
pub fn today() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let days = now.as_secs() / 86_400;
    // Days to civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// What is known of a file without reading it: when it was written, its length, which it is, when that changed.
pub type Stamp = (u128, u64, u64, i64, i64);

/// The files below a folder, by path.
pub type Stamps = BTreeMap<PathBuf, Stamp>;

/// Looks at the files below a folder: the answer changes when any policy or feed does.
pub fn stamps(folder: &Path) -> Stamps {
    let mut files = Vec::new();
    collect(folder, 0, &mut files);
    files.into_iter().map(|file| (stamp(&file), file)).map(|(stamp, file)| (file, stamp)).collect()
}

/// The stamp of one file.
pub fn stamp(file: &Path) -> Stamp {
    let about = fs::metadata(file);
    let modified = about.as_ref().ok().and_then(|about| about.modified().ok());
    let since = modified.and_then(|when| when.duration_since(UNIX_EPOCH).ok());
    // A file that was moved here may be as long and as old as the one it replaced.
    let which = about.map(|about| (about.len(), about.ino(), about.ctime(), about.ctime_nsec()));
    let (length, inode, changed, fraction) = which.unwrap_or_default();
    (since.unwrap_or_default().as_nanos(), length, inode, changed, fraction)
}

/// Folders in folders that are looked into.
const DEPTH: usize = 8;

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        files.push(folder.to_owned());
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() && depth < DEPTH {
            collect(&path, depth + 1, files);
        } else {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn today_is_a_date_that_can_be() {
        let today = today();
        assert_eq!(today.len(), 10);
        assert!(today.as_str() > "2025-01-01" && today.as_str() < "2200-01-01", "{today}");
    }

    #[test]
    fn a_changed_file_changes_what_is_seen_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "one").unwrap();
        let before = stamps(folder.path());
        assert_eq!(before, stamps(folder.path()));
        fs::write(folder.path().join("a.yaml"), "another").unwrap();
        assert_ne!(before, stamps(folder.path()));
    }
}
