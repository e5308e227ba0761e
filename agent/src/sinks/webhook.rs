//! An HTTPS receiver, as the Standard Webhooks specification has it.
//!
//! Each request carries `webhook-id`, `webhook-timestamp` and `webhook-signature` over `id.timestamp.body`: `v1a`, by
//! the agent's own Ed25519 key, and `v1`, by a shared secret, if one is given. The id is made from stream and sequence
//! numbers, so a batch that is sent again has the same one. 2xx takes the batch; 400, 413 and 422 refuse it; anything
//! else (401 and 403 too: keys get rotated) is tried again.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use reqwest::{
    Client, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, RETRY_AFTER},
    redirect,
};

use super::{Delivery, DeliveryError, Sink, SinkError};
use crate::{
    alert::{key::SigningKey, text},
    config::{WebhookBody, WebhookConfig},
    spool::Entry,
};

/// Bytes of an answer that are read, for the reason in a log.
const ANSWER_BYTES: usize = 512;

pub(super) struct Webhook {
    client: Client,
    url: Url,
    body: WebhookBody,
    token: Option<String>,
    secret: Option<hmac::Key>,
    key: Arc<SigningKey>,
}

impl Webhook {
    pub(super) fn open(
        sink: &str,
        config: &WebhookConfig,
        key: Arc<SigningKey>,
    ) -> Result<Self, SinkError> {
        let setting = |reason: String| SinkError::Setting { sink: sink.to_owned(), reason };
        let read = |path: &Path| {
            fs::read(path).map_err(|source| SinkError::File {
                sink: sink.to_owned(),
                path: path.to_owned(),
                source,
            })
        };
        let url = Url::parse(&config.url).map_err(|error| setting(format!("url: {error}")))?;
        let mut client = Client::builder()
            .timeout(config.timeout)
            .connect_timeout(config.timeout)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("interdict/", env!("CARGO_PKG_VERSION")))
            .no_proxy();
        if url.scheme() == "https" {
            client = client.https_only(true);
        }
        if url.host_str() == Some("localhost") {
            // Never by a resolver: alerts must not leave the host because of a name service.
            let port = url.port_or_known_default().unwrap_or(0);
            let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            let here: Vec<SocketAddr> =
                here.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
            client = client.resolve_to_addrs("localhost", &here);
        }
        if let Some(path) = &config.ca {
            let certificates = reqwest::Certificate::from_pem_bundle(&read(path)?)
                .map_err(|error| setting(format!("ca {}: {error}", path.display())))?;
            if certificates.is_empty() {
                return Err(setting(format!("ca {}: no certificate in it", path.display())));
            }
            client = client.tls_certs_only(certificates);
        }
        if let (Some(certificate), Some(private)) = (&config.certificate, &config.key) {
            let mut pem = read(private)?;
            pem.push(b'\n');
            pem.extend(read(certificate)?);
            let identity = reqwest::Identity::from_pem(&pem)
                .map_err(|error| setting(format!("client certificate: {error}")))?;
            client = client.identity(identity);
        }
        let secret = config.secret.as_deref().map(read).transpose()?;
        let secret = secret.map(|bytes| shared_secret(&bytes).ok_or("secret: not base64"));
        let token = config.token.as_deref().map(read).transpose()?;
        let token = token.map(|bytes| String::from_utf8(bytes).map(|text| text.trim().to_owned()));
        Ok(Self {
            client: client.build().map_err(|error| setting(error.to_string()))?,
            url,
            body: config.body,
            token: token.transpose().map_err(|_not_utf8| setting("token: not text".to_owned()))?,
            secret: secret.transpose().map_err(|reason| setting(reason.to_owned()))?,
            key,
        })
    }

    async fn send(&self, batch: &[Entry]) -> Result<usize, DeliveryError> {
        let body = body(self.body, batch);
        let id = message_id(batch);
        let timestamp =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
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
            .header("webhook-signature", signature)
            .body(body);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = request.send().await.map_err(|error| DeliveryError::retry(chain(&error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(batch.len());
        }
        let after = retry_after(response.headers(), SystemTime::now());
        let reason = format!("HTTP {status}{}", answer(response).await);
        match status {
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => Err(DeliveryError::Refused { reason }),
            _other => Err(DeliveryError::Retry { reason, after }),
        }
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

fn shared_secret(bytes: &[u8]) -> Option<hmac::Key> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
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

/// From the first alert's id and the last one's number; the specification keeps dots out of ids.
fn message_id(batch: &[Entry]) -> String {
    let stream = batch.first().and_then(|entry| stream_of(&entry.line)).unwrap_or_default();
    let first = batch.first().map_or(0, |entry| entry.seq);
    let last = batch.last().map_or(0, |entry| entry.seq);
    format!("interdict_{stream}_{first}_{last}")
}

fn stream_of(line: &[u8]) -> Option<&str> {
    const NAME: &[u8] = b"\"stream\":\"";
    // Near the end of the body, after everything an attacker could have written; quotes in values are escaped.
    let at = line.windows(NAME.len()).rposition(|window| window == NAME)? + NAME.len();
    std::str::from_utf8(line.get(at..at + 32)?).ok()
}

fn retry_after(headers: &HeaderMap, _now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

async fn answer(mut response: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    bytes.truncate(ANSWER_BYTES);
    if bytes.is_empty() {
        return String::new();
    }
    let mut shown = String::from(": ");
    text::for_people(&mut shown, &String::from_utf8_lossy(&bytes));
    shown
}

/// An error with its causes: the outermost alone says "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
