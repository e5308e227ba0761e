//! Progress for people: one line per step, with how long it took, on standard error so that results can be piped.

use std::io::{IsTerminal, Write as _};
use std::time::Instant;

fn colour(code: &str, text: &str) -> String {
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Says that something begins which the reader may have to wait for.
pub fn begin(what: &str) -> Running {
    eprintln!("{} {what}", colour("1;36", "==>"));
    Running { what: what.to_owned(), since: Instant::now() }
}

/// Says something worth knowing inside a step.
pub fn note(what: &str) {
    eprintln!("    {what}");
    let _ = std::io::stderr().flush();
}

/// A step that has begun; `done` says that it ended well.
#[derive(Debug)]
pub struct Running {
    what: String,
    since: Instant,
}

impl Running {
    /// Ends the step with its duration.
    pub fn done(self) {
        self.done_with("done");
    }

    /// Ends the step with a result worth a few words.
    pub fn done_with(self, result: &str) {
        eprintln!(
            "{} {}: {result} ({:.1} s)",
            colour("1;32", " ok"),
            self.what,
            self.since.elapsed().as_secs_f64()
        );
    }
}
