//! The sinks against receivers that other people wrote.
//!
//! Each test starts a real receiver on loopback, sends a stream through the whole pipeline, and looks at what arrived.
//! `xtask::receivers` fetches what they need, once; nothing is installed into the system.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod formats;
mod forward;
mod http;
mod queues;
mod syslog;

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::Ordering},
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
    pipeline::{Pipeline, PolicyView, this_host},
};
use interdict_rules::meta::{ClauseMeta, Metadata, RuleMeta, Severity};
use rcgen::{CertificateParams, KeyPair};
use xtask::receivers::Receivers;
use zerocopy::IntoBytes;

/// Decisions sent in each test.
const COUNT: u32 = 700;

/// Everything sent: the decisions, a start, a policy and a stop.
const ALL: u64 = COUNT as u64 + 3;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(90);

fn receivers() -> Receivers {
    xtask::receivers::ready().unwrap()
}

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

    /// A script beside this file, with the receivers' Python.
    fn python(folder: &Path, script: &str, arguments: &[&str]) -> Self {
        let path = here().join(script);
        Self::start(receivers().python().arg(path).args(arguments), folder)
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

/// The folder of these tests.
fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receivers")
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
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

const PID: u32 = 0x4000_0001;

fn record(kind: u16, path: &[u8], extra: &[u8]) -> Vec<u8> {
    let mut head = Head::ZERO;
    head.version = VERSION;
    head.kind = kind;
    head.family = Family::File as u8;
    head.verdict = Action::Block as u8;
    head.would = Action::Block as u8;
    head.acts = Act::FileRead.bit();
    head.errno = 1;
    head.generation = 1;
    head.clauses_told = 1;
    head.inode = 77;
    head.pid = PID;
    head.tid = PID;
    head.comm = *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0";
    head.path_bytes = u16::try_from(path.len()).unwrap();
    head.extra_bytes = u16::try_from(extra.len()).unwrap();
    [head.as_bytes(), path, extra].concat()
}

/// An act on a file whose name has bytes that receivers like to stumble over.
fn decision(at: u32) -> Vec<u8> {
    let path =
        [format!("/tmp/{at} \"]\\|=<>\t").as_bytes(), &[0xff, b'\n'], "ü\u{202e}".as_bytes()]
            .concat();
    record(kind::DECISION, &path, b"")
}

/// One rule.
fn policy() -> PolicyView {
    let rule = RuleMeta {
        title: "A file was read".to_owned(),
        policy: "files".to_owned(),
        file: "files.yaml".to_owned(),
        line: 4,
        severity: Severity::High,
        attack: vec!["T1003.008".to_owned(), "T1552".to_owned()],
        tags: vec!["linux".to_owned()],
        acts: vec!["file.read".to_owned()],
        action: "block".to_owned(),
        on_fault: "block".to_owned(),
        message: "{process.exe} read {file.path}".to_owned(),
        when: "file.path in [\"/x\"]".to_owned(),
        ..RuleMeta::of("IDT-FILE-0201")
    };
    let mut clauses = vec![Vec::new(); 8];
    clauses[Family::File as usize] = vec![ClauseMeta { rule: 0, exception: None }];
    let metadata = Metadata { rules: vec![rule], clauses, ..Metadata::default() };
    PolicyView::new(1, "0".repeat(64), metadata)
}

/// Sends [`COUNT`] decisions through a pipeline with one more sink, and waits until that has everything. Returns the
/// key and the native lines.
fn send(folder: &Path, sink: &str) -> (PublicKey, Vec<Vec<u8>>) {
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let text = format!(
        "state: {0}\nruntime: {0}/run\nalerts: {{ alive: 0s }}\nsinks:\n  - file: {{ path: {0}/native.ndjson }}\n  - name: tested\n    {sink}\n",
        folder.display()
    );
    let config = Config::parse(&text, Path::new("test.yaml")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let pipeline = {
        let _inside = runtime.enter();
        Pipeline::start(&config, this_host(), Mode::Enforce).unwrap()
    };
    pipeline.policy(Arc::new(policy()));
    assert!(pipeline.record(&record(
        kind::EXEC,
        b"/usr/bin/cat",
        b"cat\0--token=x\0/etc/shadow\0"
    )));
    for at in 0..COUNT {
        assert!(pipeline.record(&decision(at)));
    }
    let key = pipeline.public_key();
    let status = pipeline.sinks()[1].clone();
    wait_until_or(|| status.next.load(Ordering::Relaxed) > ALL - 1, || status.last_error());
    runtime.block_on(pipeline.shutdown("test"));
    (key, lines(&fs::read(folder.join("native.ndjson")).unwrap()))
}

fn wait_until_or(mut done: impl FnMut() -> bool, error: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not delivered: {}", error());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(<[u8]>::to_vec).collect()
}

/// Asserts that lines are the whole stream, proven.
fn assert_whole(lines: &[Vec<u8>], key: PublicKey, repeats: Repeats) {
    let mut verifier = Verifier::new(vec![key], repeats);
    for line in lines {
        verifier.push(line, || String::from_utf8_lossy(line).into_owned());
    }
    let outcome = verifier.finish();
    assert_eq!(outcome.findings, []);
    assert_eq!(outcome.streams[0].first, 1);
    assert_eq!(outcome.streams[0].last, ALL);
}
