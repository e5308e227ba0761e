//! Tells the kernel programs which objects a policy selects, before it is put in force.
//!
//! The patterns of a policy name places (`rules::roots`); this walks them, on the host and in every container whose mount
//! namespace the host's administrator made, and asks the kernel for the attributes of each object that a compiled
//! automaton selects, while a program listens that remembers the object under the path it was asked by. From then on the
//! object stays what it is under every other name. A walk ends at a bound, which is told.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use interdict_abi::{
    ids::{Fact, Family},
    image::{column, header},
    maps::Control,
};
use interdict_engine::{Memory, dfa, facts};
use interdict_rules::roots::{Roots, Step};
use thiserror::Error;

use super::{
    loader::{LoadError, Loaded},
    slots::{Slots, SwapError},
};

/// Objects looked at before a walk ends: a tenth of a second for 10,000.
const MOST: usize = 1_000_000;

/// What can go wrong while teaching.
#[derive(Debug, Error)]
pub enum TeachError {
    /// The program that listens cannot be attached.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The kernel cannot be told who teaches.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// The root directory is gone.
    #[error("/: {0}")]
    Root(io::Error),
}

/// What came of a walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taught {
    /// Objects looked at.
    pub looked_at: usize,
    /// Objects the kernel was asked to remember.
    pub named: usize,
    /// Namespaces walked.
    pub namespaces: usize,
    /// The bound was reached: what lies beyond is known once it is used by its path.
    pub cut_short: bool,
}

/// Teaches the objects that the policy `image` selects in the places `roots`.
///
/// # Errors
/// The program that listens cannot be attached. What cannot be read on the way is left out: the kernel learns it when it
/// is first used by its path.
pub fn teach(
    loaded: &Loaded,
    slots: &mut Slots,
    image: &[u8],
    roots: &Roots,
) -> Result<Taught, TeachError> {
    let Some(_listening) = loaded.teach()? else { return Ok(Taught::default()) };
    let thread = u64::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap_or(0);
    // First, so that what is on them counts as what it is.
    slots.set_seeder(thread | Control::MOUNTS)?;
    for place in mount_points(&fs::read("/proc/self/mountinfo").unwrap_or_default()) {
        let _vouched = fs::symlink_metadata(place);
    }
    slots.set_seeder(thread)?;
    let taught = walk_all(image, roots);
    slots.set_seeder(0)?;
    taught
}

/// Where something is mounted, from `/proc/self/mountinfo`. File systems whose server may be gone are left out: asking
/// might wait for ever.
fn mount_points(table: &[u8]) -> Vec<PathBuf> {
    const ELSEWHERE: [&[u8]; 9] =
        [b"nfs", b"nfs4", b"cifs", b"smb3", b"fuse", b"autofs", b"9p", b"ceph", b"afs"];
    let lines = table.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            let place = fields.nth(4)?;
            let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
            let kind = kind.split(|byte| *byte == b'.').next()?;
            let far = ELSEWHERE.contains(&kind);
            (!far).then(|| PathBuf::from(std::ffi::OsString::from_vec(unescaped(place))))
        })
        .collect()
}

/// Spaces and their like are three octal digits behind a backslash.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..3).filter(|_| *first == b'\\');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { behind.get(3..).unwrap_or_default() } else { behind };
    }
    bytes
}

fn walk_all(image: &[u8], roots: &Roots) -> Result<Taught, TeachError> {
    let mut walk = Walk { selects: Selects::of(image), image, taught: Taught::default() };
    for base in namespaces().map_err(TeachError::Root)? {
        walk.taught.namespaces += 1;
        for steps in &roots.walks {
            walk.follow(&base, &PathBuf::from("/"), steps);
        }
    }
    Ok(walk.taught)
}

/// The roots of the mount namespaces to walk: this one, and one process's root in each other that belongs to the initial
/// user namespace. In one that a user made, that user arranges what lies where.
fn namespaces() -> io::Result<Vec<PathBuf>> {
    let own = fs::read_link("/proc/self/ns/mnt")?;
    let users = fs::read_link("/proc/self/ns/user")?;
    let mut seen = BTreeSet::from([own]);
    let mut bases = vec![PathBuf::new()];
    for entry in fs::read_dir("/proc")?.filter_map(Result::ok) {
        let name = entry.file_name();
        if !name.as_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let process = entry.path();
        let Ok(mounts) = fs::read_link(process.join("ns/mnt")) else { continue };
        let same_users = fs::read_link(process.join("ns/user")).is_ok_and(|link| link == users);
        if same_users && seen.insert(mounts) {
            bases.push(process.join("root"));
        }
    }
    Ok(bases)
}

/// The automata that read paths.
struct Selects {
    automata: Vec<u32>,
}

impl Selects {
    fn of(image: &[u8]) -> Self {
        let mut automata = Vec::new();
        for family in [Family::File, Family::Exec] {
            let directory = facts::directory(image, family);
            if directory == 0 {
                continue;
            }
            for fact in [Fact::Path, Fact::SecondPath] {
                let mut part = facts::first_part(image, directory, fact);
                while part != 0 && automata.len() < 64 {
                    automata.push(image.word(part + column::AUTOMATON));
                    part = facts::next_part(image, part);
                }
            }
        }
        automata.push(image.word(header::EXE_AUTOMATON));
        automata.retain(|automaton| *automaton != 0);
        Self { automata }
    }

    /// Whether some pattern selects the path; also if that cannot be told.
    fn selects(&self, image: &[u8], path: &Path) -> bool {
        let mut text = path.as_os_str().as_bytes().to_vec();
        text.push(0);
        self.automata.iter().any(|automaton| dfa::walk(image, *automaton, &text[..]) != Some(0))
    }
}

struct Walk<'a> {
    selects: Selects,
    image: &'a [u8],
    taught: Taught,
}

impl Walk<'_> {
    /// Follows `steps` from the directory `at` of the namespace whose root is `base`.
    fn follow(&mut self, base: &Path, at: &Path, steps: &[Step]) {
        let Some((step, rest)) = steps.split_first() else { return };
        if rest.is_empty() {
            // New names are made here.
            self.name(base, at);
        }
        match step {
            Step::Name(name) => self.enter(base, &at.join(name), rest),
            Step::Any => {
                for name in self.entries(base, at) {
                    self.enter(base, &at.join(name), rest);
                }
            }
            Step::Deep => self.descend(base, at),
        }
    }

    fn enter(&mut self, base: &Path, path: &Path, rest: &[Step]) {
        if rest.is_empty() {
            self.judge(base, path);
        } else if is_directory(&under(base, path)) {
            self.follow(base, path, rest);
        }
    }

    /// Judges all that lies below `at`, however deep: where a path is too long for the kernel, so is any that leads there.
    fn descend(&mut self, base: &Path, at: &Path) {
        self.judge(base, at);
        let mut directories = vec![at.to_owned()];
        while let Some(directory) = directories.pop() {
            if is_made_up(&under(base, &directory)) {
                continue;
            }
            for name in self.entries(base, &directory) {
                let path = directory.join(name);
                self.judge(base, &path);
                if is_directory(&under(base, &path)) {
                    directories.push(path);
                }
            }
        }
    }

    fn entries(&mut self, base: &Path, at: &Path) -> Vec<std::ffi::OsString> {
        let Ok(entries) = fs::read_dir(under(base, at)) else { return Vec::new() };
        let mut names = Vec::new();
        for entry in entries.filter_map(Result::ok) {
            if self.taught.looked_at >= MOST {
                self.taught.cut_short = true;
                break;
            }
            self.taught.looked_at += 1;
            names.push(entry.file_name());
        }
        names
    }

    fn judge(&mut self, base: &Path, path: &Path) {
        if self.selects.selects(self.image, path) {
            self.name(base, path);
        }
    }

    /// Asks for the attributes of an object: the program that listens remembers it.
    fn name(&mut self, base: &Path, path: &Path) {
        let Ok(about) = fs::symlink_metadata(under(base, path)) else { return };
        if !about.is_symlink() {
            self.taught.named += 1;
        }
    }
}

fn under(base: &Path, path: &Path) -> PathBuf {
    if base.as_os_str().is_empty() {
        return path.to_owned();
    }
    let mut bytes = base.as_os_str().as_bytes().to_vec();
    bytes.extend_from_slice(path.as_os_str().as_bytes());
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| about.is_dir())
}

/// File systems without stored files: their objects come and go with processes and devices.
fn is_made_up(path: &Path) -> bool {
    const PROC: u64 = 0x9fa0;
    const SYSFS: u64 = 0x6265_6572;
    const CGROUP2: u64 = 0x6367_7270;
    const DEBUGFS: u64 = 0x6462_6720;
    const TRACEFS: u64 = 0x7472_6163;
    const BPF: u64 = 0xcafe_4a11;
    const FUSE: u64 = 0x6573_5546;
    const NFS: u64 = 0x6969;
    let Ok(about) = rustix::fs::statfs(path) else { return true };
    let kind = about.f_type as u64 & 0xffff_ffff;
    [PROC, SYSFS, CGROUP2, DEBUGFS, TRACEFS, BPF, FUSE, NFS].contains(&kind)
}

#[cfg(test)]
mod tests {
    use interdict_rules::{
        Options, compile,
        lower::Budget,
        parse::source::{NoFiles, Sources},
    };

    use super::*;

    fn walked(folder: &Path, when: &str) -> Taught {
        let mut sources = Sources::new();
        let policy = format!(
            "apiVersion: interdict.dev/v1\nkind: Policy\nmetadata: {{ name: t }}\nspec:\n  rules:\n    - id: T\n      title: t\n      on: file.read\n      when: {when}\n      action: block\n"
        );
        sources.add("t.yaml", &policy);
        let options = Options { files: &NoFiles, today: "2026-01-01", budget: Budget::default() };
        let outcome = compile(&sources, &options);
        let image = outcome.image.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics));
        let mut walk = Walk {
            selects: Selects::of(image.kernel()),
            image: image.kernel(),
            taught: Taught::default(),
        };
        assert!(folder.is_absolute());
        for steps in &image.metadata().roots.walks {
            walk.follow(Path::new(""), Path::new("/"), steps);
        }
        walk.taught
    }

    #[test]
    fn mounts_are_read_with_their_odd_names_but_for_those_of_servers() {
        let table = b"22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
            23 22 0:5 /a /with\\040space\\134 rw - tmpfs t rw\n\
            24 22 0:6 / /far rw master:2 propagate_from:3 - nfs4 server:/ rw\n\
            25 22 0:7 / /user rw - fuse.sshfs x rw\n26 short\n";
        let places: Vec<PathBuf> = ["/", "/with space\\"].into_iter().map(PathBuf::from).collect();
        assert_eq!(mount_points(table), places);
        assert!(mount_points(&fs::read("/proc/self/mountinfo").unwrap()).contains(&"/proc".into()));
    }

    #[test]
    fn what_a_pattern_selects_and_the_directory_it_is_in_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().canonicalize().unwrap();
        for name in ["secret", "public", "deep/er/secret"] {
            fs::create_dir_all(at.join(name).parent().unwrap()).unwrap();
            fs::write(at.join(name), "x").unwrap();
        }
        let exact = walked(&at, &format!("file.path == \"{}/secret\"", at.display()));
        assert_eq!((exact.named, exact.cut_short), (2, false));
        // Everything below, the directories among it, and the directory it starts from (twice: as itself, and because new
        // names are made there).
        let deep = walked(&at, &format!("file.path in [\"{}/deep/**\"]", at.display()));
        assert_eq!(deep.named, 4);
        let missing = walked(&at, &format!("file.path == \"{}/absent\"", at.display()));
        assert_eq!(missing.named, 1);
    }
}
