//! What a policy promises, act by act and verdict by verdict. Each case has its own rules, paths and addresses, so that
//! all of them can be in force at once.

mod files;
mod modes;
mod network;
mod programs;
mod system;
mod ways_out;

use std::net::SocketAddr;

use xtask::act::{Act, EPERM, Outcome, SocketAct, Step};

use crate::case::Case;

/// All of them.
pub fn all() -> Vec<Case> {
    [
        programs::cases(),
        files::cases(),
        files::tree(),
        files::names(),
        files::sizes(),
        network::cases(),
        ways_out::cases(),
        modes::cases(),
        system::cases(),
    ]
    .concat()
}

/// Those of these names.
///
/// # Panics
/// There is no case of a name.
pub fn chosen(names: &[&str]) -> Vec<Case> {
    let all = all();
    let find = |name: &&str| all.iter().find(|case| case.name == *name).cloned();
    names.iter().map(|name| find(name).unwrap_or_else(|| panic!("no case `{name}`"))).collect()
}

fn read(path: &str) -> Step {
    Step::new("", Act::Read { path: path.to_owned() })
}

fn write(path: &str) -> Step {
    Step::new("", Act::Write { path: path.to_owned() })
}

fn run(command: &[&str]) -> Step {
    let command = command.iter().map(|&word| word.to_owned()).collect();
    Step::new("", Act::Run { command })
}

fn connect(to: &str) -> Step {
    Step::new("", Act::Connect { to: address(to) })
}

fn socket(act: SocketAct) -> Step {
    Step::new("", Act::Socket(act))
}

fn datagram(to: &str) -> Step {
    socket(SocketAct::Datagram { to: address(to) })
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("addresses of cases are written here")
}

fn packet(from: &str) -> Step {
    let (from, to) = (address(from), address("198.51.100.1:99"));
    Step::new("", Act::Send { namespace: "far".to_owned(), from, to })
}

const EPERM_REFUSAL: Outcome = Outcome::Refused(EPERM);

#[cfg(test)]
mod tests {
    use interdict_agent::{policy::Policy, trust::Trust};

    #[test]
    fn the_rules_of_all_cases_compile_together() {
        let folder = tempfile::tempdir().unwrap();
        let text = crate::observe::policy(&super::all());
        std::fs::write(folder.path().join("cases.yaml"), text).unwrap();
        Policy::open(folder.path(), &Trust::Folder).unwrap_or_else(|error| panic!("{error}"));
    }
}
