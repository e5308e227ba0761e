//! Files: what may be read, written and done to what lies in a directory, by whichever name.

use xtask::act::{Act, FileAct, Outcome, Step};

use super::{EPERM_REFUSAL, read, run, write};
use crate::case::{Case, Told};

/// Which files may be read and written, and by whom.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "a_file_on_a_file_system_that_a_rule_names_is_not_read",
            r#"
- id: T-FILE-FS
  title: A file on an overlay, not the layer below
  on: [file.read]
  when: file.fs == overlay and file.name == "by-fs"
  action: block
"#,
        )
        .told(read("/srv/layers/by-fs"), EPERM_REFUSAL, Told::enforced("T-FILE-FS", "block"))
        .twin(read("/dev/shm/layers/upper/by-fs")),
        Case::new(
            "a_blocked_file_is_not_read",
            r#"
- id: T-FILE-1
  title: Read by path
  on: [file.read]
  when: file.path in ["/etc/secret/**"] and not process.exe == "/usr/local/bin/trusted"
  action: block
"#,
        )
        .told(read("/etc/secret/key"), EPERM_REFUSAL, Told::enforced("T-FILE-1", "block"))
        .twin(read("/etc/secret/key").by("/usr/local/bin/trusted"))
        .twin(read("/etc/hostname")),
        Case::new(
            "a_file_blocked_for_writing_is_still_read",
            r#"
- id: T-FILE-2
  title: Write by path
  on: [file.write]
  when: file.path == "/etc/protected.conf"
  action: block
"#,
        )
        .told(write("/etc/protected.conf"), EPERM_REFUSAL, Told::enforced("T-FILE-2", "block"))
        .twin(read("/etc/protected.conf"))
        .twin(write("/etc/unprotected.conf")),
        Case::new(
            "a_reader_of_a_deadly_file_is_killed",
            r#"
- id: T-FILE-3
  title: Read and die
  on: [file.read]
  when: file.path == "/etc/deadly"
  action: kill
"#,
        )
        .told(read("/etc/deadly"), Outcome::Killed(9), Told::enforced("T-FILE-3", "kill")),
        Case::new(
            "a_writer_of_a_deadly_file_is_killed",
            r#"
- id: T-FILE-4
  title: Write and die
  on: [file.write]
  when: file.path == "/etc/deadly-to-writers"
  action: kill
"#,
        )
        .told(
            write("/etc/deadly-to-writers"),
            Outcome::Killed(9),
            Told::enforced("T-FILE-4", "kill"),
        )
        .twin(read("/etc/deadly-to-writers")),
        Case::new(
            "an_exception_excuses_from_its_own_rule",
            r#"
- id: T-FILE-5
  title: Everybody but the backup
  on: [file.read]
  when: file.path == "/etc/excepted"
  except:
    - { name: backup, when: process.exe == "/usr/local/bin/trusted", owner: tests, reason: it backs up }
  action: block
"#,
        )
        .told(read("/etc/excepted"), EPERM_REFUSAL, Told::enforced("T-FILE-5", "block"))
        .twin(read("/etc/excepted").by("/usr/local/bin/trusted")),
    ]
}

fn file(act: FileAct) -> Step {
    Step::new("", Act::File(act))
}

/// Reads a file on a mount before and after that was moved, both below `/srv/remounted`. Each time another file.
fn remounted(act: fn(String, String, String, String) -> FileAct, from: &str, to: &str) -> Step {
    let place = |name: &str| format!("/srv/remounted/{name}");
    let what = format!("/srv/mounted/{to}");
    file(act(what, place(from), place(to), "file".to_owned()))
}

/// Everything that can be done to what lies in a directory. Every act is another rule, so that each is seen to be told.
pub(super) fn tree() -> Vec<Case> {
    let path = |name: &str| format!("/srv/kept/{name}");
    let open = |name: &str| format!("/srv/open/{name}");
    let told = |rule| Told::enforced(rule, "block");
    vec![
        Case::new(
            "nothing_is_made_in_a_kept_directory",
            r#"
- { id: T-TREE-1, title: Create, on: [file.create], when: 'file.path in ["/srv/kept/**"]', action: block }
- { id: T-TREE-2, title: Directory, on: [file.mkdir], when: 'file.path in ["/srv/kept/**"]', action: block }
- { id: T-TREE-3, title: Device, on: [file.mknod], when: 'file.path in ["/srv/kept/**"]', action: block }
- { id: T-TREE-4, title: Symbolic link, on: [file.symlink], when: 'file.path in ["/srv/kept/**"]', action: block }
"#,
        )
        .told(file(FileAct::Create(path("new"))), EPERM_REFUSAL, told("T-TREE-1"))
        .told(file(FileAct::MakeDirectory(path("new"))), EPERM_REFUSAL, told("T-TREE-2"))
        .told(file(FileAct::MakeDevice(path("new"))), EPERM_REFUSAL, told("T-TREE-3"))
        .told(file(FileAct::LinkSymbolically(path("new"))), EPERM_REFUSAL, told("T-TREE-4"))
        .twin(file(FileAct::Create(open("new"))))
        .twin(file(FileAct::MakeDirectory(open("new"))))
        .twin(file(FileAct::MakeDevice(open("new"))))
        .twin(file(FileAct::LinkSymbolically(open("new")))),
        Case::new(
            "either_end_of_a_rename_or_link_counts",
            r#"
- { id: T-TREE-5, title: Rename, on: [file.rename], when: 'file.path in ["/srv/kept/renamed", "/srv/kept/target"]', action: block }
- { id: T-TREE-6, title: Link, on: [file.link], when: 'file.path == "/srv/kept/file" or file.path == "/srv/kept/evil"', action: block }
- { id: T-TREE-7, title: Rename to, on: [file.rename], when: 'file.path == "/srv/open/file" and file.new_path endswith ".php"', action: block }
"#,
        )
        .told(
            file(FileAct::Rename(path("renamed"), open("renamed"))),
            EPERM_REFUSAL,
            told("T-TREE-5"),
        )
        .told(
            file(FileAct::Rename(open("file"), path("target"))),
            EPERM_REFUSAL,
            told("T-TREE-5"),
        )
        .told(file(FileAct::Link(path("file"), open("linked"))), EPERM_REFUSAL, told("T-TREE-6"))
        .told(file(FileAct::Link(open("file"), path("evil"))), EPERM_REFUSAL, told("T-TREE-6"))
        .told(
            file(FileAct::Rename(open("file"), open("file.php"))),
            EPERM_REFUSAL,
            told("T-TREE-7"),
        )
        .twin(file(FileAct::Rename(open("file"), open("file.txt"))))
        .twin(file(FileAct::Link(open("file"), open("linked")))),
        Case::new(
            "a_kept_file_is_neither_removed_nor_changed",
            r#"
- { id: T-TREE-8, title: Remove, on: [file.unlink], when: 'file.path == "/srv/kept/removed"', action: block }
- { id: T-TREE-9, title: Truncate, on: [file.truncate], when: 'file.path == "/srv/kept/file"', action: block }
- { id: T-TREE-10, title: Attributes, on: [file.setattr], when: 'file.path == "/srv/kept/file"', action: block }
- { id: T-TREE-11, title: Mount, on: [file.mount], when: 'file.path == "/srv/mounts/here"', action: block }
"#,
        )
        .told(file(FileAct::Remove(path("removed"))), EPERM_REFUSAL, told("T-TREE-8"))
        .told(file(FileAct::Truncate(path("file"))), EPERM_REFUSAL, told("T-TREE-9"))
        .told(file(FileAct::ChangeMode(path("file"))), EPERM_REFUSAL, told("T-TREE-10"))
        .told(file(FileAct::ChangeOwner(path("file"))), EPERM_REFUSAL, told("T-TREE-10"))
        .told(file(FileAct::SetTimes(path("file"))), EPERM_REFUSAL, told("T-TREE-10"))
        .told(file(FileAct::SetAttribute(path("file"))), EPERM_REFUSAL, told("T-TREE-10"))
        .told(file(FileAct::RemoveAttribute(path("file"))), EPERM_REFUSAL, told("T-TREE-10"))
        .told(file(FileAct::SetAccess(path("file"))), EPERM_REFUSAL, told("T-TREE-10"))
        .told(file(FileAct::RemoveAccess(path("file"))), EPERM_REFUSAL, told("T-TREE-10"))
        .told(
            file(FileAct::Mount("/srv/open".to_owned(), "/srv/mounts/here".to_owned())),
            EPERM_REFUSAL,
            told("T-TREE-11"),
        )
        .twin(file(FileAct::Remove(open("file"))))
        .twin(file(FileAct::Truncate(open("file"))))
        .twin(file(FileAct::ChangeMode(open("file"))))
        .twin(file(FileAct::SetTimes(open("file"))))
        .twin(file(FileAct::SetAttribute(open("file"))))
        .twin(file(FileAct::RemoveAttribute(open("file"))))
        .twin(file(FileAct::SetAccess(open("file"))))
        .twin(file(FileAct::RemoveAccess(open("file"))))
        .twin(file(FileAct::ChangeOwner(open("file"))))
        .twin(file(FileAct::Mount("/srv/open".to_owned(), "/srv/mounts/there".to_owned()))),
        Case::new(
            "the_loader_does_not_run_what_may_not_be_mapped",
            r#"
- { id: T-TREE-12, title: Map, on: [mmap.exec], when: 'file.path == "/opt/denied/loaded"', action: block }
"#,
        )
        .told(file(FileAct::Load("/opt/denied/loaded".to_owned())), EPERM_REFUSAL, told("T-TREE-12"))
        .twin(file(FileAct::Load("/opt/allowed/true".to_owned()))),
    ]
}

/// What a rule selects by a path stays what it is under every other name.
pub(super) fn names() -> Vec<Case> {
    let told = |rule| Told::enforced(rule, "block");
    let text = str::to_owned;
    vec![
        Case::new(
            "a_file_is_known_by_its_hard_link_and_bind_mounts",
            r#"
- { id: T-NAME-1, title: Read, on: [file.read], when: 'file.path in ["/srv/named/linked", "/srv/named/bound", "/srv/named/rooted"]', action: block }
"#,
        )
        .told(read("/srv/other/link"), EPERM_REFUSAL, told("T-NAME-1"))
        .told(read("/srv/other/bound"), EPERM_REFUSAL, told("T-NAME-1"))
        .told(read("/srv/other/mount/rooted"), EPERM_REFUSAL, told("T-NAME-1"))
        .told(read("/proc/self/root/srv/named/rooted"), EPERM_REFUSAL, told("T-NAME-1"))
        .twin(read("/srv/unnamed/file")),
        Case::new(
            "a_file_is_known_after_it_was_renamed",
            r#"
- { id: T-NAME-2, title: Read, on: [file.read], when: 'file.path == "/srv/named/moved"', action: block }
"#,
        )
        .told(
            file(FileAct::ReadRenamed(text("/srv/named/moved"), text("/srv/other/moved"))),
            EPERM_REFUSAL,
            told("T-NAME-2"),
        )
        .twin(file(FileAct::ReadRenamed(text("/srv/unnamed/file"), text("/srv/other/file")))),
        Case::new(
            "a_file_is_judged_anew_after_a_directory_above_it_was_moved",
            r#"
- { id: T-NAME-6, title: Read, on: [file.read], when: 'file.path in ["/srv/arrived/there/file", "/srv/other/arrived/file"]', action: block }
"#,
        )
        .told(
            file(FileAct::ReadMoved(
                text("/srv/leaving"),
                text("/srv/arrived"),
                text("there/file"),
            )),
            EPERM_REFUSAL,
            told("T-NAME-6"),
        )
        .told(
            file(FileAct::ReadMoved(
                text("/srv/going"),
                text("/srv/other/arrived"),
                text("file"),
            )),
            EPERM_REFUSAL,
            told("T-NAME-6"),
        )
        .twin(file(FileAct::ReadMoved(
            text("/srv/roaming"),
            text("/srv/gone"),
            text("there/file"),
        ))),
        Case::new(
            "a_file_is_judged_anew_after_a_mount_above_it_was_moved",
            r#"
- { id: T-NAME-7, title: Read, on: [file.read], when: 'file.path in ["/srv/remounted/arrived/file", "/srv/remounted/elsewhere/file"]', action: block }
"#,
        )
        .told(
            remounted(FileAct::ReadRemounted, "there", "arrived"),
            EPERM_REFUSAL,
            told("T-NAME-7"),
        )
        .told(
            remounted(FileAct::ReadRemountedElsewhere, "there", "elsewhere"),
            EPERM_REFUSAL,
            told("T-NAME-7"),
        )
        .twin(remounted(FileAct::ReadRemounted, "there", "gone"))
        .twin(remounted(FileAct::ReadRemountedElsewhere, "there", "gone")),
        Case::new(
            "a_new_file_is_known_by_where_its_directory_belongs",
            r#"
- { id: T-NAME-3, title: Create, on: [file.create, file.mkdir], when: 'file.path in ["/srv/dropbox/**"]', action: block }
"#,
        )
        .told(file(FileAct::Create(text("/srv/other/drop/new"))), EPERM_REFUSAL, told("T-NAME-3"))
        .told(
            file(FileAct::MakeDirectory(text("/srv/other/drop/new"))),
            EPERM_REFUSAL,
            told("T-NAME-3"),
        )
        .twin(file(FileAct::Create(text("/srv/other/root/new")))),
        Case::new(
            "a_program_is_known_by_its_hard_link",
            r#"
- { id: T-NAME-4, title: Run, on: [exec], when: 'exec.path == "/opt/denied/linked"', action: block }
"#,
        )
        .told(run(&["/srv/other/program"]), EPERM_REFUSAL, told("T-NAME-4")),
        Case::new(
            "a_descriptor_is_judged_again_by_whoever_reads_it",
            r#"
- { id: T-NAME-5, title: Read, on: [file.read], when: 'file.path == "/srv/named/inherited" and process.exe == "/usr/local/bin/web"', action: block }
"#,
        )
        .told(
            file(FileAct::ReadInherited(text("/srv/named/inherited"), text("/usr/local/bin/web"))),
            EPERM_REFUSAL,
            told("T-NAME-5"),
        )
        .twin(file(FileAct::ReadInherited(
            text("/srv/named/inherited"),
            text("/usr/local/bin/trusted"),
        ))),
        Case::new(
            "a_descriptor_in_audit_mode_is_told_once",
            r#"
- { id: T-NAME-11, title: Read, on: [file.read], when: 'file.path == "/srv/named/overheard" and process.exe == "/usr/local/bin/web"', action: block, mode: audit }
"#,
        )
        .told(
            file(FileAct::ReadInherited(text("/srv/named/overheard"), text("/usr/local/bin/web"))),
            Outcome::Passed,
            Told::audited("T-NAME-11", "block"),
        )
        .twin(file(FileAct::ReadInherited(
            text("/srv/named/overheard"),
            text("/usr/local/bin/trusted"),
        ))),
        super::system::replaced(),
        super::system::impostors(),
    ]
}

/// Paths as long, as deep and as strange as the kernel makes them.
pub(super) fn sizes() -> Vec<Case> {
    let places = crate::ground::hostile_places();
    let mut kept = Case::new(
        "a_path_of_any_length_and_depth_is_decided",
        r#"
- { id: T-SIZE-1, title: Read, on: [file.read], when: 'file.path in ["/srv/long/kept/**"]', action: block }
"#,
    );
    let mut told = Case::new(
        "a_long_path_is_no_fault_of_other_rules",
        r#"
- { id: T-SIZE-2, title: Read, on: [file.read], when: 'file.path in ["/srv/long/told/**"]', action: alert }
"#,
    );
    let mut run_there = Case::new(
        "a_program_with_a_long_path_is_decided",
        r#"
- { id: T-SIZE-3, title: Run, on: [exec], when: 'exec.path in ["/srv/long/runs/**"]', action: block }
"#,
    );
    for (index, place) in places.iter().enumerate() {
        let (at, number) = (|kind: &str| format!("/srv/long/{kind}/{place}"), index + 1);
        let refused = || Told::enforced("T-SIZE-1", "block");
        kept = kept
            .told(read(&at("kept")), EPERM_REFUSAL, refused())
            .told(read(&format!("/srv/other/kept-{number}")), EPERM_REFUSAL, refused())
            .twin(read(&at("free")));
        let seen = || Told::enforced("T-SIZE-2", "alert");
        told = told.told(read(&at("told")), Outcome::Passed, seen()).told(
            read(&format!("/srv/other/told-{number}")),
            Outcome::Passed,
            seen(),
        );
        run_there = run_there
            .told(run(&[&at("runs")]), EPERM_REFUSAL, Told::enforced("T-SIZE-3", "block"))
            .twin(run(&[&at("free")]));
    }
    vec![kept, told, run_there, super::system::every_byte()]
}
