//! Cases of acts on the system and of facts about processes: scripts that call the kernel by number (x86-64).

use xtask::act::{Act, EPERM, Outcome, Step};

use crate::case::{Case, Told};

const REFUSED: Outcome = Outcome::Refused(EPERM);

/// What scripts share: `done` ends well or with the error, `junk` accepts that the kernel found nothing to run in a
/// file, `start` starts another interpreter that says that it runs, and waits.
const PRELUDE: &str = r#"
sub done { exit($_[0] >= 0 ? 0 : 64 + $!) }
sub junk { exit($_[0] >= 0 || $! == 8 ? 0 : 64 + $!) }
sub start {
    my ($program) = @_;
    pipe(my $running, my $ours);
    my $pid = fork();
    if ($pid == 0) { syscall(33, fileno($ours), 1); exec($program, "-e", q($| = 1; print 1; sleep 5)) }
    close($ours);
    sysread($running, my $word, 1);
    return $pid;
}
"#;

fn script(interpreter: &str, what: &str, code: &str) -> Step {
    Step::new(
        "",
        Act::Script {
            interpreter: format!("/opt/sys/{interpreter}"),
            what: what.to_owned(),
            code: format!("{PRELUDE}{code}"),
        },
    )
}

/// One case in which a script is refused and its twins are not.
fn refused(name: &'static str, rules: &'static str, rule: &'static str, step: Step) -> Case {
    Case::new(name, rules).told(step, REFUSED, Told::enforced(rule, "block"))
}

/// A name of every byte a name can have: 254 of them, in files of two directories.
pub(super) fn every_byte() -> Case {
    let read = |folder: &str| {
        let code = format!(
            "mkdir('{folder}'); my $name = join('', map {{ chr }} grep {{ $_ != 47 }} 1..255);
             open(my $new, '>', \"{folder}/$name\") or exit(64 + $!); close($new);
             open(my $file, '<', \"{folder}/$name\") or exit(64 + $!); exit(0);"
        );
        script("bystander", &format!("read a name of every byte in {folder}"), &code)
    };
    refused(
        "a_name_of_every_byte_is_decided",
        r#"
- { id: T-SIZE-4, title: Read, on: [file.read], when: 'file.path in ["/srv/bytes/**"]', action: block }
"#,
        "T-SIZE-4",
        read("/srv/bytes"),
    )
    .twin(read("/srv/unbytes"))
}

/// A file replaces another and is read by a link that it had before.
pub(super) fn replaced() -> Case {
    let replace = |folder: &str| {
        let code = format!(
            "unlink('/srv/other/fresh'); unlink('/srv/other/second');
             open(my $new, '>', '/srv/other/fresh') or exit(64 + $!); close($new);
             link('/srv/other/fresh', '/srv/other/second') or exit(64 + $!);
             rename('/srv/other/fresh', '{folder}/replaced') or exit(64 + $!);
             open(my $file, '<', '/srv/other/second') or exit(64 + $!); exit(0);"
        );
        script("bystander", &format!("replace a file in {folder}, and read it by a link"), &code)
    };
    refused(
        "what_replaces_a_kept_file_is_known_before_it_is_opened",
        r#"
- { id: T-NAME-8, title: Read, on: [file.read], when: 'file.path == "/srv/named/replaced"', action: block }
"#,
        "T-NAME-8",
        replace("/srv/named"),
    )
    .twin(replace("/srv/unnamed"))
}

/// Programs that are mounted over the one an exception names, in mounts of their own.
pub(super) fn impostors() -> Case {
    const READ: &str = r#"exec('/usr/local/bin/trusted', '-e',
        q(open(my $file, '<', '/srv/named/entrusted') or exit(64 + $!); exit(0)));"#;
    // Mounts of its own, which nobody else gets.
    const PRIVATE: &str = "syscall(272, 0x20000) == 0 or exit(64 + $!);
         my ($nothing, $root) = ('none', '/');
         syscall(165, $nothing, $root, $nothing, 0x44000, 0) == 0 or exit(64 + $!);";
    let bound = format!(
        "{PRIVATE}
         my ($from, $to, $kind) = ('/opt/sys/bystander', '/usr/local/bin/trusted', 'none');
         syscall(165, $from, $to, $kind, 4096, 0) == 0 or exit(64 + $!);
         {READ}"
    );
    let covered = format!(
        "{PRIVATE}
         my ($from, $to, $kind) = ('none', '/usr/local/bin', 'tmpfs');
         syscall(165, $from, $to, $kind, 0, 0) == 0 or exit(64 + $!);
         open(my $in, '<:raw', '/opt/sys/bystander') or exit(64 + $!);
         open(my $out, '>:raw', '/usr/local/bin/trusted') or exit(64 + $!);
         while (read($in, my $part, 65536)) {{ print $out $part }}
         close($out); chmod(0755, '/usr/local/bin/trusted');
         {READ}"
    );
    let told = || Told::enforced("T-NAME-9", "block");
    let read = Act::Read { path: "/srv/named/entrusted".to_owned() };
    Case::new(
        "a_program_mounted_over_another_is_not_taken_for_it",
        r#"
- { id: T-NAME-9, title: Read, on: [file.read], when: 'file.path == "/srv/named/entrusted" and not process.exe == "/usr/local/bin/trusted"', action: block }
"#,
    )
    .told(script("bystander", "bind a program over a trusted one", &bound), REFUSED, told())
    .told(script("bystander", "mount a program over a trusted one", &covered), REFUSED, told())
    .twin(Step::new("", read).by("/usr/local/bin/trusted"))
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    [on_processes(), on_credentials(), on_namespaces(), on_the_kernel(), facts(), system_calls()]
        .concat()
}

fn on_processes() -> Vec<Case> {
    let attach = |target: &str| {
        let code = format!(
            "my $pid = start('/opt/sys/{target}');
             my $answer = syscall(101, 16, $pid, 0, 0);
             my $error = $!;
             kill('KILL', $pid);
             $! = $error;
             done($answer);"
        );
        script("tracer", &format!("attach to {target}"), &code)
    };
    let signal = |target: &str, signal: u32| {
        let code = format!(
            "my $pid = start('/opt/sys/{target}');
             done(syscall(62, $pid, {signal}));"
        );
        script("killer", &format!("signal {signal} to {target}"), &code)
    };
    vec![
        refused(
            "a_process_that_may_not_be_traced_is_not",
            r#"
- id: T-SYS-1
  title: Tracing
  on: [ptrace]
  when: process.exe == "/opt/sys/tracer" and target.exe == "/opt/sys/victim" and ptrace.mode == attach
  action: block
"#,
            "T-SYS-1",
            attach("victim"),
        )
        .twin(attach("bystander")),
        refused(
            "a_signal_that_may_not_be_sent_is_not",
            r#"
- id: T-SYS-2
  title: Signals
  on: [signal]
  when: process.exe == "/opt/sys/killer" and target.exe == "/opt/sys/victim" and signal.number in [TERM, KILL] and target.uid == 0
  action: block
"#,
            "T-SYS-2",
            signal("victim", 15),
        )
        .twin(signal("victim", 10))
        .twin(signal("bystander", 15)),
    ]
}

fn on_credentials() -> Vec<Case> {
    let call = |what: &str, code: &str| script("ids", what, &format!("done({code});"));
    vec![
        refused(
            "a_user_id_that_may_not_be_taken_is_not",
            r#"
- id: T-SYS-3
  title: Becoming somebody
  on: [setuid]
  when: process.exe == "/opt/sys/ids" and setuid.uid == 4242
  action: block
"#,
            "T-SYS-3",
            call("setuid to 4242", "syscall(105, 4242)"),
        )
        .twin(call("setuid to 4243", "syscall(105, 4243)")),
        refused(
            "a_group_id_that_may_not_be_taken_is_not",
            r#"
- id: T-SYS-4
  title: Joining somebody
  on: [setgid]
  when: process.exe == "/opt/sys/ids" and setgid.gid in [4242..4300]
  action: block
"#,
            "T-SYS-4",
            call("setgid to 4242", "syscall(106, 4242)"),
        )
        .twin(call("setgid to 4241", "syscall(106, 4241)")),
        refused(
            "groups_that_may_not_change_do_not",
            r#"
- id: T-SYS-5
  title: Supplementary groups
  on: [setgroups]
  when: process.exe == "/opt/sys/ids"
  action: block
"#,
            "T-SYS-5",
            call("setgroups", "syscall(116, 0, 0)"),
        )
        .twin(script("other", "setgroups", "done(syscall(116, 0, 0));")),
        refused(
            "a_capability_that_may_not_be_used_is_not",
            r#"
- id: T-SYS-6
  title: Changing the root
  on: [cap.use]
  when: process.exe == "/opt/sys/caps" and cap.name == sys_chroot
  action: block
"#,
            "T-SYS-6",
            script("caps", "chroot", "my $root = '/'; done(syscall(161, $root));"),
        )
        .twin(script("other", "chroot", "my $root = '/'; done(syscall(161, $root));")),
        Case::new(
            "who_becomes_somebody_deadly_dies",
            r#"
- id: T-SYS-7
  title: Become and die
  on: [setuid]
  when: process.exe == "/opt/sys/ids" and setuid.uid == 4666
  action: kill
"#,
        )
        .told(
            call("setuid to 4666", "syscall(105, 4666)"),
            Outcome::Killed(9),
            Told::enforced("T-SYS-7", "kill"),
        ),
    ]
}

fn on_namespaces() -> Vec<Case> {
    const IPC: u32 = 0x0800_0000;
    const USER: u32 = 0x1000_0000;
    const UTS: u32 = 0x0400_0000;
    let unshare = |what: &str, flags: u32| {
        script("namespaces", what, &format!("done(syscall(272, {flags}));"))
    };
    let clone = |what: &str, flags: u32| {
        let code = format!(
            "my $pid = syscall(56, {}, 0, 0, 0, 0);
             if ($pid == 0) {{ exit 0 }}
             done($pid);",
            flags | 17
        );
        script("namespaces", what, &code)
    };
    let enter = |interpreter: &str| {
        let code = format!(
            "open(my $namespace, '<', '/proc/self/ns/uts') or done(-1);
             done(syscall(308, fileno($namespace), {UTS}));"
        );
        script(interpreter, "setns to uts", &code)
    };
    vec![
        refused(
            "a_namespace_that_may_not_be_made_is_not",
            r#"
- id: T-SYS-8
  title: Names of the host
  on: [ns.create]
  when: process.exe == "/opt/sys/namespaces" and ns.type == uts and ns.call in [unshare, clone]
  action: block
"#,
            "T-SYS-8",
            unshare("unshare uts", UTS),
        )
        .told(
            unshare("unshare uts and ipc", UTS | IPC),
            REFUSED,
            Told::enforced("T-SYS-8", "block"),
        )
        .told(clone("clone with uts", UTS), REFUSED, Told::enforced("T-SYS-8", "block"))
        .twin(unshare("unshare ipc", IPC))
        .twin(clone("clone with ipc", IPC)),
        refused(
            "a_user_namespace_that_may_not_be_made_is_not",
            r#"
- id: T-SYS-9
  title: Users
  on: [ns.create]
  when: process.exe == "/opt/sys/namespaces" and ns.type == user
  action: block
"#,
            "T-SYS-9",
            unshare("unshare user", USER),
        )
        .told(
            unshare("unshare user and ipc", USER | IPC),
            REFUSED,
            Told::enforced("T-SYS-9", "block"),
        )
        .told(clone("clone with user", USER), REFUSED, Told::enforced("T-SYS-9", "block")),
        refused(
            "a_namespace_that_may_not_be_entered_is_not",
            r#"
- id: T-SYS-10
  title: Entering
  on: [ns.create]
  when: process.exe == "/opt/sys/namespaces" and ns.call == setns and ns.type == uts
  action: block
"#,
            "T-SYS-10",
            enter("namespaces"),
        )
        .twin(enter("other")),
    ]
}

fn on_the_kernel() -> Vec<Case> {
    let map = |interpreter: &str| {
        let code = "my $array = pack('L4', 2, 4, 4, 1) . \"\\0\" x 112;
                    done(syscall(321, 0, $array, 128));";
        script(interpreter, "a BPF map", code)
    };
    let event = |interpreter: &str| {
        let code = "my $dummy = pack('LLQ', 1, 112, 9) . \"\\0\" x 96;
                    done(syscall(298, $dummy, 0, -1, -1, 0));";
        script(interpreter, "a performance event", code)
    };
    let module = |name: &str| {
        let code = format!(
            "open(my $module, '<', '/opt/sys/{name}') or done(-1);
             my $parameters = '';
             junk(syscall(313, fileno($module), $parameters, 0));"
        );
        script("modules", &format!("load {name}"), &code)
    };
    let in_memory = |interpreter: &str| {
        let code = "my $module = \"\\x7f\" x 4096;
                    my $parameters = '';
                    junk(syscall(175, $module, 4096, $parameters));";
        script(interpreter, "load a module from memory", code)
    };
    let kernel = |name: &str| {
        let code = format!(
            "open(my $kernel, '<', '/opt/sys/{name}') or done(-1);
             my $line = \"\\0\";
             junk(syscall(320, fileno($kernel), -1, 1, $line, 4));"
        );
        script("kexec", &format!("load {name}"), &code)
    };
    vec![
        refused(
            "a_bpf_command_that_is_blocked_fails",
            r#"
- id: T-SYS-11
  title: Maps
  on: [bpf]
  when: process.exe == "/opt/sys/bpf" and bpf.command == map_create
  action: block
"#,
            "T-SYS-11",
            map("bpf"),
        )
        .twin(map("other")),
        refused(
            "a_performance_event_that_is_blocked_is_not_opened",
            r#"
- id: T-SYS-12
  title: Events
  on: [perf.open]
  when: process.exe == "/opt/sys/perf" and perf.kind == open
  action: block
"#,
            "T-SYS-12",
            event("perf"),
        )
        .twin(event("other")),
        refused(
            "a_module_that_is_blocked_is_not_read",
            r#"
- id: T-SYS-13
  title: A module by its path
  on: [module.load]
  when: process.exe == "/opt/sys/modules" and file.path == "/opt/sys/junk.ko"
  action: block
"#,
            "T-SYS-13",
            module("junk.ko"),
        )
        .twin(module("other.ko")),
        refused(
            "a_module_from_memory_is_blocked_where_files_are_listed",
            r#"
- id: T-SYS-14
  title: Modules from anywhere else
  on: [module.load]
  when: process.exe == "/opt/sys/modules" and not file.path in ["/opt/sys/**"]
  action: block
"#,
            "T-SYS-14",
            in_memory("modules"),
        )
        .twin(in_memory("other")),
        refused(
            "a_kernel_that_is_blocked_is_not_loaded",
            r#"
- id: T-SYS-15
  title: Another kernel
  on: [kexec]
  when: process.exe == "/opt/sys/kexec" and file.path == "/opt/sys/kernel"
  action: block
"#,
            "T-SYS-15",
            kernel("kernel"),
        )
        .twin(kernel("other-kernel")),
    ]
}

fn facts() -> Vec<Case> {
    let open = |what: &str, before: &str, path: &str| {
        let code = format!("{before}\nopen(my $file, '<', '{path}') or done(-1);\ndone(0);");
        script("facts", what, &code)
    };
    let container = format!("/sys/fs/cgroup/docker-{}.scope", "0123456789abcdef".repeat(4));
    let join = |group: &str| {
        format!(
            "mkdir('{group}'); open(my $group, '>', '{group}/cgroup.procs') or exit 3;
             print $group $$; close($group) or exit 4;"
        )
    };
    vec![
        refused(
            "a_rule_on_the_working_directory_sees_it",
            r#"
- id: T-FACT-1
  title: Where it works
  on: [file.read]
  when: file.path == "/etc/by-cwd" and process.cwd in ["/opt/sys/**"]
  action: block
"#,
            "T-FACT-1",
            open("read in /opt/sys", "chdir('/opt/sys');", "/etc/by-cwd"),
        )
        .twin(open("read in /opt", "chdir('/opt');", "/etc/by-cwd"))
        .twin(open("read in /", "chdir('/');", "/etc/by-cwd")),
        refused(
            "a_rule_on_capabilities_sees_those_in_effect",
            r#"
- id: T-FACT-2
  title: What it could do
  on: [file.read]
  when: file.path == "/etc/by-caps" and process.caps in [sys_admin, CAP_SYS_PTRACE]
  action: block
"#,
            "T-FACT-2",
            open("read with capabilities", "", "/etc/by-caps"),
        )
        .twin(open("read without", "syscall(105, 1000);", "/etc/by-caps")),
        refused(
            "a_rule_on_the_login_sees_whose_it_was",
            r#"
- id: T-FACT-3
  title: Whose login
  on: [file.read]
  when: file.path == "/etc/by-login" and process.loginuid == 4242
  action: block
"#,
            "T-FACT-3",
            open(
                "read in a login of 4242",
                "open(my $login, '>', '/proc/self/loginuid') or exit 3; print $login 4242; close($login) or exit 4;",
                "/etc/by-login",
            ),
        )
        .twin(open("read without a login", "", "/etc/by-login")),
        refused(
            "a_rule_on_sockets_as_standard_streams_sees_them",
            r#"
- id: T-FACT-4
  title: Spoken to over a socket
  on: [file.read]
  when: file.path == "/etc/by-socket" and process.stdio_is_socket
  action: block
"#,
            "T-FACT-4",
            open(
                "read with a socket as input",
                "socketpair(my $one, my $other, 1, 1, 0); syscall(33, fileno($one), 0);",
                "/etc/by-socket",
            ),
        )
        .twin(open(
            "read with a socket elsewhere",
            "socketpair(my $one, my $other, 1, 1, 0);",
            "/etc/by-socket",
        )),
        refused(
            "a_cgroup_named_as_a_container_is_one",
            r#"
- id: T-FACT-5
  title: Only in containers
  on: [file.read]
  when: file.path == "/etc/by-container" and container.id != host
  action: block
"#,
            "T-FACT-5",
            open("read in a container's cgroup", &join(&container), "/etc/by-container"),
        )
        .told(
            open("read below it", &join(&format!("{container}/init.scope")), "/etc/by-container"),
            REFUSED,
            Told::enforced("T-FACT-5", "block"),
        )
        .twin(open("read on the host", &join("/sys/fs/cgroup/docker-01234567.scope"), "/etc/by-container")),
    ]
}

fn system_calls() -> Vec<Case> {
    let made = |name, rules, rule, step: Step| {
        Case::new(name, rules).told(step, Outcome::Passed, Told::enforced(rule, "alert"))
    };
    let memory = |interpreter: &str| {
        let code = "my $name = 'x'; done(syscall(319, $name, 0));";
        script(interpreter, "memfd_create", code)
    };
    let duplicate = |onto: u32| {
        let code = format!(
            "socketpair(my $one, my $other, 1, 1, 0); done(syscall(33, fileno($one), {onto}));"
        );
        script("calls", &format!("a socket duplicated onto {onto}"), &code)
    };
    let open = |path: &str| {
        let code = format!("open(my $file, '<', '{path}'); done(0);");
        script("calls", &format!("open {path}"), &code)
    };
    let old_way = Step::new("", Act::Run { command: vec!["/opt/sys/int80".to_owned()] });
    vec![
        made(
            "a_system_call_is_told_by_its_name",
            r#"
- id: T-CALL-1
  title: A file in memory
  on: [syscall]
  when: process.exe == "/opt/sys/calls" and syscall.name == memfd_create and syscall.arg1 == 0
  action: alert
"#,
            "T-CALL-1",
            memory("calls"),
        )
        .twin(memory("other")),
        Case::new(
            "who_makes_a_deadly_system_call_dies",
            r#"
- id: T-CALL-2
  title: Call and die
  on: [syscall]
  when: process.exe == "/opt/sys/calls" and syscall.name in [userfaultfd, process_vm_writev]
  action: kill
"#,
        )
        .told(
            script("calls", "userfaultfd", "done(syscall(323, 1));"),
            Outcome::Killed(9),
            Told::enforced("T-CALL-2", "kill"),
        ),
        made(
            "a_socket_that_becomes_a_standard_stream_is_told",
            r#"
- id: T-CALL-3
  title: A socket as standard stream
  on: [syscall]
  when: process.exe == "/opt/sys/calls" and syscall.name in [dup, dup2, dup3] and syscall.result in [0..2] and process.stdio_is_socket
  action: alert
"#,
            "T-CALL-3",
            duplicate(0),
        )
        .twin(duplicate(17)),
        made(
            "a_system_call_that_fails_is_told_by_its_error",
            r#"
- id: T-CALL-4
  title: Below a file
  on: [syscall]
  when: process.exe == "/opt/sys/calls" and syscall.name in [open, openat] and syscall.error == 20
  action: alert
"#,
            "T-CALL-4",
            open("/etc/hostname/below"),
        )
        .twin(open("/etc/hostname")),
        made(
            "a_system_call_made_the_32_bit_way_has_the_name_it_has_there",
            r#"
- id: T-CALL-5
  title: The other number
  on: [syscall]
  when: process.exe == "/opt/sys/int80" and syscall.name == memfd_create and syscall.abi == i386
  action: alert
"#,
            "T-CALL-5",
            old_way,
        ),
    ]
}
