//! The fields of the language: name, type, meaning, and what each becomes for each act.
//!
//! One table. The reference (`interdict fields`) and the schema are generated from it; `check` looks words up in it;
//! `normalise` asks [`Field::resolve`] which fact a field is for one act.

mod decided;
pub mod domain;
pub mod reference;
mod syscalls;
mod table;
mod words;

use interdict_abi::ids::{Act, Fact, Family, SetFact, process_flags};

pub use decided::{DECIDED, Decided, decided};
pub use syscalls::{syscall_name, syscall_names, syscall_numbers};
pub use table::FIELDS;
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
    /// A reference to a container image: `==` and `in` take globs.
    Image,
    /// A domain name: `==` and `in` take `*` for a label and `**.` in front for everything below.
    Domain,
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
    /// File systems, by their magic numbers.
    FileSystem,
    /// Signals.
    Signal,
    /// Capabilities.
    Capability,
    /// What one process may want of another's memory.
    PtraceMode,
    /// Commands of bpf(2).
    BpfCommand,
    /// What a performance event watches.
    PerfKind,
    /// Types of namespaces, by the number of their bit.
    Namespace,
    /// How a namespace is made or entered.
    NamespaceCall,
    /// System calls: one word can be several numbers, see [`syscall_numbers`].
    Syscall,
    /// Ways of calling the kernel.
    Calling,
}

impl Words {
    /// The largest number a value can have.
    pub const fn largest(self) -> u32 {
        match self {
            Self::Protocol
            | Self::AddressFamily
            | Self::SocketType
            | Self::FileType
            | Self::FileSystem
            | Self::PtraceMode
            | Self::BpfCommand
            | Self::PerfKind
            | Self::NamespaceCall => u32::MAX,
            Self::Signal => 64,
            Self::Capability => 63,
            Self::Namespace => 7,
            Self::Calling => 4,
            Self::Syscall => 0,
        }
    }
}

impl Type {
    /// The word for it in messages and in the reference.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Name => "name",
            Self::Text => "text",
            Self::Image => "image",
            Self::Domain => "domain",
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
    /// Only later, in user space: may narrow what is told, can never be decided on.
    User,
    /// What a container's runtime has told: rules that block or kill decide on it in the kernel, rules that alert are
    /// told by it, once it is known.
    Place,
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
    /// Bits of a flags fact, chosen by number.
    FlagNumbers(Fact),
    /// Effective capabilities, by number.
    Capabilities,
    /// The way of calling in the number of a system call.
    Calling,
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
    /// One act, of which it tells the particulars.
    Act(Act),
    /// A system call.
    Syscall,
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
    /// Known in user space, when the alert is built.
    Told,
    /// See [`Class::Place`].
    Place(Fact),
    /// The arguments of the acting process's program: decided in the kernel, but told by where a process has just changed
    /// its program, or is gone.
    Arguments,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Ip,
    Port,
}

/// The type of permission bits: numbers that everybody writes in octal.
pub const PERMISSION_BITS: Type = Type::Number(0o7777);

/// The field of this name.
pub fn find(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

impl Field {
    /// Whether the act has such a thing at all.
    pub fn belongs_to(&self, act: Act) -> bool {
        let family = act.family();
        match self.of {
            Of::Process => family.has_process(),
            Of::Exec => matches!(family, Family::Exec | Family::Started),
            Of::File => family == Family::File || act == Act::ModuleLoad || act == Act::Kexec,
            Of::Net => matches!(family, Family::Net | Family::Packet | Family::Dns),
            Of::Dns => family == Family::Dns || matches!(act, Act::NetConnect | Act::NetSend),
            Of::Target => matches!(act, Act::Ptrace | Act::Signal),
            Of::Host => true,
            Of::Act(of) => of == act,
            Of::Syscall => family == Family::Syscall,
        }
    }

    /// Which fact it is for this act.
    pub fn resolve(&self, act: Act) -> Result<Resolved, Unresolved> {
        if !self.belongs_to(act) {
            return Err(Unresolved::OfOtherAct);
        }
        let (remote, local) = match act {
            // The peer is the source of what comes in, the destination of what goes out.
            Act::PacketIn | Act::PacketAccept | Act::NetAccept => (true, false),
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
            Meaning::Told => return Err(Unresolved::UserSpace),
            Meaning::Place(fact) => Resolved::Fact(fact),
            Meaning::Arguments => Resolved::Set(SetFact::Args),
        };
        let Some(row) = decided(act) else { return Err(Unresolved::NotDecided) };
        if let Meaning::Arguments = self.meaning {
            // There they are those of the new program: `exec.args`.
            let known = act != Act::ExecArgs && row.knows_set(SetFact::Args);
            return if known { Ok(resolved) } else { Err(Unresolved::UserSpace) };
        }
        // Before its stage has come the same fact is about something else.
        if self.stage(act) != act {
            return Err(Unresolved::NotDecided);
        }
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
            Resolved::FlagNumbers(fact) => row.knows(fact),
            Resolved::Capabilities => row.knows_set(SetFact::Caps),
            Resolved::Calling => row.knows(Fact::Number),
            Resolved::Set(set) => row.knows_set(set),
            Resolved::Container => {
                row.knows(Fact::ProcessFlags) && row.process_flags & process_flags::CONTAINER != 0
            }
        };
        if known { Ok(resolved) } else { Err(Unresolved::NotDecided) }
    }

    /// The later stage of an act that a test on it makes a rule one on.
    pub fn later(&self) -> Option<Act> {
        match self.name {
            "exec.args" | "exec.argc" => Some(Act::ExecArgs),
            "syscall.result" | "syscall.error" => Some(Act::SyscallResult),
            _ => None,
        }
    }

    /// The stage of an act at which it is known.
    pub fn stage(&self, act: Act) -> Act {
        act.later().filter(|later| self.later() == Some(*later)).unwrap_or(act)
    }
}
