//! An HTTPS receiver, as the Standard Webhooks specification has it.
//!
//! Each request carries `webhook-id`, `webhook-timestamp` and `webhook-signature` over `id.timestamp.body`: `v1a`, by
//! the agent's own Ed25519 key, and `v1`, by a shared secret, if one is given. The id is made from stream,
//! sequence numbers and a checksum of the body, so it is the same exactly if the bytes are: see `spool::cursor` for why a
//! batch that is sent again has the same bytes. 2xx takes the batch; 400, 413 and 422 refuse it; anything
//! else (401 and 403 too: keys get rotated) is tried again. With compression, the signature is over the body before it
//! was compressed: that is what a receiver's framework hands to whoever verifies.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use reqwest::{
    Client, Url,
    header::{AUTHORIZATION, CONTENT_TYPE},
};

use super::{
    Delivery, DeliveryError, Sink, SinkError,
    http::{self, Endpoint},
};
use crate::{
    alert::key::SigningKey,
    config::{Compression, WebhookBody, WebhookConfig},
    spool::Entry,
    wall,
};

pub(super) struct Webhook {
    client: Client,
    url: Url,
    body: WebhookBody,
    token: Option<String>,
    secret: Option<hmac::Key>,
    key: Arc<SigningKey>,
    compression: Compression,
}

impl Webhook {
    pub(super) fn open(
        sink: &str,
        config: &WebhookConfig,
        compression: Compression,
        key: Arc<SigningKey>,
    ) -> Result<Self, SinkError> {
        let setting = |reason: String| SinkError::Setting { sink: sink.to_owned(), reason };
        let endpoint = Endpoint {
            sink,
            url: &config.url,
            ca: config.ca.as_ref(),
            certificate: config.certificate.as_ref(),
            key: config.key.as_ref(),
            timeout: config.timeout,
        };
        let (client, url) = endpoint.open()?;
        let secret = match endpoint.secret(config.secret.as_ref())? {
            Some(text) => {
                Some(shared_secret(&text).ok_or_else(|| setting("secret: not base64".to_owned()))?)
            }
            None => None,
        };
        let token = endpoint.secret(config.token.as_ref())?;
        Ok(Self { client, url, body: config.body, token, secret, key, compression })
    }

    async fn send(&self, batch: &[Entry]) -> Result<usize, DeliveryError> {
        let body = body(self.body, batch);
        let id = message_id(batch, &body);
        let timestamp = wall::now_s();
        let signature = self.signature(&id, timestamp, &body);
        let content_type = match self.body {
            WebhookBody::Array => "application/json",
            WebhookBody::Ndjson => "application/x-ndjson",
        };
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, content_type)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", signature);
        request = http::with_body(request, body, self.compression).await?;
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = http::send(request).await?;
        if response.status().is_success() {
            return Ok(batch.len());
        }
        Err(http::failure(response).await)
    }

    fn signature(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut message = format!("{id}.{timestamp}.").into_bytes();
        message.extend_from_slice(body);
        let mut signature = format!("v1a,{}", BASE64.encode(self.key.sign(&message)));
        if let Some(secret) = &self.secret {
            let tag = hmac::sign(secret, &message);
            signature = format!("v1,{} {signature}", BASE64.encode(tag.as_ref()));
        }
        signature
    }
}

impl Sink for Webhook {
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a> {
        Box::pin(self.send(batch))
    }
}

fn shared_secret(text: &str) -> Option<hmac::Key> {
    let raw = BASE64.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok()?;
    Some(hmac::Key::new(hmac::HMAC_SHA256, &raw))
}

fn body(form: WebhookBody, batch: &[Entry]) -> Vec<u8> {
    let len: usize = batch.iter().map(|entry| entry.payload().len() + 1).sum();
    let mut body = Vec::with_capacity(len + 2);
    match form {
        WebhookBody::Array => {
            body.push(b'[');
            for (index, entry) in batch.iter().enumerate() {
                if index > 0 {
                    body.push(b',');
                }
                body.extend_from_slice(entry.payload());
            }
            body.push(b']');
        }
        WebhookBody::Ndjson => {
            for entry in batch {
                body.extend_from_slice(entry.payload());
                body.push(b'\n');
            }
        }
    }
    body
}

/// The specification keeps dots out of ids. The checksum is for changes of filter or format between two attempts: a
/// receiver that had the first must not drop what is new in the second.
fn message_id(batch: &[Entry], body: &[u8]) -> String {
    let stream = batch.first().and_then(|entry| stream_of(&entry.line)).unwrap_or_default();
    let first = batch.first().map_or(0, |entry| entry.seq);
    let last = batch.last().map_or(0, |entry| entry.seq);
    format!("interdict_{stream}_{first}_{last}_{:08x}", crc32fast::hash(body))
}

fn stream_of(line: &[u8]) -> Option<&str> {
    const NAME: &[u8] = b"\"stream\":\"";
    // Near the end of the body, after everything an attacker could have written; quotes in values are escaped.
    let at = line.windows(NAME.len()).rposition(|window| window == NAME)? + NAME.len();
    std::str::from_utf8(line.get(at..at + 32)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "00112233445566778899aabbccddeeff";

    fn entry(seq: u64) -> Entry {
        let line = format!("{{\"id\":\"{STREAM}-{seq}\",\"stream\":\"{STREAM}\"}}").into_bytes();
        Entry { seq, severity: 0, is_notice: false, line, rendered: None }
    }

    /// A receiver that had two of three would have dropped the third, which it did not have, when a filter was changed.
    #[test]
    fn an_id_is_that_of_a_batch_as_it_was_sent_and_of_no_other() {
        let id = |batch: &[Entry]| message_id(batch, &body(WebhookBody::Array, batch));
        let all = [entry(4), entry(5), entry(6)];
        let first = id(&all);
        assert!(first.starts_with(&format!("interdict_{STREAM}_4_6_")), "{first}");
        assert!(!first.contains('.'), "{first}");
        assert_eq!(id(&all.clone()), first);
        assert_ne!(id(&[entry(4), entry(6)]), first, "another filter");
        let mut other = all.clone();
        other[1].rendered = Some(b"CEF:0".to_vec());
        assert_ne!(id(&other), first, "another format");
        assert_ne!(id(&all[..2]), first);
    }
}
