//! Sinks over HTTP and their runner, against a receiver that answers as told.

use std::{
    collections::VecDeque,
    fs,
    path::Path,
    sync::{Mutex, PoisonError, atomic::Ordering},
};

use interdict_abi::ids::Mode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::*;
use crate::{
    alert::Notice,
    config::Config,
    pipeline::{Pipeline, this_host},
};

/// What the receiver does with a request.
#[derive(Clone, Debug)]
enum Answer {
    /// Takes it and says so.
    Take,
    /// This status, with these header lines.
    Status(u16, &'static str),
    /// 400 if the body holds this text, else 200.
    RefuseIf(&'static str),
    /// These bytes.
    Bytes(&'static [u8]),
    /// Closes without an answer.
    Close,
    /// Takes it, and closes without an answer: the acknowledgement is lost.
    TakeAndClose,
    /// Answers nothing for longer than the sink waits.
    Hang,
}

struct Receiver {
    url: String,
    taken: Arc<Mutex<Vec<Value>>>,
    requests: Arc<Mutex<usize>>,
}

/// A receiver that answers by script, and takes everything after it.
async fn receiver(script: Vec<Answer>) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::new(Mutex::new(0));
    let (store, count) = (Arc::clone(&taken), Arc::clone(&requests));
    tokio::spawn(async move {
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(
                socket,
                Arc::clone(&script),
                Arc::clone(&store),
                Arc::clone(&count),
            ));
        }
    });
    Receiver { url, taken, requests }
}

async fn serve(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    script: Arc<Mutex<VecDeque<Answer>>>,
    taken: Arc<Mutex<Vec<Value>>>,
    requests: Arc<Mutex<usize>>,
) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match socket.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_closed) => return,
            }
        }
        let text = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let len = text.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        let mut body = vec![0; len.parse().unwrap()];
        socket.read_exact(&mut body).await.unwrap();
        *requests.lock().unwrap() += 1;
        let answer = script.lock().unwrap().pop_front().unwrap_or(Answer::Take);
        let alerts: Vec<Value> = serde_json::from_slice(&body).unwrap();
        let take = || taken.lock().unwrap().extend(alerts.iter().cloned());
        let reply = match answer {
            Answer::Take => {
                take();
                b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()
            }
            Answer::Status(status, headers) => {
                format!("HTTP/1.1 {status} X\r\n{headers}content-length: 4\r\n\r\nno\n!")
                    .into_bytes()
            }
            Answer::RefuseIf(word)
                if body.windows(word.len()).any(|part| part == word.as_bytes()) =>
            {
                script.lock().unwrap().push_front(Answer::RefuseIf(word));
                b"HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n".to_vec()
            }
            Answer::RefuseIf(word) => {
                script.lock().unwrap().push_front(Answer::RefuseIf(word));
                take();
                b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()
            }
            Answer::Bytes(bytes) => bytes.to_vec(),
            Answer::Close => return,
            Answer::TakeAndClose => {
                take();
                return;
            }
            Answer::Hang => {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                return;
            }
        };
        if socket.write_all(&reply).await.is_err() {
            return;
        }
    }
}

/// What is at the other end of a connection that should be the receiver's.
#[derive(Clone, Copy, Debug)]
enum Face {
    /// The receiver, with a certificate by the pinned authority.
    Right,
    /// Somebody with a certificate by an authority of their own.
    Stranger,
    /// The pinned authority's, for another name.
    OtherName,
    /// The pinned authority's, of long ago.
    Expired,
    /// Answers without TLS.
    Plain,
    /// Closes in the middle of the handshake.
    Cuts,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn acceptor(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str, until: i32) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&key, issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A receiver by TLS with these faces in turn, the right one after them; its authority is in `ca.pem` of the folder. Counts
/// requests that a wrong face could read.
async fn tls_receiver(folder: &Path, faces: Vec<Face>) -> (Receiver, Arc<Mutex<usize>>) {
    let (pinned, other) = (authority(), authority());
    fs::write(folder.join("ca.pem"), pinned.pem()).unwrap();
    let right = acceptor(&pinned, "localhost", 2_200);
    let stranger = acceptor(&other, "localhost", 2_200);
    let other_name = acceptor(&pinned, "receiver.invalid", 2_200);
    let expired = acceptor(&pinned, "localhost", 2_001);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/in", listener.local_addr().unwrap().port());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::new(Mutex::new(0));
    let leaked = Arc::new(Mutex::new(0));
    let receiver = Receiver { url, taken: Arc::clone(&taken), requests: Arc::clone(&requests) };
    let count = Arc::clone(&leaked);
    tokio::spawn(async move {
        let script = Arc::new(Mutex::new(VecDeque::new()));
        let mut faces = VecDeque::from(faces);
        while let Ok((mut socket, _)) = listener.accept().await {
            let wrong = match faces.pop_front().unwrap_or(Face::Right) {
                Face::Right => {
                    let Ok(stream) = right.accept(socket).await else { continue };
                    let (script, taken) = (Arc::clone(&script), Arc::clone(&taken));
                    tokio::spawn(serve(stream, script, taken, Arc::clone(&requests)));
                    continue;
                }
                Face::Stranger => &stranger,
                Face::OtherName => &other_name,
                Face::Expired => &expired,
                Face::Plain => {
                    let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    socket.write_all(reply).await.unwrap();
                    continue;
                }
                Face::Cuts => {
                    socket.read_u8().await.unwrap();
                    continue;
                }
            };
            if let Ok(mut stream) = wrong.accept(socket).await {
                let read = stream.read(&mut [0; 64]).await;
                *count.lock().unwrap() += usize::from(read.is_ok_and(|bytes| bytes > 0));
            }
        }
    });
    (receiver, leaked)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_the_receiver_gets_nothing_and_the_receiver_gets_everything_afterwards() {
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    for face in [Face::Stranger, Face::OtherName, Face::Expired, Face::Plain, Face::Cuts] {
        let folder = tempfile::tempdir().unwrap();
        let (receiver, leaked) = tls_receiver(folder.path(), vec![face; 3]).await;
        let status = told(folder.path(), &receiver, &["a", "b", "c"]).await;
        assert_eq!(reasons(&receiver), ["a", "b", "c"], "{face:?}");
        assert!(status.failures.load(Ordering::Relaxed) >= 3, "{face:?}");
        assert!(!status.is_down.load(Ordering::Relaxed), "{face:?}");
        assert_eq!(*leaked.lock().unwrap(), 0, "{face:?}");
    }
}

/// Tells these notices through a pipeline with a webhook and waits until the sink is past them.
async fn told(folder: &Path, receiver: &Receiver, words: &[&str]) -> Arc<Status> {
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let authority = folder.join("ca.pem");
    let tls =
        if authority.exists() { format!(", ca: {}", authority.display()) } else { String::new() };
    let text = format!(
        "state: {0}\nruntime: {0}/run\nalerts: {{ alive: 0s }}\nsinks:\n  - name: hook\n    retry: {{ first: 1ms, max: 4ms, down_after: 2 }}\n    \
         webhook: {{ url: \"{1}\", timeout: 400ms{tls} }}\n",
        folder.display(),
        receiver.url
    );
    let config = Config::parse(&text, Path::new("t.yaml")).unwrap();
    let pipeline = Pipeline::start(&config, this_host(), Mode::Enforce).unwrap();
    for word in words {
        pipeline.notice(Notice::PolicyRefused { reason: (*word).to_owned() });
    }
    let status = Arc::clone(&pipeline.sinks()[0]);
    let expected = words.len() as u64 + 1;
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while status.next.load(Ordering::Relaxed) <= expected {
        assert!(std::time::Instant::now() < deadline, "{}", status.last_error());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    pipeline.shutdown("test").await;
    status
}

fn reasons(receiver: &Receiver) -> Vec<String> {
    let taken = receiver.taken.lock().unwrap_or_else(PoisonError::into_inner);
    let refused =
        |alert: &Value| Some(alert.pointer("/notice/detail/reason")?.as_str()?.to_owned());
    taken
        .iter()
        .filter(|alert| alert["notice"]["name"] == "policy-refused")
        .filter_map(refused)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_on_the_way_every_alert_arrives_in_order() {
    for script in [
        vec![Answer::Status(500, ""), Answer::Status(503, "retry-after: 0\r\n")],
        vec![
            Answer::Status(429, "retry-after: 0\r\n"),
            Answer::Status(401, ""),
            Answer::Status(404, ""),
        ],
        vec![Answer::Close, Answer::Close, Answer::Close],
        vec![Answer::Bytes(b"garbage\r\n\r\n"), Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-le")],
        vec![Answer::Status(301, "location: http://127.0.0.1:1/\r\n")],
        vec![Answer::Hang, Answer::Take],
    ] {
        let failures = script.iter().filter(|answer| !matches!(answer, Answer::Take)).count();
        let named = format!("{script:?}");
        let folder = tempfile::tempdir().unwrap();
        let receiver = receiver(script).await;
        let status = told(folder.path(), &receiver, &["a", "b", "c"]).await;
        assert_eq!(reasons(&receiver), ["a", "b", "c"], "{named}");
        assert!(status.failures.load(Ordering::Relaxed) >= failures as u64, "{named}");
        assert!(!status.is_down.load(Ordering::Relaxed), "{named}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_acknowledgement_costs_a_repeat_with_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = receiver(vec![Answer::TakeAndClose]).await;
    told(folder.path(), &receiver, &["a"]).await;
    let taken = receiver.taken.lock().unwrap();
    let repeats = taken.iter().filter(|alert| alert["id"] == taken[0]["id"]).count();
    assert_eq!(repeats, 2);
    let last = taken.last().unwrap();
    assert_eq!(last["notice"]["name"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_alert_that_is_refused_for_good_does_not_hold_up_the_others_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = receiver(vec![Answer::RefuseIf("\"reason\":\"poison\"")]).await;
    let words: Vec<&str> = ["a", "b", "c", "poison", "d", "e"].to_vec();
    let status = told(folder.path(), &receiver, &words).await;
    assert_eq!(reasons(&receiver), ["a", "b", "c", "d", "e"]);
    assert_eq!(status.dead.load(Ordering::Relaxed), 1);
    let dead = fs::read_to_string(folder.path().join("spool/dead/hook.ndjson")).unwrap();
    let dead: Value = serde_json::from_str(dead.trim()).unwrap();
    assert_eq!(dead["alert"]["notice"]["detail"]["reason"], "poison");
    assert!(dead["reason"].as_str().unwrap().starts_with("HTTP 400"));
    assert!(*receiver.requests.lock().unwrap() < 20);
}

/// Takes one request, answers with this body, and gives back the request's head and body.
async fn one_request(answer: &'static str) -> (String, tokio::task::JoinHandle<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let request = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let len = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        let mut body = vec![0; len.parse().unwrap()];
        socket.read_exact(&mut body).await.unwrap();
        let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
        socket.write_all(reply.as_bytes()).await.unwrap();
        (head, body)
    });
    (url, request)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sink_over_http_says_how_it_compressed_and_what_it_sent_comes_back() {
    use std::io::Read;
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "t\n").unwrap();
    let key = Arc::new(SigningKey::generate().unwrap());
    let line = br#"{"id":"s-1","stream":"s","seq":1,"time":"2026-01-02T03:04:05.000000000Z","severity":"low"}"#;
    let entry =
        Entry { seq: 1, severity: 1, is_notice: false, line: line.to_vec(), rendered: None };
    let stored = r#"{"items":[{"create":{"status":201}}]}"#;
    for (kind, encoding, answer) in [
        ("webhook: { url: \"URL\" }", "gzip", ""),
        ("webhook: { url: \"URL\", body: ndjson }", "zstd", ""),
        ("splunk: { url: \"URL\", token: TOKEN }", "gzip", r#"{"text":"Success","code":0}"#),
        ("elasticsearch: { url: \"URL\", index: alerts }", "gzip", stored),
        ("otlp: { url: \"URL\" }", "gzip", ""),
    ] {
        let (url, request) = one_request(answer).await;
        let kind = kind.replace("URL", &url).replace("TOKEN", &token.display().to_string());
        let text = format!("sinks:\n  - compression: {encoding}\n    {kind}\n");
        let config = Config::parse(&text, Path::new("t.yaml")).unwrap();
        let mut sink = open(&config.sinks[0], &key).unwrap();
        assert_eq!(sink.deliver(std::slice::from_ref(&entry)).await, Ok(1), "{kind}");
        let (head, body) = request.await.unwrap();
        assert!(head.contains(&format!("content-encoding: {encoding}\r\n")), "{kind}: {head}");
        let mut plain = Vec::new();
        if encoding == "zstd" {
            plain = zstd::bulk::decompress(&body, 1 << 20).unwrap();
        } else {
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
        }
        assert!(plain.windows(3).any(|part| part == b"s-1"), "{kind}: {plain:?}");
    }
}
