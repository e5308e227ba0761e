//! `cargo xtask demo`: the main job before one's eyes.
//!
//! The agent runs on `policies/` in a guest, or on this machine itself, and sends its alerts to a real HTTPS receiver. Each act is done twice:
//! without the agent, where it succeeds, and with it. Shown is what was expected, what the kernel did, and the alert that
//! arrived, proven with the public key alone. Anything else than expected makes the command fail.

mod acts;
mod show;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::act::{self, PERFORMER, Step};
use crate::vm::Guest;
use crate::vm::command::PUBLIC_KEY;
use crate::{paths, run, step};
use show::Evidence;

/// Shows acts being refused, told and proven.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Short name of the kernel: 6.1, 6.12 or newest.
    #[arg(long, default_value = "6.1")]
    pub kernel: String,
    /// On this machine's own kernel, which must have BPF LSM. For the seconds it takes, the rules hold for the whole
    /// machine; everything else is in namespaces of its own.
    #[arg(long, conflicts_with = "kernel")]
    pub here: bool,
    /// On this machine's own kernel without BPF LSM: only what cgroup and XDP programs can refuse, confined to a cgroup
    /// and a network namespace of its own.
    #[arg(long, conflicts_with_all = ["kernel", "here"])]
    pub native: bool,
    /// Another program than this repository's agent.
    #[arg(long, hide = true)]
    pub agent: Option<PathBuf>,
}

const SCRIPT: &str = "/usr/lib/guest/script.json";
const PREPARE: &str = "/usr/lib/guest/prepare.sh";
const RECEIVER: &str = "/usr/bin/receiver";

fn config() -> String {
    format!(
        "interfaces: [all]\nsinks:\n  - file: {{ path: /out/alerts.ndjson, max_bytes: 0 }}\n  - name: siem\n    \
         webhook: {{ url: \"https://localhost:{}/alerts\", ca: /out/receiver/ca.pem, body: ndjson }}\n",
        acts::RECEIVER_PORT
    )
}

/// Runs the demonstration; answers whether everything went as expected.
pub fn main(arguments: &Arguments) -> Result<bool> {
    let building = step::begin("building the agent and an HTTPS receiver");
    let agent = match &arguments.agent {
        Some(program) => program.clone(),
        None => run::built_agent()?,
    };
    let receiver = run::built("receiver")?;
    building.done();

    let mut shown = acts::all();
    if arguments.native {
        shown.retain(|shown| !shown.needs_lsm);
    }
    let script: Vec<&Step> = shown.iter().flat_map(|shown| [&shown.refused, &shown.twin]).collect();
    let perform = |results: &str| format!("{PERFORMER} {} {SCRIPT} {results}", act::PERFORM);
    let mut await_alerts = format!("{PERFORMER} {} /out/receiver/received.ndjson", act::AWAIT);
    for shown in &shown {
        // With quotes, so that it is found where a rule is named and not in the arguments of this very command, which
        // alerts also tell, with their quotes escaped.
        await_alerts.push_str(&format!(" '\"id\":\"{}\"'", shown.rule));
    }
    // The receiver's certificate is written when it listens.
    let before = format!(
        "sh {PREPARE} || exit; {RECEIVER} {} /out/receiver & {PERFORMER} {} /out/receiver/ca.pem CERTIFICATE && {}",
        acts::RECEIVER_PORT,
        act::AWAIT,
        perform("/out/control.json")
    );
    let command = format!(
        "cp {PUBLIC_KEY} /out/agent.pub; {}; {await_alerts}",
        perform("/out/enforced.json")
    );
    let guest = place(arguments)?
        .agent(&agent)
        .config_text(&config())
        .actor(PERFORMER)
        .add(stripped_receiver(&receiver)?, RECEIVER)
        .file(SCRIPT, 0o644, serde_json::to_vec(&script)?)
        .file(PREPARE, 0o644, acts::PREPARATION)
        .before(&before)
        .out(paths::vm().join("demo"));
    let booting = step::begin(&if arguments.here || arguments.native {
        "acting on this machine's own kernel".to_owned()
    } else {
        format!("acting in a guest on kernel {}", arguments.kernel)
    });
    let outcome = guest.run(&["sh", "-c", &command])?;
    let (started, enforcing) =
        (outcome.answer.agent_started_seconds, outcome.answer.enforcing_seconds);
    booting.done_with(&format!(
        "the agent enforced after {:.1} s",
        enforcing.zip(started).map(|(end, start)| end - start).unwrap_or_default()
    ));

    let received = outcome.out.join("receiver/received.ndjson");
    let verified = Command::new(&agent)
        .args(["verify", "--allow-repeats", "--key"])
        .arg(outcome.out.join("agent.pub"))
        .arg(&received)
        .output()?;
    let evidence = Evidence {
        control: show::outcomes(&outcome.out.join("control.json"))?,
        enforced: show::outcomes(&outcome.out.join("enforced.json"))?,
        received: fs::read_to_string(&received).unwrap_or_default(),
        verified: verified.status.success(),
        verify_said: String::from_utf8_lossy(&verified.stdout).into_owned()
            + &String::from_utf8_lossy(&verified.stderr),
    };
    let as_expected = show::show(&shown, &evidence);
    step::note(&format!("everything is in {}", outcome.out.display()));
    Ok(as_expected)
}

/// Where it happens, with the policies that can hold there.
fn place(arguments: &Arguments) -> Result<Guest> {
    let init = std::env::current_exe()?;
    let policies = paths::root().join("policies");
    if arguments.native {
        // Rules on programs and files become tracepoint rules without BPF LSM, and tracepoints see the whole machine.
        let only = paths::vm().join("network-policies");
        fs::create_dir_all(&only)?;
        fs::copy(policies.join("network.yaml"), only.join("network.yaml"))?;
        return Ok(Guest::native(init)?
            .policies(&only)
            .add(policies.join("feeds"), "/etc/interdict/policies/feeds"));
    }
    if arguments.here {
        let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
        anyhow::ensure!(
            modules.trim().split(',').any(|name| name == "bpf"),
            "this kernel does not run BPF LSM (it runs `{}`): run the demonstration in a guest, or with --native",
            modules.trim()
        );
        return Ok(Guest::native(init)?.policies(policies));
    }
    Ok(Guest::new(&arguments.kernel, init)?.policies(policies))
}

/// Without symbols the receiver is a tenth of its size, and a guest unpacks it twice.
fn stripped_receiver(receiver: &Path) -> Result<PathBuf> {
    let copy = paths::vm().join("receiver");
    fs::create_dir_all(paths::vm())?;
    run::quietly(Command::new("strip").arg("-o").arg(&copy).arg(receiver))
        .context("strip, of binutils")?;
    Ok(copy)
}
