//! The table of fields, in the order of the reference.

use interdict_abi::ids::{Act, Fact, SetFact, object_flags, process_flags};

use super::{Class, End, Field, Meaning, Of, PERMISSION_BITS, Resolved, Type, Words};

const fn field(
    name: &'static str,
    kind: Type,
    of: Of,
    meaning: Meaning,
    doc: &'static str,
) -> Field {
    Field { name, kind, class: Class::Kernel, of, doc, meaning }
}

/// Known in user space when the alert is built.
const fn told(name: &'static str, kind: Type, of: Of, doc: &'static str) -> Field {
    Field { name, kind, class: Class::User, of, doc, meaning: Meaning::Told }
}

const fn place(name: &'static str, kind: Type, fact: Fact, doc: &'static str) -> Field {
    Field { name, kind, class: Class::Place, of: Of::Process, doc, meaning: Meaning::Place(fact) }
}

const fn fact(fact: Fact) -> Meaning {
    Meaning::Is(Resolved::Fact(fact))
}

const fn argument(name: &'static str, which: Fact) -> Field {
    field(
        name,
        Type::Number(u32::MAX),
        Of::Syscall,
        fact(which),
        "An argument of the call as it was passed, its low 32 bits. Where it is a pointer, it says nothing of what it points to.",
    )
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
        PERMISSION_BITS,
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
    told(
        "exec.sha256",
        Type::Text,
        Of::Exec,
        "SHA-256 of the program's content when the alert is built, in small hexadecimal digits; files over 64 MiB are not read.",
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
        PERMISSION_BITS,
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
    told(
        "file.sha256",
        Type::Text,
        Of::File,
        "SHA-256 of the file's content when the alert is built, in small hexadecimal digits; files over 64 MiB are not read.",
    ),
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
        "User id of the login this process descends from, 4294967295 if there was none.",
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
        "The session of the process has a controlling terminal.",
    ),
    field(
        "process.stdio_is_socket",
        Type::Flag,
        Of::Process,
        Meaning::Is(Resolved::Flags(Fact::ProcessFlags, process_flags::STDIO_SOCKET)),
        "Standard input, output or error is a socket.",
    ),
    told(
        "process.args",
        Type::Text,
        Of::Process,
        "Arguments the acting process was started with, one by one, its own name included. A test holds when any argument meets it; with `not`, when none does.",
    ),
    field(
        "process.cwd",
        Type::Path,
        Of::Process,
        fact(Fact::Cwd),
        "Working directory of the process, from the root of its mount namespace.",
    ),
    field(
        "process.caps",
        Type::Word(Words::Capability),
        Of::Process,
        Meaning::Is(Resolved::Capabilities),
        "Effective capabilities of the acting process. A test holds when it has any of those named; with `not`, when it has none of them.",
    ),
    field(
        "process.start_age",
        Type::Number(u32::MAX),
        Of::Process,
        fact(Fact::StartAge),
        "Seconds since the process started, the time the host slept included. A process that runs another program does not start anew.",
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
        "`container.id != host` holds in any container, `container.id == host` outside of all: both are decided in the kernel. A process is in a container when its PID namespace is not the host's, or when its cgroup (v2) or one above is named as container runtimes name them: 64 hexadecimal digits at the end, with or without `.scope`, or `lxc.payload.` at the start. Compared with a text it is the id of the container, known as `container.name` is.",
    ),
    place(
        "container.image",
        Type::Image,
        Fact::ContainerImage,
        "Image the container was made from, as in `docker.io/library/nginx:1.27`; compared in full and without `docker.io/` and `library/`.",
    ),
    place("container.name", Type::Name, Fact::ContainerName, "Name of the container."),
    place(
        "container.privileged",
        Type::Flag,
        Fact::Privileged,
        "The container was started with all privileges, as with `--privileged`: by its runtime's configuration it may load modules, administer and reach raw devices, and nothing of `/proc` is hidden from it.",
    ),
    place("k8s.namespace", Type::Name, Fact::PodNamespace, "Namespace of the pod."),
    place("k8s.pod", Type::Name, Fact::Pod, "Name of the pod."),
    place(
        "k8s.labels",
        Type::Text,
        Fact::PodLabels,
        "Labels of the pod, each as `key=value`. A test holds when any label meets it; with `not`, when none does.",
    ),
    place(
        "k8s.serviceaccount",
        Type::Name,
        Fact::ServiceAccount,
        "Service account of the pod, as the token says that the kubelet keeps for it. Not known of a pod that has no token.",
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
    field(
        "dns.name",
        Type::Domain,
        Of::Dns,
        fact(Fact::DnsName),
        "The name looked up: `*` stands for one label, `**.` in front for the name and everything below it. Of a flow each name for which a look-up of this host was answered with the address, as long as the answer holds: a test holds when any name meets it.",
    ),
    field(
        "target.exe",
        Type::Path,
        Of::Target,
        fact(Fact::TargetExe),
        "Path of the program the target process runs.",
    ),
    field(
        "target.pid",
        Type::Number(u32::MAX),
        Of::Target,
        fact(Fact::TargetPid),
        "Process id of the target, in the initial namespace.",
    ),
    field(
        "target.uid",
        Type::Number(u32::MAX),
        Of::Target,
        fact(Fact::TargetUid),
        "Real user id of the target process.",
    ),
    field(
        "ptrace.mode",
        Type::Word(Words::PtraceMode),
        Of::Act(Act::Ptrace),
        fact(Fact::Number),
        "What is wanted: to `read` memory or what /proc shows of it, to `attach` (which can also write memory), or `traceme`: to be traced by the parent, which is the target then.",
    ),
    field(
        "signal.number",
        Type::Word(Words::Signal),
        Of::Act(Act::Signal),
        fact(Fact::Number),
        "The signal, by name or number. 0 sends nothing and asks whether the target exists.",
    ),
    field(
        "cap.name",
        Type::Word(Words::Capability),
        Of::Act(Act::CapUse),
        fact(Fact::Number),
        "The capability that is used, by name or number.",
    ),
    field(
        "bpf.command",
        Type::Word(Words::BpfCommand),
        Of::Act(Act::Bpf),
        fact(Fact::Number),
        "The command of bpf(2), by name or number.",
    ),
    field(
        "perf.kind",
        Type::Word(Words::PerfKind),
        Of::Act(Act::PerfOpen),
        fact(Fact::Number),
        "What is asked for: `open` any event, and then, where it is of that kind, to watch a whole `cpu`, the `kernel`, a `tracepoint` (or kprobe or uprobe). One call can ask several times.",
    ),
    field(
        "ns.type",
        Type::Word(Words::Namespace),
        Of::Act(Act::NsCreate),
        Meaning::Is(Resolved::FlagNumbers(Fact::ObjectFlags)),
        "Types of the namespaces that are made or entered at once. A test holds when any of them is meant. Not known when setns(2) leaves it to the descriptor.",
    ),
    field(
        "ns.call",
        Type::Word(Words::NamespaceCall),
        Of::Act(Act::NsCreate),
        fact(Fact::Number),
        "How: with a new process (`clone`), for the process itself (`unshare`), or by entering one that exists (`setns`).",
    ),
    field(
        "setuid.uid",
        Type::Number(u32::MAX),
        Of::Act(Act::Setuid),
        fact(Fact::Number),
        "The user id the process would act with: its new effective one, or for setfsuid(2) the one for files. `process.uid` and `process.euid` are those before.",
    ),
    field(
        "setgid.gid",
        Type::Number(u32::MAX),
        Of::Act(Act::Setgid),
        fact(Fact::Number),
        "The group id the process would act with: its new effective one, or for setfsgid(2) the one for files.",
    ),
    field(
        "syscall.name",
        Type::Word(Words::Syscall),
        Of::Syscall,
        fact(Fact::Number),
        "The system call, by the name it has in the kernel's table for the way it was called: `int 0x80` and x32 have other numbers, and are decided by them.",
    ),
    field(
        "syscall.abi",
        Type::Word(Words::Calling),
        Of::Syscall,
        Meaning::Is(Resolved::Calling),
        "The way it was called.",
    ),
    argument("syscall.arg0", Fact::Argument0),
    argument("syscall.arg1", Fact::Argument1),
    argument("syscall.arg2", Fact::Argument2),
    argument("syscall.arg3", Fact::Argument3),
    argument("syscall.arg4", Fact::Argument4),
    argument("syscall.arg5", Fact::Argument5),
    field(
        "syscall.result",
        Type::Number(u32::MAX),
        Of::Syscall,
        fact(Fact::Result),
        "What the call answered, its low 32 bits; no test on it holds if the call failed. Rules on it decide when the call is over.",
    ),
    field(
        "syscall.error",
        // The kernel's largest is 4,095 (`MAX_ERRNO`), as permission bits have it, which are a type of their own.
        Type::Number(8191),
        Of::Syscall,
        fact(Fact::Error),
        "The error number the call failed with, 0 if it did not. Rules on it decide when the call is over.",
    ),
    told("user.name", Type::Text, Of::Process, "Name of the acting user, by `/etc/passwd`."),
    told("host.name", Type::Text, Of::Host, "Name of the host."),
];
