//! Wires the stages of `interdict run` and owns their end.
//!
//! Policies are compiled first: with rules that are wrong nothing is touched. Then programs are loaded or adopted, the
//! policy is put in force, hooks are attached, what earlier agents left is removed, and `ready` is written. After that:
//! signals, changed policy files, faults to tell. When the agent ends, what is pinned goes on enforcing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use interdict_abi::ids::{Fault, Mode};
use interdict_rules::meta::Severity;
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
        loader::{
            Deciding, Followed, InterfaceLinks, LoadError, Loaded, Options, remove_instance,
            remove_links,
        },
        repeats::Rows,
        ring::{Faults, Reader, drain, is_loss},
        slots::{Slots, SwapError, Watch},
        teach::{TeachError, teach},
    },
    pipeline::{Counted, Pipeline, PipelineError, PolicyView, boot_ns, this_host},
    policy::{Policy, PolicyError, Stamps, stamps},
    protect::{self, ProtectError, Protection},
    sys::{heap, link},
    trust::Trust,
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
    /// Signals cannot be received.
    #[error("signals: {0}")]
    Signals(#[source] io::Error),
}

/// How often policy files, counters and the kernel's switches are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How long what an instance counted may take to become durable before it is removed.
const LAST: Duration = Duration::from_secs(5);

/// How links of interfaces are looked at and made.
const LINKS: InterfaceLinks =
    InterfaceLinks { is_attached: link::is_attached, attach: link::pinned_interface };

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
        interfaces: interfaces(&config.interfaces),
        without_lsm: !config.lsm,
    }
}

/// Whether an interface goes by a name of the configuration: `*` in it stands for anything, `all` for all but the loopback.
fn goes_by(interface: &str, named: &str) -> bool {
    if named == "all" {
        return interface != "lo";
    }
    let mut parts = named.split('*');
    let Some(mut rest) = parts.next().and_then(|first| interface.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The interfaces that the configuration means: those it names in full, there or not, and those that go by a pattern.
fn interfaces(named: &[String]) -> Vec<String> {
    let is_pattern = |name: &&String| *name == "all" || name.contains('*');
    let patterns: Vec<&String> = named.iter().filter(is_pattern).collect();
    let mut all: Vec<String> = named.iter().filter(|name| !is_pattern(name)).cloned().collect();
    if !patterns.is_empty() {
        let there = present_interfaces();
        all.extend(
            there.into_iter().filter(|name| patterns.iter().any(|named| goes_by(name, named))),
        );
    }
    all.sort();
    all.dedup();
    all
}

/// The interfaces there are.
fn present_interfaces() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name != "bonding_masters")
        .collect()
}

/// Whose the instances are that are removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// This agent's, which has told what they counted.
    Ours,
    /// Another agent's.
    Another,
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
    let loaded = Loaded::start_guarded(options, policy.wanted_bytes(), &policy.acts, guarded)?;
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

    /// Compiles the policies again and puts them in force. Whatever is wrong with them, the old ones stay.
    fn reload(&mut self) {
        match self.try_reload() {
            Ok(digest) => tracing::info!(digest = &digest[..12], "another policy is in force"),
            Err(error) => {
                tracing::error!(%error, "the policy in force stays");
                self.pipeline.notice(Notice::PolicyRefused { reason: error.to_string() });
            }
        }
    }

    fn try_reload(&mut self) -> Result<String, AppError> {
        if let Some(protection) = &self.protection {
            protection.in_place(&self.config)?;
        }
        let trust = Trust::of(&self.config).map_err(PolicyError::from)?;
        let mut policy = Policy::open_with_canaries(&self.config.policies, &trust, &self.places)?;
        policy.demand(self.loaded.deciding().lsm())?;
        if self.loaded.can_serve(policy.image.kernel().len(), &policy.acts) {
            self.enforce(&mut policy)?;
            // While the policy that they were counted under is known.
            self.look_at_repeats(true);
        } else {
            self.replace(&mut policy)?;
        }
        self.say_ready()?;
        Ok(policy.digest)
    }

    /// Tells whoever waits for it which generation is in force. What compiling and loading took goes back to the system.
    fn say_ready(&self) -> Result<(), AppError> {
        heap::give_back();
        let generation = self.slots.active()?.0;
        write(&self.config.runtime.join("ready"), &format!("{generation}\n"))
    }

    /// Loads programs anew beside those that enforce, for a policy that they cannot serve, and then removes those.
    fn replace(&mut self, policy: &mut Policy) -> Result<(), AppError> {
        let options = load_options(&self.config);
        let guarded = self.config.protect.on;
        self.expect_links()?;
        let mut loaded =
            Loaded::start_guarded(options, policy.wanted_bytes(), &policy.acts, guarded)?;
        loaded.attach_lifecycle()?;
        let mut slots = Slots::open(&loaded)?;
        slots.number_after(self.loaded.directory())?;
        let faults = Faults::of(loaded.directory())?;
        let repeats = Rows::of(loaded.directory())?;
        let reader = Reader::start(&loaded, self.pipeline.records())?;
        let old_slots = std::mem::replace(&mut self.slots, slots);
        let old_loaded = std::mem::replace(&mut self.loaded, loaded);
        // A guard that a token has ended stays so; the old instance's goes on guarding until it is removed.
        let guards = self.protection.as_ref().is_some_and(|old| old.is_armed().unwrap_or(true));
        let enforced = self.enforce(policy).and_then(|()| match guards {
            true => self.protect(),
            false => Ok(()),
        });
        if let Err(error) = enforced {
            reader.stop();
            remove_instance(self.loaded.directory());
            self.slots = old_slots;
            self.loaded = old_loaded;
            self.guard_links()?;
            return Err(error);
        }
        if let Some(old) = self.reader.replace(reader) {
            old.stop();
        }
        for other in self.loaded.others() {
            remove_links(&other);
        }
        // What the old programs counted last. Their rows are all there: nothing counts as gone.
        self.look_at_faults();
        let settled = self.pipeline.rows();
        let last = self.repeats.news(boot_ns(), 0, settled, true);
        self.tell_last(last.counted);
        self.faults = faults;
        self.repeats = repeats;
        self.remove_others(Before::Ours);
        Ok(())
    }

    /// Removes the instances of earlier agents, now that this one enforces: programs first, then what they still had to
    /// tell is read, then the rest.
    fn remove_others(&self, before: Before) {
        for other in self.loaded.others() {
            remove_links(&other);
            if let Err(error) = drain(&other, &self.pipeline.records()) {
                tracing::warn!(%error, instance = %other.display(), "its last records are lost");
                self.pipeline.lost("old_ring_unreadable", 1);
            }
            if before == Before::Another {
                self.tell_counts_of(&other);
            }
            remove_instance(&other);
        }
    }

    /// Tells what the programs of another agent's instance have counted and nobody has told. They no longer run.
    fn tell_counts_of(&self, instance: &Path) {
        match Faults::of(instance) {
            Ok(faults) => self.tell_faults(&faults),
            Err(error) => {
                tracing::warn!(%error, instance = %instance.display(), "what it counted is not known");
                self.pipeline.lost("old_counters_unreadable", 1);
            }
        }
        // One of before there were rows has none.
        if let Ok(mut rows) = Rows::of(instance) {
            let settled = self.pipeline.rows();
            self.tell_last(rows.news(boot_ns(), 0, settled, true).counted);
        }
    }

    /// Tells what rows hold that are about to go, and waits until that is durable: nobody can tell it again.
    fn tell_last(&self, counted: Vec<Counted>) {
        if counted.is_empty() {
            return;
        }
        let acts = counted.iter().map(|counted| counted.count).sum();
        let before = self.pipeline.rows();
        let number = self.pipeline.counted(counted);
        let deadline = Instant::now() + LAST;
        while self.pipeline.rows().durable < number {
            if self.pipeline.rows().failed > before.failed || Instant::now() > deadline {
                self.pipeline.lost("repeats_untold", acts);
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
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

    fn look(&mut self) {
        let _told = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        self.look_at_faults();
        self.look_at_repeats(false);
        self.look_at_ftrace();
        self.look_at_protection();
        self.look_at_interfaces();
        let seen = stamps(&self.config.policies);
        if seen != self.seen {
            let before = std::mem::replace(&mut self.seen, seen);
            if !self.change_feeds(&before) {
                self.reload();
            }
        }
    }

    /// If nothing has changed but feeds of addresses: puts the difference in force. Answers whether that is all there is to
    /// do.
    fn change_feeds(&mut self, before: &Stamps) -> bool {
        let differ = |file: &&PathBuf| before.get(*file) != self.seen.get(*file);
        let files: BTreeSet<PathBuf> =
            before.keys().chain(self.seen.keys()).filter(differ).cloned().collect();
        let in_place = self.protection.as_ref().map(|guard| guard.in_place(&self.config));
        if files.iter().any(|file| !self.seen.contains_key(file))
            || matches!(in_place, Some(Err(_)))
        {
            return false;
        }
        let changed = self.feeds.change(&files, &mut self.slots, &mut self.canaries.hold());
        match changed {
            Ok(changed) => {
                self.tell_feeds();
                for list in changed {
                    let difference = list.difference.unwrap_or_default();
                    tracing::info!(
                        list = list.name,
                        entries = list.entries,
                        ?difference,
                        "a feed changed"
                    );
                    self.pipeline.notice(Notice::Other {
                        name: "feed-changed",
                        severity: Severity::Info,
                        message: format!(
                            "the list {} is in force with {} entries: {} ranges came, {} went",
                            list.name, list.entries, difference.added, difference.removed
                        ),
                        detail: BTreeMap::from([
                            ("list".to_owned(), list.name),
                            ("file".to_owned(), list.file),
                            ("digest".to_owned(), list.digest),
                            ("entries".to_owned(), list.entries.to_string()),
                            ("added".to_owned(), difference.added.to_string()),
                            ("removed".to_owned(), difference.removed.to_string()),
                        ]),
                    });
                }
                true
            }
            Err(error) => {
                tracing::info!(%error, "policies are compiled again");
                false
            }
        }
    }

    /// Packets are judged on interfaces that appear, too.
    fn look_at_interfaces(&mut self) {
        if self.config.interfaces.is_empty() {
            return;
        }
        let there = present_interfaces();
        let mut wanted = interfaces(&self.config.interfaces);
        wanted.retain(|name| there.contains(name));
        let protection = &mut self.protection;
        let mut expect = || {
            if let Some(Err(error)) = protection.as_mut().map(Protection::expect_links) {
                tracing::error!(%error, "links to new interfaces are not guarded from the start");
            }
        };
        match self.loaded.follow(wanted, LINKS, &mut expect) {
            Ok(followed) => {
                self.unjudged = None;
                if followed == Followed::default() {
                    return;
                }
                tracing::info!(new = ?followed.new, gone = ?followed.gone, "interfaces changed");
            }
            Err(error) => {
                let reason = error.to_string();
                if self.unjudged.as_ref() != Some(&reason) {
                    self.pipeline.notice(Notice::Other {
                        name: "interface-not-judged",
                        severity: Severity::High,
                        message: format!("packets that arrive there are not judged: {reason}"),
                        detail: BTreeMap::new(),
                    });
                    self.unjudged = Some(reason);
                }
            }
        }
        self.canaries.hold().pinned(self.loaded.pinned_links());
        if let Some(protection) = &mut self.protection
            && let Err(error) = protection.guard_links(&self.loaded)
        {
            tracing::error!(%error, "links to new interfaces are not guarded");
        }
    }

    fn look_at_faults(&self) {
        self.tell_faults(&self.faults);
    }

    fn tell_faults(&self, of: &Faults) {
        let (mut losses, mut faults) = (BTreeMap::new(), BTreeMap::new());
        for (fault, total) in of.totals() {
            // Told by subject.
            if fault == Fault::Repeats {
                continue;
            }
            let counts = if is_loss(fault) { &mut losses } else { &mut faults };
            counts.insert(fault.name().to_owned(), total);
        }
        self.pipeline.kernel_counters(of.instance(), &losses, &faults);
    }

    /// Tells what the kernel counted instead of telling it. `all`: nothing will follow.
    fn look_at_repeats(&mut self, all: bool) {
        let gone = self.slots.control().map_or(0, |control| control.repeats_gone);
        let news = self.repeats.news(boot_ns(), gone, self.pipeline.rows(), all);
        if news.gone > 0
            && let Err(error) = self.slots.repeats_gone(news.gone)
        {
            tracing::error!(%error, "what the kernel counted cannot be held against what is told");
        }
        let handed = self.pipeline.counted(news.counted);
        self.repeats.handed(handed);
        self.pipeline.lost("repeats_unattributed", news.unattributed);
    }

    fn look_at_protection(&mut self) {
        let Some(protection) = &mut self.protection else { return };
        match protection.look() {
            Ok(true) => {
                tracing::warn!("a break-glass token has ended self-protection");
                self.pipeline.notice(Notice::Other {
                    name: "break-glass",
                    severity: Severity::High,
                    message:
                        "a break-glass token has ended self-protection until the agent starts \
                              again"
                            .to_owned(),
                    detail: BTreeMap::new(),
                });
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the guard cannot be looked at"),
        }
    }

    /// With `kernel.ftrace_enabled` at 0 the kernel calls no LSM program and says nothing.
    fn look_at_ftrace(&mut self) {
        if !self.loaded.deciding().lsm() {
            return;
        }
        let value = fs::read_to_string("/proc/sys/kernel/ftrace_enabled").unwrap_or_default();
        let off = value.trim() == "0";
        if off && !self.ftrace_off {
            tracing::error!("kernel.ftrace_enabled is 0: the kernel calls no LSM program");
            self.pipeline.notice(Notice::CanaryFailed {
                canary: "ftrace_enabled".to_owned(),
                detail: "kernel.ftrace_enabled is 0: the kernel calls no LSM program, nothing is \
                         refused; set it to 1"
                    .to_owned(),
            });
        } else if !off && self.ftrace_off {
            // Directories may have moved meanwhile, and nobody saw it.
            self.loaded.forget_paths();
            self.pipeline.notice(Notice::CanaryRecovered { canary: "ftrace_enabled".to_owned() });
        }
        self.ftrace_off = off;
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

#[cfg(test)]
mod tests {
    use super::goes_by;

    #[test]
    fn an_interface_goes_by_its_name_a_pattern_or_all() {
        for (interface, named, expected) in [
            ("eth0", "eth0", true),
            ("eth01", "eth0", false),
            ("veth12ab", "veth*", true),
            ("eth0", "veth*", false),
            ("cali12-x", "cali*-x", true),
            ("cali-y", "cali*-x", false),
            ("ab", "a*b*b", false),
            ("eth0", "*", true),
            ("lo", "all", false),
            ("eth0", "all", true),
        ] {
            assert_eq!(goes_by(interface, named), expected, "{interface} {named}");
        }
    }
}
