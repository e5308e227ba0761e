//! The agent's one configuration file.
//!
//! YAML, every key optional, unknown keys refused. Errors name line and column. Defaults put policies below
//! `/etc/interdict`, state and spool below `/var/lib/interdict`, the socket and pid below `/run/interdict`, and alerts
//! on standard output when no sink is named. What a value must satisfy beyond its type is checked here too, all at once.

mod quantity;
mod receivers;
mod sinks;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use interdict_abi::ids::Mode;
use serde::{Deserialize, Deserializer, de};

pub use quantity::parse_duration;
use quantity::{bytes, duration};
pub use receivers::{
    AlertmanagerConfig, ElasticsearchConfig, FileConfig, FluentConfig, JournaldConfig, KafkaConfig,
    NatsConfig, OtlpConfig, SaslConfig, SaslMechanism, SplunkConfig, StdoutConfig, SyslogConfig,
    TlsConfig, WebhookBody, WebhookConfig,
};
pub use sinks::{Batch, Compression, Filter, Retry, SinkConfig};

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
    /// Accept only signed bundles of policies. Absent: whatever lies in the folder.
    pub bundles: Option<BundleConfig>,
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
    /// Interfaces whose incoming packets are judged, also when they appear later: names, in which `*` stands for anything;
    /// `all`: every one but the loopback.
    pub interfaces: Vec<String>,
    /// Judge packets inside packets too: IP in IP, GRE and VXLAN, two levels deep.
    pub look_inside: bool,
    /// Use BPF LSM where the kernel has it; `false`: act as on a host without.
    pub lsm: bool,
    /// Cgroup whose processes' flows are judged on hosts without BPF LSM. Default: where cgroup v2 is mounted.
    pub cgroup: Option<PathBuf>,
    /// Where names of containers come from.
    pub containers: ContainersConfig,
    /// Whether and how the agent protects itself.
    #[serde(deserialize_with = "protect")]
    pub protect: Protect,
    /// The file it was read from.
    #[serde(skip)]
    pub origin: Option<PathBuf>,
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
            bundles: None,
            mode: Mode::Enforce,
            state: "/var/lib/interdict".into(),
            runtime: "/run/interdict".into(),
            pins: "/sys/fs/bpf/interdict".into(),
            log: "info".to_owned(),
            interfaces: Vec::new(),
            look_inside: false,
            lsm: true,
            cgroup: None,
            containers: ContainersConfig::default(),
            protect: Protect::default(),
            origin: None,
            alerts: Alerts::default(),
            spool: SpoolConfig::default(),
            sinks: Vec::new(),
        }
    }
}

/// Where names of containers come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContainersConfig {
    /// The host's root folder, below which runtimes keep their state; another one if the agent itself runs in a container.
    pub root: PathBuf,
    /// How long the first alerts of a container wait for its names; `0s`: not at all.
    #[serde(deserialize_with = "duration")]
    pub wait: Duration,
}

impl Default for ContainersConfig {
    fn default() -> Self {
        Self { root: "/".into(), wait: crate::enrich::CONTAINER_WAIT }
    }
}

/// Which bundles of policies are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleConfig {
    /// Public keys, of which one has signed it: files, or base64 or hex.
    pub keys: Vec<String>,
    /// The name it must have: serials are compared within a name.
    #[serde(default = "default_bundle")]
    pub name: String,
}

/// What `interdict bundle create` calls them.
fn default_bundle() -> String {
    "policies".to_owned()
}

/// Self-protection: `on`, `off`, or what is different while it is on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protect {
    /// Whether the agent is guarded against everybody else.
    #[serde(skip)]
    pub on: bool,
    /// File of the public key that break-glass tokens are signed with; absent: only a reboot ends the protection.
    pub break_glass: Option<PathBuf>,
    /// Guard the policy files too: then they are changed by break-glass alone.
    pub policies: bool,
}

impl Default for Protect {
    fn default() -> Self {
        Self { on: false, break_glass: None, policies: true }
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

impl Config {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        let mut config = Self::parse(&text, path)?;
        // Where it really lies: the guard keeps it in its place.
        config.origin = Some(fs::canonicalize(path).unwrap_or_else(|_gone| path.to_owned()));
        Ok(config)
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
            let place = format!("{}: sinks[{index}] `{name}`", path.display());
            if !names.insert(name) {
                problems.push(format!(
                    "error[C0004]: {place}: the name is taken; give each sink a `name` of its own"
                ));
            }
            sink.check(&place, &mut problems);
        }
        if self.bundles.as_ref().is_some_and(|bundles| bundles.keys.is_empty()) {
            problems.push(format!(
                "error[C0015]: {}: bundles: keys must name at least one public key, or no bundle is ever accepted",
                path.display()
            ));
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

    /// What was read from the kernel and is not yet in the spool: in memory, like the ring.
    pub fn journal_path(&self) -> PathBuf {
        self.runtime.join("journal")
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

/// A word, or the particulars, which turn it on.
fn protect<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Protect, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Truth(bool),
        Word(String),
        Particulars(Protect),
    }
    match Said::deserialize(deserializer)? {
        Said::Truth(on) => Ok(Protect { on, ..Protect::default() }),
        Said::Word(word) => match word.as_str() {
            "on" => Ok(Protect { on: true, ..Protect::default() }),
            "off" => Ok(Protect::default()),
            other => Err(de::Error::custom(format!("protect is `on` or `off`, not `{other}`"))),
        },
        Said::Particulars(protect) => Ok(Protect { on: true, ..protect }),
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

#[cfg(test)]
mod tests {
    use interdict_rules::meta::Severity;

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

    #[test]
    fn compression_is_refused_where_the_protocol_has_none() {
        let with = |sink: &str| parse(&format!("sinks:\n  - {{ {sink} }}\n"));
        let error = with("compression: zstd, syslog: { address: \"a:1\" }").unwrap_err();
        assert!(error.to_string().contains("C0013"), "{error}");
        let error = with("compression: zstd, fluent: { address: \"a:1\" }").unwrap_err();
        assert!(error.to_string().contains("use gzip or none"), "{error}");
        let config = with("compression: gzip, fluent: { address: \"a:1\" }").unwrap();
        assert_eq!(config.sinks[0].compression, Compression::Gzip);
    }

    #[test]
    fn kafka_is_refused_by_name_where_it_was_left_out() {
        let text = "sinks:\n  - kafka: { brokers: [\"a:1\"], topic: t }\n";
        let parsed = parse(text);
        assert_eq!(parsed.is_ok(), cfg!(feature = "kafka"));
        if let Err(error) = parsed {
            assert!(error.to_string().contains("C0012"), "{error}");
        }
    }
}
