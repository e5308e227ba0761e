//! `cargo xtask vm`: a guest from the command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use super::machine::{Clock, Echo};
use super::plan::Agent;
use super::{Guest, Mode};
use crate::paths;
use crate::run;
use crate::step;

/// Where the agent lies in the guest.
pub const AGENT: &str = "/usr/bin/interdict";
/// Where its configuration lies.
pub const CONFIG_PATH: &str = "/etc/interdict/config.yaml";
/// The configuration of a guest that was given none: everything told goes to `/out` as well.
pub const CONFIG: &str =
    "interfaces: [all]\nsinks:\n  - file: { path: /out/alerts.ndjson, max_bytes: 0 }\n";
/// The public half of the key that it signs alerts with, once it has started.
pub const PUBLIC_KEY: &str = "/var/lib/interdict/agent.pub";

const READY: &str = "/run/interdict/ready";

/// How the agent is started.
pub fn agent(mode: Option<Mode>) -> Agent {
    let mut command =
        vec![AGENT.to_owned(), "run".to_owned(), "--config".to_owned(), CONFIG_PATH.to_owned()];
    match mode {
        Some(Mode::Audit) => command.extend(["--mode".to_owned(), "audit".to_owned()]),
        Some(Mode::Enforce) => command.extend(["--mode".to_owned(), "enforce".to_owned()]),
        None => {}
    }
    Agent { command, ready: READY.to_owned(), ready_within_seconds: 900 }
}

/// Boots a stock kernel with BPF LSM, starts the agent in it, runs a command there as root.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Short name of the kernel: 5.10, 6.1, 6.12 or newest.
    #[arg(long, default_value = "6.1")]
    pub kernel: String,
    /// Folder that becomes /etc/interdict/policies; by default policies/ of this repository.
    #[arg(long)]
    pub policies: Option<PathBuf>,
    /// File that becomes /etc/interdict/config.yaml.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// What the agent may do, whatever its configuration says.
    #[arg(long)]
    pub mode: Option<Mode>,
    /// A file or folder here and its path in the guest; programs bring their libraries.
    #[arg(long, value_name = "HOST:GUEST")]
    pub add: Vec<String>,
    /// A kernel module to load, with what it needs.
    #[arg(long)]
    pub module: Vec<String>,
    /// A shell command to run as root while nothing is enforced yet.
    #[arg(long, value_name = "COMMAND")]
    pub before: Option<String>,
    /// Start no agent.
    #[arg(long)]
    pub no_agent: bool,
    /// No machine: this one's own kernel, in namespaces and a cgroup of their own.
    #[arg(long, conflicts_with_all = ["kernel", "icount", "memory", "module"])]
    pub native: bool,
    /// One processor on which a nanosecond is an instruction.
    #[arg(long)]
    pub icount: bool,
    /// The guest's memory.
    #[arg(long, default_value = "2G")]
    pub memory: String,
    /// Seconds after which the guest is ended.
    #[arg(long, default_value_t = 300)]
    pub timeout: u64,
    /// Where the guest's /out goes.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Another program than this repository's agent.
    #[arg(long, hide = true)]
    pub agent: Option<PathBuf>,
    /// What to run in the guest.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Runs the command; answers the status that the guest's command ended with.
pub fn main(arguments: &Arguments) -> Result<i32> {
    let init = std::env::current_exe()?;
    let guest =
        if arguments.native { Guest::native(init)? } else { Guest::new(&arguments.kernel, init)? };
    let mut guest = guest
        .memory(&arguments.memory)
        .timeout(Duration::from_secs(arguments.timeout))
        .out(arguments.out.clone().unwrap_or_else(|| paths::vm().join("out")))
        .echo(Echo::Live);
    if !arguments.no_agent {
        guest = guest
            .agent(match &arguments.agent {
                Some(program) => program.clone(),
                None => run::built_agent()?,
            })
            .policies(arguments.policies.clone().unwrap_or_else(|| paths::root().join("policies")));
    }
    if let Some(file) = &arguments.config {
        guest = guest.config(file);
    }
    if let Some(mode) = arguments.mode {
        guest = guest.mode(mode);
    }
    for pair in &arguments.add {
        let (from, to) =
            pair.split_once(':').with_context(|| format!("--add {pair}: expected HOST:GUEST"))?;
        guest = guest.add(from, to);
    }
    for name in &arguments.module {
        guest = guest.module(name);
    }
    if let Some(command) = &arguments.before {
        guest = guest.before(command);
    }
    if arguments.icount {
        guest = guest.clock(Clock::Instructions);
    }
    let outcome = guest.run(&arguments.command)?;
    let answer = &outcome.answer;
    let mut said = format!("up {:.1} s after boot", answer.up_seconds);
    if let Some(seconds) = answer.enforcing_seconds {
        said.push_str(&format!(", enforcing after {seconds:.1} s"));
    }
    if answer.agent_restarts > 0 {
        said.push_str(&format!(", agent restarted {} times", answer.agent_restarts));
    }
    step::note(&format!("{said}; /out is {}", outcome.out.display()));
    Ok(outcome.status)
}
