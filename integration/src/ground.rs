//! The guest that cases are tried in: files to touch, programs to run, addresses to reach.

use std::path::Path;

use anyhow::Result;
use xtask::act::{PERFORMER, Step};
use xtask::vm::Guest;
use xtask::vm::command::PUBLIC_KEY;

/// Where the script is in the guest.
pub const SCRIPT: &str = "/usr/lib/guest/script.json";
const NETWORK: &str = "/usr/lib/guest/network.sh";

/// Programs that act, by the names rules know them by.
const ACTORS: &[&str] = &[PERFORMER, "/usr/local/bin/trusted", "/usr/local/bin/web"];

/// Files that cases read and write.
const FILES: &[&str] = &[
    "/etc/secret/key",
    "/etc/protected.conf",
    "/etc/unprotected.conf",
    "/etc/deadly",
    "/etc/deadly-to-writers",
    "/etc/excepted",
    "/etc/audited",
    "/etc/watched",
    "/etc/both",
    "/etc/by-cwd",
    "/etc/by-caps",
    "/etc/by-login",
    "/etc/by-socket",
    "/etc/by-container",
    "/opt/sys/junk.ko",
    "/opt/sys/other.ko",
    "/opt/sys/kernel",
    "/opt/sys/other-kernel",
    "/srv/kept/file",
    "/srv/kept/renamed",
    "/srv/kept/removed",
    "/srv/open/file",
    "/srv/named/linked",
    "/srv/named/bound",
    "/srv/named/moved",
    "/srv/named/rooted",
    "/srv/named/inherited",
    "/srv/unnamed/file",
    "/srv/dropbox/there",
];

/// Programs that cases run: all the same one, so that only the path tells them apart.
const PROGRAMS: &[&str] = &[
    "/opt/denied/true",
    "/opt/denied/with-eacces",
    "/opt/denied/killed",
    "/opt/allowed/true",
    "/opt/allowed/by-argument",
    "/opt/allowed/for-some",
    "/opt/allowed/audited",
    "/opt/denied/loaded",
    "/opt/denied/linked",
];

/// Interpreters that scripts of cases run in: all the same one, so that only the path tells them apart.
const SCRIPTED: &[&str] = &[
    "/opt/sys/bpf",
    "/opt/sys/bystander",
    "/opt/sys/caps",
    "/opt/sys/facts",
    "/opt/sys/ids",
    "/opt/sys/kexec",
    "/opt/sys/killer",
    "/opt/sys/modules",
    "/opt/sys/namespaces",
    "/opt/sys/other",
    "/opt/sys/perf",
    "/opt/sys/tracer",
    "/opt/sys/victim",
];

/// Done in the guest before anything is enforced: addresses of its own, a namespace beyond a veth pair, and programs in
/// the file system that exists only there.
const PREPARATION: &str = "set -e
for last in 9 10 11 12 13; do ip address add 203.0.113.$last/32 dev lo; done
for net in 2001:db8 2001:db8:bad; do ip address add $net::9/128 dev lo; done
ip netns add far
ip link add name gate type veth peer name far0
ip link set far0 netns far
ip address add 198.51.100.1/24 dev gate
ip link set gate up
ip -n far address add 198.51.100.7/24 dev far0
ip -n far address add 198.51.100.8/24 dev far0
ip -n far link set far0 up
mkdir -p /dev/shm/deep/er
cp /usr/bin/true /dev/shm/true
cp /usr/bin/true /dev/shm/deep/er/true
mkdir -p /srv/other/root /srv/other/mount /srv/other/drop /srv/mounts/here /srv/mounts/there
ln /srv/named/linked /srv/other/link
ln /opt/denied/linked /srv/other/program
touch /srv/other/bound
mount --bind /srv/named/bound /srv/other/bound
mount --bind /srv/named /srv/other/mount
mount --bind /srv/dropbox /srv/other/drop
";

/// A guest with everything cases touch, and the script in it.
pub fn guest(kernel: &str, init: &Path, script: &[Step]) -> Result<Guest> {
    let mut guest = Guest::new(kernel, init)?
        .file(SCRIPT, 0o644, serde_json::to_vec(script)?)
        .file(NETWORK, 0o644, PREPARATION);
    for path in ACTORS {
        guest = guest.actor(path);
    }
    for path in FILES {
        guest = guest.file(path, 0o644, "content\n");
    }
    for path in PROGRAMS {
        guest = guest.add("/usr/bin/true", *path);
    }
    for path in SCRIPTED {
        guest = guest.add("/usr/bin/perl", *path);
    }
    Ok(guest)
}

/// The shell command that prepares the ground and does the script without the agent.
pub fn before(results: &str) -> String {
    format!("sh {NETWORK} && {}", perform(results))
}

/// The shell command that does the script.
pub fn perform(results: &str) -> String {
    format!("{PERFORMER} {} {SCRIPT} {results}", xtask::act::PERFORM)
}

/// The same, after putting the agent's public key where it comes home.
pub fn perform_and_keep_key(results: &str) -> String {
    format!("cp {PUBLIC_KEY} /out/agent.pub && {}", perform(results))
}
