//! Queues: NATS JetStream, and a cluster that speaks Kafka.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use interdict_abi::ids::Mode;
use interdict_agent::{
    alert::verify::Repeats,
    config::Config,
    pipeline::{Pipeline, this_host},
};
use serde_json::Value;

use crate::{Receiver, assert_whole, certificate, free_port, lines, receivers, send, wait_until};

fn nats(folder: &Path, port: u16, more: &str) -> Receiver {
    let config = format!(
        "host: 127.0.0.1\nport: {port}\njetstream {{ store_dir: \"{}\" }}\n{more}\n",
        folder.join("js").display()
    );
    fs::write(folder.join("nats.conf"), config).unwrap();
    let mut command = receivers().program("usr/sbin/nats-server");
    let mut receiver = Receiver::start(command.arg("-c").arg(folder.join("nats.conf")), folder);
    receiver.wait_for_port(port);
    receiver
}

const STREAM: &str =
    r#"{"name":"ALERTS","subjects":["alerts.>"],"storage":"file","duplicate_window":120000000000}"#;

#[test]
fn jetstream_stores_each_alert_once_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _server = nats(folder.path(), port, "");
    let created = nats_request(port, "$JS.API.STREAM.CREATE.ALERTS", STREAM);
    assert!(created.get("error").is_none(), "{created}");
    let sink = format!("nats: {{ address: \"127.0.0.1:{port}\", subject: alerts.host }}");
    let (key, native) = send(folder.path(), &sink);
    // The whole stream once more: the server drops what it has.
    fs::write(folder.path().join("spool/cursors/tested"), "not a cursor").unwrap();
    let config = format!(
        "state: {0}\nruntime: {0}/run\nsinks:\n  - name: tested\n    {sink}\n",
        folder.path().display()
    );
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
    let stored: Vec<Vec<u8>> = (1..=native.len())
        .map(|seq| {
            let body = format!("{{\"seq\":{seq}}}");
            let message = nats_request(port, "$JS.API.STREAM.MSG.GET.ALERTS", &body);
            let data = message.pointer("/message/data").and_then(Value::as_str).unwrap();
            BASE64.decode(data).unwrap()
        })
        .collect();
    assert_eq!(stored, native);
    assert_whole(&stored, key, Repeats::Refused);
}

#[test]
fn a_nats_server_that_changes_over_to_tls_gets_everything_by_tls() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let (port, plain) = (free_port(), free_port());
    let dir = folder.path().display();
    // What no stream takes is not acknowledged: so the stream is made by a server without TLS, and kept.
    {
        let _server = nats(folder.path(), plain, "");
        let created = nats_request(plain, "$JS.API.STREAM.CREATE.ALERTS", STREAM);
        assert!(created.get("error").is_none(), "{created}");
    }
    let tls = format!(
        "tls {{ cert_file: \"{dir}/ca.pem\", key_file: \"{dir}/key.pem\", ca_file: \"{dir}/client.pem\", verify: true }}"
    );
    let server = nats(folder.path(), port, &tls);
    let sink = format!(
        "nats: {{ address: \"127.0.0.1:{port}\", subject: alerts.host,\n      tls: {{ ca: {dir}/ca.pem, \
         certificate: {dir}/client.pem, key: {dir}/client-key.pem }} }}"
    );
    let (_, native) = send(folder.path(), &sink);
    drop(server);
    let _server = nats(folder.path(), plain, "");
    wait_until("the stream to be back", || {
        let info = nats_request(plain, "$JS.API.STREAM.INFO.ALERTS", "");
        info.pointer("/state/messages").and_then(Value::as_u64) == Some(native.len() as u64)
    });
}

#[test]
fn a_kafka_cluster_keeps_each_alert_once_and_in_order() {
    for compression in ["none", "gzip", "zstd"] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display().to_string();
        let mut cluster = Receiver::python(folder.path(), "kafka.py", &[&dir]);
        let brokers = folder.path().join("brokers");
        wait_until("a cluster", || {
            assert!(cluster.child.try_wait().unwrap().is_none(), "{}", cluster.log());
            brokers.exists()
        });
        let brokers = fs::read_to_string(brokers).unwrap();
        let sink = format!(
            "kafka: {{ brokers: [{}], topic: alerts, timeout: 2s }}\n    compression: {compression}\n    \
             retry: {{ first: 10ms, max: 50ms }}\n    batch: {{ alerts: 100 }}",
            brokers.trim()
        );
        let (key, native) = send(folder.path(), &sink);
        // The consumer, another implementation of the protocol, stops once it has as many as there are.
        fs::write(folder.path().join("expected"), native.len().to_string()).unwrap();
        wait_until("the consumer", || folder.path().join("done").exists());
        let stored = lines(&fs::read(folder.path().join("stored.ndjson")).unwrap());
        assert_whole(&stored, key, Repeats::Allowed);
        let log = cluster.log();
        assert!(log.contains("one partition, keyed by the stream"), "{log}");
        assert!(log.contains("ids and numbers agree"), "{log}");
    }
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
