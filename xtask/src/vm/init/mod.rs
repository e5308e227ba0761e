//! The first process of a guest: makes it look like a host, keeps the agent alive, runs the command, sends `/out` home.
//!
//! It is one program without helpers, because helpers could be refused by the very rules a guest is there to test.
//! Kernel messages go to the first serial port and what was run writes to the second, so neither spoils the other.
//! It never ends while the guest lives: the last thing it does is to switch the machine off.

mod ground;
mod native;
mod output;
mod supervise;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::system::{RebootCommand, reboot};

use super::cpio::Archive;
use super::plan::{ANSWER, Agent, Answer, BEGUN, INIT, PLAN, Plan};
pub use native::NATIVE;
use output::Output;
use supervise::Supervisor;

/// The disk that the archive is written to.
const DISK: &str = "/dev/vda";
/// How long the agent may take to end after it was asked to.
const STOP: Duration = Duration::from_secs(15);

/// Runs the guest, or the native stand-in for one, if this process is the first one of it; otherwise returns.
pub fn run_if_first() {
    if std::process::id() != 1 {
        return;
    }
    if let Some(work) = native::asked_for() {
        std::process::exit(native::run(&work));
    }
    if std::env::args_os().next().is_none_or(|name| name != *INIT) {
        return;
    }
    eprintln!("{BEGUN}");
    let mut answer = Answer::default();
    let lived = ground::switch_root().and_then(|()| {
        ground::mount_all()?;
        live(&mut answer, Output::to_port()?)
    });
    let sent = finish(lived, &mut answer, || Ok(OpenOptions::new().write(true).open(DISK)?));
    if let Err(error) = sent {
        eprintln!("guest: sending /out home: {error:#}");
    }
    rustix::fs::sync();
    let error = reboot(RebootCommand::PowerOff);
    eprintln!("guest: switching off: {error:?}");
    loop {
        std::thread::park();
    }
}

/// Notes why it ended, if not as it should, and sends the answer and `/out` home.
fn finish(
    lived: Result<()>,
    answer: &mut Answer,
    home: impl FnOnce() -> Result<File>,
) -> Result<()> {
    if let Err(error) = lived {
        eprintln!("guest: {error:#}");
        answer.error.get_or_insert(format!("{error:#}"));
    }
    send_home(answer, home()?)
}

fn live(answer: &mut Answer, output: Output) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(PLAN)?).context("reading the plan")?;
    ground::load_modules(&plan.modules)?;
    ground::settle()?;
    answer.up_seconds = uptime()?;
    let mut supervisor = Supervisor::new(plan.environment);
    if let Some(before) = &plan.before {
        let pid = supervisor.spawn(&["sh", "-c", before], &output)?;
        let status = supervisor.wait_for(pid, None)?.context("no time limit was set")?;
        if status != 0 {
            bail!("the --before command ended with status {status}");
        }
    }
    if let Some(agent) = &plan.agent {
        answer.agent_started_seconds = Some(uptime()?);
        enforce(&mut supervisor, agent)?;
        answer.enforcing_seconds = Some(uptime()?);
    }
    let command: Vec<&str> = plan.command.iter().map(String::as_str).collect();
    let ended = supervisor.spawn(&command, &output).and_then(|pid| supervisor.wait_for(pid, None));
    supervisor.stop_agent(STOP)?;
    answer.agent_restarts = supervisor.restarts();
    answer.status = ended?;
    output.finish();
    Ok(())
}

fn enforce(supervisor: &mut Supervisor, agent: &Agent) -> Result<()> {
    let ready = Path::new(&agent.ready);
    fs::create_dir_all(ready.parent().context("the ready file is in a directory")?)?;
    supervisor.start_agent(&agent.command)?;
    let deadline = Instant::now() + Duration::from_secs(agent.ready_within_seconds);
    while !fs::read(ready).is_ok_and(|generation| !generation.is_empty()) {
        supervisor.attend(Duration::from_millis(5))?;
        if supervisor.restarts() > 2 {
            bail!("the agent ends before it enforces:\n{}", supervise::agent_log_tail());
        }
        if Instant::now() > deadline {
            bail!(
                "the agent did not enforce within {} s:\n{}",
                agent.ready_within_seconds,
                supervise::agent_log_tail()
            );
        }
    }
    Ok(())
}

fn send_home(answer: &Answer, home: File) -> Result<()> {
    let mut archive = Archive::new(std::io::BufWriter::with_capacity(1 << 20, home));
    // First, so that it arrives even if /out does not fit.
    archive.file(ANSWER, 0o644, &serde_json::to_vec(answer)?)?;
    archive.tree("out", Path::new("/out"))?;
    let home: File = archive.finish()?.into_inner().map_err(|error| error.into_error())?;
    home.sync_all()?;
    Ok(())
}

fn uptime() -> Result<f64> {
    let text = fs::read_to_string("/proc/uptime")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

/// Says something on the console, where kernel messages are.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "guest: {what}");
}
