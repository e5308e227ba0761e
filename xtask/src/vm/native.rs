//! The host's half of a native run: a cgroup of its own, namespaces of its own, and the first process in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::init::NATIVE;
use super::machine::{Echo, attended};

/// Runs what lies in `work` on this machine's kernel; answers what it printed.
pub(super) fn run(
    init: &Path,
    work: &Path,
    name: &str,
    timeout: Duration,
    echo: Echo,
) -> Result<Vec<u8>> {
    let cgroup = cgroup2()?.join(format!("interdict-native-{name}"));
    fs::create_dir(&cgroup).with_context(|| cgroup.display().to_string())?;
    let printed = attended(&mut command(init, work, &cgroup), timeout, echo, &mut |_| false)
        .map(|(printed, _)| printed)
        .context("the native run");
    // Empty once the first process of its namespace has ended; the kernel needs a moment to notice.
    for _ in 0..100 {
        if fs::remove_dir(&cgroup).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    printed
}

fn command(init: &Path, work: &Path, cgroup: &Path) -> Command {
    // A shell, because a process has to enter a cgroup itself before it leaves for new namespaces.
    let script = "echo 0 > \"$0/cgroup.procs\" && exec setpriv --pdeathsig KILL \
                  unshare --mount --net --ipc --uts --cgroup --pid --fork --kill-child \"$1\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .arg(cgroup)
        .arg(init)
        .env(NATIVE, work)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Where the second version of cgroups is mounted.
fn cgroup2() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (_, at, kind) = (words.next()?, words.next()?, words.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(at))
        })
        .next()
        .context("cgroup v2 is not mounted")
}
