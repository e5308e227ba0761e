//! What is recorded beside the committed kernel object: its digest and every version that had a part in it.
//!
//! The file is a small subset of TOML: sections, and keys with quoted strings. It is written and read only here.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{run, tools};

/// One object and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// SHA-256 of the object, in hexadecimal.
    pub sha256: String,
    /// Its length.
    pub bytes: usize,
    /// Tool name to version.
    pub tools: BTreeMap<String, String>,
    /// Crate name to version, as locked.
    pub crates: BTreeMap<String, String>,
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Manifest {
    /// Describes an object that was just built on this machine.
    pub fn of(object: &[u8], lockfile: &Path) -> Result<Self> {
        let rustc = run::text(
            run::without_cargo(&mut Command::new("/usr/bin/rustc"))
                .args(["--version", "--verbose"]),
        )?;
        let field = |name: &str| {
            rustc
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(|value| value.trim().to_owned())
                .with_context(|| format!("rustc does not tell its {name}"))
        };
        let package = |name: &str| {
            run::text(Command::new("dpkg-query").args(["-W", "-f", "${Version}", name]))
        };
        let tools = BTreeMap::from([
            ("rustc".to_owned(), format!("{} ({})", field("release:")?, field("commit-hash:")?)),
            ("rustc-llvm".to_owned(), field("LLVM version:")?),
            ("core-library".to_owned(), package("libstd-rust-web-dev-bpf")?),
            ("llvm".to_owned(), package("llvm-22")?),
            ("bpf-linker".to_owned(), tools::BPF_LINKER.to_owned()),
        ]);
        let crates = locked(&fs::read_to_string(lockfile)?);
        Ok(Self { sha256: digest(object), bytes: object.len(), tools, crates })
    }

    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Result<Self> {
        let mut sections: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
        let mut section = "";
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name;
                continue;
            }
            let pair = line.split_once(" = ").map(|(key, value)| (key, value.trim_matches('"')));
            let Some((key, value)) = pair else {
                bail!("manifest.toml:{}: expected `key = \"value\"`", index + 1);
            };
            sections.entry(section).or_default().insert(key.to_owned(), value.to_owned());
        }
        let object = sections.remove("object").unwrap_or_default();
        let of_object = |key: &str| {
            object.get(key).with_context(|| format!("manifest.toml: [object] has no `{key}`"))
        };
        Ok(Self {
            sha256: of_object("sha256")?.clone(),
            bytes: of_object("bytes")?.parse().context("manifest.toml: bytes")?,
            tools: sections.remove("tools").unwrap_or_default(),
            crates: sections.remove("crates").unwrap_or_default(),
        })
    }

    /// The tools that are other ones there, said in words. Crates are no tools: the lockfile pins them.
    pub fn tool_differences(&self, other: &Self) -> Vec<String> {
        let mut names: Vec<&String> = self.tools.keys().chain(other.tools.keys()).collect();
        names.sort();
        names.dedup();
        names
            .into_iter()
            .filter_map(|name| {
                let (recorded, here) = (self.tools.get(name), other.tools.get(name));
                let said = |version: Option<&String>| {
                    version.cloned().unwrap_or_else(|| "nothing".to_owned())
                };
                (recorded != here)
                    .then(|| format!("{name}: recorded {}, here {}", said(recorded), said(here)))
            })
            .collect()
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "# What interdict.bpf.o is and what built it. Written by `cargo xtask ebpf`,"
        )?;
        writeln!(formatter, "# compared by `cargo xtask ebpf --check`.")?;
        writeln!(
            formatter,
            "\n[object]\nsha256 = \"{}\"\nbytes = \"{}\"",
            self.sha256, self.bytes
        )?;
        for (section, entries) in [("tools", &self.tools), ("crates", &self.crates)] {
            writeln!(formatter, "\n[{section}]")?;
            for (name, version) in entries {
                writeln!(formatter, "{name} = \"{version}\"")?;
            }
        }
        Ok(())
    }
}

/// Name and version of every package in a lockfile.
fn locked(lockfile: &str) -> BTreeMap<String, String> {
    let mut crates = BTreeMap::new();
    let mut name = None;
    for line in lockfile.lines() {
        let value =
            |key: &str| line.strip_prefix(key).map(|rest| rest.trim_matches('"').to_owned());
        if let Some(found) = value("name = ") {
            name = Some(found);
        } else if let Some(version) = value("version = ")
            && let Some(name) = name.take()
        {
            crates.insert(name, version);
        }
    }
    crates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            sha256: digest(b"object"),
            bytes: 6,
            tools: BTreeMap::from([("llvm".to_owned(), "1:22.1.8-1".to_owned())]),
            crates: BTreeMap::from([("aya-ebpf".to_owned(), "0.2.1".to_owned())]),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(Manifest::parse(&manifest().to_string()).unwrap(), manifest());
    }

    #[test]
    fn another_tool_version_is_named_and_another_crate_version_is_not() {
        let mut other = manifest();
        other.crates.insert("aya-ebpf".to_owned(), "0.2.2".to_owned());
        assert!(manifest().tool_differences(&other).is_empty());
        other.tools.insert("llvm".to_owned(), "1:23".to_owned());
        assert_eq!(manifest().tool_differences(&other), ["llvm: recorded 1:22.1.8-1, here 1:23"]);
    }

    #[test]
    fn a_lockfile_gives_names_and_versions() {
        let lock = "version = 4\n\n[[package]]\nname = \"aya-ebpf\"\nversion = \"0.2.1\"\n";
        assert_eq!(locked(lock), BTreeMap::from([("aya-ebpf".to_owned(), "0.2.1".to_owned())]));
    }
}
