//! Kernel modules with what they need, in the order in which they must be loaded, unpacked for the guest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::kernel::Kernel;
use crate::run;

/// Which modules a kernel has and what each one needs.
#[derive(Debug)]
pub struct Modules {
    folder: PathBuf,
    /// Name to path and paths of what must be loaded before, nearest last.
    loadable: BTreeMap<String, (String, Vec<String>)>,
    built_in: Vec<String>,
}

/// `veth` for `kernel/drivers/net/veth.ko.xz`; dashes and underscores are the same to the kernel.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

impl Modules {
    /// Reads what `depmod` computed.
    pub fn of(kernel: &Kernel) -> Result<Self> {
        let folder = kernel.modules();
        let dependencies = fs::read_to_string(folder.join("modules.dep"))?;
        let built_in = fs::read_to_string(folder.join("modules.builtin"))?;
        Ok(Self::read(folder, &dependencies, &built_in))
    }

    fn read(folder: PathBuf, dependencies: &str, built_in: &str) -> Self {
        let loadable = dependencies
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, needs)| {
                let needs = needs.split_whitespace().map(str::to_owned).collect();
                (module_name(path), (path.to_owned(), needs))
            })
            .collect();
        Self { folder, loadable, built_in: built_in.lines().map(module_name).collect() }
    }

    /// The files to load, in order, for these names. What is built in needs no file.
    pub fn in_order(&self, names: &[&str]) -> Result<Vec<String>> {
        let mut order = Vec::new();
        for name in names {
            let name = name.replace('-', "_");
            let Some((path, needs)) = self.loadable.get(&name) else {
                if self.built_in.contains(&name) {
                    continue;
                }
                bail!("the kernel in {} has no module `{name}`", self.folder.display());
            };
            // modules.dep lists the nearest first, and the last is what must be loaded first.
            for file in needs.iter().rev().chain([path]) {
                if !order.contains(file) {
                    order.push(file.clone());
                }
            }
        }
        Ok(order)
    }

    /// The name and the unpacked bytes of one file.
    pub fn unpacked(&self, file: &str) -> Result<(String, Vec<u8>)> {
        let path = self.folder.join(file);
        let bytes = match path.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => decompressed("xz", &path)?,
            Some("zst") => decompressed("zstd", &path)?,
            Some("ko") => fs::read(&path)?,
            Some(other) => bail!("{}: modules packed as .{other} are not known", path.display()),
            None => bail!("{}: not a module", path.display()),
        };
        Ok((format!("{}.ko", module_name(file)), bytes))
    }
}

fn decompressed(program: &str, path: &Path) -> Result<Vec<u8>> {
    run::output(Command::new(program).arg("-dc").arg(path))
        .with_context(|| format!("unpacking {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> Modules {
        Modules::read(
            PathBuf::new(),
            "kernel/a/top.ko.xz: kernel/a/mid-dle.ko.xz kernel/b/base.ko\nkernel/a/mid-dle.ko.xz: kernel/b/base.ko\nkernel/b/base.ko:\n",
            "kernel/fs/ext4.ko\n",
        )
    }

    #[test]
    fn what_a_module_needs_is_loaded_before_it_and_once() {
        assert_eq!(
            modules().in_order(&["mid-dle", "top"]).unwrap(),
            ["kernel/b/base.ko", "kernel/a/mid-dle.ko.xz", "kernel/a/top.ko.xz"]
        );
    }

    #[test]
    fn what_is_built_in_needs_no_file_and_what_is_nowhere_is_an_error() {
        assert!(modules().in_order(&["ext4"]).unwrap().is_empty());
        assert!(modules().in_order(&["nowhere"]).is_err());
    }
}
