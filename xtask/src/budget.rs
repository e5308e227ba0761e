//! What the kernel programs may come to on each kernel: instructions the verifier looks at, and size.
//!
//! The verifier gives up at a million instructions, and a change that looks small can multiply them on one kernel alone.
//! `ebpf/budget.json` says how many each program may need there; a guest test loads them all and compares. `cargo xtask
//! budget` shows figures and budgets, `--update` writes new budgets from what it measured. The verifier's states are not
//! held: the kernel tells them only in the log of a load, and what they cost shows in the instructions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::vm::Guest;
use crate::{paths, run, step};

/// Shows what the kernel programs come to on each kernel and what they may.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Write new budgets: what is measured and a tenth more, or as much as a program may need.
    #[arg(long)]
    update: bool,
    /// Only this kernel.
    #[arg(long)]
    kernel: Option<String>,
    /// Another program than this repository's agent.
    #[arg(long, hide = true)]
    agent: Option<PathBuf>,
}

/// What one program comes to, or may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Instructions the verifier looked at.
    pub verified: u32,
    /// Instructions of the program as the kernel translated it.
    pub instructions: u32,
}

/// Programs by name.
pub type Programs = BTreeMap<String, Size>;

/// What no budget is above: half of what the verifier looks at before it gives up (`BPF_COMPLEXITY_LIMIT_INSNS`).
const MOST_VERIFIED: u32 = 500_000;

/// Kernels that are held to a budget.
pub const KERNELS: &[&str] = &["6.1", "6.12", "newest"];

fn file() -> PathBuf {
    paths::root().join("ebpf/budget.json")
}

/// The budgets, by kernel.
pub fn budgets() -> Result<BTreeMap<String, Programs>> {
    let text = fs::read(file()).with_context(|| file().display().to_string())?;
    Ok(serde_json::from_slice(&text)?)
}

/// Lets an agent load all programs on a kernel and asks what they came to. `init` is the program of [`Guest::new`].
pub fn measure(kernel: &str, init: &Path, agent: &Path) -> Result<Programs> {
    let guest = Guest::new(kernel, init)?
        .add(agent, "/usr/bin/interdict")
        .file("/etc/interdict/config.yaml", 0o644, "{}\n")
        .file("/etc/interdict/policies/none.yaml", 0o644, NO_RULES)
        .timeout(Duration::from_secs(300));
    // Its status is about rules; here only what it found counts.
    let outcome = guest.run(&["sh", "-c", "interdict doctor --format json > /out/doctor; true"])?;
    let found: Doctor = serde_json::from_slice(&fs::read(outcome.out.join("doctor"))?)
        .with_context(|| outcome.output.clone())?;
    let _ = fs::remove_dir_all(&outcome.out);
    anyhow::ensure!(
        found.lsm_decides,
        "not all programs can be loaded on {kernel}: {}",
        found.reason.unwrap_or_default()
    );
    let sized = |row: Row| {
        let verified = row.verified_instructions.context("the kernel does not tell")?;
        let instructions = row.instructions.context("the kernel does not tell")?;
        Ok((row.program, Size { verified, instructions }))
    };
    found.programs.into_iter().map(sized).collect()
}

const NO_RULES: &str =
    "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: { name: none }\nspec:\n  rules: []\n";

#[derive(Debug, Deserialize)]
struct Doctor {
    lsm_decides: bool,
    reason: Option<String>,
    programs: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    program: String,
    verified_instructions: Option<u32>,
    instructions: Option<u32>,
}

/// What is wrong: programs beyond their budget, without one, or gone.
pub fn broken(measured: &Programs, budget: &Programs) -> Vec<String> {
    let mut broken = Vec::new();
    for (program, size) in measured {
        let Some(most) = budget.get(program) else {
            broken.push(format!("{program} has no budget"));
            continue;
        };
        for (what, have, most) in [
            ("verified instructions", size.verified, most.verified),
            ("instructions", size.instructions, most.instructions),
        ] {
            if have > most {
                broken.push(format!("{program} needs {have} {what}, its budget is {most}"));
            }
        }
    }
    for program in budget.keys().filter(|program| !measured.contains_key(*program)) {
        broken.push(format!("{program} has a budget and was not loaded"));
    }
    broken
}

/// A tenth more, so that a change somewhere else does not fail for one instruction.
fn with_room(size: Size) -> Size {
    let more = |count: u32| (count + count / 10).next_multiple_of(50);
    let verified = more(size.verified).min(MOST_VERIFIED.max(size.verified));
    Size { verified, instructions: more(size.instructions) }
}

/// Runs the command; answers whether all is within budget.
pub fn main(arguments: &Arguments) -> Result<bool> {
    let mut budgets = budgets().unwrap_or_default();
    let init = std::env::current_exe()?;
    let agent = match &arguments.agent {
        Some(agent) => agent.clone(),
        None => run::built_agent()?,
    };
    let mut well = true;
    for kernel in KERNELS {
        if arguments.kernel.as_deref().is_some_and(|only| only != *kernel) {
            continue;
        }
        let measuring = step::begin(&format!("loading every program on kernel {kernel}"));
        let measured = measure(kernel, &init, &agent)?;
        measuring.done();
        if arguments.update {
            let new = measured.iter().map(|(name, size)| (name.clone(), with_room(*size)));
            budgets.insert((*kernel).to_owned(), new.collect());
        }
        let budget = budgets.get(*kernel).cloned().unwrap_or_default();
        print!("{}", table(kernel, &measured, &budget));
        for problem in broken(&measured, &budget) {
            well = false;
            println!("{kernel}: {problem}");
        }
    }
    if arguments.update {
        let mut text = serde_json::to_string_pretty(&budgets)?;
        text.push('\n');
        fs::write(file(), text)?;
    }
    Ok(well)
}

fn table(kernel: &str, measured: &Programs, budget: &Programs) -> String {
    let mut text = format!(
        "{kernel:<24}{:>10}{:>12}{:>14}{:>12}\n",
        "verified", "of at most", "instructions", "of at most"
    );
    for (program, size) in measured {
        let most = budget.get(program);
        let shown = |number: Option<u32>| number.map_or("-".to_owned(), |most| most.to_string());
        let _ = writeln!(
            text,
            "{program:<24}{:>10}{:>12}{:>14}{:>12}",
            size.verified,
            shown(most.map(|most| most.verified)),
            size.instructions,
            shown(most.map(|most| most.instructions))
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(sizes: &[(&str, u32, u32)]) -> Programs {
        let one = |(name, verified, instructions): &(&str, u32, u32)| {
            ((*name).to_owned(), Size { verified: *verified, instructions: *instructions })
        };
        sizes.iter().map(one).collect()
    }

    #[test]
    fn growth_a_new_program_and_a_missing_one_are_each_told() {
        let budget = programs(&[("grows", 100, 10), ("is_gone", 1, 1), ("fits", 5, 5)]);
        let measured = programs(&[("grows", 101, 10), ("is_new", 1, 1), ("fits", 5, 5)]);
        let broken = broken(&measured, &budget);
        assert_eq!(broken.len(), 3, "{broken:?}");
        for word in ["grows needs 101", "is_new has no budget", "is_gone has a budget"] {
            assert!(broken.iter().any(|problem| problem.contains(word)), "{word}: {broken:?}");
        }
    }

    #[test]
    fn a_budget_leaves_a_tenth_up_to_half_the_limit_and_hides_nothing_above_it() {
        let verified = |count| with_room(Size { verified: count, instructions: 1 }).verified;
        assert_eq!((verified(1_000), verified(480_000)), (1_100, MOST_VERIFIED));
        assert_eq!(verified(600_000), 600_000);
    }

    #[test]
    fn every_kernel_that_is_tested_has_a_budget_below_half_the_verifiers_limit() {
        let budgets = budgets().unwrap();
        for kernel in KERNELS {
            let budget = budgets.get(*kernel).unwrap_or_else(|| panic!("{kernel} has no budget"));
            for (program, size) in budget {
                assert!(
                    size.verified <= MOST_VERIFIED,
                    "{kernel}: {program} may need {}",
                    size.verified
                );
            }
        }
    }
}
