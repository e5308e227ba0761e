//! Which programs may run, and with which arguments.

use xtask::act::{EACCES, Outcome};

use super::{EPERM_REFUSAL, run};
use crate::case::{Case, Told};

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "a_blocked_program_does_not_start",
            r#"
- id: T-EXEC-1
  title: A program by its path
  on: [exec]
  when: exec.path == "/opt/denied/true"
  action: block
"#,
        )
        .told(run(&["/opt/denied/true"]), EPERM_REFUSAL, Told::enforced("T-EXEC-1", "block"))
        .twin(run(&["/opt/allowed/true"])),
        Case::new(
            "a_block_gives_the_error_its_rule_names",
            r#"
- id: T-EXEC-2
  title: Another error than the usual one
  on: [exec]
  when: exec.path == "/opt/denied/with-eacces"
  action: { block: { errno: EACCES } }
"#,
        )
        .told(
            run(&["/opt/denied/with-eacces"]),
            Outcome::Refused(EACCES),
            Told::enforced("T-EXEC-2", "block"),
        ),
        Case::new(
            "a_blocked_directory_runs_nothing",
            r#"
- id: T-EXEC-3
  title: Programs below a directory
  on: [exec]
  when: exec.path in ["/dev/shm/**"]
  action: block
"#,
        )
        .told(run(&["/dev/shm/deep/er/true"]), EPERM_REFUSAL, Told::enforced("T-EXEC-3", "block"))
        .told(run(&["/dev/shm/true"]), EPERM_REFUSAL, Told::enforced("T-EXEC-3", "block")),
        Case::new(
            "a_killed_program_does_not_run",
            r#"
- id: T-EXEC-4
  title: Start ends in death
  on: [exec]
  when: exec.path == "/opt/denied/killed"
  action: kill
"#,
        )
        .told(
            run(&["/opt/denied/killed"]),
            Outcome::Killed(9),
            Told::enforced("T-EXEC-4", "kill"),
        ),
        Case::new(
            "a_program_with_a_forbidden_argument_is_killed",
            r#"
- id: T-EXEC-5
  title: An argument
  on: [exec]
  when: exec.path == "/opt/allowed/by-argument" and exec.args in ["--forbidden"]
  action: kill
"#,
        )
        .told(
            run(&["/opt/allowed/by-argument", "--forbidden"]),
            Outcome::Killed(9),
            Told::enforced("T-EXEC-5", "kill"),
        )
        .twin(run(&["/opt/allowed/by-argument", "--harmless"])),
        Case::new(
            "a_rule_on_the_caller_spares_other_callers",
            r#"
- id: T-EXEC-6
  title: Only this program may not start it
  on: [exec]
  when: exec.path == "/opt/allowed/for-some" and process.exe == "/usr/local/bin/web"
  action: block
"#,
        )
        .told(
            run(&["/opt/allowed/for-some"]).by("/usr/local/bin/web"),
            EPERM_REFUSAL,
            Told::enforced("T-EXEC-6", "block"),
        )
        .twin(run(&["/opt/allowed/for-some"])),
        Case::new(
            "a_program_that_an_image_came_without_does_not_start",
            r#"
- id: T-EXEC-7
  title: Added to the image, or changed
  on: [exec]
  when: exec.upper_layer and exec.dir == "/srv/layers"
  action: block
"#,
        )
        .told(run(&["/srv/layers/added"]), EPERM_REFUSAL, Told::enforced("T-EXEC-7", "block"))
        .told(run(&["/srv/layers/changed"]), EPERM_REFUSAL, Told::enforced("T-EXEC-7", "block"))
        .twin(run(&["/srv/layers/own"])),
    ]
}
