//! The thread between queue and spool.
//!
//! Takes what waits, and for each record in order: decode, keep the process table, build the alert. Then the batch is
//! sealed and handed to the keeper. If it can't be kept, its places in the stream are taken back and its alerts counted
//! as lost. What became of each record is noted in the journal, so that it is worked on again if this agent dies too soon.
//! Once a second: losses told, bounds enforced, a sign of life if it is time.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use interdict_abi::ids::Family;
use interdict_rules::meta::Severity;

use super::{
    held::HeldBack,
    intake::{Intake, Taken},
    journal::NO_ENTRY,
    keeper::Keeper,
    narrow::Narrowed,
    repeats,
    snooze::Snoozes,
    throttle::{self, Outcome, Throttle},
    views,
};
use crate::{
    alert::{
        self, Alert, Notice,
        build::{PolicyView, Scene},
        model::HostInfo,
        redact::Redaction,
        seal::Sealer,
    },
    canary::acts::PREFIX,
    enrich::Enricher,
    events::{self, Decision, KernelEvent},
    sys::heap,
    wall,
};

/// Time between two looks at what is due.
const TICK: Duration = Duration::from_secs(1);

/// Alerts spooled and synced together at most: 2 MB, which stays in the cache of a core from one stage to the next.
const APPEND: usize = 1_024;

/// Records that were only counted, after which the counts are written before their second is over: the journal has room for
/// a few times as many.
const TALLIED: usize = 8_192;

/// Reasons that begin so are faults that the kernel side decided with, not losses.
pub(super) const FAULT: &str = "fault ";

/// Records after which the heap is worth tidying up, and the least time between two times of it: while more come, and
/// when hardly any do.
const TIDY_BUSY: (usize, Duration) = (10_000, Duration::from_secs(60));
const TIDY_QUIET: (usize, Duration) = (1_000, Duration::from_secs(5));
/// Fewer records in a second than this are hardly any.
const HARDLY_ANY: usize = 100;

pub(super) struct Worker {
    intake: Arc<Intake>,
    sealer: Sealer,
    keeper: Keeper,
    enricher: Enricher,
    redaction: Redaction,
    scene: Scene,
    policies: VecDeque<Arc<PolicyView>>,
    pending: Vec<Alert>,
    /// For each of them the place in the journal of the record that led to it.
    sources: Vec<u64>,
    /// The same for the batch in flight.
    handed_sources: Vec<u64>,
    /// Records that came to nothing that is told.
    done: Vec<u64>,
    /// Records that were counted since the counts were written.
    tallied: Vec<u64>,
    throttle: Throttle,
    snoozes: Snoozes,
    held_back: HeldBack,
    /// Alerts of containers whose names are waited for, in their order.
    held: VecDeque<Held>,
    /// How many of each container.
    held_of: HashMap<u64, usize>,
    agent_before: Option<u32>,
    told_losses: BTreeMap<String, u64>,
    /// What will have been told once the pending alerts are durable.
    telling_losses: Option<BTreeMap<String, u64>>,
    /// What will have been told once the batch in flight is.
    handed_losses: Option<BTreeMap<String, u64>>,
    /// The rows of repeats that the pending alerts tell, and those that the batch in flight does.
    telling_rows: Option<u64>,
    handed_rows: Option<u64>,
    alive: Duration,
    last_alive: Instant,
    last_tick: Instant,
    last_tidy: Instant,
    /// Records since the heap was tidied up.
    untidied: usize,
    /// As many at the tick before.
    untidied_before: usize,
}

/// An alert of a container whose names are waited for.
struct Held {
    source: u64,
    cgroup: u64,
    generation: u32,
    time_ns: u64,
    alert: Alert,
    narrowed: Option<Narrowed>,
}

/// Alerts held at most; more are told without names.
const HELD: usize = 4_096;

/// Time between two looks at what is held, and after which the last batch is looked after.
const HELD_LOOK: Duration = Duration::from_millis(20);

/// What a worker is made of.
pub(super) struct Parts {
    pub(super) intake: Arc<Intake>,
    pub(super) sealer: Sealer,
    pub(super) keeper: Keeper,
    pub(super) redaction: Redaction,
    pub(super) enricher: Enricher,
    pub(super) host: HostInfo,
    /// Time between signs of life.
    pub(super) alive: Duration,
    pub(super) snoozes: Snoozes,
    pub(super) held_back: HeldBack,
    /// The policies that the agent before knew.
    pub(super) policies: VecDeque<Arc<PolicyView>>,
}

impl Worker {
    pub(super) fn new(parts: Parts) -> Self {
        let now = Instant::now();
        let told_losses = parts.intake.told();
        let agent_before = parts.intake.agent_before();
        Self {
            intake: parts.intake,
            sealer: parts.sealer,
            keeper: parts.keeper,
            enricher: parts.enricher,
            redaction: parts.redaction,
            scene: Scene { host: parts.host.into(), wall_minus_boot_ns: 0 },
            pending: Vec::new(),
            sources: Vec::new(),
            handed_sources: Vec::new(),
            done: Vec::new(),
            tallied: Vec::new(),
            throttle: Throttle::default(),
            snoozes: parts.snoozes,
            held_back: parts.held_back,
            policies: parts.policies,
            held: VecDeque::new(),
            held_of: HashMap::new(),
            agent_before,
            told_losses,
            telling_losses: None,
            handed_losses: None,
            telling_rows: None,
            handed_rows: None,
            alive: parts.alive,
            last_alive: now,
            last_tick: now,
            last_tidy: now,
            // What starting took.
            untidied: TIDY_QUIET.0,
            untidied_before: 0,
        }
    }

    pub(super) fn run(mut self) {
        self.enricher.seed();
        let (wall_ns, boot_ns) = clocks();
        self.scene.wall_minus_boot_ns = wall_ns - i128::from(boot_ns);
        self.refresh_snoozes();
        let head = self.sealer.head().clone();
        for held in self.held_back.interrupted(&head.stream, head.seq) {
            self.tell_held(held, true, boot_ns);
        }
        self.keep_counts();
        let mut spare = Vec::new();
        loop {
            let tick = TICK.saturating_sub(self.last_tick.elapsed());
            let at_rest = self.held.is_empty() && self.keeper.before().is_none();
            let patience = if at_rest { tick } else { tick.min(HELD_LOOK) };
            let taken = self.intake.take(patience, spare);
            if taken.records.is_empty() {
                // By now it is durable: its records make room.
                self.settle();
            }
            self.work(&taken);
            if self.last_tick.elapsed() >= TICK && !taken.closed {
                self.tick();
            }
            self.flush();
            if taken.closed {
                self.settle();
                self.keep_counts();
                self.held_back.finish();
                return;
            }
            spare = taken.records;
        }
    }

    fn work(&mut self, taken: &Taken) {
        let (wall_ns, boot_ns) = clocks();
        self.scene.wall_minus_boot_ns = wall_ns - i128::from(boot_ns);
        for policy in &taken.policies {
            self.adopt(policy);
        }
        // A notice that the agent stops comes after everything it has seen.
        let (stops, notices): (Vec<&Notice>, Vec<&Notice>) =
            taken.notices.iter().partition(|notice| matches!(notice, Notice::Stopped { .. }));
        for notice in notices {
            self.tell(notice, boot_ns);
        }
        for counted in &taken.counted {
            let policy = view(&self.policies, counted.subject.generation);
            let name = self.intake.name_of(&counted.subject);
            let notice = repeats::notice(counted, name, policy, &mut self.enricher, &self.scene);
            self.tell(&notice, boot_ns);
            self.telling_rows = Some(taken.handed);
        }
        for (source, record) in taken.iter() {
            self.untidied += 1;
            if taken.found {
                self.intake.trying(source);
                self.intake.note(record);
            }
            match events::decode(record) {
                Ok(event) => self.event(&event, source),
                Err(error) => {
                    self.intake.lost(error.reason(), 1);
                    self.intake.done(&[source]);
                }
            }
            if self.pending.len() >= APPEND {
                if taken.found {
                    // That the agent dies while it writes says nothing about this record.
                    self.intake.trying(NO_ENTRY);
                }
                self.flush();
            }
            if self.tallied.len() >= TALLIED {
                self.keep_counts();
            }
        }
        if !self.tallied.is_empty() && self.intake.is_crowded() {
            self.keep_counts();
        }
        if taken.found {
            self.intake.trying(NO_ENTRY);
        }
        self.intake.done(&self.done);
        self.done.clear();
        self.release(taken.closed);
        if !stops.is_empty() {
            // What is told now counts on what was told before.
            self.settle();
            self.tell_repeats(u64::MAX, boot_ns);
            // Before they are on their way, as in a tick.
            self.keep_counts();
            self.tell_losses(boot_ns);
        }
        for notice in stops {
            self.tell(notice, boot_ns);
        }
    }

    fn event(&mut self, event: &KernelEvent<'_>, source: u64) {
        match event {
            KernelEvent::Fork(fork) => {
                self.enricher.forked(fork);
                self.done.push(source);
            }
            KernelEvent::Exec(exec) => {
                self.enricher.executed(exec);
                self.done.push(source);
            }
            KernelEvent::Exit(exit) => {
                self.enricher.exited(exit);
                self.done.push(source);
            }
            KernelEvent::Guard(attempt) => {
                let context = self.enricher.context(&attempt.actor);
                let names = self.intake.guarded();
                let path = names.get(&attempt.guarded).map(String::as_str);
                let alert = alert::attempted(attempt, path, &context, &self.scene);
                self.push(alert, source);
            }
            KernelEvent::Decision(decision) => {
                let mut context = self.enricher.context(&decision.actor);
                if decision.target != 0 {
                    context.target = Some(self.enricher.process(decision.target));
                }
                let policy = view(&self.policies, decision.generation.0);
                let narrowed =
                    Narrowed::of(decision, &context, policy, &mut self.enricher, &self.scene);
                let (cgroup, generation) = (decision.actor.cgroup, decision.generation.0);
                let time_ns = decision.time_ns;
                let waits = context.container.as_ref().is_some_and(|one| one.metadata.is_none())
                    && self.enricher.awaits_names(cgroup);
                let Some(told) = narrowed.told(policy) else { return self.done.push(source) };
                let alert =
                    alert::build(decision, &told, &context, policy, &self.redaction, &self.scene);
                if self.is_canary(decision, &alert) {
                    return self.done.push(source);
                }
                // Behind one that waits, the next of its container waits too: they keep their order.
                if !waits && !self.held_of.contains_key(&cgroup) {
                    return self.tell_decision(alert, source, generation, time_ns);
                }
                if self.held.len() >= HELD {
                    self.release(true);
                }
                *self.held_of.entry(cgroup).or_default() += 1;
                let narrowed = waits.then_some(narrowed).filter(Narrowed::may_change);
                self.held.push_back(Held { source, cgroup, generation, time_ns, alert, narrowed });
            }
        }
    }

    fn tell_decision(&mut self, alert: Alert, source: u64, generation: u32, time_ns: u64) {
        let policy = view(&self.policies, generation);
        match self.throttle.take(&alert, policy, &self.snoozes, time_ns) {
            Outcome::Tell => self.push(alert, source),
            Outcome::Hold => {
                self.intake.tally(source, self.held_back.number() + 1);
                self.tallied.push(source);
            }
        }
    }

    fn push(&mut self, alert: Alert, source: u64) {
        self.pending.push(alert);
        self.sources.push(source);
    }

    /// Writes what is held back; the records that were only counted are done with then.
    fn keep_counts(&mut self) {
        let durable = self.sealer.head().seq;
        // What is in flight may be lost yet.
        let durable = self.keeper.before().map_or(durable, |before| before.seq);
        if self.held_back.keep(self.throttle.running(), durable) {
            self.intake.done(&self.tallied);
            self.tallied.clear();
        }
    }

    /// Tells what was held, with the names of its container if they have come, without if they are late. `all`: now.
    fn release(&mut self, all: bool) {
        for _ in 0..self.held.len() {
            let Some(mut held) = self.held.pop_front() else { return };
            let container = self.enricher.container(held.cgroup, 0);
            match container.filter(|container| container.metadata.is_some()) {
                Some(named) => {
                    let policy = view(&self.policies, held.generation);
                    alert::build::rename(&mut held.alert, &named, policy);
                    if let Some(narrowed) = &mut held.narrowed {
                        narrowed.name(&named);
                        match narrowed.told(policy) {
                            Some(told) => {
                                alert::build::retell(
                                    &mut held.alert,
                                    narrowed.family,
                                    &told,
                                    policy,
                                );
                            }
                            None => {
                                self.forget_held(held.cgroup);
                                self.intake.done(&[held.source]);
                                continue;
                            }
                        }
                    }
                }
                None if !all && self.enricher.awaits_names(held.cgroup) => {
                    self.held.push_back(held);
                    continue;
                }
                None => {}
            }
            self.forget_held(held.cgroup);
            self.tell_decision(held.alert, held.source, held.generation, held.time_ns);
        }
    }

    fn forget_held(&mut self, cgroup: u64) {
        if let Some(count) = self.held_of.get_mut(&cgroup) {
            *count -= 1;
            if *count == 0 {
                self.held_of.remove(&cgroup);
            }
        }
    }

    /// Names that came after alerts had gone without them.
    fn tell_late_names(&mut self, boot_ns: u64) {
        for container in self.enricher.named_late() {
            let Some(metadata) = &container.metadata else { continue };
            let pairs = [
                ("id", &container.id),
                ("name", &metadata.name),
                ("image", &metadata.image),
                ("namespace", &metadata.namespace),
                ("pod", &metadata.pod),
                ("pod_uid", &container.pod_uid),
            ];
            let known = pairs.into_iter().filter(|(_, value)| !value.is_empty());
            let notice = Notice::Other {
                name: "container-named",
                severity: Severity::Info,
                message: format!(
                    "container {} is {}; alerts before this one went without",
                    container.id, metadata.name
                ),
                detail: known.map(|(name, value)| (name.to_owned(), value.clone())).collect(),
            };
            self.tell(&notice, boot_ns);
        }
    }

    /// Whether the agent itself has tried an act that must be refused, or a child that it made to try it, or the agent
    /// before, which did not live to read the record.
    fn is_canary(&self, decision: &Decision<'_>, alert: &Alert) -> bool {
        let by = |agent: u32| decision.actor.pid == agent || decision.actor.parent == agent;
        // A packet has no process; where canaries send theirs nobody listens.
        let packet = decision.acts.family() == Family::Packet
            && alert.rules.iter().all(|rule| rule.id.starts_with(PREFIX));
        if !packet && !by(std::process::id()) && !self.agent_before.is_some_and(by) {
            return false;
        }
        let mut canary = false;
        for rule in alert.rules.iter().filter(|rule| rule.id.starts_with(PREFIX)) {
            self.intake.canaries.saw(&rule.id);
            canary = true;
        }
        canary
    }

    /// That it is in force was told in its place among the notices.
    fn adopt(&mut self, policy: &Arc<PolicyView>) {
        self.policies.retain(|known| known.generation != policy.generation);
        self.policies.push_back(Arc::clone(policy));
        views::trim(&mut self.policies, views::KNOWN);
    }

    fn tell(&mut self, notice: &Notice, boot_ns: u64) {
        self.push(notice.alert(&self.scene, boot_ns), NO_ENTRY);
    }

    /// Tells what was held back, and notes under which number. No batch may be handed over before this one is.
    fn tell_held(&mut self, held: throttle::Held, interrupted: bool, boot_ns: u64) {
        self.tell(&held.notice(interrupted), boot_ns);
        let head = self.sealer.head();
        let seq = head.seq + self.pending.len() as u64;
        let stream = head.stream.clone();
        self.held_back.telling(&stream, seq, held);
    }

    fn tick(&mut self) {
        // A loss is told even if nothing else comes.
        self.settle();
        let (_, boot_ns) = clocks();
        self.last_tick = Instant::now();
        self.enricher.refresh();
        self.refresh_snoozes();
        self.tell_late_names(boot_ns);
        self.tell_repeats(boot_ns, boot_ns);
        // What a period's end takes out of the counts is told by the next batch, and is kept until that is durable.
        self.keep_counts();
        self.tell_losses(boot_ns);
        self.keeper.enforce_limits();
        self.intake.trim();
        self.tidy();
        if !self.alive.is_zero() && self.last_alive.elapsed() >= self.alive {
            self.last_alive = Instant::now();
            let notice = Notice::Alive {
                alerts: self.sealer.head().seq + self.pending.len() as u64,
                generation: self.policies.back().map_or(0, |policy| policy.generation),
            };
            self.tell(&notice, boot_ns);
        }
    }

    /// Gives the system back what many records have left free in the heap.
    fn tidy(&mut self) {
        let quiet = self.untidied - self.untidied_before < HARDLY_ANY;
        self.untidied_before = self.untidied;
        let (records, pause) = if quiet { TIDY_QUIET } else { TIDY_BUSY };
        if self.untidied >= records && self.last_tidy.elapsed() >= pause {
            self.untidied = 0;
            self.untidied_before = 0;
            self.last_tidy = Instant::now();
            heap::give_back();
        }
    }

    fn refresh_snoozes(&mut self) {
        let (wall_ns, boot_ns) = clocks();
        let now = u64::try_from(wall_ns / 1_000_000_000).unwrap_or(0);
        if let Some(message) = self.snoozes.refresh(now) {
            let notice = Notice::Other {
                name: "snooze-changed",
                severity: Severity::Medium,
                message,
                detail: BTreeMap::new(),
            };
            self.scene.wall_minus_boot_ns = wall_ns - i128::from(boot_ns);
            self.tell(&notice, boot_ns);
        }
    }

    fn tell_repeats(&mut self, until_ns: u64, boot_ns: u64) {
        for held in self.throttle.ended(until_ns) {
            self.tell_held(held, false, boot_ns);
        }
    }

    fn tell_losses(&mut self, boot_ns: u64) {
        let losses = self.intake.losses();
        let told = self.telling_losses.as_ref().or(self.handed_losses.as_ref());
        let told = told.unwrap_or(&self.told_losses);
        let news: BTreeMap<String, u64> = losses
            .iter()
            .map(|(reason, count)| (reason.clone(), count - told.get(reason).copied().unwrap_or(0)))
            .filter(|(_, count)| *count > 0)
            .collect();
        if news.is_empty() {
            return;
        }
        let (faults, lost): (BTreeMap<String, u64>, BTreeMap<String, u64>) =
            news.into_iter().partition(|(reason, _)| reason.starts_with(FAULT));
        if !lost.is_empty() {
            self.tell(&Notice::Losses { counts: lost }, boot_ns);
        }
        if !faults.is_empty() {
            let named = |(reason, count): (String, u64)| (reason[FAULT.len()..].to_owned(), count);
            self.tell(&Notice::Faults { counts: faults.into_iter().map(named).collect() }, boot_ns);
        }
        self.telling_losses = Some(losses);
    }

    /// Seals what is pending and hands it over. Nothing pending: takes note of what became of the last batch.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let before = self.sealer.head().clone();
        let sealed = self.sealer.seal(std::mem::take(&mut self.pending));
        let sources = std::mem::take(&mut self.sources);
        let telling = self.telling_losses.take();
        let rows = self.telling_rows.take();
        if let Some(reason) = self.settle() {
            // Chained to what was lost.
            self.lost(reason, sealed.len(), &sources);
            self.rows_settled(rows, false);
            return;
        }
        self.intake.assign(&sources, before.seq + 1, telling.as_ref());
        self.keeper.hand_over(sealed, before);
        self.handed_sources = sources;
        self.handed_losses = telling;
        self.handed_rows = rows;
    }

    /// What rows of repeats said in a batch is durable, or has to be told again.
    fn rows_settled(&self, rows: Option<u64>, durable: bool) {
        if let Some(number) = rows {
            self.intake.rows_settled(number, durable);
        }
    }

    /// Counts alerts as lost, and only then lets go of the records they came from.
    fn lost(&self, reason: &str, alerts: usize, sources: &[u64]) {
        self.intake.lost(reason, alerts as u64);
        self.intake.settle(sources, false);
    }

    /// Waits for the batch in flight. If it was lost, takes its places back and says why.
    fn settle(&mut self) -> Option<&'static str> {
        let sources = std::mem::take(&mut self.handed_sources);
        match self.keeper.settle() {
            Ok(()) => {
                self.intake.settle(&sources, true);
                let rows = self.handed_rows.take();
                self.rows_settled(rows, true);
                if let Some(told) = self.handed_losses.take() {
                    self.told_losses = told;
                }
                None
            }
            Err(lost) => {
                self.handed_losses = None;
                let rows = self.handed_rows.take();
                self.rows_settled(rows, false);
                // Of the batch that was about to follow as well.
                let held_back = self.held_back.lost_from(lost.before.seq + 1);
                self.intake.lost(lost.reason, held_back);
                self.sealer.rewind(lost.before);
                self.lost(lost.reason, lost.count, &sources);
                Some(lost.reason)
            }
        }
    }
}

/// The policy of a generation, if it is still known.
fn view(policies: &VecDeque<Arc<PolicyView>>, generation: u32) -> Option<&PolicyView> {
    policies.iter().rev().find(|policy| policy.generation == generation).map(Arc::as_ref)
}

/// Wall clock and boot time, ns.
pub(super) fn clocks() -> (i128, u64) {
    (wall::now_ns(), wall::boot_ns())
}
