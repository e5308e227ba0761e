//! The fields of the language: name, type, meaning, and what each becomes for each act.
//!
//! One table. The reference (`interdict fields`) and the schema are generated from it; `check` looks words up in it;
//! `normalise` asks [`Field::resolve`] which fact a field is for one act.

mod decided;
pub mod reference;
mod words;

use interdict_abi::ids::{Act, Fact, Family, SetFact, object_flags, process_flags};

pub use decided::{DECIDED, Decided, decided};
pub use words::{number_word, number_words};

/// What kind of values a field has, and so which operators and values fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A path: `==` and `in` take globs.
    Path,
    /// One component of a path, or a process name: `==` and `in` take globs.
    Name,
    /// Any text: `==` and `in` are exact.
    Text,
    /// A number up to this bound.
    Number(u32),
    /// A port.
    Port,
    /// A number with names, such as a protocol.
    Word(Words),
    /// An address.
    Address,
    /// Yes or no.
    Flag,
    /// `host`, or something else.
    Container,
}

/// Which names the values of a [`Type::Word`] have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// IP protocols.
    Protocol,
    /// Address families.
    AddressFamily,
    /// Socket types.
    SocketType,
    /// Types of files.
    FileType,
}

impl Type {
    /// The word for it in messages and in the reference.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Name => "name",
            Self::Text => "text",
            Self::Number(_) => "number",
            Self::Port => "port",
            Self::Word(_) => "word",
            Self::Address => "address",
            Self::Flag => "yes or no",
            Self::Container => "container",
        }
    }
}

/// Where a field becomes known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// In the kernel, on data nobody can change meanwhile.
    Kernel,
    /// Only later, in user space: may be told, never decided on.
    User,
}

/// What a field is for one act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// A fact with one value.
    Fact(Fact),
    /// The directory part of a path fact.
    Directory(Fact),
    /// The last component of a path fact, where it is not a fact of its own.
    LastOf(Fact),
    /// The type bits of the object's mode.
    TypeBits,
    /// The permission bits of the object's mode.
    PermissionBits,
    /// Bits of a flags fact.
    Flags(Fact, u32),
    /// A fact with many values.
    Set(SetFact),
    /// The process runs in a container.
    Container,
}

/// Why a field cannot be used with an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The act has no such thing.
    OfOtherAct,
    /// The act has it, but the kernel programs of this version do not gather it.
    NotDecided,
    /// Known in user space only.
    UserSpace,
}

/// The object a field belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The acting process: every act but packets.
    Process,
    /// The program that is to run.
    Exec,
    /// The file that is touched.
    File,
    /// The flow.
    Net,
    /// The name looked up.
    Dns,
    /// The host.
    Host,
    /// The target of an act on another process.
    Target,
}

/// One field.
#[derive(Debug)]
pub struct Field {
    /// Its name in expressions.
    pub name: &'static str,
    /// Its values.
    pub kind: Type,
    /// Where it becomes known.
    pub class: Class,
    /// Whose it is.
    pub of: Of,
    /// What it means: one or two sentences of the reference.
    pub doc: &'static str,
    meaning: Meaning,
}

#[derive(Clone, Copy, Debug)]
enum Meaning {
    Is(Resolved),
    /// Source or destination: remote or local by act.
    Source(End),
    Destination(End),
    /// In the language, nowhere in the kernel yet.
    Nowhere,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Ip,
    Port,
}

const fn field(
    name: &'static str,
    kind: Type,
    of: Of,
    meaning: Meaning,
    doc: &'static str,
) -> Field {
    Field { name, kind, class: Class::Kernel, of, doc, meaning }
}

const fn user(name: &'static str, kind: Type, of: Of, doc: &'static str) -> Field {
    Field { name, kind, class: Class::User, of, doc, meaning: Meaning::Nowhere }
}

const fn fact(fact: Fact) -> Meaning {
    Meaning::Is(Resolved::Fact(fact))
}

const fn object(bits: u32) -> Meaning {
    Meaning::Is(Resolved::Flags(Fact::ObjectFlags, bits))
}

/// All fields, in the order of the reference.
pub const FIELDS: &[Field] = &[
    field(
        "exec.path",
        Type::Path,
        Of::Exec,
        fact(Fact::Path),
        "Path of the program that is about to run, as the kernel resolved it: links followed, never the argument of the system call.",
    ),
    field("exec.name", Type::Name, Of::Exec, fact(Fact::Name), "Last component of `exec.path`."),
    field(
        "exec.dir",
        Type::Path,
        Of::Exec,
        Meaning::Is(Resolved::Directory(Fact::Path)),
        "Directory of the program: `exec.path` without its last component.",
    ),
    field(
        "exec.script",
        Type::Flag,
        Of::Exec,
        object(object_flags::SCRIPT),
        "What runs is a script; its interpreter is decided on as well, as an act of its own.",
    ),
    field(
        "exec.interpreter",
        Type::Path,
        Of::Exec,
        fact(Fact::SecondPath),
        "Path of the interpreter of a script.",
    ),
    field(
        "exec.memfd",
        Type::Flag,
        Of::Exec,
        object(object_flags::MEMFD),
        "The program is a memory file (`memfd_create`) that never had a name in any file system.",
    ),
    field(
        "exec.deleted",
        Type::Flag,
        Of::Exec,
        object(object_flags::DELETED),
        "No name of the program is left: it was unlinked before it ran.",
    ),
    field(
        "exec.upper_layer",
        Type::Flag,
        Of::Exec,
        object(object_flags::UPPER_LAYER),
        "The program lies in the upper layer of an overlay: it was added after the container image was built.",
    ),
    field(
        "exec.setuid",
        Type::Flag,
        Of::Exec,
        object(object_flags::SETUID),
        "The program has the set-user-id bit.",
    ),
    field(
        "exec.setgid",
        Type::Flag,
        Of::Exec,
        object(object_flags::SETGID),
        "The program has the set-group-id bit.",
    ),
    field(
        "exec.owner",
        Type::Number(u32::MAX),
        Of::Exec,
        fact(Fact::ObjectOwner),
        "User id that owns the program file.",
    ),
    field(
        "exec.mode",
        Type::Number(0o7777),
        Of::Exec,
        Meaning::Is(Resolved::PermissionBits),
        "Permission bits of the program file, written in octal as in `0o755`.",
    ),
    field(
        "exec.args",
        Type::Text,
        Of::Exec,
        Meaning::Is(Resolved::Set(SetFact::Args)),
        "Arguments of the new program, one by one, its own name (argv[0]) included. A test holds when any argument meets it; with `not`, when none does. Final only after the kernel has copied them, so rules on it alert or kill.",
    ),
    field(
        "exec.argc",
        Type::Number(u32::MAX),
        Of::Exec,
        fact(Fact::ArgCount),
        "Number of arguments, argv[0] included. Rules on it alert or kill.",
    ),
    field(
        "file.path",
        Type::Path,
        Of::File,
        fact(Fact::Path),
        "Path of the file, as the kernel resolved it in the mount namespace of the process.",
    ),
    field("file.name", Type::Name, Of::File, fact(Fact::Name), "Last component of `file.path`."),
    field(
        "file.dir",
        Type::Path,
        Of::File,
        Meaning::Is(Resolved::Directory(Fact::Path)),
        "Directory of the file: `file.path` without its last component.",
    ),
    field(
        "file.new_path",
        Type::Path,
        Of::File,
        fact(Fact::SecondPath),
        "The new name of a rename or link.",
    ),
    field(
        "file.type",
        Type::Word(Words::FileType),
        Of::File,
        Meaning::Is(Resolved::TypeBits),
        "Type of the file.",
    ),
    field(
        "file.mode",
        Type::Number(0o7777),
        Of::File,
        Meaning::Is(Resolved::PermissionBits),
        "Permission bits of the file, written in octal as in `0o644`.",
    ),
    field(
        "file.owner",
        Type::Number(u32::MAX),
        Of::File,
        fact(Fact::ObjectOwner),
        "User id that owns the file.",
    ),
    field(
        "file.setuid",
        Type::Flag,
        Of::File,
        object(object_flags::SETUID),
        "The file has the set-user-id bit.",
    ),
    field(
        "file.setgid",
        Type::Flag,
        Of::File,
        object(object_flags::SETGID),
        "The file has the set-group-id bit.",
    ),
    field(
        "file.dev",
        Type::Number(u32::MAX),
        Of::File,
        fact(Fact::Device),
        "Device the file lies on, in the kernel's encoding.",
    ),
    field("file.ino", Type::Number(u32::MAX), Of::File, fact(Fact::Inode), "Inode number."),
    field(
        "file.fs",
        Type::Number(u32::MAX),
        Of::File,
        fact(Fact::FsMagic),
        "Magic number of the file system.",
    ),
    user("file.sha256", Type::Text, Of::File, "Digest of the file's content."),
    field(
        "process.exe",
        Type::Path,
        Of::Process,
        fact(Fact::Exe),
        "Path of the program the acting process runs. For `exec` the program that starts another; not known beside tests on arguments, when the new program has taken its place.",
    ),
    field(
        "process.name",
        Type::Name,
        Of::Process,
        fact(Fact::Comm),
        "The name the process gives itself (comm), at most 15 bytes. A process may call itself anything: use `process.exe` to decide.",
    ),
    field("process.uid", Type::Number(u32::MAX), Of::Process, fact(Fact::Uid), "Real user id."),
    field(
        "process.euid",
        Type::Number(u32::MAX),
        Of::Process,
        fact(Fact::Euid),
        "Effective user id.",
    ),
    field("process.gid", Type::Number(u32::MAX), Of::Process, fact(Fact::Gid), "Real group id."),
    field(
        "process.loginuid",
        Type::Number(u32::MAX),
        Of::Process,
        fact(Fact::LoginUid),
        "User id of the login this process descends from.",
    ),
    field(
        "process.pid",
        Type::Number(u32::MAX),
        Of::Process,
        fact(Fact::Pid),
        "Process id in the initial namespace.",
    ),
    field(
        "process.tty",
        Type::Flag,
        Of::Process,
        Meaning::Is(Resolved::Flags(Fact::ProcessFlags, process_flags::TTY)),
        "The process has a controlling terminal.",
    ),
    field(
        "process.stdio_is_socket",
        Type::Flag,
        Of::Process,
        Meaning::Is(Resolved::Flags(Fact::ProcessFlags, process_flags::STDIO_SOCKET)),
        "Standard input, output or error is a socket.",
    ),
    field(
        "process.args",
        Type::Text,
        Of::Process,
        Meaning::Nowhere,
        "Arguments the acting process was started with.",
    ),
    field("process.cwd", Type::Path, Of::Process, Meaning::Nowhere, "Working directory."),
    field("process.caps", Type::Text, Of::Process, Meaning::Nowhere, "Effective capabilities."),
    field(
        "process.start_age",
        Type::Number(u32::MAX),
        Of::Process,
        Meaning::Nowhere,
        "Seconds since the process started.",
    ),
    field(
        "process.parent.exe",
        Type::Path,
        Of::Process,
        fact(Fact::ParentExe),
        "Path of the program the parent runs.",
    ),
    field(
        "process.ancestor.exe",
        Type::Path,
        Of::Process,
        Meaning::Is(Resolved::Set(SetFact::Ancestors)),
        "Paths of the programs of all ancestors. A test holds when any ancestor meets it; with `not`, when none does.",
    ),
    field(
        "container.id",
        Type::Container,
        Of::Process,
        Meaning::Is(Resolved::Container),
        "Compared with `host` only: `container.id != host` holds in any container, `container.id == host` outside of all.",
    ),
    field(
        "container.image",
        Type::Text,
        Of::Process,
        Meaning::Nowhere,
        "Image the container was made from.",
    ),
    field("container.name", Type::Text, Of::Process, Meaning::Nowhere, "Name of the container."),
    field(
        "container.privileged",
        Type::Flag,
        Of::Process,
        Meaning::Nowhere,
        "The container was started with all privileges.",
    ),
    field("k8s.namespace", Type::Text, Of::Process, Meaning::Nowhere, "Namespace of the pod."),
    field("k8s.pod", Type::Text, Of::Process, Meaning::Nowhere, "Name of the pod."),
    field(
        "k8s.serviceaccount",
        Type::Text,
        Of::Process,
        Meaning::Nowhere,
        "Service account of the pod.",
    ),
    field(
        "net.dst.ip",
        Type::Address,
        Of::Net,
        Meaning::Destination(End::Ip),
        "Destination address. An IPv4 address written as mapped IPv6 is the IPv4 address.",
    ),
    field(
        "net.dst.port",
        Type::Port,
        Of::Net,
        Meaning::Destination(End::Port),
        "Destination port.",
    ),
    field("net.src.ip", Type::Address, Of::Net, Meaning::Source(End::Ip), "Source address."),
    field("net.src.port", Type::Port, Of::Net, Meaning::Source(End::Port), "Source port."),
    field(
        "net.proto",
        Type::Word(Words::Protocol),
        Of::Net,
        fact(Fact::Protocol),
        "IP protocol, by name (`tcp`, `udp`, `icmp`, `icmpv6`, `sctp`) or number.",
    ),
    field(
        "net.family",
        Type::Word(Words::AddressFamily),
        Of::Net,
        fact(Fact::AddressFamily),
        "Address family, by name (`inet`, `inet6`, `unix`, `packet`, ...) or number.",
    ),
    field(
        "net.type",
        Type::Word(Words::SocketType),
        Of::Net,
        fact(Fact::SocketType),
        "Socket type, by name (`stream`, `dgram`, `raw`, `seqpacket`) or number.",
    ),
    field("dns.name", Type::Text, Of::Dns, fact(Fact::DnsName), "The name looked up."),
    field(
        "target.exe",
        Type::Path,
        Of::Target,
        fact(Fact::TargetExe),
        "Path of the program the target process runs.",
    ),
    user("user.name", Type::Text, Of::Process, "Name of the acting user."),
    user("host.name", Type::Text, Of::Host, "Name of the host."),
];

/// The field of this name.
pub fn find(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

impl Field {
    /// Whether the act has such a thing at all.
    pub fn belongs_to(&self, act: Act) -> bool {
        let family = act.family();
        match self.of {
            Of::Process => family != Family::Packet,
            Of::Exec => matches!(family, Family::Exec | Family::Started),
            Of::File => family == Family::File || act == Act::ModuleLoad || act == Act::Kexec,
            Of::Net => matches!(family, Family::Net | Family::Packet),
            Of::Dns => family == Family::Dns,
            Of::Target => matches!(act, Act::Ptrace | Act::Signal),
            Of::Host => true,
        }
    }

    /// Which fact it is for this act.
    pub fn resolve(&self, act: Act) -> Result<Resolved, Unresolved> {
        match self.class {
            Class::User => return Err(Unresolved::UserSpace),
            Class::Kernel => {}
        }
        if !self.belongs_to(act) {
            return Err(Unresolved::OfOtherAct);
        }
        let (remote, local) = match act {
            // The peer is the source of what comes in, the destination of what goes out.
            Act::PacketIn | Act::NetAccept => (true, false),
            _ => (false, true),
        };
        let end = |is_remote: bool, end: End| match (is_remote, end) {
            (true, End::Ip) => Resolved::Fact(Fact::RemoteIp),
            (true, End::Port) => Resolved::Fact(Fact::RemotePort),
            (false, End::Ip) => Resolved::Fact(Fact::LocalIp),
            (false, End::Port) => Resolved::Fact(Fact::LocalPort),
        };
        let resolved = match self.meaning {
            Meaning::Is(resolved) => resolved,
            Meaning::Source(what) => end(remote, what),
            Meaning::Destination(what) => end(local, what),
            Meaning::Nowhere => return Err(Unresolved::NotDecided),
        };
        let Some(row) = decided(act) else { return Err(Unresolved::NotDecided) };
        let resolved = match resolved {
            Resolved::Fact(Fact::Name) if !row.knows(Fact::Name) => Resolved::LastOf(Fact::Path),
            other => other,
        };
        let known = match resolved {
            Resolved::Fact(fact) | Resolved::Directory(fact) | Resolved::LastOf(fact) => {
                row.knows(fact)
            }
            Resolved::TypeBits | Resolved::PermissionBits => row.knows(Fact::ObjectMode),
            Resolved::Flags(fact, bits) => {
                let bits_known = match fact {
                    Fact::ObjectFlags => row.object_flags,
                    _ => row.process_flags,
                };
                row.knows(fact) && bits_known & bits == bits
            }
            Resolved::Set(set) => row.knows_set(set),
            Resolved::Container => {
                row.knows(Fact::ProcessFlags) && row.process_flags & process_flags::CONTAINER != 0
            }
        };
        if known { Ok(resolved) } else { Err(Unresolved::NotDecided) }
    }

    /// Whether a test on it makes an `exec` rule one on arguments.
    pub fn of_arguments(&self) -> bool {
        matches!(self.name, "exec.args" | "exec.argc")
    }
}
