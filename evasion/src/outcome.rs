//! What came of one technique, and the line that tells it.
//!
//! Reached means that the protected thing was had: its content read, changed, run, a packet at its receiver. Any error
//! number from a step of the technique counts as a refusal; the harness knows which numbers its policy gives.

use std::fmt::Write as _;
use std::io;

/// What a technique answers: whether it reached what it was after, or why not.
pub type Tried = Result<bool, Failure>;

/// Why a technique came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A step of it was answered with this error number.
    Errno(i32),
    /// It was ended by this signal.
    Signal(i32),
    /// This kernel does not have what it needs.
    Unsupported(String),
    /// It went wrong in a way that proves nothing.
    Broken(String),
}

/// Error numbers that say that the kernel does not know the call, the protocol, the flag of a file system.
const NOT_HERE: &[i32] = &[
    libc::ENOSYS,
    libc::EOPNOTSUPP,
    libc::EPROTONOSUPPORT,
    libc::ESOCKTNOSUPPORT,
    libc::EAFNOSUPPORT,
    libc::EPFNOSUPPORT,
    libc::ENOPROTOOPT,
    libc::ENODEV,
];

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) if NOT_HERE.contains(&errno) => Self::Unsupported(error.to_string()),
            Some(errno) => Self::Errno(errno),
            None => Self::Broken(error.to_string()),
        }
    }
}

/// What is told of one technique.
#[derive(Debug, Clone)]
pub struct Told<'a> {
    /// Its name.
    pub name: &'a str,
    /// Which of the two places it went for.
    pub place: &'a str,
    /// The process that did it.
    pub pid: u32,
    /// Nanoseconds of the clock that no sleep stops, before and after.
    pub time: (u64, u64),
    /// What came of it.
    pub tried: Tried,
}

impl Told<'_> {
    /// One line of JSON.
    pub fn line(&self) -> String {
        let (outcome, errno, signal, reason) = match &self.tried {
            Ok(true) => ("reached", None, None, None),
            // A packet that did not arrive, a helper that was not started: nobody is told why.
            Ok(false) => ("refused", None, None, None),
            Err(Failure::Errno(errno)) => ("refused", Some(errno), None, None),
            Err(Failure::Signal(signal)) => ("refused", None, Some(signal), None),
            Err(Failure::Unsupported(reason)) => ("unsupported", None, None, Some(reason)),
            Err(Failure::Broken(reason)) => ("error", None, None, Some(reason)),
        };
        let mut line = format!(
            r#"{{"technique":"{}","place":"{}","outcome":"{outcome}","pid":{},"from_ns":{},"to_ns":{}"#,
            self.name, self.place, self.pid, self.time.0, self.time.1
        );
        if let Some(errno) = errno {
            let _ = write!(line, r#","errno":{errno}"#);
        }
        if let Some(signal) = signal {
            let _ = write!(line, r#","signal":{signal}"#);
        }
        if let Some(reason) = reason {
            let _ = write!(line, r#","reason":"{}""#, reason.escape_default());
        }
        line.push('}');
        line
    }
}
