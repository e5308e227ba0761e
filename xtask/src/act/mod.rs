//! Acts that rules can refuse, done for real, and what the kernel answered.
//!
//! In: a script, steps in order. Out: one outcome per step. Every step is done by a process of its own, so that one
//! that is killed takes nothing with it, and by whatever program the step names, because rules are about programs: the
//! performer lies in the guest under many names. `main` runs in the guest; the host reads [`Outcome`]s.

mod files;
mod perform;
mod sockets;

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use files::FileAct;
pub use perform::run_if_asked;
pub use sockets::SocketAct;

/// Name of the performer's own program in a guest.
pub const PERFORMER: &str = "/usr/bin/act";

/// The word that makes this program perform: `act perform SCRIPT RESULTS`.
pub const PERFORM: &str = "perform";
/// The word that makes it wait: `act await FILE TEXT...` until every text is in a line of the file, or for 20 seconds.
pub const AWAIT: &str = "await";

/// One step of a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Unique in the script.
    pub name: String,
    /// The program that acts, a copy of the performer; the performer itself if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What it does.
    pub act: Act,
}

impl Step {
    /// A step done by the performer itself.
    pub fn new(name: impl Into<String>, act: Act) -> Self {
        Self { name: name.into(), actor: None, act }
    }

    /// The same done by another program.
    #[must_use]
    pub fn by(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }
}

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Open a file for reading.
    Read {
        /// Which.
        path: String,
    },
    /// Open a file for writing, making it if it is not there.
    Write {
        /// Which.
        path: String,
    },
    /// Run a program to its end.
    Run {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// Show a file with `cat`, which itself says why it could not.
    Cat {
        /// Which.
        path: String,
    },
    /// Run a script with the actor's own interpreter; it ends with 0 if what it tried went through, else with
    /// [`ERRNO_STATUS`] and the error number.
    Script {
        /// The interpreter, a copy of Perl, whose `syscall` calls the kernel by number.
        interpreter: String,
        /// What it does, for people.
        what: String,
        /// The script.
        code: String,
    },
    /// Connect over TCP; a listener is opened there first.
    Connect {
        /// Where to.
        to: SocketAddr,
    },
    /// Send a datagram from another network namespace and wait for it here.
    Send {
        /// The namespace, as `ip netns` names it.
        namespace: String,
        /// From an address there.
        from: SocketAddr,
        /// To an address here.
        to: SocketAddr,
    },
    /// Something with a file.
    File(FileAct),
    /// Something with a socket.
    Socket(SocketAct),
}

impl fmt::Display for Act {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path } => write!(formatter, "read {path}"),
            Self::Write { path } => write!(formatter, "write {path}"),
            Self::Run { command } => write!(formatter, "run {}", command.join(" ")),
            Self::Cat { path } => write!(formatter, "cat {path}"),
            Self::Script { what, interpreter, .. } => write!(formatter, "{what} by {interpreter}"),
            Self::File(act) => act.fmt(formatter),
            Self::Connect { to } => write!(formatter, "connect to {to}"),
            Self::Socket(act) => act.fmt(formatter),
            Self::Send { from, to, .. } => write!(formatter, "a packet from {} to {to}", from.ip()),
        }
    }
}

/// What the kernel answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The act went through.
    Passed,
    /// It was refused with this error number.
    Refused(i32),
    /// The process that tried was ended by this signal; for a program to run, that program was.
    Killed(i32),
    /// A packet was sent and did not arrive.
    Lost,
    /// It could not be tried, or ended in a way that proves nothing.
    Unclear(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => formatter.write_str("passed"),
            Self::Refused(errno) => match errno_name(*errno) {
                Some(name) => write!(formatter, "refused with {name}"),
                None => write!(formatter, "refused with error {errno}"),
            },
            Self::Killed(9) => formatter.write_str("killed"),
            Self::Killed(signal) => write!(formatter, "ended by signal {signal}"),
            Self::Lost => formatter.write_str("dropped"),
            Self::Unclear(why) => write!(formatter, "unclear: {why}"),
        }
    }
}

/// Added to an error number to make an exit status that no error of a program's own has.
pub const ERRNO_STATUS: i32 = 64;

/// Operation not permitted: what a refusal gives unless its rule names another error.
pub const EPERM: i32 = 1;
/// Permission denied.
pub const EACCES: i32 = 13;

fn errno_name(errno: i32) -> Option<&'static str> {
    match errno {
        1 => Some("EPERM"),
        2 => Some("ENOENT"),
        13 => Some("EACCES"),
        111 => Some("ECONNREFUSED"),
        113 => Some("EHOSTUNREACH"),
        101 => Some("ENETUNREACH"),
        _ => None,
    }
}
