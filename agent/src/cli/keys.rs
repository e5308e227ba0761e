//! `interdict keys`: the key that signs alerts.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use crate::{
    alert::key::{PublicKey, SigningKey, next_key_path},
    config::Config,
};

/// Show, make or change the key that signs alerts.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the public key in every spelling receivers ask for.
    Show {
        /// Configuration file, for where the key is.
        #[arg(long, default_value = super::CONFIG_PATH)]
        config: PathBuf,
        /// A public or private key file, in place of the configuration's.
        #[arg(long)]
        key: Option<PathBuf>,
    },
    /// Make a key pair: FILE (mode 0600) and FILE with the ending `.pub`. Never overwrites.
    Create {
        /// Where.
        file: PathBuf,
    },
    /// Make the next key. The agent changes to it at its next start, and says so in an alert signed by the old one.
    Rotate {
        /// Configuration file, for where the key is.
        #[arg(long, default_value = super::CONFIG_PATH)]
        config: PathBuf,
    },
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let outcome = match &arguments.command {
        Command::Show { config, key } => public(config, key.as_ref()),
        Command::Create { file } => {
            SigningKey::create(file).map(|key| key.public()).map_err(|error| error.to_string())
        }
        Command::Rotate { config } => rotate(config),
    };
    match outcome {
        Ok(key) => {
            println!("id         {}", key.id());
            println!("base64     {}", key.base64());
            println!("webhook    whpk_{}", key.base64());
            print!("{}", key.pem());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

fn public(config: &Path, key: Option<&PathBuf>) -> Result<PublicKey, String> {
    let path = match key {
        Some(path) => path.clone(),
        None => Config::open(config).map_err(|error| error.to_string())?.key_path(),
    };
    PublicKey::open(&path)
        .or_else(|_not_public| SigningKey::open(&path).map(|key| key.public()))
        .map_err(|error| error.to_string())
}

fn rotate(config: &Path) -> Result<PublicKey, String> {
    let path = Config::open(config).map_err(|error| error.to_string())?.key_path();
    let next = next_key_path(&path);
    let key = SigningKey::create(&next).map_err(|error| error.to_string())?;
    eprintln!("made {}; restart the agent to change to it:", next.display());
    Ok(key.public())
}
