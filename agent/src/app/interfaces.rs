//! The interfaces on which packets are judged: which the configuration means, and those that come and go.

use std::{collections::BTreeMap, fs};

use interdict_rules::meta::Severity;

use super::App;
use crate::{
    alert::Notice,
    kernel::loader::{Followed, InterfaceLinks},
    protect::Protection,
    sys::link,
};

/// How links of interfaces are looked at and made.
const LINKS: InterfaceLinks =
    InterfaceLinks { is_attached: link::is_attached, attach: link::pinned_interface };

/// Whether an interface goes by a name of the configuration: `*` in it stands for anything, `all` for all but the loopback.
fn goes_by(interface: &str, named: &str) -> bool {
    if named == "all" {
        return interface != "lo";
    }
    let mut parts = named.split('*');
    let Some(mut rest) = parts.next().and_then(|first| interface.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The interfaces that the configuration means: those it names in full, there or not, and those that go by a pattern.
pub(super) fn meant(named: &[String]) -> Vec<String> {
    let is_pattern = |name: &&String| *name == "all" || name.contains('*');
    let patterns: Vec<&String> = named.iter().filter(is_pattern).collect();
    let mut all: Vec<String> = named.iter().filter(|name| !is_pattern(name)).cloned().collect();
    if !patterns.is_empty() {
        let there = present_interfaces();
        all.extend(
            there.into_iter().filter(|name| patterns.iter().any(|named| goes_by(name, named))),
        );
    }
    all.sort();
    all.dedup();
    all
}

/// The interfaces there are.
fn present_interfaces() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name != "bonding_masters")
        .collect()
}

impl App {
    /// Packets are judged on interfaces that appear, too.
    pub(super) fn look_at_interfaces(&mut self) {
        if self.config.interfaces.is_empty() {
            return;
        }
        let there = present_interfaces();
        let mut wanted = meant(&self.config.interfaces);
        wanted.retain(|name| there.contains(name));
        let protection = &mut self.protection;
        let mut expect = || {
            if let Some(Err(error)) = protection.as_mut().map(Protection::expect_links) {
                tracing::error!(%error, "links to new interfaces are not guarded from the start");
            }
        };
        match self.loaded.follow(wanted, LINKS, &mut expect) {
            Ok(followed) => {
                self.unjudged = None;
                if followed == Followed::default() {
                    return;
                }
                tracing::info!(new = ?followed.new, gone = ?followed.gone, "interfaces changed");
            }
            Err(error) => {
                let reason = error.to_string();
                if self.unjudged.as_ref() != Some(&reason) {
                    self.pipeline.notice(Notice::Other {
                        name: "interface-not-judged",
                        severity: Severity::High,
                        message: format!("packets that arrive there are not judged: {reason}"),
                        detail: BTreeMap::new(),
                    });
                    self.unjudged = Some(reason);
                }
            }
        }
        self.canaries.hold().pinned(self.loaded.pinned_links());
        if let Some(protection) = &mut self.protection
            && let Err(error) = protection.guard_links(&self.loaded)
        {
            tracing::error!(%error, "links to new interfaces are not guarded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::goes_by;

    #[test]
    fn an_interface_goes_by_its_name_a_pattern_or_all() {
        for (interface, named, expected) in [
            ("eth0", "eth0", true),
            ("eth01", "eth0", false),
            ("veth12ab", "veth*", true),
            ("eth0", "veth*", false),
            ("cali12-x", "cali*-x", true),
            ("cali-y", "cali*-x", false),
            ("ab", "a*b*b", false),
            ("eth0", "*", true),
            ("lo", "all", false),
            ("eth0", "all", true),
        ] {
            assert_eq!(goes_by(interface, named), expected, "{interface} {named}");
        }
    }
}
