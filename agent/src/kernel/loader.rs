//! Loads the kernel programs, pins them, attaches those that the policy needs; adopts what an earlier agent left.
//!
//! Everything lives under one directory of the BPF file system, `<root>/<instance>/{maps,links}`. An instance is one
//! object at one slot size. Pinned links keep enforcing while no agent runs. A new agent adopts an instance of its own
//! object whose slots are large enough; otherwise it loads beside the old instance, puts the policy in force there, and
//! only then removes the old one, so that there is no instant without enforcement (for an instant there are two).

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::{
    Btf as KernelBtf, Ebpf, EbpfLoader, Endianness, VerifierLogLevel,
    maps::{Map, MapData},
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, CgroupSysctl, Lsm,
        ProgramError, RawTracePoint, Xdp, XdpMode, links::FdLink,
    },
};
use interdict_abi::{
    guard,
    ids::{Act, Calling},
    limits::{SLOT_BYTES_MAX, SLOT_BYTES_MIN},
    maps::names,
    offsets::{CHOICES, CONSTANTS, FIELDS, MISSING, PARAMETERS},
};
use thiserror::Error;

use super::{
    btf::{Btf, BtfError},
    hooks::{Attach, HOOKS, Hook, When, twin, usable},
    object::{self, ObjectError},
};

/// What can go wrong while loading.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The kernel's types cannot be read, or lack a field.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The kernel object is unusable.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The loader library refused the object or the kernel a map.
    #[error("the kernel refused the maps: {0}")]
    Maps(#[from] aya::EbpfError),
    /// The kernel refused a program.
    #[error("the kernel refused program `{program}`: {source}")]
    Program {
        /// The program.
        program: &'static str,
        /// Why, with the verifier's last words.
        source: ProgramError,
    },
    /// The object lacks a program or map this agent knows.
    #[error("the kernel object has no `{0}`: it was built from other source than this agent")]
    Missing(&'static str),
    /// A pin could not be made or opened.
    #[error("{path}: {source}")]
    Pin {
        /// The pin.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The policy image is larger than a slot may be.
    #[error("the policy image has {have} bytes; a slot holds at most {SLOT_BYTES_MAX}")]
    TooLarge {
        /// Bytes of the image.
        have: usize,
    },
    /// An interface that packets were to be judged on.
    #[error("interface `{interface}`: {source}")]
    Interface {
        /// The interface.
        interface: String,
        /// Why.
        source: ProgramError,
    },
}

/// Where and how to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory for pins, on a BPF file system.
    pub pins: PathBuf,
    /// The cgroup whose processes are judged on hosts without BPF LSM.
    pub cgroup: PathBuf,
    /// Interfaces whose incoming packets are judged.
    pub interfaces: Vec<String>,
    /// Act as if the host had no BPF LSM.
    pub without_lsm: bool,
}

/// Whether LSM programs decide on this host, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deciding {
    /// LSM programs refuse acts.
    Lsm,
    /// They cannot be used; tracepoints, cgroup programs and XDP do what they can.
    WithoutLsm(String),
}

impl Deciding {
    /// Whether LSM programs decide.
    pub fn lsm(&self) -> bool {
        *self == Self::Lsm
    }
}

/// What is to be loaded.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    /// Acts that rules are about.
    acts: &'a [Act],
    /// Whether the agent guards itself.
    guarded: bool,
}

/// Loaded programs and their maps.
#[derive(Debug)]
pub struct Loaded {
    /// The maps, by name.
    maps: BTreeMap<&'static str, PathBuf>,
    directory: PathBuf,
    slot_bytes: usize,
    deciding: Deciding,
    ebpf: Option<Ebpf>,
    attached: Vec<&'static str>,
    /// Programs whose hook this kernel lacks and has a twin of.
    absent: Vec<&'static str>,
    /// Whether the programs that guard the agent are among those that are loaded.
    guarded: bool,
    options: Options,
    /// How each interface was attached, for `doctor`.
    pub interface_modes: Vec<(String, &'static str)>,
}

/// What the loader library cannot do with the links of interfaces.
#[derive(Clone, Copy, Debug)]
pub struct InterfaceLinks {
    /// Says whether a pinned link is still attached to what it was made for.
    pub is_attached: fn(&Path) -> io::Result<bool>,
    /// Attaches a pinned program to an interface by a link, pins that, and answers how it runs there.
    pub attach: fn(program: &Path, interface: &str, link: &Path) -> io::Result<&'static str>,
}

/// Links a program to a cgroup's sysctls and pins the link: the loader library makes such links, but lets none be pinned.
pub type CgroupLink = fn(BorrowedFd<'_>, BorrowedFd<'_>, &Path) -> io::Result<()>;

const MAPS: &[&str] = &[
    names::CONTROL,
    names::IMAGE,
    names::EXES,
    names::ANCESTORS,
    names::NAMES,
    names::LONG_NAMES,
    names::EVENTS,
    names::FAULTS,
    names::DECISIONS,
    names::PROGRAMS,
    names::LINEAGES,
    guard::names::STATE,
    guard::names::OBJECTS,
    guard::names::TASKS,
    guard::names::IDS,
    guard::names::USED,
    names::RULE_TALLIES,
    names::RATES,
    names::REPEATS,
];

/// Globals that hold the address of a kernel seqlock: see `cache` in the kernel object. Without them it remembers nothing.
const SYMBOLS: [(&str, &str); 3] = [
    ("RENAME_LOCK", "rename_lock"),
    ("MOUNT_LOCK", "mount_lock"),
    ("INIT_USER_NS", "init_user_ns"),
];

/// How programs of this machine call the kernel: 64-bit ones, and in the bits from 8 32-bit ones.
fn callings() -> u64 {
    let (native, compat) = match std::env::consts::ARCH {
        "aarch64" => (Calling::Aarch64, Calling::Arm),
        _ => (Calling::X86_64, Calling::I386),
    };
    native as u64 | (compat as u64) << 8
}

/// The addresses of kernel variables, from `/proc/kallsyms`; 0 for those that the kernel does not tell. One pass, and no
/// further than needed: writing down all its symbols costs the kernel hundreds of millions of instructions.
fn symbol_addresses<const N: usize>(symbols: [&str; N]) -> [u64; N] {
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

/// The slot size for an image: room to grow by a quarter, a power of two.
fn slot_for(image_bytes: usize) -> Result<usize, LoadError> {
    if image_bytes > SLOT_BYTES_MAX {
        return Err(LoadError::TooLarge { have: image_bytes });
    }
    let wanted = (image_bytes + image_bytes / 4).next_power_of_two();
    Ok(wanted.clamp(SLOT_BYTES_MIN.max(1 << 18), SLOT_BYTES_MAX))
}

fn pin_error(path: &Path) -> impl FnOnce(io::Error) -> LoadError + '_ {
    |source| LoadError::Pin { path: path.display().to_string(), source }
}

/// Opens a pinned map.
///
/// # Errors
/// There is none.
pub fn open_map(path: &Path) -> Result<MapData, LoadError> {
    MapData::from_pin(path).map_err(|error| LoadError::Pin {
        path: path.display().to_string(),
        source: io::Error::other(error),
    })
}

impl Loaded {
    /// Adopts an instance that fits, or loads a new one. Nothing is attached yet when it is new.
    ///
    /// # Errors
    /// The kernel refuses the programs even without LSM, or pins cannot be made.
    pub fn start(options: Options, image_bytes: usize, acts: &[Act]) -> Result<Self, LoadError> {
        Self::start_guarded(options, image_bytes, acts, false)
    }

    /// [`Loaded::start`], with the programs that guard the agent if `guarded`.
    ///
    /// # Errors
    /// As there.
    pub fn start_guarded(
        options: Options,
        image_bytes: usize,
        acts: &[Act],
        guarded: bool,
    ) -> Result<Self, LoadError> {
        fs::create_dir_all(&options.pins).map_err(pin_error(&options.pins))?;
        if let Some(adopted) = Self::adopt(&options, image_bytes, acts, guarded)? {
            return Ok(adopted);
        }
        Self::load(options, slot_for(image_bytes)?, Wanted { acts, guarded })
    }

    /// Instances that exist under the pin directory.
    pub fn instances(pins: &Path) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(pins) else { return Vec::new() };
        let mut found: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.join("maps").is_dir())
            .collect();
        found.sort();
        found
    }

    /// `<first 12 digits of the object's digest>-<log2 of the slot size>-<lsm|host>-<number>`.
    fn name(slot_bytes: usize, lsm: bool, number: u32) -> String {
        let digest = object::digest(object::PREBUILT);
        let kind = if lsm { "lsm" } else { "host" };
        format!("{}-{}-{kind}-{number}", &digest[..12], slot_bytes.trailing_zeros())
    }

    fn adopt(
        options: &Options,
        image_bytes: usize,
        acts: &[Act],
        guarded: bool,
    ) -> Result<Option<Self>, LoadError> {
        let digest = object::digest(object::PREBUILT);
        for directory in Self::instances(&options.pins) {
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let parts: Vec<&str> = name.split('-').collect();
            let [prefix, log2, kind, _] = parts.as_slice() else { continue };
            let Ok(log2) = log2.parse::<u32>() else { continue };
            let slot_bytes = 1usize.checked_shl(log2).unwrap_or(0);
            if *prefix != &digest[..12] || slot_bytes < image_bytes {
                continue;
            }
            let lsm = *kind == "lsm";
            if lsm && options.without_lsm {
                continue;
            }
            let links = directory.join("links");
            let needed: Vec<&Hook> =
                needed(acts, lsm, options).chain(guards(guarded && lsm)).collect();
            let all_there = needed
                .iter()
                .filter(|hook| twin(hook.program).is_none())
                .all(|hook| link_names(hook, options).iter().all(|link| links.join(link).exists()));
            let maps_there = MAPS.iter().all(|map| directory.join("maps").join(map).exists());
            if !all_there || !maps_there {
                continue;
            }
            let deciding = if lsm {
                Deciding::Lsm
            } else {
                Deciding::WithoutLsm("as decided by the agent that loaded the programs".to_owned())
            };
            return Ok(Some(Self {
                maps: map_paths(&directory),
                attached: needed.iter().map(|hook| hook.program).collect(),
                absent: Vec::new(),
                directory,
                slot_bytes,
                deciding,
                ebpf: None,
                guarded,
                options: options.clone(),
                interface_modes: Vec::new(),
            }));
        }
        Ok(None)
    }

    fn load(options: Options, slot_bytes: usize, wanted: Wanted<'_>) -> Result<Self, LoadError> {
        let btf = Btf::of_kernel()?;
        let active = active_modules();
        let kernel_btf = hook_types(&btf)?;
        if options.without_lsm {
            let reason = "switched off in the configuration".to_owned();
            return Self::load_as(
                options,
                slot_bytes,
                wanted,
                &btf,
                &kernel_btf,
                Deciding::WithoutLsm(reason),
            );
        }
        if let Err(reason) = active {
            tracing::warn!(%reason, "going on without BPF LSM");
            return Self::load_as(
                options,
                slot_bytes,
                wanted,
                &btf,
                &kernel_btf,
                Deciding::WithoutLsm(reason),
            );
        }
        match Self::load_as(options.clone(), slot_bytes, wanted, &btf, &kernel_btf, Deciding::Lsm) {
            Err(LoadError::Program { program, source })
                if is_lsm(program) && forbidden(&source) =>
            {
                let reason =
                    format!("the kernel refused LSM program `{program}`: {}", first_cause(&source));
                tracing::warn!(%reason, "going on without BPF LSM");
                let deciding = Deciding::WithoutLsm(reason);
                Self::load_as(options, slot_bytes, wanted, &btf, &kernel_btf, deciding)
            }
            result => result,
        }
    }

    fn load_as(
        options: Options,
        slot_bytes: usize,
        wanted: Wanted<'_>,
        btf: &Btf,
        kernel_btf: &KernelBtf,
        deciding: Deciding,
    ) -> Result<Self, LoadError> {
        let bytes = object::with_value_size(object::PREBUILT, names::IMAGE, slot_bytes as u32)?;
        let mut globals: Vec<(&'static str, u64)> = Vec::with_capacity(FIELDS.len() + 2);
        for field in FIELDS {
            globals.push((field.global, btf.offset(field.structure, field.member)?));
        }
        for choice in CHOICES {
            globals.push((choice.global, btf.choice(choice)));
        }
        for (global, constant) in CONSTANTS {
            globals.push((*global, btf.constant(constant).unwrap_or(MISSING)));
        }
        for (global, function, parameter) in PARAMETERS {
            let place = btf.parameters(function).unwrap_or_default();
            let place = place.iter().position(|name| name == parameter);
            globals.push((*global, place.map_or(MISSING, |place| place as u64)));
        }
        globals.push(("CALLINGS", callings()));
        globals.push(("SLOT_MASK", slot_bytes as u64 - 1));
        globals.push(("LSM_DECIDES", u64::from(deciding.lsm())));
        let addresses = symbol_addresses(SYMBOLS.map(|(_, symbol)| symbol));
        for ((global, _), address) in SYMBOLS.into_iter().zip(addresses) {
            globals.push((global, address));
        }
        let mut loader = EbpfLoader::new();
        // The full log of a refused program is megabytes and takes the kernel minutes: only on demand. The last words of the
        // verifier come with its statistics.
        loader.verifier_log_level(if std::env::var_os("INTERDICT_VERIFIER_LOG").is_some() {
            VerifierLogLevel::default()
        } else {
            VerifierLogLevel::STATS
        });
        for (name, value) in &globals {
            loader.override_global(name, value, true);
        }
        let mut ebpf = loader.load(&bytes)?;
        // Only what the rules need: checking a program takes the kernel longer than anything else at the start.
        for hook in needed(wanted.acts, deciding.lsm(), &options)
            .chain(guards(wanted.guarded && deciding.lsm()))
            .filter(|hook| there(hook, btf))
        {
            load_program(&mut ebpf, hook, kernel_btf)?;
        }
        let teaching = HOOKS.iter().find(|hook| hook.when == When::Teaching && deciding.lsm());
        if let Some(hook) = teaching {
            load_program(&mut ebpf, hook, kernel_btf)?;
        }
        let taken: Vec<PathBuf> = Self::instances(&options.pins);
        let directory = (0..)
            .map(|number| options.pins.join(Self::name(slot_bytes, deciding.lsm(), number)))
            .find(|path| !taken.contains(path) && !path.exists())
            .ok_or(LoadError::Missing("instance name"))?;
        let maps = directory.join("maps");
        fs::create_dir_all(&maps).map_err(pin_error(&maps))?;
        fs::create_dir_all(directory.join("links")).map_err(pin_error(&directory))?;
        for name in MAPS {
            let path = maps.join(name);
            let map = ebpf.map(name).ok_or(LoadError::Missing(name))?;
            map.pin(&path).map_err(|error| LoadError::Pin {
                path: path.display().to_string(),
                source: io::Error::other(error),
            })?;
        }
        if let Some(hook) = teaching {
            // Pinned as a program, not attached: whoever adopts the instance teaches with it.
            let path = directory.join(TEACHING);
            let refused = |source| LoadError::Program { program: hook.program, source };
            let program: &mut Lsm = ebpf
                .program_mut(hook.program)
                .ok_or(LoadError::Missing(hook.program))?
                .try_into()
                .map_err(refused)?;
            program.pin(&path).map_err(|error| LoadError::Pin {
                path: path.display().to_string(),
                source: io::Error::other(error),
            })?;
        }
        Ok(Self {
            maps: map_paths(&directory),
            directory,
            slot_bytes,
            deciding,
            ebpf: Some(ebpf),
            attached: Vec::new(),
            absent: HOOKS
                .iter()
                .filter(|hook| !there(hook, btf))
                .map(|hook| hook.program)
                .collect(),
            guarded: wanted.guarded,
            options,
            interface_modes: Vec::new(),
        })
    }

    /// Whether this instance was found, enforcing, rather than loaded.
    pub fn adopted(&self) -> bool {
        self.ebpf.is_none()
    }

    /// Whether LSM programs decide.
    pub fn deciding(&self) -> &Deciding {
        &self.deciding
    }

    /// Bytes of an image slot.
    pub fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// Directory of this instance's pins.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Opens one of the maps.
    ///
    /// # Errors
    /// Its pin is gone.
    pub fn map(&self, name: &'static str) -> Result<Map, LoadError> {
        let path = self.maps.get(name).ok_or(LoadError::Missing(name))?;
        Map::from_map_data(open_map(path)?).map_err(|error| LoadError::Pin {
            path: path.display().to_string(),
            source: io::Error::other(error),
        })
    }

    /// Where the links of the attached programs are pinned.
    pub fn pinned_links(&self) -> Vec<PathBuf> {
        let links = self.directory.join("links");
        HOOKS
            .iter()
            .filter(|hook| self.attached.contains(&hook.program))
            .flat_map(|hook| link_names(hook, &self.options))
            .map(|name| links.join(name))
            .collect()
    }

    /// Programs that are attached.
    pub fn attached(&self) -> &[&'static str] {
        &self.attached
    }

    /// Whether everything `acts` need is attached, or can be.
    pub fn can_serve(&self, image_bytes: usize, acts: &[Act]) -> bool {
        image_bytes <= self.slot_bytes
            && (self.ebpf.is_some()
                || needed(acts, self.deciding.lsm(), &self.options)
                    .all(|hook| self.attached.contains(&hook.program)))
    }

    /// Attaches the programs that keep processes up to date.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub fn attach_lifecycle(&mut self) -> Result<(), LoadError> {
        for hook in HOOKS.iter().filter(|hook| hook.when == When::Always) {
            self.attach(hook)?;
        }
        Ok(())
    }

    /// Attaches the programs that guard the agent.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub fn attach_guard(&mut self, link: CgroupLink) -> Result<(), LoadError> {
        for hook in guards(self.guarded && self.deciding.lsm()) {
            if hook.attach == Attach::Sysctl {
                self.attach_sysctl(hook, link)?;
            } else {
                self.attach(hook)?;
            }
        }
        Ok(())
    }

    fn attach_sysctl(&mut self, hook: &'static Hook, link: CgroupLink) -> Result<(), LoadError> {
        if self.attached.contains(&hook.program) {
            return Ok(());
        }
        let Some(ebpf) = self.ebpf.as_mut() else {
            return Err(LoadError::Missing("program to attach in an adopted instance"));
        };
        let refused = |source| LoadError::Program { program: hook.program, source };
        let program = ebpf.program_mut(hook.program).ok_or(LoadError::Missing(hook.program))?;
        let program: &mut CgroupSysctl = program.try_into().map_err(refused)?;
        let cgroup = File::open(&self.options.cgroup).map_err(pin_error(&self.options.cgroup))?;
        let path = self.directory.join("links").join(hook.program);
        let program = program.fd().map_err(refused)?;
        link(program.as_fd(), cgroup.as_fd(), &path).map_err(pin_error(&path))?;
        self.attached.push(hook.program);
        Ok(())
    }

    /// Ids of the programs of this instance and of all their maps, pinned or not, and of the maps that no program uses yet.
    /// When adopted: of the maps that this agent has open.
    pub fn ids(&self) -> Vec<guard::GuardId> {
        let mut ids = open_maps();
        let programs = self.ebpf.iter().flat_map(Ebpf::programs);
        for info in programs.filter_map(|(_, program)| program.info().ok()) {
            ids.push(guard::GuardId { kind: guard::GuardId::PROGRAM, id: info.id() });
            let maps = info.map_ids().ok().flatten().unwrap_or_default();
            ids.extend(maps.into_iter().map(|id| guard::GuardId { kind: guard::GuardId::MAP, id }));
        }
        ids
    }

    /// Attaches every program that decides one of `acts` on this host.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub fn attach_for(&mut self, acts: &[Act]) -> Result<(), LoadError> {
        let hooks: Vec<&'static Hook> = needed(acts, self.deciding.lsm(), &self.options).collect();
        for hook in hooks {
            self.attach(hook)?;
        }
        Ok(())
    }

    /// Detaches programs that decide none of `acts`: what no rule needs costs nothing.
    pub fn detach_unneeded(&mut self, acts: &[Act]) {
        let keep: Vec<&'static str> = needed(acts, self.deciding.lsm(), &self.options)
            .chain(guards(self.guarded))
            .map(|hook| hook.program)
            .collect();
        let links = self.directory.join("links");
        for hook in HOOKS {
            if self.attached.contains(&hook.program) && !keep.contains(&hook.program) {
                for link in link_names(hook, &self.options) {
                    let _gone = fs::remove_file(links.join(link));
                }
                self.attached.retain(|program| *program != hook.program);
            }
        }
    }

    fn attach(&mut self, hook: &'static Hook) -> Result<(), LoadError> {
        if self.attached.contains(&hook.program) {
            return Ok(());
        }
        let Some(ebpf) = self.ebpf.as_mut() else {
            return Err(LoadError::Missing("program to attach in an adopted instance"));
        };
        if self.absent.contains(&hook.program) {
            return Ok(());
        }
        let unloaded = ebpf.program(hook.program).is_some_and(|program| program.fd().is_err());
        if unloaded {
            load_program(ebpf, hook, &hook_types(&Btf::of_kernel()?)?)?;
        }
        let refused = |source| LoadError::Program { program: hook.program, source };
        let program = ebpf.program_mut(hook.program).ok_or(LoadError::Missing(hook.program))?;
        let links = self.directory.join("links");
        let pin = |link: FdLink, name: &str| -> Result<(), LoadError> {
            let path = links.join(name);
            link.pin(&path).map(drop).map_err(|error| LoadError::Pin {
                path: path.display().to_string(),
                source: io::Error::other(error),
            })
        };
        match hook.attach {
            Attach::Lsm(_) => {
                let program: &mut Lsm = program.try_into().map_err(refused)?;
                let id = program.attach().map_err(refused)?;
                pin(program.take_link(id).map_err(refused)?.into(), hook.program)?;
            }
            Attach::Tracepoint(name) => {
                let program: &mut RawTracePoint = program.try_into().map_err(refused)?;
                let id = program.attach(name).map_err(refused)?;
                let link = program.take_link(id).map_err(refused)?;
                pin(link.into(), hook.program)?;
            }
            Attach::Cgroup => {
                let cgroup =
                    File::open(&self.options.cgroup).map_err(pin_error(&self.options.cgroup))?;
                let program: &mut CgroupSockAddr = program.try_into().map_err(refused)?;
                // As a link, which always leaves room for others: the kernel refuses the flag that says so.
                let id = program.attach(cgroup, CgroupAttachMode::Single).map_err(refused)?;
                let link = program.take_link(id).map_err(refused)?;
                let link = FdLink::try_from(link).map_err(|error| LoadError::Pin {
                    path: hook.program.to_owned(),
                    source: io::Error::other(error),
                })?;
                pin(link, hook.program)?;
            }
            Attach::Sysctl => return Err(LoadError::Missing("link to a cgroup's sysctls")),
            Attach::CgroupOut | Attach::CgroupIn => {
                let cgroup =
                    File::open(&self.options.cgroup).map_err(pin_error(&self.options.cgroup))?;
                let program: &mut CgroupSkb = program.try_into().map_err(refused)?;
                let way = if hook.attach == Attach::CgroupOut {
                    CgroupSkbAttachType::Egress
                } else {
                    CgroupSkbAttachType::Ingress
                };
                let id = program.attach(cgroup, way, CgroupAttachMode::Single).map_err(refused)?;
                let link = program.take_link(id).map_err(refused)?;
                let link = FdLink::try_from(link).map_err(|error| LoadError::Pin {
                    path: hook.program.to_owned(),
                    source: io::Error::other(error),
                })?;
                pin(link, hook.program)?;
            }
            Attach::Xdp => {
                let program: &mut Xdp = program.try_into().map_err(refused)?;
                // Pinned as a program too: interfaces come later, also to whoever adopts the instance.
                let path = self.directory.join(PACKETS);
                if !path.exists() {
                    program.pin(&path).map_err(|error| LoadError::Pin {
                        path: path.display().to_string(),
                        source: io::Error::other(error),
                    })?;
                }
                for interface in &self.options.interfaces {
                    let mode = attach_interface(program, interface, &links)?;
                    self.interface_modes.push((interface.clone(), mode));
                }
            }
        }
        self.attached.push(hook.program);
        Ok(())
    }

    /// Judges packets on these interfaces from now on, if it does on any: attaches to those that are new or were made again,
    /// and forgets those that are gone. Answers what changed.
    ///
    /// # Errors
    /// The kernel refuses one; it is tried again the next time. The others are done.
    pub fn follow(
        &mut self,
        interfaces: Vec<String>,
        calls: InterfaceLinks,
    ) -> Result<Followed, LoadError> {
        let mut followed = Followed::default();
        let Some(hook) = HOOKS.iter().find(|hook| hook.attach == Attach::Xdp) else {
            return Ok(followed);
        };
        let path = self.directory.join(PACKETS);
        if !self.attached.contains(&hook.program) || !path.exists() {
            return Ok(followed);
        }
        let links = self.directory.join("links");
        let pinned = |interface: &str| links.join(format!("{}@{interface}", hook.program));
        let known = std::mem::take(&mut self.options.interfaces);
        for gone in known.iter().filter(|name| !interfaces.contains(name)) {
            let _gone = fs::remove_file(pinned(gone));
            followed.gone.push(gone.clone());
        }
        self.options.interfaces = known;
        self.options.interfaces.retain(|name| interfaces.contains(name));
        let mut failed = Ok(());
        for interface in interfaces {
            let link = pinned(&interface);
            if (calls.is_attached)(&link).unwrap_or(false) {
                continue;
            }
            let _stale = fs::remove_file(&link);
            self.options.interfaces.retain(|name| *name != interface);
            match (calls.attach)(&path, &interface, &link) {
                Ok(mode) => {
                    self.interface_modes.retain(|(name, _)| *name != interface);
                    self.interface_modes.push((interface.clone(), mode));
                    self.options.interfaces.push(interface.clone());
                    followed.new.push(interface);
                }
                Err(source) => {
                    failed = Err(LoadError::Pin { path: link.display().to_string(), source });
                }
            }
        }
        self.options.interfaces.sort();
        failed.map(|()| followed)
    }

    /// A loaded program, for measurements and comparisons. `None` when adopted.
    pub fn program_mut(&mut self, name: &str) -> Option<&mut aya::programs::Program> {
        self.ebpf.as_mut()?.program_mut(name)
    }

    /// Attaches the program that learns names from what this thread asks, for as long as the answer lives. `None`: no
    /// rule is about paths, or there is no BPF LSM.
    ///
    /// # Errors
    /// The pinned program is gone, or the kernel refuses to attach it.
    pub fn teach(&self) -> Result<Option<Lsm>, LoadError> {
        let path = self.directory.join(TEACHING);
        if !path.exists() {
            return Ok(None);
        }
        let refused = |source| LoadError::Program { program: "inode_getattr", source };
        let mut program = Lsm::from_pin(&path).map_err(refused)?;
        program.attach().map_err(refused)?;
        Ok(Some(program))
    }

    /// Instances of earlier agents, which this one makes superfluous once it enforces.
    pub fn others(&self) -> Vec<PathBuf> {
        let mut others = Self::instances(&self.options.pins);
        others.retain(|other| *other != self.directory);
        others
    }

    /// Verified instructions of each loaded program, for budgets. Empty when adopted.
    pub fn verified_instructions(&self) -> Vec<(&'static str, Option<u32>, Option<u32>)> {
        let Some(ebpf) = self.ebpf.as_ref() else { return Vec::new() };
        HOOKS
            .iter()
            .filter_map(|hook| {
                let info = ebpf.program(hook.program)?.info().ok()?;
                let translated = info.size_translated().map(|bytes| bytes / 8);
                Some((hook.program, info.verified_instruction_count(), translated))
            })
            .collect()
    }
}

/// Detaches the programs of an instance.
pub fn remove_links(directory: &Path) {
    let links = directory.join("links");
    if let Ok(entries) = fs::read_dir(&links) {
        for entry in entries.filter_map(Result::ok) {
            let _gone = fs::remove_file(entry.path());
        }
    }
}

/// Takes an instance away: links first, so that programs stop before the maps they read are gone.
pub fn remove_instance(directory: &Path) {
    for program in [TEACHING, PACKETS] {
        let _gone = fs::remove_file(directory.join(program));
    }
    for part in ["links", "maps"] {
        let inner = directory.join(part);
        if let Ok(entries) = fs::read_dir(&inner) {
            for entry in entries.filter_map(Result::ok) {
                let _gone = fs::remove_file(entry.path());
            }
        }
        let _gone = fs::remove_dir(&inner);
    }
    let _gone = fs::remove_dir(directory);
}

fn map_paths(directory: &Path) -> BTreeMap<&'static str, PathBuf> {
    MAPS.iter().map(|name| (*name, directory.join("maps").join(name))).collect()
}

/// File name of the pinned program that learns names, in the instance's directory.
const TEACHING: &str = "teaching";

/// The maps that this process has open, by what `/proc` tells of its descriptors.
fn open_maps() -> Vec<guard::GuardId> {
    let entries = fs::read_dir("/proc/self/fdinfo").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .filter_map(|about| {
            let id = about.lines().find_map(|line| line.strip_prefix("map_id:"))?;
            Some(guard::GuardId { kind: guard::GuardId::MAP, id: id.trim().parse().ok()? })
        })
        .collect()
}

/// File name of the pinned program that judges packets at interfaces, in the instance's directory.
const PACKETS: &str = "packets";

/// Interfaces that came and went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Packets are judged there now.
    pub new: Vec<String>,
    /// They are not there any more.
    pub gone: Vec<String>,
}

/// Attaches the program to an interface, in the driver if that can do it, and pins the link. Answers how.
fn attach_interface(
    program: &mut Xdp,
    interface: &str,
    links: &Path,
) -> Result<&'static str, LoadError> {
    let failed = |source| LoadError::Interface { interface: interface.to_owned(), source };
    let (id, mode) = match program.attach(interface, XdpMode::Driver) {
        Ok(id) => (id, "native"),
        Err(ProgramError::UnknownInterface { name }) => {
            return Err(failed(ProgramError::UnknownInterface { name }));
        }
        Err(_) => (program.attach(interface, XdpMode::Skb).map_err(failed)?, "generic"),
    };
    let link = program.take_link(id).map_err(failed)?;
    let refused = |source| LoadError::Pin { path: interface.to_owned(), source };
    let link = FdLink::try_from(link).map_err(|error| refused(io::Error::other(error)))?;
    let path = links.join(format!("packet_in@{interface}"));
    link.pin(&path).map(drop).map_err(|error| refused(io::Error::other(error)))?;
    Ok(mode)
}

/// The hooks that `acts` need on such a host.
fn needed<'a>(
    acts: &'a [Act],
    lsm: bool,
    options: &'a Options,
) -> impl Iterator<Item = &'static Hook> + 'a {
    HOOKS.iter().filter(move |hook| {
        let about = hook.acts.iter().any(|act| acts.contains(act));
        let possible = (hook.attach != Attach::Xdp || !options.interfaces.is_empty())
            && hook.when != When::Teaching;
        // The exec check also labels programs the moment they start.
        let labels = hook.program == "bprm_check_security";
        let ruled = hook.when != When::Guard;
        hook.when == When::Always
            || (ruled && usable(hook.when, lsm) && possible && (about || labels))
    })
}

/// What attaching needs of the kernel's types, as the loader library wants it. All of them would take it a second pass
/// over megabytes; attaching takes a few names.
fn hook_types(btf: &Btf) -> Result<KernelBtf, LoadError> {
    let hooks: Vec<String> = HOOKS
        .iter()
        .filter_map(|hook| match hook.attach {
            Attach::Lsm(name) => Some(format!("bpf_lsm_{name}")),
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

/// Whether this kernel has the hook of a program. One without a twin counts as there, so that its absence is an error.
fn there(hook: &Hook, btf: &Btf) -> bool {
    match hook.attach {
        Attach::Lsm(name) => twin(hook.program).is_none() || btf.has_lsm_hook(name),
        Attach::Tracepoint(_)
        | Attach::Cgroup
        | Attach::CgroupOut
        | Attach::CgroupIn
        | Attach::Xdp
        | Attach::Sysctl => true,
    }
}

/// The hooks that guard the agent, if it is to be guarded.
fn guards(guarded: bool) -> impl Iterator<Item = &'static Hook> {
    HOOKS.iter().filter(move |hook| guarded && hook.when == When::Guard)
}

fn link_names(hook: &Hook, options: &Options) -> Vec<String> {
    match hook.attach {
        Attach::Xdp => options
            .interfaces
            .iter()
            .map(|interface| format!("{}@{interface}", hook.program))
            .collect(),
        Attach::Lsm(_)
        | Attach::Tracepoint(_)
        | Attach::Cgroup
        | Attach::CgroupOut
        | Attach::CgroupIn
        | Attach::Sysctl => vec![hook.program.to_owned()],
    }
}

fn load_program(ebpf: &mut Ebpf, hook: &'static Hook, btf: &KernelBtf) -> Result<(), LoadError> {
    let refused = |source| LoadError::Program { program: hook.program, source };
    let program = ebpf.program_mut(hook.program).ok_or(LoadError::Missing(hook.program))?;
    match hook.attach {
        Attach::Lsm(name) => {
            let program: &mut Lsm = program.try_into().map_err(refused)?;
            program.load(name, btf).map_err(refused)
        }
        Attach::Tracepoint(_) => {
            let program: &mut RawTracePoint = program.try_into().map_err(refused)?;
            program.load().map_err(refused)
        }
        Attach::Cgroup => {
            let program: &mut CgroupSockAddr = program.try_into().map_err(refused)?;
            program.load().map_err(refused)
        }
        Attach::Sysctl => {
            let program: &mut CgroupSysctl = program.try_into().map_err(refused)?;
            program.load().map_err(refused)
        }
        Attach::CgroupOut | Attach::CgroupIn => {
            let program: &mut CgroupSkb = program.try_into().map_err(refused)?;
            program.load().map_err(refused)
        }
        Attach::Xdp => {
            let program: &mut Xdp = program.try_into().map_err(refused)?;
            program.load().map_err(refused)
        }
    }
}

fn is_lsm(program: &str) -> bool {
    HOOKS.iter().any(|hook| hook.program == program && matches!(hook.attach, Attach::Lsm(_)))
}

/// Whether `bpf` is among the active security modules: where it is not, LSM programs load, attach and are never called.
/// What cannot be known counts as no.
fn active_modules() -> Result<(), String> {
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
fn forbidden(error: &ProgramError) -> bool {
    const EPERM: i32 = 1;
    matches!(error, ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(EPERM))
}

/// The system's word on a refusal, and the verifier's last one if it has one.
fn first_cause(error: &ProgramError) -> String {
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
