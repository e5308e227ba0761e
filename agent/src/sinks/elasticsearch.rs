//! Elasticsearch and OpenSearch `_bulk`.
//!
//! Each alert is created under its own id, so one that is sent again is found to be there (409), which counts as taken.
//! A bulk request succeeds in parts: the longest prefix that is stored is what was taken.

use reqwest::{
    Client, Url,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::{Value, json};

use super::{
    Delivery, DeliveryError, Sink, SinkError,
    http::{self, Endpoint},
};
use crate::{
    config::{Compression, ElasticsearchConfig},
    spool::Entry,
};

pub(super) struct Elasticsearch {
    client: Client,
    url: Url,
    authorization: Option<String>,
    index: String,
    compression: Compression,
}

impl Elasticsearch {
    pub(super) fn open(
        sink: &str,
        config: &ElasticsearchConfig,
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
        let (client, mut url) = endpoint.open()?;
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/_bulk"));
        let authorization =
            endpoint.secret(config.api_key.as_ref())?.map(|key| format!("ApiKey {key}"));
        Ok(Self { client, url, authorization, index: config.index.clone(), compression })
    }

    async fn send(&self, batch: &[Entry]) -> Result<usize, DeliveryError> {
        let post = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/x-ndjson");
        let mut request = http::with_body(post, body(&self.index, batch), self.compression).await?;
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = http::send(request).await?;
        if !response.status().is_success() {
            return Err(http::failure(response).await);
        }
        outcome(&http::body(response).await, batch.len())
    }
}

impl Sink for Elasticsearch {
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a> {
        Box::pin(self.send(batch))
    }
}

fn body(index: &str, batch: &[Entry]) -> Vec<u8> {
    let mut body = Vec::new();
    for entry in batch {
        let native: Value = serde_json::from_slice(&entry.line).unwrap_or_default();
        let action = json!({"create": {"_index": index, "_id": native.get("id")}});
        body.extend_from_slice(action.to_string().as_bytes());
        body.push(b'\n');
        body.extend_from_slice(entry.payload());
        body.push(b'\n');
    }
    body
}

/// How much of a batch an answer says is stored.
pub(super) fn outcome(answer: &[u8], sent: usize) -> Result<usize, DeliveryError> {
    let answer: Value = serde_json::from_slice(answer)
        .map_err(|_not_json| DeliveryError::retry("the answer is not one of _bulk"))?;
    let items = answer.get("items").and_then(Value::as_array);
    let items = items
        .filter(|items| items.len() == sent)
        .ok_or_else(|| DeliveryError::retry("the answer doesn't tell what became of each alert"))?;
    for (taken, item) in items.iter().enumerate() {
        let item = item.get("create").unwrap_or(item);
        let status = item.get("status").and_then(Value::as_u64).unwrap_or(0);
        if (200..300).contains(&status) || status == 409 {
            continue;
        }
        if taken > 0 {
            return Ok(taken);
        }
        let reason = format!("item status {status}: {}", item.get("error").unwrap_or(&Value::Null));
        return Err(match status {
            400 | 413 | 422 => DeliveryError::Refused { reason },
            _other => DeliveryError::retry(reason),
        });
    }
    Ok(items.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(statuses: &[u64]) -> Vec<u8> {
        let items: Vec<Value> =
            statuses.iter().map(|status| json!({"create": {"status": status}})).collect();
        json!({"errors": true, "items": items}).to_string().into_bytes()
    }

    #[test]
    fn the_stored_prefix_is_what_was_taken() {
        assert_eq!(outcome(&answer(&[201, 409, 201]), 3), Ok(3));
        assert_eq!(outcome(&answer(&[201, 429, 201]), 3), Ok(1));
        assert!(matches!(outcome(&answer(&[429, 201]), 2), Err(DeliveryError::Retry { .. })));
        assert!(matches!(outcome(&answer(&[400, 201]), 2), Err(DeliveryError::Refused { .. })));
        assert!(matches!(outcome(&answer(&[201]), 2), Err(DeliveryError::Retry { .. })));
        assert!(matches!(outcome(b"<html>", 1), Err(DeliveryError::Retry { .. })));
    }
}
