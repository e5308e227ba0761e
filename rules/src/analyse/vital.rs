//! Acts that must stay possible on a host that people administer: booting, logging in, becoming root, installing
//! packages, starting containers, and this agent's own work.
//!
//! Each is decided on the image as it would be in the kernel. A rule that would refuse one of them in force is refused
//! itself, unless it says `means_to: lock_out`.

use std::{collections::BTreeMap, net::IpAddr};

use interdict_abi::ids::{Act, Action, Mode};

use crate::{
    diag::{Code, Diagnostic, Diagnostics},
    field,
    image::PolicyImage,
    ir::Program,
    parse::{
        cases::{Given, WrittenEvent},
        policy::{Rule, Spanned},
        source::{FileId, Span},
    },
    suite,
};

const SYSTEMD: &str = "/usr/lib/systemd/systemd";
const EXECUTOR: &str = "/usr/lib/systemd/systemd-executor";
const SSHD: &str = "/usr/sbin/sshd";
const SESSION: &str = "/usr/lib/openssh/sshd-session";
const LOGIN: &str = "/usr/bin/login";
const SUDO: &str = "/usr/bin/sudo";
const SU: &str = "/usr/bin/su";
const BASH: &str = "/usr/bin/bash";
const DASH: &str = "/usr/bin/dash";
const APT: &str = "/usr/bin/apt-get";
const DPKG: &str = "/usr/bin/dpkg";
const CHKPWD: &str = "/usr/sbin/unix_chkpwd";
const KMOD: &str = "/usr/bin/kmod";
const AGENT: &str = "/usr/bin/interdict";
const CONTAINERD: &str = "/usr/bin/containerd";
const SHIM: &str = "/usr/bin/containerd-shim-runc-v2";
const RUNC: &str = "/usr/bin/runc";

/// Starts: what for, the program, who starts it, real and effective user.
const STARTS: &[(&str, &str, &str, u32, u32)] = &[
    ("the kernel starting init", SYSTEMD, "", 0, 0),
    ("init starting services", EXECUTOR, SYSTEMD, 0, 0),
    ("init starting the SSH server", SSHD, EXECUTOR, 0, 0),
    ("the SSH server starting sessions", SESSION, SSHD, 0, 0),
    ("the SSH server starting a shell of a user", BASH, SESSION, 1000, 1000),
    ("the SSH server starting a shell of root", BASH, SSHD, 0, 0),
    ("checking a password", CHKPWD, SSHD, 0, 0),
    ("logging in at the console", LOGIN, "/usr/sbin/agetty", 0, 0),
    ("a shell at the console", BASH, LOGIN, 0, 0),
    ("a user starting sudo", SUDO, BASH, 1000, 1000),
    ("a user starting su", SU, BASH, 1000, 1000),
    ("a shell through sudo", BASH, SUDO, 0, 0),
    ("a shell through su", BASH, SU, 0, 0),
    ("root starting the package manager", APT, BASH, 0, 0),
    ("the package manager unpacking", DPKG, APT, 0, 0),
    ("scripts of packages", DASH, DPKG, 0, 0),
    ("jobs of cron", DASH, "/usr/sbin/cron", 0, 0),
    ("init starting this agent", AGENT, EXECUTOR, 0, 0),
    ("init starting the container runtime", CONTAINERD, EXECUTOR, 0, 0),
    ("the container runtime starting its shim", SHIM, CONTAINERD, 0, 0),
    ("the container runtime starting containers", RUNC, SHIM, 0, 0),
];

/// Programs that must be able to run at all.
const PROGRAMS: &[&str] = &[
    SYSTEMD, EXECUTOR, SSHD, SESSION, LOGIN, SUDO, SU, BASH, DASH, APT, DPKG, CHKPWD, AGENT,
    CONTAINERD, SHIM, RUNC,
];

/// What every program opens.
const OPENED: &[&str] =
    &["/etc/ld.so.cache", "/usr/lib/x86_64-linux-gnu/libc.so.6", "/etc/passwd", "/dev/null"];

/// Files read: what for, the file, by whom.
const READS: &[(&str, &str, &str)] = &[
    ("the SSH server reading its configuration", "/etc/ssh/sshd_config", SSHD),
    ("the SSH server reading its key", "/etc/ssh/ssh_host_ed25519_key", SSHD),
    ("the SSH server reading authorised keys", "/root/.ssh/authorized_keys", SESSION),
    ("the SSH server checking a password", "/etc/shadow", SESSION),
    ("checking a password", "/etc/shadow", CHKPWD),
    ("checking a password at the console", "/etc/shadow", LOGIN),
    ("sudo checking a password", "/etc/shadow", SUDO),
    ("sudo reading its rules", "/etc/sudoers", SUDO),
    ("su checking a password", "/etc/shadow", SU),
    ("init reading its units", "/etc/systemd/system/multi-user.target.wants/ssh.service", SYSTEMD),
    ("the package manager reading its state", "/var/lib/dpkg/status", APT),
    ("this agent reading its policies", "/etc/interdict/policies/base.yaml", AGENT),
];

/// Files written: what for, the file, by whom.
const WRITES: &[(&str, &str, &str)] = &[
    ("the package manager installing programs", "/usr/bin/ls.dpkg-new", DPKG),
    ("the package manager writing its state", "/var/lib/dpkg/status-new", DPKG),
    ("the package manager locking its state", "/var/lib/dpkg/lock-frontend", APT),
    ("recording a login", "/var/log/wtmp", SESSION),
    ("a terminal", "/dev/pts/0", SESSION),
    ("a shell writing to its terminal", "/dev/tty", BASH),
    ("changing a password", "/etc/nshadow", "/usr/bin/passwd"),
    ("init writing its state", "/run/systemd/units/invocation:ssh.service", SYSTEMD),
    ("this agent spooling alerts", "/var/lib/interdict/spool/00000001.log", AGENT),
];

/// What for, the act, what is given of it, by whom.
type OnTheSystem =
    (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

/// Acts on the system.
const ON_THE_SYSTEM: &[OnTheSystem] = &[
    ("this agent loading its programs", "bpf", &[("command", "prog_load")], AGENT),
    ("this agent telling its programs", "bpf", &[("command", "map_update_elem")], AGENT),
    ("this agent looking at processes", "ptrace", &[("mode", "read")], AGENT),
    ("init ending services", "signal", &[("number", "TERM")], SYSTEMD),
    ("init giving services namespaces", "ns.create", &[("type", "mount")], EXECUTOR),
    ("the container runtime making containers", "ns.create", &[("type", "pid")], RUNC),
    ("loading modules", "module.load", &[("path", "/usr/lib/modules/6.1/kernel/x.ko")], KMOD),
    ("init starting services as users", "setuid", &[("uid", "1000")], EXECUTOR),
    ("the SSH server becoming a user", "setuid", &[("uid", "1000")], SSHD),
    ("the SSH server becoming a user", "setgid", &[("gid", "1000")], SSHD),
    ("the SSH server becoming a user", "setgroups", &[], SSHD),
    ("sudo becoming root", "setuid", &[("uid", "0")], SUDO),
    ("su becoming a user", "setuid", &[("uid", "1000")], SU),
    ("init mounting", "cap.use", &[("name", "sys_admin")], SYSTEMD),
    ("this agent loading its programs", "cap.use", &[("name", "sys_admin")], AGENT),
    ("this agent loading its programs", "cap.use", &[("name", "bpf")], AGENT),
];

/// Other acts on files: what for, the act, the file, by whom. Those that no kernel program decides are left out.
const FILES: &[(&str, &str, &str, &str)] = &[
    ("the package manager unpacking", "file.create", "/usr/bin/new.dpkg-new", DPKG),
    (
        "the package manager putting a program in place",
        "file.rename",
        "/usr/bin/new.dpkg-new",
        DPKG,
    ),
    ("the package manager removing a program", "file.unlink", "/usr/bin/old", DPKG),
    ("the package manager setting modes", "file.setattr", "/usr/bin/new.dpkg-new", DPKG),
    ("the package manager making links", "file.symlink", "/usr/lib/libnew.so", DPKG),
    ("the package manager making directories", "file.mkdir", "/usr/share/doc/new", DPKG),
    ("changing a password", "file.create", "/etc/nshadow", "/usr/bin/passwd"),
    ("putting a changed password in place", "file.rename", "/etc/nshadow", "/usr/bin/passwd"),
    ("init making folders of users", "file.mkdir", "/run/user/1000", SYSTEMD),
    ("init mounting", "file.mount", "/run/user/1000", SYSTEMD),
    ("a terminal changing hands", "file.setattr", "/dev/pts/0", SESSION),
    ("the container runtime mounting", "file.mount", "/proc", RUNC),
    (
        "this agent opening a segment of its spool",
        "file.create",
        "/var/lib/interdict/spool/2.log",
        AGENT,
    ),
    ("this agent keeping its place", "file.rename", "/var/lib/interdict/cursors/file.new", AGENT),
    ("this agent removing old alerts", "file.unlink", "/var/lib/interdict/spool/1.log", AGENT),
];

/// Peers that stand for the whole world: only a rule that refuses all of them locks somebody out.
const WORLD: &[&str] =
    &["10.11.12.13", "192.168.77.5", "172.20.3.4", "151.101.2.132", "2a04:4e42::644"];

/// Those peers.
pub(crate) fn world() -> impl Iterator<Item = IpAddr> {
    WORLD.iter().filter_map(|address| address.parse().ok())
}

/// A way to do something: it is lost when every event of it is refused.
struct Vital {
    what: String,
    events: Vec<WrittenEvent>,
}

const NOWHERE: Span = Span { file: FileId(0), start: 0, end: 0 };

fn event(act: &str, object: &[(&str, String)], process: &[(&str, String)]) -> WrittenEvent {
    let given = |of_object: bool| {
        move |(name, value): &(&str, String)| Given {
            name: (*name).to_owned(),
            of_object,
            span: NOWHERE,
            values: vec![Spanned { value: value.clone(), span: NOWHERE }],
        }
    };
    WrittenEvent {
        span: NOWHERE,
        act: Spanned { value: act.to_owned(), span: NOWHERE },
        values: object.iter().map(given(true)).chain(process.iter().map(given(false))).collect(),
    }
}

fn by(exe: &str, uid: u32, euid: u32) -> Vec<(&'static str, String)> {
    let mut process = vec![("process.uid", uid.to_string()), ("process.euid", euid.to_string())];
    if !exe.is_empty() {
        process.push(("process.exe", exe.to_owned()));
        process.push(("process.parent.exe", SYSTEMD.to_owned()));
    }
    process
}

fn vital() -> Vec<Vital> {
    let one =
        |what: &str, event: WrittenEvent| Vital { what: what.to_owned(), events: vec![event] };
    let path = |path: &str| vec![("path", path.to_owned())];
    let mut all = Vec::new();
    for (what, program, starter, uid, euid) in STARTS {
        all.push(one(what, event("exec", &path(program), &by(starter, *uid, *euid))));
    }
    for program in PROGRAMS {
        for opened in OPENED {
            let what = format!("{program} opening {opened}");
            all.push(one(&what, event("file.read", &path(opened), &by(program, 0, 0))));
        }
    }
    for (what, file, program) in READS {
        all.push(one(what, event("file.read", &path(file), &by(program, 0, 0))));
    }
    for (what, file, program) in WRITES {
        all.push(one(what, event("file.write", &path(file), &by(program, 0, 0))));
    }
    let decided = |act: &str| {
        let act = Act::ALL.iter().copied().find(|known| known.name() == act);
        act.and_then(field::decided).is_some()
    };
    for (what, act, file, program) in FILES.iter().filter(|(_, act, ..)| decided(act)) {
        all.push(one(what, event(act, &path(file), &by(program, 0, 0))));
    }
    if decided("mmap.exec") {
        for program in PROGRAMS {
            let libc = path("/usr/lib/x86_64-linux-gnu/libc.so.6");
            let what = format!("{program} loading the C library");
            all.push(one(&what, event("mmap.exec", &libc, &by(program, 0, 0))));
        }
    }
    for (what, act, given, program) in ON_THE_SYSTEM {
        let object: Vec<(&str, String)> =
            given.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        all.push(one(what, event(act, &object, &by(program, 0, 0))));
    }
    let peer = |end: &str, ip: &str, port: u16| {
        vec![
            (if end == "src" { "src.ip" } else { "dst.ip" }, ip.to_owned()),
            (if end == "src" { "src.port" } else { "dst.port" }, port.to_string()),
        ]
    };
    let fetch = by("/usr/lib/apt/methods/http", 42, 42);
    all.push(Vital {
        what: "the package manager fetching packages".to_owned(),
        events: WORLD.iter().map(|ip| event("net.connect", &peer("dst", ip, 80), &fetch)).collect(),
    });
    let resolver = peer("dst", "127.0.0.53", 53);
    all.push(one("looking up names", event("net.connect", &resolver, &fetch)));
    all.push(Vital {
        what: "anybody reaching the SSH server".to_owned(),
        events: WORLD
            .iter()
            .map(|ip| {
                let mut object = peer("src", ip, 50_000);
                object.push(("dst.port", "22".to_owned()));
                event("packet.in", &object, &[])
            })
            .collect(),
    });
    let mut loopback = peer("src", "127.0.0.1", 50_000);
    loopback.push(("dst.ip", "127.0.0.1".to_owned()));
    all.push(one("packets from this host to itself", event("packet.in", &loopback, &[])));
    all
}

/// Refuses rules that would refuse what is vital.
pub(super) fn check(
    rules: &[&Rule],
    program: &Program,
    image: &PolicyImage,
    diagnostics: &mut Diagnostics,
) {
    let refuses = |number: u32| {
        program.rules.get(number as usize).is_some_and(|rule| {
            rule.mode == Mode::Enforce && matches!(rule.action, Action::Block | Action::Kill)
        })
    };
    if !(0..program.rules.len()).any(|index| u32::try_from(index).is_ok_and(refuses)) {
        return;
    }
    let mut lost: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for vital in vital() {
        let mut by_event: Vec<Vec<u32>> = Vec::new();
        for written in &vital.events {
            // The table is tested: an event that cannot be read would guard nothing.
            let Ok(occurrence) = suite::occurrence(written) else { continue };
            let verdict = suite::decide(image, &occurrence, Mode::Enforce);
            by_event.push(verdict.matched.into_iter().filter(|rule| refuses(*rule)).collect());
        }
        let Some((first, rest)) = by_event.split_first() else { continue };
        for rule in first {
            if rest.iter().all(|rules| rules.contains(rule)) {
                lost.entry(*rule).or_default().push(vital.what.clone());
            }
        }
    }
    for (number, whats) in lost {
        let Some(rule) = rules.get(number as usize) else { continue };
        if rule.means_to_lock_out {
            continue;
        }
        let span = rule.when.as_ref().map_or(rule.id.span, |when| when.span);
        let mut diagnostic = Diagnostic::error(
            Code::LockOut,
            span,
            format!("the rule `{}` would lock people out of this host", rule.id.value),
        )
        .label(format!(
            "would {} {}",
            program.rules[number as usize].action.name(),
            whats[0]
        ));
        for what in whats.iter().skip(1).take(3) {
            diagnostic = diagnostic.note(format!("also: {what}"));
        }
        if whats.len() > 4 {
            diagnostic = diagnostic.note(format!("and {} more", whats.len() - 4));
        }
        diagnostics.add(
            diagnostic
                .help("narrow the rule, or except what must stay possible")
                .help("if it is meant, say `means_to: lock_out` in the rule"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vital_event_can_be_read() {
        for vital in vital() {
            assert!(!vital.events.is_empty(), "{}", vital.what);
            for event in &vital.events {
                if let Err(error) = suite::occurrence(event) {
                    panic!("{}: {error}", vital.what);
                }
            }
        }
    }
}
