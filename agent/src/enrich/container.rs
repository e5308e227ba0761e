//! From a cgroup to the container it belongs to.
//!
//! A cgroup v2 id is the inode number of the cgroup's directory. The directory is found through `/proc/PID/cgroup` of
//! the actor while it lives, else by walking the hierarchy, at most once a second. Its path names the container in the
//! manner of its runtime. What can't be found is told as not known; a cache keeps both answers, bounded.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

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
}

/// Cached answers. Larger costs about 300 bytes each.
const CACHED: usize = 8_192;

/// How long "not found" is believed.
const MISSING_FOR: Duration = Duration::from_secs(5);

/// Time between two walks of the hierarchy.
const WALK_EVERY: Duration = Duration::from_secs(1);

/// Directories looked at in one walk.
const WALK_LIMIT: usize = 20_000;

#[derive(Clone, Debug)]
enum Answer {
    Host,
    Container(Arc<Container>),
    Missing(Instant),
}

/// Containers by cgroup id.
#[derive(Debug)]
pub struct Containers {
    root: PathBuf,
    cache: HashMap<u64, Answer>,
    walked: Option<Instant>,
}

impl Containers {
    /// `root` is where cgroup v2 is mounted.
    pub fn new(root: PathBuf) -> Self {
        Self { root, cache: HashMap::new(), walked: None }
    }

    /// The container of a cgroup; `pid` is a process that was seen in it.
    pub fn find(&mut self, cgroup: u64, pid: u32) -> Option<Arc<Container>> {
        if cgroup == 0 {
            return None;
        }
        match self.cache.get(&cgroup) {
            Some(Answer::Host) => return None,
            Some(Answer::Container(container)) => return Some(Arc::clone(container)),
            Some(Answer::Missing(since)) if since.elapsed() < MISSING_FOR => return None,
            Some(Answer::Missing(_)) | None => {}
        }
        if self.cache.len() >= CACHED {
            self.cache.clear();
        }
        if let Some(path) = self.path_of(pid)
            && self.inode(&path) == Some(cgroup)
        {
            self.remember(cgroup, &path);
        } else {
            self.walk();
        }
        match self.cache.get(&cgroup) {
            Some(Answer::Container(container)) => Some(Arc::clone(container)),
            Some(Answer::Host) => None,
            Some(Answer::Missing(_)) | None => {
                self.cache.insert(cgroup, Answer::Missing(Instant::now()));
                None
            }
        }
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
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            folders.extend(
                entries
                    .filter_map(Result::ok)
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            );
        }
        self.walked = Some(Instant::now());
    }
}

fn below(root: &Path, folder: &Path) -> String {
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
    Some(Container { id, runtime, pod_uid, cgroup: path.to_owned() })
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
        let mut containers = Containers::new(root.path().to_owned());
        let found = containers.find(inode, 0x4000_0000).unwrap();
        assert_eq!((found.id.as_str(), found.runtime), (ID, "docker"));
        assert_eq!(containers.find(u64::MAX, 0x4000_0000), None);
    }
}
