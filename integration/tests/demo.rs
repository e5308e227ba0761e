//! The main job, as the README has it: acts are refused, told over HTTPS and proven; their twins are not.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use xtask::run;

/// All leave what they have seen in one folder.
static TURN: Mutex<()> = Mutex::new(());

fn goes_as_expected(arguments: &[&str]) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let xtask = run::built("xtask").expect("it builds");
    let output = Command::new(xtask).arg("demo").args(arguments).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let stumbled = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{stumbled}");
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0)
}

// So named that `cargo xtask test demo` runs them and nothing else.
mod demo {
    #[test]
    fn the_main_job_is_done_in_a_guest() {
        super::goes_as_expected(&[]);
    }

    #[test]
    fn what_is_left_of_it_without_bpf_lsm_is_done_here() {
        if !super::is_root() {
            eprintln!("not tried: this needs root");
            return;
        }
        super::goes_as_expected(&["--native"]);
    }
}
