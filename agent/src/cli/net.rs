//! `interdict net`: the connections there are now, by program, with what the policies say of them.
//!
//! Sockets come from `/proc` in every network namespace there is; what a rule says comes from the engine the kernel runs,
//! asked as if a message were sent now (and, for flows that began here, as if they were connected now).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use interdict_abi::ids::{Action, Mode};
use interdict_rules::{
    image::PolicyImage,
    parse::{
        cases::{Given, WrittenEvent},
        policy::Spanned,
        source::{FileId, Span},
    },
    suite,
};
use procfs::{
    net::TcpState,
    process::{FDTarget, Process, all_processes},
};
use serde::Serialize;

use super::policies::{Format, image, print, print_json, untried};

/// Show connections by program, and what the policies say of each. Exit code 1: some would be refused.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// An image (`*.img`), or policy files and directories.
    #[arg(default_value = "/etc/interdict/policies")]
    paths: Vec<PathBuf>,
    /// Only flows that some rule is about.
    #[arg(long)]
    matched: bool,
    /// How to tell it.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Which side began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Began {
    /// This one.
    Here,
    /// The other: the port is one that is listened on.
    There,
}

/// One connection.
#[derive(Clone, Debug, Serialize)]
struct Flow {
    program: String,
    pid: i32,
    uid: u32,
    protocol: &'static str,
    began: Began,
    local: SocketAddr,
    remote: SocketAddr,
    verdict: &'static str,
    rules: Vec<String>,
}

/// Who holds a socket.
#[derive(Clone, Debug, Default)]
struct Holder {
    pid: i32,
    uid: u32,
    program: String,
    parent: String,
    ancestors: Vec<String>,
    container: bool,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let image = match image(&arguments.paths) {
        Ok(image) => image,
        Err(code) => return code,
    };
    let mut flows = match flows(&image) {
        Ok(flows) => flows,
        Err(error) => return untried(&error),
    };
    if arguments.matched {
        flows.retain(|flow| !flow.rules.is_empty());
    }
    flows.sort_by(|one, other| {
        (&one.program, one.pid, one.remote).cmp(&(&other.program, other.pid, other.remote))
    });
    match arguments.format {
        Format::Human => print(&human(&flows)),
        Format::Json => print_json(&serde_json::json!({ "flows": flows })),
    }
    let refused = flows.iter().any(|flow| matches!(flow.verdict, "block" | "kill"));
    ExitCode::from(u8::from(refused))
}

fn human(flows: &[Flow]) -> String {
    let mut text = String::new();
    let mut program = None;
    for flow in flows {
        if program != Some(&flow.program) {
            let count = flows.iter().filter(|other| other.program == flow.program).count();
            let _ = writeln!(text, "{}  ({count})", flow.program);
            program = Some(&flow.program);
        }
        let way = match flow.began {
            Began::Here => "->",
            Began::There => "<-",
        };
        let local = flow.local.to_string();
        let remote = flow.remote.to_string();
        let _ = writeln!(
            text,
            "  {:<7} {:<4} {local:<28} {way} {remote:<28} {:<6} {}",
            flow.pid,
            flow.protocol,
            flow.verdict,
            flow.rules.join(" ")
        );
    }
    let refused = flows.iter().filter(|flow| matches!(flow.verdict, "block" | "kill")).count();
    let _ = writeln!(text, "{} flows, {refused} that rules in force refuse", flows.len());
    text
}

/// All connections of all network namespaces that some process is in.
fn flows(image: &PolicyImage) -> Result<Vec<Flow>, procfs::ProcError> {
    let mut holders: HashMap<u64, i32> = HashMap::new();
    let mut namespaces: BTreeMap<u64, Process> = BTreeMap::new();
    let mut about: HashMap<i32, (i32, u32, String, bool)> = HashMap::new();
    for process in all_processes()?.filter_map(Result::ok) {
        // Whatever is gone by now holds nothing.
        let Ok(stat) = process.stat() else { continue };
        let program = process.exe().map(|path| path.display().to_string()).unwrap_or_default();
        let inside =
            process.status().is_ok_and(|status| status.nstgid.is_some_and(|ids| ids.len() > 1));
        about.insert(process.pid, (stat.ppid, process.uid().unwrap_or(0), program, inside));
        if let Ok(descriptors) = process.fd() {
            for descriptor in descriptors.filter_map(Result::ok) {
                if let FDTarget::Socket(inode) = descriptor.target {
                    holders.entry(inode).or_insert(process.pid);
                }
            }
        }
        let network = process.namespaces().ok().and_then(|all| {
            all.0.get(std::ffi::OsStr::new("net")).map(|namespace| namespace.identifier)
        });
        if let Some(network) = network {
            namespaces.entry(network).or_insert(process);
        }
    }
    let mut found = Vec::new();
    for process in namespaces.values() {
        let mut sockets: Vec<(&'static str, SocketAddr, SocketAddr, u64)> = Vec::new();
        let mut listening: BTreeSet<u16> = BTreeSet::new();
        for table in [process.tcp(), process.tcp6()].into_iter().flatten() {
            for socket in table {
                if socket.state == TcpState::Listen {
                    listening.insert(socket.local_address.port());
                } else {
                    sockets.push((
                        "tcp",
                        socket.local_address,
                        socket.remote_address,
                        socket.inode,
                    ));
                }
            }
        }
        for table in [process.udp(), process.udp6()].into_iter().flatten() {
            for socket in table {
                sockets.push(("udp", socket.local_address, socket.remote_address, socket.inode));
            }
        }
        for (protocol, local, remote, inode) in sockets {
            // Without a process it is only being closed.
            let Some(pid) = holders.get(&inode).filter(|_| remote.port() != 0) else { continue };
            let began = if protocol == "tcp" && listening.contains(&local.port()) {
                Began::There
            } else {
                Began::Here
            };
            let holder = holder(*pid, &about);
            let (verdict, rules) = judged(image, protocol, began, remote, &holder);
            found.push(Flow {
                program: if holder.program.is_empty() { "?".to_owned() } else { holder.program },
                pid: holder.pid,
                uid: holder.uid,
                protocol,
                began,
                local,
                remote,
                verdict,
                rules,
            });
        }
    }
    Ok(found)
}

fn holder(pid: i32, about: &HashMap<i32, (i32, u32, String, bool)>) -> Holder {
    let mut holder = Holder { pid, ..Holder::default() };
    let Some((parent, uid, program, container)) = about.get(&pid) else { return holder };
    holder.uid = *uid;
    holder.program.clone_from(program);
    holder.container = *container;
    let mut next = *parent;
    // A process that went away and came back as its own ancestor would be a circle.
    while let Some((above, _, program, _)) = about.get(&next)
        && holder.ancestors.len() < 64
    {
        holder.ancestors.push(program.clone());
        next = *above;
    }
    holder.parent = holder.ancestors.first().cloned().unwrap_or_default();
    holder
}

/// No file: these values come from the host.
const NOWHERE: Span = Span { file: FileId(0), start: 0, end: 0 };

/// The strongest of what is said of the flow's acts, and by which rules.
fn judged(
    image: &PolicyImage,
    protocol: &str,
    began: Began,
    remote: SocketAddr,
    holder: &Holder,
) -> (&'static str, Vec<String>) {
    let acts: &[&str] = match began {
        Began::Here => &["net.connect", "net.send"],
        Began::There => &["net.send"],
    };
    let mut strongest = Action::Pass;
    let mut rules: Vec<String> = Vec::new();
    for act in acts {
        let given = |name: &str, of_object: bool, values: Vec<String>| Given {
            name: name.to_owned(),
            of_object,
            span: NOWHERE,
            values: values.into_iter().map(|value| Spanned { value, span: NOWHERE }).collect(),
        };
        let mut values = vec![
            given("dst.ip", true, vec![remote.ip().to_string()]),
            given("dst.port", true, vec![remote.port().to_string()]),
            given("proto", true, vec![protocol.to_owned()]),
            given("process.uid", false, vec![holder.uid.to_string()]),
            given("process.euid", false, vec![holder.uid.to_string()]),
        ];
        if !holder.program.is_empty() {
            values.push(given("process.exe", false, vec![holder.program.clone()]));
        }
        if !holder.parent.is_empty() {
            values.push(given("process.parent.exe", false, vec![holder.parent.clone()]));
        }
        if !holder.ancestors.is_empty() {
            values.push(given("process.ancestors", false, holder.ancestors.clone()));
        }
        if holder.container {
            values.push(given("container.id", false, vec!["some".to_owned()]));
        }
        let act = Spanned { value: (*act).to_owned(), span: NOWHERE };
        // Every field above is known for both acts, so this is always an occurrence; a flow that is not would be shown
        // as passing, which the rules' own tests would not agree with.
        let Ok(occurrence) = suite::occurrence(&WrittenEvent { span: NOWHERE, act, values }) else {
            return ("unknown", rules);
        };
        let verdict = suite::decide(image, &occurrence, Mode::Enforce);
        strongest = strongest.max(verdict.verdict);
        let named = verdict.matched.iter().filter_map(|number| {
            image.metadata().rules.get(*number as usize).map(|rule| rule.id.clone())
        });
        rules.extend(named);
    }
    rules.sort();
    rules.dedup();
    (strongest.name(), rules)
}

#[cfg(test)]
mod tests {
    use interdict_rules::{
        Options, compile,
        lower::Budget,
        parse::source::{Disk, Sources},
    };

    use super::*;

    fn policy(when: &str, on: &str) -> PolicyImage {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: {{ name: p }}\nspec:\n  mode: enforce\n  rules:\n    \
             - {{ id: R-1, title: t, on: [{on}], when: '{when}', action: block }}\n"
        );
        std::fs::write(folder.path().join("p.yaml"), text).unwrap();
        let mut sources = Sources::new();
        sources.load(folder.path()).unwrap();
        let options = Options { files: &Disk, today: "2026-01-01", budget: Budget::default() };
        compile(&sources, &options).image.unwrap()
    }

    #[test]
    fn a_rule_on_connections_is_not_about_flows_that_began_elsewhere() {
        let image = policy("net.dst.ip in [192.0.2.0/24]", "net.connect");
        let remote = "192.0.2.7:443".parse().unwrap();
        let here = judged(&image, "tcp", Began::Here, remote, &Holder::default());
        assert_eq!(here, ("block", vec!["R-1".to_owned()]));
        let there = judged(&image, "tcp", Began::There, remote, &Holder::default());
        assert_eq!(there, ("pass", Vec::new()));
    }

    #[test]
    fn a_connection_of_this_process_is_found_with_its_program() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let held = std::net::TcpStream::connect(to).unwrap();
        let image = policy(
            &format!("net.dst.ip in [127.0.0.1] and net.dst.port == {}", to.port()),
            "net.send",
        );
        let all = flows(&image).unwrap();
        let from = held.local_addr().unwrap();
        let flow = all.iter().find(|flow| flow.local == from && flow.remote == to).unwrap();
        assert_eq!((flow.began, flow.verdict), (Began::Here, "block"));
        assert_eq!(flow.pid, std::process::id() as i32);
        assert_eq!(flow.program, std::env::current_exe().unwrap().display().to_string());
    }
}
