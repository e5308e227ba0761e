//! The sinks against receivers that other people wrote.
//!
//! Each test starts a real receiver on loopback, sends a stream through the whole pipeline, and looks at what arrived.
//! They need programs that a plain checkout doesn't have, so they are ignored unless asked for:
//! `apt-get install rsyslog rsyslog-openssl nats-server`, `pip install rotel standardwebhooks msgpack cryptography jsonschema`,
//! then `cargo test -p interdict --test receivers -- --ignored`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use interdict_abi::{
    event::{Head, VERSION, kind},
    ids::{Act, Action, Family, Mode},
};
use interdict_agent::{
    alert::{
        key::PublicKey,
        verify::{Repeats, Verifier},
    },
    config::Config,
    pipeline::{Pipeline, this_host},
};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use zerocopy::IntoBytes;

/// Decisions sent in each test.
const COUNT: u32 = 700;

/// A receiver that ends with its test.
struct Receiver {
    child: Child,
    output: PathBuf,
}

impl Receiver {
    fn start(command: &mut Command, folder: &Path) -> Self {
        let output = folder.join("receiver.log");
        let log = fs::File::create(&output).unwrap();
        let child = command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, output }
    }

    fn wait_for_port(&mut self, port: u16) {
        wait_until(&format!("a receiver on port {port}"), || {
            assert!(self.child.try_wait().unwrap().is_none(), "{}", self.log());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `ca.pem` (also the certificate) and `key.pem` for 127.0.0.1 and localhost, and the same for a client.
fn certificate(folder: &Path) {
    for (certificate_file, key_file) in [("ca.pem", "key.pem"), ("client.pem", "client-key.pem")] {
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        fs::write(folder.join(certificate_file), certificate.pem()).unwrap();
        fs::write(folder.join(key_file), key.serialize_pem()).unwrap();
    }
}

fn decision(at: u32) -> Vec<u8> {
    // Bytes that receivers like to stumble over.
    let path =
        [format!("/tmp/{at} \"]\\|=<>\t").as_bytes(), &[0xff, b'\n'], "ü\u{202e}".as_bytes()]
            .concat();
    let mut head = Head::ZERO;
    head.version = VERSION;
    head.kind = kind::DECISION;
    head.family = Family::File as u8;
    head.verdict = Action::Block as u8;
    head.would = Action::Block as u8;
    head.acts = Act::FileRead.bit();
    head.generation = 1;
    head.pid = 0x4000_0001;
    head.path_bytes = u16::try_from(path.len()).unwrap();
    [head.as_bytes(), &path].concat()
}

/// Sends [`COUNT`] decisions through a pipeline with one more sink, and waits until that has everything. Returns the
/// key and the native lines.
fn send(folder: &Path, sink: &str) -> (PublicKey, Vec<Vec<u8>>) {
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let text = format!(
        "state: {0}\nalerts: {{ alive: 0s }}\nsinks:\n  - file: {{ path: {0}/native.ndjson }}\n  - name: tested\n    {sink}\n",
        folder.display()
    );
    let config = Config::parse(&text, Path::new("test.yaml")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let pipeline = {
        let _inside = runtime.enter();
        Pipeline::start(&config, this_host(), Mode::Enforce).unwrap()
    };
    for at in 0..COUNT {
        assert!(pipeline.record(&decision(at)));
    }
    let key = pipeline.public_key();
    let status = pipeline.sinks()[1].clone();
    let expected = u64::from(COUNT) + 1;
    let deadline = Instant::now() + Duration::from_secs(30);
    while status.next.load(std::sync::atomic::Ordering::Relaxed) <= expected {
        assert!(Instant::now() < deadline, "not delivered: {}", status.last_error());
        std::thread::sleep(Duration::from_millis(20));
    }
    runtime.block_on(pipeline.shutdown("test"));
    let native = fs::read(folder.join("native.ndjson")).unwrap();
    (
        key,
        native
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect(),
    )
}

fn assert_whole<'a>(lines: impl IntoIterator<Item = &'a [u8]>, key: PublicKey, repeats: Repeats) {
    let mut verifier = Verifier::new(vec![key], repeats);
    for line in lines {
        verifier.push(line, || String::from_utf8_lossy(line).into_owned());
    }
    let outcome = verifier.finish();
    assert_eq!(outcome.findings, []);
    // The decisions, a start and a stop.
    assert_eq!(outcome.streams[0].last, u64::from(COUNT) + 2);
}

#[test]
#[ignore = "needs rsyslogd with TLS"]
fn rsyslog_gets_a_provable_stream_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let (port, dir) = (free_port(), folder.path().display());
    let config = format!(
        r#"global(DefaultNetstreamDriver="ossl" DefaultNetstreamDriverCAFile="{dir}/ca.pem"
  DefaultNetstreamDriverCertFile="{dir}/ca.pem" DefaultNetstreamDriverKeyFile="{dir}/key.pem" workDirectory="{dir}"
  maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
template(name="plain" type="string" string="%pri-text%|%app-name%|%msgid%|%structured-data%|%msg%\n")
input(type="imtcp" port="{port}" address="127.0.0.1")
action(type="omfile" file="{dir}/out.log" template="plain")
"#
    );
    let path = folder.path().join("rsyslog.conf");
    fs::write(&path, config).unwrap();
    let mut command = Command::new("/usr/sbin/rsyslogd");
    command.args(["-n", "-f"]).arg(&path).arg("-i").arg(folder.path().join("pid"));
    let mut receiver = Receiver::start(&mut command, folder.path());
    receiver.wait_for_port(port);
    let sink = format!("syslog: {{ address: \"127.0.0.1:{port}\", tls: {{ ca: {dir}/ca.pem }} }}");
    let (key, native) = send(folder.path(), &sink);
    let read = || fs::read(folder.path().join("out.log")).unwrap_or_default();
    let count = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
    wait_until("all messages", || count(&read()) >= native.len());
    let text = read();
    let messages: Vec<&[u8]> =
        text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    let json: Vec<&[u8]> = messages
        .iter()
        .map(|message| {
            let start = message.windows(2).position(|pair| pair == b"|{").unwrap() + 1;
            &message[start..]
        })
        .collect();
    assert_whole(json.iter().copied(), key, Repeats::Refused);
    let first = String::from_utf8_lossy(messages[1]);
    assert!(
        first.starts_with("authpriv.err|interdict|decision|[interdict@32473 stream="),
        "{first}"
    );
}

#[test]
#[ignore = "needs nats-server"]
fn jetstream_stores_each_alert_once_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new("nats-server");
    command
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
        .arg(folder.path().join("js"));
    let mut receiver = Receiver::start(&mut command, folder.path());
    receiver.wait_for_port(port);
    let stream = r#"{"name":"ALERTS","subjects":["alerts.>"],"storage":"file","duplicate_window":120000000000}"#;
    let created = nats_request(port, "$JS.API.STREAM.CREATE.ALERTS", stream);
    assert!(created.get("error").is_none(), "{created}");
    let sink = format!("nats: {{ address: \"127.0.0.1:{port}\", subject: alerts.host }}");
    let (key, native) = send(folder.path(), &sink);
    // The whole stream once more: the server drops what it has.
    let cursor = folder.path().join("spool/cursors/tested");
    fs::write(&cursor, "not a cursor").unwrap();
    let config =
        format!("state: {}\nsinks:\n  - name: tested\n    {sink}\n", folder.path().display());
    let config = Config::parse(&config, Path::new("test.yaml")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let pipeline = {
        let _inside = runtime.enter();
        Pipeline::start(&config, this_host(), Mode::Enforce).unwrap()
    };
    runtime.block_on(pipeline.shutdown("test"));
    let info = nats_request(port, "$JS.API.STREAM.INFO.ALERTS", "");
    // Start and stop of the second run are new.
    let stored = info.pointer("/state/messages").and_then(Value::as_u64).unwrap();
    assert_eq!(stored, native.len() as u64 + 2);
    let mut lines = Vec::new();
    for seq in 1..=native.len() {
        let message =
            nats_request(port, "$JS.API.STREAM.MSG.GET.ALERTS", &format!("{{\"seq\":{seq}}}"));
        let data = message.pointer("/message/data").and_then(Value::as_str).unwrap();
        lines.push(
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).unwrap(),
        );
    }
    assert_eq!(lines, native);
    assert_whole(lines.iter().map(Vec::as_slice), key, Repeats::Refused);
}

/// One request and its answer, by the protocol's own lines.
fn nats_request(port: u16, subject: &str, body: &str) -> Value {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    write!(
        socket,
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB {subject} answer {}\r\n{body}\r\n",
        body.len()
    )
    .unwrap();
    loop {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the server closed the connection");
        if line.starts_with("PING") {
            socket.write_all(b"PONG\r\n").unwrap();
        }
        if let Some(rest) = line.strip_prefix("MSG ") {
            let len: usize = rest.trim().rsplit(' ').next().unwrap().parse().unwrap();
            let mut payload = vec![0; len];
            reader.read_exact(&mut payload).unwrap();
            return serde_json::from_slice(&payload).unwrap();
        }
    }
}

#[test]
#[ignore = "needs rotel"]
fn a_real_collector_reads_the_otlp_records() {
    let folder = tempfile::tempdir().unwrap();
    let (grpc, http) = (free_port(), free_port());
    // The Python package carries the collector itself.
    let find =
        "import rotel, pathlib; print(pathlib.Path(rotel.__file__).with_name('rotel-agent'))";
    let found = Command::new("python3").args(["-c", find]).output().unwrap();
    let mut command = Command::new(String::from_utf8(found.stdout).unwrap().trim());
    command.args([
        "start",
        "--exporter",
        "blackhole",
        "--debug-log",
        "logs",
        "--debug-log-verbosity",
        "detailed",
    ]);
    command.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")]);
    command.args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")]);
    let mut receiver = Receiver::start(&mut command, folder.path());
    receiver.wait_for_port(http);
    let sink = format!("otlp: {{ url: \"http://127.0.0.1:{http}/v1/logs\" }}");
    let (_, native) = send(folder.path(), &sink);
    let last: Value = serde_json::from_slice(native.last().unwrap()).unwrap();
    let id = last["id"].as_str().unwrap().to_owned();
    wait_until("the last record in the collector's log", || receiver.log().contains(&id));
    let log = receiver.log();
    for line in &native {
        let alert: Value = serde_json::from_slice(line).unwrap();
        assert!(log.contains(alert["id"].as_str().unwrap()), "{}", alert["id"]);
    }
    assert!(log.contains("service.name") && log.contains("interdict"), "{log}");
}

fn python(folder: &Path, script: &str, arguments: &[&str]) -> Receiver {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receivers").join(script);
    let mut command = Command::new("python3");
    command.arg(path).args(arguments);
    Receiver::start(&mut command, folder)
}

#[test]
#[ignore = "needs the standardwebhooks library of Python"]
fn the_public_library_of_another_language_verifies_each_request() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let port = free_port();
    let dir = folder.path().display().to_string();
    fs::write(folder.path().join("secret"), "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
        .unwrap();
    let mut receiver = python(folder.path(), "webhook.py", &[&port.to_string(), &dir]);
    receiver.wait_for_port(port);
    let sink = format!(
        "webhook: {{ url: \"https://127.0.0.1:{port}/in\", ca: {dir}/ca.pem, secret: {dir}/secret,\n      \
         certificate: {dir}/client.pem, key: {dir}/client-key.pem }}\n    \
         retry: {{ first: 10ms, max: 50ms }}"
    );
    let (key, _) = send(folder.path(), &sink);
    let stored = folder.path().join("stored.ndjson");
    let expected = COUNT as usize + 2;
    let read = || fs::read(&stored).unwrap_or_default();
    wait_until("all alerts", || read().iter().filter(|&&byte| byte == b'\n').count() >= expected);
    let text = read();
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    // The receiver fails now and then after it stored a batch: repeats are its own doing.
    assert_whole(lines, key, Repeats::Allowed);
    assert!(receiver.log().contains("answered 503"), "{}", receiver.log());
    assert!(!receiver.log().contains("BAD SIGNATURE"), "{}", receiver.log());
}

#[test]
#[ignore = "needs msgpack for Python"]
fn a_forward_receiver_that_forgets_to_acknowledge_gets_the_batch_again() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let dir = folder.path().display().to_string();
    let mut receiver = python(folder.path(), "forward.py", &[&port.to_string(), &dir]);
    receiver.wait_for_port(port);
    let sink = format!(
        "fluent: {{ address: \"127.0.0.1:{port}\", timeout: 2s }}\n    retry: {{ first: 10ms, max: 50ms }}"
    );
    let (key, _) = send(folder.path(), &sink);
    let text = fs::read(folder.path().join("stored.ndjson")).unwrap();
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    assert_whole(lines, key, Repeats::Allowed);
    assert!(receiver.log().contains("forgot"), "{}", receiver.log());
}

#[test]
#[ignore = "needs jsonschema for Python"]
fn native_alerts_satisfy_the_published_schema() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("second.ndjson");
    send(folder.path(), &format!("file: {{ path: {} }}", path.display()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let checked = Command::new("python3")
        .arg(root.join("tests/receivers/validate.py"))
        .arg(root.join("../docs/schema/alert-1.json"))
        .arg(&path)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
