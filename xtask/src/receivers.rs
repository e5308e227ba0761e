//! Receivers that other people wrote, for tests of the sinks: fetched once into `target/receivers/`, never installed.
//!
//! Debian's packages are unpacked (`root/`), so that no daemon is started and two that exclude each other can both be
//! used; PyPI's go into an environment of their own (`python/`). Tests call [`ready`], which does what is missing, so
//! one of them can be run alone.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{paths, run, step, tools};

/// Unpacked, with the libraries that are not on every machine.
const PACKAGES: &[&str] = &[
    "rsyslog",
    "rsyslog-openssl",
    "libestr0",
    "libfastjson4",
    "liblognorm5",
    "syslog-ng-core",
    "libivykis0",
    "libnet1",
    "libwrap0",
    "libpcre3",
    "libjson-c5",
    "nats-server",
    "prometheus-alertmanager",
];

/// Installed into an environment: a collector, libraries that know the other end of our protocols, and the schema of
/// OCSF with what validates by it.
const PYTHON: &[&str] = &[
    "rotel==0.0.1a15",
    "confluent-kafka==2.16.1",
    "standardwebhooks==1.1.0",
    "cryptography==50.0.2",
    "msgpack==1.2.4",
    "fluent-logger==0.11.1",
    "jsonschema==4.26.0",
    "ocsf-json-schema==1.2.0",
];

/// What can be started.
#[derive(Debug, Clone)]
pub struct Receivers {
    folder: PathBuf,
}

impl Receivers {
    /// A program of an unpacked package, by its path below `/`.
    pub fn program(&self, path: &str) -> Command {
        let mut command = Command::new(self.path(path));
        let libraries = ["usr/lib/x86_64-linux-gnu", "usr/lib/syslog-ng", "lib/x86_64-linux-gnu"];
        let libraries: Vec<String> =
            libraries.iter().map(|folder| self.path(folder).display().to_string()).collect();
        command.env("LD_LIBRARY_PATH", libraries.join(":"));
        command
    }

    /// A file of an unpacked package.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.join("root").join(path)
    }

    /// Python with the packages.
    pub fn python(&self) -> Command {
        Command::new(self.folder.join("python/bin/python3"))
    }
}

/// The receivers, fetched first where they are missing.
pub fn ready() -> Result<Receivers> {
    let folder = paths::target().join("receivers");
    fs::create_dir_all(&folder)?;
    // Several tests may ask at once: one fetches, the others wait for it.
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    let wanted = Sha256::digest(format!("{PACKAGES:?} {PYTHON:?}"));
    let wanted: String = wanted.iter().map(|byte| format!("{byte:02x}")).collect();
    let stamp = folder.join("ready");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(Receivers { folder });
    }
    let running = step::begin("fetching receivers of alerts into target/receivers");
    for part in ["packages", "root", "python"] {
        match fs::remove_dir_all(folder.join(part)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    let packages = folder.join("packages");
    fs::create_dir_all(&packages)?;
    let download = || {
        run::quietly(
            Command::new("apt-get").current_dir(&packages).arg("-q").arg("download").args(PACKAGES),
        )
    };
    if download().is_err() {
        // An index that is too old names packages that have left the mirror.
        if !rustix::process::geteuid().is_root() {
            bail!("apt-get download {PACKAGES:?} failed; run `sudo apt-get update`");
        }
        run::quietly(Command::new("apt-get").args(["-q", "update"]))?;
        download()?;
    }
    for entry in fs::read_dir(&packages)? {
        let unpacking = ["-x".into(), entry?.path(), folder.join("root")];
        run::quietly(Command::new("dpkg-deb").args(unpacking))?;
    }
    let python = folder.join("python");
    let environment = || run::quietly(Command::new("python3").args(["-m", "venv"]).arg(&python));
    if environment().is_err() {
        tools::packages(&["python3-venv"], "receivers of alerts")?;
        environment()?;
    }
    let mut install = Command::new(python.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    run::quietly(install.args(PYTHON)).context("receivers from PyPI")?;
    fs::write(stamp, wanted)?;
    running.done();
    Ok(Receivers { folder })
}
