//! `interdict completions` and `interdict man`: help where people look for it.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::policies::untried;

/// Print completions for a shell.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell.
    shell: Shell,
}

/// Write manual pages, one per command.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Folder to write them to.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// Prints completions.
pub(super) fn completions(arguments: &Completions) -> ExitCode {
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "interdict", &mut std::io::stdout());
    ExitCode::SUCCESS
}

/// Writes manual pages.
pub(super) fn man(arguments: &Man) -> ExitCode {
    match clap_mangen::generate_to(super::Arguments::command(), &arguments.folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => untried(&format_args!("{}: {error}", arguments.folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn every_command_has_a_page_that_names_its_arguments() {
        super::super::Arguments::command().debug_assert();
        let folder = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(super::super::Arguments::command(), folder.path()).unwrap();
        let page = std::fs::read_to_string(folder.path().join("interdict-run.1")).unwrap();
        assert!(page.contains("mode"), "{page}");
    }
}
