//! Attaches the programs of an instance, and pins their links.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use aya::programs::{
    CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, CgroupSysctl, FEntry, FExit,
    Lsm, ProgramError, RawTracePoint, Xdp, links::FdLink,
};
use interdict_abi::ids::Act;

use super::{
    LoadError, Loaded, guards,
    host::{dispensable, hook_types},
    interfaces::{BARE, BARE_PACKETS, Header, PACKETS, attach_interface},
    loading::load_programs,
    needed,
    pins::{TEACHING, link_names, pin_error},
};
use crate::kernel::{
    btf::Btf,
    hooks::{Attach, HOOKS, Hook, When},
};

/// Links a program to a cgroup's sysctls and pins the link: the loader library makes such links, but lets none be pinned.
pub type CgroupLink = fn(BorrowedFd<'_>, BorrowedFd<'_>, &Path) -> io::Result<()>;

/// The program that has seen a directory move.
const MOVES: &str = "move_ends";

impl Loaded {
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

    /// Attaches every program that decides one of `acts` on this host.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub fn attach_for(&mut self, acts: &[Act]) -> Result<(), LoadError> {
        let hooks: Vec<&'static Hook> = needed(acts, self.deciding.lsm(), &self.options).collect();
        for hook in hooks {
            self.attach(hook)?;
        }
        self.forget_paths();
        Ok(())
    }

    /// Makes the kernel programs forget what they remember of paths, by moving a directory.
    ///
    /// Until they have seen one move, they ask the kernel whether anything was renamed anywhere instead. If none can be moved,
    /// or that is not seen on this kernel, what is remembered of paths only lasts less long.
    pub fn forget_paths(&self) {
        if !self.attached.contains(&MOVES) {
            return;
        }
        let (from, to) = (self.directory.join("moves"), self.directory.join("moved"));
        let _moved = fs::create_dir(&from).and_then(|()| fs::rename(&from, &to));
        for left in [from, to] {
            let _gone = fs::remove_dir(left);
        }
    }

    /// Goes on without a program that the others can do without: this kernel has the function, and lets nobody watch it.
    fn go_without(&mut self, hook: &'static Hook, error: &ProgramError) -> Result<(), LoadError> {
        tracing::warn!(program = hook.program, %error, "going on without it");
        self.absent.push(hook.program);
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
            load_programs(ebpf, &[hook], &hook_types(&Btf::of_kernel()?)?)?;
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
        let unlinked = |error| LoadError::Pin {
            path: hook.program.to_owned(),
            source: io::Error::other(error),
        };
        match hook.attach {
            Attach::Lsm(_) => {
                let program: &mut Lsm = program.try_into().map_err(refused)?;
                let id = program.attach().map_err(refused)?;
                pin(program.take_link(id).map_err(refused)?.into(), hook.program)?;
            }
            Attach::Entry(_) => {
                let program: &mut FEntry = program.try_into().map_err(refused)?;
                match program.attach() {
                    Ok(id) => pin(program.take_link(id).map_err(refused)?.into(), hook.program)?,
                    Err(error) if dispensable(hook) => return self.go_without(hook, &error),
                    Err(error) => return Err(refused(error)),
                }
            }
            Attach::Exit(_) => {
                let program: &mut FExit = program.try_into().map_err(refused)?;
                match program.attach() {
                    Ok(id) => pin(program.take_link(id).map_err(refused)?.into(), hook.program)?,
                    Err(error) => return self.go_without(hook, &error),
                }
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
                pin(FdLink::try_from(link).map_err(unlinked)?, hook.program)?;
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
                pin(FdLink::try_from(link).map_err(unlinked)?, hook.program)?;
            }
            Attach::Xdp => {
                let headers = self.options.interfaces.iter();
                let headers = headers.map(|name| Ok((name, Header::of(name)?)));
                let headers = headers.collect::<Result<Vec<_>, LoadError>>()?;
                let ways =
                    [(hook.program, PACKETS, Header::Ethernet), (BARE, BARE_PACKETS, Header::None)];
                for (name, pinned, header) in ways {
                    let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
                    let program: &mut Xdp = program.try_into().map_err(refused)?;
                    // Pinned as a program too: interfaces come later, also to whoever adopts the instance.
                    let path = self.directory.join(pinned);
                    if !path.exists() {
                        program.pin(&path).map_err(|error| LoadError::Pin {
                            path: path.display().to_string(),
                            source: io::Error::other(error),
                        })?;
                    }
                    for (interface, _) in headers.iter().filter(|(_, its)| *its == header) {
                        let mode = attach_interface(program, interface, &links)?;
                        self.interface_modes.push(((*interface).clone(), mode));
                    }
                }
            }
        }
        self.attached.push(hook.program);
        Ok(())
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
}
