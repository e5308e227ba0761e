//! The guest that cases are tried in: files to touch, programs to run, addresses to reach.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use xtask::act::{PERFORMER, Step};
use xtask::vm::Guest;
use xtask::vm::command::PUBLIC_KEY;

/// Where the script is in the guest.
pub const SCRIPT: &str = "/usr/lib/guest/script.json";
const NETWORK: &str = "/usr/lib/guest/network.sh";

/// The kernel of this machine, in namespaces and a cgroup of their own: the host without BPF LSM.
pub const NATIVE: &str = "native";

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
    "/srv/named/overheard",
    "/srv/named/entrusted",
    "/srv/unnamed/file",
    "/srv/leaving/there/file",
    "/srv/going/file",
    "/srv/roaming/there/file",
    "/srv/dropbox/there",
    "/srv/mounted/arrived/file",
    "/srv/mounted/elsewhere/file",
    "/srv/mounted/gone/file",
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
    "/opt/sys/calls",
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
for last in 9 10 11 12 13 14 15 16 17 18; do ip address add 203.0.113.$last/32 dev lo; done
for net in 2001:db8 2001:db8:bad; do ip address add $net::9/128 dev lo; done
ip netns add far
ip link add name gate type veth peer name far0
ip link set far0 netns far
ip address add 198.51.100.1/24 dev gate
ip link set gate up
ip -n far address add 198.51.100.7/24 dev far0
ip -n far address add 198.51.100.8/24 dev far0
for last in 21 22 23 24 25 26 27 28 29 30; do ip -n far address add 198.51.100.$last/24 dev far0; done
ip -n far link set far0 up
mkdir -p /dev/shm/deep/er
cp /usr/bin/true /dev/shm/true
cp /usr/bin/true /dev/shm/deep/er/true
mkdir -p /srv/remounted
mount --bind /srv/remounted /srv/remounted
mount --make-private /srv/remounted
mkdir -p /srv/remounted/there /srv/remounted/arrived /srv/remounted/elsewhere /srv/remounted/gone
for number in $(seq 0 39); do
  mkdir -p /srv/jail/guarded-$number
  echo content > /srv/jail/guarded-$number/file
done
mkdir -p /srv/jail/plain
for number in $(seq 0 39); do echo content > /srv/jail/plain/other-$number; done
echo content > /srv/jail/plain/file
mkdir -p /srv/other/root /srv/other/mount /srv/other/drop /srv/mounts/here /srv/mounts/there
ln /srv/named/linked /srv/other/link
ln /opt/denied/linked /srv/other/program
touch /srv/other/bound
mount --bind /srv/named/bound /srv/other/bound
mount --bind /srv/named /srv/other/mount
mount --bind /srv/dropbox /srv/other/drop
for kind in kept told runs free; do
  for place in $(cat /usr/lib/guest/places); do
    mkdir -p $(dirname /srv/long/$kind/$place)
    cp /usr/bin/true /srv/long/$kind/$place
  done
done
layers=/dev/shm/layers
mkdir -p $layers/image $layers/upper $layers/work /srv/layers
for name in own changed; do cp /usr/bin/true $layers/image/$name; done
mount -t overlay -o lowerdir=$layers/image,upperdir=$layers/upper,workdir=$layers/work layers /srv/layers
cp /usr/bin/true /srv/layers/added
/srv/layers/changed
touch /srv/layers/changed
echo content > /srv/layers/by-fs
number=0
for place in $(cat /usr/lib/guest/places); do
  number=$((number + 1))
  ln /srv/long/kept/$place /srv/other/kept-$number
  ln /srv/long/told/$place /srv/other/told-$number
done
";

/// Paths of hostile sizes below a directory of [`KINDS`] bytes: a name of 255 bytes, 500 components, and what makes
/// 4,095 bytes in all.
pub fn hostile_places() -> [String; 3] {
    let longest = format!("{}/", "l".repeat(255)).repeat(15);
    let left = 4_095 - KINDS - longest.len();
    ["n".repeat(255), format!("{}file", "d/".repeat(499)), format!("{longest}{}", "e".repeat(left))]
}

/// Bytes of `/srv/long/kept/` and its like.
const KINDS: usize = 15;

/// A 64-bit program that calls the kernel as 32-bit ones do.
const OLD_WAY: &str = "/opt/sys/int80";

/// An ELF file that calls `memfd_create` by `int 0x80`, where its number is 356, and ends with 0 or the error.
fn calling_the_old_way() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    const CODE: &[u8] = &[
        0xb8, 0x64, 0x01, 0x00, 0x00, // mov eax, 356
        0xbb, 0x9a, 0x00, 0x40, 0x00, // mov ebx, name
        0x31, 0xc9, // xor ecx, ecx
        0xcd, 0x80, // int 0x80
        0x85, 0xc0, // test eax, eax
        0x78, 0x04, // js failed
        0x31, 0xff, // xor edi, edi
        0xeb, 0x05, // jmp exit
        0xf7, 0xd8, // failed: neg eax
        0x8d, 0x78, 0x40, // lea edi, [rax + 64]
        0xb8, 0x3c, 0x00, 0x00, 0x00, // exit: mov eax, 60
        0x0f, 0x05, // syscall
        b'x', 0x00, // name
    ];
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let short = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    let long = |file: &mut Vec<u8>, value: u64| file.extend(value.to_le_bytes());
    // An executable for x86-64, version 1; entry, program headers, no sections.
    short(&mut file, 2);
    short(&mut file, 62);
    file.extend(1u32.to_le_bytes());
    for value in [BASE + HEADERS, 64, 0] {
        long(&mut file, value);
    }
    file.extend(0u32.to_le_bytes());
    for value in [64, 56, 1, 0, 0, 0] {
        short(&mut file, value);
    }
    // One segment, readable and executable, the whole file.
    file.extend(1u32.to_le_bytes());
    file.extend(5u32.to_le_bytes());
    let length = HEADERS + CODE.len() as u64;
    for value in [0, BASE, BASE, length, length, 0x1000] {
        long(&mut file, value);
    }
    file.extend(CODE);
    file
}

/// A guest with everything cases touch, and the script in it.
pub fn guest(kernel: &str, init: &Path, script: &[Step]) -> Result<Guest> {
    let guest = if kernel == NATIVE { Guest::native(init)? } else { Guest::new(kernel, init)? };
    let mut guest = guest.file(SCRIPT, 0o644, serde_json::to_vec(script)?).file(
        NETWORK,
        0o644,
        [PREPARATION, crate::late::PREPARATION].concat(),
    );
    if kernel != NATIVE {
        guest = guest.module("overlay");
    }
    guest = guest.file("/usr/lib/guest/places", 0o644, hostile_places().join("\n"));
    // A busy machine is no reason.
    guest = guest.timeout(Duration::from_secs(1200));
    for path in ACTORS {
        guest = guest.actor(path);
    }
    for path in FILES.iter().chain(crate::late::FILES) {
        guest = guest.file(path, 0o644, "content\n");
    }
    for path in PROGRAMS {
        guest = guest.add("/usr/bin/true", *path);
    }
    guest = guest.file(OLD_WAY, 0o755, calling_the_old_way());
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
