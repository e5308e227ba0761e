//! A receiver of webhooks that has a fault every so many alerts, and keeps the books of what it has taken.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::alert::{
    key::SigningKey,
    verify::{Repeats, Verifier},
};

/// What a receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// Takes it and says so.
    Takes,
    /// Goes away for a moment: connections are refused.
    Refuses,
    /// Reads and never answers.
    Hangs,
    /// Closes with half of the request unread.
    Resets,
    /// Has no time, and says when it will have.
    Busy,
    /// Answers an error.
    Fails(u16),
    /// Answers what is no answer.
    Babbles,
    /// Takes it, and closes without a word.
    Forgets,
    /// Takes it, and closes in the middle of the answer.
    Stutters,
    /// Takes it, but the answer comes after nobody waits for it any more.
    Dawdles,
    /// Reads slowly.
    Crawls,
}

/// Faults in turn.
const FAULTS: [Mood; 11] = [
    Mood::Refuses,
    Mood::Hangs,
    Mood::Resets,
    Mood::Busy,
    Mood::Fails(500),
    Mood::Fails(503),
    Mood::Babbles,
    Mood::Forgets,
    Mood::Stutters,
    Mood::Dawdles,
    Mood::Crawls,
];

/// Longer than the agent waits for an answer.
const TOO_LONG: Duration = Duration::from_millis(260);
const AWAY: Duration = Duration::from_millis(60);

/// What was taken.
#[derive(Default)]
pub(super) struct Taken {
    /// Follows the stream, from the first alert on.
    pub(super) verifier: Option<Verifier>,
    /// A digest of each line, by number.
    pub(super) marks: BTreeMap<u64, u64>,
    /// A digest of each body, by `webhook-id`.
    bodies: HashMap<String, u64>,
    /// Lines whose number was known.
    pub(super) repeats: u64,
    /// Those of them that were not as before.
    pub(super) changed: u64,
    /// Those of them that a receiver would keep which drops requests with a `webhook-id` that it knows.
    pub(super) kept: u64,
    /// Requests with an id that was another body's.
    pub(super) taken_ids: u64,
    /// Lines of requests that were taken without a word: these have to come again.
    pub(super) unanswered: u64,
    /// Which records were told.
    pub(super) paths: Vec<bool>,
    alerts: u64,
    /// What notices of throttles counted.
    pub(super) counted: u64,
    /// What notices of losses counted.
    pub(super) lost: BTreeMap<String, u64>,
    /// Faults that hit.
    pub(super) faults: BTreeMap<String, u64>,
    /// Alerts from one fault to the next, and that it has taken since the last.
    between: u64,
    since: u64,
}

impl Taken {
    fn mood(&mut self) -> Mood {
        if self.since < self.between {
            return Mood::Takes;
        }
        self.since = 0;
        let at = self.faults.values().sum::<u64>() as usize;
        let mood = FAULTS[at % FAULTS.len()];
        *self.faults.entry(format!("{mood:?}")).or_default() += 1;
        mood
    }

    /// Takes a request, as one that may come again has to be taken.
    fn request(&mut self, id: &str, body: &[u8], folder: &Path) {
        let digest = digest(body);
        let known = self.bodies.insert(id.to_owned(), digest);
        self.taken_ids += u64::from(known.is_some_and(|known| known != digest));
        let before = self.repeats;
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        if known == Some(digest) {
            // Nothing in it is new: it is dropped before it is read.
            self.repeats += lines.count() as u64;
            return;
        }
        lines.for_each(|line| self.take(line, folder));
        self.kept += self.repeats - before;
    }

    fn take(&mut self, line: &[u8], folder: &Path) {
        let verifier = self.verifier.get_or_insert_with(|| {
            // The public half may not be there yet.
            let key = SigningKey::open(&folder.join("agent.key")).unwrap().public();
            Verifier::new(vec![key], Repeats::Allowed)
        });
        verifier.push(line, || String::from_utf8_lossy(line).into_owned());
        let alert: Value = serde_json::from_slice(line).unwrap();
        let seq = alert["seq"].as_u64().unwrap();
        let mark = digest(line);
        if let Some(known) = self.marks.insert(seq, mark) {
            self.repeats += 1;
            self.changed += u64::from(known != mark);
            return;
        }
        if let Some(path) = alert["object"]["path"].as_str() {
            let at: usize = path.strip_prefix("/tmp/").unwrap().parse().unwrap();
            if self.paths.len() <= at {
                self.paths.resize(at + 1, false);
            }
            assert!(!self.paths[at], "record {at} was told under two numbers");
            self.paths[at] = true;
            self.alerts += 1;
            self.since += 1;
        }
        let detail = &alert["notice"]["detail"];
        if alert["notice"]["name"] == "repeated" {
            self.counted += detail["count"].as_u64().unwrap();
        }
        for (reason, count) in detail["counts"].as_object().into_iter().flatten() {
            *self.lost.entry(reason.clone()).or_default() += count.as_u64().unwrap();
        }
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

struct Shared {
    taken: Mutex<Taken>,
    folder: PathBuf,
    behaves: AtomicBool,
    away_until: Mutex<Instant>,
    ends: AtomicBool,
}

impl Shared {
    /// Also after a thread has failed here: its own failure is told by [`Receiver::end`].
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running receiver.
pub(super) struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Receiver {
    /// Has a fault every `between` alerts.
    pub(super) fn start(folder: &Path, between: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            taken: Mutex::new(Taken { between, ..Taken::default() }),
            folder: folder.to_owned(),
            behaves: AtomicBool::new(false),
            away_until: Mutex::new(Instant::now()),
            ends: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || accept(listener, address, &served));
        Self { shared, address, thread }
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// No faults from now on.
    pub(super) fn behave(&self) {
        self.shared.behaves.store(true, Ordering::Relaxed);
    }

    pub(super) fn faults(&self) -> u64 {
        self.shared.taken().faults.values().sum()
    }

    /// Records that were told.
    pub(super) fn alerts(&self) -> u64 {
        self.shared.taken().alerts
    }

    /// The last number that arrived.
    pub(super) fn last(&self) -> u64 {
        self.shared.taken().marks.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// Stops and answers what was taken.
    pub(super) fn end(self) -> Taken {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        std::mem::take(&mut *self.shared.taken.lock().expect("no connection's thread failed"))
    }
}

fn accept(listener: TcpListener, address: SocketAddr, shared: &Arc<Shared>) {
    let mut listener = Some(listener);
    while !shared.ends.load(Ordering::Relaxed) {
        let away = *shared.away_until.lock().unwrap();
        if let Some(left) = away.checked_duration_since(Instant::now()) {
            drop(listener.take());
            thread::sleep(left);
        }
        let open = listener.get_or_insert_with(|| TcpListener::bind(address).unwrap());
        open.set_nonblocking(true).unwrap();
        match open.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                let shared = Arc::clone(shared);
                thread::spawn(move || while matches!(serve(&stream, &shared), Ok(true)) {});
            }
            Err(_none) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Serves one request. Answers whether the connection stays.
fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<bool> {
    let mut reader = BufReader::new(stream);
    let (mut len, mut id) = (0, String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        if line == "\r\n" {
            break;
        }
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length: ") {
            len = value.trim().parse().unwrap();
        }
        if let Some(value) = header.strip_prefix("webhook-id: ") {
            value.trim().clone_into(&mut id);
        }
    }
    let mood = match shared.behaves.load(Ordering::Relaxed) {
        true => Mood::Takes,
        false => shared.taken().mood(),
    };
    let mut body = vec![0; if mood == Mood::Resets { len / 2 } else { len }];
    if mood == Mood::Crawls {
        for part in body.chunks_mut(4 << 10) {
            reader.read_exact(part)?;
            thread::sleep(Duration::from_micros(500));
        }
    } else {
        reader.read_exact(&mut body)?;
    }
    let takes =
        matches!(mood, Mood::Takes | Mood::Forgets | Mood::Stutters | Mood::Dawdles | Mood::Crawls);
    // Whoever comes next waits until this is in the books; the agent does not.
    let mut taken = shared.taken.lock().expect("no other connection's thread failed");
    let status = |line: &str| format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n");
    let mut writer = stream;
    let answered = match mood {
        Mood::Takes | Mood::Crawls => writer.write_all(status("200 OK").as_bytes()),
        Mood::Busy => writer
            .write_all(b"HTTP/1.1 429 Too Many\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"),
        Mood::Fails(code) => writer.write_all(status(&format!("{code} Error")).as_bytes()),
        Mood::Babbles => writer.write_all(b"\x00\xffSSH-2.0-OpenSSH\r\n\r\n"),
        Mood::Stutters => writer.write_all(b"HTTP/1.1 200 O"),
        Mood::Refuses | Mood::Hangs | Mood::Resets | Mood::Forgets | Mood::Dawdles => Ok(()),
    };
    if takes {
        let silent = answered.is_err() || !matches!(mood, Mood::Takes | Mood::Crawls);
        taken.request(&id, &body, &shared.folder);
        let lines = body.iter().filter(|byte| **byte == b'\n').count() as u64;
        taken.unanswered += if silent { lines } else { 0 };
    }
    drop(taken);
    match mood {
        Mood::Refuses => *shared.away_until.lock().unwrap() = Instant::now() + AWAY,
        Mood::Hangs => thread::sleep(TOO_LONG),
        Mood::Dawdles => {
            thread::sleep(TOO_LONG);
            writer.write_all(status("200 OK").as_bytes())?;
        }
        Mood::Takes
        | Mood::Resets
        | Mood::Busy
        | Mood::Fails(_)
        | Mood::Babbles
        | Mood::Forgets
        | Mood::Stutters
        | Mood::Crawls => answered?,
    }
    Ok(matches!(mood, Mood::Takes | Mood::Crawls | Mood::Busy | Mood::Fails(_)))
}
