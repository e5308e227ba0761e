//! Policies like those that security teams write, of any size.

use fastrand::Rng;
use interdict_abi::ids::{Act, Action, Fact, Family, Mode};
use interdict_rules::{
    ir::{Clause, Literal, OnFault, Pattern, Program, Rule, Test},
    meta::Metadata,
    oracle::generate,
};

const DIRECTORIES: &[&str] = &[
    "/etc",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib/systemd/system",
    "/var/lib",
    "/var/log",
    "/opt",
    "/home",
    "/root",
    "/srv/data",
    "/usr/share",
    "/tmp",
    "/run",
    "/var/www/html",
    "/usr/local/bin",
];

const WORDS: &[&str] = &[
    "nginx", "shadow", "ssh", "cron", "docker", "kube", "postgres", "redis", "backup", "config",
    "secret", "token", "cache", "session", "python3", "node", "java", "bash", "curl", "wget",
];

const EXTENSIONS: &[&str] = &["conf", "so", "sh", "pem", "key", "db", "yaml", "json", "py", "log"];

fn one(random: &mut Rng, from: &[&'static str]) -> &'static str {
    from[random.usize(..from.len())]
}

fn word(random: &mut Rng) -> String {
    let word = one(random, WORDS);
    format!("{word}-{:x}", random.u64(..1 << 20))
}

/// One path that rules name.
pub(crate) fn path(random: &mut Rng) -> String {
    let directory = one(random, DIRECTORIES);
    let (middle, last) = (word(random), word(random));
    let extension = one(random, EXTENSIONS);
    match random.u64(..3) {
        0 => format!("{directory}/{last}"),
        1 => format!("{directory}/{middle}/{last}.{extension}"),
        _ => format!("{directory}/{last}.{extension}"),
    }
}

/// Exact paths, subtrees, globs within a component and regular expressions.
fn pattern(random: &mut Rng) -> Pattern {
    let path = path(random);
    match random.u64(..10) {
        0..=4 => Pattern::Exact(path.into_bytes()),
        5 | 6 => Pattern::Glob(format!("{path}/**")),
        7 if random.u64(..20) == 0 => {
            Pattern::Glob(format!("/home/*/.{}/{}", one(random, WORDS), word(random)))
        }
        7 => Pattern::Glob(format!("{path}/*/{}", word(random))),
        8 => Pattern::Glob(format!("{path}*.{}", one(random, EXTENSIONS))),
        _ => Pattern::Regex(format!("^{path}-[0-9]+(\\.(old|bak))?$")),
    }
}

fn program_path(random: &mut Rng) -> Pattern {
    Pattern::Exact(format!("/usr/bin/{}", word(random)).into_bytes())
}

fn text(fact: Fact, patterns: Vec<Pattern>, negated: bool) -> Literal {
    Literal { negated, test: Test::Text { fact, patterns } }
}

fn number(fact: Fact, low: u32, high: u32) -> Literal {
    Literal { negated: false, test: Test::Number { fact, ranges: vec![(low, high)] } }
}

/// The random numbers that policies are made with unless others are asked for.
pub(crate) const SEED: u64 = 7;

/// Rules that policies of every size begin with.
pub(crate) const COMMON: usize = 10;

/// `count` rules of mixed kinds, one of them on a feed of `prefixes` prefixes.
pub(crate) fn mixed(
    count: usize,
    prefixes: usize,
    suffixes: u64,
    seed: u64,
) -> (Program, Metadata) {
    let mut random = Rng::with_seed(seed);
    let ancestors: Vec<Vec<Pattern>> =
        (0..40).map(|_| vec![program_path(&mut random), program_path(&mut random)]).collect();
    let names: Vec<Pattern> = (0..50)
        .map(|_| {
            Pattern::Glob(format!("**/{}.{}", word(&mut random), one(&mut random, EXTENSIONS)))
        })
        .collect();
    let mut rules = Vec::with_capacity(count);
    let mut anywhere = suffixes == 0;
    for index in 0..count {
        let kind = random.u64(..20);
        let (family, acts) = match kind {
            0..=10 => (Family::File, Act::FileRead.bit() | Act::FileWrite.bit()),
            11..=15 => (Family::Exec, Act::Exec.bit()),
            _ => (Family::Net, Act::NetConnect.bit()),
        };
        let mut literals = Vec::new();
        match kind {
            0..=15 => {
                let mut patterns: Vec<Pattern> =
                    (0..random.u64(..3) + 1).map(|_| pattern(&mut random)).collect();
                // Every size has one, so that sizes are compared and not kinds.
                let first = family == Family::File && !anywhere;
                if random.u64(..100) < suffixes || first {
                    anywhere |= first;
                    patterns.push(names[random.usize(..50)].clone());
                }
                literals.push(text(Fact::Path, patterns, false));
            }
            _ if index == count - 1 || kind == 19 => literals.push(address(&mut random)),
            _ => {
                let port = random.u32(..60_000);
                literals.push(number(Fact::RemotePort, port, port + random.u32(..10)));
            }
        }
        match random.u64(..4) {
            0 => {
                let programs = (0..2).map(|_| program_path(&mut random)).collect();
                literals.push(text(Fact::Exe, programs, true));
            }
            1 => literals.push(number(Fact::Uid, 1, random.u32(..70_000) + 1)),
            2 => literals.push(Literal {
                negated: random.u64(..2) == 0,
                test: Test::Ancestor { patterns: ancestors[random.usize(..40)].clone() },
            }),
            _ => {}
        }
        rules.push(Rule {
            id: format!("R{index}"),
            action: [Action::Alert, Action::Block, Action::Kill][random.usize(..3)],
            errno: 1,
            mode: if random.u64(..3) == 0 { Mode::Audit } else { Mode::Enforce },
            on_fault: if random.u64(..2) == 0 { OnFault::Pass } else { OnFault::Block },
            clauses: vec![Clause { family, acts, literals, origin: 0 }],
            exceptions: Vec::new(),
            narrowed: Vec::new(),
        });
    }
    if prefixes > 0 {
        let (v4, v6) = feed(&mut random, prefixes);
        let literals = vec![Literal {
            negated: false,
            test: Test::Address { fact: Fact::RemoteIp, v4, v6, from: Vec::new() },
        }];
        let acts = Act::NetConnect.bit() | Act::NetSend.bit();
        rules[count - 1].clauses = vec![Clause { family: Family::Net, acts, literals, origin: 0 }];
    }
    // The ten rules that policies of every size have stand among all others, not before them.
    for common in 1..COMMON.min(count) {
        rules.swap(common, common * (count - 1) / COMMON);
    }
    let program = Program { rules };
    let metadata = generate::metadata(&program);
    (program, metadata)
}

fn address(random: &mut Rng) -> Literal {
    let (v4, v6) = feed(random, 3);
    Literal {
        negated: false,
        test: Test::Address { fact: Fact::RemoteIp, v4, v6, from: Vec::new() },
    }
}

type Ranges<T> = Vec<(T, T)>;

/// Prefixes of mixed length: seven in ten IPv4, most of them single addresses, as feeds are.
pub(crate) fn feed(random: &mut Rng, count: usize) -> (Ranges<u32>, Ranges<u128>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for _ in 0..count {
        if random.u64(..10) < 7 {
            let length = [32, 32, 32, 32, 32, 32, 28, 24, 22, 20][random.usize(..10)];
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            let low = random.u32(..) & !host;
            v4.push((low, low | host));
        } else {
            let length = [128, 128, 64, 64, 56, 48][random.usize(..6)];
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            let high = 0x2000 | random.u64(..0x800) as u128;
            let rest = u128::from(random.u64(..)) << 48 | u128::from(random.u64(..1 << 48));
            let low = (high << 112 | rest & (u128::MAX >> 16)) & !host;
            v6.push((low, low | host));
        }
    }
    v4.sort_unstable();
    v6.sort_unstable();
    (v4, v6)
}
