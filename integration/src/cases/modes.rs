//! Modes, exceptions and profiles: who is told what, and who is refused.

use xtask::act::Outcome;

use super::{EPERM_REFUSAL, connect, read, run};
use crate::case::{Case, Told};

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "a_rule_in_audit_mode_tells_and_does_not_act",
            r#"
- id: T-MODE-1
  title: Only told
  mode: audit
  on: [exec]
  when: exec.path == "/opt/allowed/audited"
  action: block
- id: T-MODE-2
  title: Only told
  mode: audit
  on: [file.read]
  when: file.path == "/etc/audited"
  action: kill
- id: T-MODE-3
  title: Only told
  mode: audit
  on: [net.connect]
  when: net.dst.ip in ["203.0.113.13"]
  action: block
"#,
        )
        .told(run(&["/opt/allowed/audited"]), Outcome::Passed, Told::audited("T-MODE-1", "block"))
        .told(read("/etc/audited"), Outcome::Passed, Told::audited("T-MODE-2", "kill"))
        .told(
            connect("203.0.113.13:443"),
            Outcome::Passed,
            Told::audited("T-MODE-3", "block"),
        ),
        Case::new(
            "an_alert_tells_and_lets_through",
            r#"
- id: T-MODE-4
  title: Told
  on: [file.read]
  when: file.path == "/etc/watched"
  action: alert
"#,
        )
        .told(read("/etc/watched"), Outcome::Passed, Told::enforced("T-MODE-4", "alert")),
        Case::new(
            "the_strongest_of_several_rules_acts_and_all_are_told",
            r#"
- id: T-MODE-5
  title: Told
  on: [file.read]
  when: file.path == "/etc/both"
  action: alert
- id: T-MODE-6
  title: Refused
  on: [file.read]
  when: file.path in ["/etc/bot?"]
  action: block
"#,
        )
        .told(read("/etc/both"), EPERM_REFUSAL, Told::enforced("T-MODE-6", "block"))
        .also(Told::enforced("T-MODE-5", "block")),
    ]
}
