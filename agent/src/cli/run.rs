//! `interdict run`: the agent.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use interdict_abi::ids::Mode;

use super::policies::{UNTRIED, untried};
use crate::{app, config::Config, sys::heap};

/// Run the agent: put the policies in force and deliver alerts.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file; absent and not at the default place: all defaults.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Folder of policies, or one compiled image, instead of the configuration's.
    #[arg(long)]
    policies: Option<PathBuf>,
    /// Agent-wide mode; it can only weaken what rules say. `audit` is the dry run: the same verdicts, not acted upon.
    #[arg(long, value_enum)]
    mode: Option<ModeArgument>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArgument {
    /// Act.
    Enforce,
    /// Tell only.
    Audit,
}

/// Where the configuration is looked for.
pub(super) const CONFIG: &str = "/etc/interdict/config.yaml";

/// Reads the configuration that was named, or the default one if it exists.
pub(super) fn configuration(named: Option<&PathBuf>) -> Result<Config, ExitCode> {
    let path = PathBuf::from(CONFIG);
    let config = match named {
        Some(path) => Config::open(path),
        None if path.exists() => Config::open(&path),
        None => return Ok(Config::default()),
    };
    config.map_err(|error| untried(&error))
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    heap::keep_small();
    let mut config = match configuration(arguments.config.as_ref()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if let Some(policies) = &arguments.policies {
        config.policies.clone_from(policies);
    }
    match arguments.mode {
        Some(ModeArgument::Audit) => config.mode = Mode::Audit,
        Some(ModeArgument::Enforce) => config.mode = Mode::Enforce,
        None => {}
    }
    let filter = match tracing_subscriber::EnvFilter::try_new(&config.log) {
        Ok(filter) => filter,
        Err(error) => return untried(&format_args!("log: {error}")),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return untried(&error),
    };
    match runtime.block_on(app::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("interdict: {error}");
            ExitCode::from(UNTRIED)
        }
    }
}
