//! Splunk HTTP Event Collector.

use reqwest::{
    Client, Url,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::{Value, json, value::to_value};

use super::{
    Delivery, DeliveryError, Sink, SinkError,
    http::{self, Endpoint},
};
use crate::{
    alert::build::unix_ns,
    config::{Compression, SplunkConfig},
    spool::Entry,
};

pub(super) struct Splunk {
    client: Client,
    url: Url,
    token: String,
    config: SplunkConfig,
    compression: Compression,
}

impl Splunk {
    pub(super) fn open(
        sink: &str,
        config: &SplunkConfig,
        compression: Compression,
    ) -> Result<Self, SinkError> {
        let endpoint = Endpoint {
            sink,
            url: &config.url,
            ca: config.ca.as_ref(),
            certificate: config.certificate.as_ref(),
            key: config.key.as_ref(),
            timeout: config.timeout,
        };
        let (client, url) = endpoint.open()?;
        let token = endpoint.secret(Some(&config.token))?.unwrap_or_default();
        Ok(Self { client, url, token, config: config.clone(), compression })
    }

    async fn send(&self, batch: &[Entry]) -> Result<usize, DeliveryError> {
        let post = self
            .client
            .post(self.url.clone())
            .header(AUTHORIZATION, format!("Splunk {}", self.token))
            .header(CONTENT_TYPE, "application/json");
        let request = http::with_body(post, body(&self.config, batch), self.compression).await?;
        let response = http::send(request).await?;
        if !response.status().is_success() {
            return Err(http::failure(response).await);
        }
        // 200 with another code than 0 has been seen from proxies of it.
        match code(&http::body(response).await) {
            Some(0) => Ok(batch.len()),
            Some(code) => Err(DeliveryError::retry(format!("HEC code {code}"))),
            None => Err(DeliveryError::retry("the answer is not one of HEC")),
        }
    }
}

impl Sink for Splunk {
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a> {
        Box::pin(self.send(batch))
    }
}

/// The code in an answer; 0 is success.
pub(super) fn code(answer: &[u8]) -> Option<i64> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    answer.get("code")?.as_i64()
}

/// Events one after another, as HEC takes batches.
fn body(config: &SplunkConfig, batch: &[Entry]) -> Vec<u8> {
    let mut body = Vec::new();
    for entry in batch {
        let native: Value = serde_json::from_slice(&entry.line).unwrap_or_default();
        let event = serde_json::from_slice(entry.payload())
            .or_else(|_text| to_value(String::from_utf8_lossy(entry.payload())))
            .unwrap_or_default();
        let unix_ns = native.get("time").and_then(Value::as_str).and_then(unix_ns).unwrap_or(0);
        let mut outer = json!({
            "time": format!("{}.{:03}", unix_ns / 1_000_000_000, unix_ns / 1_000_000 % 1_000),
            "host": native.pointer("/host/name"),
            "source": "interdict",
            "sourcetype": config.sourcetype,
            "event": event,
        });
        if let Some(index) = &config.index {
            outer["index"] = Value::from(index.as_str());
        }
        body.extend_from_slice(outer.to_string().as_bytes());
        body.push(b'\n');
    }
    body
}
