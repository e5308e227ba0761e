//! Where nobody lets a program watch directories move, the kernel's own lock is asked whether anything was renamed: what is
//! remembered of paths is no more to be believed then than where moves are counted.

use std::path::Path;

use interdict_integration::cases;
use interdict_integration::observe::{all_promises_hold, observe_with};

const CASES: &[&str] = &[
    "a_blocked_file_is_not_read",
    "a_file_is_known_after_it_was_renamed",
    "a_file_is_judged_anew_after_a_directory_above_it_was_moved",
    "a_file_is_judged_anew_after_a_mount_above_it_was_moved",
];

const CONFIG: &str =
    "interfaces: []\nsinks:\n  - file: { path: /out/alerts.ndjson, max_bytes: 0 }\n";

#[test]
fn a_file_is_judged_anew_after_a_move_that_no_program_has_counted() {
    let chosen = cases::chosen(CASES);
    let init = Path::new(env!("CARGO_BIN_EXE_guest"));
    let without = [("INTERDICT_WITHOUT", "move_begins,move_ends")];
    let observed = observe_with("6.1", init, &chosen, CONFIG, &without).expect("the run");
    all_promises_hold(&chosen, &observed);
    // The control: with them left in, this line would be missing.
    let log = std::fs::read_to_string(observed.out.join("agent.log")).expect("the agent's log");
    for program in ["move_begins", "move_ends"] {
        assert!(
            log.lines().any(
                |line| line.contains("going on without it, as asked") && line.contains(program)
            ),
            "{program} was not left out:\n{log}"
        );
    }
}
