//! The program whose acts are counted in guests, without a C library's part in them.
//!
//! `workload prepare`, before an agent runs; then `operations`, `spent`, `latency`, `storm`. Every command prints lines
//! of words, one figure each. In a guest whose clock counts instructions, nanoseconds are instructions. What is matched
//! by a policy is allowed to be refused; everything else must succeed.

mod latency;
mod operations;
mod places;
mod spent;
mod storm;
mod sys;

use std::process::ExitCode;

const USAGE: &str = "\
workload prepare
workload operations REPETITIONS [NAME,...]
workload spent PROCESS REPETITIONS TIMES
workload latency FILE TIMES
workload storm open|exec TIMES PER_SECOND
workload drained PROCESS";

fn number(text: Option<&String>) -> Result<u32, String> {
    let text = text.ok_or_else(|| USAGE.to_owned())?;
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn run(arguments: &[String]) -> Result<(), String> {
    let word = |at: usize| arguments.get(at);
    match word(0).map(String::as_str) {
        Some("prepare") => places::prepare().map_err(|error| error.to_string()),
        Some("operations") => operations::measure(number(word(1))?, word(2).map(String::as_str)),
        Some("spent") => spent::measure(number(word(1))?, number(word(2))?, number(word(3))?),
        Some("latency") => {
            latency::measure(word(1).ok_or_else(|| USAGE.to_owned())?, number(word(2))?)
        }
        Some("storm") => {
            let act = word(1).and_then(|name| storm::Act::named(name));
            storm::raise(act.ok_or_else(|| USAGE.to_owned())?, number(word(2))?, number(word(3))?)
        }
        Some("drained") => spent::drain(number(word(1))?),
        Some(_) | None => Err(USAGE.to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("workload: {problem}");
            ExitCode::FAILURE
        }
    }
}
