//! The performer: does the steps of a script in the guest and writes down what came of each.
//!
//! Nothing waits for a fixed time: a datagram that should not arrive is followed by one that must (over loopback, where
//! no packet rule applies), and whichever is there first decides.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{
    AWAIT, Act, EACCES, EPERM, ERRNO_STATUS, Outcome, PERFORM, PERFORMER, Step, files, sockets,
};

/// One act in a process of its own: the act as JSON follows; what came of it is told by the exit status.
const ONE: &str = "one";
/// Only sends; run in another network namespace.
const SEND: &str = "send";
/// The exit status of an act whose packets did not come through.
const LOST_STATUS: i32 = 4;
/// More than any packet needs within one machine, even one that is emulated and busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an alert may take to its receiver.
const ARRIVAL: Duration = Duration::from_secs(20);
/// How long a packet may be late after one that was sent later.
const SECOND_LOOK: Duration = Duration::from_millis(200);

/// Does what the arguments ask for if they ask for acts.
pub fn run_if_asked() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        [PERFORM, script, results] => perform(script, results),
        [ONE, act] => return Some(one(act)),
        [files::DRAIN] => return Some(ExitCode::from(files::drain())),
        [SEND, from, to] => send(from, to),
        [sockets::CALL, from, to] => sockets::call(from, to),
        [sockets::WATCH, address] => sockets::watch(address),
        [AWAIT, file, texts @ ..] => await_lines(file, texts),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("act: {error:#}");
            ExitCode::from(2)
        }
    })
}

fn perform(script: &str, results: &str) -> Result<()> {
    let steps: Vec<Step> = serde_json::from_slice(&std::fs::read(script)?).context("the script")?;
    let outcomes: Vec<(String, Outcome)> =
        steps.into_iter().map(|step| (step.name.clone(), outcome(&step))).collect();
    std::fs::write(results, serde_json::to_vec_pretty(&outcomes)?)?;
    Ok(())
}

fn outcome(step: &Step) -> Outcome {
    match step_outcome(step) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Unclear(format!("{error:#}")),
    }
}

fn step_outcome(step: &Step) -> Result<Outcome> {
    if let Act::Send { namespace, from, to } = &step.act {
        return receive(namespace, *from, *to);
    }
    // Held open while the actor tries, so that what is refused would otherwise have succeeded.
    let _listener = match &step.act {
        Act::Connect { to } => Some(TcpListener::bind(to).context("a listener to connect to")?),
        Act::Read { .. }
        | Act::Write { .. }
        | Act::Run { .. }
        | Act::Cat { .. }
        | Act::Send { .. }
        | Act::Script { .. }
        | Act::File(_)
        | Act::Socket(_) => None,
    };
    let watcher = match &step.act {
        Act::Socket(act) => act.watched().map(sockets::Watcher::start).transpose()?,
        Act::Read { .. }
        | Act::Write { .. }
        | Act::Run { .. }
        | Act::Cat { .. }
        | Act::Connect { .. }
        | Act::Script { .. }
        | Act::Send { .. }
        | Act::File(_) => None,
    };
    let actor = step.actor.as_deref().unwrap_or(PERFORMER);
    let status = Command::new(actor)
        .args([ONE, &serde_json::to_string(&step.act)?])
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("the actor {actor}"))?;
    let outcome = told(status)?;
    let Some(watcher) = watcher else { return Ok(outcome) };
    // What is refused has not been sent at all, and what passed was really sent.
    Ok(match (outcome, watcher.count()?) {
        (Outcome::Passed, 0) => Outcome::Lost,
        (Outcome::Passed, _) => Outcome::Passed,
        (outcome, 0) => outcome,
        (outcome, count) => Outcome::Unclear(format!("{outcome}, and {count} packets left")),
    })
}

fn told(status: ExitStatus) -> Result<Outcome> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(Outcome::Passed),
        (Some(LOST_STATUS), _) => Ok(Outcome::Lost),
        (Some(code), _) if code >= ERRNO_STATUS => Ok(Outcome::Refused(code - ERRNO_STATUS)),
        (Some(code), _) => Ok(Outcome::Unclear(format!("exit status {code}"))),
        (None, Some(signal)) => Ok(Outcome::Killed(signal)),
        (None, None) => bail!("neither exit status nor signal"),
    }
}

/// Tries one act and tells what came of it by the way this process ends.
fn one(act: &str) -> ExitCode {
    let tried =
        serde_json::from_str::<Act>(act).map_err(io::Error::other).and_then(|act| attempt(&act));
    match tried {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(signal)) => {
            // Ended as the program was, so that the performer sees the same.
            if let Some(signal) = rustix::process::Signal::from_named_raw(signal) {
                let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
            }
            ExitCode::from(3)
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() => {
            ExitCode::from(4)
        }
        Err(error) => {
            let status =
                error.raw_os_error().and_then(|errno| u8::try_from(errno + ERRNO_STATUS).ok());
            if status.is_none() {
                eprintln!("act: {error}");
            }
            ExitCode::from(status.unwrap_or(2))
        }
    }
}

/// Answers the signal that ended a program which was run, if one did.
fn attempt(act: &Act) -> io::Result<Option<i32>> {
    match act {
        Act::Read { path } => File::open(path).map(|_| None),
        Act::Write { path } => OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(b"act\n"))
            .map(|()| None),
        Act::Run { command } => {
            let (program, arguments) =
                command.split_first().ok_or_else(|| io::Error::other("no program"))?;
            let status = Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status()?;
            match (status.code(), status.signal()) {
                (Some(0), _) => Ok(None),
                (_, Some(signal)) => Ok(Some(signal)),
                (code, None) => Err(io::Error::other(format!("{program} ended with {code:?}"))),
            }
        }
        Act::Cat { path } => cat(path),
        Act::Script { interpreter, code, .. } => script(interpreter, code),
        Act::File(act) => files::attempt(act).map(|()| None),
        Act::Connect { to } => TcpStream::connect(to).map(|_| None),
        Act::Socket(act) => sockets::attempt(act).map(|()| None),
        Act::Send { .. } => Err(io::Error::other("packets are sent by the performer itself")),
    }
}

fn script(interpreter: &str, code: &str) -> io::Result<Option<i32>> {
    let status = Command::new(interpreter).args(["-e", code]).stdin(Stdio::null()).status()?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(None),
        (_, Some(signal)) => Ok(Some(signal)),
        (Some(code), None) if code >= ERRNO_STATUS => {
            Err(io::Error::from_raw_os_error(code - ERRNO_STATUS))
        }
        (code, None) => Err(io::Error::other(format!("{interpreter} ended with {code:?}"))),
    }
}

fn cat(path: &str) -> io::Result<Option<i32>> {
    let output = Command::new("cat").arg(path).stdin(Stdio::null()).output()?;
    if let Some(signal) = output.status.signal() {
        return Ok(Some(signal));
    }
    if output.status.success() {
        return Ok(None);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let errno = [(EPERM, "Operation not permitted"), (EACCES, "Permission denied")]
        .into_iter()
        .find_map(|(errno, text)| complaint.contains(text).then_some(errno));
    Err(errno
        .map_or_else(|| io::Error::other(complaint.into_owned()), io::Error::from_raw_os_error))
}

fn await_lines(file: &str, texts: &[&str]) -> Result<()> {
    let deadline = Instant::now() + ARRIVAL;
    loop {
        let content = std::fs::read_to_string(file).unwrap_or_default();
        if texts.iter().all(|text| content.lines().any(|line| line.contains(text))) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{file} does not hold all that was waited for");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn send(from: &str, to: &str) -> Result<()> {
    let socket = UdpSocket::bind(from)?;
    socket.send_to(b"packet", to)?;
    Ok(())
}

fn receive(namespace: &str, from: SocketAddr, to: SocketAddr) -> Result<Outcome> {
    let here = UdpSocket::bind(to).context("a socket to receive with")?;
    here.set_read_timeout(Some(PATIENCE))?;
    let status = Command::new("ip")
        .args(["netns", "exec", namespace, PERFORMER, SEND])
        .args([from.to_string(), to.to_string()])
        .status()?;
    if !status.success() {
        bail!("the sender ended with {status}");
    }
    // A packet has crossed a veth pair when its sender's call returns, so what is sent now should arrive after it; a
    // second look is for the kernel that put the first one off.
    UdpSocket::bind("0.0.0.0:0")?.send_to(b"last", to)?;
    let mut last_arrived = false;
    let mut buffer = [0; 16];
    loop {
        match here.recv_from(&mut buffer) {
            Ok((length, sender)) => match buffer.get(..length) {
                Some(b"packet") if sender.ip() == from.ip() => return Ok(Outcome::Passed),
                Some(b"last") => {
                    last_arrived = true;
                    here.set_read_timeout(Some(SECOND_LOOK))?;
                }
                Some(_) | None => bail!("a packet from {sender} that nobody sent"),
            },
            Err(_) if last_arrived => return Ok(Outcome::Lost),
            Err(error) => return Err(error).context("not even the last packet arrived"),
        }
    }
}
