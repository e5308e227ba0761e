//! What all sinks over HTTP share: the client with its pinned authority and client certificate, and how answers are read.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reqwest::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{CONTENT_ENCODING, HeaderMap, RETRY_AFTER},
    redirect,
};

use super::{DeliveryError, SinkError, compress::compressed};
use crate::{alert::text, config::Compression};

/// Bytes of an answer that are read: receivers are not to fill the agent's memory.
const ANSWER_BYTES: usize = 1 << 20;

/// Characters of an answer that are told.
const TOLD: usize = 300;

/// Where to and how.
pub(super) struct Endpoint<'a> {
    pub(super) sink: &'a str,
    pub(super) url: &'a str,
    pub(super) ca: Option<&'a PathBuf>,
    pub(super) certificate: Option<&'a PathBuf>,
    pub(super) key: Option<&'a PathBuf>,
    pub(super) timeout: Duration,
}

impl Endpoint<'_> {
    /// A client for it.
    pub(super) fn open(&self) -> Result<(Client, Url), SinkError> {
        let setting = |reason: String| SinkError::Setting { sink: self.sink.to_owned(), reason };
        let url = Url::parse(self.url).map_err(|error| setting(format!("url: {error}")))?;
        let mut client = Client::builder()
            .timeout(self.timeout)
            .connect_timeout(self.timeout)
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
        if let Some(path) = self.ca {
            let certificates = reqwest::Certificate::from_pem_bundle(&self.read(path)?)
                .map_err(|error| setting(format!("ca {}: {error}", path.display())))?;
            if certificates.is_empty() {
                return Err(setting(format!("ca {}: no certificate in it", path.display())));
            }
            client = client.tls_certs_only(certificates);
        }
        if let (Some(certificate), Some(private)) = (self.certificate, self.key) {
            let mut pem = self.read(private)?;
            pem.push(b'\n');
            pem.extend(self.read(certificate)?);
            let identity = reqwest::Identity::from_pem(&pem)
                .map_err(|error| setting(format!("client certificate: {error}")))?;
            client = client.identity(identity);
        }
        let client = client.build().map_err(|error| setting(chain(&error)))?;
        Ok((client, url))
    }

    /// A file it needs.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>, SinkError> {
        fs::read(path).map_err(|source| SinkError::File {
            sink: self.sink.to_owned(),
            path: path.to_owned(),
            source,
        })
    }

    /// A file with one secret line.
    pub(super) fn secret(&self, path: Option<&PathBuf>) -> Result<Option<String>, SinkError> {
        let Some(path) = path else { return Ok(None) };
        let text = String::from_utf8(self.read(path)?).map_err(|_not_utf8| SinkError::Setting {
            sink: self.sink.to_owned(),
            reason: format!("{}: not text", path.display()),
        })?;
        Ok(Some(text.trim().to_owned()))
    }
}

/// Puts a body into a request, compressed and named so.
pub(super) async fn with_body(
    request: RequestBuilder,
    body: Vec<u8>,
    compression: Compression,
) -> Result<RequestBuilder, DeliveryError> {
    let request = match compression {
        Compression::None => request,
        Compression::Gzip | Compression::Zstd => {
            request.header(CONTENT_ENCODING, compression.name())
        }
    };
    Ok(request.body(compressed(body, compression).await?))
}

/// Sends. Whatever happens before an answer may pass.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, DeliveryError> {
    request.send().await.map_err(|error| match error.is_timeout() && !error.is_connect() {
        true => DeliveryError::Late { reason: chain(&error) },
        false => DeliveryError::retry(chain(&error)),
    })
}

/// Why a status that isn't a success isn't one. Only what says that these bytes will never do refuses them: 401, 403
/// and 404 are put right by an operator.
pub(super) async fn failure(response: Response) -> DeliveryError {
    let status = response.status();
    let after = retry_after(response.headers(), SystemTime::now());
    let answer = body(response).await;
    judge(status, after, &answer)
}

fn judge(status: StatusCode, after: Option<Duration>, answer: &[u8]) -> DeliveryError {
    let mut reason = format!("HTTP {status}");
    if !answer.is_empty() {
        reason.push_str(": ");
        let text = String::from_utf8_lossy(answer);
        let end = text.char_indices().nth(TOLD).map_or(text.len(), |(at, _)| at);
        text::for_people(&mut reason, &text[..end]);
    }
    match status {
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => DeliveryError::Refused { reason },
        _other => DeliveryError::Retry { reason, after },
    }
}

/// An answer's body, up to a bound.
pub(super) async fn body(mut response: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    bytes.truncate(ANSWER_BYTES);
    bytes
}

/// See [`super::read_as_answers`].
pub(super) fn read_as_headers(bytes: &[u8]) {
    if let Ok(value) = bytes.try_into() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value)]);
        let _wait = retry_after(&headers, UNIX_EPOCH);
    }
    if let Some((status, answer)) = bytes.split_first_chunk::<2>()
        && let Ok(status) = StatusCode::from_u16(u16::from_be_bytes(*status))
    {
        let _why = judge(status, None, answer);
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = http_date(text)?;
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(at.saturating_sub(now)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as unix seconds: the one form that may still be sent.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let time = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let stamp = format!("{year}-{month:02}-{day}T{time}.000000000Z");
    Some(crate::alert::build::unix_ns(&stamp)? / 1_000_000_000)
}

/// An error with its causes: the outermost alone says "error sending request".
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_says_when_to_try_again_in_seconds_or_as_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(after("Sun, 06 Nov 1993 08:49:37 GMT"), Some(0));
        assert_eq!(after("soon"), None);
    }
}
