//! Renders an alert as the bytes that are hashed: what `serde_json` makes of the model, byte for byte, but with shared
//! parts copied instead of rendered. A property test holds the two together.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    model::{Alert, ProcessInfo},
    shared::{Shared, append, append_text},
};

/// Appends the JSON of `alert`.
pub(super) fn write(out: &mut Vec<u8>, alert: &Alert) {
    // Taken apart by name, so that a member that is added to the model can't be forgotten here.
    let Alert {
        acts,
        agent,
        container,
        decision,
        escaped,
        facts,
        host,
        id,
        kind,
        message,
        notice,
        object,
        policy,
        process,
        redacted,
        rules,
        schema,
        seq,
        severity,
        stream,
        time,
        time_boot_ns,
        trimmed,
    } = alert;
    let mut members = Members::begin(out);
    members.texts("acts", acts);
    members.add("agent", agent);
    members.known("container", container.as_ref());
    members.known("decision", decision.as_ref());
    members.unless(escaped.is_empty(), "escaped", escaped);
    members.facts(facts);
    members.copy("host", host);
    members.text("id", id);
    members.add("kind", kind);
    members.text("message", message);
    members.known("notice", notice.as_ref());
    members.known("object", object.as_ref());
    if let Some(policy) = policy {
        members.copy("policy", policy);
    }
    if let Some(process) = process {
        members.name("process");
        write_process(members.out, process);
    }
    members.unless(redacted.is_empty(), "redacted", redacted);
    members.copy_list("rules", rules);
    members.text("schema", schema);
    members.add("seq", seq);
    members.add("severity", severity);
    members.text("stream", stream);
    members.text("time", time);
    members.text("time_boot_ns", time_boot_ns);
    members.unless(trimmed.is_empty(), "trimmed", trimmed);
    members.end();
}

fn write_process(out: &mut Vec<u8>, process: &ProcessInfo) {
    let ProcessInfo {
        ancestors,
        args,
        args_truncated,
        cgroup_id,
        euid,
        euser,
        exe,
        gid,
        group,
        name,
        parent_pid,
        pid,
        source,
        start_boot_ns,
        tid,
        uid,
        user,
    } = process;
    let mut members = Members::begin(out);
    members.copy_list("ancestors", ancestors);
    members.texts("args", args);
    members.unless(!args_truncated, "args_truncated", args_truncated);
    members.text("cgroup_id", cgroup_id);
    members.add("euid", euid);
    members.known_text("euser", euser.as_deref());
    members.known_text("exe", exe.as_deref());
    members.add("gid", gid);
    members.known_text("group", group.as_deref());
    members.text("name", name);
    members.add("parent_pid", parent_pid);
    members.add("pid", pid);
    members.text("source", source);
    members.known_text("start_boot_ns", start_boot_ns.as_deref());
    members.add("tid", tid);
    members.add("uid", uid);
    members.known_text("user", user.as_deref());
    members.end();
}

/// The members of one object.
struct Members<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl<'a> Members<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_first: true }
    }

    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(if self.is_first { b"\"" } else { b",\"" });
        self.is_first = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn add<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.name(name);
        append(self.out, value);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        append_text(self.out, text);
    }

    fn known_text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn texts(&mut self, name: &str, texts: &[impl AsRef<str>]) {
        if texts.is_empty() {
            return;
        }
        self.name(name);
        for (index, text) in texts.iter().enumerate() {
            self.out.push(if index == 0 { b'[' } else { b',' });
            append_text(self.out, text.as_ref());
        }
        self.out.push(b']');
    }

    fn facts(&mut self, facts: &BTreeMap<String, String>) {
        if facts.is_empty() {
            return;
        }
        self.name("facts");
        for (index, (name, value)) in facts.iter().enumerate() {
            self.out.push(if index == 0 { b'{' } else { b',' });
            append_text(self.out, name);
            self.out.push(b':');
            append_text(self.out, value);
        }
        self.out.push(b'}');
    }

    fn known<T: Serialize>(&mut self, name: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    fn unless<T: Serialize + ?Sized>(&mut self, is_left_out: bool, name: &str, value: &T) {
        if !is_left_out {
            self.add(name, value);
        }
    }

    fn copy<T>(&mut self, name: &str, part: &Shared<T>) {
        self.name(name);
        self.out.extend_from_slice(part.json());
    }

    fn copy_list<T>(&mut self, name: &str, parts: &[Shared<T>]) {
        if parts.is_empty() {
            return;
        }
        self.name(name);
        for (index, part) in parts.iter().enumerate() {
            self.out.push(if index == 0 { b'[' } else { b',' });
            self.out.extend_from_slice(part.json());
        }
        self.out.push(b']');
    }

    fn end(self) {
        self.out.push(b'}');
    }
}
