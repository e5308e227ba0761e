//! Every kernel program loads on every kernel and needs no more of the verifier than its budget allows.
//!
//! `cargo xtask budget --update` writes budgets after a change that is worth what it costs.

use std::path::Path;

use xtask::budget;

fn is_kept_on(kernel: &str) {
    let budgets = budget::budgets().expect("ebpf/budget.json");
    let budget = budgets.get(kernel).unwrap_or_else(|| panic!("{kernel} has no budget"));
    let agent = xtask::run::built_agent().expect("the agent builds");
    let init = Path::new(env!("CARGO_BIN_EXE_guest"));
    let measured = budget::measure(kernel, init, &agent).expect("all programs are loaded");
    let broken = budget::broken(&measured, budget);
    assert!(broken.is_empty(), "on {kernel}:\n{}", broken.join("\n"));
}

// So named that `cargo xtask test budget` runs them.
mod budget_of_programs {
    #[test]
    fn is_kept_on_6_1() {
        super::is_kept_on("6.1");
    }

    #[test]
    fn is_kept_on_6_12() {
        super::is_kept_on("6.12");
    }

    #[test]
    fn is_kept_on_newest() {
        super::is_kept_on("newest");
    }
}
