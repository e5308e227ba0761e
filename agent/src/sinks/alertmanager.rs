//! Prometheus' Alertmanager, API version 2.
//!
//! An alert there is its set of labels: whatever agrees in all of them is one alert, of which the last annotations are
//! shown. So each alert has a label with its id, unless `merge` is set. It begins at the time of the act and counts as
//! over `resolve_after` from its delivery: an act has no end of its own, and one that waited long in the spool must not
//! be over before anybody was told. It takes a
//! request with 200 once it holds the alerts; 400 means that some are not to its taste, and the runner finds which.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Client, Url, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};

use super::{
    Delivery, DeliveryError, Sink, SinkError,
    http::{self, Endpoint},
};
use crate::{
    alert::build::{rfc3339, unix_ns},
    config::AlertmanagerConfig,
    spool::Entry,
};

pub(super) struct Alertmanager {
    client: Client,
    url: Url,
    token: Option<String>,
    merge: bool,
    resolve_after: Duration,
}

impl Alertmanager {
    pub(super) fn open(sink: &str, config: &AlertmanagerConfig) -> Result<Self, SinkError> {
        let endpoint = Endpoint {
            sink,
            url: &config.url,
            ca: config.ca.as_ref(),
            certificate: config.certificate.as_ref(),
            key: config.key.as_ref(),
            timeout: config.timeout,
        };
        let (client, mut url) = endpoint.open()?;
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/api/v2/alerts"));
        Ok(Self {
            client,
            url,
            token: endpoint.secret(config.token.as_ref())?,
            merge: config.merge,
            resolve_after: config.resolve_after,
        })
    }

    async fn send(&self, batch: &[Entry]) -> Result<usize, DeliveryError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ends_ns = u64::try_from((now + self.resolve_after).as_nanos()).unwrap_or(u64::MAX);
        let alerts = batch.iter().map(|entry| alert(entry, self.merge, ends_ns));
        let body = Value::Array(alerts.collect()).to_string();
        let mut request =
            self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = http::send(request).await?;
        if response.status().is_success() {
            return Ok(batch.len());
        }
        Err(http::failure(response).await)
    }
}

impl Sink for Alertmanager {
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a> {
        Box::pin(self.send(batch))
    }
}

/// One alert as the API has it. What it doesn't know is left out: an empty label is none.
fn alert(entry: &Entry, merge: bool, ends_ns: u64) -> Value {
    let native: Value = serde_json::from_slice(&entry.line).unwrap_or_default();
    let text = |pointer: &str| native.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let name =
        text("/rules/0/id").or_else(|| text("/notice/name").map(|n| format!("interdict-{n}")));
    let starts_ns = text("/time").as_deref().and_then(unix_ns).unwrap_or(0);
    let labels = [
        ("alertname", Some(name.unwrap_or_else(|| "interdict".to_owned()))),
        ("severity", text("/severity")),
        ("instance", text("/host/name")),
        ("verdict", text("/decision/verdict")),
        ("container", text("/container/name").or_else(|| text("/container/id"))),
        ("namespace", text("/container/namespace")),
        ("pod", text("/container/pod")),
        ("alert_id", (!merge).then(|| text("/id")).flatten()),
    ];
    let annotations = [
        ("summary", text("/message")),
        ("title", text("/rules/0/title")),
        ("process", text("/process/exe")),
        ("object", text("/object/path")),
        ("id", text("/id")),
        ("hash", text("/seal/hash")),
    ];
    json!({
        "labels": members(labels),
        "annotations": members(annotations),
        "startsAt": rfc3339(starts_ns),
        "endsAt": rfc3339(ends_ns),
    })
}

fn members<const N: usize>(pairs: [(&str, Option<String>); N]) -> Value {
    let known = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let known = known.filter(|(_, value)| !value.is_empty());
    Value::Object(known.map(|(name, value)| (name, value.into())).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_alert_is_one_of_its_own_unless_they_are_to_be_merged() {
        let line = br#"{"host":{"name":"h"},"id":"s-7","message":"m","rules":[{"id":"R","title":"t"}],"severity":"high",
            "time":"2026-01-02T03:04:05.000000000Z"}"#;
        let entry =
            Entry { seq: 7, severity: 3, is_notice: false, line: line.to_vec(), rendered: None };
        let one = alert(&entry, false, 1_767_323_105_000_000_000);
        assert_eq!(
            one["labels"],
            json!({"alertname": "R", "severity": "high", "instance": "h", "alert_id": "s-7"})
        );
        assert_eq!(one["startsAt"], "2026-01-02T03:04:05.000000000Z");
        assert_eq!(one["endsAt"], "2026-01-02T03:05:05.000000000Z");
        let merged = alert(&entry, true, 0);
        assert_eq!(merged["labels"].get("alert_id"), None);
        assert_eq!(merged["annotations"]["id"], "s-7");
    }
}
