//! Rules on flows and packets.

use interdict_rules::diag::Code;

use super::{codes, compiled, means, policy};

#[test]
fn a_rate_is_for_packets() {
    let rule = |on: &str, rate: &str| {
        let rule = format!(
            "id: R\ntitle: T\non: {on}\nwhen: net.dst.port == 53\naction: block\nrate: {rate}"
        );
        codes(&policy(&rule))
    };
    assert_eq!(rule("packet.in", "{ over: 100, per: 1s }"), []);
    assert_eq!(rule("packet.in", "{ over: 100, per: 1s, burst: 500 }"), []);
    assert_eq!(rule("net.send", "{ over: 100, per: 1s }"), [Code::ActionNotPossible]);
    assert_eq!(rule("packet.in", "{ over: 0, per: 1s }"), [Code::Pointless]);
}

#[test]
fn a_rule_on_flows_by_address_is_one_on_packets_too() {
    let backstops = |rule: &str| {
        let (_, outcome) = compiled(&policy(rule));
        outcome.image.expect("it compiles").metadata().rules[0].backstops.clone()
    };
    let written = "id: R\ntitle: T\non: [net.connect, net.send]\nwhen: net.dst.ip in [192.0.2.0/24]\naction: block";
    assert_eq!(backstops(written), ["packet.connect", "packet.out"]);
    let except = "\nexcept:\n  - { name: a, when: process.uid == 0, owner: me, reason: why, on: [net.send] }";
    assert_eq!(backstops(&format!("{written}{except}")), ["packet.connect"]);
}

#[test]
fn packets_that_leave_and_connections_that_arrive_have_acts() {
    means(
        "packet.out",
        r#"net.dst.ip in [192.0.2.0/24] and net.src.port == 25"#,
        &["packet.out: { dst: { ip: 192.0.2.1, port: 9 }, src: { ip: 10.0.0.1, port: 25 } }"],
        &["packet.out: { dst: { ip: 10.0.0.1, port: 9 }, src: { ip: 192.0.2.1, port: 25 } }"],
    );
    means(
        "packet.accept",
        r#"net.src.ip in [192.0.2.0/24] and net.dst.port == 22"#,
        &["packet.accept: { src: { ip: 192.0.2.1, port: 9 }, dst: { ip: 10.0.0.1, port: 22 } }"],
        &["packet.accept: { src: { ip: 192.0.2.1, port: 22 }, dst: { ip: 10.0.0.1, port: 9 } }"],
    );
    means(
        "net.bind",
        "net.src.port < 1024",
        &["net.bind: { src: { ip: 0.0.0.0, port: 80 } }"],
        &["net.bind: { src: { ip: 0.0.0.0, port: 8080 } }"],
    );
    means(
        "net.socket",
        "net.family == packet",
        &["net.socket: { family: packet, type: raw }"],
        &["net.socket: { family: inet, type: raw }"],
    );
}
