//! Starts what the plan names and waits for it, starts the agent again when it dies, and buries orphans.
//!
//! One thread waits for every child there is, since the first process inherits those whose parent died; everything
//! else reacts to what that thread tells.

use std::fs::{self, OpenOptions};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use super::output::Output;
use super::say;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PID_FILE: &str = "/run/interdict/agent.pid";
const AGENT_LOG: &str = "/out/agent.log";
/// As systemd waits by default before it starts a service again.
const RESTART_AFTER: Duration = Duration::from_millis(100);
/// How long the waiting thread rests while there is no child.
const REST: Duration = Duration::from_millis(5);

/// A process that ended, and its exit status as a shell tells it.
type Ended = (i32, i32);

/// What the agent is doing, as far as its supervisor knows.
#[derive(Debug)]
enum AgentState {
    NotWanted,
    Running { pid: i32, command: Vec<String> },
    Died { at: Instant, command: Vec<String> },
}

/// All processes of the guest that we answer for.
#[derive(Debug)]
pub(super) struct Supervisor {
    ended: Receiver<Ended>,
    agent: AgentState,
    restarts: u32,
    environment: Vec<(String, String)>,
}

fn bury(tell: &std::sync::mpsc::Sender<Ended>) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => {
                let status = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => code,
                    (None, Some(signal)) => 128 + signal,
                    (None, None) => continue,
                };
                if tell.send((pid.as_raw_nonzero().get(), status)).is_err() {
                    return;
                }
            }
            Ok(None) | Err(Errno::CHILD) => std::thread::sleep(REST),
            Err(_) => {}
        }
    }
}

impl Supervisor {
    pub(super) fn new(environment: Vec<(String, String)>) -> Self {
        let (tell, ended) = channel();
        std::thread::spawn(move || bury(&tell));
        Self { ended, agent: AgentState::NotWanted, restarts: 0, environment }
    }

    fn start(&self, command: &[&str], out: Stdio, err: Stdio) -> Result<i32> {
        let (program, arguments) = command.split_first().context("an empty command")?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("could not start `{program}`"))?;
        i32::try_from(child.id()).context("a process id fits")
    }

    /// Starts a program that writes to the port.
    pub(super) fn spawn(&self, command: &[&str], output: &Output) -> Result<i32> {
        self.start(command, output.writer()?, output.writer()?)
    }

    /// Handles what happened, for at most that long. Answers a process that ended and was not the agent.
    pub(super) fn attend(&mut self, at_most: Duration) -> Result<Option<Ended>> {
        let (limit, restart) = match &self.agent {
            AgentState::Died { at, .. } => {
                let left = RESTART_AFTER.saturating_sub(at.elapsed());
                (left.min(at_most), left <= at_most)
            }
            AgentState::NotWanted | AgentState::Running { .. } => (at_most, false),
        };
        match self.ended.recv_timeout(limit) {
            Ok((pid, status)) => {
                let state = std::mem::replace(&mut self.agent, AgentState::NotWanted);
                match state {
                    AgentState::Running { pid: agent, command } if agent == pid => {
                        say(&format!("the agent ended with status {status}"));
                        self.agent = AgentState::Died { at: Instant::now(), command };
                        Ok(None)
                    }
                    state @ (AgentState::Running { .. }
                    | AgentState::Died { .. }
                    | AgentState::NotWanted) => {
                        self.agent = state;
                        Ok(Some((pid, status)))
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if restart {
                    self.restart_agent()?;
                }
                Ok(None)
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the thread that waits for children ended")
            }
        }
    }

    /// Waits until one process has ended, at most so long, and answers its status.
    pub(super) fn wait_for(&mut self, pid: i32, limit: Option<Duration>) -> Result<Option<i32>> {
        let since = Instant::now();
        loop {
            let left = limit
                .map_or(Duration::from_secs(3600), |limit| limit.saturating_sub(since.elapsed()));
            if left.is_zero() {
                return Ok(None);
            }
            if let Some((ended, status)) = self.attend(left)?
                && ended == pid
            {
                return Ok(Some(status));
            }
        }
    }

    /// Starts the agent and keeps it alive from now on.
    pub(super) fn start_agent(&mut self, command: &[String]) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(AGENT_LOG)?;
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let pid = self.start(&words, Stdio::from(log.try_clone()?), Stdio::from(log))?;
        fs::write(PID_FILE, format!("{pid}\n"))?;
        self.agent = AgentState::Running { pid, command: command.to_vec() };
        Ok(())
    }

    fn restart_agent(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.agent, AgentState::NotWanted) {
            AgentState::Died { command, .. } => {
                self.restarts += 1;
                self.start_agent(&command)
            }
            state @ (AgentState::Running { .. } | AgentState::NotWanted) => {
                self.agent = state;
                Ok(())
            }
        }
    }

    /// How often the agent died and was started again.
    pub(super) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Asks the agent to end, as a service manager does, so that everything told is written.
    pub(super) fn stop_agent(&mut self, limit: Duration) -> Result<()> {
        match std::mem::replace(&mut self.agent, AgentState::NotWanted) {
            AgentState::Running { pid, .. } => {
                let process = Pid::from_raw(pid).context("a process id is not zero")?;
                let _ = kill_process(process, Signal::TERM);
                if self.wait_for(pid, Some(limit))?.is_none() {
                    say("the agent does not end; killing it");
                    let _ = kill_process(process, Signal::KILL);
                }
                Ok(())
            }
            AgentState::NotWanted | AgentState::Died { .. } => Ok(()),
        }
    }
}

/// The last lines the agent wrote.
pub(super) fn agent_log_tail() -> String {
    let log = fs::read(AGENT_LOG).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
}
