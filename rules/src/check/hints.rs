//! What to say when a field is used wrongly or not found.

use crate::field::{self, Field, Type, Words};

/// A test on the field that would be right.
pub(super) fn example(field: &Field) -> String {
    let name = field.name;
    match field.kind {
        Type::Path => format!("{name} == \"/usr/bin/nc\""),
        Type::Name => format!("{name} in [\"nc\", \"ncat\"]"),
        Type::Text => format!("{name} contains \"text\""),
        Type::Domain => format!("{name} in [\"evil.example\", \"**.bad.example\"]"),
        Type::Image => format!("{name} == \"nginx:*\""),
        Type::Number(_) => format!("{name} >= 1000"),
        Type::Port => format!("{name} in [22, 8000..8999]"),
        Type::Word(Words::Syscall) => format!("{name} in [setns, unshare]"),
        Type::Word(words) => {
            format!("{name} == {}", field::number_words(words).first().map_or("1", |word| word.0))
        }
        Type::Address => format!("{name} in [10.0.0.0/8, \"2001:db8::/32\"]"),
        Type::Flag => name.to_owned(),
        Type::Container => format!("{name} != host"),
    }
}

/// The field of the program that is started, for names that mean it in other languages where a program starts.
pub(super) fn started(name: &str) -> Option<&'static str> {
    match name {
        "proc.name" => Some("exec.name"),
        "proc.exepath" | "proc.exe" | "exe" => Some("exec.path"),
        _ => None,
    }
}

/// Fields of other languages, and of this one under a name that comes to mind first.
pub(super) fn foreign(name: &str) -> Option<&'static str> {
    Some(match name {
        "proc.exepath" | "proc.exe" | "process.path" | "process.binary" | "process.executable"
        | "exe" => "process.exe",
        "proc.name" | "comm" | "process.comm" => "process.name",
        "proc.pexepath"
        | "proc.pname"
        | "process.parent"
        | "process.parent.name"
        | "parent.exe" => "process.parent.exe",
        "proc.aname" | "proc.aexepath" | "process.ancestors" | "process.ancestors.exe" => {
            "process.ancestor.exe"
        }
        "proc.cmdline" | "proc.args" | "process.cmdline" | "exec.cmdline" | "exec.argv"
        | "args" => "exec.args",
        "fd.name" | "fs.path" | "path" => "file.path",
        "fd.filename" => "file.name",
        "fd.directory" => "file.dir",
        "fd.sip" | "fd.rip" | "net.ip" | "net.remote.ip" | "dst.ip" | "net.daddr" => "net.dst.ip",
        "fd.sport" | "fd.rport" | "net.port" | "net.remote.port" | "dst.port" | "net.dport" => {
            "net.dst.port"
        }
        "fd.cip" | "fd.lip" | "net.saddr" | "src.ip" => "net.src.ip",
        "fd.cport" | "fd.lport" | "net.sport" | "src.port" => "net.src.port",
        "fd.l4proto" | "net.protocol" => "net.proto",
        "user.uid" | "uid" => "process.uid",
        "user.loginuid" => "process.loginuid",
        "evt.type" | "syscall" | "syscall.nr" | "syscall.number" => "syscall.name",
        "proc.cwd" => "process.cwd",
        "thread.cap_effective" | "process.capabilities" => "process.caps",
        "container" | "container.host" => "container.id != host",
        _ => return None,
    })
}
