//! Self-protection: arms the guard, admits the next agent, ends it by break-glass.
//!
//! Whom to trust is decided in the kernel (`ebpf/src/hooks/guard`): a process that runs the agent's own, guarded program
//! and no other code. That program then holds itself to what was armed: an agent that finds an armed guard goes on only
//! with the same configuration, in the same places; whoever wants another one shows a token. So root cannot make the
//! agent's program weaken the agent by other arguments.

pub mod objects;
pub mod token;

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use aya::programs::loaded_links;
use interdict_abi::guard::GuardState;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    alert::key::{KeyError, PublicKey},
    config::Config,
    kernel::{
        guard::{Guard, GuardError, Guarded, PLACED},
        loader::Loaded,
    },
    pipeline::this_host,
    sys::trust::{self, Answer},
};

use self::{
    objects::Mounts,
    token::{Claim, TokenError},
};

/// Why there is no protection, or too much.
#[derive(Debug, Error)]
pub enum ProtectError {
    /// The guard's maps.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The break-glass key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What is to be guarded cannot be found.
    #[error("self-protection: {0}")]
    Objects(#[from] io::Error),
    /// An armed guard does not trust this process.
    #[error(
        "this host is guarded by another agent, which does not trust this program: it is not the program that was \
         armed, was started by a debugger, or has loaded other libraries; end the protection with \
         `interdict protect off --break-glass TOKEN`"
    )]
    Untrusted,
    /// An armed guard is for another configuration.
    #[error(
        "this host is guarded with another configuration, or its files lie elsewhere ({0}); end the protection with \
         `interdict protect off --break-glass TOKEN` before changing it"
    )]
    Other(String),
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token was used.
    #[error("the token was used before, at {0} s after the epoch")]
    Used(u64),
    /// Nothing to end.
    #[error("no guard is armed here")]
    NotArmed,
    /// No key was there when it was armed.
    #[error("this guard was armed without a break-glass key: only a reboot ends it")]
    NoKey,
    /// A token is needed.
    #[error("this host is guarded: give `--break-glass TOKEN`")]
    TokenNeeded,
}

/// What guarded files are called, by device and inode.
pub type Names = Arc<BTreeMap<(u32, u64), String>>;

fn digest(config: &Config) -> [u8; 32] {
    // Everything that decides how the agent works, the place of the file included; by the same program.
    Sha256::digest(format!("{config:?}").as_bytes()).into()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What asking for trust came to.
enum Asked {
    /// No guard is attached.
    Absent,
    /// One granted it, but it is not armed, or is not one of those under the pin directory.
    Elsewhere,
    /// The armed guard under the pin directory granted it.
    Armed(Vec<(Guard, GuardState)>),
}

/// Asks for trust, as whoever uses `pins`. Trust by another guard than the one there is given back: its agent has another
/// configuration, and this process is not going to act by that.
fn ask(pins: &Path) -> Result<Asked, ProtectError> {
    let mut word = [0; 8];
    aws_lc_rs::rand::fill(&mut word).map_err(|_none| KeyError::Generate)?;
    let word = u64::from_ne_bytes(word);
    match trust::ask_trust(word) {
        Answer::Absent => return Ok(Asked::Absent),
        Answer::Refused => return Err(ProtectError::Untrusted),
        Answer::Granted => {}
    }
    match armed(pins) {
        Ok(found) if found.iter().any(|(guard, _)| guard.granted(std::process::id(), word)) => {
            Ok(Asked::Armed(found))
        }
        Ok(found) => {
            trust::leave_trust();
            if found.is_empty() { Ok(Asked::Elsewhere) } else { Err(ProtectError::Untrusted) }
        }
        Err(error) => {
            trust::leave_trust();
            Err(error)
        }
    }
}

/// Guards that are armed under a pin directory.
fn armed(pins: &Path) -> Result<Vec<(Guard, GuardState)>, ProtectError> {
    let mut found = Vec::new();
    for directory in Loaded::instances(pins) {
        if !directory.join("maps").join(interdict_abi::guard::names::STATE).exists() {
            continue;
        }
        let guard = Guard::open(&directory)?;
        let state = guard.state()?;
        if state.armed == 1 {
            found.push((guard, state));
        }
    }
    Ok(found)
}

/// Lets this process go on as the agent, or says why not: before anything is touched.
///
/// # Errors
/// An armed guard does not trust it, or is for another configuration.
pub fn admit(config: &Config) -> Result<(), ProtectError> {
    let Asked::Armed(guards) = ask(&config.pins)? else { return Ok(()) };
    let admitted = guards.iter().try_for_each(|(guard, state)| {
        if state.config != digest(config) {
            return Err(ProtectError::Other("the configuration differs".to_owned()));
        }
        in_place(config, guard)
    });
    if admitted.is_err() {
        trust::leave_trust();
    }
    admitted
}

/// Whether the folders are the ones that were armed, and not others mounted or moved in their places.
fn in_place(config: &Config, guard: &Guard) -> Result<(), ProtectError> {
    let mounts = Mounts::read()?;
    let policies = config.protect.policies.then_some(&config.policies);
    let places = [Some(&config.state), config.origin.as_ref(), policies, Some(&config.pins)];
    for place in places.into_iter().flatten() {
        let object = mounts.object(place)?;
        if guard.reasons(&object) & PLACED == 0 {
            return Err(ProtectError::Other(format!("{} is another one", place.display())));
        }
    }
    Ok(())
}

/// The armed guard of the running agent.
#[derive(Debug)]
pub struct Protection {
    guard: Guard,
    names: Names,
    told_broken: bool,
}

impl Protection {
    /// Arms the guard of a loaded instance whose programs are attached.
    ///
    /// # Errors
    /// Something that is to be guarded is not there, or a map refuses.
    pub fn arm(config: &Config, loaded: &Loaded) -> Result<Self, ProtectError> {
        let mut guard = Guard::open(loaded.directory())?;
        let before = guard.state()?;
        let mounts = Mounts::read()?;
        let guarded = objects::of_agent(config, &mounts)?;
        let secret = mounts.object(&config.key_path())?;
        let key = match &config.protect.break_glass {
            Some(path) => *PublicKey::open(path)?.raw(),
            None => [0; 32],
        };
        guard.trust(std::process::id())?;
        guard.guard_ids(&loaded.ids())?;
        for other in loaded.others() {
            // Tokens that an instance before this one has seen stay used.
            for (nonce, when) in Guard::open(&other).map(|old| old.all_used()).unwrap_or_default() {
                let _known = guard.use_up(&nonce, when);
            }
        }
        guard.guard(&guarded)?;
        guard.tell(GuardState {
            armed: 1,
            secret_inode: secret.inode,
            secret_device: secret.device,
            cgroups_device: objects::cgroups_device(&mounts),
            pins_device: mounts.object(&config.pins)?.device,
            mounts: std::fs::metadata("/proc/self/ns/mnt")?.ino(),
            seen_s: before.seen_s.max(now_s()),
            broken: 0,
            links_from: 0,
            config: digest(config),
            key,
        })?;
        Ok(Self { guard, names: names(&guarded), told_broken: false })
    }

    /// What guarded files are called.
    pub fn names(&self) -> Names {
        Arc::clone(&self.names)
    }

    /// Guards every link that is made from now on until [`Self::guard_links`]: between a link's making and its listing,
    /// nobody else can take it.
    ///
    /// # Errors
    /// The map cannot be read or written.
    pub fn expect_links(&mut self) -> Result<(), ProtectError> {
        let state = self.guard.state()?;
        if state.links_from != 0 {
            return Ok(());
        }
        // A link that goes while they are looked through is none to guard.
        let latest = loaded_links().flatten().map(|link| u64::from(link.id())).max().unwrap_or(0);
        Ok(self.guard.tell(GuardState { links_from: latest + 1, ..state })?)
    }

    /// Guards what was attached since. Links of another instance than the guard's own stay expected: its own guard lists
    /// them.
    ///
    /// # Errors
    /// A pin cannot be looked at.
    pub fn guard_links(&mut self, loaded: &Loaded) -> Result<(), ProtectError> {
        self.guard.guard_ids(&loaded.ids())?;
        if self.guard.directory() != loaded.directory() {
            return Ok(());
        }
        let state = self.guard.state()?;
        Ok(self.guard.tell(GuardState { links_from: 0, ..state })?)
    }

    /// Whether policies still lie where they lay when the guard was armed.
    ///
    /// # Errors
    /// They do not.
    pub fn in_place(&self, config: &Config) -> Result<(), ProtectError> {
        if self.guard.state()?.armed == 1 { in_place(config, &self.guard) } else { Ok(()) }
    }

    /// Once a second: keeps the time, and answers once that a token has ended the guard.
    ///
    /// # Errors
    /// The map cannot be read or written.
    pub fn look(&mut self) -> Result<bool, ProtectError> {
        let state = self.guard.state()?;
        let now = now_s();
        if now > state.seen_s && state.armed == 1 {
            self.guard.tell(GuardState { seen_s: now, ..state })?;
        }
        let news = state.broken == 1 && !self.told_broken;
        self.told_broken |= news;
        Ok(news)
    }

    /// Whether the guard is armed.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn is_armed(&self) -> Result<bool, ProtectError> {
        Ok(self.guard.state()?.armed == 1)
    }
}

fn names(guarded: &[Guarded]) -> Names {
    let name = |one: &Guarded| {
        let device = u32::try_from(one.object.device).unwrap_or(0);
        ((device, one.object.inode), one.path.display().to_string())
    };
    Arc::new(guarded.iter().map(name).collect())
}

/// How a host is guarded, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No guard is loaded, or none trusts nor refuses.
    Absent,
    /// There is a guard; it is armed or not.
    Loaded(bool),
}

/// Looks how this host is guarded.
///
/// # Errors
/// A guard does not trust this process.
pub fn standing(pins: &Path) -> Result<Standing, ProtectError> {
    let asked = ask(pins)?;
    trust::leave_trust();
    Ok(match asked {
        Asked::Absent => Standing::Absent,
        Asked::Elsewhere => Standing::Loaded(false),
        Asked::Armed(_) => Standing::Loaded(true),
    })
}

/// Ends the guard, if one is armed, for whoever has a token. Answers whether one was armed. This process is not trusted
/// afterwards, whatever the answer.
///
/// # Errors
/// The token is missing or not accepted.
pub fn end(pins: &Path, token: Option<&str>) -> Result<bool, ProtectError> {
    let Asked::Armed(guards) = ask(pins)? else { return Ok(false) };
    let ended = end_all(guards, token);
    trust::leave_trust();
    ended.map(|()| true)
}

fn end_all(guards: Vec<(Guard, GuardState)>, token: Option<&str>) -> Result<(), ProtectError> {
    let token = token.ok_or(ProtectError::TokenNeeded)?;
    let host = this_host();
    for (mut guard, state) in guards {
        if state.key == [0; 32] {
            return Err(ProtectError::NoKey);
        }
        let key = PublicKey::from_raw(state.key);
        let now = now_s().max(state.seen_s);
        let (_, nonce) = token::check(token, &key, &host.name, &host.boot_id, now)?;
        if let Some(when) = guard.used(&nonce) {
            return Err(ProtectError::Used(when));
        }
        guard.use_up(&nonce, now)?;
        guard.tell(GuardState { armed: 0, broken: 1, ..state })?;
    }
    Ok(())
}

/// Makes a token for a host and a boot, valid for so many seconds from now.
///
/// # Errors
/// The key cannot be read, or there is no randomness.
pub fn make(key: &Path, host: &str, boot: &str, valid_s: u64) -> Result<String, ProtectError> {
    let key = crate::alert::key::SigningKey::open(key)?;
    let mut nonce = [0; 16];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_none| KeyError::Generate)?;
    let claim = Claim {
        boot: boot.to_owned(),
        expires: now_s() + valid_s,
        host: host.to_owned(),
        nonce: crate::alert::key::to_hex(&nonce),
    };
    Ok(token::sign(&claim, &key))
}
