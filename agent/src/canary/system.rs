//! Canaries on acts that have no file: on processes, credentials and the kernel, and with sockets. What the agent itself
//! never does tells them from what it does; addresses are those of the loopback that nobody listens on.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
};

use interdict_abi::ids::Act;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType},
    process::Pid,
};

use super::acts::{Canary, Places, always};
use crate::sys::attempt;

const CAP_SETGID: u32 = 6;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_WAKE_ALARM: u32 = 35;

/// A kernel thread: there is always one, and nobody does anything to it.
const THREAD: u32 = 2;

const CONNECTED: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);
const BOUND: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 253);
const LISTENING: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 252);
const ACCEPTING: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 251);

/// Where datagrams would go.
const SENT_TO: u16 = 10;

/// Where nothing is connected to.
const CONNECTED_TO: u16 = 9;

/// Whether the kernel thread is the one that it is in the initial namespace: elsewhere its number is another's.
fn has_thread() -> bool {
    fs::read_to_string(format!("/proc/{THREAD}/comm")).is_ok_and(|name| name.trim() == "kthreadd")
}

fn ours(places: &Places, what: &str) -> String {
    format!("process.exe == {} and {what}", places.own_program())
}

macro_rules! canary {
    ($act:ident, $name:literal, $rule:literal, $when:expr, $possible:expr, $attempt:expr) => {
        Canary {
            act: Act::$act,
            name: $name,
            rule: concat!("INTERDICT-CANARY-", $rule),
            when: $when,
            possible: $possible,
            attempt: $attempt,
        }
    };
}

/// All of them.
pub(super) const CANARIES: &[Canary] = &[
    canary!(
        Ptrace,
        "ptrace",
        "PTRACE",
        |places| ours(places, &format!("target.pid == {THREAD}")),
        has_thread,
        |_| match fs::read_link(format!("/proc/{THREAD}/exe")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map(drop),
        }
    ),
    canary!(
        Signal,
        "signal",
        "SIGNAL",
        |places| ours(places, &format!("target.pid == {THREAD} and signal.number == none")),
        has_thread,
        |_| match i32::try_from(THREAD).ok().and_then(Pid::from_raw) {
            Some(thread) => Ok(rustix::process::test_kill_process(thread)?),
            None => Ok(()),
        }
    ),
    canary!(Bpf, "bpf", "BPF", |places| ours(places, "bpf.command == iter_create"), always, |_| {
        attempt::ask_bpf()
    }),
    canary!(
        PerfOpen,
        "perf.open",
        "PERF",
        |places| ours(places, "perf.kind == open"),
        always,
        |_| attempt::ask_perf()
    ),
    canary!(
        NsCreate,
        "ns.create",
        "NAMESPACE",
        |places| ours(places, "ns.type == uts and ns.call == unshare"),
        || Places::capable(CAP_SYS_ADMIN),
        |_| attempt::apart(&attempt::leave_names)
    ),
    canary!(
        CapUse,
        "cap.use",
        "CAPABILITY",
        |places| ours(places, "cap.name == wake_alarm"),
        || Places::capable(CAP_WAKE_ALARM),
        |_| attempt::ask_alarm()
    ),
    canary!(
        Setuid,
        "setuid",
        "SETUID",
        |places| ours(places, &format!("setuid.uid == {}", rustix::process::geteuid().as_raw())),
        always,
        |_| attempt::apart(&attempt::stay_user)
    ),
    canary!(
        Setgid,
        "setgid",
        "SETGID",
        |places| ours(places, &format!("setgid.gid == {}", rustix::process::getegid().as_raw())),
        always,
        |_| attempt::apart(&attempt::stay_group)
    ),
    canary!(
        Setgroups,
        "setgroups",
        "SETGROUPS",
        |places| format!("process.exe == {}", places.own_program()),
        || Places::capable(CAP_SETGID),
        |_| attempt::apart(&attempt::stay_in_groups)
    ),
    canary!(
        NetConnect,
        "net.connect",
        "CONNECT",
        |_| format!("net.dst.ip in [\"{CONNECTED}\"] and net.dst.port == {CONNECTED_TO}"),
        always,
        // For a datagram socket a connection is a note that the kernel takes: nothing is sent.
        |_| UdpSocket::bind("127.0.0.1:0")?.connect((CONNECTED, CONNECTED_TO))
    ),
    canary!(
        NetSend,
        "net.send",
        "SEND",
        |_| format!("net.dst.ip in [\"{CONNECTED}\"] and net.dst.port == {SENT_TO}"),
        always,
        |_| UdpSocket::bind("127.0.0.1:0")?.send_to(b"", (CONNECTED, SENT_TO)).map(drop)
    ),
    canary!(
        NetBind,
        "net.bind",
        "BIND",
        |_| format!("net.src.ip in [\"{BOUND}\"]"),
        always,
        |_| UdpSocket::bind((BOUND, 0)).map(drop)
    ),
    canary!(
        NetListen,
        "net.listen",
        "LISTEN",
        |_| format!("net.src.ip in [\"{LISTENING}\"]"),
        always,
        |_| TcpListener::bind((LISTENING, 0)).map(drop)
    ),
    canary!(
        NetAccept,
        "net.accept",
        "ACCEPT",
        |_| format!("net.dst.ip in [\"{ACCEPTING}\"]"),
        always,
        |_| {
            let listener = TcpListener::bind((ACCEPTING, 0))?;
            listener.set_nonblocking(true)?;
            match listener.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                other => other.map(drop),
            }
        }
    ),
    canary!(
        NetSocket,
        "net.socket",
        "SOCKET",
        |places| ours(places, "net.family == unix and net.type == seqpacket"),
        always,
        |_| match rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None) {
            Err(Errno::PROTONOSUPPORT) => Ok(()),
            other => Ok(other.map(drop)?),
        }
    ),
];
