//! The alert, as the native JSON schema has it (`docs/schema/alert-1.json`).
//!
//! Fields are declared in the order of their JSON names, because an alert is hashed and signed in canonical form, with
//! sorted keys: so serialising gives the canonical bytes at once (a test holds this). Numbers that can pass 2^53 are
//! decimal strings, because many JSON readers keep no more. Absent means not known or not applicable, never empty.

use std::{borrow::Cow, collections::BTreeMap};

use interdict_rules::meta::Severity;
use serde::{Deserialize, Serialize};

use super::shared::Shared;

/// Name and version of the schema.
pub const SCHEMA: &str = "interdict.alert/1";

/// A word from a fixed list, or text read back from JSON.
pub type Word = Cow<'static, str>;

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Acts, such as `file.read`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acts: Vec<Word>,
    /// Who tells this.
    pub agent: Agent,
    /// The container of the actor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerInfo>,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionInfo>,
    /// Names of the fields that are in escaped form: `crate::alert::text`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escaped: Vec<String>,
    /// The fields that the told rules test, by their name in the rule language.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// Where.
    pub host: Shared<HostInfo>,
    /// Unique for ever: stream and sequence number. Receivers drop repeats by it.
    pub id: String,
    /// What sort of alert.
    pub kind: Kind,
    /// One sentence for people.
    pub message: String,
    /// What the agent has to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<NoticeInfo>,
    /// What was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectInfo>,
    /// The policy that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Shared<PolicyInfo>>,
    /// Who acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessInfo>,
    /// Names of the fields in which a secret was hidden.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
    /// Rules that matched, strongest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Shared<RuleInfo>>,
    /// [`SCHEMA`].
    pub schema: Word,
    /// Place in the stream, from 1, without gaps.
    pub seq: u64,
    /// The worst severity of the rules that matched.
    pub severity: Severity,
    /// The stream: 32 hex digits, new whenever a spool starts empty.
    pub stream: String,
    /// Wall clock time, RFC 3339 in UTC.
    pub time: String,
    /// The same on `CLOCK_BOOTTIME`, ns: order within one boot, whatever the wall clock did.
    pub time_boot_ns: String,
    /// Parts that were left out because the alert would have been too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trimmed: Vec<Word>,
}

/// Longest alert before its seal, in bytes. Receivers and the spool bound their lines; names of 4 KiB in each of 32
/// ancestors, every byte escaped, would pass any bound.
pub const ALERT_BYTES: usize = 256 << 10;

/// The name of a part and how it is left out.
type Part = (&'static str, fn(&mut Alert));

impl Alert {
    /// Leaves out the next part that is not needed to know what happened. `false`: there is nothing left to leave out.
    pub fn trim(&mut self) -> bool {
        let steps: [Part; 6] = [
            ("facts", |alert| alert.facts.clear()),
            ("process.ancestors", |alert| {
                if let Some(process) = &mut alert.process {
                    process.ancestors.truncate(1);
                }
            }),
            ("process.args", |alert| {
                if let Some(process) = &mut alert.process {
                    process.args.clear();
                    process.ancestors.clear();
                }
            }),
            ("rules", |alert| alert.rules.truncate(1)),
            ("object.args", |alert| {
                if let Some(object) = &mut alert.object {
                    object.args.clear();
                }
            }),
            ("notice.detail", |alert| {
                if let Some(notice) = &mut alert.notice {
                    notice.detail.clear();
                }
            }),
        ];
        let Some((name, step)) = steps.get(self.trimmed.len()) else { return false };
        step(self);
        let still_there = |name: &String, gone: &str| !name.starts_with(gone);
        self.escaped.retain(|field| still_there(field, name));
        self.redacted.retain(|field| still_there(field, name));
        self.trimmed.push(Word::Borrowed(name));
        true
    }
}

/// What sort of alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A decision of the kernel side.
    Decision,
    /// The agent about itself.
    Agent,
}

/// Who tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Version of the agent.
    pub version: Word,
}

/// The host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInfo {
    /// Boot id of the kernel.
    pub boot_id: String,
    /// Kernel release.
    pub kernel: String,
    /// Host name.
    pub name: String,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerInfo {
    /// Cgroup path.
    pub cgroup: String,
    /// Id.
    pub id: String,
    /// Image as it was asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// What its runtime calls it was not to be had in time. If it turns up, a `container-named` notice tells it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// Name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Namespace of the pod.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name of the pod.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// Pod uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod_uid: String,
    /// It was started with all privileges.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Runtime.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub runtime: Word,
    /// Service account of the pod.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service_account: String,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionInfo {
    /// The errno the caller got; absent if the act went on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<u32>,
    /// A fact that could not be learned; absent if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Word>,
    /// `enforce` if what the rules ask for was done, `audit` if it was only told.
    pub mode: Word,
    /// More rules matched than are listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_rules: bool,
    /// What was done: `pass`, `alert`, `block`, `kill`.
    pub verdict: Word,
    /// What enforcing every matched rule would have done.
    pub would: Word,
}

/// The policy that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyInfo {
    /// SHA-256 of the image; absent if the agent no longer knows this generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Generation of the loaded policy.
    pub generation: u32,
}

/// A rule that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleInfo {
    /// What it asks for.
    pub action: String,
    /// ATT&CK techniques.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attack: Vec<String>,
    /// Where it is written.
    pub file: String,
    /// Id.
    pub id: String,
    /// Line.
    pub line: u32,
    /// `enforce` or `audit`.
    pub mode: String,
    /// Policy that holds it.
    pub policy: String,
    /// Severity.
    pub severity: Severity,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Title.
    pub title: String,
}

/// The process that acted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Ancestors, nearest first, as they were when they forked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Shared<AncestorInfo>>,
    /// Arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// There were more arguments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub args_truncated: bool,
    /// Cgroup id.
    pub cgroup_id: String,
    /// Effective user.
    pub euid: u32,
    /// Its name, if it is another than `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub euser: Option<String>,
    /// Program file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Real group.
    pub gid: u32,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `comm`.
    pub name: String,
    /// Parent.
    pub parent_pid: u32,
    /// Thread group id.
    pub pid: u32,
    /// Where program and ancestry come from: `kernel`, `proc`, `none`.
    pub source: Word,
    /// Start on `CLOCK_BOOTTIME`, ns; with pid and boot id it names the process for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_boot_ns: Option<String>,
    /// Thread id.
    pub tid: u32,
    /// Real user.
    pub uid: u32,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// An ancestor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AncestorInfo {
    /// Arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Program file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Thread group id.
    pub pid: u32,
    /// Start on `CLOCK_BOOTTIME`, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_boot_ns: Option<String>,
}

/// What was acted on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectInfo {
    /// Arguments of the new program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// There were more arguments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub args_truncated: bool,
    /// Its device, `major:minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The name that is looked up. A point or backslash inside a label has a backslash in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    /// Properties, such as `memfd`, `setuid`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Word>,
    /// A flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<FlowInfo>,
    /// Inode number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<String>,
    /// The name the object is remembered under that a rule selects, where it was reached by another: a hard link, a bind
    /// mount, another root, or after a rename.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_as: Option<String>,
    /// Permission bits and type, octal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The act's own number: signal, capability, system call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// New name of a rename or link, interpreter of a script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_path: Option<String>,
    /// System call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syscall: Option<CallInfo>,
    /// Program of the process the act is aimed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_exe: Option<String>,
    /// Process the act is aimed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_pid: Option<u32>,
}

/// A system call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallInfo {
    /// The way it was called, as `x86_64`.
    pub abi: Word,
    /// Its arguments, hexadecimal.
    pub arguments: Vec<String>,
    /// The error it failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<u32>,
    /// Its name, or the number if it has none here.
    pub name: Word,
    /// What it answered, if it has and did not fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowInfo {
    /// Of a flow that is over: bytes that came, if they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Bytes that were sent, as `bytes_in`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// How long it was open, ns, if its begin was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ns: Option<u64>,
    /// `inet`, `inet6`, or the number.
    pub family: Word,
    /// Local address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_ip: Option<String>,
    /// Local port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    /// `tcp`, `udp`, `icmp`, ..., or the number.
    pub protocol: Word,
    /// Remote address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<String>,
    /// Remote port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<u16>,
}

/// What the agent has to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeInfo {
    /// Particulars, by name.
    pub detail: BTreeMap<String, serde_json::Value>,
    /// Which notice.
    pub name: Word,
}
