//! The agent's one configuration file.
//!
//! YAML, every key optional, unknown keys refused. Errors name line and column. Defaults put policies below
//! `/etc/interdict`, state and spool below `/var/lib/interdict`, the socket and pid below `/run/interdict`, and alerts
//! on standard output when no sink is named. What a value must satisfy beyond its type is checked here too, all at once.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use interdict_abi::ids::Mode;
use interdict_rules::meta::Severity;
use serde::{Deserialize, Deserializer, de};

use crate::alert::render::Format;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("error[C0001]: configuration file {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not what is expected.
    #[error("error[C0002]: {path}: {message}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Line, column and what is wrong there.
        message: String,
    },
    /// Well-formed, but it can't be meant so.
    #[error("{}", .problems.join("\n"))]
    Meaning {
        /// All that is wrong.
        problems: Vec<String>,
    },
}

/// The configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of policy files.
    pub policies: PathBuf,
    /// Agent-wide mode; it can only weaken what rules say.
    #[serde(deserialize_with = "mode")]
    pub mode: Mode,
    /// Folder of key, spool and other state.
    pub state: PathBuf,
    /// Folder of sockets and the pid file.
    pub runtime: PathBuf,
    /// Folder in a BPF file system where programs, links and maps are pinned.
    pub pins: PathBuf,
    /// What is logged to standard error: a `tracing` filter such as `info` or `interdict_agent=debug`.
    pub log: String,
    /// Interfaces whose incoming packets are judged; `[all]`: every one but the loopback.
    pub interfaces: Vec<String>,
    /// Use BPF LSM where the kernel has it; `false`: act as on a host without.
    pub lsm: bool,
    /// Cgroup whose processes' flows are judged on hosts without BPF LSM. Default: where cgroup v2 is mounted.
    pub cgroup: Option<PathBuf>,
    /// The alert stream.
    pub alerts: Alerts,
    /// The spool.
    pub spool: SpoolConfig,
    /// Where alerts go.
    pub sinks: Vec<SinkConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policies: "/etc/interdict/policies".into(),
            mode: Mode::Enforce,
            state: "/var/lib/interdict".into(),
            runtime: "/run/interdict".into(),
            pins: "/sys/fs/bpf/interdict".into(),
            log: "info".to_owned(),
            interfaces: Vec::new(),
            lsm: true,
            cgroup: None,
            alerts: Alerts::default(),
            spool: SpoolConfig::default(),
            sinks: Vec::new(),
        }
    }
}

/// The alert stream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// Private key (PKCS#8, mode 0600); made if absent. Default: `agent.key` in the state folder.
    pub key: Option<PathBuf>,
    /// Time between signs of life; `0s`: none.
    #[serde(deserialize_with = "duration")]
    pub alive: Duration,
    /// More words that tell that an argument's value is secret.
    pub redact: Vec<String>,
    /// Bytes of ring records that may wait to be processed.
    #[serde(deserialize_with = "bytes")]
    pub queue: u64,
}

impl Default for Alerts {
    fn default() -> Self {
        Self { key: None, alive: Duration::from_secs(60), redact: Vec::new(), queue: 16 << 20 }
    }
}

/// The spool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolConfig {
    /// Folder. Default: `spool` in the state folder.
    pub path: Option<PathBuf>,
    /// Most bytes kept.
    #[serde(deserialize_with = "bytes")]
    pub max_bytes: u64,
    /// Longest time kept.
    #[serde(deserialize_with = "duration")]
    pub max_age: Duration,
    /// Bytes of one segment.
    #[serde(deserialize_with = "bytes")]
    pub segment_bytes: u64,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        let limits = crate::spool::Limits::default();
        Self {
            path: None,
            max_bytes: limits.max_bytes,
            max_age: limits.max_age,
            segment_bytes: limits.segment_bytes,
        }
    }
}

/// One destination: exactly one of its kinds is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkConfig {
    /// Name, unique; its cursor is kept under it. Default: the kind.
    pub name: Option<String>,
    /// What it is sent.
    pub filter: Filter,
    /// How alerts are rendered.
    pub format: Format,
    /// How alerts are put together.
    pub batch: Batch,
    /// How it is tried again.
    pub retry: Retry,
    /// Standard output.
    pub stdout: Option<StdoutConfig>,
    /// A file.
    pub file: Option<FileConfig>,
    /// An HTTPS receiver.
    pub webhook: Option<WebhookConfig>,
    /// Syslog over TCP or TLS.
    pub syslog: Option<SyslogConfig>,
    /// Fluent Forward.
    pub fluent: Option<FluentConfig>,
    /// NATS JetStream.
    pub nats: Option<NatsConfig>,
    /// An OpenTelemetry collector.
    pub otlp: Option<OtlpConfig>,
    /// Splunk's HTTP Event Collector.
    pub splunk: Option<SplunkConfig>,
    /// Elasticsearch or OpenSearch.
    pub elasticsearch: Option<ElasticsearchConfig>,
    /// The journal of this host.
    pub journald: Option<JournaldConfig>,
}

/// Which alerts a sink is sent: those that pass every condition. Notices of the agent pass `rules` and `tags`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// The least severity.
    pub severity: Option<Severity>,
    /// Rule ids, `*` at the end for any ending; empty: all.
    pub rules: Vec<String>,
    /// Tags, of which a rule has one; empty: all.
    pub tags: Vec<String>,
}

/// How alerts are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// Most alerts in one delivery.
    pub alerts: usize,
    /// About the most bytes in one delivery.
    #[serde(deserialize_with = "bytes")]
    pub bytes: u64,
}

impl Default for Batch {
    fn default() -> Self {
        Self { alerts: 500, bytes: 1 << 20 }
    }
}

/// How a sink is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Wait after the first failure; doubled after each.
    #[serde(deserialize_with = "duration")]
    pub first: Duration,
    /// Longest wait.
    #[serde(deserialize_with = "duration")]
    pub max: Duration,
    /// Failures in a row after which the sink counts as down and an alert says so.
    pub down_after: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), max: Duration::from_secs(60), down_after: 3 }
    }
}

/// Standard output, one JSON line per alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StdoutConfig {}

/// A file of JSON lines.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Where.
    pub path: PathBuf,
    /// Size at which it is renamed to `.1` and a new one begun; 0: never.
    #[serde(default = "default_file_bytes", deserialize_with = "bytes")]
    pub max_bytes: u64,
    /// How many renamed ones are kept.
    #[serde(default = "default_file_keep")]
    pub keep: u32,
}

fn default_file_bytes() -> u64 {
    100 << 20
}

fn default_file_keep() -> u32 {
    5
}

/// An HTTPS receiver, as the Standard Webhooks specification has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where to.
    pub url: String,
    /// PEM file of the only authorities believed; absent: those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// PEM file of a client certificate (chain).
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// File of a shared secret (`whsec_...`): adds a symmetric `v1` signature to the `v1a` of the agent's key.
    #[serde(default)]
    pub secret: Option<PathBuf>,
    /// File of a bearer token.
    #[serde(default)]
    pub token: Option<PathBuf>,
    /// How a body is put together.
    #[serde(default)]
    pub body: WebhookBody,
    /// Longest time for one request.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// Allow `http://` to another host than this one.
    #[serde(default)]
    pub allow_plain_http: bool,
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

/// How a webhook's body is put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookBody {
    /// A JSON array of alerts.
    #[default]
    Array,
    /// One alert per line.
    Ndjson,
}

/// TLS to a receiver that isn't HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file of the only authorities believed; absent: those of the system.
    pub ca: Option<PathBuf>,
    /// PEM file of a client certificate (chain).
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    pub key: Option<PathBuf>,
    /// Name in the receiver's certificate, if it isn't the host of the address.
    pub server_name: Option<String>,
}

/// Syslog, RFC 5424, octet-counted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogConfig {
    /// `HOST:PORT`.
    pub address: String,
    /// TLS; absent: plain TCP.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Facility number.
    #[serde(default = "default_facility")]
    pub facility: u8,
    /// Longest time for connecting and for one batch.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// `authpriv`.
fn default_facility() -> u8 {
    10
}

/// Fluent Forward.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FluentConfig {
    /// `HOST:PORT`.
    pub address: String,
    /// TLS; absent: plain TCP.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Tag of the events.
    #[serde(default = "default_tag")]
    pub tag: String,
    /// Longest time for connecting and for one batch with its acknowledgement.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
}

fn default_tag() -> String {
    "interdict.alert".to_owned()
}

/// NATS JetStream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// `HOST:PORT`.
    pub address: String,
    /// TLS from the first byte (`handshake_first` of the server); absent: plain TCP.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Subject, which a stream must take.
    pub subject: String,
    /// File of an authentication token.
    #[serde(default)]
    pub token: Option<PathBuf>,
    /// Longest time for connecting and for one batch with its acknowledgements.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpConfig {
    /// Where to, with the path: `https://collector:4318/v1/logs`.
    pub url: String,
    /// PEM file of the only authorities believed; absent: those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// PEM file of a client certificate (chain).
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// File of a bearer token.
    #[serde(default)]
    pub token: Option<PathBuf>,
    /// Longest time for one request.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// Allow `http://` to another host than this one.
    #[serde(default)]
    pub allow_plain_http: bool,
}

/// Splunk's HTTP Event Collector.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplunkConfig {
    /// Where to, with the path: `https://splunk:8088/services/collector/event`.
    pub url: String,
    /// File of the token.
    pub token: PathBuf,
    /// Index; absent: the token's own.
    #[serde(default)]
    pub index: Option<String>,
    /// Source type.
    #[serde(default = "default_sourcetype")]
    pub sourcetype: String,
    /// PEM file of the only authorities believed; absent: those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Longest time for one request.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// Allow `http://` to another host than this one.
    #[serde(default)]
    pub allow_plain_http: bool,
}

fn default_sourcetype() -> String {
    "interdict:alert".to_owned()
}

/// Elasticsearch or OpenSearch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElasticsearchConfig {
    /// Where to, without the path of an API.
    pub url: String,
    /// Index or data stream.
    pub index: String,
    /// File of an API key (base64, as Kibana shows it).
    #[serde(default)]
    pub api_key: Option<PathBuf>,
    /// PEM file of the only authorities believed; absent: those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// PEM file of a client certificate (chain).
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Longest time for one request.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// Allow `http://` to another host than this one.
    #[serde(default)]
    pub allow_plain_http: bool,
}

/// The journal of this host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournaldConfig {
    /// Its socket.
    pub socket: PathBuf,
}

impl Default for JournaldConfig {
    fn default() -> Self {
        Self { socket: "/run/systemd/journal/socket".into() }
    }
}

impl SinkConfig {
    /// All kinds of sinks.
    const KINDS: [&'static str; 10] = [
        "stdout",
        "file",
        "webhook",
        "syslog",
        "fluent",
        "nats",
        "otlp",
        "splunk",
        "elasticsearch",
        "journald",
    ];

    /// Names of the kinds that are set.
    fn kinds(&self) -> Vec<&'static str> {
        let set = [
            (self.stdout.is_some(), "stdout"),
            (self.file.is_some(), "file"),
            (self.webhook.is_some(), "webhook"),
            (self.syslog.is_some(), "syslog"),
            (self.fluent.is_some(), "fluent"),
            (self.nats.is_some(), "nats"),
            (self.otlp.is_some(), "otlp"),
            (self.splunk.is_some(), "splunk"),
            (self.elasticsearch.is_some(), "elasticsearch"),
            (self.journald.is_some(), "journald"),
        ];
        set.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect()
    }

    /// Its name.
    pub fn name(&self) -> String {
        let kind = self.kinds().first().copied().unwrap_or("sink");
        self.name.clone().unwrap_or_else(|| kind.to_owned())
    }
}

impl Config {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads text; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        // An empty document is null to YAML; to us it is a file that leaves everything at its default.
        let is_blank = text.lines().all(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || line == "---"
        });
        let config: Self = if is_blank {
            Self::default()
        } else {
            serde_saphyr::from_str(text).map_err(|error| ConfigError::Syntax {
                path: path.to_owned(),
                message: error.to_string(),
            })?
        };
        config.checked(path)
    }

    fn checked(mut self, path: &Path) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut names = BTreeSet::new();
        for (index, sink) in self.sinks.iter().enumerate() {
            let name = sink.name();
            let kinds = sink.kinds();
            let place = format!("{}: sinks[{index}] `{name}`", path.display());
            if kinds.len() != 1 {
                problems.push(format!(
                    "error[C0003]: {place}: {} kinds are set ({}); set exactly one of {}",
                    kinds.len(),
                    kinds.join(", "),
                    SinkConfig::KINDS.join(", ")
                ));
            }
            // Its cursor and dead letters are files of that name.
            if name.is_empty()
                || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            {
                problems.push(format!(
                    "error[C0011]: {place}: a name has letters, digits, `-` and `_` only"
                ));
            }
            if !names.insert(name.clone()) {
                problems.push(format!(
                    "error[C0004]: {place}: the name is taken; give each sink a `name` of its own"
                ));
            }
            if sink.batch.alerts == 0 {
                problems.push(format!("error[C0005]: {place}: batch.alerts must be at least 1"));
            }
            sink.check_url(&place, &mut problems);
            sink.check_format(&place, &mut problems);
        }
        if self.spool.segment_bytes < 64 << 10
            || self.spool.max_bytes < self.spool.segment_bytes.saturating_mul(2)
        {
            problems.push(format!(
                "error[C0006]: {}: spool: segment_bytes must be at least 64KiB, and max_bytes twice segment_bytes",
                path.display()
            ));
        }
        if !problems.is_empty() {
            return Err(ConfigError::Meaning { problems });
        }
        if self.sinks.is_empty() {
            self.sinks.push(SinkConfig {
                stdout: Some(StdoutConfig::default()),
                ..SinkConfig::default()
            });
        }
        Ok(self)
    }

    /// Where the private key is.
    pub fn key_path(&self) -> PathBuf {
        self.alerts.key.clone().unwrap_or_else(|| self.state.join("agent.key"))
    }

    /// Where the spool is.
    pub fn spool_path(&self) -> PathBuf {
        self.spool.path.clone().unwrap_or_else(|| self.state.join("spool"))
    }

    /// The spool's bounds.
    pub fn spool_limits(&self) -> crate::spool::Limits {
        crate::spool::Limits {
            max_bytes: self.spool.max_bytes,
            max_age: self.spool.max_age,
            segment_bytes: self.spool.segment_bytes,
        }
    }
}

impl SinkConfig {
    /// URL, whether it may be plain, and whether certificate and key are both there or both not.
    fn url(&self) -> Option<(&str, bool, bool)> {
        if let Some(webhook) = &self.webhook {
            let paired = webhook.certificate.is_some() == webhook.key.is_some();
            return Some((&webhook.url, webhook.allow_plain_http, paired));
        }
        if let Some(otlp) = &self.otlp {
            let paired = otlp.certificate.is_some() == otlp.key.is_some();
            return Some((&otlp.url, otlp.allow_plain_http, paired));
        }
        if let Some(elasticsearch) = &self.elasticsearch {
            let paired = elasticsearch.certificate.is_some() == elasticsearch.key.is_some();
            return Some((&elasticsearch.url, elasticsearch.allow_plain_http, paired));
        }
        self.splunk.as_ref().map(|splunk| (splunk.url.as_str(), splunk.allow_plain_http, true))
    }

    fn check_url(&self, place: &str, problems: &mut Vec<String>) {
        let tls = [&self.syslog.as_ref().and_then(|syslog| syslog.tls.as_ref())]
            .into_iter()
            .chain([&self.fluent.as_ref().and_then(|fluent| fluent.tls.as_ref())])
            .chain([&self.nats.as_ref().and_then(|nats| nats.tls.as_ref())])
            .flatten()
            .any(|tls| tls.certificate.is_some() != tls.key.is_some());
        let unpaired = self.url().is_some_and(|(_, _, paired)| !paired);
        if tls || unpaired {
            problems.push(format!("error[C0009]: {place}: certificate and key go together"));
        }
        let Some((url, allow_plain_http, _)) = self.url() else { return };
        let authority = |scheme: &str| {
            let rest = url.strip_prefix(scheme)?;
            Some(&rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())])
        };
        let Some(plain) = authority("http://") else {
            if authority("https://").is_none() {
                problems.push(format!("error[C0007]: {place}: url must start with https://"));
            }
            return;
        };
        let host = plain.rsplit_once(':').map_or(plain, |(host, port)| {
            if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { plain }
        });
        if !allow_plain_http && !["127.0.0.1", "[::1]", "localhost"].contains(&host) {
            problems.push(format!(
                "error[C0008]: {place}: url is not encrypted; use https://, or set allow_plain_http: true"
            ));
        }
    }

    fn check_format(&self, place: &str, problems: &mut Vec<String>) {
        let is_json = match self.format {
            Format::Native | Format::Ocsf | Format::Ecs => true,
            Format::Cef | Format::Msgpack => false,
        };
        let wants_json = self.webhook.is_some()
            || self.elasticsearch.is_some()
            || self.splunk.is_some()
            || self.fluent.is_some();
        let wants_text = !(wants_json || self.nats.is_some());
        if (wants_json && !is_json) || (wants_text && !self.format.is_text()) {
            problems.push(format!(
                "error[C0010]: {place}: this kind of sink can't carry that format; use native, ocsf or ecs"
            ));
        }
    }
}

fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "enforce" => Ok(Mode::Enforce),
        "audit" => Ok(Mode::Audit),
        other => Err(de::Error::custom(format!("mode is `enforce` or `audit`, not `{other}`"))),
    }
}

/// Reads a time such as `30s` or `2h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let deserializer = de::value::StrDeserializer::<de::value::Error>::new(text);
    duration(deserializer).map_err(|error| error.to_string())
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer
        .deserialize_any(Quantity {
            units: &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)],
            what: "a time such as 500ms, 30s, 5m, 48h or 7d",
        })
        .map(Duration::from_millis)
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(Quantity {
        units: &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1), ("", 1)],
        what: "a size such as 512KiB, 64MiB or 2GiB",
    })
}

/// A number with a unit.
struct Quantity {
    units: &'static [(&'static str, u64)],
    what: &'static str,
}

impl de::Visitor<'_> for Quantity {
    type Value = u64;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.what)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
        // A bare number is only clear where one unit is nothing; zero is clear everywhere.
        if value == 0 || self.units.iter().any(|(unit, _)| unit.is_empty()) {
            Ok(value)
        } else {
            Err(E::custom(format!("{value} needs a unit: {}", self.what)))
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<u64, E> {
        let value = u64::try_from(value)
            .map_err(|_negative| E::custom(format!("{value} is negative: {}", self.what)))?;
        self.visit_u64(value)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        let end = text.find(|part: char| !part.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor = self.units.iter().find(|(known, _)| *known == unit.trim());
        let value = number
            .parse::<u64>()
            .ok()
            .zip(factor)
            .and_then(|(number, (_, factor))| number.checked_mul(*factor));
        value.ok_or_else(|| E::custom(format!("`{text}` is not {}", self.what)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("config.yaml"))
    }

    #[test]
    fn an_empty_file_writes_to_standard_output() {
        for text in ["", "# nothing\n", "---\n", "mode: enforce\n"] {
            let config = parse(text).unwrap();
            assert_eq!(config.sinks.len(), 1);
            assert!(config.sinks[0].stdout.is_some());
            assert_eq!(config.spool_path(), Path::new("/var/lib/interdict/spool"));
        }
    }

    #[test]
    fn a_full_file_is_read() {
        let config = parse(
            "mode: audit\nstate: /s\nspool: { max_bytes: 2GiB, max_age: 48h }\nalerts: { alive: 30s, redact: [pin] }\n\
             interfaces: [eth0]\nsinks:\n  - stdout: {}\n  - name: siem\n    filter: { severity: high, tags: [web] }\n    \
             webhook: { url: \"https://siem.example/in\", timeout: 5s }\n  - file: { path: /var/log/a.ndjson, max_bytes: 1MiB }\n",
        )
        .unwrap();
        assert_eq!(config.mode, Mode::Audit);
        assert_eq!(config.spool.max_age, Duration::from_secs(48 * 3_600));
        assert_eq!(config.spool.max_bytes, 2 << 30);
        assert_eq!(config.sinks[1].filter.severity, Some(Severity::High));
        assert_eq!(config.key_path(), Path::new("/s/agent.key"));
        let names: Vec<String> = config.sinks.iter().map(SinkConfig::name).collect();
        assert_eq!(names, ["stdout", "siem", "file"]);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse("mode: audit\nspol: {}\n").unwrap_err().to_string();
        assert!(error.contains("spol") && error.contains("line 2"), "{error}");
        let error = parse("spool:\n  max_age: 7 fortnights\n").unwrap_err().to_string();
        assert!(error.contains("7 fortnights") && error.contains("line 2"), "{error}");
        let error = parse("mode: off\n").unwrap_err().to_string();
        assert!(error.contains("`enforce` or `audit`"), "{error}");
    }

    #[test]
    fn all_problems_of_meaning_are_told_at_once() {
        let error = parse(
            "spool: { segment_bytes: 1B }\nsinks:\n  - {}\n  - name: a/b\n    stdout: {}\n  - name: a\n    stdout: {}\n  - name: a\n    \
             webhook: { url: \"http://siem.example\", key: /k }\n",
        )
        .unwrap_err()
        .to_string();
        for code in ["C0003", "C0004", "C0006", "C0008", "C0009", "C0011"] {
            assert!(error.contains(code), "{code} not in {error}");
        }
    }
}
