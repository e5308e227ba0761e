//! The guest of the evasion suite: a wire with a far end, the program under its names, the modules it needs.

use std::path::Path;

use anyhow::Result;
use xtask::run;
use xtask::vm::Guest;

/// Where the far end's addresses are made.
const NETWORK: &str = "/usr/lib/guest/evasions.sh";

/// Modules that techniques need; a kernel that has one built in or not at all is told by the technique.
const MODULES: &[&str] = &["overlay", "sctp", "dccp_ipv4", "tun", "binfmt_misc", "8021q", "ipip"];

/// A veth pair whose far end has the addresses that rules name and their twins, and the sink that watches it.
const PREPARATION: &str = "set -e
ip netns add far
ip link add name gate type veth peer name far0
ip link set far0 netns far
ip address add 198.51.100.1/24 dev gate
ip address add 2001:db8:5::1/64 dev gate nodad
ip link set gate up
for last in 7 66 77; do
    ip -n far address add 198.51.100.$last/24 dev far0
    ip -n far address add 2001:db8:5::$last/64 dev far0 nodad
done
for last in 66 77; do
    ip -n far address add 203.0.113.$last/32 dev far0
    ip -n far address add 2001:db8:3::$last/128 dev far0 nodad
done
ip -n far link set far0 up
ip -n far link set lo up
ip route add 203.0.113.0/24 via 198.51.100.7
ip route add 2001:db8:3::/64 via 2001:db8:5::7
settings='for name in all default $1; do
    echo 0 > /proc/sys/net/ipv4/conf/$name/rp_filter
    echo 1 > /proc/sys/net/ipv4/conf/$name/accept_source_route
done'
sh -c \"$settings\" sh gate
ip netns exec far sh -c \"$settings\" sh far0
echo 3 > /proc/sys/net/ipv4/tcp_fastopen
for name in trusted evasion-actor evasion-twin; do cp /usr/bin/evasion /usr/local/bin/$name; done
mkdir -p /srv/ev
evasion sink > /out/sink.log 2>&1 &
left=100
until [ -e /srv/ev/sink ]; do
    left=$((left - 1)); [ $left -gt 0 ] || { cat /out/sink.log; exit 1; }
    sleep 0.1
done
";

/// A guest with everything techniques touch.
pub fn guest(kernel: &str, init: &Path) -> Result<Guest> {
    let programs = run::static_programs("evasion")?;
    let mut guest = Guest::new(kernel, init)?
        .add(programs.join("evasion"), "/usr/bin/evasion")
        .add(programs.join("beacon"), "/usr/lib/guest/beacon-harmless")
        .file(NETWORK, 0o644, PREPARATION);
    for module in MODULES {
        guest = guest.module_if_there(module);
    }
    Ok(guest)
}

/// Shell: the wire, once.
pub fn wire() -> String {
    format!("sh {NETWORK}")
}

/// Shell: everything that techniques find, made anew, and the first halves of those that begin early.
pub fn begin(places: &str) -> String {
    format!("evasion ground /usr/lib/guest/beacon-harmless && evasion early {places}")
}

/// Shell: all techniques, told line by line in a file.
pub fn run_all(places: &str, lines: &str) -> String {
    format!("cd /srv && evasion run {places} > {lines}")
}
