//! What the tasks need beyond a Rust toolchain: looked for first, installed when missing, and said before it is done.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{paths, run, step};

/// The linker for kernel programs, and the release that built the committed object.
pub const BPF_LINKER: &str = "0.13.0";

/// What the kernel object is built with: the compiler, its core library for BPF, and LLVM for linker and strip.
pub const EBPF_PACKAGES: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22",
    "llvm-22-dev",
    "libpolly-22-dev",
];

/// What a guest is made of and runs on.
pub const GUEST_PACKAGES: &[&str] =
    &["qemu-system-x86", "busybox-static", "kmod", "xz-utils", "zstd", "iproute2", "binutils"];

fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", package])
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

/// Installs the packages that are missing, after saying which and why.
pub fn packages(names: &[&str], why: &str) -> Result<()> {
    let missing: Vec<&str> = names.iter().copied().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !rustix::process::geteuid().is_root() {
        bail!(
            "{why} needs Debian packages: run `sudo apt-get install --no-install-recommends {list}`"
        );
    }
    let running = step::begin(&format!("installing Debian packages for {why}: {list}"));
    let apt = |arguments: &[&str]| {
        run::quietly(
            Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments),
        )
    };
    apt(&["-q", "update"])?;
    let mut install = vec!["-q", "-y", "install", "--no-install-recommends"];
    install.extend(&missing);
    apt(&install)?;
    running.done();
    Ok(())
}

/// The path of bpf-linker in the recorded version, built first when it is not there.
pub fn bpf_linker() -> Result<PathBuf> {
    let program = paths::tools().join("bin/bpf-linker");
    let wanted = format!("bpf-linker {BPF_LINKER}");
    if Command::new(&program)
        .arg("--version")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == wanted)
    {
        return Ok(program);
    }
    let running = step::begin(&format!("building {wanted} into target/tools (about a minute)"));
    run::quietly(
        run::without_cargo(&mut Command::new("cargo"))
            .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--force"])
            .args(["--no-default-features", "--features", "llvm-22", "--root"])
            .arg(paths::tools())
            .env("LLVM_PREFIX", "/usr/lib/llvm-22")
            .env("CARGO_TARGET_DIR", paths::tools().join("build")),
    )
    .context("bpf-linker could not be built")?;
    // Only the program is wanted; what it was built from is half a gigabyte.
    let _ = std::fs::remove_dir_all(paths::tools().join("build"));
    running.done();
    Ok(program)
}
