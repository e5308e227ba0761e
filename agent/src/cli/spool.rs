//! `interdict spool`: look into the spool, and send alerts again.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    alert::key::SigningKey,
    config::{Config, SinkConfig},
    sinks::{self, DeliveryError, runner},
    spool::{Cursor, Entry, Reader, cursor::Stored, disk::LocalDisk, recover, segment},
};

/// Look into the spool, and send alerts again. Works beside a running agent.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List segments, cursors and dead letters.
    Ls(Ls),
    /// Print alerts, or send them to a sink again. Cursors stay as they are.
    Replay(Replay),
}

#[derive(Debug, Args)]
struct Ls {
    /// Configuration file, for where the spool is.
    #[arg(long, default_value = super::CONFIG_PATH)]
    config: PathBuf,
    /// The spool's folder, in place of the configuration's.
    #[arg(long)]
    spool: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Replay {
    /// Configuration file, for spool and sinks.
    #[arg(long, default_value = super::CONFIG_PATH)]
    config: PathBuf,
    /// The spool's folder, in place of the configuration's.
    #[arg(long)]
    spool: Option<PathBuf>,
    /// First sequence number.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Last sequence number.
    #[arg(long, default_value_t = u64::MAX - 1)]
    to: u64,
    /// Send to this sink of the configuration, through its filter; without it: print lines.
    #[arg(long)]
    sink: Option<String>,
}

/// Alerts read at once.
const BATCH: usize = 1_000;

/// Times a delivery is tried before giving up: somebody is waiting.
const ATTEMPTS: u32 = 5;

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let outcome = match &arguments.command {
        Command::Ls(ls) => list(ls),
        Command::Replay(replay) => run_replay(replay),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

fn folder(config: &Path, spool: Option<&PathBuf>) -> Result<PathBuf, String> {
    match spool {
        Some(folder) => Ok(folder.clone()),
        None => Ok(Config::open(config).map_err(|error| error.to_string())?.spool_path()),
    }
}

fn list(ls: &Ls) -> Result<(), String> {
    let folder = folder(&ls.config, ls.spool.as_ref())?;
    let failed = |error: io::Error| format!("{}: {error}", folder.display());
    let segments = segment::list(&folder).map_err(failed)?;
    let mut rows = Vec::new();
    for (at, &first) in segments.iter().enumerate() {
        let path = segment::path(&folder, first);
        let Ok(bytes) = fs::read(&path) else { continue };
        let scan = recover::scan(&bytes, segments.get(at + 1).copied());
        rows.push(json!({
            "segment": format!("{first:020}.seg"),
            "bytes": bytes.len(),
            "alerts": scan.records,
            "first": scan.first,
            "last": scan.last.map(|head| head.seq),
            "damaged_bytes": scan.damaged_bytes + scan.torn_bytes,
            "stream": scan.header.map(|header| header.before.stream),
        }));
    }
    let mut cursors = Vec::new();
    for entry in fs::read_dir(folder.join("cursors")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".new") {
            continue;
        }
        let next = match Cursor::new(&folder, &name, Arc::new(LocalDisk)).load() {
            Stored::At { next, .. } => Some(next),
            Stored::Absent | Stored::Damaged => None,
        };
        cursors.push(json!({ "sink": name, "next": next }));
    }
    let mut dead = Vec::new();
    for entry in fs::read_dir(runner::dead_letters(&folder)).into_iter().flatten().flatten() {
        let count = fs::read(entry.path()).map_err(failed)?;
        let count = count.iter().filter(|&&byte| byte == b'\n').count();
        dead.push(json!({ "file": entry.path().display().to_string(), "alerts": count }));
    }
    let report = json!({ "segments": rows, "cursors": cursors, "dead_letters": dead });
    if ls.json {
        println!("{report:#}");
        return Ok(());
    }
    for (title, rows) in [("segments", &rows), ("cursors", &cursors), ("dead letters", &dead)] {
        println!("{title}: {}", rows.len());
        for row in rows {
            let members = row.as_object().into_iter().flatten();
            let members: Vec<String> =
                members.map(|(name, value)| format!("{name} {value}").replace('"', "")).collect();
            println!("  {}", members.join("  "));
        }
    }
    Ok(())
}

fn run_replay(replay: &Replay) -> Result<(), String> {
    let folder = folder(&replay.config, replay.spool.as_ref())?;
    let Some(name) = &replay.sink else {
        let mut out = io::stdout().lock();
        return each(&folder, replay, |entries| {
            for entry in entries {
                out.write_all(&entry.line).and_then(|()| out.write_all(b"\n"))?;
            }
            Ok(())
        });
    };
    let config = Config::open(&replay.config).map_err(|error| error.to_string())?;
    let sink_config = config.sinks.iter().find(|sink| sink.name() == *name);
    let sink_config = sink_config.ok_or_else(|| {
        let names: Vec<String> = config.sinks.iter().map(SinkConfig::name).collect();
        format!("no sink `{name}` in {}; there are: {}", replay.config.display(), names.join(", "))
    })?;
    let key = SigningKey::open(&config.key_path()).map_err(|error| error.to_string())?;
    let mut sink = sinks::open(sink_config, &Arc::new(key)).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let mut sent = 0;
    each(&folder, replay, |entries| {
        let mut wanted: Vec<Entry> = entries
            .iter()
            .filter(|entry| runner::passes(&sink_config.filter, entry))
            .cloned()
            .collect();
        runner::render(&mut wanted, sink_config.format);
        for batch in wanted.chunks(sink_config.batch.alerts) {
            let mut left = batch;
            let mut attempts = 0;
            while !left.is_empty() {
                match runtime.block_on(sink.deliver(left)) {
                    Ok(taken) => left = &left[taken.min(left.len())..],
                    Err(failed) => {
                        let (reason, after) = match failed {
                            DeliveryError::Retry { reason, after } => (reason, after),
                            DeliveryError::Late { reason } => (reason, None),
                            DeliveryError::Refused { reason } => {
                                return Err(io::Error::other(reason));
                            }
                        };
                        attempts += 1;
                        if attempts == ATTEMPTS {
                            return Err(io::Error::other(reason));
                        }
                        std::thread::sleep(after.unwrap_or(sink_config.retry.first));
                    }
                }
            }
            sent += batch.len();
        }
        Ok(())
    })?;
    eprintln!("{sent} alerts sent to {name}");
    Ok(())
}

fn each(
    folder: &Path,
    replay: &Replay,
    mut take: impl FnMut(&[Entry]) -> io::Result<()>,
) -> Result<(), String> {
    let oldest = segment::list(folder)
        .map_err(|error| format!("{}: {error}", folder.display()))?
        .first()
        .copied()
        .ok_or_else(|| format!("{}: no spool segment (*.seg) in it", folder.display()))?;
    let mut reader = Reader::new(folder, replay.from.max(oldest));
    while reader.next() <= replay.to {
        let read = reader.read(replay.to, BATCH, 4 << 20).map_err(|error| error.to_string())?;
        if read.entries.is_empty() {
            break;
        }
        take(&read.entries).map_err(|error| error.to_string())?;
    }
    Ok(())
}
