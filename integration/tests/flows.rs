//! Flows that end are told with what they carried and how long they were open, to the byte, by whoever closed them: also by
//! a process that exits and leaves its sockets to the kernel.

use std::time::Duration;

use interdict_integration::{alerts, observe::guarded};
use serde_json::Value;

/// The last three must never be told: nothing like that happens.
const POLICY: &str = r#"
apiVersion: interdict.dev/v1
kind: Policy
metadata: { name: flows }
spec:
  rules:
    - id: CALLED
      title: The client's end of a stream
      on: net.close
      when: process.exe == "/opt/client" and net.dst.port == 7100 and net.bytes_out == 1000 and net.bytes_in == 300 and net.duration in [1..3600]
      action: alert
    - id: SERVED
      title: The server's end
      on: net.close
      when: process.exe == "/opt/server" and net.src.port == 7100 and net.dst.ip in [127.0.0.22] and net.bytes_in == 1000 and net.bytes_out == 300
      action: alert
    - id: DATAGRAMS
      title: A few datagrams
      on: net.close
      when: net.proto == udp and net.dst.port == 7101 and net.bytes_out == 310 and net.bytes_in == 40
      action: alert
    - id: MAPPED
      title: The same over an IPv6 socket to an IPv4 address
      on: net.close
      when: net.proto == udp and net.dst.port == 7104 and net.bytes_out == 310
      action: alert
    - id: NEVER-MORE
      title: More than was sent
      on: net.close
      when: net.dst.port in [7100, 7101] and net.bytes_out in [1001..4294967295]
      action: alert
    - id: NEVER-REFUSED
      title: A connection that never was
      on: net.close
      when: net.dst.port == 7102
      action: alert
    - id: NEVER-LISTENED
      title: A socket that only listened
      on: net.close
      when: net.src.port == 7103
      action: alert
"#;

/// Without modules: Perl's own calls, and addresses as the kernel has them.
const SERVER: &str = r#"
sub at { pack('S n C4 x8', 2, $_[0], 127, 0, 0, 21) }
socket(my $unused, 2, 1, 6); bind($unused, at(7103)) or die; listen($unused, 1) or die; close($unused);
socket(my $stream, 2, 1, 6); bind($stream, at(7100)) or die "bind $!"; listen($stream, 1) or die;
socket(my $datagrams, 2, 2, 17); bind($datagrams, at(7101)) or die "bind $!";
open(my $ready, '>', '/tmp/ready'); close($ready);
accept(my $peer, $stream) or die; my ($got, $part) = (0, '');
while ($got < 1000) { my $read = sysread($peer, $part, 4096); die unless $read; $got += $read }
syswrite($peer, 'x' x 300) == 300 or die;
# Until the other side is gone.
sysread($peer, $part, 1); close($peer);
for (1..3) { my $from = recv($datagrams, $part, 4096, 0); send($datagrams, 'y' x 40, 0, $from) if $_ == 3 }
"#;

const CLIENT: &str = r#"
sub at { pack('S n C4 x8', 2, $_[0], 127, 0, 0, 21) }
socket(my $nobody, 2, 1, 6); connect($nobody, at(7102)) and die; close($nobody);
socket(my $datagrams, 2, 2, 17); connect($datagrams, at(7101)) or die;
socket(my $stream, 2, 1, 6); bind($stream, pack('S n C4 x8', 2, 0, 127, 0, 0, 22)) or die;
connect($stream, at(7100)) or die "connect $!";
syswrite($stream, 'x' x 1000) == 1000 or die;
my ($got, $part) = (0, '');
while ($got < 300) { my $read = sysread($stream, $part, 4096); die unless $read; $got += $read }
select(undef, undef, undef, 1.1); shutdown($stream, 1);
send($datagrams, 'z' x $_, 0) for (100, 200, 10);
# Looked at, and then received.
recv($datagrams, $part, 4096, 2); recv($datagrams, $part, 4096, 0); length($part) == 40 or die;
socket(my $six, 10, 2, 17); my $mapped = pack('S n N x10 n C4 N', 10, 7104, 0, 0xffff, 127, 0, 0, 21, 0);
send($six, 'z' x $_, 0, $mapped) for (100, 200, 10); connect($six, $mapped) or die "mapped $!";
# Nothing is closed: the kernel does.
"#;

const SCRIPT: &str = r#"
/opt/server /opt/server.pl & server=$!
left=300; until [ -e /tmp/ready ]; do left=$((left - 1)); [ $left -gt 0 ] || exit 1; sleep 0.1; done
/opt/client /opt/client.pl || exit 1
wait $server || exit 1
left=300
until [ "$(grep -c -E '"(CALLED|SERVED|DATAGRAMS|MAPPED)"' /out/alerts.ndjson)" -ge 4 ]; do
    left=$((left - 1)); [ $left -gt 0 ] || { echo deadline; break; }; sleep 0.1
done
"#;

fn told_on(kernel: &str) {
    let outcome = guarded(kernel, env!("CARGO_BIN_EXE_guest"), POLICY)
        .add("/usr/bin/perl", "/opt/client")
        .add("/usr/bin/perl", "/opt/server")
        .file("/opt/server.pl", 0o644, SERVER)
        .file("/opt/client.pl", 0o644, CLIENT)
        .timeout(Duration::from_secs(300))
        .run(&["sh", "-c", SCRIPT])
        .expect("the guest runs");
    assert_eq!(outcome.status, 0, "{}", outcome.output);
    let alerts = alerts::lines(&outcome.out);
    let of = |rule: &str| -> Vec<&Value> {
        alerts.iter().filter(|alert| alert["rules"][0]["id"] == rule).collect()
    };
    for rule in ["SERVED", "CALLED", "DATAGRAMS", "MAPPED"] {
        assert_eq!(of(rule).len(), 1, "{rule} on {kernel}: {}", outcome.output);
    }
    for rule in ["NEVER-MORE", "NEVER-REFUSED", "NEVER-LISTENED"] {
        assert_eq!(of(rule).len(), 0, "{rule} on {kernel}: {}", outcome.output);
    }
    let called = of("CALLED")[0];
    assert_eq!(called["acts"][0], "net.close");
    assert_eq!(called["process"]["exe"], "/opt/client", "{called}");
    let flow = &called["object"]["flow"];
    assert_eq!((&flow["bytes_out"], &flow["bytes_in"]), (&1000.into(), &300.into()), "{flow}");
    assert_eq!(
        (&flow["local_ip"], &flow["remote_ip"]),
        (&"127.0.0.22".into(), &"127.0.0.21".into())
    );
    let seconds = flow["duration_ns"].as_u64().expect("its begin was seen") / 1_000_000_000;
    assert!((1..3600).contains(&seconds), "{flow}");
}

// So named that `cargo xtask test flows` runs them and nothing else.
mod flows {
    #[test]
    fn that_end_are_told_to_the_byte_on_6_1() {
        super::told_on("6.1");
    }

    #[test]
    fn that_end_are_told_to_the_byte_on_6_12() {
        super::told_on("6.12");
    }

    #[test]
    fn that_end_are_told_to_the_byte_on_newest() {
        super::told_on("newest");
    }
}
