//! What a policy promises, act by act and verdict by verdict. Each case has its own rules, paths and addresses, so that
//! all of them can be in force at once.

use std::net::SocketAddr;

use xtask::act::{Act, EACCES, EPERM, FileAct, Outcome, SocketAct, Step};

use crate::case::{Case, Told};

fn read(path: &str) -> Step {
    Step::new("", Act::Read { path: path.to_owned() })
}

fn write(path: &str) -> Step {
    Step::new("", Act::Write { path: path.to_owned() })
}

fn run(command: &[&str]) -> Step {
    let command = command.iter().map(|&word| word.to_owned()).collect();
    Step::new("", Act::Run { command })
}

fn connect(to: &str) -> Step {
    Step::new("", Act::Connect { to: address(to) })
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("addresses of cases are written here")
}

fn packet(from: &str) -> Step {
    let (from, to) = (address(from), address("198.51.100.1:99"));
    Step::new("", Act::Send { namespace: "far".to_owned(), from, to })
}

const EPERM_REFUSAL: Outcome = Outcome::Refused(EPERM);

/// All of them.
pub fn all() -> Vec<Case> {
    [
        programs(),
        files(),
        tree(),
        names(),
        sizes(),
        network(),
        ways_out(),
        modes(),
        crate::system::cases(),
    ]
    .concat()
}

fn programs() -> Vec<Case> {
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
    ]
}

fn files() -> Vec<Case> {
    vec![
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

/// Everything that can be done to what lies in a directory. Every act is another rule, so that each is seen to be told.
fn tree() -> Vec<Case> {
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
fn names() -> Vec<Case> {
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
- { id: T-NAME-7, title: Read, on: [file.read], when: 'file.path == "/srv/named/overheard" and process.exe == "/usr/local/bin/web"', action: block, mode: audit }
"#,
        )
        .told(
            file(FileAct::ReadInherited(text("/srv/named/overheard"), text("/usr/local/bin/web"))),
            Outcome::Passed,
            Told::audited("T-NAME-7", "block"),
        )
        .twin(file(FileAct::ReadInherited(
            text("/srv/named/overheard"),
            text("/usr/local/bin/trusted"),
        ))),
        crate::system::replaced(),
        crate::system::impostors(),
    ]
}

/// Paths as long, as deep and as strange as the kernel makes them.
fn sizes() -> Vec<Case> {
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
    vec![kept, told, run_there, crate::system::every_byte()]
}

fn network() -> Vec<Case> {
    vec![
        Case::new(
            "a_blocked_ipv4_address_is_not_connected_to",
            r#"
- id: T-NET-1
  title: An address
  on: [net.connect]
  when: net.dst.ip in ["203.0.113.9"]
  action: block
"#,
        )
        .told(connect("203.0.113.9:443"), EPERM_REFUSAL, Told::enforced("T-NET-1", "block"))
        .told(
            connect("[::ffff:203.0.113.9]:444"),
            EPERM_REFUSAL,
            Told::enforced("T-NET-1", "block"),
        )
        .twin(connect("203.0.113.10:443")),
        Case::new(
            "a_blocked_ipv6_network_is_not_connected_to",
            r#"
- id: T-NET-2
  title: A network
  on: [net.connect]
  when: net.dst.ip in ["2001:db8:bad::/48"]
  action: block
"#,
        )
        .told(connect("[2001:db8:bad::9]:443"), EPERM_REFUSAL, Told::enforced("T-NET-2", "block"))
        .twin(connect("[2001:db8::9]:443")),
        Case::new(
            "a_blocked_port_leaves_other_ports_open",
            r#"
- id: T-NET-3
  title: A port
  on: [net.connect]
  when: net.dst.ip in ["203.0.113.11"] and net.dst.port == 4444
  action: block
"#,
        )
        .told(connect("203.0.113.11:4444"), EPERM_REFUSAL, Told::enforced("T-NET-3", "block"))
        .twin(connect("203.0.113.11:4445")),
        Case::new(
            "a_caller_of_a_deadly_address_is_killed",
            r#"
- id: T-NET-4
  title: Call and die
  on: [net.connect]
  when: net.dst.ip in ["203.0.113.12"]
  action: kill
"#,
        )
        .told(
            connect("203.0.113.12:443"),
            Outcome::Killed(9),
            Told::enforced("T-NET-4", "kill"),
        ),
        Case::new(
            "a_packet_from_a_blocked_network_is_dropped",
            r#"
- id: T-NET-5
  title: Packets from there
  on: [packet.in]
  when: net.src.ip in ["198.51.100.7"]
  action: block
"#,
        )
        .told(packet("198.51.100.7:1000"), Outcome::Lost, Told::enforced("T-NET-5", "block"))
        .twin(packet("198.51.100.8:1000")),
    ]
}

fn socket(act: SocketAct) -> Step {
    Step::new("", Act::Socket(act))
}

fn v4(text: &str) -> std::net::Ipv4Addr {
    text.parse().expect("an address")
}

fn v4_port(text: &str) -> std::net::SocketAddrV4 {
    text.parse().expect("an address and a port")
}

/// Every way out to an address that a rule refuses, and to one that none does.
fn ways_out() -> Vec<Case> {
    let datagram = |to: &str| socket(SocketAct::Datagram { to: address(to) });
    let connected = |to: &str| socket(SocketAct::ConnectedDatagram { to: address(to) });
    let echo = |to: &str| socket(SocketAct::Echo { to: v4(to) });
    let own = |to: &str, pretended: &str| {
        socket(SocketAct::OwnHeader { to: v4(to), pretended: v4(pretended) })
    };
    let fast = |to: &str| socket(SocketAct::FastOpen { to: v4_port(to) });
    let multipath = |to: &str| socket(SocketAct::Multipath { to: v4_port(to) });
    let answer =
        |from: &str, to: &str| socket(SocketAct::Answer { from: v4_port(from), to: v4_port(to) });
    let block = |rule| Told::enforced(rule, "block");
    let look_up =
        |name: &str, to: &str| socket(SocketAct::LookUp { name: name.to_owned(), to: address(to) });
    let look_ups = |names: &[&str], cuts: &[usize]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let to = address("203.0.113.14:53");
        socket(SocketAct::LookUps { names, to, cuts: cuts.to_vec() })
    };
    let resolve = |name: &str, address: &str, asked: bool| {
        let (name, server) = (name.to_owned(), v4_port("203.0.113.18:53"));
        socket(SocketAct::Resolve { name, server, address: v4_port(address), asked })
    };
    let never = "x".repeat(63);
    vec![
        Case::new(
            "a_forbidden_name_is_not_looked_up",
            r#"
- id: T-DNS-1
  title: Names
  on: [net.dns]
  when: net.dst.ip in ["198.51.100.30", "2001:db8:bad::30"] and dns.name in ["evil.example", "**.bad.example"]
  action: block
- id: T-DNS-2
  title: A port
  on: [net.dns]
  when: net.dst.ip in ["198.51.100.30"] and net.dst.port == 853
  action: block
"#,
        )
        .told(look_up("evil.example", "198.51.100.30:53"), EPERM_REFUSAL, block("T-DNS-1"))
        .told(look_up("C.bAD.exAmple", "198.51.100.30:53"), EPERM_REFUSAL, block("T-DNS-1"))
        .told(look_up("a.b.bad.example", "198.51.100.30:53"), EPERM_REFUSAL, block("T-DNS-1"))
        .told(look_up("bad.example", "[::ffff:198.51.100.30]:53"), EPERM_REFUSAL, block("T-DNS-1"))
        .told(
            look_up(&[never.as_str(); 5].join("."), "198.51.100.30:53"),
            EPERM_REFUSAL,
            block("T-DNS-1"),
        )
        .told(datagram("198.51.100.30:853"), EPERM_REFUSAL, block("T-DNS-2"))
        .twin(look_up("www.evil.example", "198.51.100.30:53"))
        .twin(look_up("example", "198.51.100.30:53"))
        .twin(look_up("evil.example", "198.51.100.24:53"))
        .twin(look_up("evil.example", "198.51.100.30:54")),
        Case::new(
            "the_address_of_a_forbidden_name_is_not_connected_to",
            r#"
- id: T-DNS-4
  title: Addresses of names
  on: [net.connect]
  when: dns.name in ["**.named.example"] and net.dst.port == 7443
  action: block
"#,
        )
        .told(
            resolve("a.Named.example", "203.0.113.15:7443", true),
            EPERM_REFUSAL,
            block("T-DNS-4"),
        )
        // It keeps the name, whatever it is asked for later.
        .told(
            resolve("other.example", "203.0.113.15:7443", true),
            EPERM_REFUSAL,
            block("T-DNS-4"),
        )
        .twin(resolve("a.named.example", "203.0.113.15:7444", true))
        .twin(resolve("other.example", "203.0.113.16:7443", true))
        .twin(resolve("a.named.example", "203.0.113.17:7443", false)),
        Case::new(
            "a_forbidden_name_is_not_looked_up_over_a_stream",
            r#"
- id: T-DNS-3
  title: Names over streams
  on: [net.dns]
  when: net.dst.ip in ["203.0.113.14"] and dns.name in ["evil.example"]
  action: block
"#,
        )
        .repeating()
        .told(look_ups(&["evil.example"], &[]), Outcome::Lost, block("T-DNS-3"))
        .told(look_ups(&["good.example", "evil.example"], &[]), Outcome::Lost, block("T-DNS-3"))
        .told(look_ups(&["good.example", "evil.example"], &[32]), Outcome::Lost, block("T-DNS-3"))
        // The length by itself, and a message in two.
        .told(look_ups(&["evil.example"], &[2]), Outcome::Lost, block("T-DNS-3"))
        .told(look_ups(&["good.example"], &[1]), Outcome::Lost, block("T-DNS-3"))
        .told(look_ups(&["good.example"], &[20]), Outcome::Lost, block("T-DNS-3"))
        .twin(look_ups(&["good.example"], &[]))
        .twin(look_ups(&["good.example"], &[2]))
        .twin(look_ups(&["good.example", "www.evil.example", "other.example"], &[34])),
        Case::new(
            "a_datagram_to_a_blocked_address_is_not_sent",
            r#"
- id: T-OUT-1
  title: Datagrams
  on: [net.send]
  when: net.dst.ip in ["198.51.100.21", "2001:db8:bad::/48"] and net.proto == udp
  action: block
- id: T-OUT-15
  title: Datagrams of connected sockets
  on: [net.send]
  when: net.dst.ip in ["198.51.100.22"]
  action: block
"#,
        )
        .told(datagram("198.51.100.21:53"), EPERM_REFUSAL, block("T-OUT-1"))
        .told(connected("198.51.100.22:53"), EPERM_REFUSAL, block("T-OUT-15"))
        .told(datagram("[::ffff:198.51.100.21]:53"), EPERM_REFUSAL, block("T-OUT-1"))
        .told(datagram("[2001:db8:bad::9]:53"), EPERM_REFUSAL, block("T-OUT-1"))
        .twin(datagram("198.51.100.24:53"))
        .twin(connected("198.51.100.24:53")),
        Case::new(
            "raw_packets_to_a_blocked_address_are_not_sent",
            r#"
- id: T-OUT-2
  title: Raw packets
  on: [net.send]
  when: net.dst.ip in ["198.51.100.23"]
  action: block
"#,
        )
        .told(echo("198.51.100.23"), EPERM_REFUSAL, block("T-OUT-2"))
        .twin(echo("198.51.100.24")),
        Case::new(
            "the_header_counts_not_where_a_call_says_it_goes",
            r#"
- id: T-OUT-3
  title: Headers
  on: [net.send]
  when: net.dst.ip in ["198.51.100.25"]
  action: block
"#,
        )
        .told(own("198.51.100.25", "198.51.100.24"), EPERM_REFUSAL, block("T-OUT-3"))
        .twin(own("198.51.100.24", "198.51.100.24")),
        Case::new(
            "connections_are_refused_however_they_are_asked_for",
            r#"
- id: T-OUT-4
  title: Data with the first packet
  on: [net.connect, net.send]
  when: net.dst.ip in ["198.51.100.26"]
  action: block
- id: T-OUT-5
  title: More than one path
  on: [net.connect]
  when: net.dst.ip in ["198.51.100.27"]
  action: block
- id: T-OUT-9
  title: Data with the first packet, by a rule on connections alone
  on: [net.connect]
  when: net.dst.ip in ["198.51.100.29"]
  action: block
"#,
        )
        .told(fast("198.51.100.26:443"), EPERM_REFUSAL, block("T-OUT-4"))
        .told(multipath("198.51.100.27:443"), EPERM_REFUSAL, block("T-OUT-5"))
        .told(fast("198.51.100.29:443"), EPERM_REFUSAL, block("T-OUT-9"))
        .twin(fast("198.51.100.24:443"))
        .twin(multipath("198.51.100.24:443")),
        Case::new(
            "an_accepted_connection_is_no_way_out",
            r#"
- id: T-OUT-6
  title: Answers
  on: [net.send]
  when: net.dst.ip in ["198.51.100.28"] and net.dst.port == 4000 and process.exe == "/usr/bin/act"
  action: block
"#,
        )
        .told(answer("198.51.100.28:4000", "198.51.100.1:7001"), EPERM_REFUSAL, block("T-OUT-6"))
        .twin(answer("198.51.100.28:4001", "198.51.100.1:7002")),
        Case::new(
            "a_connection_from_a_blocked_address_does_not_come_about",
            r#"
- id: T-OUT-13
  title: Callers
  on: [packet.accept]
  when: net.src.ip in ["198.51.100.28"] and net.dst.port == 7030
  action: block
- id: T-OUT-14
  title: Answers to callers
  on: [net.send]
  when: net.dst.ip in ["198.51.100.28"] and net.dst.port == 4003
  action: block
"#,
        )
        .told(answer("198.51.100.28:4002", "198.51.100.1:7030"), Outcome::Lost, block("T-OUT-13"))
        .told(answer("198.51.100.28:4003", "198.51.100.1:7031"), Outcome::Lost, block("T-OUT-14"))
        .twin(answer("198.51.100.27:4002", "198.51.100.1:7030"))
        .twin(answer("198.51.100.28:4004", "198.51.100.1:7031"))
        // Who hears nothing asks again.
        .repeating(),
        Case::new(
            "a_server_is_refused_its_port",
            r#"
- id: T-OUT-7
  title: A port
  on: [net.bind]
  when: net.src.port == 7010
  action: block
- id: T-OUT-8
  title: Listening
  on: [net.listen]
  when: process.exe == "/usr/local/bin/web"
  action: block
- id: T-OUT-10
  title: Accepting
  on: [net.accept]
  when: net.dst.port == 7020
  action: block
"#,
        )
        .told(bind("0.0.0.0:7010"), EPERM_REFUSAL, block("T-OUT-7"))
        .told(bind("[::]:7010"), EPERM_REFUSAL, block("T-OUT-7"))
        .twin(bind("0.0.0.0:7011"))
        .told(listen("0.0.0.0").by("/usr/local/bin/web"), EPERM_REFUSAL, block("T-OUT-8"))
        .twin(listen("0.0.0.0"))
        .told(accept("0.0.0.0:7020"), EPERM_REFUSAL, block("T-OUT-10"))
        .twin(accept("0.0.0.0:7021")),
        Case::new(
            "sockets_below_the_network_are_refused_by_rule",
            r#"
- id: T-OUT-11
  title: Packet sockets
  on: [net.socket]
  when: net.family == packet and process.exe == "/usr/local/bin/web"
  action: block
- id: T-OUT-12
  title: Raw sockets of one program
  on: [net.socket]
  when: net.type == raw and process.exe == "/usr/local/bin/web"
  action: block
"#,
        )
        .told(make(17, 3).by("/usr/local/bin/web"), EPERM_REFUSAL, block("T-OUT-11"))
        .also(block("T-OUT-12"))
        .told(make(2, 3).by("/usr/local/bin/web"), EPERM_REFUSAL, block("T-OUT-12"))
        .twin(make(17, 3).by("/usr/local/bin/trusted"))
        .twin(make(2, 1).by("/usr/local/bin/web")),
    ]
}

fn bind(at: &str) -> Step {
    socket(SocketAct::Bind { at: address(at) })
}

fn listen(at: &str) -> Step {
    socket(SocketAct::Listen { at: at.parse().expect("an address") })
}

fn accept(at: &str) -> Step {
    socket(SocketAct::Accept { at: address(at) })
}

fn make(family: u16, kind: u32) -> Step {
    socket(SocketAct::Make { family, kind })
}

fn modes() -> Vec<Case> {
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
