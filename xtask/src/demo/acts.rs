//! What the demonstration does: four acts that are refused and the permitted twin of each.

use std::net::SocketAddr;

use crate::act::{Act, EPERM, Outcome, Step};

/// One act, its twin, and how its alert is recognised.
#[derive(Debug)]
pub(super) struct Shown {
    /// What an attacker gains by it.
    pub(super) why: &'static str,
    /// Refused.
    pub(super) refused: Step,
    /// How.
    pub(super) outcome: Outcome,
    /// Permitted.
    pub(super) twin: Step,
    /// Whether only BPF LSM can refuse it: without, a kernel can at best kill after the fact.
    pub(super) needs_lsm: bool,
    /// The rule that refuses it.
    pub(super) rule: &'static str,
    /// In the sentence of its alert.
    pub(super) in_message: &'static str,
}

/// Where the receiver listens.
pub(super) const RECEIVER_PORT: u16 = 8443;

/// The network namespace beyond the guest's interface.
pub(super) const BEYOND: &str = "beyond";

/// Addresses and programs the acts need, made in the guest. The bad ones are on the feed in `policies/feeds/`.
pub(super) const PREPARATION: &str = "set -e
ip link set lo up
ip address add 203.0.113.9/32 dev lo
ip address add 192.0.2.10/32 dev lo
ip netns add beyond
ip link add name gate type veth peer name beyond0
ip link set beyond0 netns beyond
ip address add 198.51.100.1/24 dev gate
ip address add 10.77.0.1/24 dev gate
ip link set gate up
ip -n beyond address add 198.51.100.7/24 dev beyond0
ip -n beyond address add 10.77.0.8/24 dev beyond0
ip -n beyond link set beyond0 up
cp /usr/bin/true /dev/shm/implant
cp /usr/bin/true /opt/implant
";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("addresses of the demonstration are written here")
}

fn run(program: &str) -> Act {
    Act::Run { command: vec![program.to_owned()] }
}

fn packet(from: &str) -> Act {
    // To an address that no rule is about, so that where it comes from decides.
    Act::Send { namespace: BEYOND.to_owned(), from: address(from), to: address("10.77.0.1:514") }
}

/// All of them, in order.
pub(super) fn all() -> Vec<Shown> {
    let cat = |path: &str| Act::Cat { path: path.to_owned() };
    let connect = |to: &str| Act::Connect { to: address(to) };
    vec![
        Shown {
            why: "credentials are read",
            refused: Step::new("shadow", cat("/etc/shadow")),
            outcome: Outcome::Refused(EPERM),
            twin: Step::new("hostname", cat("/etc/hostname")),
            needs_lsm: true,
            rule: "IDT-FILE-0101",
            in_message: "/etc/shadow",
        },
        Shown {
            why: "a dropped program is run from memory",
            refused: Step::new("implant", run("/dev/shm/implant")),
            outcome: Outcome::Refused(EPERM),
            twin: Step::new("installed", run("/opt/implant")),
            needs_lsm: true,
            rule: "IDT-EXEC-0201",
            in_message: "/dev/shm/implant",
        },
        Shown {
            why: "a program calls home",
            refused: Step::new("call", connect("203.0.113.9:443")),
            outcome: Outcome::Refused(EPERM),
            twin: Step::new("neighbour", connect("192.0.2.10:443")),
            needs_lsm: false,
            rule: "IDT-NET-0301",
            in_message: "203.0.113.9",
        },
        Shown {
            why: "a known attacker knocks",
            refused: Step::new("knock", packet("198.51.100.7:4000")),
            outcome: Outcome::Lost,
            twin: Step::new("visit", packet("10.77.0.8:4000")),
            needs_lsm: false,
            rule: "IDT-NET-0302",
            in_message: "198.51.100.7",
        },
    ]
}
