//! What the loader has to know of this host: which hooks its kernel has, where its variables lie, what it refuses.

use std::fs;
use std::io::{BufRead, BufReader};

use aya::{Btf as KernelBtf, Endianness, programs::ProgramError};
use interdict_abi::ids::Calling;

use super::LoadError;
use crate::kernel::{
    btf::Btf,
    hooks::{Attach, HOOKS, Hook, Strongest, twin},
};

/// Globals that hold the address of a kernel seqlock: see `cache` in the kernel object. Without them it remembers nothing.
pub(super) const SYMBOLS: [(&str, &str); 3] = [
    ("RENAME_LOCK", "rename_lock"),
    ("MOUNT_LOCK", "mount_lock"),
    ("INIT_USER_NS", "init_user_ns"),
];

/// How programs of this machine call the kernel: 64-bit ones, and in the bits from 8 32-bit ones.
pub(super) fn callings() -> u64 {
    let (native, compat) = match std::env::consts::ARCH {
        "aarch64" => (Calling::Aarch64, Calling::Arm),
        _ => (Calling::X86_64, Calling::I386),
    };
    native as u64 | (compat as u64) << 8
}

/// The addresses of kernel variables, from `/proc/kallsyms`; 0 for those that the kernel does not tell. One pass, and no
/// further than needed: writing down all its symbols costs the kernel hundreds of millions of instructions.
pub(super) fn symbol_addresses<const N: usize>(symbols: [&str; N]) -> [u64; N] {
    let mut addresses = [0; N];
    let Ok(file) = fs::File::open("/proc/kallsyms") else { return addresses };
    let mut lines = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    while addresses.contains(&0) {
        line.clear();
        if !lines.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            break;
        }
        // `ffffffff81000000 D name`, and the module in brackets.
        let Some(at) = line.iter().position(|byte| *byte == b' ') else { continue };
        let name = line.get(at + 3..).unwrap_or_default();
        for (symbol, address) in symbols.iter().zip(&mut addresses) {
            let rest = name.strip_prefix(symbol.as_bytes());
            if rest.is_some_and(|rest| rest == b"\n") {
                let digits = std::str::from_utf8(&line[..at]).unwrap_or_default();
                *address = u64::from_str_radix(digits, 16).unwrap_or(0);
            }
        }
    }
    addresses
}

/// What attaching needs of the kernel's types, as the loader library wants it. All of them would take it a second pass
/// over megabytes; attaching takes a few names.
pub(super) fn hook_types(btf: &Btf) -> Result<KernelBtf, LoadError> {
    let hooks: Vec<String> = HOOKS
        .iter()
        .filter_map(|hook| match hook.attach {
            Attach::Lsm(name) => Some(format!("bpf_lsm_{name}")),
            Attach::Entry(name) | Attach::Exit(name) => Some(name.to_owned()),
            Attach::Tracepoint(_)
            | Attach::Cgroup
            | Attach::CgroupOut
            | Attach::CgroupIn
            | Attach::Xdp
            | Attach::Sysctl => None,
        })
        .collect();
    let hooks: Vec<&str> = hooks.iter().map(String::as_str).collect();
    let types = KernelBtf::parse(&btf.only_functions(&hooks), Endianness::default());
    Ok(types.map_err(aya::EbpfError::from)?)
}

/// Whether the others do without this program: one of them sees the same, or it only makes them faster.
pub(super) fn dispensable(hook: &Hook) -> bool {
    twin(hook.program).is_some() || is_optional(hook)
}

/// Whether a program only keeps facts that the others can do without, at a function that this kernel need not have.
fn is_optional(hook: &Hook) -> bool {
    hook.strongest == Strongest::Facts && matches!(hook.attach, Attach::Entry(_) | Attach::Exit(_))
}

/// Names of programs, with commas between, that are left out as if the kernel had no such hook: for tests. Only those that
/// the others do without.
const LEFT_OUT: &str = "INTERDICT_WITHOUT";

fn left_out(hook: &Hook) -> bool {
    dispensable(hook)
        && std::env::var(LEFT_OUT)
            .is_ok_and(|programs| programs.split(',').any(|name| name == hook.program))
}

/// Whether this kernel has the hook of a program. One without a twin counts as there, so that its absence is an error.
pub(super) fn there(hook: &Hook, btf: &Btf) -> bool {
    if left_out(hook) {
        tracing::warn!(program = hook.program, "going on without it, as asked");
        return false;
    }
    match hook.attach {
        Attach::Lsm(name) => twin(hook.program).is_none() || btf.has_lsm_hook(name),
        Attach::Entry(name) | Attach::Exit(name) => !is_optional(hook) || btf.has_function(name),
        Attach::Tracepoint(_)
        | Attach::Cgroup
        | Attach::CgroupOut
        | Attach::CgroupIn
        | Attach::Xdp
        | Attach::Sysctl => true,
    }
}

/// Whether `bpf` is among the active security modules: where it is not, LSM programs load, attach and are never called.
/// What cannot be known counts as no.
pub(super) fn active_modules() -> Result<(), String> {
    const LIST: &str = "/sys/kernel/security/lsm";
    let list = fs::read_to_string(LIST)
        .map_err(|error| format!("{LIST}: {error}; mount securityfs, so that it can be told"))?;
    if list.trim().split(',').any(|module| module == "bpf") {
        return Ok(());
    }
    Err(format!(
        "`bpf` is not among the active security modules ({}); add it to lsm= on the kernel's command line",
        list.trim()
    ))
}

/// Whether this kernel lets nobody load such a program. Any other refusal is a fault, and no reason to do with less.
pub(super) fn forbidden(error: &ProgramError) -> bool {
    const EPERM: i32 = 1;
    matches!(error, ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(EPERM))
}

/// The system's word on a refusal, and the verifier's last one if it has one.
pub(super) fn first_cause(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let counts = ["processed ", "verification time", "stack depth", "insns processed"];
            let last = log
                .lines()
                .filter(|line| !line.is_empty())
                .rfind(|line| !counts.iter().any(|count| line.starts_with(count)));
            match last {
                Some(last) => format!("{io_error} ({last})"),
                None => io_error.to_string(),
            }
        }
        other => other.to_string(),
    }
}

pub(super) fn is_lsm(program: &str) -> bool {
    HOOKS.iter().any(|hook| hook.program == program && matches!(hook.attach, Attach::Lsm(_)))
}
