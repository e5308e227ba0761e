//! Receivers over HTTP: a webhook, a collector, Alertmanager.

use std::{fs, path::Path, process::Command};

use interdict_agent::alert::verify::Repeats;
use serde_json::Value;

use crate::{
    ALL, COUNT, Receiver, assert_whole, certificate, free_port, lines, receivers, send, wait_until,
};

#[test]
fn a_real_collector_reads_the_otlp_records() {
    let folder = tempfile::tempdir().unwrap();
    let (grpc, http) = (free_port(), free_port());
    // The Python package carries the collector itself.
    let find =
        "import rotel, pathlib; print(pathlib.Path(rotel.__file__).with_name('rotel-agent'))";
    let found = receivers().python().args(["-c", find]).output().unwrap();
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
    let sink =
        format!("compression: gzip\n    otlp: {{ url: \"http://127.0.0.1:{http}/v1/logs\" }}");
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

#[test]
fn the_public_library_of_another_language_verifies_each_request() {
    verified_by_the_public_library("none");
}

#[test]
fn it_verifies_what_came_compressed_too() {
    verified_by_the_public_library("gzip");
}

fn verified_by_the_public_library(compression: &str) {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let port = free_port();
    let dir = folder.path().display().to_string();
    fs::write(folder.path().join("secret"), "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
        .unwrap();
    let mut receiver = Receiver::python(folder.path(), "webhook.py", &[&port.to_string(), &dir]);
    receiver.wait_for_port(port);
    let sink = format!(
        "webhook: {{ url: \"https://127.0.0.1:{port}/in\", ca: {dir}/ca.pem, secret: {dir}/secret,\n      \
         certificate: {dir}/client.pem, key: {dir}/client-key.pem }}\n    \
         retry: {{ first: 10ms, max: 50ms }}\n    compression: {compression}"
    );
    let (key, _) = send(folder.path(), &sink);
    let stored = folder.path().join("stored.ndjson");
    let read = || lines(&fs::read(&stored).unwrap_or_default());
    wait_until("all alerts", || read().len() as u64 >= ALL);
    // The receiver fails now and then after it stored a batch: repeats are its own doing.
    let all = read();
    let once = lines(&fs::read(folder.path().join("once.ndjson")).unwrap());
    assert!(all.len() > once.len(), "something came again");
    assert_whole(&all, key, Repeats::Allowed);
    // Whoever drops requests that are known has each alert once.
    assert_whole(&once, key, Repeats::Refused);
    let encoded = receiver.log().contains("content-encoding: gzip");
    assert_eq!(encoded, compression == "gzip", "{}", receiver.log());
    assert!(receiver.log().contains("answered 503"), "{}", receiver.log());
    assert!(!receiver.log().contains("BAD SIGNATURE"), "{}", receiver.log());
}

/// What Alertmanager holds, by its own client.
fn held(port: u16) -> Vec<Value> {
    let mut command = receivers().program("usr/bin/amtool");
    let url = format!("--alertmanager.url=http://127.0.0.1:{port}");
    let output = command.args([&url, "alert", "query", "-o", "json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn alertmanager(folder: &Path, port: u16) -> Receiver {
    let config = "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n";
    fs::write(folder.join("alertmanager.yml"), config).unwrap();
    let receivers = receivers();
    // It reads one file of its package by its path in the system: it sees a `/usr/share` of its own.
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg("mount --bind \"$0\" /usr/share && exec \"$@\"");
    command.arg(receivers.path("usr/share"));
    command.arg(receivers.path("usr/bin/prometheus-alertmanager"));
    command.arg(format!("--config.file={}/alertmanager.yml", folder.display()));
    command.arg(format!("--storage.path={}/am", folder.display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let mut receiver = Receiver::start(command.arg("--cluster.listen-address="), folder);
    receiver.wait_for_port(port);
    receiver
}

#[test]
fn alertmanager_holds_each_alert_or_one_for_all_that_are_alike() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _server = alertmanager(folder.path(), port);
    let sink = format!("alertmanager: {{ url: \"http://127.0.0.1:{port}\" }}");
    let (_, native) = send(folder.path(), &sink);
    let held_now = held(port);
    assert_eq!(held_now.len() as u64, ALL);
    for line in &native {
        let alert: Value = serde_json::from_slice(line).unwrap();
        let found = held_now.iter().find(|held| held["labels"]["alert_id"] == alert["id"]);
        let found = found.unwrap_or_else(|| panic!("{} is not held", alert["id"]));
        assert_eq!(found["annotations"]["summary"], alert["message"]);
        assert_eq!(found["annotations"]["hash"], alert["seal"]["hash"]);
    }

    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _server = alertmanager(folder.path(), port);
    let sink = format!("alertmanager: {{ url: \"http://127.0.0.1:{port}\", merge: true }}");
    send(folder.path(), &sink);
    let mut names: Vec<String> = held(port)
        .iter()
        .map(|held| held["labels"]["alertname"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort();
    let expected =
        ["IDT-FILE-0201", "interdict-policy-changed", "interdict-started", "interdict-stopped"];
    assert_eq!(names, expected, "of {COUNT} decisions one is left");
}
