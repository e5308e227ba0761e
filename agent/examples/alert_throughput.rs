//! How many alerts a second: decoded, enriched, built, sealed and spooled on one thread; and delivered to an HTTPS
//! receiver on loopback. Prints one JSON object. Run with `--release`, and with `taskset -c 0` for the first figure.
#![allow(clippy::unwrap_used, reason = "a measurement that goes wrong should stop")]

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use interdict_abi::{
    event::{Head, VERSION, kind},
    ids::{Act, Action, Family, Mode},
};
use interdict_agent::{
    alert::{
        self,
        build::{PolicyView, Scene},
        key::SigningKey,
        redact::Redaction,
        seal::Sealer,
    },
    config::Config,
    enrich::Enricher,
    events::{self, KernelEvent},
    pipeline::{Pipeline, this_host},
    spool::{Limits, Spool, disk::LocalDisk},
};
use interdict_rules::meta::{ClauseMeta, Metadata, RuleMeta, Severity};
use rcgen::{CertificateParams, KeyPair};
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, rustls};
use zerocopy::IntoBytes;

const PID: u32 = 0x4000_0000;
const PROCESSES: u32 = 1_000;

fn record(kind: u16, pid: u32, target: u32, path: &[u8], extra: &[u8]) -> Vec<u8> {
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
    head.pid = pid;
    head.tid = pid;
    head.target = target;
    head.cgroup = 1;
    head.inode = 123_456;
    head.time_ns = 1_000_000_000;
    head.comm = *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0";
    head.path_bytes = u16::try_from(path.len()).unwrap();
    head.extra_bytes = u16::try_from(extra.len()).unwrap();
    [head.as_bytes(), path, extra].concat()
}

/// Two ancestors each, programs and arguments of ordinary length.
fn lifecycle() -> Vec<Vec<u8>> {
    let mut records = vec![
        record(kind::EXEC, PID, 0, b"/usr/sbin/sshd", b"sshd: /usr/sbin/sshd -D\0"),
        record(kind::FORK, PID, PID + 1, b"", b""),
        record(kind::EXEC, PID + 1, 0, b"/usr/bin/bash", b"-bash\0"),
    ];
    for at in 2..PROCESSES {
        records.push(record(kind::FORK, PID + 1, PID + at, b"", b""));
        records.push(record(kind::EXEC, PID + at, 0, b"/usr/bin/cat", b"cat\0-A\0/etc/shadow\0"));
    }
    records
}

fn decision(at: u32) -> Vec<u8> {
    record(kind::DECISION, PID + 2 + at % (PROCESSES - 2), 0, b"/etc/shadow", b"")
}

fn policy() -> PolicyView {
    let rule = RuleMeta {
        title: "Credential file touched by a program that has no business with it".to_owned(),
        policy: "credentials".to_owned(),
        file: "/etc/interdict/policies/credentials.yaml".to_owned(),
        line: 14,
        severity: Severity::Critical,
        attack: vec!["T1003.008".to_owned(), "T1552.001".to_owned()],
        acts: vec!["file.read".to_owned()],
        action: "block".to_owned(),
        on_fault: "block".to_owned(),
        message: "{process.exe} opened {file.path} ({file.access})".to_owned(),
        when: "file.path in [\"/etc/shadow\"] and not process.exe in auth".to_owned(),
        ..RuleMeta::of("IDT-FILE-0201")
    };
    let mut clauses = vec![Vec::new(); 8];
    clauses[Family::File as usize] = vec![ClauseMeta { rule: 0, exception: None }];
    let metadata = Metadata { rules: vec![rule], clauses, ..Metadata::default() };
    PolicyView::new(1, "0".repeat(64), metadata)
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// Alerts a second on this thread by the clock and by its CPU time, and the mean bytes of a line. `batch` alerts are
/// sealed and synced together.
fn spooled(count: u32, batch: usize) -> (f64, f64, f64) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let (mut spool, _) =
        Spool::open(folder.path(), Limits::default(), Arc::new(LocalDisk), |_| 0, "0".repeat(32))
            .unwrap();
    let mut sealer = Sealer::new(SigningKey::generate().unwrap(), spool.head().clone());
    let redaction = Redaction::default();
    let mut enricher = Enricher::new(redaction.clone());
    let policy = policy();
    let scene = Scene { host: this_host().into(), wall_minus_boot_ns: 1_700_000_000_000_000_000 };
    for record in lifecycle() {
        match events::decode(&record).unwrap() {
            KernelEvent::Fork(fork) => enricher.forked(&fork),
            KernelEvent::Exec(exec) => enricher.executed(&exec),
            KernelEvent::Exit(_) | KernelEvent::Decision(_) | KernelEvent::Guard(_) => {}
        }
    }
    let records: Vec<Vec<u8>> = (0..count).map(decision).collect();
    let (started, cpu_before) = (Instant::now(), cpu());
    let mut len_bytes = 0;
    let mut stages = [Duration::ZERO; 3];
    for chunk in records.chunks(batch) {
        let at = Instant::now();
        let alerts = chunk
            .iter()
            .map(|record| {
                let Ok(KernelEvent::Decision(decision)) = events::decode(record) else {
                    panic!("a decision")
                };
                let context = enricher.context(&decision.actor);
                alert::build(
                    &decision,
                    decision.clauses(),
                    &context,
                    Some(&policy),
                    &redaction,
                    &scene,
                )
            })
            .collect();
        stages[0] += at.elapsed();
        let at = Instant::now();
        let sealed = sealer.seal(alerts);
        stages[1] += at.elapsed();
        let at = Instant::now();
        len_bytes += sealed.iter().map(|alert| alert.line().len()).sum::<usize>();
        spool.append(&sealed).unwrap();
        stages[2] += at.elapsed();
    }
    let rate = f64::from(count) / started.elapsed().as_secs_f64();
    let by_cpu = f64::from(count) / (cpu() - cpu_before).as_secs_f64();
    let each = stages.map(|stage| stage.as_secs_f64() * 1e6 / f64::from(count));
    eprintln!(
        "batches of {batch}: build {:.2} us, seal {:.2} us, spool {:.2} us an alert",
        each[0], each[1], each[2]
    );
    (rate, by_cpu, len_bytes as f64 / f64::from(count))
}

#[derive(Default)]
struct Received {
    alerts: AtomicU64,
    requests: AtomicU64,
    arrived: Mutex<Vec<Instant>>,
}

/// An HTTPS receiver that counts seals in bodies and answers 200.
async fn receiver(folder: &Path) -> (String, Arc<Received>) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(folder.join("ca.pem"), certificate.pem()).unwrap();
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/alerts", listener.local_addr().unwrap().port());
    let received = Arc::new(Received::default());
    let counts = Arc::clone(&received);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, counts) = (acceptor.clone(), Arc::clone(&counts));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(socket).await else { return };
                serve(stream, &counts).await;
            });
        }
    });
    (url, received)
}

async fn serve(
    stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    received: &Received,
) {
    let mut stream = BufReader::with_capacity(1 << 16, stream);
    let mut head = Vec::new();
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_closed) => return,
            }
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let len = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let mut body = vec![0; len.unwrap().trim().parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        let alerts = body.windows(7).filter(|window| window == b"\"seal\":").count();
        received.arrived.lock().unwrap().push(Instant::now());
        received.requests.fetch_add(1, Ordering::Relaxed);
        received.alerts.fetch_add(alerts as u64, Ordering::Relaxed);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
    }
}

fn wait_for(received: &Received, alerts: u64) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while received.alerts.load(Ordering::Relaxed) < alerts {
        assert!(Instant::now() < deadline, "the receiver never got {alerts} alerts");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1_024.0
}

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let count: u32 =
        std::env::args().nth(1).map_or(200_000, |text| text.parse().expect("a number of alerts"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir_in(".").unwrap();
    let (url, received) = runtime.block_on(receiver(folder.path()));
    let text = format!(
        "state: {0}\nruntime: {0}/run\nalerts: {{ alive: 0s }}\nsinks:\n  - webhook: {{ url: \"{url}\", ca: {0}/ca.pem }}\n",
        folder.path().display()
    );
    let config = Config::parse(&text, Path::new("bench.yaml")).unwrap();
    let pipeline = {
        let _context = runtime.enter();
        Pipeline::start(&config, this_host(), Mode::Enforce).unwrap()
    };
    pipeline.policy(Arc::new(policy()));
    for record in lifecycle() {
        assert!(pipeline.record(&record));
    }
    wait_for(&received, 2);
    let resident_at_rest = resident_mib();

    // One alert at a time, from the record to the receiver.
    let mut latencies: Vec<f64> = (0..500)
        .map(|at| {
            let before = received.alerts.load(Ordering::Relaxed);
            let started = Instant::now();
            assert!(pipeline.record(&decision(at)));
            wait_for(&received, before + 1);
            std::thread::sleep(Duration::from_millis(2));
            let arrived = *received.arrived.lock().unwrap().last().unwrap();
            arrived.duration_since(started).as_secs_f64() * 1e3
        })
        .collect();
    latencies.sort_by(f64::total_cmp);

    let before = received.alerts.load(Ordering::Relaxed);
    let started = Instant::now();
    for at in 0..count {
        // As much may wait as the agent's own queue holds.
        while !pipeline.record(&decision(at)) {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    wait_for(&received, before + u64::from(count));
    let delivered = f64::from(count) / started.elapsed().as_secs_f64();
    let requests = received.requests.load(Ordering::Relaxed);
    let resident_in_flood = resident_mib();
    runtime.block_on(pipeline.shutdown("measured"));
    // Last, because what they keep in memory would be counted as the pipeline's.
    let (one_core, by_cpu, mean_bytes) = spooled(count, 4_096);
    let (small_batches, small_by_cpu, _) = spooled(count / 10, 64);

    println!(
        "{}",
        serde_json::json!({
            "alerts": count,
            "mean_line_bytes": mean_bytes.round(),
            "spooled_per_second_one_thread_batch_4096": one_core.round(),
            "spooled_per_cpu_second_batch_4096": by_cpu.round(),
            "spooled_per_second_one_thread_batch_64": small_batches.round(),
            "spooled_per_cpu_second_batch_64": small_by_cpu.round(),
            "delivered_per_second_to_https_webhook": delivered.round(),
            "requests": requests,
            "record_to_webhook_ms": {
                "p50": latencies[latencies.len() / 2],
                "p99": latencies[latencies.len() * 99 / 100],
                "max": latencies[latencies.len() - 1],
            },
            "resident_mib_at_rest_with_receiver": resident_at_rest.round(),
            "resident_mib_after_flood_with_receiver": resident_in_flood.round(),
        })
    );
}
