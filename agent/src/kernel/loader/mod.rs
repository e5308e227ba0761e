//! Loads the kernel programs, pins them, attaches those that the policy needs; adopts what an earlier agent left.
//!
//! Everything lives under one directory of the BPF file system, `<root>/<instance>/{maps,links}`. An instance is one
//! object at one slot size. Pinned links keep enforcing while no agent runs. A new agent adopts an instance of its own
//! object whose slots are large enough; otherwise it loads beside the old instance, puts the policy in force there, and
//! only then removes the old one, so that there is no instant without enforcement (for an instant there are two).

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    Btf as KernelBtf, Ebpf, EbpfLoader, VerifierLogLevel,
    maps::Map,
    programs::{Lsm, ProgramError},
};
use interdict_abi::{
    guard,
    ids::Act,
    limits::{SLOT_BYTES_MAX, SLOT_BYTES_MIN},
    maps::names,
    offsets::{CHOICES, CONSTANTS, FIELDS, MISSING, OVERLAY_UPPER, PARAMETERS},
};
use thiserror::Error;

use super::{
    btf::{Btf, BtfError, OVERLAY},
    hooks::{Attach, HOOKS, Hook, When, usable},
    object::{self, ObjectError},
};

mod attach;
mod host;
mod interfaces;
mod loading;
mod pins;
mod rooms;

pub use attach::CgroupLink;
pub use interfaces::{Followed, InterfaceLinks};
pub use pins::{open_map, remove_instance, remove_links};

use host::{
    SYMBOLS, active_modules, callings, dispensable, first_cause, forbidden, hook_types, is_lsm,
    symbol_addresses, there,
};
use loading::load_programs;
use pins::{TEACHING, link_names, map_paths, open_maps, pin_error};
use rooms::Rooms;

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
    /// The kernel lacks what all programs are made of.
    #[error(
        "the kernel is too old: the programs need `bpf_loop` (Linux 5.17), so nothing can be enforced here; \
         use Linux 6.1 or later ({source})"
    )]
    TooOld {
        /// What it refused.
        source: Box<LoadError>,
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
    /// What packets of an interface begin with is not known.
    #[error("interface `{interface}`: {source}")]
    Header {
        /// The interface.
        interface: String,
        /// Why.
        source: std::io::Error,
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
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Bytes that the policy's image takes.
    pub image_bytes: usize,
    /// Acts that rules are about.
    pub acts: &'a [Act],
    /// Whether some rules have rates.
    pub rates: bool,
    /// Whether the agent guards itself.
    pub guarded: bool,
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

const MAPS: &[&str] = &[
    names::CONTROL,
    names::IMAGE,
    names::EXES,
    names::ANCESTORS,
    names::ARGUMENTS,
    names::NAMES,
    names::LONG_NAMES,
    names::EVENTS,
    names::FAULTS,
    names::SETTLED_TALLIES,
    names::PROGRAMS,
    names::LINEAGES,
    names::WORKLOADS,
    guard::names::STATE,
    guard::names::OBJECTS,
    guard::names::TASKS,
    guard::names::IDS,
    guard::names::USED,
    names::RULE_TALLIES,
    names::RATES,
    names::REPEATS,
];

/// What the kernel calls the helper that all decisions are made with.
const LOOP: &str = "BPF_FUNC_loop";

/// The most a slot has for an image to grow: a large image says itself what room it wants.
const GROWTH: usize = 1 << 20;

/// The slot size for an image: room to grow by a quarter, or [`GROWTH`], a power of two.
fn slot_for(image_bytes: usize) -> Result<usize, LoadError> {
    if image_bytes > SLOT_BYTES_MAX {
        return Err(LoadError::TooLarge { have: image_bytes });
    }
    let wanted = (image_bytes + (image_bytes / 4).min(GROWTH)).next_power_of_two();
    Ok(wanted.clamp(SLOT_BYTES_MIN.max(1 << 18), SLOT_BYTES_MAX))
}

impl Loaded {
    /// Adopts an instance that fits, or loads a new one. Nothing is attached yet when it is new.
    ///
    /// # Errors
    /// The kernel refuses the programs even without LSM, or pins cannot be made.
    pub fn start(options: Options, image_bytes: usize, acts: &[Act]) -> Result<Self, LoadError> {
        Self::start_for(options, Wanted { image_bytes, acts, rates: true, guarded: false })
    }

    /// [`Loaded::start`] for what is wanted, and no more.
    ///
    /// # Errors
    /// As there.
    pub fn start_for(options: Options, wanted: Wanted<'_>) -> Result<Self, LoadError> {
        fs::create_dir_all(&options.pins).map_err(pin_error(&options.pins))?;
        if let Some(adopted) = Self::adopt(&options, wanted)? {
            return Ok(adopted);
        }
        Self::load(options, slot_for(wanted.image_bytes)?, wanted)
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

    /// `<first 12 digits of the object's digest>-<log2 of the slot size>-<rooms>-<lsm|host>-<number>`.
    fn name(slot_bytes: usize, rooms: Rooms, lsm: bool, number: u32) -> String {
        let kind = if lsm { "lsm" } else { "host" };
        let (log2, rooms) = (slot_bytes.trailing_zeros(), rooms.word());
        format!("{}-{log2}-{rooms}-{kind}-{number}", *object::NAME)
    }

    fn adopt(options: &Options, wanted: Wanted<'_>) -> Result<Option<Self>, LoadError> {
        let Wanted { image_bytes, acts, rates, guarded } = wanted;
        let rooms = Rooms::of(acts, rates);
        for directory in Self::instances(&options.pins) {
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let parts: Vec<&str> = name.split('-').collect();
            let [prefix, log2, has, kind, _] = parts.as_slice() else { continue };
            let Ok(log2) = log2.parse::<u32>() else { continue };
            let slot_bytes = 1usize.checked_shl(log2).unwrap_or(0);
            let fits = slot_bytes >= image_bytes && rooms.are_in(has);
            if *prefix != object::NAME.as_str() || !fits {
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
                .filter(|hook| !dispensable(hook))
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
                attached: needed
                    .iter()
                    .filter(|hook| !dispensable(hook) || links.join(hook.program).exists())
                    .map(|hook| hook.program)
                    .collect(),
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
        Self::load_here(options, slot_bytes, wanted, &btf).map_err(|error| {
            // What old kernels say themselves leads nobody there.
            if btf.constant(LOOP).is_some() {
                error
            } else {
                LoadError::TooOld { source: Box::new(error) }
            }
        })
    }

    fn load_here(
        options: Options,
        slot_bytes: usize,
        wanted: Wanted<'_>,
        btf: &Btf,
    ) -> Result<Self, LoadError> {
        let active = active_modules();
        let kernel_btf = hook_types(btf)?;
        let without = if options.without_lsm {
            Some("switched off in the configuration".to_owned())
        } else {
            active.err().inspect(|reason| tracing::warn!(%reason, "going on without BPF LSM"))
        };
        if let Some(reason) = without {
            let deciding = Deciding::WithoutLsm(reason);
            return Self::load_as(options, slot_bytes, wanted, btf, &kernel_btf, deciding);
        }
        match Self::load_as(options.clone(), slot_bytes, wanted, btf, &kernel_btf, Deciding::Lsm) {
            Err(LoadError::Program { program, source })
                if is_lsm(program) && forbidden(&source) =>
            {
                let reason =
                    format!("the kernel refused LSM program `{program}`: {}", first_cause(&source));
                tracing::warn!(%reason, "going on without BPF LSM");
                let deciding = Deciding::WithoutLsm(reason);
                Self::load_as(options, slot_bytes, wanted, btf, &kernel_btf, deciding)
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
        globals.push((OVERLAY_UPPER, btf.overlay_upper(Path::new(OVERLAY))));
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
        let rooms = Rooms::of(wanted.acts, wanted.rates);
        for (table, entries) in rooms.unused() {
            loader.map_max_entries(table, entries);
        }
        let mut ebpf = loader.load(&bytes)?;
        // Only what the rules need: checking a program takes the kernel longer than anything else at the start.
        let teaching = HOOKS.iter().find(|hook| hook.when == When::Teaching && deciding.lsm());
        let hooks: Vec<&'static Hook> = needed(wanted.acts, deciding.lsm(), &options)
            .chain(guards(wanted.guarded && deciding.lsm()))
            .filter(|hook| there(hook, btf))
            .chain(teaching)
            .collect();
        load_programs(&mut ebpf, &hooks, kernel_btf)?;
        let taken: Vec<PathBuf> = Self::instances(&options.pins);
        let directory = (0..)
            .map(|number| options.pins.join(Self::name(slot_bytes, rooms, deciding.lsm(), number)))
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

    /// Whether there is room for what is wanted, and everything it needs is attached, or can be.
    pub fn can_serve(&self, wanted: Wanted<'_>) -> bool {
        let Wanted { image_bytes, acts, rates, guarded: _ } = wanted;
        let name = self.directory.file_name().unwrap_or_default().to_string_lossy();
        image_bytes <= self.slot_bytes
            && name.split('-').nth(2).is_some_and(|word| Rooms::of(acts, rates).are_in(word))
            && (self.ebpf.is_some()
                || needed(acts, self.deciding.lsm(), &self.options)
                    .all(|hook| dispensable(hook) || self.attached.contains(&hook.program)))
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

    /// A loaded program, for measurements and comparisons. `None` when adopted.
    pub fn program_mut(&mut self, name: &str) -> Option<&mut aya::programs::Program> {
        self.ebpf.as_mut()?.program_mut(name)
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
        let programs = HOOKS.iter().map(|hook| hook.program).chain([interfaces::BARE]);
        programs
            .filter_map(|name| {
                let info = ebpf.program(name)?.info().ok()?;
                let translated = info.size_translated().map(|bytes| bytes / 8);
                Some((name, info.verified_instruction_count(), translated))
            })
            .collect()
    }
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

/// The hooks that guard the agent, if it is to be guarded.
fn guards(guarded: bool) -> impl Iterator<Item = &'static Hook> {
    HOOKS.iter().filter(move |hook| guarded && hook.when == When::Guard)
}
