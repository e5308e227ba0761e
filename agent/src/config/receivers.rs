//! What each kind of sink is told about its receiver.
//!
//! One struct per kind, as its key in `sinks` has it. What they share in meaning has the same name everywhere: `ca` and
//! `certificate` and `key` of TLS, `timeout`, `token`. They are not one flattened struct: errors would lose their places.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::quantity::{bytes, duration};

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
    /// TLS; absent: plain TCP, and a server that asks for TLS is not talked to.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// TLS from the first byte, as a server with `handshake_first` has it. Otherwise TLS begins after the server's first
    /// line, which tells nothing secret.
    #[serde(default)]
    pub tls_first: bool,
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

/// Apache Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// `HOST:PORT` of brokers to ask first.
    pub brokers: Vec<String>,
    /// TLS; absent: plain TCP.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Topic, which must exist.
    pub topic: String,
    /// Partition. Default: one chosen by the name of the stream, so that the alerts of one agent stay in order.
    #[serde(default)]
    pub partition: Option<i32>,
    /// How this client shows who it is; absent: not at all, or by its certificate.
    #[serde(default)]
    pub sasl: Option<SaslConfig>,
    /// Longest time for one batch with its acknowledgement.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// User and password for Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaslConfig {
    /// Mechanism.
    #[serde(default)]
    pub mechanism: SaslMechanism,
    /// User.
    pub user: String,
    /// File of the password.
    pub password: PathBuf,
}

/// How a password is shown to a Kafka broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum SaslMechanism {
    /// Never sent, only proven.
    #[default]
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// Same, with a shorter hash.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Sent as it is.
    #[serde(rename = "PLAIN")]
    Plain,
}

/// Prometheus' Alertmanager.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerConfig {
    /// Where to, without the path of the API.
    pub url: String,
    /// Whether alerts that agree in rule, severity, host and verdict are one alert to it; otherwise each has a label
    /// with its id.
    #[serde(default)]
    pub merge: bool,
    /// How long after its delivery an alert counts as over.
    #[serde(default = "default_resolve_after", deserialize_with = "duration")]
    pub resolve_after: Duration,
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

fn default_resolve_after() -> Duration {
    Duration::from_secs(3_600)
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
