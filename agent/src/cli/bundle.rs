//! `interdict bundle`: signed bundles of policies.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use interdict_rules::{
    Options, compile,
    diag::{self, Colour},
    lower::Budget,
    suite,
};
use serde_json::json;

use super::policies::{Format, NO, With, compiled, print, print_json, today, untried};
use crate::{
    alert::key::{PublicKey, SigningKey},
    bundle::{Bundle, BundleError, Ledger, pack},
};

/// Make and verify signed bundles of policies.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Create),
    Verify(Verify),
}

/// Check and test a directory of policies, and sign them as one file.
#[derive(Debug, Args)]
struct Create {
    /// Directory of policies and their feeds.
    directory: PathBuf,
    /// Where the bundle goes.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Private key (PEM).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Name of the bundle: serials are compared within a name.
    #[arg(long, default_value = "policies")]
    name: String,
    /// Serial number, which must rise; the time in seconds unless given.
    #[arg(long)]
    serial: Option<u64>,
}

/// Verify a bundle: its signature, its content, its age, and that it compiles.
#[derive(Debug, Args)]
struct Verify {
    /// The bundle.
    file: PathBuf,
    /// Public key that is trusted: a file, or base64 or hex. May be given again.
    #[arg(long = "key", required = true)]
    keys: Vec<String>,
    /// File of serials seen before: refuse what is older. The bundle's own serial is added unless `--no-record`.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Leave the ledger as it is.
    #[arg(long)]
    no_record: bool,
    /// How to tell.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::Create(create) => make(create),
        Command::Verify(arguments) => verify(arguments),
    }
}

fn make(arguments: &Create) -> ExitCode {
    let paths = [arguments.directory.clone()];
    let compiled = match compiled(&paths, With::PoliciesAndCases) {
        Ok(compiled) => compiled,
        Err(error) => return untried(&error),
    };
    let Some(image) = &compiled.outcome.image else {
        compiled.complain();
        return ExitCode::from(NO);
    };
    let results = suite::run(&compiled.outcome.parsed, &compiled.sources, image);
    if results.failed() > 0 {
        eprint!("{}", suite::human(&results, image, false));
        return ExitCode::from(NO);
    }
    let key = match SigningKey::open(&arguments.key) {
        Ok(key) => key,
        Err(error) => return untried(&error),
    };
    let mut files = BTreeMap::new();
    if let Err(error) = collect(&arguments.directory, &arguments.directory, &mut files) {
        return untried(&error);
    }
    let serial = arguments.serial.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    });
    let bytes = match pack(&arguments.name, serial, &files, &key) {
        Ok(bytes) => bytes,
        Err(error) => return untried(&error),
    };
    if let Err(error) = fs::write(&arguments.output, &bytes) {
        return untried(&format_args!("{}: {error}", arguments.output.display()));
    }
    print(&format!(
        "{} with serial {serial}: {} files, {} rules, {} bytes, signed by {}\n",
        arguments.name,
        files.len(),
        image.metadata().written(),
        bytes.len(),
        key.id()
    ));
    ExitCode::SUCCESS
}

/// All files below a directory, hidden ones left out.
fn collect(
    root: &Path,
    directory: &Path,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), BundleError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BundleError::File { path, source }
    };
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files)?;
            continue;
        }
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        files.insert(name, fs::read(&path).map_err(failed(&path))?);
    }
    Ok(())
}

fn verify(arguments: &Verify) -> ExitCode {
    let mut keys = Vec::new();
    for text in &arguments.keys {
        let key = match PublicKey::parse(text) {
            Some(key) => Ok(key),
            None => PublicKey::open(Path::new(text)),
        };
        match key {
            Ok(key) => keys.push(key),
            Err(error) => return untried(&error),
        }
    }
    let bundle = match Bundle::read(&arguments.file, &keys) {
        Ok(bundle) => bundle,
        Err(error @ BundleError::File { .. }) => return untried(&error),
        Err(error) => return refused(arguments, &error),
    };
    let mut ledger = match arguments.ledger.as_deref().map(Ledger::open).transpose() {
        Ok(ledger) => ledger,
        Err(error) => return untried(&error),
    };
    if let Some(ledger) = &ledger
        && let Err(error) = ledger.check(&bundle)
    {
        return refused(arguments, &error);
    }
    let sources = match bundle.sources() {
        Ok(sources) => sources,
        Err(error) => return refused(arguments, &error),
    };
    let today = today();
    let options = Options { files: &bundle, today: &today, budget: Budget::default() };
    let outcome = compile(&sources, &options);
    let Some(image) = &outcome.image else {
        eprint!("{}", diag::terminal(&outcome.diagnostics, &sources, Colour::Plain));
        return ExitCode::from(NO);
    };
    if let (Some(ledger), false) = (&mut ledger, arguments.no_record)
        && let Err(error) = ledger.accept(&bundle)
    {
        return untried(&error);
    }
    let manifest = bundle.manifest();
    match arguments.format {
        Format::Human => print(&format!(
            "good: {} with serial {}, {} files, {} rules, signed by {}\n",
            manifest.name,
            manifest.serial,
            manifest.files.len(),
            image.metadata().written(),
            manifest.key
        )),
        Format::Json => print_json(&json!({
            "good": true,
            "manifest": manifest,
            "rules": image.metadata().written(),
        })),
    }
    ExitCode::SUCCESS
}

fn refused(arguments: &Verify, error: &BundleError) -> ExitCode {
    match arguments.format {
        Format::Human => eprintln!("refused: {error}"),
        Format::Json => print_json(&json!({ "good": false, "reason": error.to_string() })),
    }
    ExitCode::from(NO)
}
