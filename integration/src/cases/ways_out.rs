//! Every way in which bytes leave a host other than a TCP connection.

use xtask::act::{Outcome, SocketAct, Step};

use super::{EPERM_REFUSAL, address, datagram, socket};
use crate::case::{Case, Told};

fn v4(text: &str) -> std::net::Ipv4Addr {
    text.parse().expect("an address")
}

fn v4_port(text: &str) -> std::net::SocketAddrV4 {
    text.parse().expect("an address and a port")
}

/// Every way out to an address that a rule refuses, and to one that none does.
pub(super) fn cases() -> Vec<Case> {
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
