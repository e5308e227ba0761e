//! `evasion`: a technique per subcommand, each a way around a rule.
//!
//! ```text
//! evasion list                         every technique, one JSON line each
//! evasion ground BEACON                makes what techniques find, anew
//! evasion sink                         watches the far end of the wire
//! evasion early PLACE                  starts the first halves of those that begin before rules are in force
//! evasion run PLACE [NAME...]          does all, or those named, and tells one JSON line each
//! evasion NAME PLACE                   does one
//! evasion stress WORD NUMBER           load on the path hooks, see `stress.rs`
//! ```
//!
//! PLACE is `vault`, `plain`, or for the commands that do many `both`.
//!
//! Each technique goes for something of its own in `/srv/vault`, which a policy protects, and for its twin in
//! `/srv/plain`, which none does. It answers `reached`, `refused` with an error number or a signal, `unsupported` or
//! `error`. It is run in guests, as root, without a policy, where everything must be reached, and with one.

mod before;
mod exe;
mod exec;
mod ground;
mod net;
mod observe;
mod outcome;
mod read;
mod ring;
mod runner;
mod scene;
mod stress;
mod sys;
mod tamper;
mod technique;
mod trusted;
mod write;

use std::process::ExitCode;

use outcome::Failure;
use scene::{Place, status};

/// The places of a word; none if it is not one.
fn places(word: &str) -> Vec<Place> {
    Place::ALL.into_iter().filter(|place| word == "both" || place.word() == word).collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done: Result<(), Failure> = match words.as_slice() {
        ["list"] => {
            for technique in technique::all() {
                println!("{}", technique.line());
            }
            Ok(())
        }
        ["ground", beacon] => ground::make(beacon),
        ["sink"] => net::sink::serve(),
        ["early", word] => runner::early(&places(word)),
        ["run", word, names @ ..] => runner::run(&places(word), names),
        ["stress", word, number] => match (*word, number.parse::<usize>()) {
            ("ground", Ok(tasks)) => stress::ground(tasks),
            ("hammer", Ok(tasks)) => stress::hammer(tasks, u64::MAX),
            ("once", Ok(tasks)) => stress::hammer(tasks, 1),
            ("crowd", Ok(size)) => stress::crowd(size),
            ("flood", Ok(tasks)) => stress::flood(tasks),
            ("many", Ok(count)) => stress::many(count, false),
            ("tried", Ok(count)) => stress::many(count, true),
            _ => Err(Failure::Broken(format!("stress {word} {number}"))),
        },
        ["trusted", words @ ..] => trusted::serve(words).map_err(Failure::from),
        ["show", path] => {
            return ExitCode::from(match std::fs::read(path) {
                Ok(bytes) => {
                    print!("{}", String::from_utf8_lossy(&bytes));
                    0
                }
                Err(error) => status(&Err(error.into())) as u8,
            });
        }
        // Only whether it could be read: for those whose output nobody takes.
        ["show-quietly", path] => {
            let tried = std::fs::read(path).map(|_| true).map_err(Failure::from);
            return ExitCode::from(status(&tried) as u8);
        }
        [name, place] => match places(place).first().and_then(|place| runner::one(name, *place)) {
            Some(line) => {
                println!("{line}");
                Ok(())
            }
            None => Err(Failure::Broken(format!("no technique {name}"))),
        },
        _ => Err(Failure::Broken("list, ground, sink, early, run, or NAME PLACE".to_owned())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("evasion: {failure:?}");
            ExitCode::from(2)
        }
    }
}
