//! One QEMU run: starts it, passes on what the guest's second serial port says, ends it when its time is up.
//!
//! QEMU is tied to this process by the kernel (`setpriv --pdeathsig`): however this one ends, the guest ends with it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::kernel::Kernel;
use super::plan::BEGUN;

/// The processor of a guest: all that the emulator can do, without `erms` and `fsrm`, repeated moves as one instruction:
/// the emulator counts every step of them, hardware does not.
const PROCESSOR: &str = "max,erms=off,fsrm=off";

/// Less for kernels that do without: QEMU 7.2 computes the flags after `cmpxchg16b` from a stale operation
/// (`helper_cmpxchg16b` reads `cc_op` that was not written back; put right in 8.0). An interrupt taken right then saves
/// rubbish flags, and returning to them is a fault in the kernel's allocator, once in some hundred guests. Kernels without
/// the instruction do the same with interrupts switched off.
const WITHOUT_CMPXCHG16B: &str = ",cx16=off";

/// How often a guest is started whose kernel crashed before its first process: nothing that is to be tested had run by then.
/// Once in some hundred starts QEMU 7.2 with two processors lets one of them run into a breakpoint that the other has
/// already taken out of the kernel's code again.
const STARTS: u32 = 3;

/// How a guest's time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// As fast as it goes, on two processors.
    Real,
    /// One processor, and one nanosecond is one instruction, so that costs can be counted.
    Instructions,
}

/// Where what the guest prints goes besides being kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// To our standard output, as it comes.
    Live,
    /// Nowhere.
    Silent,
}

/// What a run needs to know.
#[derive(Debug)]
pub struct Machine<'a> {
    /// What to boot.
    pub kernel: &'a Kernel,
    /// Its first file system.
    pub initrd: &'a Path,
    /// The disk it may write to.
    pub disk: &'a Path,
    /// A second one, as QEMU names it, whose flushes are passed on.
    pub second_disk: Option<&'a str>,
    /// Where kernel messages are kept.
    pub console: &'a Path,
    /// As QEMU writes it, `2G`.
    pub memory: &'a str,
    /// How its time passes.
    pub clock: Clock,
    /// After which it is ended.
    pub timeout: Duration,
    /// What becomes of its output.
    pub echo: Echo,
}

impl Machine<'_> {
    fn kernel_command_line(&self) -> String {
        // A busy host may give the emulated timer too little time for the kernel's check that it ticks, and a kernel that
        // believes its timer broken does not get far.
        let mut line =
            format!("console=ttyS0 quiet panic=-1 no_timer_check rdinit={}", super::plan::INIT);
        match self.clock {
            // A machine that zeroes every page it hands out counts mostly that.
            Clock::Instructions => {
                line.push_str(" lsm=lockdown,capability,landlock,yama,bpf init_on_alloc=0");
            }
            Clock::Real if self.kernel.starts_bpf_lsm() => {}
            Clock::Real => line.push_str(" lsm=lockdown,capability,yama,apparmor,bpf"),
        }
        line
    }

    fn processor(&self) -> String {
        let less = if self.kernel.needs_cmpxchg16b() { "" } else { WITHOUT_CMPXCHG16B };
        format!("{PROCESSOR}{less}")
    }

    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        match self.clock {
            Clock::Real => command.args(["-accel", "tcg,thread=multi", "-smp", "2"]),
            Clock::Instructions => command
                .args(["-accel", "tcg,thread=single", "-smp", "1"])
                .args(["-icount", "shift=0,sleep=off"]),
        };
        command
            .args(["-cpu", &self.processor(), "-m", self.memory])
            .args(["-nodefaults", "-display", "none", "-no-reboot", "-nic", "none"])
            .arg("-serial")
            .arg(format!("file:{}", self.console.display()))
            .args(["-chardev", "file,id=output,path=/dev/stdout", "-serial", "chardev:output"])
            .arg("-drive")
            .arg(format!("file={},format=raw,if=virtio,cache=unsafe", self.disk.display()))
            .arg("-kernel")
            .arg(self.kernel.image())
            .arg("-initrd")
            .arg(self.initrd)
            .args(["-append", &self.kernel_command_line()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(name) = self.second_disk {
            let drive = format!("file={name},format=raw,if=virtio,cache=writeback");
            command.args(["-drive", &drive]);
        }
        command
    }

    /// Runs until the guest switches itself off; answers what it printed.
    pub fn run(&self) -> Result<Vec<u8>> {
        let (printed, _) = self.run_until(&mut |_| false)?;
        Ok(printed)
    }

    /// Runs until what was printed so far is enough, and then switches the machine off as a power failure does; or until
    /// the guest does so itself. Answers what it printed, and whether it was cut off.
    pub fn run_until(&self, enough: &mut dyn FnMut(&[u8]) -> bool) -> Result<(Vec<u8>, bool)> {
        let mut starts = 0;
        loop {
            let outcome = attended(&mut self.command(), self.timeout, self.echo, enough)
                .with_context(|| format!("the guest{}", self.console_tail()))?;
            let console = fs::read(self.console).unwrap_or_default();
            let console = String::from_utf8_lossy(&console);
            // Or a crash by what is tested would be taken for one before it.
            let (printed, _) = &outcome;
            ensure!(
                printed.is_empty() || console.contains(BEGUN),
                "there is no `{BEGUN}` on the console"
            );
            starts += 1;
            if starts == STARTS || !crashed_early(&console) {
                return Ok(outcome);
            }
            eprintln!("the guest's kernel crashed before its first process; it is started again");
        }
    }

    /// The end of what the kernel and the first process said, for an error message.
    pub fn console_tail(&self) -> String {
        let console = fs::read(self.console).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let lines: Vec<&str> = console.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
        if tail.is_empty() {
            return String::new();
        }
        format!("\nthe console's last lines:\n  {}", tail.join("\n  "))
    }
}

/// Whether the kernel crashed before the first process said that it begins.
fn crashed_early(console: &str) -> bool {
    console.contains("Kernel panic") && !console.contains(BEGUN)
}

/// Runs a program whose output is passed on as it comes and answered when it ended, with success and in time. Once it is
/// enough the program is killed; whether it was comes with the answer.
pub(super) fn attended(
    command: &mut Command,
    timeout: Duration,
    echo: Echo,
    enough: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<(Vec<u8>, bool)> {
    let mut child = command.spawn().context("could not be started")?;
    let mut stdout = child.stdout.take().context("standard output is a pipe")?;
    let mut stderr = child.stderr.take().context("standard error is a pipe")?;
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = stdout.read(&mut buffer) {
            if tell.send(buffer.get(..length).unwrap_or_default().to_vec()).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + timeout;
    let mut printed = Vec::new();
    loop {
        match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => {
                if echo == Echo::Live {
                    let mut stdout = std::io::stdout();
                    stdout.write_all(&bytes).and_then(|()| stdout.flush())?;
                }
                printed.extend(bytes);
                if enough(&printed) {
                    child.kill()?;
                    child.wait()?;
                    return Ok((printed, true));
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill()?;
                child.wait()?;
                bail!("was not done after {} s and was ended", timeout.as_secs());
            }
        }
    }
    let status = child.wait()?;
    let complaints = complaints.join().unwrap_or_default();
    if !status.success() {
        bail!("ended with {status}: {complaints}");
    }
    Ok((printed, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_crash_before_the_first_process_is_no_result() {
        let crash = "[    2.3] Oops: int3\n[    2.3] Kernel panic - not syncing: Fatal exception\n";
        assert!(crashed_early(crash));
        assert!(!crashed_early(&format!("{BEGUN}\n{crash}")));
        assert!(!crashed_early(""));
    }
}
