//! `interdict doctor`: what this host can enforce, and what each rule comes to on it.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use interdict_abi::{ids::Act, offsets::FIELDS};
use serde_json::json;

use super::{
    policies::{Format, NO, print, print_json, untried},
    run::configuration,
};
use crate::{
    app::load_options,
    kernel::{
        btf::Btf,
        features::Features,
        hooks::{Attach, Effect, HOOKS, twin, usable},
        loader::{Deciding, Loaded, Options, Wanted, remove_instance},
    },
    policy::{Policy, PolicyError, acts_of, backstops_of, said},
    trust::Trust,
};

/// Tell what this host can enforce and how each rule will really act on it. Loads every program to find out, attaches
/// none. Exit code 1: something is not enforced as written.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Policies instead of the configuration's.
    #[arg(long)]
    policies: Option<PathBuf>,
    /// How to say it.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let config = match configuration(arguments.config.as_ref()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let folder = arguments.policies.clone().unwrap_or_else(|| config.policies.clone());
    let features = Features::find(&config.pins);
    let missing = missing_fields();
    let tried = try_programs(load_options(&config));
    let policy = Trust::of(&config)
        .map_err(PolicyError::from)
        .and_then(|trust| Policy::open(&folder, &trust));
    match arguments.format {
        Format::Human => human(&features, &missing, &tried, &policy),
        Format::Json => print_json(&machine(&features, &missing, &tried, &policy)),
    }
    let whole = match (&tried, &policy) {
        (Ok(tried), Ok(policy)) => weaker(policy, tried.deciding.lsm()).is_empty(),
        (Ok(_), Err(_)) | (Err(_), _) => false,
    };
    if let Err(error) = policy {
        return untried(&error);
    }
    if whole && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NO) }
}

struct Tried {
    deciding: Deciding,
    programs: Vec<(&'static str, Option<u32>, Option<u32>)>,
}

/// Loads everything under a directory of its own and takes it away again.
fn try_programs(options: Options) -> Result<Tried, String> {
    let pins = options.pins.join("doctor");
    // Every program, whatever the rules: nothing is attached, so it does not matter to which interface.
    let interfaces = vec!["lo".to_owned()];
    let options = Options { pins, interfaces, ..options };
    let everything = Wanted { image_bytes: 0, acts: Act::ALL, rates: true, guarded: true };
    let loaded = Loaded::start_for(options, everything).map_err(|error| error.to_string())?;
    let tried =
        Tried { deciding: loaded.deciding().clone(), programs: loaded.verified_instructions() };
    remove_instance(loaded.directory());
    if let Some(parent) = loaded.directory().parent() {
        let _gone = std::fs::remove_dir(parent);
    }
    Ok(tried)
}

fn missing_fields() -> Vec<String> {
    match Btf::of_kernel() {
        Ok(btf) => FIELDS
            .iter()
            .filter_map(|field| btf.offset(field.structure, field.member).err())
            .map(|error| error.to_string())
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// Rules that come to less than what is written.
fn weaker(policy: &Policy, lsm: bool) -> Vec<(String, Act, Effect)> {
    let mut found = Vec::new();
    for (rule, acts) in policy.effects(lsm) {
        for (act, effect) in acts {
            let asked = match rule.action.as_str() {
                "block" => effect == Effect::Refused,
                "kill" => effect == Effect::Killed,
                _ => effect == Effect::Told,
            };
            if !asked {
                found.push((rule.id.clone(), act, effect));
            }
        }
    }
    found
}

fn human(
    features: &Features,
    missing: &[String],
    tried: &Result<Tried, String>,
    policy: &Result<Policy, crate::policy::PolicyError>,
) {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        out.push_str(&format!("{name:<18} {value}\n"));
    };
    line("kernel", &format!("{} {}", features.kernel, features.machine));
    let lsm =
        features.lsm.as_ref().map_or("securityfs is not mounted".to_owned(), |list| list.join(","));
    line("security modules", &lsm);
    line(
        "types (BTF)",
        if features.btf { "present" } else { "missing: CONFIG_DEBUG_INFO_BTF=y is needed" },
    );
    line(
        "BPF file system",
        if features.bpffs { "mounted" } else { "not mounted at the pin directory" },
    );
    let cgroup = features
        .cgroup2
        .as_ref()
        .map_or("not mounted".to_owned(), |path| path.display().to_string());
    line("cgroup v2", &cgroup);
    line("BPF JIT", if features.jit { "on" } else { "off: decisions are slow" });
    let ftrace = match features.ftrace {
        Some(true) => "on",
        Some(false) => "OFF: the kernel calls no LSM program; set kernel.ftrace_enabled to 1",
        None => "not told",
    };
    line("ftrace", ftrace);
    for problem in missing {
        line("missing field", problem);
    }
    match tried {
        Err(error) => line("programs", &format!("none can be loaded: {error}")),
        Ok(tried) => {
            match &tried.deciding {
                Deciding::Lsm => {
                    line("decides with", "BPF LSM: acts are refused before they happen")
                }
                Deciding::WithoutLsm(reason) => {
                    line("decides with", &format!("tracepoints, cgroup and XDP only: {reason}"))
                }
            }
            out.push_str("\nprogram                  attached to                     acts                    instructions\n");
            for hook in HOOKS.iter().filter(|hook| usable(hook.when, tried.deciding.lsm())) {
                let place = match hook.attach {
                    Attach::Lsm(name) => format!("lsm {name}"),
                    Attach::Entry(name) => format!("entry of {name}"),
                    Attach::Exit(name) => format!("exit of {name}"),
                    Attach::Tracepoint(name) => format!("tracepoint {name}"),
                    Attach::Cgroup => "cgroup".to_owned(),
                    Attach::CgroupOut => "cgroup, packets out".to_owned(),
                    Attach::CgroupIn => "cgroup, packets in".to_owned(),
                    Attach::Xdp => "XDP".to_owned(),
                    Attach::Sysctl => "cgroup sysctl".to_owned(),
                };
                let acts: Vec<&str> = hook.acts.iter().map(|act| act.name()).collect();
                let size = tried.programs.iter().find(|(name, ..)| *name == hook.program);
                // A hook that this kernel lacks: its acts are seen by another.
                let size = match (size.and_then(|(_, _, size)| *size), twin(hook.program)) {
                    (Some(size), _) => size.to_string(),
                    (None, Some(twin)) => format!("not here: see {twin}"),
                    (None, None) => "-".to_owned(),
                };
                out.push_str(&format!(
                    "{:<24} {place:<31} {:<23} {size:>12}\n",
                    hook.program,
                    acts.join(" ")
                ));
            }
        }
    }
    if let (Ok(tried), Ok(policy)) = (tried, policy) {
        out.push_str(&rules(policy, tried.deciding.lsm()));
    }
    print(&out);
}

fn rules(policy: &Policy, lsm: bool) -> String {
    let mut out =
        String::from("\nrule                     asks    on                      comes to\n");
    for (rule, acts) in policy.effects(lsm) {
        let mut first = true;
        for (act, effect) in acts {
            let (id, asks) =
                if first { (rule.id.as_str(), rule.action.as_str()) } else { ("", "") };
            first = false;
            let audit = if rule.mode == "audit" { " (audit: told only)" } else { "" };
            out.push_str(&format!(
                "{id:<24} {asks:<7} {:<23} {}{audit}\n",
                act.name(),
                said(effect)
            ));
        }
        let packets: Vec<Act> = backstops_of(rule).collect();
        for act in &packets {
            out.push_str(&format!("{:<32} {:<23} dropped, whoever sent it\n", "", act.name()));
        }
        let flows = acts_of(rule).any(|act| matches!(act, Act::NetConnect | Act::NetSend));
        if flows && packets.is_empty() && rule.action != "alert" {
            out.push_str(&format!(
                "{:<32} {:<23} not held: the rule asks for more than a packet shows\n",
                "", "packets without process"
            ));
        }
    }
    let weaker = weaker(policy, lsm);
    if weaker.is_empty() {
        out.push_str("\nevery rule acts as written\n");
    } else {
        out.push_str(&format!("\n{} acts come to less than their rules ask for\n", weaker.len()));
    }
    out
}

fn machine(
    features: &Features,
    missing: &[String],
    tried: &Result<Tried, String>,
    policy: &Result<Policy, crate::policy::PolicyError>,
) -> serde_json::Value {
    let programs = tried.as_ref().map(|tried| {
        let rows = tried.programs.iter().map(|(name, verified, size)| {
            json!({ "program": name, "verified_instructions": verified, "instructions": size })
        });
        rows.collect::<Vec<_>>()
    });
    let lsm = tried.as_ref().is_ok_and(|tried| tried.deciding.lsm());
    let reason = match tried {
        Ok(Tried { deciding: Deciding::WithoutLsm(reason), .. }) => Some(reason.clone()),
        Ok(_) => None,
        Err(error) => Some(error.clone()),
    };
    let rules = policy.as_ref().map(|policy| {
        let rows = policy.effects(lsm).into_iter().flat_map(|(rule, acts)| {
            acts.into_iter().map(move |(act, effect)| {
                json!({ "rule": rule.id, "action": rule.action, "mode": rule.mode, "act": act.name(), "effect": effect, "packets": &rule.backstops })
            })
        });
        rows.collect::<Vec<_>>()
    });
    json!({
        "features": features,
        "missing_fields": missing,
        "lsm_decides": lsm,
        "reason": reason,
        "programs": programs.unwrap_or_default(),
        "rules": rules.unwrap_or_default(),
    })
}
