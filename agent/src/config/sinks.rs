//! The settings of one sink: which alerts, in which form, how tried again, and where to.
//!
//! Exactly one kind is set. What a value must satisfy beyond its type is checked by [`SinkConfig::check`], all at once.

use std::time::Duration;

use interdict_rules::meta::Severity;
use serde::Deserialize;

use super::{
    quantity::{bytes, duration},
    receivers::{
        AlertmanagerConfig, ElasticsearchConfig, FileConfig, FluentConfig, JournaldConfig,
        KafkaConfig, NatsConfig, OtlpConfig, SplunkConfig, StdoutConfig, SyslogConfig, TlsConfig,
        WebhookConfig,
    },
};
use crate::alert::render::Format;

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
    /// How what is sent is compressed, for kinds whose protocol knows it.
    pub compression: Compression,
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
    /// Apache Kafka.
    pub kafka: Option<KafkaConfig>,
    /// Prometheus' Alertmanager.
    pub alertmanager: Option<AlertmanagerConfig>,
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

/// How what is sent is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, level 6.
    Gzip,
    /// Zstandard, level 3.
    Zstd,
}

impl Compression {
    /// Its name in configurations and in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
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

impl SinkConfig {
    /// All kinds, and whether each is set.
    fn kinds(&self) -> [(&'static str, bool); 12] {
        [
            ("stdout", self.stdout.is_some()),
            ("file", self.file.is_some()),
            ("webhook", self.webhook.is_some()),
            ("syslog", self.syslog.is_some()),
            ("fluent", self.fluent.is_some()),
            ("nats", self.nats.is_some()),
            ("kafka", self.kafka.is_some()),
            ("otlp", self.otlp.is_some()),
            ("splunk", self.splunk.is_some()),
            ("elasticsearch", self.elasticsearch.is_some()),
            ("alertmanager", self.alertmanager.is_some()),
            ("journald", self.journald.is_some()),
        ]
    }

    /// Names of the kinds that are set.
    fn set_kinds(&self) -> Vec<&'static str> {
        self.kinds().into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect()
    }

    /// Its name.
    pub fn name(&self) -> String {
        let kind = self.set_kinds().first().copied().unwrap_or("sink");
        self.name.clone().unwrap_or_else(|| kind.to_owned())
    }

    /// Adds what is wrong with this sink, which stands at `place`.
    pub(super) fn check(&self, place: &str, problems: &mut Vec<String>) {
        let (name, set) = (self.name(), self.set_kinds());
        if set.len() != 1 {
            problems.push(format!(
                "error[C0003]: {place}: {} kinds are set ({}); set exactly one of {}",
                set.len(),
                set.join(", "),
                self.kinds().map(|(name, _)| name).join(", ")
            ));
        }
        // Its cursor and dead letters are files of that name.
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        {
            problems.push(format!(
                "error[C0011]: {place}: a name has letters, digits, `-` and `_` only"
            ));
        }
        if self.batch.alerts == 0 {
            problems.push(format!("error[C0005]: {place}: batch.alerts must be at least 1"));
        }
        if self.kafka.is_some() && !cfg!(feature = "kafka") {
            problems.push(format!(
                "error[C0012]: {place}: this interdict was built without Kafka; build it with the feature `kafka`"
            ));
        }
        self.check_tls(place, problems);
        self.check_url(place, problems);
        self.check_format(place, problems);
        self.check_compression(place, problems);
    }

    /// URL, whether it may be plain.
    fn url(&self) -> Option<(&str, bool)> {
        let webhook = self.webhook.as_ref().map(|to| (to.url.as_str(), to.allow_plain_http));
        let otlp = || self.otlp.as_ref().map(|to| (to.url.as_str(), to.allow_plain_http));
        let splunk = || self.splunk.as_ref().map(|to| (to.url.as_str(), to.allow_plain_http));
        let elasticsearch =
            || self.elasticsearch.as_ref().map(|to| (to.url.as_str(), to.allow_plain_http));
        let alertmanager =
            || self.alertmanager.as_ref().map(|to| (to.url.as_str(), to.allow_plain_http));
        webhook.or_else(otlp).or_else(splunk).or_else(elasticsearch).or_else(alertmanager)
    }

    /// TLS of the kinds that are not HTTP.
    fn tls(&self) -> impl Iterator<Item = &TlsConfig> {
        let syslog = self.syslog.as_ref().and_then(|to| to.tls.as_ref());
        let fluent = self.fluent.as_ref().and_then(|to| to.tls.as_ref());
        let nats = self.nats.as_ref().and_then(|to| to.tls.as_ref());
        let kafka = self.kafka.as_ref().and_then(|to| to.tls.as_ref());
        [syslog, fluent, nats, kafka].into_iter().flatten()
    }

    fn check_tls(&self, place: &str, problems: &mut Vec<String>) {
        let of_http = [
            self.webhook.as_ref().map(|to| (&to.certificate, &to.key)),
            self.otlp.as_ref().map(|to| (&to.certificate, &to.key)),
            self.splunk.as_ref().map(|to| (&to.certificate, &to.key)),
            self.elasticsearch.as_ref().map(|to| (&to.certificate, &to.key)),
            self.alertmanager.as_ref().map(|to| (&to.certificate, &to.key)),
        ];
        let pairs = of_http.into_iter().flatten();
        let mut pairs = pairs.chain(self.tls().map(|tls| (&tls.certificate, &tls.key)));
        if pairs.any(|(certificate, key)| certificate.is_some() != key.is_some()) {
            problems.push(format!("error[C0009]: {place}: certificate and key go together"));
        }
    }

    fn check_url(&self, place: &str, problems: &mut Vec<String>) {
        let Some((url, allow_plain_http)) = self.url() else { return };
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
            || self.fluent.is_some()
            || self.alertmanager.is_some();
        let wants_text = !(wants_json || self.nats.is_some() || self.kafka.is_some());
        if (wants_json && !is_json) || (wants_text && !self.format.is_text()) {
            problems.push(format!(
                "error[C0010]: {place}: this kind of sink can't carry that format; use native, ocsf or ecs"
            ));
        }
    }

    fn check_compression(&self, place: &str, problems: &mut Vec<String>) {
        let both = self.webhook.is_some() || self.kafka.is_some();
        let gzip = both
            || self.otlp.is_some()
            || self.splunk.is_some()
            || self.elasticsearch.is_some()
            || self.fluent.is_some();
        let known = match self.compression {
            Compression::None => true,
            Compression::Gzip => gzip,
            Compression::Zstd => both,
        };
        if !known {
            problems.push(format!(
                "error[C0013]: {place}: compression: {} is not known to this kind of receiver; use {}",
                self.compression.name(),
                if gzip { "gzip or none" } else { "none" }
            ));
        }
    }
}
