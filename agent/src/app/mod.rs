//! Wires the stages of `interdict run` and owns their end.
//!
//! Policies are compiled first: with rules that are wrong nothing is touched. Then programs are loaded or adopted, the
//! policy is put in force, hooks are attached, what earlier agents left is removed, and `ready` is written. After that:
//! signals, changed policy files, faults to tell. When the agent ends, what is pinned goes on enforcing.

mod containers;
mod interfaces;
mod reload;
mod replace;
mod watch;

use std::{collections::BTreeMap, fs, io, path::PathBuf, sync::Arc, time::Duration};

use interdict_abi::ids::Mode;
use interdict_rules::meta::Severity;
use replace::Before;
use thiserror::Error;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use crate::{
    alert::Notice,
    canary::{Canaries, Expected, acts::Places},
    config::{Config, ConfigError},
    feeds::FeedsInForce,
    kernel::{
        features::Features,
        loader::{Deciding, LoadError, Loaded, Options, remove_instance},
        repeats::Rows,
        ring::{Faults, Reader},
        slots::{Slots, SwapError, Watch},
        teach::{TeachError, teach},
        workloads::WorkloadRows,
    },
    pipeline::{Pipeline, PipelineError, PolicyView, this_host},
    policy::{Policy, PolicyError, Stamps, stamps},
    protect::{self, ProtectError, Protection},
    sys::{code, heap, link},
    trust::Trust,
    workloads::Workloads,
};

/// Why the agent could not start, or go on.
#[derive(Debug, Error)]
pub enum AppError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The policies.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The kernel programs.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Putting a policy in force.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// Telling the kernel programs which objects the policy selects.
    #[error(transparent)]
    Teach(#[from] TeachError),
    /// The alert pipeline.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// A file of the agent's own.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Self-protection.
    #[error(transparent)]
    Protect(#[from] ProtectError),
    /// There is no thread to be had.
    #[error("cannot start a thread: {0}")]
    Threads(#[source] io::Error),
    /// Signals cannot be received.
    #[error("signals: {0}")]
    Signals(#[source] io::Error),
}

/// How often policy files, counters and the kernel's switches are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Where programs are loaded to, from the configuration and what the host has.
pub fn load_options(config: &Config) -> Options {
    let features = Features::find(&config.pins);
    let cgroup = config
        .cgroup
        .clone()
        .or(features.cgroup2)
        .unwrap_or_else(|| PathBuf::from("/sys/fs/cgroup"));
    Options {
        pins: config.pins.clone(),
        cgroup,
        interfaces: interfaces::meant(&config.interfaces),
        without_lsm: !config.lsm,
    }
}

/// The running agent.
struct App {
    config: Config,
    mode: Mode,
    loaded: Loaded,
    slots: Slots,
    pipeline: Pipeline,
    faults: Faults,
    repeats: Rows,
    reader: Option<Reader>,
    /// Why packets of an interface are not judged, as it was told.
    unjudged: Option<String>,
    protection: Option<Protection>,
    canaries: Canaries,
    places: Places,
    seen: Stamps,
    feeds: FeedsInForce,
    ftrace_off: bool,
    /// Tells of containers, while a policy asks for them.
    workloads: Option<Workloads<WorkloadRows>>,
}

/// Runs until a signal asks to stop.
///
/// # Errors
/// See [`AppError`]; nothing is attached then, or everything that was stays.
pub async fn run(config: Config) -> Result<(), AppError> {
    protect::admit(&config)?;
    let seen = stamps(&config.policies);
    let places = make_places(&config)?;
    let trust = Trust::of(&config).map_err(PolicyError::from)?;
    let mut policy = Policy::open_with_canaries(&config.policies, &trust, &places)?;
    eprint!("{}", policy.warnings);
    let options = load_options(&config);
    make_folder(&config.runtime)?;
    let ready = config.runtime.join("ready");
    let _old = fs::remove_file(&ready);
    write(&config.runtime.join("agent.pid"), &format!("{}\n", std::process::id()))?;

    let guarded = config.protect.on;
    let loaded = Loaded::start_for(options, policy.wanted(policy.wanted_bytes(), guarded))?;
    let (directory, adopted) = (loaded.directory().to_owned(), loaded.adopted());
    let started = App::start(config, loaded, &mut policy, seen, places);
    if started.is_err() && !adopted {
        // What was found enforcing stays; what this agent has just made and could not use goes.
        remove_instance(&directory);
    }
    let mut app = started?;
    app.say_ready()?;
    // Not started by systemd: there is nobody to tell.
    let _told = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(
        rules = policy.image.metadata().written(),
        digest = &policy.digest[..12],
        mode = app.mode.name(),
        lsm = app.loaded.deciding().lsm(),
        adopted = app.loaded.adopted(),
        programs = ?app.loaded.attached(),
        "enforcing"
    );
    // Its image lies in the kernel, and beside it in what watches over that.
    drop(policy);
    let ended = app.serve().await;
    let reason = ended?;
    if let Some(reader) = app.reader.take() {
        reader.stop();
    }
    app.look_at_faults();
    app.look_at_repeats(true);
    let _gone = fs::remove_file(&ready);
    app.pipeline.shutdown(reason).await;
    Ok(())
}

impl App {
    /// Starts the pipeline and puts the policy in force on loaded programs.
    fn start(
        config: Config,
        loaded: Loaded,
        policy: &mut Policy,
        seen: Stamps,
        places: Places,
    ) -> Result<Self, AppError> {
        policy.demand(loaded.deciding().lsm())?;
        let mode = config.mode;
        let pipeline = Pipeline::start(&config, this_host(), mode)?;
        let mut app = Self {
            slots: Slots::open(&loaded)?,
            faults: Faults::of(loaded.directory())?,
            repeats: Rows::of(loaded.directory())?,
            reader: None,
            unjudged: None,
            protection: None,
            canaries: Canaries::start(places.clone(), pipeline.records())
                .map_err(PipelineError::canaries)?,
            places,
            loaded,
            mode,
            pipeline,
            seen,
            feeds: FeedsInForce::default(),
            ftrace_off: false,
            workloads: None,
            config,
        };
        app.loaded.attach_lifecycle()?;
        for other in app.loaded.others() {
            app.slots.number_after(&other)?;
        }
        app.enforce(policy)?;
        app.protect()?;
        app.remove_others(Before::Another);
        app.reader = Some(Reader::start(&app.loaded, app.pipeline.records())?);
        app.tell_host();
        Ok(app)
    }

    /// Puts a policy in force and attaches what it needs, which nobody else gets hold of meanwhile.
    fn enforce(&mut self, policy: &mut Policy) -> Result<(), AppError> {
        self.expect_links()?;
        let done = self.put_in_force(policy);
        self.guard_links()?;
        done
    }

    /// What is attached from now on is guarded before anybody can know of it.
    fn expect_links(&mut self) -> Result<(), AppError> {
        let Some(protection) = &mut self.protection else { return Ok(()) };
        Ok(protection.expect_links()?)
    }

    fn guard_links(&mut self) -> Result<(), AppError> {
        let Some(protection) = &mut self.protection else { return Ok(()) };
        Ok(protection.guard_links(&self.loaded)?)
    }

    fn put_in_force(&mut self, policy: &mut Policy) -> Result<(), AppError> {
        policy.remember()?;
        let next = self.slots.next()?;
        let view = PolicyView::new(next.0, policy.digest.clone(), policy.image.metadata().clone());
        self.pipeline.policy(Arc::new(view));
        self.slots.rates(policy.rates());
        self.slots.look_inside(self.config.look_inside)?;
        self.teach(policy)?;
        self.tell_of_containers(policy)?;
        if !policy.has_canaries(&self.places) {
            self.pipeline.notice(Notice::Other {
                name: "no-canaries",
                severity: Severity::Medium,
                message: "this policy has no canary rules: that its hooks decide is not watched"
                    .to_owned(),
                detail: BTreeMap::new(),
            });
        }
        let mut expected = self.canaries.hold();
        self.slots.swap(policy.image.kernel(), self.mode)?;
        self.loaded.attach_for(&policy.acts)?;
        self.loaded.detach_unneeded(&policy.acts);
        let watch = Watch::open(&self.loaded, next, self.mode, policy.image.kernel())?;
        let links = self.loaded.pinned_links();
        let lsm = self.loaded.deciding().lsm();
        let metadata = policy.image.metadata();
        *expected = Expected::new(metadata, &self.places, self.mode, lsm, watch, links);
        drop(expected);
        let feeds = policy.take_feeds();
        self.feeds =
            FeedsInForce::of(&policy.image.metadata().lists, feeds, self.loaded.slot_bytes());
        self.tell_feeds();
        if !containers::asks(policy) {
            self.workloads = None;
        }
        Ok(())
    }

    /// Tells `interdict feeds` what is in force.
    fn tell_feeds(&self) {
        if let Err(error) = self.feeds.tell(&self.config.runtime) {
            tracing::warn!(%error, "which feeds are in force cannot be told");
        }
    }

    /// Guards the agent, if it is to be guarded.
    fn protect(&mut self) -> Result<(), AppError> {
        if !self.config.protect.on || !self.loaded.deciding().lsm() {
            return Ok(());
        }
        self.loaded.attach_guard(link::pinned_sysctl)?;
        let protection = Protection::arm(&self.config, &self.loaded)?;
        self.pipeline.guarded(protection.names());
        self.canaries.hold().pinned(self.loaded.pinned_links());
        self.protection = Some(protection);
        Ok(())
    }

    /// Tells the kernel programs which objects the policy selects.
    fn teach(&mut self, policy: &Policy) -> Result<(), AppError> {
        let roots = &policy.image.metadata().roots;
        let taught = teach(&self.loaded, &mut self.slots, policy.image.kernel(), roots)?;
        tracing::info!(
            objects = taught.named,
            looked_at = taught.looked_at,
            namespaces = taught.namespaces,
            patterns_anywhere = roots.unanchored,
            "objects that rules select are known under every name"
        );
        if taught.cut_short {
            self.pipeline.notice(Notice::Other {
                name: "names-cut-short",
                severity: Severity::Low,
                message: "the policy's patterns cover more objects than are looked at when it is put in force: \
                          those beyond the bound are protected under other names only once they were used by \
                          their path; name narrower places"
                    .to_owned(),
                detail: BTreeMap::from([("looked_at".to_owned(), taught.looked_at.to_string())]),
            });
        }
        Ok(())
    }

    /// Tells whoever waits for it which generation is in force. What compiling and loading took goes back to the system.
    fn say_ready(&self) -> Result<(), AppError> {
        heap::give_back();
        code::give_back();
        let generation = self.slots.active()?.0;
        write(&self.config.runtime.join("ready"), &format!("{generation}\n"))
    }

    /// Says once what this host cannot do.
    fn tell_host(&self) {
        if self.config.protect.on && !self.loaded.deciding().lsm() {
            self.pipeline.notice(Notice::Other {
                name: "unprotected",
                severity: Severity::High,
                message: "the agent cannot protect itself on this host: that needs BPF LSM"
                    .to_owned(),
                detail: BTreeMap::new(),
            });
        }
        if let Deciding::WithoutLsm(reason) = self.loaded.deciding() {
            self.pipeline.notice(Notice::Other {
                name: "without-lsm",
                severity: Severity::Medium,
                message:
                    "this host has no BPF LSM: `interdict doctor` tells what each rule comes to"
                        .to_owned(),
                detail: BTreeMap::from([("reason".to_owned(), reason.clone())]),
            });
        }
    }

    /// Works until a signal asks to stop; answers why.
    async fn serve(&mut self) -> Result<&'static str, AppError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::Signals)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(AppError::Signals)?;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok("SIGTERM"),
                _ = interrupt.recv() => return Ok("SIGINT"),
                _ = hangup.recv() => {
                    self.seen = stamps(&self.config.policies);
                    self.reload();
                }
                _ = look.tick() => self.look(),
            }
        }
    }
}

fn make_places(config: &Config) -> Result<Places, AppError> {
    make_folder(&config.state)?;
    Places::make(&config.state)
        .map_err(|source| AppError::File { path: config.state.join("canary"), source })
}

fn make_folder(path: &PathBuf) -> Result<(), AppError> {
    fs::create_dir_all(path).map_err(|source| AppError::File { path: path.clone(), source })
}

fn write(path: &PathBuf, text: &str) -> Result<(), AppError> {
    fs::write(path, text).map_err(|source| AppError::File { path: path.clone(), source })
}
