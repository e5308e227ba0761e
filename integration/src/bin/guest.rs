//! The first process of a test's guest, and under other names the programs that act in it.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::vm::init::run_if_first();
    if let Some(code) = interdict_integration::tamper::run_if_asked() {
        return code;
    }
    xtask::act::run_if_asked().unwrap_or_else(|| {
        eprintln!("this program does something only in a guest");
        ExitCode::from(2)
    })
}
