//! Builds the kernel object, the same bytes on every machine, and keeps the committed one honest.
//!
//! `cargo xtask ebpf` writes `ebpf/prebuilt/interdict.bpf.o` and its manifest. `--check` rebuilds into `target/ebpf/`
//! and compares: with the recorded tools any difference is an error; with others the difference is said and the
//! rebuilt object is the one that guests run. Only this crate is built with Debian's compiler, called by its full
//! path: aya-ebpf needs an unstable feature, and Debian has the core library for BPF ready made.

pub mod manifest;
pub mod wrapper;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{paths, run, step, tools};
use manifest::Manifest;

const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
const STRIP: &str = "/usr/lib/llvm-22/bin/llvm-strip";
const TARGET: &str = "bpfel-unknown-none";
/// The binary of the `ebpf` crate.
const PROGRAM: &str = "interdict";

/// While the agent is built, names another object to build it with than the committed one.
pub const OBJECT_VARIABLE: &str = "INTERDICT_BPF_OBJECT";

/// Builds the kernel object into `ebpf/prebuilt/`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Rebuild and compare with the committed object; write nothing to it.
    #[arg(long)]
    pub check: bool,
}

/// What a check found. Anything that must not be is an error instead.
#[derive(Debug)]
pub enum Checked {
    /// The committed object is what these sources give.
    Same,
    /// Other tools than the recorded ones gave another object, here, which is to be tested instead.
    Rebuilt(PathBuf),
}

/// The committed object.
pub fn prebuilt() -> PathBuf {
    paths::root().join("ebpf/prebuilt/interdict.bpf.o")
}

fn manifest_path() -> PathBuf {
    paths::root().join("ebpf/prebuilt/manifest.toml")
}

/// Runs the command.
pub fn main(arguments: &Arguments) -> Result<()> {
    if arguments.check { check().map(drop) } else { write() }
}

fn write() -> Result<()> {
    let (object, manifest) = build()?;
    let path = prebuilt();
    let directory = path.parent().context("the object is in a directory")?;
    fs::create_dir_all(directory)?;
    fs::write(&path, object)?;
    fs::write(manifest_path(), manifest.to_string())?;
    step::note(&format!("{} ({} bytes)", path.display(), manifest.bytes));
    step::note(&format!("sha256 {}", manifest.sha256));
    Ok(())
}

/// Rebuilds and compares with what is committed.
pub fn check() -> Result<Checked> {
    let recorded = Manifest::parse(
        &fs::read_to_string(manifest_path()).context("ebpf/prebuilt/manifest.toml")?,
    )?;
    let committed = fs::read(prebuilt()).context("ebpf/prebuilt/interdict.bpf.o")?;
    if manifest::digest(&committed) != recorded.sha256 {
        bail!("ebpf/prebuilt/interdict.bpf.o is not the object that its manifest describes");
    }
    let (object, rebuilt) = build()?;
    if object == committed {
        step::note("the committed kernel object is what the sources give, byte for byte");
        return Ok(Checked::Same);
    }
    let differences = recorded.tool_differences(&rebuilt);
    if differences.is_empty() {
        bail!(
            "the committed kernel object is not what the sources give (recorded {}, rebuilt {}); the tools are the \
             recorded ones, so the sources have changed since: run `cargo xtask ebpf` and commit the result",
            recorded.sha256,
            rebuilt.sha256
        );
    }
    for difference in differences {
        step::note(&format!("other tool than recorded: {difference}"));
    }
    step::note(
        "the rebuilt object differs from the committed one, as other tools may; guests run the rebuilt one",
    );
    Ok(Checked::Rebuilt(rebuilt_path()))
}

fn rebuilt_path() -> PathBuf {
    paths::target().join("ebpf/interdict.bpf.o")
}

fn build() -> Result<(Vec<u8>, Manifest)> {
    tools::packages(tools::EBPF_PACKAGES, "the kernel object")?;
    let linker = tools::bpf_linker()?;
    let running = step::begin("building the kernel object");
    let built = compile(&linker)?;
    let object = rebuilt_path();
    run::quietly(Command::new(STRIP).arg("-g").arg("-o").arg(&object).arg(&built))?;
    let bytes = fs::read(&object)?;
    let manifest = Manifest::of(&bytes, &paths::root().join("ebpf/Cargo.lock"))?;
    running.done_with(&format!("{} bytes", bytes.len()));
    Ok((bytes, manifest))
}

fn compile(linker: &Path) -> Result<PathBuf> {
    let root = paths::root();
    let target = root.join("target/ebpf");
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    let sysroot =
        run::text(run::without_cargo(&mut Command::new(RUSTC)).args(["--print", "sysroot"]))?;
    // Where things lie must not show in the object: rustc keeps paths in type information (`wrapper` sees to the rest). These flags are added to
    // those of ebpf/.cargo/config.toml, which stays the one place that says how kernel programs are compiled.
    let remap = |from: &Path, to: &str| format!("'--remap-path-prefix={}={to}'", from.display());
    let flags = [
        remap(Path::new(&sysroot), "/sysroot"),
        remap(&home, "/cargo"),
        remap(&root, "/interdict"),
    ];
    let mut path = linker.parent().context("the linker is in a directory")?.as_os_str().to_owned();
    path.push(":/usr/bin:/bin");
    let mut command = Command::new(CARGO);
    run::without_cargo(&mut command)
        .current_dir(root.join("ebpf"))
        .args(["build", "--quiet", "--release", "--target", TARGET])
        .arg("--config")
        .arg(format!("target.{TARGET}.rustflags=[{}]", flags.join(",")))
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC_WRAPPER", std::env::current_exe()?)
        .env(wrapper::VARIABLE, "1")
        .env("CARGO_TARGET_DIR", &target)
        .env("PATH", path);
    if root.join("ebpf/Cargo.lock").exists() {
        command.arg("--locked");
    }
    run::to_the_end(&mut command).context("the kernel programs did not compile")?;
    Ok(target.join(TARGET).join("release").join(PROGRAM))
}
