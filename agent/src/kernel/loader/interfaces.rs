//! Programs on packets at interfaces, which come and go.

use std::{fs, io, path::Path};

use aya::programs::{ProgramError, Xdp, XdpMode, links::FdLink};

use super::{LoadError, Loaded};
use crate::kernel::hooks::{Attach, HOOKS};

/// What the loader library cannot do with the links of interfaces.
#[derive(Clone, Copy, Debug)]
pub struct InterfaceLinks {
    /// Says whether a pinned link is still attached to what it was made for.
    pub is_attached: fn(&Path) -> io::Result<bool>,
    /// Attaches a pinned program to an interface by a link, pins that, and answers how it runs there.
    pub attach: fn(program: &Path, interface: &str, link: &Path) -> io::Result<&'static str>,
}

/// File name of the pinned program that judges packets at interfaces, in the instance's directory.
pub(super) const PACKETS: &str = "packets";

/// The same for [`BARE`].
pub(super) const BARE_PACKETS: &str = "packets-bare";

/// The program for interfaces whose packets have nothing before their IP header.
pub(super) const BARE: &str = "packet_in_bare";

/// What is before the IP header of packets that arrive at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// That of Ethernet.
    Ethernet,
    /// Nothing.
    None,
}

impl Header {
    /// Of an interface, by what the kernel says of its hardware (`ARPHRD_*`).
    ///
    /// # Errors
    /// There is no such interface, or its packets begin with something that is not known: rules would not hold there.
    pub(super) fn of(interface: &str) -> Result<Self, LoadError> {
        let failed = |source| LoadError::Header { interface: interface.to_owned(), source };
        let path = format!("/sys/class/net/{interface}/type");
        let kind = fs::read_to_string(path).map_err(failed)?;
        match kind.trim() {
            // Ethernet and the loopback, whose packets have such a header too.
            "1" | "772" => Ok(Self::Ethernet),
            // TUN devices and the like, PPP, IP in IP of all versions, GRE, raw IP of modems.
            "65534" | "512" | "768" | "769" | "776" | "778" | "823" | "519" => Ok(Self::None),
            other => Err(failed(io::Error::other(format!(
                "packets of hardware {other} are not known: leave it out of `interfaces`"
            )))),
        }
    }

    /// Where the program for such interfaces is pinned, in the instance's directory.
    fn pin(self) -> &'static str {
        match self {
            Self::Ethernet => PACKETS,
            Self::None => BARE_PACKETS,
        }
    }
}

/// Interfaces that came and went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Packets are judged there now.
    pub new: Vec<String>,
    /// They are not there any more.
    pub gone: Vec<String>,
}

/// Attaches the program to an interface, in the driver if that can do it, and pins the link. Answers how.
pub(super) fn attach_interface(
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

impl Loaded {
    /// Judges packets on these interfaces from now on, if it does on any: attaches to those that are new or were made again,
    /// and forgets those that are gone. Answers what changed. `before` is called before each attachment.
    ///
    /// # Errors
    /// The kernel refuses one; it is tried again the next time. The others are done.
    pub fn follow(
        &mut self,
        interfaces: Vec<String>,
        calls: InterfaceLinks,
        before: &mut dyn FnMut(),
    ) -> Result<Followed, LoadError> {
        let mut followed = Followed::default();
        let Some(hook) = HOOKS.iter().find(|hook| hook.attach == Attach::Xdp) else {
            return Ok(followed);
        };
        if !self.attached.contains(&hook.program) || !self.directory.join(PACKETS).exists() {
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
            before();
            let attached = Header::of(&interface).and_then(|header| {
                (calls.attach)(&self.directory.join(header.pin()), &interface, &link)
                    .map_err(|source| LoadError::Pin { path: link.display().to_string(), source })
            });
            match attached {
                Ok(mode) => {
                    self.interface_modes.retain(|(name, _)| *name != interface);
                    self.interface_modes.push((interface.clone(), mode));
                    self.options.interfaces.push(interface.clone());
                    followed.new.push(interface);
                }
                Err(error) => failed = Err(error),
            }
        }
        self.options.interfaces.sort();
        failed.map(|()| followed)
    }
}
