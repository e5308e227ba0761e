//! From a decision and its context to an alert.
//!
//! Pure: no clock, no files; the same input gives the same alert. Sequence number, stream and id are left empty: only
//! the sealer, which knows the chain, fills them.

use std::{collections::BTreeMap, net::Ipv6Addr};

use interdict_abi::{
    event::FlowTotals,
    ids::{Act, Action, Calling, Family, Fault, object_flags},
};
use interdict_rules::{
    field::{Words, domain, number_words, syscall_name},
    meta::{Metadata, RuleMeta, Severity, ThrottleMeta},
    told::{Condition, Known},
};
use zerocopy::FromBytes as _;

use super::{
    fields,
    message::{self, Template},
    model::{
        Agent, Alert, AncestorInfo, CallInfo, ContainerInfo, DecisionInfo, FlowInfo, HostInfo,
        Kind, NoticeInfo, ObjectInfo, PolicyInfo, ProcessInfo, RuleInfo, SCHEMA, Word,
    },
    redact::Redaction,
    shared::Shared,
    text::Text,
};
use crate::{
    enrich::{
        Context,
        container::Container,
        process::{Arguments, Lineage, Program},
    },
    events::{Actor, Attempt, Decision, Object, RecordFlags},
};

/// Arguments told of each ancestor.
const ANCESTOR_ARGS: usize = 16;

/// What the agent knows about one loaded policy, prepared for building alerts.
#[derive(Clone, Debug)]
pub struct PolicyView {
    /// Generation it was loaded as.
    pub generation: u32,
    /// SHA-256 of the image, hex.
    pub digest: String,
    /// Everything the compiler told about it.
    pub metadata: Metadata,
    prepared: Vec<Prepared>,
    throttled: Vec<(String, ThrottleMeta)>,
    info: Shared<PolicyInfo>,
}

#[derive(Clone, Debug)]
struct Prepared {
    info: Shared<RuleInfo>,
    template: Option<Template>,
    fields: Vec<String>,
    condition: Condition,
    asks_of_container: bool,
    asks_of_arguments: bool,
    asks_of_programs: bool,
}

impl PolicyView {
    /// Prepares a policy's metadata.
    pub fn new(generation: u32, digest: String, metadata: Metadata) -> Self {
        let prepared = metadata.rules.iter().map(prepare).collect();
        let throttled = metadata
            .rules
            .iter()
            .filter_map(|rule| Some((rule.id.clone(), rule.throttle.clone()?)))
            .collect();
        let info = Shared::new(PolicyInfo { digest: Some(digest.clone()), generation });
        Self { generation, digest, metadata, prepared, throttled, info }
    }

    /// How often a rule is told, if it says so.
    pub fn throttle(&self, id: &str) -> Option<&ThrottleMeta> {
        // Few rules throttle, and the list is short next to an alert.
        let rule = self.throttled.iter().find(|(known, _)| known == id);
        rule.map(|(_, throttle)| throttle)
    }

    /// The fields of class U that the rules of these clauses test.
    pub fn narrowing_fields(&self, family: Family, clauses: &[u16]) -> Vec<&str> {
        let rules = clauses.iter().filter_map(|clause| self.rule(family, *clause));
        rules.flat_map(|rule| rule.condition.fields()).collect()
    }

    /// Those of the clauses whose rules are told, given what is known of fields of class U. A rule that is told on
    /// several conditions is told once.
    pub fn narrow(
        &self,
        family: Family,
        clauses: &[u16],
        known: &BTreeMap<String, Known>,
    ) -> Vec<u16> {
        let mut seen: Vec<&str> = Vec::new();
        let mut told = clauses.to_vec();
        told.retain(|clause| {
            let Some(rule) = self.rule(family, *clause) else { return true };
            if rule.condition.is_empty() {
                return true;
            }
            let mut look = |field: &str| known.get(field).cloned().unwrap_or(Known::Unknown);
            let id = rule.info.id.as_str();
            let first = !seen.contains(&id) && rule.condition.holds(&mut look);
            if first {
                seen.push(id);
            }
            first
        });
        told
    }

    /// The id of the rule that a clause belongs to.
    pub fn rule_id(&self, family: Family, clause: u16) -> Option<&str> {
        self.rule(family, clause).map(|rule| rule.info.id.as_str())
    }

    /// Whether the rule of a clause asks for what a fault is about. Of one that is not known it is not ruled out.
    fn asks(&self, family: Family, clause: u16, fault: Fault) -> bool {
        self.rule(family, clause).is_none_or(|rule| match fault {
            Fault::Workload => rule.asks_of_container,
            Fault::Args => rule.asks_of_arguments,
            Fault::Process => rule.asks_of_programs,
            _other => true,
        })
    }

    /// The rule that clause `clause` of `family` belongs to.
    fn rule(&self, family: Family, clause: u16) -> Option<&Prepared> {
        let clauses = self.metadata.clauses.get(usize::from(family as u8))?;
        let rule = clauses.get(usize::from(clause))?.rule;
        self.prepared.get(usize::try_from(rule).ok()?)
    }
}

fn prepare(rule: &RuleMeta) -> Prepared {
    Prepared {
        info: Shared::new(RuleInfo {
            action: rule.action.clone(),
            attack: rule.attack.clone(),
            file: rule.file.clone(),
            id: rule.id.clone(),
            line: rule.line,
            mode: rule.mode.clone(),
            policy: rule.policy.clone(),
            severity: rule.severity,
            tags: rule.tags.clone(),
            title: rule.title.clone(),
        }),
        template: (!rule.message.is_empty()).then(|| Template::parse(&rule.message)),
        fields: fields::mentioned(&rule.when),
        condition: Condition::new(&rule.narrowed),
        asks_of_container: rule.asks_of_container,
        asks_of_arguments: rule.asks_of_arguments,
        asks_of_programs: rule.asks_of_programs,
    }
}

/// Where and on what clock alerts are built.
#[derive(Clone, Debug)]
pub struct Scene {
    /// This host.
    pub host: Shared<HostInfo>,
    /// Wall clock minus `CLOCK_BOOTTIME`, ns, as of now.
    pub wall_minus_boot_ns: i128,
}

impl Scene {
    /// The wall clock time of a boot time, RFC 3339.
    pub fn wall_time(&self, boot_ns: u64) -> String {
        let wall_ns = (i128::from(boot_ns) + self.wall_minus_boot_ns).max(0);
        rfc3339(u64::try_from(wall_ns).unwrap_or(u64::MAX))
    }
}

/// An alert about nothing yet.
pub(super) fn blank(scene: &Scene, kind: Kind, boot_ns: u64) -> Alert {
    Alert {
        acts: Vec::new(),
        agent: Agent { version: Word::Borrowed(env!("CARGO_PKG_VERSION")) },
        container: None,
        decision: None,
        escaped: Vec::new(),
        facts: BTreeMap::new(),
        host: scene.host.clone(),
        id: String::new(),
        kind,
        message: String::new(),
        notice: None,
        object: None,
        policy: None,
        process: None,
        redacted: Vec::new(),
        rules: Vec::new(),
        schema: Word::Borrowed(SCHEMA),
        seq: 0,
        severity: Severity::Info,
        stream: String::new(),
        time: scene.wall_time(boot_ns),
        time_boot_ns: boot_ns.to_string(),
        trimmed: Vec::new(),
    }
}

/// Builds the alert of a decision of which `clauses` are told ([`PolicyView::narrow`]). `policy` is the one of the decision's generation, if it is still known.
pub fn build(
    decision: &Decision<'_>,
    clauses: &[u16],
    context: &Context,
    policy: Option<&PolicyView>,
    redaction: &Redaction,
    scene: &Scene,
) -> Alert {
    let mut alert = blank(scene, Kind::Decision, decision.time_ns);
    let mut marks = Marks::default();
    alert.acts = acts(decision);
    alert.decision = Some(decided(decision, policy));
    let mut object = object(decision, redaction, &mut marks);
    object.target_exe =
        context.target.as_ref().and_then(|target| marks.exe("object.target_exe", &target.program));
    alert.object = Some(object);
    alert.policy = Some(match policy {
        Some(policy) => policy.info.clone(),
        None => Shared::new(PolicyInfo { digest: None, generation: decision.generation.0 }),
    });
    if decision.acts.family().has_process() {
        alert.process = Some(process(&decision.actor, context, &mut marks));
        alert.container = context.container.as_deref().map(container);
    }
    alert.escaped = marks.escaped;
    alert.redacted = marks.redacted;

    retell(&mut alert, decision.acts.family(), clauses, policy);
    alert
}

/// Tells the rules of these clauses, and no others. `policy` is the one of the decision.
pub fn retell(alert: &mut Alert, family: Family, clauses: &[u16], policy: Option<&PolicyView>) {
    let told: Vec<&Prepared> =
        clauses.iter().filter_map(|clause| policy?.rule(family, *clause)).collect();
    alert.rules = told.iter().map(|rule| rule.info.clone()).collect();
    // A decision whose rules are not known must not pass as harmless.
    alert.severity = told.iter().map(|rule| rule.info.severity).max().unwrap_or(Severity::High);
    describe(alert, &told);
}

/// The facts that the told rules test, and the sentence.
fn describe(alert: &mut Alert, told: &[&Prepared]) {
    alert.facts.clear();
    for name in told.iter().flat_map(|rule| &rule.fields) {
        if !alert.facts.contains_key(name)
            && let Some(value) = fields::value(alert, name).map(std::borrow::Cow::into_owned)
        {
            alert.facts.insert(name.clone(), value);
        }
    }
    alert.message = match told.first().and_then(|rule| rule.template.as_ref()) {
        Some(template) => template.fill(alert),
        None => message::default_sentence(alert),
    };
}

/// Puts in a container whose names have come since the alert was built. `policy` is the one it was built with.
pub fn rename(alert: &mut Alert, named: &Container, policy: Option<&PolicyView>) {
    alert.container = Some(container(named));
    let told: Vec<&Prepared> = alert
        .rules
        .iter()
        .filter_map(|rule| policy?.prepared.iter().find(|known| known.info.id == rule.id))
        .collect();
    describe(alert, &told);
}

fn container(container: &Container) -> ContainerInfo {
    let known = container.metadata.clone();
    let late = known.is_none() && container.has_names();
    let known = known.unwrap_or_default();
    ContainerInfo {
        cgroup: container.cgroup.clone(),
        id: container.id.clone(),
        image: known.image,
        late,
        name: known.name,
        namespace: known.namespace,
        pod: known.pod,
        pod_uid: container.pod_uid.clone(),
        privileged: known.privileged == Some(true),
        runtime: Word::Borrowed(container.runtime),
        service_account: known.service_account,
    }
}

/// Builds the alert of something that was done to the agent and refused. `path`: what the guarded file is called.
pub fn attempted(
    attempt: &Attempt<'_>,
    path: Option<&str>,
    context: &Context,
    scene: &Scene,
) -> Alert {
    let mut alert = blank(scene, Kind::Agent, attempt.time_ns);
    let mut marks = Marks::default();
    alert.severity = Severity::Critical;
    let process = process(&attempt.actor, context, &mut marks);
    let name = (!attempt.name.is_empty()).then(|| marks.bytes("object.second_path", attempt.name));
    let (device, inode) = attempt.guarded;
    let who = process.exe.clone().unwrap_or_else(|| process.name.clone());
    let what = path.map(str::to_owned).or_else(|| name.clone()).unwrap_or_default();
    let sentence = format!(
        "refused: {who} (pid {}, uid {}) tried to tamper with the agent: {} {what}",
        process.pid,
        process.uid,
        attempt.act.name(),
    );
    super::text::for_people(&mut alert.message, sentence.trim_end());
    alert.object = Some(ObjectInfo {
        device: (inode != 0).then(|| format!("{}:{}", device >> 20, device & 0xf_ffff)),
        inode: (inode != 0).then(|| inode.to_string()),
        number: Some(attempt.number),
        path: path.map(str::to_owned),
        second_path: name,
        target_pid: (attempt.target != 0).then_some(attempt.target),
        ..ObjectInfo::default()
    });
    alert.process = Some(process);
    alert.container = context.container.as_deref().map(container);
    alert.escaped = marks.escaped;
    alert.redacted = marks.redacted;
    alert.notice = Some(NoticeInfo {
        detail: BTreeMap::from([("act".to_owned(), attempt.act.name().into())]),
        name: Word::Borrowed("tampering"),
    });
    alert
}

/// Which fields are not verbatim.
#[derive(Default)]
struct Marks {
    escaped: Vec<String>,
    redacted: Vec<String>,
}

impl Marks {
    fn text(&mut self, name: &str, text: &Text) -> String {
        if text.escaped {
            self.escaped.push(name.to_owned());
        }
        text.shown.clone()
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> String {
        let text = Text::from_bytes(bytes);
        if text.escaped {
            self.escaped.push(name.to_owned());
        }
        text.shown
    }

    fn args(&mut self, name: &str, args: &Arguments, limit: usize) -> Vec<String> {
        let named = |index: &&u16| usize::from(**index) < limit;
        let name = |index: &u16| format!("{name}.{index}");
        self.escaped.extend(args.escaped.iter().filter(named).map(name));
        self.redacted.extend(args.redacted.iter().filter(named).map(name));
        args.shown.iter().take(limit).cloned().collect()
    }

    /// What of an ancestor is not verbatim: hardly ever anything.
    fn ancestor(&mut self, index: usize, program: &Program) {
        let args = &program.args;
        if !program.exe.escaped && args.escaped.is_empty() && args.redacted.is_empty() {
            return;
        }
        let name = format!("process.ancestors.{index}");
        let _shown = self.args(&format!("{name}.args"), args, ANCESTOR_ARGS);
        let _shown = self.exe(&format!("{name}.exe"), program);
    }

    fn exe(&mut self, name: &str, program: &Program) -> Option<String> {
        (!program.exe.shown.is_empty()).then(|| self.text(name, &program.exe))
    }
}

fn acts(decision: &Decision<'_>) -> Vec<Word> {
    let mut acts: Vec<Word> = decision.acts.iter().map(|act| Word::Borrowed(act.name())).collect();
    let unknown = decision.acts.unknown();
    if unknown != 0 || acts.is_empty() {
        acts.push(Word::Owned(format!("{}.unknown-{unknown:#x}", decision.acts.family().name())));
    }
    acts
}

/// The fault that is told. That something of the acting process or its container is not known comes of any rule on such acts
/// that asks for it; it is told only if one that matched does, or may be among those the record had no room for.
fn fault(decision: &Decision<'_>, policy: Option<&PolicyView>) -> Option<Word> {
    let asked = |fault: Fault| {
        policy.is_none_or(|policy| {
            let asks = |clause: &u16| policy.asks(decision.acts.family(), *clause, fault);
            decision.flags.more_rules() || decision.clauses().iter().any(asks)
        })
    };
    let unknown = [
        (Fault::Process, decision.flags.process_unknown()),
        (Fault::Args, decision.flags.args_unknown()),
        (Fault::Workload, decision.flags.workload_unknown()),
    ];
    let told = if decision.fault == Fault::None
        || unknown.iter().any(|(one, _)| *one == decision.fault)
    {
        let found = |(one, flag): &(Fault, bool)| (*flag || *one == decision.fault) && asked(*one);
        unknown.into_iter().find(found).map(|(one, _)| one)
    } else {
        Some(decision.fault)
    };
    told.map(|fault| Word::Borrowed(fault.name()))
}

fn decided(decision: &Decision<'_>, policy: Option<&PolicyView>) -> DecisionInfo {
    DecisionInfo {
        errno: (decision.errno != 0).then_some(decision.errno),
        fault: fault(decision, policy),
        mode: Word::Borrowed(if decision.would > decision.verdict { "audit" } else { "enforce" }),
        more_rules: decision.flags.more_rules(),
        verdict: Word::Borrowed(decision.verdict.name()),
        would: Word::Borrowed(decision.would.max(decision.verdict).name()),
    }
}

fn process(actor: &Actor, context: &Context, marks: &mut Marks) -> ProcessInfo {
    let known = &context.process;
    let ancestors = context
        .ancestors()
        .enumerate()
        .map(|(index, ancestor)| {
            marks.ancestor(index, &ancestor.program);
            ancestor.told.get_or_init(|| Shared::new(told(ancestor))).clone()
        })
        .collect();
    let start_ns = if actor.start_ns != 0 { actor.start_ns } else { known.start_ns };
    ProcessInfo {
        ancestors,
        args: marks.args("process.args", &known.program.args, usize::MAX),
        args_truncated: known.program.args.truncated,
        cgroup_id: actor.cgroup.to_string(),
        euid: actor.euid,
        euser: context.effective_user.as_deref().map(str::to_owned),
        exe: marks.exe("process.exe", &known.program),
        gid: actor.gid,
        group: context.group.as_deref().map(str::to_owned),
        name: marks.bytes("process.name", actor.name()),
        parent_pid: actor.parent,
        pid: actor.pid,
        source: Word::Borrowed(known.source.name()),
        start_boot_ns: (start_ns != 0).then(|| start_ns.to_string()),
        tid: actor.tid,
        uid: actor.uid,
        user: context.user.as_deref().map(str::to_owned),
    }
}

/// An ancestor as alerts have it: the same in all of them.
fn told(ancestor: &Lineage) -> AncestorInfo {
    let program = &ancestor.program;
    let exe = &program.exe.shown;
    AncestorInfo {
        args: program.args.shown.iter().take(ANCESTOR_ARGS).cloned().collect(),
        exe: (!exe.is_empty()).then(|| exe.clone()),
        pid: ancestor.pid,
        start_boot_ns: (ancestor.start_ns != 0).then(|| ancestor.start_ns.to_string()),
    }
}

fn object(decision: &Decision<'_>, redaction: &Redaction, marks: &mut Marks) -> ObjectInfo {
    let raw = &decision.object;
    let family = decision.acts.family();
    let mut object = ObjectInfo {
        flags: if decision.acts.contains(Act::NsCreate) {
            namespaces(raw)
        } else {
            flags(raw, decision.flags)
        },
        path: (!matches!(family, Family::Net | Family::Dns) && !raw.path.is_empty())
            .then(|| marks.bytes("object.path", raw.path)),
        target_pid: (decision.target != 0).then_some(decision.target),
        ..ObjectInfo::default()
    };
    if raw.inode != 0 {
        object.inode = Some(raw.inode.to_string());
        // The kernel's dev_t: 12 bits major, 20 bits minor.
        object.device = Some(format!("{}:{}", raw.device >> 20, raw.device & 0xf_ffff));
        object.mode = Some(format!("{:o}", raw.mode));
    }
    if decision.flags.by_name() && !decision.second.is_empty() {
        object.known_as = Some(marks.bytes("object.known_as", decision.second));
    }
    match family {
        Family::Exec | Family::Started => {
            if decision.acts.contains(Act::ExecArgs) {
                let truncated = decision.flags.args_truncated();
                let args = Arguments::from_bytes(decision.second, truncated, redaction);
                object.args = marks.args("object.args", &args, usize::MAX);
                object.args_truncated = args.truncated;
            } else if !decision.second.is_empty() && !decision.flags.by_name() {
                object.second_path = Some(marks.bytes("object.second_path", decision.second));
            }
        }
        Family::File => {
            if !decision.second.is_empty() && !decision.flags.by_name() {
                object.second_path = Some(marks.bytes("object.second_path", decision.second));
            }
        }
        Family::Packet => object.flow = Some(flow(decision)),
        Family::Syscall => object.syscall = Some(call(decision)),
        Family::Net | Family::Dns => {
            object.flow = Some(flow(decision));
            if !raw.path.is_empty() {
                object.dns_name = Some(marks.bytes("object.dns_name", &domain::name(raw.path)));
            }
        }
        Family::System => object.number = Some(decision.number),
    }
    object
}

/// The system call that the record's second string tells of: see `ebpf/src/hooks/syscall.rs`.
fn call(decision: &Decision<'_>) -> CallInfo {
    const MAX_ERRNO: u64 = 4095;
    let word = |at: usize| {
        let bytes = decision.second.get(at * 8..).and_then(|rest| rest.first_chunk::<8>());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    let value = decision.number;
    let calling =
        u8::try_from(value >> Calling::SHIFT).ok().and_then(|raw| Calling::try_from(raw).ok());
    let (answer, ended, unknown) = (word(1), word(2) != 0, word(3));
    let failed = ended && (1..=MAX_ERRNO).contains(&answer.wrapping_neg());
    CallInfo {
        abi: calling.map_or(Word::Borrowed("unknown"), |calling| Word::Borrowed(calling.name())),
        arguments: (0..6)
            .map(|at| {
                if unknown >> at & 1 != 0 {
                    "unknown".to_owned()
                } else {
                    format!("{:#x}", word(4 + at))
                }
            })
            .collect(),
        error: failed.then(|| u32::try_from(answer.wrapping_neg()).unwrap_or(u32::MAX)),
        name: syscall_name(value)
            .map_or_else(|| Word::Owned((value & 0xffff).to_string()), Word::Borrowed),
        result: (ended && !failed).then(|| format!("{answer:#x}")),
    }
}

/// The types of namespaces, as the rule language names them.
fn namespaces(object: &Object<'_>) -> Vec<Word> {
    let names = number_words(Words::Namespace).iter();
    names
        .filter(|(_, bit)| object.flags >> bit & 1 != 0)
        .map(|(name, _)| Word::Borrowed(*name))
        .collect()
}

fn flags(object: &Object<'_>, of_record: RecordFlags) -> Vec<Word> {
    const NAMES: [(u32, &str); 8] = [
        (object_flags::MEMFD, "memfd"),
        (object_flags::DELETED, "deleted"),
        (object_flags::UPPER_LAYER, "upper_layer"),
        (object_flags::SETUID, "setuid"),
        (object_flags::SETGID, "setgid"),
        (object_flags::SCRIPT, "script"),
        (object_flags::DIRECTORY, "directory"),
        (object_flags::DEVICE, "device"),
    ];
    let mut bits = u32::from(object.flags);
    if of_record.path_deleted() {
        bits |= object_flags::DELETED;
    }
    let spelled = of_record.spelled().then_some("spelled");
    let names = NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name);
    names.chain(spelled).map(Word::Borrowed).collect()
}

fn flow(decision: &Decision<'_>) -> FlowInfo {
    let flow = &decision.flow;
    let ip = |ip: Ipv6Addr| {
        (!ip.is_unspecified())
            .then(|| ip.to_ipv4_mapped().map_or(ip.to_string(), |v4| v4.to_string()))
    };
    let port = |port: u16| (port != 0).then_some(port);
    let totals = decision.flags.totals().then(|| FlowTotals::read_from_prefix(decision.second));
    let totals = totals.and_then(Result::ok).map(|(totals, _)| totals);
    let known = |value: fn(&FlowTotals) -> u64| {
        totals.as_ref().map(value).filter(|value| *value != FlowTotals::UNKNOWN)
    };
    FlowInfo {
        bytes_in: known(|totals| totals.bytes_in),
        bytes_out: known(|totals| totals.bytes_out),
        duration_ns: known(|totals| totals.duration_ns),
        family: match flow.address_family {
            0 => Word::Borrowed("unspecified"),
            1 => Word::Borrowed("unix"),
            2 => Word::Borrowed("inet"),
            10 => Word::Borrowed("inet6"),
            16 => Word::Borrowed("netlink"),
            17 => Word::Borrowed("packet"),
            other => Word::Owned(other.to_string()),
        },
        local_ip: ip(flow.local_ip),
        local_port: port(flow.local_port),
        protocol: match flow.protocol {
            1 => Word::Borrowed("icmp"),
            6 => Word::Borrowed("tcp"),
            17 => Word::Borrowed("udp"),
            58 => Word::Borrowed("icmpv6"),
            132 => Word::Borrowed("sctp"),
            other => Word::Owned(other.to_string()),
        },
        remote_ip: ip(flow.remote_ip),
        remote_port: port(flow.remote_port),
    }
}

/// Whether an alert of this verdict tells of a refused act.
pub fn refused(verdict: Action) -> bool {
    match verdict {
        Action::Pass | Action::Alert => false,
        Action::Block | Action::Kill => true,
    }
}

/// Unix time in ns as RFC 3339 in UTC.
pub fn rfc3339(unix_ns: u64) -> String {
    let seconds = unix_ns / 1_000_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to civil date, on a calendar whose years start in March: leap days come last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60,
        unix_ns % 1_000_000_000
    )
}

/// The unix time in ns that [`rfc3339`] wrote. `None`: not of its making.
pub fn unix_ns(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if text.len() != 30 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    // The inverse of the above: years start in March.
    let march_year = if month <= 2 { year - 1 } else { year };
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let days =
        365 * march_year + march_year / 4 - march_year / 100 + march_year / 400 + day_of_year;
    let seconds = (days - 719_468) * 86_400
        + number(11..13)? * 3_600
        + number(14..16)? * 60
        + number(17..19)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(number(20..29)?)
}

#[cfg(test)]
mod tests;
