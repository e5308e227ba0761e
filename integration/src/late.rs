//! Acts on files where there is no BPF LSM: they happen, are judged as their system calls end, and who did them is killed.
//!
//! For this machine's own kernel too, where tracepoints see the whole machine. So every rule is about the performer, which
//! lies at that path in guests only, about paths that only guests have, and passes what it does not know.

use xtask::act::{Act, FileAct, Outcome, Step};

use crate::case::{Case, Told};

/// The configuration of an agent that decides without BPF LSM.
pub const CONFIG: &str =
    "lsm: false\ninterfaces: [all]\nsinks:\n  - file: { path: /out/alerts.ndjson, max_bytes: 0 }\n";

/// Files that the cases are about.
pub const FILES: &[&str] = &[
    "/srv/late/read",
    "/srv/late/linked",
    "/srv/late/written",
    "/srv/late/both",
    "/srv/late/removed",
    "/srv/late/removed-oddly",
    "/srv/late/removed-from-here",
    "/srv/late/renamed",
    "/srv/late/named",
    "/srv/late/cut",
    "/srv/late/attributes",
    "/srv/late/times",
    "/srv/late/place",
    "/srv/late/watched",
    "/srv/late/audited",
    "/srv/soon/file",
    "/srv/soon/other",
    "/srv/soon/incoming",
];

/// The shell commands that make the rest.
pub const PREPARATION: &str = "ln -s /srv/late/linked /srv/soon/link\n";

const KILLED: Outcome = Outcome::Killed(9);

fn file(act: FileAct) -> Step {
    Step::new("", Act::File(act))
}

fn read(path: &str) -> Step {
    Step::new("", Act::Read { path: path.to_owned() })
}

/// All of them.
pub fn cases() -> Vec<Case> {
    let killed = |rule| Told::enforced(rule, "kill");
    let late = |name: &str| format!("/srv/late/{name}");
    let soon = |name: &str| format!("/srv/soon/{name}");
    vec![
        Case::new(
            "who_opens_a_file_is_killed_by_the_file_that_was_opened",
            r#"
- { id: T-LATE-1, title: Read, on: [file.read], when: 'file.path in ["/srv/late/read", "/srv/late/linked"] and process.exe == "/usr/bin/act"', action: block, on_fault: pass }
- { id: T-LATE-2, title: Write, on: [file.write], when: 'file.path == "/srv/late/written" and process.exe == "/usr/bin/act"', action: kill, on_fault: pass }
- { id: T-LATE-3, title: Create, on: [file.create], when: 'file.path == "/srv/late/new" and process.exe == "/usr/bin/act"', action: block, on_fault: pass }
"#,
        )
        .told(read("/srv/late/read"), KILLED, killed("T-LATE-1"))
        .told(read("/srv/soon/link"), KILLED, killed("T-LATE-1"))
        .told(
            Step::new("", Act::Write { path: late("written") }),
            KILLED,
            killed("T-LATE-2"),
        )
        .told(file(FileAct::Create(late("new"))), KILLED, killed("T-LATE-3"))
        .twin(read("/srv/soon/file"))
        .twin(read("/srv/late/written"))
        .twin(read("/srv/late/read").by("/usr/local/bin/trusted"))
        .twin(file(FileAct::Create(soon("new")))),
        Case::new(
            "who_names_a_file_is_killed_by_the_path_that_was_written",
            r#"
- { id: T-LATE-4, title: Remove, on: [file.unlink], when: 'file.path in ["/srv/late/removed*"] and process.exe == "/usr/bin/act"', action: block, on_fault: pass }
- { id: T-LATE-5, title: Rename, on: [file.rename], when: 'file.path in ["/srv/late/renamed", "/srv/late/arrived"] and process.exe == "/usr/bin/act"', action: block, on_fault: pass }
- { id: T-LATE-6, title: Link, on: [file.link], when: 'file.path == "/srv/late/named" and file.new_path == "/srv/soon/name" and process.exe == "/usr/bin/act"', action: block, on_fault: pass }
- { id: T-LATE-7, title: Make, on: [file.mkdir, file.mknod, file.symlink], when: 'file.dir == "/srv/late" and file.name == "made" and process.exe == "/usr/bin/act"', action: block, on_fault: pass }
- { id: T-LATE-8, title: Attributes, on: [file.setattr], when: 'file.path in ["/srv/late/attributes", "/srv/late/times"] and process.exe == "/usr/bin/act"', action: block, on_fault: pass }
- { id: T-LATE-9, title: Mount, on: [file.mount], when: 'file.path == "/srv/late/place" and process.exe == "/usr/bin/act"', action: block, on_fault: pass }
- { id: T-LATE-10, title: Truncate, on: [file.truncate], when: 'file.path == "/srv/late/cut" and process.exe == "/usr/bin/act"', action: block, on_fault: pass }
"#,
        )
        .told(file(FileAct::Remove(late("removed"))), KILLED, killed("T-LATE-4"))
        .told(
            file(FileAct::Remove("/srv//soon/./../late//removed-oddly".to_owned())),
            KILLED,
            killed("T-LATE-4"),
        )
        .told(
            file(FileAct::Remove("../srv/late/removed-from-here".to_owned())),
            KILLED,
            killed("T-LATE-4"),
        )
        .told(
            file(FileAct::Rename(late("renamed"), soon("renamed"))),
            KILLED,
            killed("T-LATE-5"),
        )
        .told(
            file(FileAct::Rename(soon("incoming"), late("arrived"))),
            KILLED,
            killed("T-LATE-5"),
        )
        .told(file(FileAct::Link(late("named"), soon("name"))), KILLED, killed("T-LATE-6"))
        .told(file(FileAct::MakeDirectory(late("made"))), KILLED, killed("T-LATE-7"))
        .told(file(FileAct::ChangeMode(late("attributes"))), KILLED, killed("T-LATE-8"))
        .told(file(FileAct::SetTimes(late("times"))), KILLED, killed("T-LATE-8"))
        .told(
            file(FileAct::Mount("/srv/soon/other".to_owned(), late("place"))),
            KILLED,
            killed("T-LATE-9"),
        )
        .told(file(FileAct::Truncate(late("cut"))), KILLED, killed("T-LATE-10"))
        .twin(file(FileAct::Remove(soon("other"))))
        .twin(file(FileAct::Rename(soon("file"), soon("renamed-too"))))
        .twin(file(FileAct::Link(late("named"), soon("another-name"))))
        .twin(file(FileAct::MakeDirectory(soon("made"))))
        .twin(file(FileAct::LinkSymbolically(soon("made"))))
        .twin(file(FileAct::ChangeMode(soon("file"))))
        .twin(file(FileAct::Truncate(soon("file"))))
        .twin(file(FileAct::Remove(late("cut"))).by("/usr/local/bin/trusted"))
        .twin(read("/srv/soon/file")),
        Case::new(
            "a_rule_that_only_tells_tells_what_happened",
            r#"
- { id: T-LATE-11, title: Watched, on: [file.unlink, file.read], when: 'file.path == "/srv/late/watched" and process.exe == "/usr/bin/act"', action: alert, on_fault: pass }
- { id: T-LATE-12, title: Audited, on: [file.unlink], when: 'file.path == "/srv/late/audited" and process.exe == "/usr/bin/act"', action: block, mode: audit, on_fault: pass }
"#,
        )
        .told(read("/srv/late/watched"), Outcome::Passed, Told::enforced("T-LATE-11", "alert"))
        .told(
            file(FileAct::Remove(late("audited"))),
            Outcome::Passed,
            Told::audited("T-LATE-12", "block"),
        ),
    ]
}
