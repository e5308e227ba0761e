//! Connections and packets, by address and port.

use xtask::act::Outcome;

use super::{EPERM_REFUSAL, connect, datagram, packet};
use crate::case::{Case, Told};

/// All of them.
pub(super) fn cases() -> Vec<Case> {
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
            "who_names_no_address_reaches_the_loopback",
            r#"
- id: T-NET-20
  title: A service of this host, by whoever it is not for
  on: [net.connect]
  when: net.dst.ip in ["127.0.0.0/8", "::1"] and net.dst.port == 4446 and not process.exe == "/opt/its-client"
  action: block
- id: T-NET-21
  title: The same in a message
  on: [net.send]
  when: net.dst.ip in ["127.0.0.0/8", "::1"] and net.dst.port == 4447 and not process.exe == "/opt/its-client"
  action: block
"#,
        )
        .told(connect("127.0.0.1:4446"), EPERM_REFUSAL, Told::enforced("T-NET-20", "block"))
        .told(connect("0.0.0.0:4446"), EPERM_REFUSAL, Told::enforced("T-NET-20", "block"))
        .told(connect("[::]:4446"), EPERM_REFUSAL, Told::enforced("T-NET-20", "block"))
        .told(connect("[::ffff:0.0.0.0]:4446"), EPERM_REFUSAL, Told::enforced("T-NET-20", "block"))
        .told(datagram("0.0.0.0:4447"), EPERM_REFUSAL, Told::enforced("T-NET-21", "block"))
        .told(datagram("[::]:4447"), EPERM_REFUSAL, Told::enforced("T-NET-21", "block"))
        .twin(connect("0.0.0.0:4448"))
        .twin(datagram("0.0.0.0:4448")),
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
