//! RFC 5424 over TLS, read by two servers.

use std::{fs, path::Path};

use interdict_agent::alert::{key::PublicKey, verify::Repeats};

use crate::{Receiver, assert_whole, certificate, free_port, receivers, send, wait_until};

/// What a server wrote per message: priority, program, message id, structured data, then the alert behind `|{`.
fn assert_messages(folder: &Path, key: PublicKey, count: usize, start: &str) {
    let read = || fs::read(folder.join("out.log")).unwrap_or_default();
    let newlines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
    wait_until("all messages", || newlines(&read()) >= count);
    let messages = crate::lines(&read());
    let json: Vec<Vec<u8>> = messages
        .iter()
        .map(|message| {
            let start = message.windows(2).position(|pair| pair == b"|{").unwrap() + 1;
            message[start..].to_vec()
        })
        .collect();
    assert_whole(&json, key, Repeats::Refused);
    let decision = String::from_utf8_lossy(&messages[2]);
    assert!(decision.starts_with(start), "{decision}");
}

#[test]
fn rsyslog_gets_a_provable_stream_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let (port, dir) = (free_port(), folder.path().display());
    let config = format!(
        r#"global(DefaultNetstreamDriver="ossl" DefaultNetstreamDriverCAFile="{dir}/ca.pem"
  DefaultNetstreamDriverCertFile="{dir}/ca.pem" DefaultNetstreamDriverKeyFile="{dir}/key.pem" workDirectory="{dir}"
  maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
template(name="plain" type="string" string="%pri-text%|%app-name%|%msgid%|%structured-data%|%msg%\n")
input(type="imtcp" port="{port}" address="127.0.0.1")
action(type="omfile" file="{dir}/out.log" template="plain")
"#
    );
    let path = folder.path().join("rsyslog.conf");
    fs::write(&path, config).unwrap();
    let receivers = receivers();
    let mut command = receivers.program("usr/sbin/rsyslogd");
    command.arg("-M").arg(receivers.path("usr/lib/x86_64-linux-gnu/rsyslog"));
    command.args(["-n", "-f"]).arg(&path).arg("-i").arg(folder.path().join("pid"));
    let mut receiver = Receiver::start(&mut command, folder.path());
    receiver.wait_for_port(port);
    let sink = format!("syslog: {{ address: \"127.0.0.1:{port}\", tls: {{ ca: {dir}/ca.pem }} }}");
    let (key, native) = send(folder.path(), &sink);
    let start = "authpriv.err|interdict|decision|[interdict@32473 stream=";
    assert_messages(folder.path(), key, native.len(), start);
}

#[test]
fn syslog_ng_reads_the_same_messages_and_their_structured_data() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let (port, dir) = (free_port(), folder.path().display());
    let config = format!(
        r#"@version: 3.38
options {{ keep-hostname(yes); log-msg-size(1048576); stats-freq(0); }};
source in {{ syslog(ip("127.0.0.1") port({port}) transport("tls") flags(no-multi-line)
  tls(key-file("{dir}/key.pem") cert-file("{dir}/ca.pem") peer-verify(required-trusted) ca-file("{dir}/client.pem"))); }};
destination out {{ file("{dir}/out.log"
  template("$FACILITY.$LEVEL|$PROGRAM|$MSGID|seq=${{.SDATA.interdict@32473.seq}},rule=${{.SDATA.interdict@32473.rule}}|$MSG\n")); }};
log {{ source(in); destination(out); }};
"#
    );
    let path = folder.path().join("syslog-ng.conf");
    fs::write(&path, config).unwrap();
    let receivers = receivers();
    let mut command = receivers.program("usr/sbin/syslog-ng");
    command.arg("--module-path").arg(receivers.path("usr/lib/syslog-ng/3.38"));
    command.args(["-F", "-e", "--no-caps", "-f"]).arg(&path);
    for (option, name) in [("-R", "persist"), ("-p", "pid"), ("-c", "control")] {
        command.arg(option).arg(folder.path().join(name));
    }
    let mut receiver = Receiver::start(&mut command, folder.path());
    receiver.wait_for_port(port);
    // It asks for a client certificate that it trusts, and there is one.
    let sink = format!(
        "syslog: {{ address: \"127.0.0.1:{port}\",\n      tls: {{ ca: {dir}/ca.pem, certificate: {dir}/client.pem, \
         key: {dir}/client-key.pem }} }}"
    );
    let (key, native) = send(folder.path(), &sink);
    let start = "authpriv.err|interdict|decision|seq=3,rule=IDT-FILE-0201|{";
    assert_messages(folder.path(), key, native.len(), start);
}
