//! ArcSight Common Event Format, revision 26 (`CEF:0`).
//!
//! Header fields escape `\` and `|`, extension values escape `\`, `=` and line breaks; everything else that isn't
//! printable is escaped as in sentences, because CEF has no escape for it.

use interdict_rules::meta::Severity;

use super::{Sealed, unix_ms};
use crate::alert::text;

/// The line.
pub(super) fn line(sealed: &Sealed) -> String {
    let alert = &sealed.alert;
    let rule = alert.rules.first();
    let notice = alert.notice.as_ref().map(|notice| notice.name.as_ref());
    let class = rule.map(|rule| rule.id.as_str()).or(notice).unwrap_or("decision");
    let name = rule.map(|rule| rule.title.as_str()).or(notice).unwrap_or("decision");
    let severity = match alert.severity {
        Severity::Info => 1,
        Severity::Low => 3,
        Severity::Medium => 5,
        Severity::High => 8,
        Severity::Critical => 10,
    };
    let mut out = String::with_capacity(1_024);
    out.push_str("CEF:0|interdict|interdict|");
    header(&mut out, &alert.agent.version);
    out.push('|');
    header(&mut out, class);
    out.push('|');
    header(&mut out, name);
    out.push_str(&format!("|{severity}|"));

    let mut extension = Extension { out, is_first: true };
    extension.add("rt", &unix_ms(alert).to_string());
    extension.add("externalId", &alert.id);
    extension.add("dvchost", &alert.host.name);
    extension.add("msg", &alert.message);
    if let Some(decision) = &alert.decision {
        extension.add("act", &decision.verdict);
        let refused = decision.verdict == "block" || decision.verdict == "kill";
        extension.add("outcome", if refused { "failure" } else { "success" });
        extension.label("cs1", "would", &decision.would);
        extension.label("cs2", "mode", &decision.mode);
    }
    extension.add("cat", &alert.acts.join(","));
    if let Some(process) = &alert.process {
        extension.add("spid", &process.pid.to_string());
        extension.add("sproc", process.exe.as_deref().unwrap_or(&process.name));
        extension.add("suid", &process.uid.to_string());
        extension.add("suser", process.user.as_deref().unwrap_or_default());
        extension.label("cs3", "commandLine", &process.args.join(" "));
        if let Some(parent) = process.ancestors.first() {
            extension.label("cs4", "parentProcess", parent.exe.as_deref().unwrap_or_default());
        }
    }
    if let Some(object) = &alert.object {
        extension.add("filePath", object.path.as_deref().unwrap_or_default());
        extension.add("destinationDnsDomain", object.dns_name.as_deref().unwrap_or_default());
        if let Some(flow) = &object.flow {
            let inbound = alert.acts.iter().any(|act| act == "packet.in" || act == "net.accept");
            let remote = (&flow.remote_ip, flow.remote_port);
            let local = (&flow.local_ip, flow.local_port);
            let (source, destination) = if inbound { (remote, local) } else { (local, remote) };
            extension.end("src", "c6a2", "spt", source);
            extension.end("dst", "c6a3", "dpt", destination);
            extension.add("proto", &flow.protocol.to_uppercase());
            if let Some(bytes) = flow.bytes_in {
                extension.add("in", &bytes.to_string());
            }
            if let Some(bytes) = flow.bytes_out {
                extension.add("out", &bytes.to_string());
            }
            extension.add("deviceDirection", if inbound { "0" } else { "1" });
        }
    }
    if let Some(container) = &alert.container {
        extension.label("cs5", "container", &container.id);
    }
    extension.label("cs6", "chainHash", &sealed.hash);
    extension.label("cn1", "sequence", &alert.seq.to_string());
    let attack: Vec<&str> =
        alert.rules.iter().flat_map(|rule| &rule.attack).map(String::as_str).collect();
    extension.label("flexString1", "attack", &attack.join(","));
    extension.out
}

struct Extension {
    out: String,
    is_first: bool,
}

impl Extension {
    fn add(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        if !self.is_first {
            self.out.push(' ');
        }
        self.is_first = false;
        self.out.push_str(key);
        self.out.push('=');
        for part in value.split_inclusive(['\\', '=', '\n', '\r']) {
            let (plain, last) = match part.char_indices().next_back() {
                Some((at, last)) if matches!(last, '\\' | '=' | '\n' | '\r') => {
                    (&part[..at], Some(last))
                }
                Some(_) | None => (part, None),
            };
            text::for_people(&mut self.out, plain);
            match last {
                Some('\n') => self.out.push_str("\\n"),
                Some('\r') => self.out.push_str("\\r"),
                Some(other) => {
                    self.out.push('\\');
                    self.out.push(other);
                }
                None => {}
            }
        }
    }

    fn label(&mut self, key: &str, label: &str, value: &str) {
        if !value.is_empty() {
            self.add(&format!("{key}Label"), label);
            self.add(key, value);
        }
    }

    /// IPv4 has keys of its own; IPv6 goes into a custom one with a label.
    fn end(
        &mut self,
        key: &str,
        key_v6: &str,
        port_key: &str,
        end: (&Option<String>, Option<u16>),
    ) {
        match end.0 {
            Some(ip) if ip.contains(':') => self.label(key_v6, key, ip),
            Some(ip) => self.add(key, ip),
            None => {}
        }
        if let Some(port) = end.1 {
            self.add(port_key, &port.to_string());
        }
    }
}

fn header(out: &mut String, value: &str) {
    let mut safe = String::new();
    text::for_people(&mut safe, value);
    for character in safe.chars() {
        if matches!(character, '\\' | '|') {
            out.push('\\');
        }
        out.push(character);
    }
}
