//! `interdict snooze`: stop hearing from a rule for a while.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};

use crate::{
    alert::build::rfc3339,
    config::{Config, parse_duration},
    pipeline::snooze::{self, LONGEST_SECONDS, Snooze},
};

/// Stop hearing from a rule for a while. It is enforced all the same; what is held back is counted and told.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file, for the state folder.
    #[arg(long, default_value = super::CONFIG_PATH, global = true)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Snooze a rule, or change its snooze.
    Add {
        /// Rule id.
        rule: String,
        /// For how long, such as 2h or 7d; at most 30d.
        #[arg(long = "for", value_name = "TIME")]
        time: String,
        /// Who answers for it.
        #[arg(long)]
        owner: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// List what is snoozed.
    Ls,
    /// End a snooze.
    Rm {
        /// Rule id.
        rule: String,
    },
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match change(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

fn change(arguments: &Arguments) -> Result<(), String> {
    let config = Config::open(&arguments.config).map_err(|error| error.to_string())?;
    let path = snooze::path(&config.state);
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut list = snooze::read(&path).map_err(failed)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    match &arguments.command {
        Command::Add { rule, time, owner, reason } => {
            let seconds = parse_duration(time)?.as_secs();
            if seconds == 0 || seconds > LONGEST_SECONDS {
                return Err(format!("`{time}`: a snooze lasts from 1s to 30d"));
            }
            list.retain(|known| known.rule != *rule && known.until_unix_s > now);
            list.push(Snooze {
                rule: rule.clone(),
                owner: owner.clone(),
                reason: reason.clone(),
                until_unix_s: now + seconds,
            });
            snooze::write(&path, &list).map_err(failed)?;
        }
        Command::Rm { rule } => {
            if !list.iter().any(|known| known.rule == *rule) {
                return Err(format!("rule {rule} is not snoozed"));
            }
            list.retain(|known| known.rule != *rule);
            snooze::write(&path, &list).map_err(failed)?;
        }
        Command::Ls => {}
    }
    for known in list.iter().filter(|known| known.until_unix_s > now) {
        let until = rfc3339(known.until_unix_s.saturating_mul(1_000_000_000));
        println!(
            "{}  until {}Z  {}  {}",
            known.rule,
            until.get(..19).unwrap_or_default(),
            known.owner,
            known.reason
        );
    }
    Ok(())
}
