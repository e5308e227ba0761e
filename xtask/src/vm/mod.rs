//! A guest: a stock kernel in QEMU with BPF LSM, the agent on some policies, one command, and what came of it.
//!
//! `cargo xtask vm` and the guest tests describe a [`Guest`] and run it; the answer is an [`Outcome`]. Nothing of one
//! run is shared with another, so any number may run at the same time.

pub mod command;
pub mod cpio;
pub mod init;
pub mod kernel;
pub mod machine;
pub mod module;
mod native;
pub mod plan;
pub mod tree;

use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{paths, run, tools};
use kernel::Kernel;
use machine::{Clock, Echo, Machine};
use module::Modules;
use plan::{ANSWER, Agent, Answer, INIT, PLAN, Plan};
use tree::Tree;

/// Modules every guest loads: its disk, and what acts need that a host loads by itself.
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "dummy", "veth"];
/// Room on the disk that `/out` is sent home on; only what is used takes space here.
const DISK_BYTES: u64 = 8 << 30;

/// What the agent may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Tell only.
    Audit,
    /// Act.
    Enforce,
}

/// Where a guest runs.
#[derive(Debug, Clone)]
enum Place {
    /// In a machine of its own, with this kernel.
    Machine(Kernel),
    /// On this machine's kernel, in namespaces and a cgroup of its own.
    Native,
}

/// A guest as it is described before it runs.
#[derive(Debug, Clone)]
pub struct Guest {
    place: Place,
    init: PathBuf,
    agent: Option<PathBuf>,
    policies: Option<PathBuf>,
    config: Option<PathBuf>,
    config_text: Option<String>,
    mode: Option<Mode>,
    additions: Vec<(PathBuf, PathBuf)>,
    actors: Vec<String>,
    files: Vec<(String, u32, Vec<u8>)>,
    modules: Vec<String>,
    before: Option<String>,
    environment: Vec<(String, String)>,
    clock: Clock,
    second_disk: Option<String>,
    memory: String,
    timeout: Duration,
    out: Option<PathBuf>,
    echo: Echo,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Exit status of the command, as a shell tells it.
    pub status: i32,
    /// What the command printed, both streams in the order written.
    pub output: String,
    /// The guest's `/out`, here.
    pub out: PathBuf,
    /// More about the run.
    pub answer: Answer,
}

static RUNS: AtomicU32 = AtomicU32::new(0);

impl Guest {
    /// A guest with the kernel of that short name and no agent. `init` is a program whose `main` starts with
    /// [`init::run_if_first`]: this one, or a test's own.
    pub fn new(kernel: &str, init: impl Into<PathBuf>) -> Result<Self> {
        tools::packages(tools::GUEST_PACKAGES, "guests")?;
        Ok(Self::at(Place::Machine(Kernel::named(kernel)?), init.into()))
    }

    /// No machine of its own: namespaces and a cgroup on this machine's kernel, a file system whose changes vanish.
    /// It is the honest test of a host without BPF LSM. What is attached to a cgroup or an interface is confined to it;
    /// tracepoints are not, so give it no rules on programs or files that could be about anything outside.
    pub fn native(init: impl Into<PathBuf>) -> Result<Self> {
        anyhow::ensure!(rustix::process::geteuid().is_root(), "--native needs root");
        Ok(Self::at(Place::Native, init.into()))
    }

    fn at(place: Place, init: PathBuf) -> Self {
        Self {
            place,
            init,
            agent: None,
            policies: None,
            config: None,
            config_text: None,
            mode: None,
            additions: Vec::new(),
            actors: Vec::new(),
            files: Vec::new(),
            modules: Vec::new(),
            before: None,
            environment: Vec::new(),
            clock: Clock::Real,
            second_disk: None,
            memory: "2G".to_owned(),
            timeout: Duration::from_secs(300),
            out: None,
            echo: Echo::Silent,
        }
    }

    /// Starts this agent and waits until it enforces.
    #[must_use]
    pub fn agent(mut self, program: impl Into<PathBuf>) -> Self {
        self.agent = Some(program.into());
        self
    }

    /// The folder that becomes `/etc/interdict/policies`.
    #[must_use]
    pub fn policies(mut self, folder: impl Into<PathBuf>) -> Self {
        self.policies = Some(folder.into());
        self
    }

    /// The file that becomes `/etc/interdict/config.yaml`, instead of [`command::CONFIG`].
    #[must_use]
    pub fn config(mut self, file: impl Into<PathBuf>) -> Self {
        self.config = Some(file.into());
        self
    }

    /// The text of `/etc/interdict/config.yaml`, when it is in no file.
    #[must_use]
    pub fn config_text(mut self, text: &str) -> Self {
        self.config_text = Some(text.to_owned());
        self
    }

    /// What the agent may do; by default what its configuration says.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// A file or folder of this machine at a path in the guest, with the libraries of programs in it.
    #[must_use]
    pub fn add(mut self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        self.additions.push((from.into(), to.into()));
        self
    }

    /// A program at this path that does acts: [`crate::act`]. `init` must start with [`crate::act::run_if_asked`] too.
    #[must_use]
    pub fn actor(mut self, path: &str) -> Self {
        self.actors.push(path.to_owned());
        self
    }

    /// A file with this content in the guest.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), mode, content.into()));
        self
    }

    /// A kernel module to load, with what it needs.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// The same for one that not every kernel has; what needs it has to do without.
    #[must_use]
    pub fn module_if_there(self, name: &str) -> Self {
        let has = |kernel: &Kernel| Modules::of(kernel)?.in_order(&[name]);
        match &self.place {
            Place::Machine(kernel) if has(kernel).is_ok() => self.module(name),
            Place::Machine(_) | Place::Native => self,
        }
    }

    /// A shell command to run as root while nothing is enforced yet.
    #[must_use]
    pub fn before(mut self, command: &str) -> Self {
        self.before = Some(command.to_owned());
        self
    }

    /// A variable in the environment of everything that is run.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How its time passes.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// A second disk, `/dev/vdb`, as QEMU names it. What the guest asks to be flushed is flushed.
    #[must_use]
    pub fn disk(mut self, name: &str) -> Self {
        self.second_disk = Some(name.to_owned());
        self
    }

    /// Its memory, as QEMU writes it.
    #[must_use]
    pub fn memory(mut self, memory: &str) -> Self {
        memory.clone_into(&mut self.memory);
        self
    }

    /// After which it is ended.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Where its `/out` goes; by default a folder of its own.
    #[must_use]
    pub fn out(mut self, folder: impl Into<PathBuf>) -> Self {
        self.out = Some(folder.into());
        self
    }

    /// What becomes of its output besides being kept.
    #[must_use]
    pub fn echo(mut self, echo: Echo) -> Self {
        self.echo = echo;
        self
    }

    /// Boots, runs the command, and brings `/out` back. Any status of the command is an answer; a guest that could not
    /// run it is an error.
    pub fn run<S: AsRef<str>>(&self, command: &[S]) -> Result<Outcome> {
        self.in_a_folder(command, |work, name, command| self.run_in(work, name, command))
    }

    /// Boots and runs the command until what was printed so far is enough. Then the machine is off, as after a power
    /// failure. Answers what was printed.
    pub fn run_until_cut<S: AsRef<str>>(
        &self,
        command: &[S],
        mut enough: impl FnMut(&[u8]) -> bool,
    ) -> Result<String> {
        let Place::Machine(kernel) = &self.place else {
            bail!("there is no machine to switch off")
        };
        self.in_a_folder(command, |work, _, command| {
            let (initrd, disk, console) = self.prepare(work, command)?;
            let machine = self.machine(kernel, [&initrd, &disk, &console]);
            let (printed, cut) = machine.run_until(&mut enough)?;
            let printed = String::from_utf8_lossy(&printed).into_owned();
            anyhow::ensure!(cut, "the guest ended by itself{}\n{printed}", machine.console_tail());
            Ok(printed)
        })
    }

    fn in_a_folder<S: AsRef<str>, T>(
        &self,
        command: &[S],
        run: impl FnOnce(&Path, &str, Vec<String>) -> Result<T>,
    ) -> Result<T> {
        let command: Vec<String> = command.iter().map(|word| word.as_ref().to_owned()).collect();
        let name = format!("{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        let runs = paths::vm().join("run");
        remove_abandoned(&runs);
        let work = runs.join(&name);
        fs::create_dir_all(&work)?;
        let outcome = run(&work, &name, command);
        let _ = fs::remove_dir_all(&work);
        outcome
    }

    /// Writes what a run starts from: its first file system, its disk, its console.
    fn prepare(&self, work: &Path, command: Vec<String>) -> Result<(PathBuf, PathBuf, PathBuf)> {
        let (initrd, disk, console) =
            (work.join("initrd"), work.join("disk"), work.join("console"));
        let archive = BufWriter::with_capacity(1 << 20, File::create(&initrd)?);
        self.tree(work, command)?.archive(archive)?;
        File::create(&disk)?.set_len(DISK_BYTES)?;
        Ok((initrd, disk, console))
    }

    fn machine<'a>(
        &'a self,
        kernel: &'a Kernel,
        [initrd, disk, console]: [&'a Path; 3],
    ) -> Machine<'a> {
        Machine {
            kernel,
            initrd,
            disk,
            second_disk: self.second_disk.as_deref(),
            console,
            memory: &self.memory,
            clock: self.clock,
            timeout: self.timeout,
            echo: self.echo,
        }
    }

    fn run_in(&self, work: &Path, name: &str, command: Vec<String>) -> Result<Outcome> {
        let (initrd, disk, console) = self.prepare(work, command)?;
        let (printed, said) = match &self.place {
            Place::Machine(kernel) => {
                let machine = self.machine(kernel, [&initrd, &disk, &console]);
                (machine.run()?, machine.console_tail())
            }
            Place::Native => {
                let printed = native::run(&self.init, work, name, self.timeout, self.echo)?;
                (printed, String::new())
            }
        };
        let folder = self.out.clone().unwrap_or_else(|| paths::vm().join("outs").join(name));
        let _ = fs::copy(&console, folder.with_extension("console"));
        let answer = fetch(&disk, work, &folder).with_context(|| {
            let printed = String::from_utf8_lossy(&printed);
            format!("the guest ended without an answer{said}\nwhat it had printed:\n{printed}")
        })?;
        let Some(status) = answer.status else {
            bail!(
                "{}{}",
                answer.error.as_deref().unwrap_or("the guest did not say why it ended"),
                String::from_utf8_lossy(&printed)
            );
        };
        let output = String::from_utf8_lossy(&printed).into_owned();
        Ok(Outcome { status, output, out: folder, answer })
    }

    fn tree(&self, work: &Path, command: Vec<String>) -> Result<Tree> {
        let mut tree = match self.place {
            Place::Machine(_) => Tree::of_a_host()?,
            Place::Native => Tree::on_this_machine(),
        };
        // With its symbols a program of ours is ten times as large, and all of it is unpacked twice in the guest.
        let init = stripped(&self.init, work, "init")?;
        for path in [INIT].into_iter().chain(self.actors.iter().map(String::as_str)) {
            tree.copy(&init, Path::new(path))?;
        }
        let modules = match &self.place {
            Place::Machine(kernel) => self.load(kernel, &mut tree)?,
            Place::Native => Vec::new(),
        };
        for (from, to) in &self.additions {
            tree.copy(from, to)?;
        }
        let agent = self.agent.as_ref().map(|agent| self.install(agent, work, &mut tree));
        for (path, mode, content) in &self.files {
            tree.write(path, *mode, content);
        }
        let plan = Plan {
            modules,
            before: self.before.clone(),
            agent: agent.transpose()?,
            command: match self.place {
                Place::Machine(_) => program(command, &mut tree)?,
                // Everything this machine has is there.
                Place::Native => command,
            },
            environment: self.environment.clone(),
        };
        tree.write(PLAN, 0o600, &serde_json::to_vec_pretty(&plan)?);
        Ok(tree)
    }

    fn load(&self, kernel: &Kernel, tree: &mut Tree) -> Result<Vec<String>> {
        let modules = Modules::of(kernel)?;
        let names: Vec<&str> =
            MODULES.iter().copied().chain(self.modules.iter().map(String::as_str)).collect();
        let mut paths = Vec::new();
        for file in modules.in_order(&names)? {
            let (name, bytes) = modules.unpacked(&file)?;
            let path = format!("/usr/lib/guest/modules/{name}");
            tree.write(&path, 0o644, &bytes);
            paths.push(path);
        }
        Ok(paths)
    }

    fn install(&self, agent: &Path, work: &Path, tree: &mut Tree) -> Result<Agent> {
        tree.copy(&stripped(agent, work, "agent")?, Path::new(command::AGENT))?;
        if let Some(policies) = &self.policies {
            tree.copy(policies, Path::new("/etc/interdict/policies"))?;
        }
        let config = match &self.config {
            Some(file) => fs::read(file).with_context(|| file.display().to_string())?,
            None => self.config_text.as_deref().unwrap_or(command::CONFIG).as_bytes().to_vec(),
        };
        tree.write(command::CONFIG_PATH, 0o644, &config);
        Ok(command::agent(self.mode))
    }
}

/// Removes what runs left behind that were ended before they could clean up.
fn remove_abandoned(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.split('-').next()).unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes the command's program be there: from this machine if it has it, from what the guest has otherwise.
fn program(mut command: Vec<String>, tree: &mut Tree) -> Result<Vec<String>> {
    let Some(first) = command.first_mut() else {
        bail!("no command was given");
    };
    if first.contains('/') {
        let path = Path::new(first.as_str());
        if !tree.has(path) {
            let here = std::path::absolute(path)?;
            tree.program(&here)
                .with_context(|| format!("`{first}` is neither here nor in the guest"))?;
            *first = here.to_string_lossy().into_owned();
        }
        return Ok(command);
    }
    let in_the_guest = tree::PATH.iter().any(|folder| tree.has(&Path::new(folder).join(&*first)));
    match tree::find_program(first) {
        // The real program and not busybox in its stead.
        Some(path) => tree.program(&path)?,
        None if in_the_guest => {}
        None => bail!("`{first}` is neither here nor in the guest"),
    }
    Ok(command)
}

/// A copy without symbols, kept under the name the original has. What cannot be stripped is used as it is.
fn stripped(program: &Path, work: &Path, kind: &str) -> Result<PathBuf> {
    let copy = work.join(kind);
    let stripped = run::quietly(Command::new("strip").arg("-o").arg(&copy).arg(program));
    if stripped.is_err() {
        fs::copy(program, &copy).with_context(|| program.display().to_string())?;
    }
    Ok(copy)
}

/// Unpacks what the guest wrote to its disk; `/out` replaces what was in the folder before.
fn fetch(disk: &Path, work: &Path, folder: &Path) -> Result<Answer> {
    let unpacked = work.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    let mut reader = BufReader::with_capacity(1 << 20, File::open(disk)?);
    cpio::unpack(&mut reader, &unpacked)?;
    let answer = serde_json::from_slice(&fs::read(unpacked.join(ANSWER))?)?;
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    if fs::rename(unpacked.join("out"), folder).is_err() {
        run::quietly(Command::new("cp").arg("-a").arg(unpacked.join("out")).arg(folder))?;
    }
    Ok(answer)
}
