//! Stock Debian kernels by short name, fetched once and kept in `target/vm/kernels/NAME/`.
//!
//! Packages come through this machine's own mirror in an apt configuration of our own, so its suites are not touched
//! and apt checks every signature. A metapackage is resolved to what it points at on that day: exact versions leave
//! the mirror, short names do not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{paths, run, step};

struct Source {
    name: &'static str,
    suite: &'static str,
}

const METAPACKAGE: &str = "linux-image-cloud-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

const SOURCES: &[Source] = &[
    Source { name: "5.10", suite: "bullseye-security" },
    Source { name: "6.1", suite: "bookworm-security" },
    Source { name: "6.12", suite: "trixie-security" },
    Source { name: "newest", suite: "sid" },
];

/// A kernel that is on this machine.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The short name it was asked for by.
    pub name: String,
    /// As `uname -r` tells in the guest.
    pub version: String,
    directory: PathBuf,
}

impl Kernel {
    /// The kernel of that short name, fetched first when it is not here.
    pub fn named(name: &str) -> Result<Self> {
        let Some(source) = SOURCES.iter().find(|source| source.name == name) else {
            let known: Vec<&str> = SOURCES.iter().map(|source| source.name).collect();
            bail!("no kernel is called `{name}`; there are {}", known.join(", "));
        };
        let directory = paths::vm().join("kernels").join(name);
        if !directory.join("version").exists() {
            fetch(source, &directory)?;
        }
        let version = fs::read_to_string(directory.join("version"))?.trim().to_owned();
        Ok(Self { name: name.to_owned(), version, directory })
    }

    /// The image that QEMU boots.
    pub fn image(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// The folder of its modules.
    pub fn modules(&self) -> PathBuf {
        self.directory.join("lib/modules").join(&self.version)
    }

    /// Whether BPF is among the security modules this kernel starts without being asked.
    pub fn starts_bpf_lsm(&self) -> bool {
        self.name != "5.10"
    }

    /// Whether BPF programs get no memory for what they keep with inodes and sockets on a processor without `cmpxchg16b`
    /// (`kmalloc_nolock`, since 6.18).
    pub fn needs_cmpxchg16b(&self) -> bool {
        self.name == "newest"
    }
}

fn fetch(source: &Source, directory: &Path) -> Result<()> {
    let running =
        step::begin(&format!("fetching kernel {} from Debian {}", source.name, source.suite));
    let work = paths::vm().join(format!("kernels/.fetch-{}-{}", source.name, std::process::id()));
    let unpacked = work.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    let apt = Apt::new(&work, source.suite)?;
    run::quietly(apt.command("apt-get").args(["-q", "update"]))?;
    let packages = apt.kernel_packages()?;
    for package in &packages {
        run::quietly(apt.command("apt-get").current_dir(&work).args(["-q", "download", package]))?;
    }
    for entry in fs::read_dir(&work)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run::quietly(Command::new("dpkg-deb").arg("-x").arg(path).arg(&unpacked))?;
        }
    }
    let version = arrange(&unpacked, &work.join("kernel"))?;
    // Two runs may fetch at the same time: the first to rename wins, the other's copy is thrown away.
    if fs::rename(work.join("kernel"), directory).is_err() && !directory.join("version").exists() {
        bail!("could not move the kernel to {}", directory.display());
    }
    fs::remove_dir_all(&work)?;
    running.done_with(&version);
    Ok(())
}

/// Brings what packages of different releases contain into one shape, with the dependencies of modules computed.
fn arrange(unpacked: &Path, kernel: &Path) -> Result<String> {
    let modules = ["lib/modules", "usr/lib/modules"]
        .iter()
        .map(|folder| unpacked.join(folder))
        .find(|folder| folder.is_dir())
        .context("the kernel packages hold no modules")?;
    let version = fs::read_dir(&modules)?
        .next()
        .context("the kernel packages hold no modules")??
        .file_name()
        .to_string_lossy()
        .into_owned();
    let image =
        [unpacked.join(format!("boot/vmlinuz-{version}")), modules.join(&version).join("vmlinuz")]
            .into_iter()
            .find(|image| image.is_file())
            .context("the kernel packages hold no image")?;
    fs::create_dir_all(kernel.join("lib/modules"))?;
    fs::copy(image, kernel.join("vmlinuz"))?;
    fs::rename(modules.join(&version), kernel.join("lib/modules").join(&version))?;
    run::quietly(Command::new("depmod").arg("-b").arg(kernel).arg(&version))?;
    fs::write(kernel.join("version"), &version)?;
    Ok(version)
}

/// An apt of our own: one suite, nothing installed, nothing of the machine's configuration changed.
struct Apt {
    configuration: PathBuf,
}

impl Apt {
    fn new(work: &Path, suite: &str) -> Result<Self> {
        let mirror = mirror(suite.ends_with("-security"))?;
        for folder in ["lists/partial", "cache/archives/partial", "state", "empty"] {
            fs::create_dir_all(work.join(folder))?;
        }
        fs::write(work.join("state/status"), "")?;
        fs::write(
            work.join("sources.list"),
            format!("deb [arch=amd64 signed-by={KEYRING}] {mirror} {suite} main\n"),
        )?;
        let at = work.display();
        let configuration = work.join("apt.conf");
        fs::write(
            &configuration,
            format!(
                "Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"{at}/empty\";\n\
                 Dir::Etc::preferencesparts \"{at}/empty\";\nDir::State \"{at}/state\";\n\
                 Dir::State::lists \"{at}/lists\";\nDir::State::status \"{at}/state/status\";\n\
                 Dir::Cache \"{at}/cache\";\nAPT::Architecture \"amd64\";\nAPT::Architectures {{\"amd64\";}};\n\
                 APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n\
                 Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
            ),
        )?;
        Ok(Self { configuration })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.configuration);
        command
    }

    fn kernel_dependencies(&self, package: &str) -> Result<Vec<String>> {
        let text = run::text(self.command("apt-cache").args(["depends", package]))?;
        Ok(text.lines().filter_map(kernel_package).collect())
    }

    /// The image the metapackage stands for today, and the packages its parts are in.
    fn kernel_packages(&self) -> Result<Vec<String>> {
        let image = self
            .kernel_dependencies(METAPACKAGE)?
            .into_iter()
            .find(|package| package.starts_with("linux-image-"))
            .with_context(|| format!("{METAPACKAGE} points at no kernel"))?;
        let mut packages = self.kernel_dependencies(&image)?;
        packages.push(image);
        packages.sort();
        packages.dedup();
        Ok(packages)
    }
}

/// A package with a part of a kernel in it, from one line of `apt-cache depends`.
fn kernel_package(line: &str) -> Option<String> {
    let name = line.trim_start().trim_start_matches('|').strip_prefix("Depends: ")?.trim();
    let rest = ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))?;
    rest.starts_with(|first: char| first.is_ascii_digit()).then(|| name.to_owned())
}

/// The mirror this machine itself uses, for security updates or for everything else.
fn mirror(security: bool) -> Result<String> {
    let text =
        run::text(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]))?;
    text.lines()
        .map(|uri| uri.trim_end_matches('/'))
        .find(|uri| uri.ends_with("-security") == security)
        .map(str::to_owned)
        .context("apt has no Debian mirror to fetch a kernel from")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_with_parts_of_a_kernel_are_taken() {
        assert_eq!(
            kernel_package("  Depends: linux-image-6.1.0-56-cloud-amd64"),
            Some("linux-image-6.1.0-56-cloud-amd64".to_owned())
        );
        assert_eq!(
            kernel_package(" |Depends: linux-modules-7.2.13+deb14-cloud-amd64"),
            Some("linux-modules-7.2.13+deb14-cloud-amd64".to_owned())
        );
        assert_eq!(kernel_package("  Depends: linux-base"), None);
        assert_eq!(kernel_package("  Depends: kmod"), None);
        assert_eq!(kernel_package("  Recommends: linux-image-6.1.0-56-amd64"), None);
    }
}
