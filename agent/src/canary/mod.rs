//! Sees to it, every second, that what is enforced is enforced.
//!
//! Three looks, none of which trusts the others: acts that must be refused are tried through the hooks and rules in force
//! ([`acts`]); the image in the kernel is compared with the one that was written; pinned links are looked for. Whatever the
//! cause (an unhooked program, `ftrace_enabled` at 0, an emptied map, a removed pin), it is told within two looks.
//! The records of refused canaries are taken out of the stream by the pipeline ([`Sightings`]).

pub mod acts;
mod files;
mod system;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use interdict_abi::ids::{Action, Mode};
use interdict_rules::meta::Metadata;

use self::acts::{Canary, Places};
use crate::{
    alert::Notice,
    kernel::{
        hooks::{Effect, effect},
        slots::Watch,
    },
    pipeline::Records,
    sys::link,
};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Errors that rules can give: one of the operator's may have matched as well.
const REFUSALS: [i32; 5] =
    [libc::EPERM, libc::EACCES, libc::ENETUNREACH, libc::ECONNREFUSED, libc::EHOSTUNREACH];

/// Looks in a row without a record after which a canary that is only told counts as dead: records may wait in the ring.
const UNTOLD_LOOKS: u32 = 4;

/// Records of canaries that have come through the ring, by rule.
#[derive(Debug, Default)]
pub struct Sightings {
    seen: Mutex<BTreeMap<String, u64>>,
}

impl Sightings {
    /// Takes note of one.
    pub fn saw(&self, rule: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen.entry(rule.to_owned()).or_insert(0) += 1;
    }

    fn of(&self, rule: &str) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(rule).copied().unwrap_or(0)
    }
}

/// What must hold now.
#[derive(Debug, Default)]
pub struct Expected {
    canaries: Vec<(Canary, Mode)>,
    watch: Option<Watch>,
    links: Vec<PathBuf>,
}

impl Expected {
    /// The canaries whose rules are in a policy under the agent's mode, the image in the kernel, the pinned links. Without
    /// BPF LSM (`lsm`) some acts are not seen. Canaries of a compiled image may be for other places than these.
    pub fn new(
        metadata: &Metadata,
        places: &Places,
        mode: Mode,
        lsm: bool,
        watch: Watch,
        links: Vec<PathBuf>,
    ) -> Self {
        let held = |canary: &&Canary| {
            matches!(effect(canary.act, Action::Block, lsm), Effect::Refused | Effect::Killed)
        };
        let canaries = acts::all().filter(held).filter_map(|canary| {
            let rule = metadata.rules.iter().find(|rule| canary.is_of(rule, places))?;
            let told_only = mode == Mode::Audit || rule.mode == "audit";
            Some((*canary, if told_only { Mode::Audit } else { Mode::Enforce }))
        });
        Self { canaries: canaries.collect(), watch: Some(watch), links }
    }

    /// The watch over the image in the kernel.
    pub fn watch(&mut self) -> Option<&mut Watch> {
        self.watch.as_mut()
    }

    /// These links are pinned now.
    pub fn pinned(&mut self, links: Vec<PathBuf>) {
        self.links = links;
    }
}

/// The thread that looks.
#[derive(Debug)]
pub struct Canaries {
    expected: Arc<Mutex<Expected>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Canaries {
    /// Starts looking; until something is expected there is nothing to see.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(places: Places, records: Records) -> std::io::Result<Self> {
        let expected = Arc::new(Mutex::new(Expected::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, stopped) = (Arc::clone(&expected), Arc::clone(&stop));
        let mut look = Look { places, records, told: BTreeMap::new(), untold: BTreeMap::new() };
        let thread = thread::Builder::new().name("canaries".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                look.all(&mut theirs.lock().unwrap_or_else(PoisonError::into_inner));
                thread::park_timeout(LOOK);
            }
        })?;
        Ok(Self { expected, stop, thread: Some(thread) })
    }

    /// Holds the canaries still while something else comes into force; what is then expected is put in.
    pub fn hold(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ended = thread.join();
        }
    }
}

struct Look {
    places: Places,
    records: Records,
    /// What is wrong now and has been told.
    told: BTreeMap<String, String>,
    /// Records seen and looks since, of canaries that are only told.
    untold: BTreeMap<&'static str, (u64, u32)>,
}

impl Look {
    fn all(&mut self, expected: &mut Expected) {
        let mut wrong = BTreeMap::new();
        for (canary, mode) in &expected.canaries {
            if let Some(detail) = self.canary(canary, *mode) {
                wrong.insert(canary.name.to_owned(), detail);
            }
        }
        if let Some(watch) = &mut expected.watch
            && let Some(detail) = watch.look()
        {
            wrong.insert("image".to_owned(), detail);
        }
        for link in &expected.links {
            let name = link.file_name().unwrap_or_default().to_string_lossy();
            match link::is_attached(link) {
                Ok(true) => {}
                Ok(false) if is_of_gone_interface(&name) => {}
                Ok(false) => {
                    wrong.insert(format!("link {name}"), "it has been detached".to_owned());
                }
                Err(error) => {
                    wrong.insert(format!("link {name}"), format!("its pin is gone: {error}"));
                }
            }
        }
        self.tell(wrong);
    }

    /// What is wrong with one canary.
    fn canary(&mut self, canary: &Canary, mode: Mode) -> Option<String> {
        let answer = self.places.attempt(canary);
        match mode {
            Mode::Enforce => match answer {
                Err(error) if error.raw_os_error().is_some_and(|it| REFUSALS.contains(&it)) => None,
                Err(error) => Some(format!("the act failed otherwise than it should: {error}")),
                Ok(()) => Some("the act went through".to_owned()),
            },
            Mode::Audit => {
                let seen = self.records.canaries().of(canary.rule);
                let (before, looks) = self.untold.entry(canary.rule).or_insert((seen, 0));
                if seen > *before {
                    (*before, *looks) = (seen, 0);
                    return None;
                }
                *looks += 1;
                (*looks >= UNTOLD_LOOKS).then(|| "no record of it has come".to_owned())
            }
        }
    }

    fn tell(&mut self, wrong: BTreeMap<String, String>) {
        for (canary, detail) in &wrong {
            if !self.told.contains_key(canary) {
                tracing::error!(canary, detail, "enforcement is broken");
                self.records.notice(Notice::CanaryFailed {
                    canary: canary.clone(),
                    detail: detail.clone(),
                });
            }
        }
        for canary in self.told.keys() {
            if !wrong.contains_key(canary) {
                tracing::info!(canary, "enforcement holds again");
                self.records.notice(Notice::CanaryRecovered { canary: canary.clone() });
            }
        }
        self.told = wrong;
    }
}

/// Whether a link is to an interface that is not there any more: nothing arrives there, and the agent forgets the link.
fn is_of_gone_interface(link: &str) -> bool {
    link.split_once('@').is_some_and(|(_, interface)| {
        !std::path::Path::new("/sys/class/net").join(interface).exists()
    })
}
