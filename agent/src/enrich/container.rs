//! From a cgroup to the container it belongs to.
//!
//! A cgroup v2 id is the inode number of the cgroup's directory. The directory is found through `/proc/PID/cgroup` of
//! the actor while it lives, else by walking the hierarchy, at most once a second. Its path names the container in the
//! manner of its runtime. What can't be found is told as not known; a cache keeps both answers, bounded.
//!
//! A runtime writes down what it calls a container at about the time the container starts, so its names may not be there
//! yet when its first act is told. They are waited for briefly ([`Containers::is_awaited`]); after that alerts say that
//! they came without, and names that turn up later are told by themselves ([`Containers::named_late`]).

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::metadata::{Metadata, RuntimeFiles};

/// A container, as its cgroup's path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Full id, or the runtime's name for it.
    pub id: String,
    /// `containerd`, `docker`, `cri-o`, `podman`, `lxc`, `nspawn`, or empty if the path doesn't say.
    pub runtime: &'static str,
    /// Uid of the pod, empty if there is none.
    pub pod_uid: String,
    /// Path of the cgroup below the root of the hierarchy.
    pub cgroup: String,
    /// What its runtime calls it; `None`: not known.
    pub metadata: Option<Metadata>,
}

impl Container {
    /// Whether a runtime that is known here keeps names for it.
    pub fn has_names(&self) -> bool {
        self.id.len() == 64 && is_id(&self.id)
    }
}

/// Cached answers. Larger costs about 300 bytes each.
const CACHED: usize = 8_192;

/// How long "not found" is believed.
const MISSING_FOR: Duration = Duration::from_secs(5);

/// Time between two walks of the hierarchy.
const WALK_EVERY: Duration = Duration::from_secs(1);

/// Directories looked at in one walk.
const WALK_LIMIT: usize = 20_000;

/// Time between two looks for the names of one container while they are waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The same when they are late.
const LATE_EVERY: Duration = Duration::from_secs(5);

/// How long late names are looked for.
const LATE_FOR: Duration = Duration::from_secs(600);

/// Containers whose late names are looked for at once.
const LATE_LOOKS: usize = 64;

#[derive(Clone, Debug)]
enum Answer {
    Host,
    Container(Arc<Container>),
    Missing(Instant),
}

/// A container whose names have not been found.
#[derive(Clone, Copy, Debug)]
struct Unnamed {
    since: Instant,
    looked: Instant,
}

/// Containers by cgroup id.
#[derive(Debug)]
pub struct Containers {
    root: PathBuf,
    files: RuntimeFiles,
    wait: Duration,
    cache: HashMap<u64, Answer>,
    unnamed: HashMap<u64, Unnamed>,
    late: Vec<Arc<Container>>,
    walked: Option<Instant>,
}

impl Containers {
    /// `root` is where cgroup v2 is mounted; `wait` is how long the names of a new container are waited for.
    pub fn new(root: PathBuf, files: RuntimeFiles, wait: Duration) -> Self {
        Self {
            root,
            files,
            wait,
            cache: HashMap::new(),
            unnamed: HashMap::new(),
            late: Vec::new(),
            walked: None,
        }
    }

    /// The container of a cgroup; `pid` is a process that was seen in it.
    pub fn find(&mut self, cgroup: u64, pid: u32) -> Option<Arc<Container>> {
        self.find_at(cgroup, pid, Instant::now())
    }

    fn find_at(&mut self, cgroup: u64, pid: u32, now: Instant) -> Option<Arc<Container>> {
        if cgroup == 0 {
            return None;
        }
        match self.cache.get(&cgroup) {
            Some(Answer::Host) => return None,
            Some(Answer::Container(container)) => {
                let container = Arc::clone(container);
                return Some(self.named(cgroup, container, now));
            }
            Some(Answer::Missing(since)) if now.duration_since(*since) < MISSING_FOR => {
                return None;
            }
            Some(Answer::Missing(_)) | None => {}
        }
        if self.cache.len() >= CACHED {
            self.cache.clear();
            self.unnamed.clear();
        }
        if let Some(path) = self.path_of(pid)
            && self.inode(&path) == Some(cgroup)
        {
            self.remember(cgroup, &path);
        } else {
            self.walk();
        }
        match self.cache.get(&cgroup) {
            Some(Answer::Container(container)) => {
                let container = Arc::clone(container);
                Some(self.named(cgroup, container, now))
            }
            Some(Answer::Host) => None,
            Some(Answer::Missing(_)) | None => {
                self.cache.insert(cgroup, Answer::Missing(now));
                None
            }
        }
    }

    /// Whether a cgroup that was met before is one of the host.
    pub fn is_host(&self, cgroup: u64) -> bool {
        matches!(self.cache.get(&cgroup), Some(Answer::Host))
    }

    /// Whether the container's names are still waited for.
    pub fn is_awaited(&self, cgroup: u64) -> bool {
        self.is_awaited_at(cgroup, Instant::now())
    }

    fn is_awaited_at(&self, cgroup: u64, now: Instant) -> bool {
        self.unnamed
            .get(&cgroup)
            .is_some_and(|unnamed| now.duration_since(unnamed.since) < self.wait)
    }

    /// Containers whose names have turned up after alerts had gone without them.
    pub fn named_late(&mut self) -> Vec<Arc<Container>> {
        self.look_for_late(Instant::now());
        std::mem::take(&mut self.late)
    }

    fn look_for_late(&mut self, now: Instant) {
        self.unnamed.retain(|_, unnamed| now.duration_since(unnamed.since) < LATE_FOR);
        let due = self
            .unnamed
            .iter()
            .filter(|(_, unnamed)| now.duration_since(unnamed.since) >= self.wait)
            .map(|(cgroup, _)| *cgroup);
        for cgroup in due.take(LATE_LOOKS).collect::<Vec<_>>() {
            if let Some(Answer::Container(container)) = self.cache.get(&cgroup) {
                let container = Arc::clone(container);
                let _named = self.named(cgroup, container, now);
            }
        }
    }

    /// The container with its names, if they are to be had by now.
    fn named(&mut self, cgroup: u64, container: Arc<Container>, now: Instant) -> Arc<Container> {
        if container.metadata.is_some() || !container.has_names() {
            return container;
        }
        let known = self.unnamed.get(&cgroup).copied();
        let is_late = known.is_some_and(|known| now.duration_since(known.since) >= self.wait);
        let pause = if is_late { LATE_EVERY } else { LOOK_EVERY };
        if known.is_some_and(|known| now.duration_since(known.looked) < pause) {
            return container;
        }
        let Some(metadata) = self.files.find(&container.id) else {
            let since = known.map_or(now, |known| known.since);
            if known.is_some() || self.unnamed.len() < CACHED {
                self.unnamed.insert(cgroup, Unnamed { since, looked: now });
            }
            return container;
        };
        let mut named = Container::clone(&container);
        // What the cgroup's path says was not written by a runtime: it stands.
        if named.pod_uid.is_empty() {
            named.pod_uid.clone_from(&metadata.pod_uid);
        }
        named.metadata = Some(metadata);
        let named = Arc::new(named);
        self.cache.insert(cgroup, Answer::Container(Arc::clone(&named)));
        self.unnamed.remove(&cgroup);
        if is_late {
            self.late.push(Arc::clone(&named));
        }
        named
    }

    fn remember(&mut self, cgroup: u64, path: &str) {
        let answer = match parse(path) {
            Some(container) => Answer::Container(Arc::new(container)),
            None => Answer::Host,
        };
        self.cache.insert(cgroup, answer);
    }

    /// The v2 line of `/proc/PID/cgroup` is `0::/path`.
    fn path_of(&self, pid: u32) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
    }

    fn inode(&self, path: &str) -> Option<u64> {
        let path = self.root.join(path.trim_start_matches('/'));
        fs::metadata(path).ok().map(|data| data.ino())
    }

    fn walk(&mut self) {
        if self.walked.is_some_and(|last| last.elapsed() < WALK_EVERY) {
            return;
        }
        let mut folders = vec![self.root.clone()];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            seen += 1;
            if seen > WALK_LIMIT || self.cache.len() >= CACHED {
                break;
            }
            if let Ok(data) = fs::metadata(&folder) {
                let path = below(&self.root, &folder);
                self.remember(data.ino(), &path);
            }
            folders.extend(folders_in(&folder));
        }
        self.walked = Some(Instant::now());
    }
}

/// The folders in a cgroup's folder: the cgroups below it. None if it is gone.
pub(crate) fn folders_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

pub(crate) fn below(root: &Path, folder: &Path) -> String {
    let below = folder.strip_prefix(root).unwrap_or(folder);
    format!("/{}", below.display())
}

/// Reads a cgroup path. `None`: nothing in it names a container.
pub fn parse(path: &str) -> Option<Container> {
    let mut found: Option<(String, &'static str)> = None;
    let mut pod_uid = String::new();
    let mut previous = "";
    for component in path.split('/').filter(|component| !component.is_empty()) {
        if let Some(uid) = pod(component) {
            pod_uid = uid;
        } else if let Some(container) = container(component, previous, !pod_uid.is_empty()) {
            found = Some(container);
        }
        previous = component;
    }
    let (id, runtime) = found?;
    Some(Container { id, runtime, pod_uid, cgroup: path.to_owned(), metadata: None })
}

/// `kubepods-burstable-pod12ab_..._.slice` (systemd driver) or `pod12ab-...` (cgroupfs driver).
fn pod(component: &str) -> Option<String> {
    let name = component.strip_suffix(".slice").unwrap_or(component);
    let uid = if name.starts_with("kubepods") {
        name.rsplit_once("-pod").map(|(_, uid)| uid)?
    } else {
        name.strip_prefix("pod")?
    };
    let plain = uid.replace('_', "-");
    let digits = plain.bytes().filter(u8::is_ascii_hexdigit).count();
    let well_formed = plain.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    (well_formed && digits >= 32).then_some(plain)
}

const PREFIXES: [(&str, &str); 5] = [
    ("cri-containerd-", "containerd"),
    ("docker-", "docker"),
    ("crio-", "cri-o"),
    ("libpod-", "podman"),
    ("nerdctl-", "containerd"),
];

fn container(component: &str, previous: &str, in_pod: bool) -> Option<(String, &'static str)> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    for (prefix, runtime) in PREFIXES {
        if let Some(id) = name.strip_prefix(prefix)
            && is_id(id)
        {
            return Some((id.to_owned(), runtime));
        }
    }
    // containerd's systemd names without a prefix: `namespace:cri-containerd:ID`.
    if let Some((rest, id)) = name.rsplit_once(':')
        && is_id(id)
    {
        return Some((id.to_owned(), if rest.contains("containerd") { "containerd" } else { "" }));
    }
    if let Some(name) = component.strip_prefix("lxc.payload.") {
        return Some((name.to_owned(), "lxc"));
    }
    if let Some(machine) = name.strip_prefix("systemd-nspawn@") {
        return Some((machine.strip_suffix(".service").unwrap_or(machine).to_owned(), "nspawn"));
    }
    if is_id(name) {
        let runtime = match previous {
            "docker" => "docker",
            "libpod_parent" => "podman",
            _named_otherwise => "",
        };
        return (in_pod || !runtime.is_empty() || name.len() == 64)
            .then(|| (name.to_owned(), runtime));
    }
    None
}

fn is_id(text: &str) -> bool {
    (text.len() == 64 || text.len() == 32) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const POD: &str = "1a2b3c4d-0000-1111-2222-333344445555";

    fn parsed(path: &str) -> Option<(String, &'static str, String)> {
        parse(path).map(|found| (found.id, found.runtime, found.pod_uid))
    }

    #[test]
    fn every_runtime_names_its_container() {
        let under = POD.replace('-', "_");
        let cases = [
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-{ID}.scope"
                ),
                "containerd",
                POD,
            ),
            (format!("/kubepods.slice/kubepods-pod{under}.slice/crio-{ID}.scope"), "cri-o", POD),
            (format!("/kubepods/besteffort/pod{POD}/{ID}"), "", POD),
            (format!("/system.slice/docker-{ID}.scope"), "docker", ""),
            (format!("/system.slice/docker-{ID}.scope/init.scope"), "docker", ""),
            (format!("/docker/{ID}"), "docker", ""),
            (format!("/machine.slice/libpod-{ID}.scope/container"), "podman", ""),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"
                ),
                "podman",
                "",
            ),
        ];
        for (path, runtime, pod) in cases {
            assert_eq!(parsed(&path), Some((ID.to_owned(), runtime, pod.to_owned())), "{path}");
        }
        assert_eq!(parsed("/lxc.payload.web1/x"), Some(("web1".to_owned(), "lxc", String::new())));
    }

    #[test]
    fn host_cgroups_are_not_containers() {
        for path in [
            "/",
            "/init.scope",
            "/system.slice/ssh.service",
            "/user.slice/user-0.slice/session-1.scope",
            "/machine.slice/libpod-conmon-0123.scope",
            "/kubepods.slice/kubepods-burstable.slice",
        ] {
            assert_eq!(parsed(path), None, "{path}");
        }
    }

    #[test]
    fn a_container_that_is_gone_from_proc_is_found_by_walking() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(format!("system.slice/docker-{ID}.scope"));
        fs::create_dir_all(&folder).unwrap();
        let inode = fs::metadata(&folder).unwrap().ino();
        let mut containers = containers(root.path());
        let found = containers.find(inode, 0x4000_0000).unwrap();
        assert_eq!((found.id.as_str(), found.runtime), (ID, "docker"));
        assert_eq!(containers.find(u64::MAX, 0x4000_0000), None);
    }

    const WAIT: Duration = Duration::from_millis(200);

    fn containers(root: &Path) -> Containers {
        Containers::new(root.to_owned(), RuntimeFiles::new(root.join("host")), WAIT)
    }

    /// A container without names, and where its names will be written.
    fn unnamed(root: &Path) -> (u64, PathBuf) {
        let folder = root.join(format!("kubepods/pod{POD}/{ID}"));
        fs::create_dir_all(&folder).unwrap();
        let bundle =
            root.join(format!("host/run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}"));
        fs::create_dir_all(&bundle).unwrap();
        (fs::metadata(&folder).unwrap().ino(), bundle.join("config.json"))
    }

    const BUNDLE: &str = r#"{"annotations":{"io.kubernetes.cri.container-name":"web","io.kubernetes.cri.sandbox-uid":"another"}}"#;

    #[test]
    fn names_that_come_in_time_are_had_without_a_word() {
        let root = tempfile::tempdir().unwrap();
        let (cgroup, bundle) = unnamed(root.path());
        let mut containers = containers(root.path());
        let start = Instant::now();
        let first = containers.find_at(cgroup, 0x4000_0000, start).unwrap();
        assert_eq!(first.metadata, None);
        assert!(containers.is_awaited_at(cgroup, start));
        fs::write(bundle, BUNDLE).unwrap();
        // Not before it is time to look again.
        let soon = start + LOOK_EVERY / 2;
        assert_eq!(containers.find_at(cgroup, 0, soon).unwrap().metadata, None);
        let named = containers.find_at(cgroup, 0, start + LOOK_EVERY).unwrap();
        assert_eq!(named.metadata.as_ref().unwrap().name, "web");
        assert_eq!(named.pod_uid, POD, "the cgroup's path stands");
        assert!(!containers.is_awaited_at(cgroup, start + LOOK_EVERY));
        assert_eq!(containers.named_late(), []);
    }

    #[test]
    fn names_that_come_late_are_told_once_and_names_that_never_come_are_not_invented() {
        let root = tempfile::tempdir().unwrap();
        let (cgroup, bundle) = unnamed(root.path());
        let mut containers = containers(root.path());
        let start = Instant::now();
        assert!(containers.find_at(cgroup, 0x4000_0000, start).is_some());
        let late = start + WAIT;
        assert!(!containers.is_awaited_at(cgroup, late), "it is told without");
        containers.look_for_late(late);
        assert_eq!(containers.find_at(cgroup, 0, late).unwrap().metadata, None);
        fs::write(bundle, BUNDLE).unwrap();
        containers.look_for_late(late + LATE_EVERY);
        let told = std::mem::take(&mut containers.late);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].metadata.as_ref().unwrap().name, "web");
        containers.look_for_late(late + 2 * LATE_EVERY);
        assert_eq!(containers.late, []);
    }
}
