//! Asking the guard for trust: see `interdict_abi::guard`.

use std::io;

use interdict_abi::guard::{ASK_TRUST, GRANTED, LEAVE_TRUST};

/// What a guard says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It trusts this process.
    Granted,
    /// It does not.
    Refused,
    /// There is none.
    Absent,
}

fn ask(option: i32, word: u64) -> Answer {
    // SAFETY: takes no pointers; a kernel without the guard answers EINVAL.
    let result = unsafe { libc::prctl(option, word, 0, 0, 0) };
    if result == 0 {
        return Answer::Absent;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(GRANTED) => Answer::Granted,
        Some(libc::EINVAL) => Answer::Absent,
        Some(_) | None => Answer::Refused,
    }
}

/// Asks the guard to trust this process as the agent; it keeps `word` but for its lowest two bits.
pub fn ask_trust(word: u64) -> Answer {
    ask(ASK_TRUST, word)
}

/// Gives that trust up.
pub fn leave_trust() -> Answer {
    ask(LEAVE_TRUST, 0)
}
