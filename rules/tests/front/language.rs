//! What expressions mean: a policy decides events as its words say.

use interdict_rules::diag::Code;

use super::{codes, means, when};

#[test]
fn and_binds_stronger_than_or_and_not_strongest() {
    means(
        "exec",
        r#"exec.memfd or not exec.deleted and exec.setuid"#,
        &["exec: { path: /x, memfd: true, deleted: true }", "exec: { path: /x, setuid: true }"],
        &["exec: { path: /x }", "exec: { path: /x, setuid: true, deleted: true }"],
    );
}

#[test]
fn paths_are_exact_unless_they_hold_a_glob() {
    means(
        "file.read",
        r#"file.path in ["/etc/shadow", "/etc/sudoers.d/**", "/home/*/.ssh/id_*"]"#,
        &[
            "file.read: { path: /etc/shadow }",
            "file.read: { path: /etc/sudoers.d/a/b }",
            "file.read: { path: /home/ana/.ssh/id_rsa }",
        ],
        &[
            "file.read: { path: /etc/shadow2 }",
            "file.read: { path: /x/etc/shadow }",
            "file.read: { path: /home/a/b/.ssh/id_rsa }",
        ],
    );
}

#[test]
fn a_backslash_makes_a_star_ordinary() {
    means(
        "file.read",
        r#"file.path == "/tmp/\*x""#,
        &[r#"file.read: { path: "/tmp/*x" }"#],
        &["file.read: { path: /tmp/ax }"],
    );
}

#[test]
fn the_text_operators_do_what_they_say() {
    let shadow = "file.read: { path: /etc/shadow }";
    let other = "file.read: { path: /var/log/x }";
    for expression in [
        r#"file.path startswith "/etc/""#,
        r#"file.path endswith "shadow""#,
        r#"file.path contains "tc/sh""#,
        r#"file.path glob "/e*/shad?w""#,
        r#"file.path matches "^/etc/s[a-h]+""#,
        r#"file.path startswith ["/etc", "/usr"]"#,
        r#"file.dir == "/etc""#,
        r#"file.dir startswith "/et""#,
        r#"file.dir in ["/etc/**"]"#,
        r#"file.name == "shadow""#,
        r#"file.name in ["sha*", "x.y"]"#,
    ] {
        means("file.read", expression, &[shadow], &[other]);
    }
}

#[test]
fn numbers_compare_and_lie_in_ranges() {
    let event = |uid: u32| format!("exec: {{ path: /x }}, process: {{ uid: {uid} }}");
    let (zero, small, large) = (event(0), event(999), event(1000));
    let (zero, small, large) = (zero.as_str(), small.as_str(), large.as_str());
    means("exec", "process.uid == 0", &[zero], &[small, large]);
    means("exec", "process.uid != 0", &[small, large], &[zero]);
    means("exec", "process.uid < 1000", &[zero, small], &[large]);
    means("exec", "process.uid >= 1000", &[large], &[zero, small]);
    means("exec", "process.uid in [0, 500..999]", &[zero, small], &[large]);
    means("exec", "not process.uid in [0, 500..999]", &[large], &[zero, small]);
}

#[test]
fn permission_bits_and_types_of_files_are_tested_apart() {
    means(
        "file.read",
        "file.mode == 0o600 and file.type == regular",
        &["file.read: { path: /x, mode: 0o600 }"],
        &[
            "file.read: { path: /x, mode: 0o644 }",
            "file.read: { path: /x, mode: 0o600, type: fifo }",
        ],
    );
}

#[test]
fn addresses_lie_in_blocks_of_both_families() {
    means(
        "net.connect",
        r#"net.dst.ip in [10.0.0.0/8, "2001:db8::/32", 192.0.2.5-192.0.2.9]"#,
        &[
            "net.connect: { dst: { ip: 10.255.0.1 } }",
            r#"net.connect: { dst: { ip: "2001:db8:1::1" } }"#,
            "net.connect: { dst: { ip: 192.0.2.9 } }",
            r#"net.connect: { dst: { ip: "::ffff:10.0.0.1" } }"#,
        ],
        &[
            "net.connect: { dst: { ip: 11.0.0.1 } }",
            r#"net.connect: { dst: { ip: "2001:db9::1" } }"#,
            "net.connect: { dst: { ip: 192.0.2.10 } }",
        ],
    );
}

#[test]
fn the_source_of_a_packet_is_its_sender() {
    means(
        "packet.in",
        "net.src.ip == 192.0.2.1 and net.dst.port == 22 and net.proto == tcp",
        &["packet.in: { src: { ip: 192.0.2.1 }, dst: { ip: 192.0.2.2, port: 22 } }"],
        &[
            "packet.in: { src: { ip: 192.0.2.2 }, dst: { ip: 192.0.2.1, port: 22 } }",
            "packet.in: { src: { ip: 192.0.2.1 }, dst: { ip: 192.0.2.2, port: 22 }, proto: udp }",
        ],
    );
}

#[test]
fn a_test_on_ancestors_holds_for_any_and_its_negation_for_none() {
    let below = "exec: { path: /x }, process: { ancestors: [/usr/bin/a, /usr/bin/b] }";
    let beside = "exec: { path: /x }, process: { ancestors: [/usr/bin/a] }";
    means("exec", r#"process.ancestor.exe == "/usr/bin/b""#, &[below], &[beside]);
    means("exec", r#"process.ancestor.exe != "/usr/bin/b""#, &[beside], &[below]);
}

#[test]
fn containers_are_told_from_the_host() {
    let inside = "exec: { path: /x }, container: { id: web }";
    let outside = "exec: { path: /x }";
    means("exec", "container.id != host", &[inside], &[outside]);
    means("exec", "container.id == host", &[outside], &[inside]);
}

#[test]
fn existing_means_having_a_value() {
    means(
        "exec",
        "process.exe exists",
        &["exec: { path: /x }, process: { exe: /y }"],
        &["exec: { path: /x }"],
    );
}

#[test]
fn a_range_is_no_number_to_compare_with() {
    assert_eq!(codes(&when("exec", "process.uid >= 1000..2000")), [Code::WrongValue]);
    assert_eq!(codes(&when("exec", "process.uid == 1000..2000")), []);
}
